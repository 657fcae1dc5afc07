"""When the counters are looked at, whose, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from slipway.api.common import parse_time
from slipway.api.deployment import AnalysisMetric, DeploymentSpec, DeploymentStatus, Tally
from slipway.kube.objects import Manifest
from slipway.serving.analysis.look import INTERVAL, PODS, Counts, Side
from slipway.serving.analysis.pods import Addresses
from slipway.serving.analysis.prometheus import Names
from slipway.serving.eyes import Counting
from slipway.serving.observed import Defaults, Observed, Running, Target
from slipway.serving.traffic import gateway_api
from tests.support.builders import T0
from tests.support.serving_builders import analysis, analysis_step, deployment, errors, weight

NOW = parse_time(T0)
CUSTOM = {"name": "loans", "total": "t", "bad": "b", "maxIncrease": "0.01", "minSamples": 50}


@dataclass
class Servers:
    """Pods and a Prometheus that remember what they were asked."""

    pods: dict[Side, dict[str, Counts]] = field(default_factory=dict)
    theirs: dict[Side, dict[str, Counts]] = field(default_factory=dict)
    why: tuple[str, str] = ("", "")
    addresses: Addresses | None = None
    own: list[str] = field(default_factory=list)
    names: Mapping[Side, Names] | None = None

    async def read(
        self, asked: Mapping[Side, Mapping[str, str]], metrics: Sequence[AnalysisMetric]
    ) -> tuple[dict[Side, dict[str, Counts]], str]:
        self.addresses, self.own = asked, [m.name for m in metrics]
        return {side: dict(self.pods.get(side, {})) for side in asked}, self.why[0]


@dataclass
class Prometheus:
    """The other half of it."""

    servers: Servers

    async def read(
        self, asked: Mapping[Side, Names], metrics: Sequence[AnalysisMetric]
    ) -> tuple[dict[Side, dict[str, Counts]], str]:
        self.servers.names = asked
        return {side: dict(self.servers.theirs.get(side, {})) for side in asked}, self.servers.why[1]


def pod(name: str, ip: str | None = "10.0.0.1", phase: str = "Running") -> Manifest:
    return {"metadata": {"name": name}, "status": {"phase": phase, **({"podIP": ip} if ip else {})}}


def rollout(pods: Mapping[str, Sequence[Manifest]] = {}, *, step: int | None = 1, **spec: Any) -> Observed:
    """digits-v2 on its way to replace digits-v1, at its analysis step."""
    live = deployment("digits-v2", steps=[weight(10), analysis_step()], **{"analysis": analysis(), **spec})
    facts: dict[str, Any] = {
        side: {"modelVersion": v, "workload": f"digits-{v}", "service": f"digits-{v}"}
        for side, v in (("stable", "digits-v1"), ("candidate", "digits-v2"))
    }
    facts["rollout"] = {"target": "digits-v2", "startedAt": T0}
    if step is not None:
        facts["step"] = {"index": step, "of": 2, "startedAt": T0}
    return Observed(
        object=live,
        spec=DeploymentSpec.model_validate({k: v for k, v in live["spec"].items() if v is not None}),
        status=DeploymentStatus.model_validate(facts),
        target=Target("digits-v2", fit=True),
        defaults=Defaults(server_image="server:1", prometheus=True),
        running={version: Running(pods=tuple(some)) for version, some in pods.items()},
    )


async def look(servers: Servers, seen: Observed) -> Any:
    return await Counting(servers, Prometheus(servers), clock=lambda: NOW).look(seen)


def at(seen: Observed, **facts: Any) -> Observed:
    """With other facts; a None takes one away."""
    wire = {k: v for k, v in {**seen.status.wire(), **facts}.items() if v is not None}
    return replace(seen, status=DeploymentStatus.model_validate(wire))


async def test_the_pods_of_both_sides_are_asked() -> None:
    servers = Servers(
        pods={"Stable": {"s": {"errors": Tally(n=9)}}, "Candidate": {"c": {"errors": Tally(n=1, bad=1)}}},
        why=("c: the counters cannot be read", "never said"),
    )
    pods = {"digits-v1": [pod("s", "10.0.0.1")], "digits-v2": [pod("c", "10.0.0.2")]}
    found = await look(servers, rollout(pods))
    assert servers.addresses == {"Stable": {"s": "10.0.0.1"}, "Candidate": {"c": "10.0.0.2"}}
    assert (found.at, found.counts, found.trouble) == (NOW, servers.pods, "c: the counters cannot be read")
    assert servers.names is None, "source: Pods asks no Prometheus"


async def test_only_pods_that_run_and_have_an_address() -> None:
    servers = Servers()
    some = [pod("a", "10.0.0.1"), pod("b", None), pod("c", "10.0.0.3", "Failed"), pod("d", "10.0.0.4", "Pending")]
    await look(servers, rollout({"digits-v2": some}))
    assert servers.addresses == {"Stable": {}, "Candidate": {"a": "10.0.0.1"}}


async def test_of_many_pods_the_same_ones_each_time() -> None:
    many = [pod(f"p{i:03}", f"10.0.0.{i}") for i in range(100)]
    asked = []
    for some in (many, many[::-1]):
        servers = Servers()
        await look(servers, rollout({"digits-v2": some}))
        assert servers.addresses is not None
        asked.append(servers.addresses["Candidate"])
    assert asked[0] == asked[1]
    assert len(asked[0]) == PODS


async def test_prometheus_is_asked_for_what_is_judged_and_the_pods_for_the_rest() -> None:
    servers = Servers(
        pods={
            "Candidate": {"c": {"requests": Tally(n=100), "errors": Tally(n=100, bad=50), "disagreement": Tally(n=4)}}
        },
        theirs={"Candidate": {"x": {"errors": Tally(n=90, bad=1)}, "y": {"loans": Tally(n=7)}}},
        why=("c: slow", "Prometheus: broken"),
    )
    found = await look(servers, rollout(analysis=analysis(errors(), CUSTOM, source="Prometheus")))
    assert servers.own == []
    assert servers.names is not None
    assert servers.names["Candidate"] == {
        "namespace": "team",
        "deployment": "digits",
        "modelVersion": "digits-v2",
        "workload": "digits-digits-v2",
    }
    assert servers.names["Stable"]["modelVersion"] == "digits-v1"
    assert found.counts["Candidate"] == {
        "c": {"requests": Tally(n=100), "disagreement": Tally(n=4)},
        "x": {"errors": Tally(n=90, bad=1)},
        "y": {"loans": Tally(n=7)},
    }
    assert found.trouble == "Prometheus: broken; c: slow"


async def test_without_a_prometheus_nobody_else_is_believed() -> None:
    servers = Servers(pods={"Candidate": {"c": {"requests": Tally(n=100)}}})
    seen = rollout(analysis=analysis(errors(), CUSTOM, source="Prometheus"))
    found = await Counting(servers, None, clock=lambda: NOW).look(seen)
    assert found is not None
    assert found.counts["Candidate"] == {"c": {"requests": Tally(n=100)}}
    assert servers.own == []


def at_weight(percent: int) -> Observed:
    """At a step that only waits for the gateway, with a live route."""
    seen = rollout(step=0, analysis=None)
    assert seen.spec.route is not None
    owner = {**seen.object, "metadata": {**seen.object["metadata"], "uid": "dep-uid"}}
    weights = {"digits-v1": 100 - percent, "digits-v2": percent}
    return replace(seen, route=gateway_api.manifest(owner, seen.spec, seen.spec.route, weights))


HELD = {"target": "digits-v2", "startedAt": T0, "pausedAt": T0}
NOT: dict[str, Observed] = {
    "there is no candidate": at(rollout(), candidate=None),
    "nothing serves yet": at(rollout(), stable=None),
    "the rollout goes back": at(rollout(), rollout={"target": "digits-v2", "startedAt": T0, "abortedAt": T0}),
    "nothing is judged": rollout(analysis=None),
    "nothing is judged, and the weight is not written yet": at_weight(0),
    "a person waits, and the traffic was seen to follow": at(
        at_weight(10),
        rollout=HELD,
        weights={"stable": 90, "candidate": 10, "counted": {"stable": 900, "candidate": 100}},
    ),
    "the last look was just now": at(rollout(), looked={"at": (NOW - timedelta(seconds=INTERVAL / 2)).isoformat()}),
}


@pytest.mark.parametrize("sentence", NOT)
async def test_nobody_is_asked_where(sentence: str) -> None:
    servers = Servers()
    assert await look(servers, NOT[sentence]) is None
    assert servers.addresses is None


LOOKS: dict[str, Observed] = {
    "an analysis goes on": rollout(),
    "the background of a weight": rollout(step=0),
    "the candidate starts, and a look back will need what the stable version shows": rollout(step=None),
    "the proportion of the traffic is to be seen": at_weight(10),
    "a person waits, and the traffic was seen not to follow": at(
        at_weight(10),
        rollout=HELD,
        weights={"stable": 90, "candidate": 10, "counted": {"stable": 500, "candidate": 500}},
    ),
    "the last look was an interval ago": at(rollout(), looked={"at": (NOW - timedelta(seconds=INTERVAL)).isoformat()}),
}


@pytest.mark.parametrize("sentence", LOOKS)
async def test_somebody_is_asked_where(sentence: str) -> None:
    assert await look(Servers(), LOOKS[sentence]) is not None
