"""Users of a namespace with rights of their own, and what they type: ``kubectl slipway``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.kube.objects import Resource
from tests.support.api_server import SERVICE_ACCOUNTS, Api, Object, eventually
from tests.support.e2e import OPERATOR_NAMESPACE, RELEASE, Tenant

APPROVER = f"{RELEASE}-{OPERATOR_NAMESPACE}-approver"
"""The chart's ClusterRole of those who may decide about versions."""
_SECONDS = 60.0
"""That a command may take: it takes one, on a machine that has nothing else to do."""


@dataclass(frozen=True)
class Person:
    """A ServiceAccount: the API server knows it by a name, and gives it nothing but what its roles give.

    Attributes:
        user: the name that the API server sees.
        api: requests as this user.
    """

    user: str
    api: Api
    environment: Mapping[str, str]

    def says(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``kubectl slipway ...`` as this user, in the namespace of the user's context; does not raise."""
        return subprocess.run(
            ["kubectl", "slipway", *words], env=self.environment, text=True, capture_output=True, timeout=_SECONDS,
            check=False,
        )  # fmt: skip

    def asks(self, *words: str) -> Any:
        """One question, and its answer for machines.

        Raises:
            AssertionError: there was none; with what the command said.
        """
        done = self.says(*words, "--output", "json")
        assert done.returncode == 0, f"kubectl slipway {' '.join(words)} ended with {done.returncode}: {done.stderr}"
        return json.loads(done.stdout)

    def create(self, manifest: Mapping[str, Any]) -> Object:
        """``kubectl create``, with the annotation by which a namespace of four eyes knows who made what."""
        made = {**manifest, "metadata": {**manifest["metadata"]}}
        made["metadata"]["annotations"] = {"slipway.dev/created-by": self.user}
        return self.api.create(made)


@contextmanager
def person(tenant: Tenant, name: str, *roles: str, folder: Path) -> Iterator[Person]:
    """A user who has these ClusterRoles in the tenant's namespace, once the API server knows of it; at the end of the
    block his connections are closed.

    Args:
        folder: where the kubeconfig is written.
    """
    account = {"name": name, "namespace": tenant.name}
    tenant.api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    for role in roles:
        tenant.api.create(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": f"{name}-{role}", "namespace": tenant.name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", **account}],
            }
        )
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    given = tenant.api.call("POST", SERVICE_ACCOUNTS.path(tenant.name, name, "token"), asked)
    config = json.loads(tenant.api.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": given["status"]["token"]}
    config["contexts"][0]["context"]["namespace"] = tenant.name
    kubeconfig = folder / f"{name}.kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(json.dumps(config))
    api = Api(kubeconfig)
    try:
        made = Person(
            f"system:serviceaccount:{tenant.name}:{name}",
            api,
            {**tenant.world.environment, "KUBECONFIG": str(kubeconfig)},
        )
        eventually(lambda: _may(made, "list", tenant.name), seconds=30, interval=0.25, what=f"the rights of {name}")
        yield made
    finally:
        api.close()


def _may(who: Person, verb: str, namespace: str) -> bool:
    review = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False)
    wanted = {"namespace": namespace, "verb": verb, "group": "slipway.dev", "resource": "modelversions"}
    asked = {"apiVersion": review.api_version, "kind": review.kind, "spec": {"resourceAttributes": wanted}}
    return bool(who.api.call("POST", review.path(None), asked)["status"]["allowed"])
