"""An S3 server of one's own: objects in a dict, and the ways in which real ones refuse."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from slipway.contract import StoreKeys, store_env


@dataclass
class FakeS3:
    """``objects``: "bucket/key" -> bytes. ``refuse``: an S3 error code and status that every request gets."""

    objects: dict[str, bytes] = field(default_factory=dict)
    refuse: tuple[str, int] | None = None
    requests: int = 0
    endpoint: str = ""

    def environment(self, place: str = "default") -> dict[str, str]:
        """What the place's ConfigMap and Secret make of it in a pod."""
        return {
            store_env(place, StoreKeys.ENDPOINT): self.endpoint,
            store_env(place, StoreKeys.BUCKET): "models",
            store_env(place, StoreKeys.ACCESS_KEY): "key",
            store_env(place, StoreKeys.SECRET_KEY): "secret",
        }

    def answer(self, path: str) -> tuple[int, bytes]:
        self.requests += 1
        name = unquote(path.partition("?")[0]).lstrip("/")
        if self.refuse is not None:
            code, status = self.refuse
            return status, _error(code)
        if name in self.objects:
            return 200, self.objects[name]
        bucket = name.partition("/")[0]
        known = any(key.startswith(f"{bucket}/") for key in self.objects)
        return 404, _error("NoSuchKey" if known else "NoSuchBucket")


def _error(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'.encode()


@contextmanager
def fake_s3() -> Iterator[FakeS3]:
    """Serve on loopback, in a thread."""
    store = FakeS3()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = store.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/octet-stream" if status == 200 else "application/xml")
            self.end_headers()
            self.wfile.write(body)

        def do_DELETE(self) -> None:
            code, status = store.refuse or ("", 204)
            if status == 204:
                store.objects.pop(unquote(self.path.partition("?")[0]).lstrip("/"), None)
            body = _error(code) if code else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so in the standard library
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    store.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
