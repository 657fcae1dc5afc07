"""The trainer pod's HTTP endpoint: ``GET /progress`` for the operator, ``GET /healthz`` for the kubelet."""

from __future__ import annotations

import logging
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from slipway.contract import dumps

from .progress import ProgressBoard

log = logging.getLogger(__name__)


class QuietHandler(BaseHTTPRequestHandler):
    """Answers in one piece, logs no line for each request, and gives a slow client 10 seconds."""

    timeout = 10
    server_version = "slipway-trainer"
    sys_version = ""

    def answer(self, status: HTTPStatus, body: str, kind: str = "application/json") -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        log.debug("http %s", format % args)


def serve_progress(board: ProgressBoard, port: int) -> int:
    """Serve progress on every address of the pod, in a thread that ends with the process. Returns the port."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            if self.path == "/progress":
                self.answer(HTTPStatus.OK, dumps(board.read()))
            elif self.path == "/healthz":
                self.answer(HTTPStatus.OK, "ok\n", "text/plain")
            else:
                self.answer(HTTPStatus.NOT_FOUND, '{"error":"ask for /progress or /healthz"}')

    return start(_AnyAddressServer(("", port), Handler))


def start(server: QuietServer) -> int:
    """Run a server in a daemon thread; returns its port."""
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return int(server.server_address[1])


class QuietServer(ThreadingHTTPServer):
    """Says nothing about a client that went away, where the base class prints a traceback."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("http client gone address=%s", client_address)


class _AnyAddressServer(QuietServer):
    """IPv6 and IPv4 on one socket; IPv4 alone where the pod has no IPv6."""

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if socket.has_dualstack_ipv6():
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()
