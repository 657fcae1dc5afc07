"""The operator as a process of its own: ``python -m slipway`` with the chart's environment and the chart's rights."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from localcluster.paths import REPOSITORY
from tests.support.api_server import LEASES, NAMESPACES, Api, eventually
from tests.support.chart import ACCOUNT, RELEASE_NAMESPACE, Chart, render
from tests.support.control_plane import Cluster, make_namespace
from tests.support.line import Line

GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{RELEASE_NAMESPACE}", "system:authenticated")


class Operator:
    """One replica. ``kill`` is SIGKILL; ``stop`` is what the kubelet does."""

    def __init__(self, kubeconfig: Path, env: Mapping[str, str], log: Path, identity: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.identity = identity
        self.log = log
        self._env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SLIPWAY_") and not k.startswith("KUBERNETES_")},
            **env,
            "KUBECONFIG": str(kubeconfig),
            "SLIPWAY_OPERATOR_IDENTITY": identity,
            "SLIPWAY_OPERATOR_HTTP_PORT": str(self.port),
            "PYTHONPATH": str(REPOSITORY / "operator"),
            # A warning in the operator is an error of the operator.
            "PYTHONWARNINGS": "default",
        }
        self._process: subprocess.Popen[bytes] | None = None
        # Operators of the same identity follow each other in one control plane, and in one file.
        self._begun = log.stat().st_size if log.exists() else 0

    def start(self, *, ready: bool = True) -> Operator:
        """Start the process and, on wish, wait until its watches stand."""
        assert self._process is None
        with self.log.open("ab") as log:
            # It ends with the thread that started it, so that a killed test run leaves none behind.
            argv = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "slipway"]
            self._process = subprocess.Popen(argv, env=self._env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if ready:
            eventually(self.is_ready, seconds=30, what=f"{self.identity} being ready", show=self.tail)
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"{self.identity} ended with status {self._process.returncode}:\n{self.tail()}")
        try:
            return self.get("/readyz") == "ok\n"
        except OSError:
            return False

    def get(self, path: str) -> str:
        """An answer of its own HTTP port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = (line for line in self.get("/metrics").splitlines() if line.split("{")[0].split(" ")[0] == name)
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def memory(self) -> float:
        """Resident memory in MiB."""
        return self._memory("VmRSS")

    def highest_memory(self) -> float:
        """The most resident memory that this process has had, in MiB."""
        return self._memory("VmHWM")

    def _memory(self, field: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith(field))) / 1024

    def cpu_seconds(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 20) -> int:
        """Its exit status, when it has ended."""
        assert self._process is not None
        status = self._process.wait(seconds)
        self._process = None
        return status

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory is short."""
        if self._process is not None:
            self._process.kill()
            self.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self.wait()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])

    def complaints(self) -> list[str]:
        """Lines of its log that an operator in good order does not write."""
        words = ("ERROR", "CRITICAL", "Traceback", "Warning:")
        lines = self.log.read_bytes()[self._begun :].decode(errors="replace").splitlines()
        return ["\n".join(lines[i : i + 60]) for i, line in enumerate(lines) if any(w in line for w in words)]


def grant(api: Api, chart: Chart, *, user: str = ACCOUNT) -> None:
    """Apply the chart's RBAC; another user than the chart's ServiceAccount is put into the bindings instead of it."""
    make_namespace(api, RELEASE_NAMESPACE)
    for manifest in chart.of("ClusterRole", "Role"):
        api.apply(manifest)
    for manifest in chart.of("ClusterRoleBinding", "RoleBinding"):
        if user == ACCOUNT:
            api.apply(manifest)
        else:
            name = f"{manifest['metadata']['name']}-{user}"
            subjects = [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]
            api.apply({**manifest, "metadata": {**manifest["metadata"], "name": name}, "subjects": subjects})


@contextmanager
def operator(
    cluster: Cluster,
    *,
    chart: Chart | None = None,
    identity: str = "slipway-0",
    user: str = ACCOUNT,
    start: bool = True,
    fresh_lease: bool = True,
    settings: Mapping[str, str] | None = None,
    line: Line | None = None,
) -> Iterator[Operator]:
    """A replica with the rights that the chart gives, and no others; it is gone at the end, whatever happened.

    ``settings`` are environment variables without their prefix, in lower case. With a ``line`` it reaches the API
    server by that one alone.
    """
    chart = chart or render()
    # What an earlier test left in a namespace that goes would be tried, and refused, as if it were this test's.
    eventually(
        lambda: not _leaving(cluster.api),
        what="earlier tests' namespaces being gone",
        show=lambda: _leaving(cluster.api),
    )
    grant(cluster.api, chart, user=user)
    env = {**chart.operator_env(), **{f"SLIPWAY_OPERATOR_{k.upper()}": v for k, v in (settings or {}).items()}}
    if fresh_lease:
        # A predecessor that was killed has not given it back, and nobody wants to wait until it runs out.
        cluster.api.delete(LEASES, RELEASE_NAMESPACE, env["SLIPWAY_OPERATOR_LEASE_NAME"])
    kubeconfig = cluster.plane.user(user, GROUPS)
    if line is not None:
        by_line = line.reached_by(kubeconfig.read_text(), cluster.plane.url)
        kubeconfig = cluster.directory / f"{identity}.line.kubeconfig"
        kubeconfig.write_text(by_line)
    made = Operator(kubeconfig, env, cluster.directory / f"{identity}.log", identity)
    try:
        yield made.start() if start else made
    finally:
        made.kill()


def _leaving(api: Api) -> list[str]:
    return [n["metadata"]["name"] for n in api.list(NAMESPACES, None) if "deletionTimestamp" in n["metadata"]]


def lease_holder(api: Api, name: str = "slipway") -> str:
    """Who leads, by the Lease."""

    lease = api.get(LEASES, RELEASE_NAMESPACE, name)
    return "" if lease is None else lease["spec"].get("holderIdentity") or ""


def describe(obj: Mapping[str, object]) -> str:
    """An object's status, for the text of a failure."""
    return json.dumps(obj.get("status"), indent=1)
