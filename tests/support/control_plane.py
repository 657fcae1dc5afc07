"""A real etcd, kube-apiserver and kube-controller-manager for tests, with our CRDs and Gateway API's in it.

No root, no network namespace: loopback, free ports, a directory of its own. The processes and how they are started
are the local cluster's (``local-cluster/localcluster/controlplane.py``); this file adds what only tests want, which
is an audit log to count requests with and the CRDs.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from localcluster import pins, programs
from localcluster.controlplane import ControlPlane
from localcluster.paths import REPOSITORY
from localcluster.processes import Identity
from tests.support.api_server import CRDS, SERVICE_ACCOUNTS, Api, Refusal, eventually

_PREFIX = "slipway-test-"
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [
        # The control plane's own traffic is most of all, and no test asks for it.
        {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"]},
        {"level": "None", "users": ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]},
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True)
class Request:
    """One request as the API server saw it."""

    user: str
    agent: str
    verb: str
    group: str
    resource: str
    """With its subresource: ``trainingruns/status``."""
    namespace: str
    name: str
    code: int

    @property
    def writes(self) -> bool:
        return self.verb in ("create", "update", "patch", "delete", "deletecollection")


class AuditLog:
    """The API server's audit log: every request, by whom and what for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def position(self) -> int:
        """Where the log ends now; what comes after is asked for with ``since``."""
        return self._path.stat().st_size

    def since(self, position: int, *, user: str | None = None) -> list[Request]:
        """The finished requests after ``position``, of one user or of all."""
        found = []
        with self._path.open("rb") as log:
            log.seek(position)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                request = _request(json.loads(line))
                if request is not None and (user is None or request.user == user):
                    found.append(request)
        return found


def _request(entry: dict[str, Any]) -> Request | None:
    about = entry.get("objectRef")
    # A watch is logged when it begins and when it ends; once is enough.
    if about is None or (entry["verb"] == "watch" and entry["stage"] != "ResponseStarted"):
        return None
    subresource = about.get("subresource")
    return Request(
        user=entry["user"]["username"],
        agent=entry.get("userAgent", ""),
        verb=entry["verb"],
        group=about.get("apiGroup", ""),
        resource=f"{about['resource']}/{subresource}" if subresource else about["resource"],
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        code=entry.get("responseStatus", {}).get("code", 0),
    )


@dataclass(frozen=True)
class Cluster:
    """A running control plane, as its administrator sees it."""

    plane: ControlPlane
    api: Api
    audit: AuditLog
    directory: Path
    gateway_api: bool

    @property
    def kubeconfig(self) -> Path:
        return self.plane.kubeconfig

    @property
    def kubectl(self) -> Path:
        return _binaries() / "kubectl"


def _binaries() -> Path:
    return programs.ensure(pins.CONTROL_PLANE)


@contextmanager
def control_plane(*, gateway_api: bool = True) -> Iterator[Cluster]:
    """Start it with the CRDs installed, and take it down whatever happens.

    A test run that is killed takes its processes with it (the kernel sees to that, see ``ControlPlane``); the
    directory that it leaves is removed by the next run.
    """
    _remove_leftovers()
    directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{_me()}-"))
    policy, log = directory / "audit-policy.json", directory / "audit.log"
    policy.write_text(json.dumps(_AUDIT_POLICY))
    log.touch()
    plane = ControlPlane(
        directory,
        _binaries(),
        apiserver_arguments=(
            f"--audit-policy-file={policy}",
            f"--audit-log-path={log}",
            "--audit-log-maxsize=0",
            # A cluster that has it asks for more rights than one that has not; the chart must give enough for both.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        ),
    )
    try:
        plane.start()
        api = Api(plane.kubeconfig)
        try:
            install_crds(api, sorted((REPOSITORY / "crds").glob("*.yaml")))
            if gateway_api:
                install_crds(api, gateway_api_crds(), only=("gatewayclasses", "gateways", "httproutes"))
                install_crds(api, envoy_gateway_crds(), only=("backendtrafficpolicies",))
            yield Cluster(plane, api, AuditLog(log), directory, gateway_api)
        finally:
            api.close()
    finally:
        plane.stop()
        shutil.rmtree(directory, ignore_errors=True)


def gateway_api_crds() -> list[Path]:
    """Gateway API's CRDs as Envoy Gateway ships them."""
    return sorted(programs.envoy_gateway_charts().rglob("gatewayapi-crds.yaml"))


def envoy_gateway_crds() -> list[Path]:
    """Envoy Gateway's own kind that Slipway writes."""
    return sorted(
        programs.envoy_gateway_charts().glob("gateway-helm/**/gateway.envoyproxy.io_backendtrafficpolicies.yaml")
    )


def install_crds(api: Api, files: list[Path], only: tuple[str, ...] = ()) -> None:
    """Apply CRDs and wait until their kinds answer; ``only`` picks by plural."""
    wanted = [
        crd
        for file in files
        for crd in yaml.load_all(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if crd and crd["kind"] == "CustomResourceDefinition" and (not only or crd["spec"]["names"]["plural"] in only)
    ]
    if not wanted:
        raise FileNotFoundError(f"no CRD in {files}")
    for crd in wanted:
        api.apply(crd)
    for crd in wanted:
        name = crd["metadata"]["name"]
        eventually(partial(_established, api, name), what=f"CRD {name} being served")


def make_namespace(api: Api, name: str) -> None:
    """A namespace in which Pod Security enforces ``restricted``; pods can be made in it when this returns."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    what = f"the default ServiceAccount of {name}"
    eventually(lambda: api.get(SERVICE_ACCOUNTS, name, "default"), what=what)


def _established(api: Api, name: str) -> bool:
    crd = api.get(CRDS, None, name)
    if crd is None or not any(
        c["type"] == "Established" and c["status"] == "True" for c in crd.get("status", {}).get("conditions") or ()
    ):
        return False
    spec = crd["spec"]
    version = next(v["name"] for v in spec["versions"] if v["served"])
    try:
        # Established says that the name is ours; the handler follows a moment later.
        api.call("GET", f"/apis/{spec['group']}/{version}/{spec['names']['plural']}", limit="1")
    except Refusal:
        return False
    return True


def _me() -> str:
    me = Identity.of(os.getpid())
    assert me is not None
    return f"{me.pid}.{me.started.rpartition('/')[2]}"


def _remove_leftovers() -> None:
    """Directories of runs that were killed: their process is gone, or its number belongs to another."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = left.name.removeprefix(_PREFIX).split("-")[0]
        pid, _, started = owner.partition(".")
        alive = Identity.of(int(pid)) if pid.isdigit() else None
        if alive is None or alive.started.rpartition("/")[2] != started:
            shutil.rmtree(left, ignore_errors=True)
