"""Rollouts under constant load, on keep-alive and on fresh connections: whatever happens, no request is lost."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from slipway.kube.objects import CONFIG_MAPS, DEPLOYMENTS, HTTP_ROUTES, WORKLOADS
from tests.support.api_server import Object
from tests.support.e2e import MODEL, Tenant, World, aborted, candidate, condition, settled_on, stable, weights
from tests.support.load import Report, until

BY_HAND = "canary-by-hand/deployment.yaml"
V1, V2, V3 = "digits-v1", "digits-v2", "digits-v3"


def at(share: int, *, phase: str = "") -> Callable[[Object], bool]:
    """The candidate has so much of the traffic for sure."""

    def holds(obj: Object) -> bool:
        return weights(obj) == (100 - share, share, True) and phase in ("", obj["status"]["phase"])

    return holds


def about(percent: float, within: float) -> Callable[[Report], bool]:
    """The new version answers about so many percent of the last second's requests."""
    return lambda report: abs(report.share("2") - percent) <= within


@pytest.fixture
def canary(tenant: Tenant) -> Tenant:
    """Given digits-v1 serving with two replicas and digits-v2 ready, and a canary that waits at 10% and at 50%."""
    tenant.versions(1, 2)
    tenant.serving(BY_HAND)
    return tenant


def to_ten_percent(tenant: Tenant) -> None:
    """When digits-v2 is asked for, then it gets 10% and the rollout waits for a person."""
    tenant.ask_for(V2)
    tenant.until(DEPLOYMENTS, MODEL, at(10, phase="Paused"), what="paused at 10%")


def test_a_canary_takes_its_steps_by_itself(world: World, tenant: Tenant) -> None:
    # Given
    tenant.versions(1, 2)
    tenant.serving("quickstart/deployment.yaml")
    with world.load(tenant.host) as load:
        until(load, lambda r: r.share("1") == 100, seconds=15, what="answers of version 1 only")
        # When
        (changed,) = tenant.example("quickstart/deployment-v2.yaml")
        tenant.api.apply(changed)
        # Then
        shares = []
        for step in (10, 50):
            tenant.until(DEPLOYMENTS, MODEL, at(step), what=f"{step}%")
            begun = time.monotonic()
            load.go_on(4)  # the load is what is measured: 4 s of it at this weight
            shares.append(load.report(since=begun))
        tenant.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted")
        until(load, lambda r: r.share("2") == 100, seconds=15, what="answers of version 2 only")
    report = load.check()
    # 400 requests: a share of 10% comes out between 4% and 16% but for once in 10,000 times.
    assert abs(shares[0].share("2") - 10) <= 6, shares[0]
    assert abs(shares[1].share("2") - 50) <= 10, shares[1]
    assert set(report.versions) == {"1", "2"}
    (entry,) = [h for h in tenant.get(DEPLOYMENTS, MODEL)["status"]["history"] if h["modelVersion"] == V2]
    assert entry["outcome"] == "Promoted"
    # and what is left is what serves: one workload, and a route with one backend that has everything
    tenant.until(DEPLOYMENTS, MODEL, lambda _: len(workloads(tenant)) == 1, what="the old workload's end", seconds=60)


def workloads(tenant: Tenant) -> list[str]:
    """The workloads that have replicas."""
    found = tenant.api.list(WORKLOADS, tenant.name, "app.kubernetes.io/managed-by=slipway")
    return [w["metadata"]["name"] for w in found if w["spec"]["replicas"] > 0]


def test_promote_goes_to_the_next_step_and_to_the_end(world: World, canary: Tenant) -> None:
    with world.load(canary.host) as load:
        to_ten_percent(canary)
        (rule,) = canary.get(HTTP_ROUTES, MODEL)["spec"]["rules"]
        assert sorted(b["weight"] for b in rule["backendRefs"]) == [10, 90]
        assert all(b.get("namespace", canary.name) == canary.name for b in rule["backendRefs"])
        canary.say("promote")
        canary.until(DEPLOYMENTS, MODEL, at(50, phase="Paused"), what="paused at 50%")
        until(load, about(50, 25), seconds=15, what="half of the answers")
        canary.say("promote")
        canary.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted")
        until(load, about(100, 0), seconds=15, what="answers of version 2 only")
    load.check()


