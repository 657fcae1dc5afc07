"""A real Prometheus on loopback, with a scrape configuration that a test writes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from localcluster import programs
from tests.support.api_server import eventually
from tests.support.http_server import free_port


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def query(self, query: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query})
        answer.raise_for_status()
        made: list[dict[str, Any]] = answer.json()["data"]["result"]
        return made


@contextmanager
def prometheus(
    directory: Path,
    jobs: Sequence[Mapping[str, Any]],
    *,
    interval: str = "1s",
    prefix: Sequence[str] = (),
    host: str = "127.0.0.1",
) -> Iterator[Prometheus]:
    """Start it, wait until it answers, and take it down whatever happens. It keeps its data in ``directory``.

    ``prefix`` goes before the command (``nsenter``); ``host`` is where it listens.
    """
    port = free_port()
    program = programs.ensure(["prometheus"]) / "prometheus"
    configuration, log = directory / "prometheus.yml", directory / "prometheus.log"
    whole = {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": list(jobs)}
    configuration.write_text(json.dumps(whole))  # JSON is YAML
    argv = [
        # It ends with the thread that started it, so that a killed test run leaves none behind.
        *("setpriv", "--pdeathsig", "KILL", *prefix, str(program)),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={host}:{port}",
        "--storage.tsdb.retention.size=100MB",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        url = f"http://{host}:{port}"
        eventually(lambda: _ready(url), seconds=30, what="Prometheus being ready", show=lambda: log.read_text()[-3000:])
        yield Prometheus(url)
    finally:
        process.kill()
        process.wait(10)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False
