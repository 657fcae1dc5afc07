"""A real git server over http on a machine's own address: ``git http-backend`` behind a small server, with users.

Real repositories, made with the machine's own git. The file is a program too, for a test that has the server elsewhere
(in another network namespace): ``python git_server.py ADDRESS PORT FOLDER [USER:PASSWORD]``.
"""

from __future__ import annotations

import base64
import http.server
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_IDENTITY: Final = {
    "GIT_AUTHOR_NAME": "A Tester", "GIT_AUTHOR_EMAIL": "tester@example.com",
    "GIT_COMMITTER_NAME": "A Tester", "GIT_COMMITTER_EMAIL": "tester@example.com",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    """The machine's git, with nobody's configuration."""
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", **_IDENTITY}
    done = subprocess.run(["git", "-C", str(folder), *arguments], env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True)
class Origin:
    """A repository as its owner has it; everybody else reads it through a server."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> Origin:
        """An empty one, whose first branch is ``main``."""
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--initial-branch=main")
        return cls(path)

    def commit(self, files: Mapping[str, str | None], *, branch: str | None = None) -> str:
        """Write these files (None: delete) and commit them; the commit's name."""
        if branch is not None:
            git(self.path, "checkout", "--quiet", "-B", branch)
        for name, text in files.items():
            file = self.path / name
            if text is None:
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "--message", "a change")
        return self.head()

    def head(self, branch: str = "HEAD") -> str:
        """The newest commit of a branch, or the one that is checked out."""
        return git(self.path, "rev-parse", branch)


class _Handler(http.server.BaseHTTPRequestHandler):
    """CGI as RFC 3875 has it, as far as git http-backend asks for it."""

    protocol_version = "HTTP/1.1"
    root: Path
    user: str | None = None

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _answer(self) -> None:
        given = self.headers.get("Authorization", "")
        if self.user is not None and given != "Basic " + base64.b64encode(self.user.encode()).decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().splitlines()]
        status = next((value for name, value in fields if name == "Status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _server(address: str, port: int, root: Path, user: str | None) -> http.server.ThreadingHTTPServer:
    handler = type("Handler", (_Handler,), {"root": root, "user": user})
    return http.server.ThreadingHTTPServer((address, port), handler)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user of this machine may look into, as pytest's own may not be."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@contextmanager
def git_server(root: Path, *, user: str | None = None, certificate: Path | None = None) -> Iterator[str]:
    """Serve every repository below a folder on loopback.

    ``user`` is ``name:password``, who alone may read; with a ``certificate`` (and its key, one PEM file) it is https.
    """
    server = _server("127.0.0.1", 0, root, user)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def answers(address: str, port: int) -> bool:
    """Whether a server is there."""
    with suppress(OSError), socket.create_connection((address, port), timeout=2):
        return True
    return False


if __name__ == "__main__":
    _server(
        sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None
    ).serve_forever()
