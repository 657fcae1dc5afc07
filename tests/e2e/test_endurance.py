"""Promotes and aborts in a row, and an operator that dies at every write: no request is lost to any of them.

`make test-e2e ARGS="-k promotes_and_aborts"` with `SLIPWAY_ROUNDS=25` in the environment makes it 50 promotes and 50
aborts, in about ten minutes; without it, the run takes the time that `make test` has.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway.kube.objects import BUDGETS, DEPLOYMENTS, JOBS, MODEL_VERSIONS, SERVICES, WORKLOADS
from tests.support import candidates
from tests.support.api_server import Object, eventually
from tests.support.e2e import (
    EXAMPLES,
    MODEL,
    OperatorProcesses,
    Tenant,
    World,
    aborted,
    candidate,
    settled_on,
    stable,
    weights,
)
from tests.support.gate import PATIENCE, Gate, Lives, told
from tests.support.load import until

pytestmark = pytest.mark.alone  # the operator dies

ROUNDS = int(os.environ.get("SLIPWAY_ROUNDS", "3"))
"""Each is two aborts and two promotes."""
V1, V2, V3 = "digits-v1", "digits-v2", "digits-v3"


def at_half(obj: Object) -> bool:
    """Half of the traffic for sure, and a person is awaited."""
    return weights(obj) == (50, 50, True) and obj["status"]["phase"] == "Paused"


def test_promotes_and_aborts_in_a_row(world: World, tenant: Tenant) -> None:
    # Given a delay in which a version that was aborted keeps its replicas for the retry, and one that was replaced for
    # the way back; two candidates in turn, because one that served a moment ago would skip the steps
    canary = {"steps": [{"setWeight": 50}, {"pause": {}}], "scaleDownDelay": "15s"}
    tenant.versions(1, 2, 3)
    tenant.serving("canary-by-hand/deployment.yaml", replicas=1, strategy={"type": "Canary", "canary": canary})
    promotes = aborts = 0
    begun = time.monotonic()
    with world.load(tenant.host, max_seconds=1800) as load:
        for number in range(ROUNDS):
            version = (V2, V3)[number % 2]
            tenant.until(DEPLOYMENTS, MODEL, lambda o, v=version: v not in running(o), what=f"the end of {version}")  # type: ignore[misc]
            # An abort at half of the traffic, and another one after a retry
            tenant.ask_for(version)
            for _ in range(2):
                tenant.until(DEPLOYMENTS, MODEL, at_half, what="half of the traffic")
                tenant.say("abort")
                tenant.until(DEPLOYMENTS, MODEL, aborted, what="aborted")
                tenant.say("retry")
                aborts += 1
            # A promote by steps
            tenant.until(DEPLOYMENTS, MODEL, at_half, what="half of the traffic")
            tenant.say("promote")
            tenant.until(DEPLOYMENTS, MODEL, settling_on(version), what="promoted")
            # and one straight back
            tenant.ask_for(V1)
            tenant.until(DEPLOYMENTS, MODEL, settling_on(V1), what="back")
            promotes += 2
            assert not load.report().failures, str(load.report())
        until(load, lambda r: r.share("1") == 100, seconds=15, what="answers of version 1 only")
    print(f"{promotes} promotes and {aborts} aborts in {time.monotonic() - begun:.0f} s")
    report = load.check()
    assert report.versions["2"] > 100


def running(obj: Object) -> set[str]:
    """The versions that may have replicas."""
    status = obj["status"]
    known = (status.get("stable"), status.get("candidate"), *status.get("retiring", ()))
    return {each["modelVersion"] for each in known if each}


def settling_on(version: str) -> Callable[[Object], bool]:
    """The version serves, and nothing is on its way; the one before may keep its replicas."""
    return lambda obj: stable(obj) == version and candidate(obj) is None


CANARY: dict[str, Any] = {
    "replicas": 1,
    "strategy": {
        "type": "Canary",
        "canary": {
            "steps": [
                {"shadow": {"percent": 100, "minSamples": 50, "maxDisagreement": "0.05"}},
                {"setWeight": 20},
                {"analysis": {}},
            ],
            "scaleDownDelay": "5s",
        },
    },
    "analysis": {
        "metrics": [{"name": "errors", "maxIncrease": "0.05"}],
        "background": False,
        "onInconclusive": "Abort",
    },
}
"""Writes workload, Services, the gateway's policy and the route."""


