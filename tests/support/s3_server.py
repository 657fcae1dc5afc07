"""A real S3 server (SeaweedFS) on loopback, for tests: the same program as in the local cluster."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from minio import Minio

from localcluster import programs
from slipway.contract import StoreKeys, store_env

_PORTS = ("master", "volume", "filer", "s3", "admin")
_START_LIMIT = 60.0


@dataclass(frozen=True)
class S3Server:
    """A running server, with the buckets ``data`` and ``models``."""

    endpoint: str
    access_key: str = "test-key"
    secret_key: str = "test-secret-key"

    @property
    def client(self) -> Minio:
        address = self.endpoint.removeprefix("http://")
        return Minio(address, self.access_key, self.secret_key, secure=False, region="us-east-1")

    def environment(self, place: str = "default") -> dict[str, str]:
        """What the place's ConfigMap and Secret make of it in a pod."""
        return {
            store_env(place, StoreKeys.ENDPOINT): self.endpoint,
            store_env(place, StoreKeys.BUCKET): "models",
            store_env(place, StoreKeys.ACCESS_KEY): self.access_key,
            store_env(place, StoreKeys.SECRET_KEY): self.secret_key,
        }


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start one with ports and a folder of its own, and take it down at the end."""
    weed = programs.ensure(["weed"]) / "weed"
    ports = _free_ports(2 * len(_PORTS))
    flags = [
        flag
        for name, port, grpc in zip(_PORTS, ports[::2], ports[1::2], strict=True)
        for flag in (f"-{name}.port={port}", f"-{name}.port.grpc={grpc}")
    ]
    server = S3Server(f"http://127.0.0.1:{ports[2 * _PORTS.index('s3')]}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        log = stack.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen(
            [
                weed,
                "mini",
                f"-dir={folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-webdav=false",
                "-admin.ui=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-metricsPort=0",
                *flags,
            ],
            cwd=folder,
            env={**os.environ, "AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key},
            stdout=log,
            stderr=log,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        _await(server, process, folder / "log")
        for bucket in ("data", "models"):
            server.client.make_bucket(bucket)
        yield server


def _await(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.endpoint}/healthz", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the S3 server did not start: {log.read_text()[-2000:]}")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
