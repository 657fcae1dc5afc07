"""The stories in which evidence, a comparison or a person's test decides."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from slipway.kube.objects import BUDGETS, HTTP_ROUTES, JOBS, SERVICES, TRAFFIC_POLICIES, WORKLOADS
from tests.support.builders import NAMESPACE
from tests.support.serving_builders import (
    analysis,
    analysis_step,
    blue_green,
    deployment,
    envoy_gateway,
    errors,
    header_step,
    pause,
    shadow,
    shadow_step,
    weight,
)
from tests.support.serving_world import Until, World
from tests.unit.serving.stories import (
    V1,
    V2,
    V3,
    Story,
    Turn,
    ask_for,
    at,
    both,
    create,
    degraded,
    first,
    healthy,
    paused,
    say,
    says,
    world_with,
)

OURS = (HTTP_ROUTES, TRAFFIC_POLICIES, WORKLOADS, SERVICES, BUDGETS, JOBS)
BUSY = 1000.0
"""Requests a second."""
SLOWLY = [weight(10), analysis_step(), weight(50), analysis_step("10s")]
JOB = {
    "image": "checks:1",
    "command": ["python", "smoke.py"],
    "env": [{"name": "ROWS", "value": "100"}],
    "resources": {"cpu": "100m", "memory": "256Mi"},
    "deadline": "10m",
}
PREVIEW = "preview.digits.example.com"
CRASHED = {
    "containerStatuses": [
        {
            "name": "server",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}},
            "lastState": {
                "terminated": {
                    "exitCode": 137,
                    "reason": "OOMKilled",
                    "startedAt": "2026-01-01T00:00:00Z",
                    "finishedAt": "2026-01-01T00:10:00Z",
                }
            },
        }
    ]
}


def busy(**more: Any) -> Callable[[], World]:
    """A world with clients."""
    return lambda: world_with(rate=BUSY, **copy.deepcopy(more))


def quiet(world: World) -> None:
    """The clients go home."""
    world.tell("clients", "go home")
    world.rate = 0.0


def sour(version: str, share: float) -> Callable[[World], None]:
    """A version begins to fail."""

    def act(world: World) -> None:
        world.tell("pods", f"of {version} begin to fail {share:.0%} of their requests")
        world.errors[version] = share

    return act


def crash(version: str) -> Callable[[World], None]:
    """A version's pods are killed."""

    def act(world: World) -> None:
        trouble: dict[str, Any] = copy.deepcopy(CRASHED)
        trouble["containerStatuses"][0]["lastState"]["terminated"]["finishedAt"] = world.now.strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        world.advance(1)
        world.ails(version, trouble, f"of {version} run out of memory")

    return act


def serves(version: str) -> Until:
    """That version has all the traffic, and no rollout runs."""

    def holds(world: World) -> bool:
        status = world.status
        alone = status.get("stable", {}).get("modelVersion") == version and "candidate" not in status
        return bool(alone and status["weights"]["verified"] and world.running() == [version])

    return holds


def copied(percent: int) -> Until:
    """That share of the requests is copied, and the gateway was seen to follow."""

    def holds(world: World) -> bool:
        weights = world.status.get("weights", {})
        return bool(weights.get("mirror") == percent and weights.get("verified"))

    return holds


def held(candidate: str, percent: int, *words: str) -> Until:
    """Paused, with these words."""
    return both(paused(candidate, percent), says(*words))


def deploys(strategy: Mapping[str, Any] | None = None, **more: Any) -> Turn:
    """digits-v1 serves, with a strategy for what comes after it."""
    return first(**({"strategy": strategy} if strategy else {}), **more)


def spend(seconds: int) -> Callable[[World], None]:
    """Time passes, and nobody looks meanwhile."""
    return lambda world: world.advance(seconds)


def found(verdict: str) -> Until:
    """The analysis has come to that."""
    return lambda world: [entry["verdict"] for entry in world.status.get("analysis", ())] == [verdict]


def never_had_weight(world: World) -> bool:
    """No client was ever sent to the candidate."""
    routes = [line for line in world.log if "  routes " in line and " for " not in line]
    return all("digits-v2 0" in line for line in routes if "digits-v2" in line)


def stalled(world: World) -> bool:
    """Waiting does not help, and the condition says whose word that is."""
    found = world.condition("Stalled")
    return (found["status"], found["reason"]) == ("True", "GatewayCannot")


