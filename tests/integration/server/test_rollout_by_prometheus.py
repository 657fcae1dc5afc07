"""A canary by ``source: Prometheus`` with a real operator, a real Prometheus and real servers; only the gateway and the
kubelet are played, so the test itself sends each version its share of the requests."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from slipway.kube.objects import DEPLOYMENTS
from tests.integration.server.test_serving import INFER, JSON, digits_body
from tests.support import onnx_models
from tests.support.api_server import Object, eventually
from tests.support.control_plane import Cluster
from tests.support.prometheus import Prometheus, prometheus
from tests.support.server_process import ServerProcess, put_model, serving
from tests.support.world import Team, World, world_on

METRICS = [
    {"name": "errors", "maxIncrease": "0.02"},
    {"name": "slow", "threshold": "5s", "maxIncrease": "0.05"},
    {
        "name": "refused",
        "total": 'sum by (pod) (slipway_server_requests_total{namespace="$(namespace)",pod=~"$(workload)-.*"})',
        "bad": 'sum by (pod) (slipway_server_requests_total{namespace="$(namespace)",pod=~"$(workload)-.*",code="400"})',  # noqa: E501
        "maxIncrease": "0.05",
    },
]
STEPS = {"canary": {"steps": [{"setWeight": 20}, {"analysis": {}}], "scaleDownDelay": "0s"}}


@dataclass(frozen=True)
class Place:
    """The operator, and the Prometheus that it was told of. A test adds what is to be scraped."""

    world: World
    prometheus: Prometheus
    targets: Path
    numbers: Iterator[int]

    def scrape(self, namespace: str, servers: Mapping[str, ServerProcess]) -> None:
        """From now on, these servers, with the labels that docs/rollouts.md asks for."""
        made = [
            {
                "targets": [f"127.0.0.1:{server.metrics_port}"],
                "labels": {"namespace": namespace, "pod": f"digits-{version}-7f9c-abcde"},
            }
            for version, server in servers.items()
        ]
        scratch = self.targets / f".{namespace}"
        scratch.write_text(json.dumps(made))
        scratch.rename(self.targets / f"{namespace}.json")


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("prometheus")
    targets = directory / "targets"
    targets.mkdir()
    job = {"job_name": "slipway", "file_sd_configs": [{"files": [f"{targets}/*.json"], "refresh_interval": "1s"}]}
    with (
        prometheus(directory, [job]) as asked,
        world_on(cluster, prometheus_address=asked.url) as world,
    ):
        yield Place(world, asked, targets, itertools.count())
        assert not world.operator.complaints()


@contextmanager
def traffic(servers: Mapping[str, ServerProcess], refused: float) -> Iterator[None]:
    """Four requests to the stable version for each one to the candidate, of whose a share is such that it refuses."""
    over = threading.Event()

    def ask() -> None:
        with ExitStack() as stack:
            clients = [stack.enter_context(httpx.Client(base_url=s.url, timeout=20)) for s in servers.values()]
            for number in itertools.count():
                if over.wait(0.002):
                    return
                candidate = number % 5 == 4
                # evenly spread, so that whoever looks sees the share at any time
                bad = candidate and (number // 5) * refused % 1 < refused
                clients[candidate].post(INFER, content=b"{" if bad else digits_body(), headers=JSON)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


@contextmanager
def rollout(place: Place, directory: Path, *, refused: float) -> Iterator[Team]:
    """digits-v1 serves with real servers behind it, digits-v2 gets a fifth of the requests."""
    team = place.world.team()
    team.ready_version(1)
    team.ready_version(2)
    artifact = onnx_models.save(onnx_models.digits(), directory / "m.onnx")
    plain = onnx_models.spec(artifact, onnx_models.DIGITS)
    with ExitStack() as stack:
        servers = {}
        for version in ("digits-v1", "digits-v2"):
            spec = replace(plain, namespace=team.namespace, deployment="digits", modelVersion=version)
            (directory / version).mkdir()
            put_model(spec, directory / "m.onnx", directory / version / "model")
            servers[version] = stack.enter_context(serving(directory / version, spec))
        place.scrape(team.namespace, servers)
        spec_of: dict[str, Any] = {
            "strategy": STEPS,
            "replicas": 1,
            "analysis": {"source": "Prometheus", "metrics": METRICS, "maxDuration": "3m"},
        }
        team.deploy(**spec_of)
        team.deployment_until("Healthy")
        with traffic(servers, refused):
            team.deploy(version="digits-v2", **spec_of)
            yield team


def entries(live: Object) -> dict[str, Object]:
    """``status.analysis`` by metric."""
    return {entry["metric"]: entry for entry in live["status"].get("analysis", ())}


def test_a_healthy_candidate_is_promoted(place: Place, tmp_path: Path) -> None:
    with rollout(place, tmp_path, refused=0.0) as team:
        live = team.deployment_until(
            "Healthy", check=lambda d: d["status"]["stable"]["modelVersion"] == "digits-v2", seconds=150
        )
        told = [words for reason, words in team.events("digits") if reason == "AnalysisPassed"]
        assert len(told) == 1
        for metric in METRICS:
            assert f"{metric['name']} 0% against 0% (no harm)" in told[0]
    assert live["status"]["history"][0]["outcome"] == "Promoted"


def test_a_candidate_that_refuses_too_many_loans_is_stopped(place: Place, tmp_path: Path) -> None:
    with rollout(place, tmp_path, refused=0.3) as team:
        live = team.until(DEPLOYMENTS, "digits", lambda d: "abortedAt" in d["status"].get("rollout", {}), seconds=150)
        assert live["status"]["rollout"]["reason"] == "HarmFound"
        said = re.search(r"refused ([\d.]+)%", live["status"]["message"])
        assert said, live["status"]["message"]
        assert 20 < float(said[1]) < 45
        assert live["status"]["stable"]["modelVersion"] == "digits-v1"
        # Counted once the pass has ended: after the status, and after the Event.
        counted = 'slipway_rollout_verdicts_total{verdict="HarmFound"} 1.0'
        operator = place.world.operator
        eventually(lambda: counted in operator.get("/metrics"), what=counted, show=lambda: operator.get("/metrics"))


def test_a_query_that_is_wrong_decides_nothing_and_is_told(place: Place) -> None:
    team = place.world.team()
    team.ready_version(1)
    team.ready_version(2)
    wrong = {"source": "Prometheus", "metrics": [{"name": "mine", "total": "sum(", "bad": "x"}]}
    team.deploy(strategy=STEPS, replicas=1, analysis=wrong)
    team.deployment_until("Healthy")
    team.deploy(version="digits-v2", strategy=STEPS, replicas=1, analysis=wrong)
    live = team.until(DEPLOYMENTS, "digits", lambda d: "parse error" in d["status"]["message"])
    assert "unclosed left parenthesis" in live["status"]["message"]
    assert live["status"]["weights"]["candidate"] == 20
