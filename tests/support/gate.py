"""A gate between the operator and the API server: it sees each write before it is stored, and may end the operator
instead.

It is a validating webhook, so the API server itself asks about each write, of whatever kind, and waits for the answer.
So it is known exactly what was written, and "the operator died after this write" means that this write is stored and
the next one, which it was just about to do, is not.

The webhook answers inside this process, on a socket that lies in the node's network, where the API server is. It asks
about one namespace and one writer only, and a gate that is gone lets everything through.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from localcluster.pki import Authority
from slipway.kube.objects import CONFIG_MAPS, Resource
from tests.support import node
from tests.support.api_server import Api, Object, eventually
from tests.support.e2e import OperatorProcesses, Tenant

WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    namespaced=False,
)
PATIENCE: Final = 30
"""Seconds that the API server waits for an answer: the most that it takes. One that comes later counts for nothing."""
_NAME: Final = "gate.tests.slipway.dev"
_PROBE: Final = "gate-probe"
"""Name of an object that is never stored, by which is seen that the API server asks here."""
_POD: Final = "authentication.kubernetes.io/pod-uid"
"""Where the API server says which pod a service account's token was made for."""
_NEW_NETWORK: Final = 0x40000000
"""CLONE_NEWNET of sched.h."""


@dataclass(frozen=True)
class Write:
    """One write that the operator wants done.

    Attributes:
        life: the uid of the operator's pod: another one for each life.
        operation: CREATE, UPDATE or DELETE.
        kind: with its group: ``Service``, ``Deployment.apps``, ``Deployment.slipway.dev/status``.
        object: as it is to be stored; what is deleted, as it was.
    """

    life: str
    operation: str
    kind: str
    name: str
    object: Object

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Write:
        """From an ``AdmissionReview``'s request."""
        kind, obj = request["kind"], request.get("object") or request.get("oldObject") or {}
        named = f"{kind['kind']}.{kind['group']}".rstrip(".")
        part = request.get("subResource")
        return cls(
            request["userInfo"].get("extra", {}).get(_POD, [""])[0],
            request["operation"],
            f"{named}/{part}" if part else named,
            request.get("name") or obj.get("metadata", {}).get("name", ""),
            obj,
        )

    def __str__(self) -> str:
        return f"{self.operation} {self.kind} {self.name}"


class Lives:
    """Which writes are let through: all, or of each life of the operator the first one alone.

    Attributes:
        written: the writes that were let through.
        ended: the writes before which the operator was killed.
        longest: the longest that a write had to wait for its answer, in seconds.
    """

    def __init__(self, kill: Callable[[], None] | None = None) -> None:
        """Where ``kill`` is given, it is called before the second write of each life, which is then refused."""
        self.written: list[Write] = []
        self.ended: list[Write] = []
        self.longest = 0.0
        self._kill = kill
        self._over: set[str] = set()
        self._lock = threading.Lock()

    def lets_through(self, write: Write) -> bool:
        """Whether it is to be stored. Others wait meanwhile; who is dead by then is refused too."""
        begun = time.monotonic()
        with self._lock:
            answer = self._judge(write)
            self.longest = max(self.longest, time.monotonic() - begun)
        return answer

    def _judge(self, write: Write) -> bool:
        assert write.life, f"the API server does not say which pod wants {write}"
        if write.life in self._over:
            return False
        if self._kill is None or all(write.life != done.life for done in self.written):
            self.written.append(write)
            return True
        self._over.add(write.life)
        self.ended.append(write)
        self._kill()
        return False


class Gate:
    """The gate of one namespace, for a ``with`` block; ``lives`` says what came through.

    Raises:
        BaseException: at the end of the block, what went wrong while a write was judged.
    """

    def __init__(
        self, kubeconfig: Path, namespace: str, writer: str, lives: Lives, folder: Path, listening: socket.socket
    ) -> None:
        """Describe it.

        Args:
            kubeconfig: an administrator's.
            writer: the user whose writes are asked about.
            folder: where certificates are written: an empty one.
            listening: where the API server asks, by the address 127.0.0.1.
        """
        self.lives = lives
        self._namespace, self._writer = namespace, writer
        self._authority = Authority(folder)
        self._api = Api(kubeconfig)
        self._asked = threading.Event()
        self._trouble: list[BaseException] = []
        self._server = serve(self._answer, listening, self._context())

    @classmethod
    def on_the_node(cls, tenant: Tenant, lives: Lives, folder: Path) -> Gate:
        """Between the operator of the local cluster and a tenant's namespace."""
        (pod, *_) = OperatorProcesses(tenant.world).pods()
        writer = f"system:serviceaccount:{pod['metadata']['namespace']}:{pod['spec']['serviceAccountName']}"
        kubeconfig = Path(tenant.world.environment["KUBECONFIG"])
        return cls(kubeconfig, tenant.name, writer, lives, folder, _socket_on_the_node(tenant))

    def __enter__(self) -> Gate:
        self._api.delete(WEBHOOKS, None, _NAME)  # of a test run that was killed
        self._api.call("POST", WEBHOOKS.path(None), self._configuration())
        probe = {"name": _PROBE, "namespace": self._namespace}
        asking = {"apiVersion": "v1", "kind": CONFIG_MAPS.kind, "metadata": probe}
        eventually(
            lambda: self._api.apply(asking, dry_run=True) and self._asked.is_set(),
            seconds=30,
            interval=0.25,
            what="the API server asking the gate",
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._api.delete(WEBHOOKS, None, _NAME)
        self._api.close()
        self._server.shutdown()
        self._server.server_close()
        if self._trouble and value is None:
            raise self._trouble[0]

    def _answer(self, request: Mapping[str, Any]) -> bool:
        if request.get("name") == _PROBE:
            self._asked.set()
            return True
        try:
            return self.lives.lets_through(Write.of(request))
        except BaseException as error:
            self._trouble.append(error)
            return False

    def _context(self) -> ssl.SSLContext:
        self._authority.ensure()
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(*self._authority.issue("gate", "gate", names=("IP:127.0.0.1",)))
        return made

    def _configuration(self) -> Object:
        authority = base64.b64encode(self._authority.certificate.read_bytes()).decode()
        hook = {
            "name": _NAME,
            "clientConfig": {
                "url": f"https://127.0.0.1:{self._server.server_port}/",
                "caBundle": authority,
            },
            "rules": [
                {
                    "apiGroups": ["*"],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE", "DELETE"],
                    "resources": ["*/*"],
                    "scope": "Namespaced",
                }
            ],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self._namespace}},
            "matchConditions": [
                {
                    "name": "writer",
                    "expression": f"request.userInfo.username == '{self._writer}' || request.name == '{_PROBE}'",
                }
            ],
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "timeoutSeconds": PATIENCE,
        }
        return {
            "apiVersion": WEBHOOKS.api_version,
            "kind": WEBHOOKS.kind,
            "metadata": {"name": _NAME},
            "webhooks": [hook],
        }


