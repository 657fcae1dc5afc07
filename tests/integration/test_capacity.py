"""Replicas on a real API server and real controllers, an autoscaler's among them; pods and the gateway are played."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.kube.objects import DEPLOYMENTS, HTTP_ROUTES, PODS, WORKLOADS, Resource
from tests.integration.test_serving import CANARY, at, canary, outcomes, promoted, serving, weights
from tests.support.api_server import Refusal, eventually
from tests.support.world import Team, World, condition

AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
SYNC = 60.0
"""Seconds: an autoscaler looks every 15 s."""
HALF = canary({"setWeight": 50}, {"pause": {}})


def sizes(team: Team) -> dict[str, int]:
    """Replicas that the workloads ask for."""
    return {w["metadata"]["name"].removeprefix("digits-"): w["spec"]["replicas"] for w in team.all(WORKLOADS)}


def scale(team: Team, replicas: int) -> Any:
    """What ``kubectl scale`` and autoscalers do."""
    path = DEPLOYMENTS.path(team.namespace, "digits", "scale")
    live = team.api.call("GET", path)
    return team.api.call("PUT", path, {**live, "spec": {"replicas": replicas}})


def test_an_autoscaler_in_the_middle_of_a_rollout(world: World) -> None:
    # Given a candidate that has half of the traffic
    team = serving(world)
    team.deploy(version="digits-v2", replicas=2, strategy=HALF)
    at(team, 50)
    assert sizes(team) == {"digits-v1": 2, "digits-v2": 1}
    # when an autoscaler wants more replicas than there are
    team.api.call(
        "POST",
        AUTOSCALERS.path(team.namespace),
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "digits", "namespace": team.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": DEPLOYMENTS.api_version, "kind": "Deployment", "name": "digits"},
                "minReplicas": 4,
                "maxReplicas": 6,
            },
        },
    )
    # then both versions get theirs, no weight moves, and nobody takes the autoscaler's number back
    eventually(lambda: sizes(team) == {"digits-v1": 4, "digits-v2": 2}, seconds=SYNC, what="both versions growing")
    at(team, 50)
    assert weights(team) == {"digits-digits-v1": 50, "digits-digits-v2": 50}
    live = team.get(DEPLOYMENTS, "digits")
    assert live is not None
    assert live["spec"]["replicas"] == 4
    # and the autoscaler reads the pods that clients reach
    found = team.until(AUTOSCALERS, "digits", lambda a: a["status"].get("desiredReplicas") == 4, seconds=SYNC)
    assert condition(found, "AbleToScale")["status"] == "True"
    selector = team.api.call("GET", DEPLOYMENTS.path(team.namespace, "digits", "scale"))["status"]["selector"]
    eventually(lambda: len(team.all(PODS, selector)) == 6, what="six pods by the scale's selector")
    team.say("promote-full")
    promoted(team, "digits-v2")
    assert sizes(team) == {"digits-v2": 4}


def test_scaled_to_zero_and_up_again(world: World) -> None:
    team = serving(world)
    scale(team, 0)
    live = team.deployment_until("Paused", reason="ScaledToZero", check=lambda d: d["status"]["replicas"] == 0)
    assert condition(live, "Ready")["status"] == "False"
    assert condition(live, "Reconciling")["status"] == "False"
    assert team.get(HTTP_ROUTES, "digits") is not None
    scale(team, 2)
    team.deployment_until("Healthy", check=lambda d: d["status"]["stable"]["readyReplicas"] == 2)


def test_in_place(world: World) -> None:
    strategy = {"type": "Canary", "surge": False, **HALF}
    team = serving(world, strategy=strategy)
    with pytest.raises(Refusal, match="there is no way without a gap"):
        scale(team, 1)
    team.deploy(version="digits-v2", replicas=2, strategy=strategy)
    at(team, 50)
    assert sizes(team) == {"digits-v1": 1, "digits-v2": 1}
    team.say("abort")
    live = team.deployment_until("Degraded", check=lambda d: d["status"]["stable"]["readyReplicas"] == 2)
    assert outcomes(live)[-1] == ("digits-v2", "Aborted")
    team.say("retry")
    at(team, 50)
    team.say("promote")
    live = promoted(team, "digits-v2")
    team.deployment_until("Healthy", check=lambda d: d["status"]["stable"]["readyReplicas"] == 2)
    assert sizes(team) == {"digits-v2": 2}


def test_back_within_the_rollback_window(world: World) -> None:
    strategy = {"type": "Canary", "rollbackWindow": 1, **CANARY}
    team = serving(world, strategy=strategy)
    team.deploy(version="digits-v2", replicas=2, strategy=strategy)
    at(team, 10)
    team.say("promote-full")
    promoted(team, "digits-v2")
    team.deploy(version="digits-v1", replicas=2, strategy=strategy)
    live = promoted(team, "digits-v1")
    assert live["status"]["history"][0]["reason"] == "rolled back to digits-v1 from digits-v2"
