"""The stories of a Deployment: what happens, and what must come of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slipway.contract import EXIT_USER_ERROR
from slipway.kube.fake import FakeKube
from slipway.kube.objects import DEPLOYMENTS, GATEWAYS, HTTP_ROUTES, MODEL_VERSIONS, WORKLOADS
from tests.support.builders import NAMESPACE, failure
from tests.support.serving_builders import (
    NAME,
    deployment,
    gateway,
    pause,
    ready_version,
    version_status,
    weight,
)
from tests.support.serving_world import Until, World

V1, V2, V3 = "digits-v1", "digits-v2", "digits-v3"


@dataclass(frozen=True)
class Turn:
    """Somebody acts, and then it must come to ``until``."""

    act: Callable[[World], None]
    until: Until


@dataclass(frozen=True)
class Story:
    """Where it begins, and its turns."""

    begin: Callable[[], World]
    turns: Sequence[Turn]


# ---------------------------------------------------------------------------------------------- what may hold


def healthy(version: str, *, alone: bool = True) -> Until:
    """That version serves and no rollout runs; ``alone``: no other version is left."""

    def holds(world: World) -> bool:
        status = world.status
        done = status.get("phase") == "Healthy" and status["stable"]["modelVersion"] == version
        settled = done and "candidate" not in status and status["weights"]["verified"]
        return bool(settled and (not alone or (world.running() == [version] and not status.get("retiring"))))

    return holds


def paused(candidate: str, percent: int) -> Until:
    """The rollout waits for a person, and that share was taken over."""

    def holds(world: World) -> bool:
        status = world.status
        weights = status.get("weights", {})
        return (
            status.get("phase") == "Paused"
            and status.get("candidate", {}).get("modelVersion") == candidate
            and (weights.get("candidate"), weights.get("verified")) == (percent, True)
        )

    return holds


def at(candidate: str, percent: int) -> Until:
    """The candidate's share was taken over."""

    def holds(world: World) -> bool:
        status = world.status
        weights = status.get("weights", {})
        mine = status.get("candidate", {}).get("modelVersion") == candidate
        return bool(mine and weights.get("candidate") == percent and weights.get("verified"))

    return holds


def degraded(*words: str, left: Sequence[str]) -> Until:
    """Given up or stuck, with these words, and only these versions left."""

    def holds(world: World) -> bool:
        status = world.status
        said = status.get("phase") == "Degraded" and all(w in status["message"] for w in words)
        return said and sorted(world.running()) == sorted(left)

    return holds


def says(*words: str) -> Until:
    """The message holds these words."""
    return lambda world: all(w in world.status.get("message", "") for w in words)


def answered(*words: str) -> Until:
    """The last verb was answered with these words, and its annotation is gone."""

    def holds(world: World) -> bool:
        last = world.status.get("lastAction", {})
        removed = not world.the(DEPLOYMENTS, NAME)["metadata"].get("annotations")
        return all(w in last.get("result", "") for w in words) and not last.get("pending") and removed

    return holds


def both(*some: Until) -> Until:
    """All of them hold."""
    return lambda world: all(each(world) for each in some)


# ------------------------------------------------------------------------------------------------- what happens


def world_with(*objects: Mapping[str, Any], versions: Sequence[str] = (V1, V2, V3), **more: Any) -> World:
    """A world with a Gateway and some versions that are Ready."""
    return World(kube=FakeKube([gateway(), *(ready_version(v) for v in versions), *objects]), **more)


def create(**spec: Any) -> Callable[[World], None]:
    """A person applies the Deployment."""
    made = deployment(**spec)
    asked = made["spec"].get("modelVersion") or f"alias {made['spec']['alias']}"
    return lambda world: world.applies(made, f"applies Deployment {NAME}: {asked}, {made['spec']['replicas']} replicas")


def ask_for(version: str) -> Callable[[World], None]:
    """A person asks for another version."""
    return lambda world: world.changes(f"asks for {version}", modelVersion=version)


def say(verb: str) -> Callable[[World], None]:
    """A person says a verb."""
    return lambda world: world.says(verb)


def first(**spec: Any) -> Turn:
    """digits-v1 serves."""
    return Turn(create(**spec), healthy(V1))


