"""When there is nothing to do, nothing is written."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from slipway.kube.objects import DATASETS, DEPLOYMENTS, MODEL_VERSIONS, TRAINING_RUNS
from slipway.registry.observe import ASKED_AGE
from tests.support.api_server import Object
from tests.support.chart import ACCOUNT
from tests.support.control_plane import Cluster, Request
from tests.support.world import Team, World, world_on

SECONDS = 60
RUNS, VERSIONS, SERVED = 20, 10, 10
"""With the versions that the runs make and as many Datasets as versions, 70 objects of ours."""


HELD: dict[str, tuple[Object, Object]] = {
    "a canary that is analysed without traffic": (
        {"canary": {"steps": [{"setWeight": 10}, {"analysis": {}}]}},
        {"analysis": {"metrics": [{"name": "errors"}]}},
    ),
    "testers on a candidate at a pause": (
        {"canary": {"steps": [{"headerRoute": {"name": "X-Tester", "value": "anna"}}, {"pause": {}}]}},
        {"analysis": {"metrics": [{"name": "errors"}]}},
    ),
    "blue/green that waits for a person": (
        {"type": "BlueGreen", "blueGreen": {"autoPromote": False, "previewHostname": "held-2.example.com"}},
        {},
    ),
    "a shadow without anything to compare": ({"type": "Shadow"}, {}),
}
"""Rollouts that stand: while evidence is awaited, the counters are looked at each second all the same."""


def hold(team: Team, name: str, strategy: Object, more: Object) -> None:
    """A Deployment whose rollout stands where only evidence or a person moves it."""
    team.deploy(name, "cats-v1", strategy=strategy, replicas=2, **more)
    team.deployment_until("Healthy", name)
    team.deploy(name, "cats-v2", strategy=strategy, replicas=2, **more)
    last = 1 if "canary" in strategy else 0

    def stands(live: Object) -> bool:
        status = live["status"]
        return bool(status.get("step", {}).get("index") == last and status.get("weights", {}).get("verified"))

    team.until(DEPLOYMENTS, name, stands)


def writes(requests: Iterable[Request]) -> Counter[tuple[str, str]]:
    """Those that write, by verb and resource, but for the Lease."""
    return Counter((r.verb, r.resource) for r in requests if r.writes and r.resource != "leases")


def settle(world: World) -> None:
    """Until five seconds have passed without a write: what follows its objects (ready counts, the gateway's answer)
    comes after they have said that they are there. Whoever never comes to rest is left to the minute that follows.
    """
    for _ in range(6):
        begun = world.audit.position()
        time.sleep(5)  # no condition to wait for: that nothing comes is what is looked for
        if not writes(world.audit.since(begun, user=ACCOUNT)):
            return


def test_no_write_for_a_minute_with_fifty_objects(cluster: Cluster) -> None:
    """Every object is looked at again each 10 s (the shortest resync there is), so silence is a decision and no sleep.

    The Lease is renewed all the while; that is the election's pulse and not work.
    """
    with world_on(cluster, resync_seconds="10") as world:
        team = world.team()
        for i in range(RUNS):
            team.run(f"digits-{i}", parameters={"accuracy": "0.97"})
        for i in range(VERSIONS):
            team.dataset(f"data-{i}")
        for i in range(1, VERSIONS + 1):
            team.register("cats", i, aliases=["champion"])
        for i in range(SERVED):
            team.deploy(f"cats-{i}", f"cats-v{i + 1}", routed=i % 2 == 0, replicas=2)
        for i in range(RUNS):
            team.run_until("Succeeded", f"digits-{i}")
            team.version_until("Ready", f"digits-v{i + 1}")
        for i in range(VERSIONS):
            team.dataset_until("Ready", f"data-{i}")
        for i in range(SERVED):
            team.deployment_until("Healthy", f"cats-{i}")
        for i, (strategy, more) in enumerate(HELD.values()):
            hold(team, f"held-{i}", strategy, more)
        ours = [o for kind in (DATASETS, TRAINING_RUNS, MODEL_VERSIONS, DEPLOYMENTS) for o in team.all(kind)]
        assert len(ours) >= 50
        settle(world)

        begun, processor = world.audit.position(), world.operator.cpu_seconds()
        passes = world.operator.metric("slipway_reconcile_total")
        time.sleep(SECONDS)
        requests = world.audit.since(begun, user=ACCOUNT)
        assert not (written := writes(requests)), written
        asked = (team.namespace, "configmaps", "slipway-signing")
        signing = [r for r in requests if (r.namespace, r.resource, r.name) == asked]
        assert len(signing) <= SECONDS / ASKED_AGE + 1, "each of thirty versions asks for itself"
        assert world.operator.metric("slipway_reconcile_total") - passes >= len(ours), "nobody was looked at"
        # Half a core: the standing rollouts look at their counters three times in two seconds, a pass (40 ms) each.
        assert world.operator.cpu_seconds() - processor < 0.5 * SECONDS
        assert not world.operator.complaints()