def test_abort_gives_everything_back_and_retry_begins_anew(world: World, canary: Tenant) -> None:
    with world.load(canary.host) as load:
        # When half of the traffic is with the candidate and a person says abort
        to_ten_percent(canary)
        canary.say("promote")
        canary.until(DEPLOYMENTS, MODEL, at(50, phase="Paused"), what="paused at 50%")
        canary.say("abort")
        # Then the stable version has everything, is Ready all the time, and the phase says what happened
        after = canary.until(DEPLOYMENTS, MODEL, aborted, what="aborted")
        until(load, about(0, 0), seconds=15, what="answers of version 1 only")
        assert stable(after) == V1
        assert condition(after, "Ready")["status"] == "True"
        assert any(h["modelVersion"] == V2 and h["outcome"] == "Aborted" for h in after["status"]["history"])
        # When a person says retry
        canary.say("retry")
        # Then it begins at the first step
        canary.until(DEPLOYMENTS, MODEL, at(10, phase="Paused"), what="paused at 10% again")
        # and promote-full skips the rest
        canary.say("promote-full")
        canary.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted")
        until(load, about(100, 0), seconds=15, what="answers of version 2 only")
    load.check()


def test_pause_holds_a_canary_and_resume_lets_it_go_on(world: World, tenant: Tenant) -> None:
    tenant.versions(1, 2)
    canary = {"steps": [{"setWeight": 10}, {"pause": {"duration": "6s"}}, {"setWeight": 50}], "scaleDownDelay": "5s"}
    tenant.serving(BY_HAND, strategy={"type": "Canary", "canary": canary})
    with world.load(tenant.host) as load:
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, at(10), what="10%")
        tenant.say("pause")
        # The step would have ended after 6 s: 9 s later nothing has moved.
        load.go_on(9)
        held = tenant.get(DEPLOYMENTS, MODEL)
        assert (held["status"]["phase"], weights(held)) == ("Paused", (90, 10, True))
        tenant.say("resume")
        tenant.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted")
    load.check()


def test_a_newer_version_takes_the_candidates_place(world: World, canary: Tenant) -> None:
    canary.versions(3)
    with world.load(canary.host) as load:
        to_ten_percent(canary)
        canary.ask_for(V3)
        canary.until(
            DEPLOYMENTS, MODEL, lambda o: candidate(o) == V3 and weights(o) == (90, 10, True), what="10% for digits-v3"
        )
        canary.say("promote-full")
        canary.until(DEPLOYMENTS, MODEL, settled_on(V3), what="promoted")
    report = load.check()
    assert set(report.versions) <= {"1", "2", "3"}
    outcomes = {h["modelVersion"]: h["outcome"] for h in canary.get(DEPLOYMENTS, MODEL)["status"]["history"]}
    assert (outcomes[V2], outcomes[V3]) == ("Superseded", "Promoted")


def test_going_back_during_the_scale_down_delay_is_at_once(world: World, tenant: Tenant) -> None:
    tenant.versions(1, 2)
    canary = {"steps": [{"setWeight": 100}], "scaleDownDelay": "2m"}
    tenant.serving(BY_HAND, strategy={"type": "Canary", "canary": canary})
    with world.load(tenant.host) as load:
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, lambda o: stable(o) == V2 and candidate(o) is None, what="promoted")
        kept = {pod["metadata"]["name"] for pod in tenant.pods(model_version=V1, role="serve")}
        tenant.ask_for(V1)
        tenant.until(DEPLOYMENTS, MODEL, lambda o: stable(o) == V1 and candidate(o) is None, what="back")
        until(load, about(0, 0), seconds=15, what="answers of version 1 only")
        assert {pod["metadata"]["name"] for pod in tenant.pods(model_version=V1, role="serve")} == kept
    load.check()


def test_a_candidate_that_never_starts_is_given_up_at_the_deadline(world: World, tenant: Tenant) -> None:
    # Given digits-v2 in an S3 place that was taken away after it was verified
    tenant.store_place("gone")
    tenant.version_ready(tenant.register(2, place="gone"))
    tenant.api.delete(CONFIG_MAPS, tenant.name, "slipway-store-gone")
    tenant.versions(1)
    tenant.serving(BY_HAND, progressDeadline="15s")
    with world.load(tenant.host) as load:
        # When
        tenant.ask_for(V2)
        # Then the status says what is missing, and after the deadline the rollout is given up
        tenant.until(
            DEPLOYMENTS, MODEL, lambda o: "slipway-store-gone" in o["status"]["message"], what="what is missing"
        )
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="given up")
        assert stable(after) == V1
        assert condition(after, "Ready")["status"] == "True"
    assert set(load.check().versions) == {"1"}
