"""When the servers' requests tell whether the gateway follows, and what they tell."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from slipway.api.common import parse_time
from slipway.api.deployment import Counted, DeploymentSpec, DeploymentStatus, Looked, Tally, Weights
from slipway.serving.analysis.look import PODS, REQUESTS, Counts, Look, Side, record
from slipway.serving.decide import decide
from slipway.serving.observed import Defaults, Observed, Running, Target
from slipway.serving.rollout.record import recorded
from slipway.serving.rollout.situation import Situation
from slipway.serving.traffic import gateway_api
from slipway.serving.traffic.gateway_api import Extras
from slipway.serving.traffic.seen import ENOUGH, LATELY, SETTLE, believed, countable, counted_on, stray
from tests.support.builders import T0
from tests.support.serving_builders import analysis, analysis_step, deployment, gateway, header_step, weight
from tests.unit.serving.test_traffic import answer

NOW = parse_time(T0)
V1, V2 = "digits-v1", "digits-v2"


# ------------------------------------------------------------------------------------------------ what they tell


@pytest.mark.parametrize(
    ("stable", "candidate", "share", "by"),
    [
        pytest.param(0, 0, 10, "Conditions", id="nobody came"),
        pytest.param(ENOUGH - 1, 0, 50, "Conditions", id="one too few to tell"),
        pytest.param(ENOUGH, 0, 50, None, id="enough, and none of them where half is asked"),
        pytest.param(900, 100, 10, "Traffic", id="as asked"),
        pytest.param(870, 130, 10, "Traffic", id="three points more: requests that were on their way"),
        pytest.param(820, 180, 10, None, id="eight points more"),
        pytest.param(1_000_000, 150_000, 10, "Traffic", id="with many requests the slack is what is left"),
        pytest.param(1_000_000, 200_000, 10, None, id="and no more than it"),
        pytest.param(470, 530, 10, None, id="a hash that ignores the weights"),
        pytest.param(20, 980, 100, "Traffic", id="the last ones of the stable version"),
        pytest.param(100, 900, 100, None, id="a tenth still at the stable version"),
    ],
)
def test_believed(stable: int, candidate: int, share: int, by: str | None) -> None:
    counted = Counted(stable=stable, candidate=candidate)
    assert believed(counted, share, settled=True) == by
    assert believed(counted, share, settled=False) is None
    weights = Weights(stable=100 - share, candidate=share, counted=counted)
    assert (stray(weights) is None) is (by is not None)


def test_without_counts_the_conditions_must_do() -> None:
    assert believed(None, 10, settled=True) == "Conditions"
    assert stray(Weights(stable=90, candidate=10)) is None
    assert stray(None) is None


@pytest.mark.parametrize(
    ("accepted", "seconds", "holds"),
    [(None, 100, False), (T0, 0, False), (T0, SETTLE / 2 - 0.1, False), (T0, SETTLE / 2, True), (T0, 9, True)],
)
def test_countable_from_a_moment_after_the_gateway_took_over(accepted: str | None, seconds: float, holds: bool) -> None:
    weights = Weights(stable=90, candidate=10, accepted_at=accepted)
    assert countable(weights, NOW + timedelta(seconds=seconds)) is holds


def test_a_gateway_that_follows_late_is_seen_to_follow_soon() -> None:
    counted = counted_on(None, 900_000, 0)
    assert believed(counted, 50, settled=True) is None
    for _ in range(20 * LATELY // 1000):
        counted = counted_on(counted, 500, 500)
    assert believed(counted, 50, settled=True) == "Traffic"


# ------------------------------------------------------------------------------------------- when they tell it


def pod(name: str, *, ready: bool = True) -> dict[str, Any]:
    said = {"type": "Ready", "status": "True" if ready else "False"}
    return {"metadata": {"name": name}, "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [said]}}


def running(version: str, ready: int, waiting: int = 0) -> Running:
    pods = [pod(f"{version}-{i}", ready=i < ready) for i in range(ready + waiting)]
    return Running(pods=tuple(pods), endpoints=ready)


def world(
    share: int = 50, extras: Extras | None = None, pods: Mapping[str, Running] | None = None, **spec: Any
) -> Observed:
    """digits-v2 at a weight, with nothing that disturbs the count."""
    made = deployment(V2, steps=[weight(50), weight(60)], **spec)
    made["metadata"] |= {"uid": "dep-uid", "generation": 1}
    parsed = DeploymentSpec.model_validate({k: v for k, v in made["spec"].items() if v is not None})
    weights = {V1: 100 - share, V2: share}
    slotted = V1 if parsed.route and parsed.route.stickiness else None
    live = (
        gateway_api.manifest(made, parsed, parsed.route, weights, extras or Extras(), slotted=slotted)
        if parsed.route
        else None
    )
    if live is not None:
        live["metadata"]["generation"] = 7
        live["status"] = {"parents": [answer(7)]}
    facts: dict[str, Any] = {
        side: {"modelVersion": v, "workload": f"digits-{v}", "service": f"digits-{v}"}
        for side, v in (("stable", V1), ("candidate", V2))
    }
    facts["rollout"] = {"target": V2, "startedAt": T0}
    facts["step"] = {"index": 0, "of": 2, "startedAt": T0}
    return Observed(
        object=made,
        spec=parsed,
        status=DeploymentStatus.model_validate(facts),
        target=Target(V2, fit=True),
        defaults=Defaults("server:1"),
        running=pods or {V1: running(V1, 2), V2: running(V2, 2)},
        route=live,
        gateway=gateway(),
    )


HEADER = DeploymentSpec.model_validate(deployment(steps=[header_step()])["spec"]).strategy.canary.steps[0].header_route  # type: ignore[union-attr]
STICKY = {**deployment()["spec"]["route"], "stickiness": {"header": "x-user"}}
COUNTS: dict[str, Observed] = {
    "a weight and nothing else": world(),
    "everything": world(100),
    "as many pods as are asked": world(pods={V1: running(V1, PODS), V2: running(V2, PODS)}),
    "more pods, of which some are not ready": world(pods={V1: running(V1, 2, waiting=PODS), V2: running(V2, 2)}),
}
DOES_NOT: dict[str, Observed] = {
    "weight 0": world(0),
    "a plain Service": world(route=False),
    "copies": world(extras=Extras(V2, mirror=20)),
    "testers": world(extras=Extras(V2, header=HEADER)),
    "a preview": replace(world(), preview={"metadata": {"name": "digits-preview"}}),
    "a person's test": replace(world(), tests=({"metadata": {"name": "test"}},)),
    "clients that stay": world(route=STICKY),
    "clients that stay a moment longer": replace(world(), policy={"spec": {"loadBalancer": {}}}),
    "a stable version with a pod too many": world(pods={V1: running(V1, PODS + 1), V2: running(V2, 2)}),
    "a candidate with a pod too many": world(pods={V1: running(V1, 2), V2: running(V2, PODS + 1)}),
    "no route yet": replace(world(), route=None),
}


@pytest.mark.parametrize("sentence", COUNTS)
def test_the_count_means_something(sentence: str) -> None:
    assert Situation(COUNTS[sentence], NOW).counting


@pytest.mark.parametrize("sentence", DOES_NOT)
def test_the_count_means_nothing(sentence: str) -> None:
    seen = DOES_NOT[sentence]
    assert not Situation(seen, NOW).counting
    # and what was counted before does not hold anything up
    counted = Weights(stable=50, candidate=50, mark="generation 7", counted=Counted(stable=9000, candidate=0))
    noted = Situation(replace(seen, status=seen.status.model_copy(update={"weights": counted})), NOW).weights
    assert noted is not None
    assert noted.counted is None


def looked(
    seen: Observed,
    first: Mapping[Side, Mapping[str, int]],
    then: Mapping[Side, Mapping[str, int]],
    earlier: Looked | None = None,
    silent: Mapping[Side, Collection[str]] | None = None,
) -> Counted:
    """What is counted from the one look to the other, both long after the gateway took the route over.

    Args:
        earlier: a look before both.
        silent: who was there and did not answer at the first one.
    """
    weights = Weights(stable=50, candidate=50, mark="generation 7", accepted_at=T0)
    at = NOW + timedelta(seconds=60)
    before: Looked = record(Look(at, counts(first), silent=silent or {}, metrics={REQUESTS}), earlier)
    status = seen.status.model_copy(update={"weights": weights, "looked": before})
    now = at + timedelta(seconds=1)
    facts = recorded(Situation(replace(seen, status=status, look=Look(now, counts(then))), now))
    assert facts.weights is not None
    return facts.weights.counted or Counted()


def counts(given: Mapping[Side, Mapping[str, int]]) -> dict[Side, dict[str, Counts]]:
    return {side: {name: {REQUESTS: Tally(n=n)} for name, n in pods.items()} for side, pods in given.items()}


FIRST: dict[Side, Mapping[str, int]] = {
    "Stable": {f"{V1}-0": 5, f"{V1}-1": 5},
    "Candidate": {f"{V2}-0": 1, f"{V2}-1": 1},
}
THEN: dict[Side, Mapping[str, int]] = {
    "Stable": {f"{V1}-0": 15, f"{V1}-1": 16},
    "Candidate": {f"{V2}-0": 8, f"{V2}-1": 9},
}


def test_every_pod_that_is_sent_requests_was_asked_twice() -> None:
    assert looked(world(), FIRST, THEN) == Counted(stable=21, candidate=15)


@pytest.mark.parametrize("silent", [(FIRST, "Stable"), (FIRST, "Candidate"), (THEN, "Stable"), (THEN, "Candidate")])
def test_one_that_was_not_makes_it_a_part_of_the_whole(silent: tuple[Mapping[Side, Any], Side]) -> None:
    which, side = silent
    less = {**which, side: dict(list(which[side].items())[:1])}
    first, then = (less, THEN) if which is FIRST else (FIRST, less)
    assert looked(world(), first, then) == Counted()


def test_what_is_remembered_of_a_silent_pod_was_not_counted_at_the_same_time() -> None:
    """It may have been counted before the weights were what they are."""
    earlier = record(Look(NOW, counts(FIRST)))
    first = {**FIRST, "Candidate": {f"{V2}-0": 1}}
    assert looked(world(), first, THEN, earlier, {"Candidate": {f"{V2}-1"}}) == Counted()


def test_one_that_is_not_ready_need_not_answer() -> None:
    seen = world(pods={V1: running(V1, 2, waiting=1), V2: running(V2, 2)})
    assert looked(seen, FIRST, THEN) == Counted(stable=21, candidate=15)


def seeing(seen: Observed, then: Look, before: Looked | None) -> Looked | None:
    """What is recorded of a look at an analysis."""
    analysed = deployment(V2, steps=[analysis_step()], analysis=analysis())
    spec = DeploymentSpec.model_validate(analysed["spec"])
    status = seen.status.model_copy(update={"looked": before})
    return recorded(Situation(replace(seen, spec=spec, status=status, look=then), then.at)).looked


def test_a_look_at_which_nobody_answered_keeps_the_one_before_and_says_why() -> None:
    before = record(Look(NOW, counts(FIRST)))
    later = NOW + timedelta(seconds=1)
    found = seeing(world(), Look(later, {}, "nobody is there"), before)
    assert found == before.model_copy(update={"trouble": "nobody is there"})
    # which is one fact, however often it is seen
    assert seeing(world(), Look(later, {}, "nobody is there"), found) == found
    # and is over with the next answer
    assert seeing(world(), Look(later, counts(FIRST)), found) == record(Look(later, counts(FIRST)))


def test_the_first_look_may_already_find_nobody() -> None:
    found = seeing(world(), Look(NOW, {}, "x" * 2000), None)
    assert found is not None
    assert (found.counters, found.trouble) == ([], "x" * 1024)


def test_a_trouble_that_comes_or_goes_is_a_fact_though_nobody_counted_anything() -> None:
    before = record(Look(NOW, counts(FIRST)))
    later = NOW + timedelta(seconds=1)
    assert seeing(world(), Look(later, counts(FIRST)), before) is before, "nothing to write every second"
    found = seeing(world(), Look(later, counts(FIRST), "c: the counters cannot be read"), before)
    assert found is not None
    assert found.trouble == "c: the counters cannot be read"


def test_nothing_is_counted_on_behalf_of_a_route_that_asks_for_something_else() -> None:
    assert looked(world(0), FIRST, THEN) == Counted()


def test_a_way_back_begins_without_what_was_counted_on_the_way_there() -> None:
    weights = Weights(stable=50, candidate=50, mark="generation 7", counted=Counted(stable=900, candidate=100))
    seen = world()
    seen = replace(seen, status=seen.status.model_copy(update={"weights": weights}), action="abort", action_by="anna")
    status = decide(seen, NOW).status
    assert isinstance(status, DeploymentStatus)
    assert status.weights is not None
    assert (status.weights.candidate, status.weights.counted) == (50, None)


def test_counters_of_another_threshold_only_set_the_mark() -> None:
    """Under the same name another edge of the histogram is read: all that ever was slower than it would look new."""

    def facts(before: Looked | None, threshold: str, shown: Tally) -> DeploymentStatus:
        metric = {"name": "slow", "threshold": threshold, "maxIncrease": "0.01", "minSamples": 50}
        made = deployment(V2, steps=[analysis_step()], analysis=analysis(metric))
        seen = world()
        given = replace(
            seen,
            spec=DeploymentSpec.model_validate(made["spec"]),
            status=seen.status.model_copy(update={"looked": before, "analysis": []}),
            look=Look(NOW, {"Stable": {f"{V1}-0": {"slow": shown}}}),
        )
        return recorded(Situation(given, NOW))

    first = facts(None, "50ms", Tally(n=1000, bad=10)).looked
    assert first is not None
    (same,) = facts(first, "50ms", Tally(n=1100, bad=15)).analysis
    assert same.stable == Tally(n=100, bad=5)
    other = facts(first, "10ms", Tally(n=1100, bad=900))
    assert other.analysis[0].stable == Tally()
    (goes_on,) = facts(other.looked, "10ms", Tally(n=1200, bad=980)).analysis
    assert goes_on.stable == Tally(n=100, bad=80)
