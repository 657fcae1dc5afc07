"""A small synchronous client of the API server, for tests: what the operator's own client must not be tested with."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx

from slipway.kube.objects import BY_TYPE, Resource

Object = dict[str, Any]
T = TypeVar("T")

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
SECRETS = Resource("", "v1", "secrets", "Secret")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
POLICIES = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False
)
POLICY_BINDINGS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicybindings",
    "ValidatingAdmissionPolicyBinding",
    namespaced=False,
)
_KNOWN = {
    **BY_TYPE,
    **{
        (r.api_version, r.kind): r
        for r in (
            CRDS,
            NAMESPACES,
            LEASES,
            SECRETS,
            SERVICE_ACCOUNTS,
            ROLES,
            ROLE_BINDINGS,
            CLUSTER_ROLES,
            CLUSTER_ROLE_BINDINGS,
            POLICIES,
            POLICY_BINDINGS,
        )
    },
}


@dataclass(frozen=True)
class Cause:
    """One thing the API server did not like: where, what kind of error, and its words."""

    field: str
    reason: str
    message: str


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, answer: httpx.Response) -> None:
        status = answer.json() if answer.headers.get("content-type", "").startswith("application/json") else {}
        super().__init__(f"{answer.status_code}: {status.get('message', answer.text)}")
        self.code = answer.status_code
        self.message: str = status.get("message", answer.text)
        self.causes = tuple(
            Cause(c.get("field", ""), c.get("reason", ""), c.get("message", ""))
            for c in status.get("details", {}).get("causes", ())
        )


def resource_of(manifest: Mapping[str, Any]) -> Resource:
    """The resource of a manifest that a test uses."""
    return _KNOWN[(manifest["apiVersion"], manifest["kind"])]


class Api:
    """Requests as whoever the kubeconfig names."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())  # written by us, as JSON
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.kubeconfig = kubeconfig
        self.server: str = cluster["server"]
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        headers = {}
        if "token" in user:
            headers["Authorization"] = f"Bearer {user['token']}"
        else:
            with tempfile.TemporaryDirectory() as scratch:  # the ssl module reads a certificate from a file only
                certificate, key = Path(scratch, "crt"), Path(scratch, "key")
                certificate.write_bytes(base64.b64decode(user["client-certificate-data"]))
                key.touch(mode=0o600)
                key.write_bytes(base64.b64decode(user["client-key-data"]))
                context.load_cert_chain(certificate, key)
        self._http = httpx.Client(base_url=self.server, verify=context, timeout=30, headers=headers, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        **query: str,
    ) -> Object:
        """One request.

        Raises:
            Refusal: an answer of 400 or above.
        """
        answer = self._http.request(
            method,
            path,
            content=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type, "Accept": accept},
            params=query,
        )
        if answer.status_code >= 400:
            raise Refusal(answer)
        made: Object = answer.json()
        return made

    def text(self, path: str) -> str:
        """A GET whose answer is not JSON: metrics, for one."""
        answer = self._http.get(path)
        if answer.status_code >= 400:
            raise Refusal(answer)
        return answer.text

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False, strict: bool = True) -> Object:
        """POST as ``kubectl create`` does: unknown fields are refused."""
        query = {"fieldValidation": "Strict" if strict else "Ignore"}
        if dry_run:
            query["dryRun"] = "All"
        return self.call("POST", resource_of(manifest).path(manifest["metadata"].get("namespace")), manifest, **query)

    def apply(self, manifest: Mapping[str, Any], *, manager: str = "tests", dry_run: bool = False) -> Object:
        """Server-side apply, forced."""
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        meta = manifest["metadata"]
        path = resource_of(manifest).path(meta.get("namespace"), meta["name"])
        return self.call("PATCH", path, manifest, content_type="application/apply-patch+yaml", **query)

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """One object, or None."""
        try:
            return self.call("GET", resource.path(namespace, name))
        except Refusal as refusal:
            if refusal.code == 404:
                return None
            raise

    def list(self, resource: Resource, namespace: str | None = None, selector: str = "") -> Sequence[Object]:
        """All objects of a namespace, or of all."""
        query = {"labelSelector": selector} if selector else {}
        items: Sequence[Object] = self.call("GET", resource.path(namespace), **query)["items"]
        return items

    def merge(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """A JSON merge patch: what ``kubectl patch --type=merge``, ``annotate`` and ``edit`` do."""
        query = {"dryRun": "All"} if dry_run else {}
        path = resource.path(namespace, name, subresource)
        return self.call("PATCH", path, patch, content_type="application/merge-patch+json", **query)

    def delete(self, resource: Resource, namespace: str | None, name: str, propagation: str = "Background") -> None:
        """DELETE; gone already is fine."""
        try:
            self.call("DELETE", resource.path(namespace, name), {"propagationPolicy": propagation})
        except Refusal as refusal:
            if refusal.code != 404:
                raise

    def watch(self, resource: Resource, namespace: str, since: str) -> Iterator[tuple[str, Object]]:
        """Every change after a resourceVersion, in the order in which the API server made them: ADDED, MODIFIED or
        DELETED, and the object."""
        query = {"watch": "1", "resourceVersion": since}
        with self._http.stream(
            "GET", resource.path(namespace), params=query, timeout=httpx.Timeout(30, read=600)
        ) as got:
            for line in got.iter_lines():
                event = json.loads(line)
                yield event["type"], event["object"]

    def table(self, resource: Resource, namespace: str) -> Object:
        """What ``kubectl get`` prints."""
        return self.call(
            "GET", resource.path(namespace), accept="application/json;as=Table;g=meta.k8s.io;v=v1", includeObject="None"
        )


def eventually(
    ask: Callable[[], T | Literal[False] | None],
    *,
    seconds: float = 60.0,
    interval: float = 0.05,
    what: str = "it",
    show: Callable[[], object] | None = None,
) -> T:
    """Ask until the answer is true, and return it.

    Args:
        show: called for the failure's text: what there was instead.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds:.0f} s: {show() if show else answer!r}")
        time.sleep(interval)