def lose_pods(version: str) -> Callable[[World], None]:
    """All pods of a version stop being ready."""
    return lambda world: world.ails(version, {}, f"of {version} stop being ready")


TAMPERED = {
    "containerStatuses": [
        {
            "name": "server",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}},
            "lastState": {
                "terminated": {
                    "exitCode": EXIT_USER_ERROR,
                    "message": failure("DigestMismatch", "s3://models/digits/2.onnx is sha256:bb, not sha256:aa"),
                }
            },
        }
    ]
}
UNSCHEDULABLE = {
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
        }
    ]
}
NO_IMAGE = {
    "containerStatuses": [
        {
            "name": "server",
            "state": {
                "waiting": {
                    "reason": "ImagePullBackOff",
                    "message": 'Back-off pulling image "server:1": ErrImagePull: not found',
                }
            },
        }
    ]
}
BY_HAND = (weight(10), pause(), weight(50), pause())


def remove_gateway(world: World) -> None:
    """Somebody deletes the Gateway."""
    world.tell("person", "deletes the Gateway")
    world.kube.remove(GATEWAYS, "gateways", "public")


def add_gateway(world: World) -> None:
    """Somebody makes the Gateway."""
    world.tell("person", "makes the Gateway")
    world.kube.put(gateway())


def refuse(world: World) -> None:
    """The gateway says no."""
    world.tell("gateway", "does not allow routes from this namespace any more")
    world.refusal = {"Accepted": "NotAllowedByListeners: no listener admits routes from namespace team"}


def allow(world: World) -> None:
    """The gateway says yes again."""
    world.tell("gateway", "allows routes from this namespace")
    world.refusal = None


def move_alias(world: World) -> None:
    """The alias goes from v1 to v2."""
    world.version(ready_version(V2, aliases=["champion"]), f"gives the alias champion to {V2}")
    world.version(ready_version(V1), f"takes the alias champion from {V1}")


def verify_v2(world: World) -> None:
    """digits-v2 is registered and being verified."""
    version = ready_version(V2)
    version["status"] = version_status("False", phase="Verifying", message="a pod is reading the file")
    world.version(version, f"registers {V2}")


ROUTE = deployment()["spec"]["route"]


def objects(kind: str) -> Until:
    """Of route and front Service there is this one and not the other."""

    def holds(world: World) -> bool:
        there = {"HTTPRoute": world.kube.find(HTTP_ROUTES, NAMESPACE, NAME), "Service": world.front}
        return [k for k, found in there.items() if found] == [kind]

    return holds


def forget_v1(world: World) -> None:
    """Somebody deletes a ModelVersion that is served."""
    world.tell("person", f"deletes ModelVersion {V1}")
    world.kube.remove(MODEL_VERSIONS, NAMESPACE, V1)


def edit_route(world: World) -> None:
    """Somebody thinks that weights are theirs."""
    world.tell("person", "sets the weights of the route to 0 and 100")

    def change(route: dict[str, Any]) -> None:
        for backend, percent in zip(route["spec"]["rules"][0]["backendRefs"], (0, 100), strict=True):
            backend["weight"] = percent

    world.kube.edit(HTTP_ROUTES, NAMESPACE, NAME, change)
    world.looked()


def mute(world: World) -> None:
    """Nothing comes from the gateway any more."""
    world.tell("gateway", "falls silent")
    world.mute = True


def speak(world: World) -> None:
    """It works again."""
    world.tell("gateway", "works again")
    world.mute = False


def hold_pods(world: World) -> None:
    """Pods with a new template find no room."""
    world.tell("kubelet", "has no room for one pod more")
    world.stale.add(V1)


def replace_pods(world: World) -> None:
    """They find room."""
    world.tell("kubelet", "has room again, and replaces the pods")
    world.stale.clear()


def repaired(world: World) -> bool:
    """The route was written again after the edit, which was its fourth generation."""
    return bool(world.the(HTTP_ROUTES, NAME)["metadata"]["generation"] >= 5)


def _no_gateway() -> World:
    return World(kube=FakeKube([ready_version(V1)]))


def _not_installed() -> World:
    return World(kube=FakeKube([ready_version(V1)], not_installed=[HTTP_ROUTES, GATEWAYS]))


