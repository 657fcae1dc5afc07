"""Promotes and aborts in a row, and an operator that dies at every write: no request is lost to any of them.

`make test-e2e ARGS="-k promotes_and_aborts"` with `SLIPWAY_ROUNDS=25` in the environment makes it 50 promotes and 50
aborts, in about ten minutes; without it, the run takes the time that `make test` has.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import httpx
import pytest

from slipway.kube.objects import DEPLOYMENTS, HTTP_ROUTES, SERVICES, WORKLOADS
from tests.support.api_server import Api, Object, Refusal
from tests.support.e2e import MODEL, OperatorProcesses, Tenant, World, aborted, candidate, settled_on, stable, weights
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


class Killer:
    """Kills the operator whenever it has written something in a namespace, for a ``with`` block.

    ``kills``: how often, and after which write.
    """

    def __init__(self, tenant: Tenant, operator: OperatorProcesses) -> None:
        self._tenant, self._operator = tenant, operator
        self._api = Api(Path(tenant.world.environment["KUBECONFIG"]))
        self._known: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.kills: list[str] = []

    def __enter__(self) -> Killer:
        self._known = self._written()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(60)
        self._api.close()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            with suppress(Refusal, httpx.HTTPError):
                now = self._written()
                changed = sorted(key for key, version in now.items() if self._known.get(key) != version)
                if changed:
                    self.kills.append(", ".join(changed))
                    self._operator.replace()
                    # What it had begun to write before it died is no other write.
                    self._known = self._written()

    def _written(self) -> dict[str, str]:
        """What the operator writes: its share of each object's fields, which no other writer changes."""
        made: dict[str, str] = {}
        for resource in (DEPLOYMENTS, WORKLOADS, SERVICES, HTTP_ROUTES):
            for obj in self._api.list(resource, self._tenant.name):
                key = f"{resource.kind} {obj['metadata']['name']}"
                if resource is DEPLOYMENTS:
                    made[key] = repr(obj.get("status"))
                else:
                    made[key] = str(obj["metadata"].get("generation", "")) + repr(obj["spec"])
        return made


def test_an_operator_that_dies_at_each_of_its_writes(world: World, tenant: Tenant, operator: OperatorProcesses) -> None:
    canary = {
        "steps": [{"setWeight": 20}, {"analysis": {}}, {"setWeight": 50}, {"pause": {"duration": "2s"}}],
        "scaleDownDelay": "5s",
    }
    analysis = {"metrics": [{"name": "errors", "maxIncrease": "0.05"}], "onInconclusive": "Abort"}
    tenant.versions(1, 2)
    tenant.serving(
        "canary-by-hand/deployment.yaml",
        replicas=1,
        strategy={"type": "Canary", "canary": canary},
        analysis=analysis,
        progressDeadline="20m",
    )
    with world.load(tenant.host, max_seconds=1200) as load:
        tenant.ask_for(V2)
        with Killer(tenant, operator) as killer:
            tenant.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted", seconds=1100)
        until(load, lambda r: r.share("2") == 100, seconds=15, what="answers of version 2 only")
    print(f"{len(killer.kills)} kills, after:", *killer.kills, sep="\n  ")
    report = load.check()
    assert set(report.versions) == {"1", "2"}
    assert len(killer.kills) >= 8
