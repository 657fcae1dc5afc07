"""When the counters are looked at, whose, and where."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from slipway.api.common import ACTION_ANNOTATION, parse_time
from slipway.api.deployment import AnalysisMetric, DeploymentSpec, DeploymentStatus, Tally
from slipway.kube.controller import Controller, Room
from slipway.kube.fake import FakeKube
from slipway.kube.objects import DEPLOYMENTS, Key, Manifest, Resource
from slipway.kube.workqueue import WorkQueue
from slipway.serving import eyes
from slipway.serving.analysis.look import INTERVAL, PODS, Counts, Look, Side, record
from slipway.serving.analysis.pods import Addresses
from slipway.serving.analysis.prometheus import Names
from slipway.serving.decide import decide, refused
from slipway.serving.eyes import FORGET, Counting
from slipway.serving.observe import observe
from slipway.serving.observed import Defaults, Observed, Running, Target
from slipway.serving.traffic import gateway_api
from tests.support.builders import NAMESPACE, T0
from tests.support.serving_builders import (
    NAME,
    analysis,
    analysis_step,
    deployment,
    errors,
    gateway,
    pause,
    ready_version,
    weight,
)
from tests.support.serving_world import DEFAULTS, World, run_until
from tests.unit.serving.stories import V2, Turn, ask_for, degraded, first, paused, say, world_with

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


class Hangs:
    """A source that takes a question and answers when it is told to, if ever."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[tuple[dict[Side, dict[str, Counts]], str]]] = []

    async def read(self, asked: Any, metrics: Sequence[AnalysisMetric]) -> tuple[dict[Side, dict[str, Counts]], str]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    async def says(self, counts: Mapping[Side, Mapping[str, Counts]], trouble: str = "") -> None:
        """Answer the last question."""
        self.asked[-1].set_result(({side: dict(found) for side, found in counts.items()}, trouble))
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass waits for nobody."""
    monkeypatch.setattr(eyes, "PATIENCE", 0.0)


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


# ------------------------------------------------------------------------------------------------- slow sources

PROMETHEUS = analysis(errors(), source="Prometheus")
ONE_EACH = {"digits-v1": [pod("s", "10.0.0.1")], "digits-v2": [pod("c", "10.0.0.2")]}
SEEN: dict[Side, dict[str, Counts]] = {"Candidate": {"c": {"requests": Tally(n=7)}}}


async def test_a_slow_prometheus_holds_no_look_up_and_its_answer_is_there_for_a_later_one(impatient: None) -> None:
    slow, woken = Hangs(), list[Key]()
    counting = Counting(Servers(pods=SEEN), slow, clock=lambda: NOW, wake=woken.append)
    seen = rollout(ONE_EACH, analysis=PROMETHEUS)
    found = await counting.look(seen)
    assert found is not None
    assert found.counts["Candidate"] == SEEN["Candidate"]
    await counting.look(seen)
    assert len(slow.asked) == 1, "one question at a time"
    assert not woken
    await slow.says({"Candidate": {"x": {"errors": Tally(n=90, bad=1)}}}, "said once")
    assert woken == [Key(NAMESPACE, NAME)]
    found = await counting.look(seen)
    assert found is not None
    assert found.counts["Candidate"]["x"] == {"errors": Tally(n=90, bad=1)}
    assert found.trouble == "said once"
    found = await counting.look(seen)
    assert found is not None
    assert "x" not in found.counts["Candidate"], "an answer counts once"
    assert found.trouble == "said once", "what is under way unsays nothing"
    assert len(slow.asked) == 2


async def test_slow_pods_do_not_hold_prometheus_up(impatient: None) -> None:
    servers = Servers(theirs={"Candidate": {"x": {"errors": Tally(n=90, bad=1)}}})
    looked = {"at": (NOW - timedelta(seconds=9)).isoformat(timespec="milliseconds"), "metrics": [], "counters": []}
    counting = Counting(Hangs(), Prometheus(servers), clock=lambda: NOW)
    found = await counting.look(at(rollout(ONE_EACH, analysis=PROMETHEUS), looked=looked))
    assert found is not None
    assert found.counts["Candidate"] == {"x": {"errors": Tally(n=90, bad=1)}}
    assert found.at == NOW - timedelta(seconds=9), "the time is that of what the pods said last"


async def test_after_a_slow_answer_the_next_one_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eyes, "PATIENCE", 0.0)
    slow = Hangs()
    counting = Counting(slow, clock=lambda: NOW)
    await counting.look(rollout(ONE_EACH))
    await slow.says(SEEN)
    monkeypatch.setattr(eyes, "PATIENCE", 3600.0)
    assert await counting.look(rollout(ONE_EACH)) is not None  # takes the answer
    assert await counting.look(rollout(ONE_EACH)) is not None  # asks anew, and would wait an hour
    await slow.says(SEEN)
    await counting.look(rollout(ONE_EACH))
    waits = asyncio.ensure_future(counting.look(rollout(ONE_EACH)))
    while len(slow.asked) < 3:
        await asyncio.sleep(0)
    assert not waits.done(), "the last answer came in time, so this one is waited for again"
    await slow.says(SEEN)
    assert (found := await waits) is not None
    assert found.counts["Candidate"] == SEEN["Candidate"]


async def test_an_answer_about_other_pods_is_not_taken(impatient: None) -> None:
    slow = Hangs()
    counting = Counting(slow, clock=lambda: NOW)
    await counting.look(rollout(ONE_EACH))
    old = slow.asked[0]
    await counting.look(rollout({**ONE_EACH, "digits-v2": [pod("d", "10.0.0.2")]}))
    assert old.cancelled()
    await slow.says({"Candidate": {"d": {"requests": Tally(n=1)}}})
    found = await counting.look(rollout({**ONE_EACH, "digits-v2": [pod("d", "10.0.0.2")]}))
    assert found is not None
    assert list(found.counts["Candidate"]) == ["d"]


async def test_an_answer_that_nobody_comes_for_is_forgotten(impatient: None) -> None:
    slow, now = Hangs(), [NOW]
    counting = Counting(slow, clock=lambda: now[0])
    gone = rollout(ONE_EACH)
    await counting.look(replace(gone, object={**gone.object, "metadata": {"name": "gone", "namespace": NAMESPACE}}))
    now[0] += FORGET + timedelta(seconds=1)
    await counting.look(rollout(ONE_EACH))
    assert slow.asked[0].cancelled()
    assert list(counting._of_pods.asked) == [Key(NAMESPACE, NAME)]


async def test_an_error_fails_one_pass_and_the_next_one_asks_anew() -> None:
    class Breaks(Servers):
        async def read(self, asked: Any, metrics: Any) -> Any:
            self.own.append("asked")
            if len(self.own) == 1:
                raise RuntimeError("a defect of ours")
            return SEEN, ""

    counting = Counting(Breaks(), clock=lambda: NOW)
    with pytest.raises(RuntimeError):
        await counting.look(rollout(ONE_EACH))
    found = await counting.look(rollout(ONE_EACH))
    assert found is not None
    assert found.counts["Candidate"] == SEEN["Candidate"]


async def test_who_is_there_and_silent_is_named_and_who_is_gone_is_not() -> None:
    before = record(Look(NOW, {"Candidate": {n: {"requests": Tally(n=1)} for n in ("c", "quiet", "gone")}}))
    servers = Servers(pods={"Candidate": {"c": {"requests": Tally(n=2)}}})
    pods = {**ONE_EACH, "digits-v2": [pod("c", "10.0.0.2"), pod("quiet", "10.0.0.3")]}
    looked = {**before.wire(), "at": (NOW - timedelta(seconds=9)).isoformat()}
    found = await look(servers, at(rollout(pods), looked=looked))
    assert found.silent == {"Stable": {"s"}, "Candidate": {"quiet"}}
    kept = record(found, before)
    assert [row.source for row in kept.counters] == ["c", "quiet"]


@pytest.mark.parametrize("answers", [True, False])
async def test_what_prometheus_showed_is_kept_while_it_does_not(answers: bool) -> None:
    before = record(
        Look(NOW, {"Candidate": {"c": {"requests": Tally(n=1)}, "x": {"errors": Tally()}, "y": {"errors": Tally()}}})
    )
    servers = Servers(pods=SEEN, theirs={"Candidate": {"y": {"errors": Tally(n=1)}}} if answers else {})
    looked = {**before.wire(), "at": (NOW - timedelta(seconds=9)).isoformat()}
    found = await look(servers, at(rollout(ONE_EACH, analysis=PROMETHEUS), looked=looked))
    assert found.silent["Candidate"] == ({"x"} if answers else {"x", "y"})
    assert {row.source for row in record(found, before).counters} == {"c", "x", "y"}


async def _passes(world: World) -> int:
    """Passes, one after the other, from a person's abort to the traffic that is all the stable version's."""
    say("abort")(world)
    for number in range(1, 20):
        await world.look()
        route = world.weights_of(
            next(iter(world.kube.all(Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute"))))
        )
        if "digits-v2 0" in route:
            return number
    raise AssertionError(world.log[-20:])


async def test_an_abort_takes_as_many_passes_while_nobody_answers(impatient: None) -> None:
    needed = []
    for source in (None, Hangs()):
        world = world_with(rate=100.0)
        for turn in (
            first(steps=[weight(10), pause()], analysis=analysis()),
            Turn(ask_for(V2), paused(V2, 10)),
        ):
            turn.act(world)
            await run_until(world, turn.until)
        if source is not None:
            world.eyes = Counting(source, source, clock=lambda world=world: world.now)  # type: ignore[misc]
            world.changes("wants Prometheus", analysis=PROMETHEUS)
            world.advance(INTERVAL)
            await world.look()
            assert source.asked
        needed.append(await _passes(world))
        await run_until(world, degraded("said abort", left=["digits-v1"]))
    assert needed[1] <= needed[0]


class Passes:
    """Counts them."""

    def __init__(self) -> None:
        self.done = 0

    def passed(self, resource: Resource, outcome: str, seconds: float, writes: int) -> None:
        assert outcome == "ok"
        self.done += 1


async def test_one_worker_is_enough_for_an_abort_beside_a_rollout_whose_sources_hang(impatient: None) -> None:
    hanging = rollout(analysis=PROMETHEUS).object
    kube = FakeKube([gateway(), *(ready_version(v) for v in ("digits-v1", "digits-v2"))])
    facts = rollout().status.wire()
    for name in ("digits", "letters"):
        made = {**hanging, "metadata": {**hanging["metadata"], "name": name}, "status": facts}
        if name == "letters":
            made["metadata"]["annotations"] = {ACTION_ANNOTATION: "abort"}
            made["spec"] = {**hanging["spec"], "analysis": None}
        kube.put(made)
    source, queue, passes = Hangs(), WorkQueue(), Passes()
    look = functools.partial(observe, defaults=replace(DEFAULTS, prometheus=True), eyes=Counting(source, source))
    controller = Controller(
        Room(DEPLOYMENTS, look, decide, lambda observed: observed.object, refused),
        kube, queue, instance="test", workers=1, resync=600, watcher=passes,
    )  # fmt: skip
    for name in ("digits", "letters"):
        queue.add(Key(NAMESPACE, name))
    for _ in range(2):
        await controller.one(await queue.take())
    assert source.asked, "the first one waits for an answer"
    status = kube.find(DEPLOYMENTS, NAMESPACE, "letters")
    assert status is not None
    assert status["status"]["rollout"]["abortedAt"]
    assert passes.done == 2