def gateway_class(*features: str) -> dict[str, Any]:
    """The class of the Gateway, where it lists what it is able to do."""
    made = {**envoy_gateway(), "spec": {"controllerName": "example.com/gateway"}}
    return {**made, "status": {"supportedFeatures": [{"name": name} for name in features]}}


IN_PLACE = {
    "type": "Canary",
    "surge": False,
    "canary": {"steps": [weight(50), analysis_step()], "scaleDownDelay": "5s"},
}
STICKY = {**deployment()["spec"]["route"], "stickiness": {"header": "x-user"}}


def lost(world: World) -> None:
    """The gateway's proxies do not do what its controller says."""
    world.tell("gateway", "carries 70 and 30 from now on, whatever it says")
    world.astray = {"digits-digits-v1": 70, "digits-digits-v2": 30}


def found_again(world: World) -> None:
    """They do again."""
    world.tell("gateway", "carries what it says again")
    world.astray = None


def make_way(world: World) -> None:
    """The other policy of the route is deleted."""
    world.tell("person", "deletes the other BackendTrafficPolicy")
    world.conflict = False


def hold(world: World) -> None:
    """Finalizers are put on everything of ours that there is."""
    world.tell("somebody", "puts finalizers on everything")
    for kind in OURS:
        for found in world.kube.all(kind):
            world.kube.edit(
                kind, NAMESPACE, found["metadata"]["name"], lambda o: o["metadata"].update(finalizers=["x"])
            )
    world.looked()


def let_go(world: World) -> None:
    """They are taken off again."""
    world.tell("somebody", "takes the finalizers off")
    for kind in OURS:
        for found in world.kube.all(kind):
            world.kube.edit(kind, NAMESPACE, found["metadata"]["name"], lambda o: o["metadata"].pop("finalizers", None))
    world.looked()


def leaving(*kinds: str) -> Until:
    """Objects of exactly these kinds were deleted, and are held."""

    def holds(world: World) -> bool:
        gone = {kind.kind for kind in OURS for o in world.kube.all(kind) if "deletionTimestamp" in o["metadata"]}
        return gone == set(kinds)

    return holds


def released(*versions: str) -> Until:
    """Nothing but these versions runs, and none waits for its scale-down."""
    return lambda world: world.running() == list(versions) and not world.status.get("retiring")


def verified_by(how: str) -> Until:
    """The weights are verified, and this is how."""
    return lambda world: world.status.get("weights", {}).get("verifiedBy") == how