def serve(
    judge: Callable[[Mapping[str, Any]], bool], listening: socket.socket, context: ssl.SSLContext | None = None
) -> ThreadingHTTPServer:
    """Answer ``AdmissionReview`` documents in threads.

    Args:
        judge: of an AdmissionReview's request, whether it is allowed.
        listening: where to answer.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
            response = {"uid": asked["uid"], "allowed": judge(asked)}
            review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
            body = json.dumps(review).encode()
            with suppress(OSError):  # whoever asked was killed meanwhile
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(listening.getsockname(), Handler, bind_and_activate=False)
    server.daemon_threads = True
    server.server_port = listening.getsockname()[1]
    server.socket.close()
    # The handshake is the business of the connection's own thread.
    server.socket = (
        context.wrap_socket(listening, server_side=True, do_handshake_on_connect=False) if context else listening
    )
    threading.Thread(target=server.serve_forever, args=(0.05,), name="gate", daemon=True).start()
    return server


def _socket_on_the_node(tenant: Tenant) -> socket.socket:
    """A socket belongs to the network in which it was made, and a network to a thread."""
    made: list[socket.socket] = []

    def work() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        network = os.open(f"/proc/{node.holder(tenant.world)}/ns/net", os.O_RDONLY)
        try:
            assert libc.setns(network, _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
        finally:
            os.close(network)
        made.append(socket.create_server(("127.0.0.1", 0)))

    thread = threading.Thread(target=work)  # it ends there, and nothing else of this process ever was there
    thread.start()
    thread.join()
    assert made, "no socket could be made in the node's network"
    return made[0]


def told(write: Write, roles: Mapping[str, str]) -> str | None:
    """What a write of a rollout says, in words that are the same for any two versions and at any time; None for an
    Event, which nobody reads back, and for what is no step of the rollout: how far its evidence is, and what the
    versions' own status says of it.

    Args:
        roles: what a version is, by its name: ``candidate``.
    """
    if write.kind.startswith(("Event", "ModelVersion")):
        return None

    def named(text: str) -> str:
        for version, role in roles.items():
            text = text.replace(version, role)
        return re.sub(r"-test-\d+$", "-test", text)

    said = f"{write.operation} {write.kind} {named(write.name)}"
    if write.operation == "DELETE":
        return said
    if write.kind == "HTTPRoute.gateway.networking.k8s.io":
        return f"{said}: {', '.join(sorted(map(named, _traffic(write.object))))}"
    if write.kind == "Deployment.slipway.dev/status":
        return f"{said}: {named(_facts(write.object.get('status', {})))}"
    replicas = write.object.get("spec", {}).get("replicas")
    return said if replicas is None else f"{said}: {replicas} replicas"


def _traffic(route: Mapping[str, Any]) -> Iterator[str]:
    for rule in route["spec"]["rules"]:
        for backend in rule["backendRefs"]:
            yield f"{backend['name']} {backend.get('weight', 1)}"
        for each in rule.get("filters", ()):
            if "requestMirror" in each:
                yield f"copies for {each['requestMirror']['backendRef']['name']}"


def _facts(status: Mapping[str, Any]) -> str:
    """What decisions have changed: each of them is one write."""

    def version(key: str) -> str:
        return str(status.get(key, {}).get("modelVersion", "nobody"))

    step = status.get("step", {}).get("index", "none")
    retiring = ", ".join(each["modelVersion"] for each in status.get("retiring", ())) or "nobody"
    return (
        f"{status.get('phase')}, step {step}, {version('stable')} serves, {version('candidate')} is on its way, "
        f"{retiring} retires"
    )