def blue_green(tenant: Tenant) -> dict[str, Any]:
    """Writes a person's Job, the preview's route and PodDisruptionBudgets too."""
    tenant.code("digits-smoke", {"smoke.py": (EXAMPLES / "blue-green" / "smoke.py").read_text()})
    job = {"image": tenant.world.python_image(), "command": ["python3", "smoke.py"], "configMap": "digits-smoke"}
    plan = {
        "previewHostname": f"preview.{tenant.host}",
        "prePromotion": {"job": job},
        "scaleDownDelay": "5s",
    }
    return {"replicas": 2, "strategy": {"type": "BlueGreen", "blueGreen": plan}}


def roles(obj: Object) -> list[str]:
    """In which roles Deployments run a version, by its own status."""
    return [each["role"] for each in obj.get("status", {}).get("deployments", ())]


def rolled_out(tenant: Tenant, version: str, other: str, *, seconds: float) -> None:
    """Wait until a version serves, nothing is left of the one before, and the status of both versions says so: that is
    written by the operator too, and after everything else."""
    tenant.until(DEPLOYMENTS, MODEL, settled_on(version), what=f"{version} promoted", seconds=seconds)
    selector = f"slipway.dev/deployment={MODEL},slipway.dev/model-version={other}"
    eventually(
        lambda: not any(tenant.api.list(r, tenant.name, selector) for r in (WORKLOADS, SERVICES, BUDGETS, JOBS)),
        seconds=seconds,
        interval=0.5,
        what=f"the end of {other}",
        show=tenant.explain,
    )
    tenant.until(MODEL_VERSIONS, version, lambda o: roles(o) == ["stable"], what=f"{version} stable", seconds=seconds)
    tenant.until(MODEL_VERSIONS, other, lambda o: roles(o) == [], what=f"{other} served by nobody", seconds=seconds)


@pytest.mark.parametrize("strategy", ["a canary after a shadow", "blue/green"])
def test_an_operator_that_dies_at_each_of_its_writes(
    world: World, tenant: Tenant, operator: OperatorProcesses, tmp_path: Path, strategy: str
) -> None:
    """One rollout tells which writes there are. In the way back, by the same steps, each life of the operator has one
    write and no more: it is killed when it asks for a second one, which is refused."""

    def kill() -> None:
        assert operator.replace(), "nobody was killed, though somebody has just asked for a write"

    tenant.pair(candidates.healthy(), candidates.healthy())
    spec = blue_green(tenant) if strategy == "blue/green" else CANARY
    tenant.serving("canary-by-hand/deployment.yaml", progressDeadline="20m", **spec)
    with world.load(tenant.host, max_seconds=1800) as load, Gate.on_the_node(tenant, Lives(), tmp_path) as gate:
        # Given a rollout without a kill
        undisturbed = gate.lives
        tenant.ask_for(V2)
        rolled_out(tenant, V2, V1, seconds=240)
        # When
        gate.lives = deadly = Lives(kill)
        tenant.ask_for(V1)
        rolled_out(tenant, V1, V2, seconds=1200)
        load.go_on(5)
        # and after the last of its writes, too
        written = len(deadly.written)
        kill()
        eventually(operator.ready, seconds=120, interval=0.5, what="the operator is ready again")
        load.go_on(5)
        assert len(deadly.written) == written, f"an operator that finds all done wrote {deadly.written[written:]}"
        until(load, lambda r: r.share("1") == 100, seconds=15, what="answers of version 1 only")
    print(f"{len(undisturbed.written)} writes without a kill, {written} with one after each:")
    print(*deadly.written, sep="\n")
    report = load.check()
    assert set(report.versions) == {"1", "2"}
    # Then each life had one write, no answer of the gate came too late to count, and of the undisturbed rollout's
    # writes none was left out
    assert set(Counter(write.life for write in deadly.written).values()) == {1}
    assert deadly.longest < PATIENCE - 5
    there = {told(write, {V1: "stable", V2: "candidate"}) for write in undisturbed.written}
    back = {told(write, {V2: "stable", V1: "candidate"}) for write in deadly.written}
    assert not there - back, f"the operator was not killed after {there - back}, but after {back}"
    assert len(there) >= 12, f"so few writes are no rollout: {there}"
