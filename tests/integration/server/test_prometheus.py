"""``source: Prometheus`` with nothing played: real servers, a real Prometheus, and what the operator reads of both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import httpx
import pytest

from slipway.api.deployment import AnalysisMetric, Tally
from slipway.serving.analysis.look import Counts, Side
from slipway.serving.analysis.pods import HttpCounters
from slipway.serving.analysis.prometheus import HttpPrometheus, Names
from tests.integration.server.test_serving import INFER, JSON, digits_body
from tests.support import onnx_models
from tests.support.api_server import eventually
from tests.support.prometheus import Prometheus, prometheus
from tests.support.server_process import ServerProcess, put_model, serving

VERSIONS: dict[Side, str] = {"Stable": "m-v1", "Candidate": "m-v2"}
SIDES: dict[Side, Names] = {
    side: {"namespace": "team", "deployment": "m", "modelVersion": version, "workload": f"m-{version}"}
    for side, version in VERSIONS.items()
}
ERRORS = AnalysisMetric(name="errors")
SLOW = [AnalysisMetric(name="slow", threshold=threshold) for threshold in ("50ms", "1s", "1m", "1ms")]
REFUSED = AnalysisMetric(
    name="refused",
    total='sum by (pod) (slipway_server_requests_total{namespace="$(namespace)",pod=~"$(workload)-.*"})',
    bad='sum by (pod) (slipway_server_requests_total{namespace="$(namespace)",pod=~"$(workload)-.*",code="400"})',
)


@dataclass(frozen=True)
class Place:
    """Two versions with a Prometheus that scrapes both, with the labels that docs/rollouts.md asks for."""

    servers: Mapping[Side, ServerProcess]
    prometheus: Prometheus

    def ask(self, side: Side, good: int, bad: int = 0) -> None:
        """Requests that the model answers, and some that it refuses."""
        with httpx.Client(base_url=self.servers[side].url, timeout=20) as client:
            for _ in range(good):
                assert client.post(INFER, content=digits_body(), headers=JSON).status_code == 200
            for _ in range(bad):
                assert client.post(INFER, content=b"{", headers=JSON).status_code == 400

    def read(self, *metrics: AnalysisMetric) -> Mapping[Side, Mapping[str, Tally]]:
        """What the operator reads from Prometheus, summed."""
        counts, trouble = asyncio.run(HttpPrometheus(self.prometheus.url).read(SIDES, metrics))
        assert trouble == ""
        return {side: _summed(sources) for side, sources in counts.items()}

    def direct(self, side: Side, *metrics: AnalysisMetric) -> Mapping[str, Tally]:
        """What it reads from the pod itself."""
        port = self.servers[side].metrics_port
        counts, trouble = asyncio.run(HttpCounters(port).read({side: {"pod": "127.0.0.1"}}, metrics))
        assert trouble == ""
        return _summed(counts[side])


def _summed(sources: Mapping[str, Counts]) -> dict[str, Tally]:
    made: dict[str, Tally] = {}
    for counts in sources.values():
        for metric, tally in counts.items():
            have = made.get(metric, Tally())
            made[metric] = Tally(n=have.n + tally.n, bad=have.bad + tally.bad)
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    first, second, scraper = (tmp_path_factory.mktemp(name) for name in ("v1", "v2", "prometheus"))
    artifact = onnx_models.save(onnx_models.digits(), first / "m.onnx")
    plain = onnx_models.spec(artifact, onnx_models.DIGITS)
    specs = [replace(plain, deployment="m", modelVersion=version) for version in VERSIONS.values()]
    for directory, spec in zip((first, second), specs, strict=True):
        put_model(spec, first / "m.onnx", directory / "model")
    with serving(first, specs[0]) as stable, serving(second, specs[1]) as candidate:
        servers: dict[Side, ServerProcess] = {"Stable": stable, "Candidate": candidate}
        targets = [
            {
                "targets": [f"127.0.0.1:{server.metrics_port}"],
                "labels": {"namespace": "team", "pod": f"m-{VERSIONS[side]}-7f-abcde"},
            }
            for side, server in servers.items()
        ]
        with prometheus(scraper, [{"job_name": "slipway", "static_configs": targets}]) as made:
            yield Place(servers, made)


def test_it_says_what_the_pods_say(place: Place) -> None:
    place.ask("Stable", good=20)
    place.ask("Candidate", good=7, bad=3)
    metrics = [ERRORS, *SLOW[:1]]
    wanted = {side: {m.name: place.direct(side, m)[m.name] for m in metrics} for side in VERSIONS}
    assert wanted["Candidate"]["errors"].n == 10
    eventually(
        lambda: place.read(*metrics) == wanted,
        seconds=15,
        what="Prometheus catching up",
        show=lambda: (place.read(*metrics), wanted),
    )


@pytest.mark.parametrize("metric", SLOW, ids=[str(m.threshold) for m in SLOW])
def test_each_edge_is_found_as_prometheus_spells_it(place: Place, metric: AnalysisMetric) -> None:
    place.ask("Stable", good=3)
    wanted = place.direct("Stable", metric)["slow"]
    assert wanted.n
    eventually(lambda: place.read(metric)["Stable"] == {"slow": wanted}, seconds=15, what="the bucket being found")


def test_a_persons_own_counters(place: Place) -> None:
    before = place.direct("Candidate", ERRORS)["errors"].n
    place.ask("Candidate", good=5, bad=5)
    found = eventually(
        lambda: (made := place.read(REFUSED)["Candidate"].get("refused", Tally())).n == before + 10 and made,
        seconds=15,
        what="ten more",
    )
    assert found.bad >= 5


def test_a_query_that_is_wrong_is_told_in_prometheus_words(place: Place) -> None:
    wrong = AnalysisMetric(name="mine", total="sum(", bad="x")
    counts, trouble = asyncio.run(HttpPrometheus(place.prometheus.url).read(SIDES, [wrong]))
    assert counts == {"Stable": {}, "Candidate": {}}
    assert "parse error: unclosed left parenthesis" in trouble


def test_a_query_that_counts_nothing(place: Place) -> None:
    wrong = AnalysisMetric(name="mine", total="count_over_time(up[1m]) > 1e9", bad="vector(1)")
    assert place.read(wrong)["Stable"] == {"mine": Tally(bad=1)}


def test_another_version_of_the_same_name_is_not_counted(place: Place) -> None:
    other: dict[Side, Names] = {"Candidate": {**SIDES["Candidate"], "deployment": "other"}}
    counts, trouble = asyncio.run(HttpPrometheus(place.prometheus.url).read(other, [ERRORS, *SLOW[:1]]))
    assert (counts, trouble) == ({"Candidate": {}}, "")


def test_it_takes_no_longer_than_a_look_may(place: Place) -> None:
    begun = time.monotonic()
    place.read(ERRORS, SLOW[0], REFUSED)
    assert time.monotonic() - begun < 2
