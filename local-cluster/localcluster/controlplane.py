"""etcd, kube-apiserver, kube-controller-manager and, on wish, kube-scheduler.

Alone on loopback it is what the integration and scale tests run on: no root, no namespace, a temporary directory and
free ports of its own. Inside the node's namespaces it is the control plane of the local cluster.

    from localcluster.controlplane import ControlPlane
    with ControlPlane(tmp_path, binaries) as plane:      # binaries: what `make -s binaries` prints
        plane.kubeconfig                                 # path of an administrator's kubeconfig
        plane.restart("kube-apiserver")
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from localcluster.pki import Authority
from localcluster.processes import Service, wait
from localcluster.progress import UserError

SERVICE_RANGE = "10.96.0.0/16"
_FIRST_SERVICE_ADDRESS = "10.96.0.1"


@dataclass(frozen=True)
class Ports:
    """Where the control plane listens."""

    apiserver: int
    etcd: int
    etcd_peer: int

    @classmethod
    def free(cls) -> Ports:
        """Three ports that nobody listens on at this moment."""
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        numbers = [s.getsockname()[1] for s in sockets]
        for s in sockets:
            s.close()
        return cls(*numbers)


class ControlPlane:
    """A control plane in one directory. Every method may be called again: what stands is left alone."""

    def __init__(
        self,
        directory: Path,
        binaries: Path,
        *,
        address: str = "127.0.0.1",
        ports: Ports | None = None,
        prefix: Sequence[str] = ("setpriv", "--pdeathsig", "KILL"),
        scheduler: bool = False,
        apiserver_arguments: Sequence[str] = (),
    ) -> None:
        """Describe it; nothing is started yet.

        `binaries` holds the programs. `address` is where the API server is reached. `prefix` goes before each command
        line: the default ends the processes when the thread that started them ends, so that a killed test run leaves
        none behind. `apiserver_arguments` come after the API server's own: an audit log, for a test that counts
        requests.
        """
        self._directory = directory
        self._address = address
        self._ports = ports or self._remembered_ports()
        self._authority = Authority(directory / "pki")
        self.url = f"https://{address}:{self._ports.apiserver}"
        self.kubeconfig = directory / "admin.kubeconfig"
        self._services = self._describe(
            binaries, tuple(prefix), scheduler=scheduler, apiserver_arguments=apiserver_arguments
        )

    def start(self, seconds: float = 60.0) -> Path:
        """Start what does not run, wait until the API server is ready, return the administrator's kubeconfig.

        Raises UserError with the end of a log if a process ends or `seconds` pass.
        """
        self._prepare()
        self._services["etcd"].ensure()
        self._services["kube-apiserver"].ensure()
        self._await_ready(seconds)
        for name, service in self._services.items():
            if name not in ("etcd", "kube-apiserver"):
                service.ensure()
        return self.kubeconfig

    def stop(self) -> None:
        """End all processes, the dependent ones first; the data stay in the directory."""
        for service in reversed(self._services.values()):
            service.stop()

    def kill(self, name: str) -> None:
        """End one process without notice, as a crash does."""
        self._services[name].stop(patience=0.0)

    def restart(self, name: str, seconds: float = 60.0) -> None:
        """End one process and start it again; returns when the API server is ready."""
        self._services[name].stop()
        self.start(seconds)

    def user(self, name: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for a user with no rights but those that RBAC gives to `name` and `groups`."""
        return self._authority.kubeconfig(
            self._directory / f"{name.replace(':', '_')}.kubeconfig", self.url, name, groups
        )

    @property
    def authority(self) -> Authority:
        """What signed the cluster's certificates."""
        return self._authority

    @property
    def services(self) -> dict[str, Service]:
        """The processes by name, in the order in which they start."""
        return dict(self._services)

    def __enter__(self) -> ControlPlane:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _remembered_ports(self) -> Ports:
        remembered = self._directory / "ports.json"
        if not remembered.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            remembered.write_text(json.dumps(asdict(Ports.free())))
        return Ports(**json.loads(remembered.read_text()))

    def _prepare(self) -> None:
        self._authority.ensure()
        self._authority.issue(
            "apiserver",
            "kube-apiserver",
            names=(
                "DNS:localhost",
                "DNS:kubernetes.default.svc",
                "DNS:kubernetes.default.svc.cluster.local",
                "IP:127.0.0.1",
                f"IP:{_FIRST_SERVICE_ADDRESS}",
                f"IP:{self._address}",
            ),
        )
        for name, user, groups in (
            ("admin", "slipway-admin", ("system:masters",)),
            ("kube-controller-manager", "system:kube-controller-manager", ()),
            ("kube-scheduler", "system:kube-scheduler", ()),
        ):
            self._authority.kubeconfig(self._directory / f"{name}.kubeconfig", self.url, user, groups)

    def _describe(
        self,
        binaries: Path,
        prefix: tuple[str, ...],
        *,
        scheduler: bool,
        apiserver_arguments: Sequence[str],
    ) -> dict[str, Service]:
        here, pki, ports = self._directory, self._directory / "pki", self._ports
        loopback = self._address == "127.0.0.1"
        client = f"http://127.0.0.1:{ports.etcd}"
        peer = f"http://127.0.0.1:{ports.etcd_peer}"
        certificate, key = pki / "apiserver.crt", pki / "apiserver.key"
        arguments: dict[str, list[str]] = {
            "etcd": [
                f"--data-dir={here / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                # A cluster for development: a crash of the machine may cost its data, and `make up` then makes it anew.
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
            "kube-apiserver": [
                f"--etcd-servers={client}",
                f"--secure-port={ports.apiserver}",
                # All addresses of the node, since pods come by another way than the host; only loopback when alone.
                f"--bind-address={'127.0.0.1' if loopback else '0.0.0.0'}",
                f"--advertise-address={self._address}",
                # Endpoints may not hold a loopback address, and alone nobody looks for them.
                f"--endpoint-reconciler-type={'none' if loopback else 'lease'}",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged=true",
                f"--client-ca-file={self._authority.certificate}",
                f"--tls-cert-file={certificate}",
                f"--tls-private-key-file={key}",
                f"--service-account-key-file={self._authority.service_account_public_key}",
                f"--service-account-signing-key-file={self._authority.service_account_key}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--kubelet-client-certificate={pki / 'user-admin.crt'}",
                f"--kubelet-client-key={pki / 'user-admin.key'}",
                f"--kubelet-certificate-authority={self._authority.certificate}",
                "--kubelet-preferred-address-types=InternalIP",
                # It writes self-signed certificates here when it is given none; kept out of /var/run.
                f"--cert-dir={pki}",
                *apiserver_arguments,
            ],
            "kube-controller-manager": [
                f"--kubeconfig={here / 'kube-controller-manager.kubeconfig'}",
                f"--service-account-private-key-file={self._authority.service_account_key}",
                f"--root-ca-file={self._authority.certificate}",
                "--use-service-account-credentials=true",
                "--leader-elect=false",
                "--secure-port=0",
                f"--cert-dir={pki}",
            ],
        }
        if scheduler:
            arguments["kube-scheduler"] = [
                f"--kubeconfig={here / 'kube-scheduler.kubeconfig'}",
                "--leader-elect=false",
                "--secure-port=0",
                f"--cert-dir={pki}",
            ]
        return {name: Service(here, name, [binaries / name, *args], prefix=prefix) for name, args in arguments.items()}

    def _await_ready(self, seconds: float) -> None:
        apiserver, etcd = self._services["kube-apiserver"], self._services["etcd"]
        for _ in range(2):  # the API server gives up when etcd is slower than its patience: once more is enough
            if not wait(lambda: self._ready() or apiserver.identity() is None or etcd.identity() is None, seconds):
                raise UserError(f"kube-apiserver was not ready within {seconds:.0f} s. " + apiserver.explain())
            if etcd.identity() is None:
                raise UserError(etcd.explain())
            if apiserver.identity() is not None:
                return
            apiserver.ensure()
        raise UserError(apiserver.explain())

    def _ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self._authority.certificate))
        context.load_cert_chain(self._directory / "pki" / "user-admin.crt", self._directory / "pki" / "user-admin.key")
        connection = http.client.HTTPSConnection(self._address, self._ports.apiserver, timeout=2, context=context)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