def _refused() -> World:
    world = world_with()
    world.refusal = {"Accepted": "NoMatchingListenerHostname: no listener has the host digits.example.com"}
    return world


def _broken(version: str, trouble: Mapping[str, Any]) -> Callable[[], World]:
    return lambda: world_with(troubles={version: copy.deepcopy(dict(trouble))})


def replicas_of(**wanted: int) -> Until:
    """Workloads have so many replicas."""

    def holds(world: World) -> bool:
        found = {w["metadata"]["labels"]["slipway.dev/model-version"]: w for w in world.kube.all(WORKLOADS)}
        return all(
            (w := found.get(v.replace("_", "-"))) is not None
            and w["spec"]["replicas"] == n
            and w.get("status", {}).get("readyReplicas") == n
            for v, n in wanted.items()
        )

    return holds


STORIES: dict[str, Story] = {
    "the first version serves": Story(world_with, [first()]),
    "a canary goes 10, 50, 100 by itself": Story(world_with, [first(), Turn(ask_for(V2), healthy(V2))]),
    "a canary whose steps end at 100 is promoted without another move": Story(
        world_with, [first(steps=[weight(50), weight(100), pause("5s")]), Turn(ask_for(V2), healthy(V2))]
    ),
    "a canary waits for a person at each pause": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(say("promote"), paused(V2, 50)),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "promote-full skips the steps": Story(
        world_with,
        [first(steps=BY_HAND), Turn(ask_for(V2), paused(V2, 10)), Turn(say("promote-full"), healthy(V2))],
    ),
    "promote-full before the candidate is ready still keeps the safe order": Story(
        world_with,
        [first(steps=BY_HAND), Turn(ask_for(V2), says("0 of 1")), Turn(say("promote-full"), healthy(V2))],
    ),
    "abort before the candidate is ready": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), says("0 of 1")),
            Turn(say("abort"), degraded("was aborted", left=[V1])),
        ],
    ),
    "abort at 10 percent, then retry": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(say("abort"), degraded("kubectl-annotate said abort", left=[V1])),
            Turn(say("retry"), paused(V2, 10)),
            Turn(say("promote-full"), healthy(V2)),
        ],
    ),
    "abort at 50 percent, and retry while its replicas still run": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(say("promote"), paused(V2, 50)),
            Turn(say("abort"), degraded("aborted at 50%", left=[V1, V2])),
            Turn(say("retry"), paused(V2, 10)),
        ],
    ),
    "abort while everything moves to the candidate": Story(
        world_with,
        [
            first(steps=[weight(50), pause()]),
            Turn(ask_for(V2), paused(V2, 50)),
            Turn(say("promote"), says("all steps are done")),
            Turn(say("abort"), degraded("said abort", left=[V1])),
        ],
    ),
    "an abort, then another version": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(say("abort"), degraded("said abort", left=[V1, V2])),
            Turn(ask_for(V3), paused(V3, 10)),
            Turn(say("promote-full"), healthy(V3)),
        ],
    ),
    "an abort, then the stable version again": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(say("abort"), degraded("said abort", left=[V1, V2])),
            Turn(ask_for(V1), healthy(V1)),
        ],
    ),
    "pause holds a timed step, resume lets it go on": Story(
        world_with,
        [
            first(),
            Turn(ask_for(V2), at(V2, 10)),
            Turn(say("pause"), both(paused(V2, 10), answered("held at 10%"))),
            Turn(lambda w: w.advance(60), paused(V2, 10)),
            Turn(say("resume"), healthy(V2)),
        ],
    ),
    "a newer version takes the candidate's place": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(ask_for(V3), paused(V3, 10)),
            Turn(say("promote-full"), healthy(V3)),
        ],
    ),
    "the stable version is asked for again in mid-rollout": Story(
        world_with,
        [first(steps=BY_HAND), Turn(ask_for(V2), paused(V2, 10)), Turn(ask_for(V1), healthy(V1))],
    ),
    "back to the former version at once, because its replicas still run": Story(
        world_with,
        [
            first(delay="2m"),
            Turn(ask_for(V2), healthy(V2, alone=False)),
            Turn(ask_for(V1), healthy(V1, alone=False)),
        ],
    ),
    "back to the former version by steps, because its replicas are gone": Story(
        world_with,
        [
            first(steps=BY_HAND, delay="5s"),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(say("promote-full"), healthy(V2)),
            Turn(ask_for(V1), paused(V1, 10)),
        ],
    ),
    "a candidate that no node can take is given up at the deadline": Story(
        _broken(V2, UNSCHEDULABLE),
        [
            first(),
            Turn(ask_for(V2), says("Insufficient nvidia.com/gpu")),
            Turn(lambda w: None, degraded("0 of 1 replica ready within 30s", "Insufficient nvidia.com/gpu", left=[V1])),
        ],
    ),
    "a candidate whose file was tampered with is given up at once": Story(
        _broken(V2, TAMPERED), [first(), Turn(ask_for(V2), degraded("not sha256:aa", left=[V1]))]
    ),
    "a candidate that loses its pods in mid-rollout gives its traffic back, and later the rollout up": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(lose_pods(V2), both(paused(V2, 0), says("0 of 1 replica ready, which carries 0%"))),
            Turn(say("promote"), degraded("0 of 1 replica ready within 30s", left=[V1])),
        ],
    ),
    "a stable version that loses its pods does not block a good candidate": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(lose_pods(V1), paused(V2, 100)),
            Turn(say("promote-full"), healthy(V2)),
        ],
    ),
    "the first version cannot start": Story(
        _broken(V1, NO_IMAGE),
        [
            Turn(create(), says("server:1 cannot be had")),
            Turn(lambda w: None, degraded("cannot be had", left=[V1])),
            Turn(say("abort"), answered("no version to go back to")),
            Turn(lambda w: w.heals(V1), healthy(V1)),
        ],
    ),
    "the first version cannot start and another is asked for": Story(
        _broken(V1, TAMPERED),
        [Turn(create(), degraded("not sha256:aa", left=[V1])), Turn(ask_for(V2), healthy(V2))],
    ),
    "the gateway is missing, then it comes": Story(
        _no_gateway,
        [
            Turn(create(), degraded("Gateway gateways/public does not exist", left=[V1])),
            Turn(add_gateway, healthy(V1)),
        ],
    ),
    "Gateway API is not installed": Story(
        _not_installed, [Turn(create(), both(says("digits-v1 runs", "not installed"), replicas_of(digits_v1=2)))]
    ),
    "the gateway refuses the route, then it does not": Story(
        _refused,
        [
            Turn(create(), degraded("refuses the route: NoMatchingListenerHostname", left=[V1])),
            Turn(allow, healthy(V1)),
        ],
    ),
    "the gateway refuses the route in mid-rollout": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(refuse, says("refuses the route: NotAllowedByListeners")),
            Turn(say("abort"), says("it leaves the traffic")),
            Turn(allow, degraded("said abort", left=[V1])),
        ],
    ),
    "a canary behind a plain Service": Story(
        world_with,
        [
            first(route=False, replicas=4, steps=[weight(20), pause(), weight(50), pause()]),
            Turn(ask_for(V2), paused(V2, 20)),
            Turn(say("promote"), paused(V2, 50)),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "an abort behind a plain Service is one write of a selector": Story(
        world_with,
        [
            first(route=False, steps=BY_HAND),
            Turn(ask_for(V2), both(paused(V2, 33), says("at 33% (asked 10%)"))),
            Turn(say("abort"), degraded("aborted at 33%", left=[V1])),
        ],
    ),
    "version after version behind a plain Service": Story(
        world_with,
        [
            first(route=False, steps=BY_HAND, delay="10m"),
            Turn(ask_for(V2), paused(V2, 33)),
            Turn(say("promote-full"), healthy(V2, alone=False)),
            Turn(ask_for(V3), paused(V3, 33)),
            Turn(ask_for(V2), healthy(V2, alone=False)),
        ],
    ),
    "the alias moves, and the Deployment follows": Story(
        lambda: world_with(ready_version(V1, aliases=["champion"]), versions=[V2]),
        [
            Turn(create(version=None, model="digits", alias="champion"), healthy(V1)),
            Turn(move_alias, healthy(V2)),
        ],
    ),
    "the number of replicas changes in mid-rollout": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(
                lambda w: w.changes("asks for 4 replicas", replicas=4),
                both(paused(V2, 10), replicas_of(digits_v1=4, digits_v2=1)),
            ),
            Turn(say("promote-full"), healthy(V2)),
        ],
    ),
    "the ModelVersion is missing, then it comes": Story(
        lambda: world_with(versions=[V1]),
        [
            first(),
            Turn(ask_for(V2), degraded("there is no ModelVersion digits-v2", left=[V1])),
            Turn(verify_v2, says("digits-v2 is not Ready yet")),
            Turn(lambda w: w.version(ready_version(V2), f"finds {V2} as it should be"), healthy(V2)),
        ],
    ),
    "the route is taken away, then given back": Story(
        world_with,
        [
            first(),
            Turn(lambda w: w.changes("takes spec.route away", route=None), both(healthy(V1), objects("Service"))),
            Turn(lambda w: w.changes("gives spec.route back", route=ROUTE), both(healthy(V1), objects("HTTPRoute"))),
        ],
    ),
    "the ModelVersion is deleted while it serves, and replicas are added": Story(
        world_with,
        [
            first(),
            Turn(forget_v1, healthy(V1)),
            Turn(lambda w: w.changes("asks for 3 replicas", replicas=3), both(healthy(V1), replicas_of(digits_v1=3))),
        ],
    ),
    "somebody edits the route by hand": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(edit_route, both(paused(V2, 10), repaired)),
        ],
    ),
    "a former candidate leaves while the next one moves": Story(
        world_with,
        [
            first(steps=BY_HAND, delay="9s"),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(ask_for(V3), paused(V3, 10)),
            Turn(say("promote"), paused(V3, 50)),
            Turn(say("promote"), healthy(V3)),
        ],
    ),
    "the ModelVersion is archived": Story(
        lambda: world_with(ready_version(V2, archived=True), versions=[V1]),
        [first(), Turn(ask_for(V2), degraded("digits-v2 is archived", left=[V1])), Turn(ask_for(V1), healthy(V1))],
    ),
    "a rollout is held before its first step": Story(
        world_with,
        [
            first(),
            Turn(ask_for(V2), says("0 of 1")),
            Turn(say("pause"), both(paused(V2, 0), answered("held at 0%"))),
            Turn(lambda w: w.advance(60), paused(V2, 0)),
            Turn(say("promote"), healthy(V2)),
        ],
    ),
    "nothing to promote, nothing to abort, and a verb that does not exist": Story(
        world_with,
        [
            first(),
            Turn(say("promote"), answered("nothing to promote")),
            Turn(say("abort"), answered("nothing to abort")),
            Turn(say("rollback"), answered("'rollback' is no action", "promote-full")),
        ],
    ),
    "the gateway says nothing": Story(
        world_with,
        [
            first(steps=BY_HAND),
            Turn(mute, lambda _w: True),
            Turn(
                ask_for(V2), says("joins the traffic at 0%; the Gateway gateways/public has not taken the route over")
            ),
            Turn(speak, paused(V2, 10)),
        ],
    ),
    "the pods are replaced after a change of resources": Story(
        world_with,
        [
            first(),
            Turn(hold_pods, lambda _w: True),
            Turn(
                lambda w: w.changes("asks for more memory", resources={"cpu": "500m", "memory": "1Gi"}),
                says("2 of its pods are still to be replaced"),
            ),
            Turn(replace_pods, healthy(V1)),
        ],
    ),
    "the next candidate's name is taken, and the rollout before it still ends": Story(
        lambda: world_with(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "digits-digits-v3", "namespace": NAMESPACE, "labels": {}},
                "spec": {"selector": {"app": "theirs"}},
            }
        ),
        [
            first(steps=BY_HAND),
            Turn(ask_for(V2), paused(V2, 10)),
            Turn(ask_for(V3), degraded("Service digits-digits-v3 exists and does not belong", left=[V1])),
            Turn(ask_for(V2), paused(V2, 10)),
        ],
    ),
    "another name takes the plain Service's place": Story(
        lambda: world_with(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {}},
                "spec": {"selector": {"app": "theirs"}},
            }
        ),
        [Turn(create(route=False), degraded("Service digits exists and does not belong", left=[]))],
    ),
}
