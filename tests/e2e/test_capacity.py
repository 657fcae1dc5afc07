"""Rollouts where there is no room for one pod more: a node with two GPUs, and two replicas of one GPU each."""

from __future__ import annotations

from typing import Any, Final

import pytest

from slipway.kube.objects import DEPLOYMENTS, PODS
from tests.support.api_server import Object
from tests.support.e2e import MODEL, Tenant, World, aborted, condition, settled_on, stable, weights
from tests.support.load import until

pytestmark = pytest.mark.alone  # both GPUs of the node

EXAMPLE = "canary-by-hand/deployment.yaml"
V1, V2 = "digits-v1", "digits-v2"
ONE_GPU: Final = {"cpu": "100m", "memory": "256Mi", "gpu": {"count": 1}}


def strategy(*, surge: bool) -> dict[str, Any]:
    """Half of the traffic, then a person."""
    canary = {"steps": [{"setWeight": 50}, {"pause": {}}], "scaleDownDelay": "0s"}
    return {"type": "Canary", "surge": surge, "canary": canary}


def half(obj: Object) -> bool:
    """The rollout waits at 50%, for sure."""
    return weights(obj) == (50, 50, True) and obj["status"]["phase"] == "Paused"


def pods_of(tenant: Tenant) -> list[Object]:
    """Serving pods that were not told to stop."""
    found = tenant.api.list(PODS, tenant.name, "slipway.dev/role=serve")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def test_replica_by_replica_where_there_is_no_room(world: World, tenant: Tenant) -> None:
    # Given
    tenant.versions(1, 2)
    tenant.serving(EXAMPLE, replicas=2, resources=ONE_GPU, strategy=strategy(surge=False))
    with world.load(tenant.host) as load:
        until(load, lambda r: r.share("1") == 100, seconds=15, what="answers of version 1 only")
        # When
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, half, what="paused at 50%", seconds=180)
        # Then each has one of the two GPUs
        versions = sorted(p["metadata"]["labels"]["slipway.dev/model-version"] for p in pods_of(tenant))
        assert versions == [V1, V2]
        # When it goes back, and then all the way
        tenant.say("abort")
        tenant.until(DEPLOYMENTS, MODEL, aborted, what="aborted", seconds=180)
        tenant.say("retry")
        tenant.until(DEPLOYMENTS, MODEL, half, what="paused at 50% again", seconds=240)
        tenant.say("promote")
        after = tenant.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted", seconds=240)
        until(load, lambda r: r.share("2") == 100, seconds=15, what="answers of version 2 only")
    load.check()
    assert stable(after) == V2
    assert len(pods_of(tenant)) == 2


def test_without_room_the_scheduler_says_why_and_the_deadline_counts(world: World, tenant: Tenant) -> None:
    tenant.versions(1, 2)
    tenant.serving(EXAMPLE, replicas=2, resources=ONE_GPU, strategy=strategy(surge=True), progressDeadline="20s")
    with world.load(tenant.host) as load:
        until(load, lambda r: r.share("1") == 100, seconds=15, what="answers of version 1 only")
        # When there is no third GPU
        tenant.ask_for(V2)
        tenant.until(
            DEPLOYMENTS,
            MODEL,
            lambda o: "Insufficient nvidia.com/gpu" in o["status"]["message"],
            what="the scheduler's own words in the status",
        )
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="given up at the deadline", seconds=120)
    load.check()
    assert stable(after) == V1
    assert "within 20s" in after["status"]["message"]
    assert "Insufficient nvidia.com/gpu" in after["status"]["message"]
    assert condition(after, "Ready")["status"] == "True"