EVIDENCE: dict[str, Story] = {
    "a preview with much traffic, harm at weight 0, and the next version begins": Story(
        busy(errors={V2: 0.2}, previews=BUSY / 2),
        [
            deploys(
                blue_green(previewHostname=PREVIEW, prePromotion={"analysis": {}}, postPromotion={"analysis": {}}),
                analysis=analysis(),
            ),
            Turn(ask_for(V2), degraded("errors 20%", left=[V1])),
            Turn(ask_for(V3), healthy(V3)),
        ],
    ),
    "a preview with much traffic, and another version takes its place": Story(
        busy(previews=BUSY),
        [
            deploys(blue_green(auto=False, previewHostname=PREVIEW)),
            Turn(ask_for(V2), paused(V2, 0)),
            Turn(lambda world: world.advance(5), paused(V2, 0)),
            Turn(ask_for(V3), paused(V3, 0)),
            Turn(say("promote"), both(healthy(V3), verified_by("Conditions"))),
        ],
    ),
    "testers who ask much hold no step up": Story(
        busy(testers=BUSY / 4),
        [
            deploys(steps=[header_step(), weight(10), pause()]),
            Turn(ask_for(V2), both(paused(V2, 10), verified_by("Conditions"))),
            Turn(lambda world: world.advance(5), paused(V2, 10)),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "a busy shadow of all requests, and the version before it is released": Story(
        busy(),
        [
            deploys(shadow(minSamples=10_000_000)),
            Turn(ask_for(V2), copied(100)),
            Turn(say("promote"), healthy(V2, alone=False)),
            Turn(ask_for(V3), both(copied(100), verified_by("Conditions"))),
            Turn(lambda world: None, both(copied(100), released(V2, V3))),
        ],
    ),
    "more pods than are asked tell nothing about the weights": Story(
        busy(),
        [
            deploys(steps=[weight(50), pause(), weight(75), pause()], replicas=32),
            Turn(ask_for(V2), both(paused(V2, 50), verified_by("Conditions"))),
            Turn(lambda world: world.advance(5), paused(V2, 50)),
            Turn(say("promote"), both(paused(V2, 75), verified_by("Conditions"))),
        ],
    ),
    "the servers count what the gateway carries": Story(
        busy(),
        [
            deploys(steps=[weight(10), pause()], analysis=analysis()),
            Turn(ask_for(V2), both(paused(V2, 10), verified_by("Traffic"))),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "a gateway whose proxies do not follow": Story(
        busy(),
        [
            deploys(steps=[weight(10), pause("5s"), weight(50), pause()], analysis=analysis()),
            Turn(ask_for(V2), at(V2, 10)),
            Turn(lost, says("of the last", "30% reached the candidate, not 50%")),
            Turn(found_again, both(paused(V2, 50), verified_by("Traffic"))),
        ],
    ),
    "clients stay with their version while a canary goes up": Story(
        lambda: world_with(envoy_gateway()), [deploys(route=STICKY), Turn(ask_for(V2), healthy(V2))]
    ),
    "clients that stay go back with an abort": Story(
        lambda: world_with(envoy_gateway()),
        [
            deploys(route=STICKY, steps=[weight(50), pause()]),
            Turn(ask_for(V2), paused(V2, 50)),
            Turn(say("abort"), degraded("said abort", left=[V1])),
        ],
    ),
    "copies begin when the gateway buffers requests": Story(
        lambda: world_with(envoy_gateway(), rate=BUSY), [deploys(shadow()), Turn(ask_for(V2), healthy(V2))]
    ),
    "a pod whose counters cannot be read is spoken of once and all the while": Story(
        busy(silent={V2}),
        [
            deploys(steps=[weight(50), analysis_step("10s"), pause()], analysis=analysis(), replicas=4),
            Turn(ask_for(V2), says("the counters cannot be read")),
            Turn(lambda world: None, says("1,500 requests", "the counters cannot be read")),
            Turn(lambda world: world.silent.clear(), paused(V2, 50)),
        ],
    ),
    "finalizers hold what a rollout leaves behind": Story(
        busy(test_ends="Failed"),
        [
            deploys(blue_green(previewHostname=PREVIEW, prePromotion={"job": JOB})),
            Turn(ask_for(V2), says("the Job", "tests it")),
            Turn(hold, degraded("the test failed", left=[V1, V2])),
            Turn(
                lambda world: world.advance(60),
                leaving("HTTPRoute", "Deployment", "Service", "Job", "PodDisruptionBudget"),
            ),
            Turn(let_go, degraded("the test failed", left=[V1])),
        ],
    ),
    "finalizers hold the policy and the way to the peers": Story(
        lambda: world_with(envoy_gateway(), rate=BUSY),
        [
            deploys(shadow(minSamples=5000)),
            Turn(ask_for(V2), copied(100)),
            Turn(hold, healthy(V2, alone=False)),
            Turn(
                lambda world: world.advance(60),
                leaving("BackendTrafficPolicy", "Deployment", "Service", "PodDisruptionBudget"),
            ),
            Turn(let_go, healthy(V2)),
        ],
    ),
    "copies of which no stable pod knows": Story(
        busy(strangers=True),
        [
            deploys(shadow()),
            Turn(ask_for(V2), says("copies came, none could be matched", "NetworkPolicy", "x-request-id")),
            Turn(lambda world: world.advance(1800), held(V2, 0, "none could be matched", "no verdict within 30m")),
            Turn(lambda world: setattr(world, "strangers", False), paused(V2, 0)),
            Turn(say("resume"), healthy(V2)),
        ],
    ),
    "a policy of somebody else keeps copies from beginning": Story(
        lambda: world_with(envoy_gateway(), rate=BUSY, conflict=True),
        [
            deploys(shadow()),
            Turn(ask_for(V2), degraded("waits for copies", "Conflicted", "delete the other one", left=[V1, V2])),
            Turn(make_way, healthy(V2)),
        ],
    ),
    "a policy of somebody else keeps clients from staying": Story(
        lambda: world_with(envoy_gateway(), conflict=True),
        [
            deploys(route=STICKY),
            Turn(lambda world: None, both(healthy(V1), says("the next rollout cannot begin", "Conflicted"))),
            Turn(ask_for(V2), degraded("digits-v1 serves", "Conflicted", left=[V1])),
            Turn(make_way, healthy(V2)),
        ],
    ),
    "another gateway than Envoy Gateway cannot keep clients with their version": Story(
        lambda: world_with({**envoy_gateway(), "spec": {"controllerName": "example.com/gateway"}}),
        [Turn(create(route=STICKY), degraded("cannot keep a client with its version", left=[]))],
    ),
    "a canary that does no harm passes its analyses": Story(
        busy(errors={V1: 0.001, V2: 0.001}),
        [deploys(steps=SLOWLY, analysis=analysis()), Turn(ask_for(V2), healthy(V2))],
    ),
    "a canary that fails too often is aborted": Story(
        busy(errors={V1: 0.001, V2: 0.05}),
        [deploys(steps=SLOWLY, analysis=analysis()), Turn(ask_for(V2), degraded("errors", "against", left=[V1]))],
    ),
    "harm is found in the background of a pause": Story(
        busy(),
        [
            deploys(steps=[weight(20), pause()], analysis=analysis()),
            Turn(ask_for(V2), paused(V2, 20)),
            Turn(sour(V2, 0.2), degraded("errors", left=[V1])),
        ],
    ),
    "without a background only an analysis step aborts": Story(
        busy(errors={V2: 0.2}),
        [
            deploys(steps=[weight(20), pause(), analysis_step()], analysis=analysis(background=False)),
            Turn(ask_for(V2), paused(V2, 20)),
            Turn(say("promote"), degraded("errors", left=[V1])),
        ],
    ),
    "without traffic nothing is decided and a person is asked": Story(
        world_with,
        [
            deploys(steps=[weight(10), analysis_step()], analysis=analysis(maxDuration="20s")),
            Turn(ask_for(V2), held(V2, 10, "no verdict within 20s")),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "an analysis without a verdict goes on where the spec says so": Story(
        world_with,
        [
            deploys(
                steps=[weight(10), analysis_step()], analysis=analysis(maxDuration="20s", onInconclusive="Promote")
            ),
            Turn(ask_for(V2), healthy(V2)),
        ],
    ),
    "an analysis without a verdict aborts where the spec says so": Story(
        world_with,
        [
            deploys(steps=[weight(10), analysis_step()], analysis=analysis(maxDuration="20s", onInconclusive="Abort")),
            Turn(ask_for(V2), degraded("no verdict within 20s", left=[V1])),
        ],
    ),
    "an analysis that a person resumes begins its time anew": Story(
        world_with,
        [
            deploys(steps=[weight(10), analysis_step()], analysis=analysis(maxDuration="20s")),
            Turn(ask_for(V2), held(V2, 10, "no verdict")),
            Turn(say("resume"), says("first look")),
            Turn(lambda world: setattr(world, "rate", 3 * BUSY), healthy(V2)),
        ],
    ),
    "a candidate that crashes while it has traffic is aborted": Story(
        busy(),
        [
            deploys(steps=[weight(20), pause()]),
            Turn(ask_for(V2), paused(V2, 20)),
            Turn(crash(V2), degraded("crashed", "more memory", left=[V1])),
        ],
    ),
    "testers reach the candidate by a header before clients do": Story(
        busy(),
        [
            deploys(steps=[header_step(), pause(), weight(50)]),
            Turn(ask_for(V2), paused(V2, 0)),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "a header route goes with an abort": Story(
        busy(),
        [
            deploys(steps=[header_step(), pause()]),
            Turn(ask_for(V2), paused(V2, 0)),
            Turn(say("abort"), degraded("said abort", left=[V1])),
        ],
    ),
    "blue and green switch at once": Story(busy(), [deploys(blue_green()), Turn(ask_for(V2), healthy(V2))]),
    "blue and green with a preview, a test and a person": Story(
        busy(test_ends="Complete"),
        [
            deploys(blue_green(auto=False, previewHostname=PREVIEW, prePromotion={"job": JOB})),
            Turn(ask_for(V2), paused(V2, 0)),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "a test that fails keeps green from clients": Story(
        busy(test_ends="Failed"),
        [
            deploys(blue_green(prePromotion={"job": JOB})),
            Turn(ask_for(V2), degraded("the test failed", left=[V1])),
        ],
    ),
    "a test that failed is run anew after retry": Story(
        busy(test_ends="Failed"),
        [
            deploys(blue_green(prePromotion={"job": JOB})),
            Turn(ask_for(V2), degraded("the test failed", left=[V1])),
            Turn(lambda world: setattr(world, "test_ends", "Complete"), degraded(left=[V1])),
            Turn(say("retry"), healthy(V2)),
        ],
    ),
    "a look back after the switch keeps green": Story(
        busy(errors={V1: 0.001, V2: 0.001}),
        [
            deploys(blue_green(auto=False, postPromotion={"analysis": {}}), analysis=analysis()),
            Turn(ask_for(V2), paused(V2, 0)),
            Turn(lambda world: world.advance(5), paused(V2, 0)),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "a look back after the switch goes back to blue": Story(
        busy(errors={V1: 0.001, V2: 0.1}),
        [
            deploys(blue_green(auto=False, postPromotion={"analysis": {}}), analysis=analysis()),
            Turn(ask_for(V2), paused(V2, 0)),
            Turn(lambda world: world.advance(5), paused(V2, 0)),
            Turn(say("promote"), degraded("before the switch", left=[V1])),
        ],
    ),
    "going back to blue within the delay is instant": Story(
        busy(),
        [
            deploys(blue_green(delay="60s")),
            Turn(ask_for(V2), healthy(V2, alone=False)),
            Turn(ask_for(V1), healthy(V1)),
        ],
    ),
    "a shadow whose answers agree is promoted": Story(
        busy(differs=0.001), [deploys(shadow()), Turn(ask_for(V2), healthy(V2))]
    ),
    "a shadow whose answers differ is aborted": Story(
        busy(differs=0.3), [deploys(shadow()), Turn(ask_for(V2), degraded("disagreement", left=[V1]))]
    ),
    "a shadow that agrees is held for a person": Story(
        busy(),
        [
            deploys(shadow(on_pass="Hold")),
            Turn(ask_for(V2), paused(V2, 0)),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "a preview that does no harm lets green through": Story(
        busy(errors={V1: 0.001, V2: 0.001}, previews=25.0),
        [
            deploys(blue_green(previewHostname=PREVIEW, prePromotion={"analysis": {}}), analysis=analysis()),
            Turn(ask_for(V2), healthy(V2)),
        ],
    ),
    "a preview that fails too often keeps green from clients": Story(
        busy(errors={V1: 0.001, V2: 0.1}, previews=25.0),
        [
            deploys(blue_green(previewHostname=PREVIEW, prePromotion={"analysis": {}}), analysis=analysis()),
            Turn(ask_for(V2), both(degraded("was aborted: errors", left=[V1]), never_had_weight)),
        ],
    ),
    "a look back remembers what blue showed while nothing was judged": Story(
        lambda: world_with(rate=5.0, errors={V1: 0.0, V2: 0.0}),
        [
            deploys(
                blue_green(auto=False, postPromotion={"analysis": {}}),
                analysis=analysis(background=False, maxDuration="10m"),
            ),
            Turn(ask_for(V2), paused(V2, 0)),
            Turn(spend(20), paused(V2, 0)),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "a look back after too little of blue asks a person": Story(
        lambda: world_with(rate=5.0),
        [
            deploys(blue_green(postPromotion={"analysis": {}}), analysis=analysis(maxDuration="20s")),
            Turn(ask_for(V2), held(V2, 100, "before the switch, too few to pass", "minSamples 50")),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "a canary judged by Prometheus passes": Story(
        busy(errors={V1: 0.001, V2: 0.001}, prometheus=True),
        [deploys(steps=SLOWLY, analysis=analysis(source="Prometheus")), Turn(ask_for(V2), healthy(V2))],
    ),
    "a canary judged by Prometheus is aborted": Story(
        busy(errors={V1: 0.001, V2: 0.05}, prometheus=True),
        [
            deploys(steps=SLOWLY, analysis=analysis(source="Prometheus")),
            Turn(ask_for(V2), degraded("errors", "against", left=[V1])),
        ],
    ),
    "in place a canary that does no harm passes its analysis": Story(
        busy(errors={V1: 0.001, V2: 0.001}),
        [deploys(IN_PLACE, analysis=analysis()), Turn(ask_for(V2), healthy(V2))],
    ),
    "in place a canary that fails too often is aborted": Story(
        busy(errors={V1: 0.001, V2: 0.2}),
        [deploys(IN_PLACE, analysis=analysis()), Turn(ask_for(V2), degraded("errors", "against", left=[V1]))],
    ),
    "a gateway that cannot mirror is refused a shadow in advance": Story(
        lambda: world_with(gateway_class("HTTPRoute")),
        [
            Turn(create(strategy=shadow()), both(degraded("HTTPRouteRequestMirror", left=[]), stalled)),
            Turn(
                lambda world: world.changes("does without a shadow", strategy={"type": "Canary"}),
                healthy(V1),
            ),
        ],
    ),
    "a gateway that cannot mirror a part is refused half a shadow": Story(
        lambda: world_with(gateway_class("HTTPRoute", "HTTPRouteRequestMirror"), rate=BUSY),
        [
            Turn(create(strategy=shadow(percent=50)), both(degraded("write percent: 100", left=[]), stalled)),
            Turn(lambda world: world.changes("copies everything", strategy=shadow()), healthy(V1)),
            Turn(ask_for(V2), healthy(V2)),
        ],
    ),
    "clients that stay switch with blue and green": Story(
        lambda: world_with(envoy_gateway()),
        [deploys(blue_green(), route=STICKY), Turn(ask_for(V2), healthy(V2))],
    ),
    "clients that stay are not moved by a shadow": Story(
        lambda: world_with(envoy_gateway(), rate=BUSY),
        [deploys(shadow(), route=STICKY), Turn(ask_for(V2), healthy(V2))],
    ),
    "a shadow that says itself how long it may take": Story(
        world_with,
        [
            deploys(shadow(maxDuration="40s", onInconclusive="Abort")),
            Turn(ask_for(V2), copied(100)),
            Turn(spend(40), degraded("no verdict within 40s", left=[V1])),
        ],
    ),
    "a stricter margin in mid-rollout is judged anew": Story(
        busy(errors={V1: 0.001, V2: 0.03}),
        [
            deploys(steps=[weight(20), pause()], analysis=analysis(errors(margin="0.1"))),
            Turn(ask_for(V2), both(paused(V2, 20), found("NoHarm"))),
            Turn(
                lambda world: world.changes("tolerates less", analysis=analysis(errors(margin="0.001"))),
                degraded("errors 3%", left=[V1]),
            ),
        ],
    ),
    "a way back is open where the strategy cannot be carried out any more": Story(
        busy(),
        [
            deploys(blue_green(delay="60s")),
            Turn(ask_for(V2), healthy(V2, alone=False)),
            Turn(
                lambda world: world.changes("wants Prometheus", analysis=analysis(source="Prometheus")),
                says("not told of one"),
            ),
            Turn(ask_for(V1), both(says("not told of one"), serves(V1))),
        ],
    ),
    "going back after a shadow replaces no pod": Story(
        busy(),
        [
            deploys(shadow(delay="60s")),
            Turn(ask_for(V2), healthy(V2, alone=False)),
            Turn(ask_for(V1), healthy(V1)),
        ],
    ),
    "a shadow first, then a canary with evidence": Story(
        busy(),
        [
            deploys(steps=[shadow_step(50), weight(10), analysis_step(), weight(50)], analysis=analysis(errors())),
            Turn(ask_for(V2), healthy(V2)),
        ],
    ),
    "a shadow without clients comes to no verdict": Story(
        world_with,
        [
            deploys(shadow()),
            Turn(ask_for(V2), copied(100)),
            Turn(lambda world: world.advance(1800), held(V2, 0, "no verdict within 30m")),
        ],
    ),
    "another version takes the place of a shadow": Story(
        world_with,
        [
            deploys(shadow()),
            Turn(ask_for(V2), says("copies of 100%")),
            Turn(ask_for(V1), healthy(V1)),
        ],
    ),
    "clients that leave in the middle of an analysis": Story(
        busy(),
        [
            deploys(steps=[weight(10), analysis_step()], analysis=analysis(errors(margin="0.0001"), maxDuration="40s")),
            Turn(ask_for(V2), at(V2, 10)),
            Turn(quiet, held(V2, 10, "no verdict")),
            Turn(say("abort"), degraded("said abort", left=[V1])),
        ],
    ),
}
