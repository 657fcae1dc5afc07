"""Twenty runs of one model that end together, while the operator is killed again and again, and people move an alias
and delete who holds it: as a watcher sees it, who is told of every write."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import httpx

from slipway.kube.objects import MODEL_VERSIONS, TRAINING_RUNS
from tests.support.api_server import LEASES, Api, Object, eventually
from tests.support.chart import RELEASE_NAMESPACE
from tests.support.control_plane import Cluster
from tests.support.world import Team, world_on

RUNS, KILLS, MOVES, SEED = 20, 8, 5, 20261122
DELETIONS = 4
"""Holders that are deleted, each kept for a while by a finalizer."""
ALIAS = "champion"
FINALIZER = "example.com/kept"
LAST = "end-v1"
"""Registered at the end: when the watcher sees it, it has seen all."""


@dataclass
class Seen:
    """What a watcher of the ModelVersions was told, in order."""

    made: list[str] = field(default_factory=list)
    holders: list[frozenset[str]] = field(default_factory=list)
    """Who showed the alias, after each change of any version."""
    whole: bool = False

    def moved(self) -> int:
        """How often the alias went to another version."""
        who = [held for held in self.holders if held]
        return sum(before != after for before, after in pairwise(who))

    def told(self, kind: str, version: Object, held: set[str]) -> None:
        name = version["metadata"]["name"]
        if kind == "ADDED":
            self.made.append(name)
        shows = kind != "DELETED" and ALIAS in version.get("status", {}).get("heldAliases", ())
        (held.add if shows else held.discard)(name)
        self.holders.append(frozenset(held))


@contextmanager
def watching(cluster: Cluster, namespace: str) -> Iterator[Seen]:
    """A watch of a namespace's versions in a thread; at the end of the block it has seen everything."""
    seen, held, api = Seen(), set[str](), Api(cluster.kubeconfig)
    since = api.call("GET", MODEL_VERSIONS.path(namespace))["metadata"]["resourceVersion"]

    def look() -> None:
        with contextlib.suppress(httpx.TransportError):  # the test failed before it came to its end
            for kind, version in api.watch(MODEL_VERSIONS, namespace, since):
                if version["metadata"]["name"] == LAST:
                    seen.whole = True
                    return
                seen.told(kind, version, held)

    thread = threading.Thread(target=look, name="watcher", daemon=True)
    thread.start()
    try:
        yield seen
        thread.join(30)
        assert seen.whole, "the watcher never saw the end"
    finally:
        api.close()


def let_go(team: Team, name: str) -> None:
    """The finalizer's work is done; what else keeps it (``foregroundDeletion``) is the garbage collector's."""
    live = team.get(MODEL_VERSIONS, name)
    if live is not None and FINALIZER in live["metadata"].get("finalizers", ()):
        kept = [f for f in live["metadata"]["finalizers"] if f != FINALIZER]
        team.api.merge(MODEL_VERSIONS, team.namespace, name, {"metadata": {"finalizers": kept or None}})


def people(team: Team, dice: random.Random, deleted: set[str]) -> None:
    """Every version that is there is made champion sooner or later; now and then one is archived, or taken back, or
    deleted, in the foreground or while a finalizer keeps it."""
    recorded = {run.get("status", {}).get("modelVersion") for run in team.all(TRAINING_RUNS)}
    for version in team.all(MODEL_VERSIONS):
        spec, name, meta = version["spec"], version["metadata"]["name"], version["metadata"]
        if "deletionTimestamp" in meta:
            if dice.random() < 0.1:
                let_go(team, name)
            continue
        wish: Object = {}
        holds = ALIAS in version.get("status", {}).get("heldAliases", ())
        # The last number stays, to hold the alias in the end; a run that has not recorded its version makes it anew.
        spare = name in recorded and spec["version"] < RUNS and len(deleted) < DELETIONS
        if holds and spare and dice.random() < 0.3:
            deleted.add(name)
            team.api.merge(MODEL_VERSIONS, team.namespace, name, {"metadata": {"finalizers": [FINALIZER]}})
            team.api.delete(MODEL_VERSIONS, team.namespace, name, propagation=dice.choice(["Foreground", "Background"]))
            continue
        if not spec.get("aliases") and dice.random() < 0.5:
            wish = {"aliases": [ALIAS]}
        elif spec["archived"] and dice.random() < 0.2:
            wish = {"archived": False}
        elif holds and dice.random() < 0.3:
            wish = dice.choice([{"archived": True}, {"aliases": None}])
        if wish:
            team.api.merge(MODEL_VERSIONS, team.namespace, name, {"spec": wish})


def _little(seen: Seen, deleted: set[str]) -> bool:
    """Too little has happened to show anything."""
    return seen.moved() < MOVES or len(deleted) < DELETIONS


def test_numbers_and_aliases_while_the_operator_is_killed(cluster: Cluster) -> None:
    dice, deleted = random.Random(SEED), set[str]()
    with world_on(cluster, user="load") as world:
        process, team = world.operator, world.team()
        with watching(cluster, team.namespace) as seen:
            for number in range(RUNS):
                team.run(f"digits-{number}", parameters={"accuracy": f"0.{900 + number}"})
            kills = 0
            while kills < KILLS or (_little(seen, deleted) and kills < 4 * KILLS):
                kills += 1
                # First lives in which hardly anything comes to its end, however fast the machine is; then such in
                # which versions get Ready, and the alias moves.
                for _ in range(dice.randrange(1, 12 if kills <= KILLS else 80)):
                    people(team, dice, deleted)
                    time.sleep(dice.uniform(0, 0.15))
                process.kill()
                people(team, dice, deleted)
                # A dead leader's Lease lasts a quarter of a minute, and nobody wants to wait for that.
                team.api.delete(LEASES, RELEASE_NAMESPACE, "slipway")
                process.start(ready=False)
                eventually(process.is_ready, seconds=120, what="the operator being ready", show=process.tail)
            made = [team.run_until("Succeeded", f"digits-{n}")["status"]["modelVersion"] for n in range(RUNS)]
            for name in deleted:
                let_go(team, name)
                team.gone(MODEL_VERSIONS, name)
            for version in team.all(MODEL_VERSIONS):
                name = version["metadata"]["name"]
                team.api.merge(MODEL_VERSIONS, team.namespace, name, {"spec": {"aliases": [ALIAS], "archived": False}})
            newest = f"digits-v{RUNS}"
            team.version_until("Ready", newest, check=lambda v: v["status"].get("heldAliases") == [ALIAS])
            team.register("end", 1)

        # No number twice, none missing, and each run its own.
        names = [f"digits-v{n}" for n in range(1, RUNS + 1)]
        assert sorted(made) == sorted(names)
        assert sorted(seen.made) == sorted(names), "a version was made twice"
        assert len(deleted) == DELETIONS, "hardly anybody was deleted: this shows little"
        by_run = {v["spec"].get("trainingRun"): v["metadata"]["name"] for v in team.all(MODEL_VERSIONS)}
        left = {r["metadata"]["name"]: r["status"]["modelVersion"] for r in team.all(TRAINING_RUNS)}
        assert by_run == {run: name for run, name in left.items() if name not in deleted} | {None: LAST}

        # One holder at any time.
        assert max(len(held) for held in seen.holders) == 1
        assert seen.holders[-1] == {newest}
        assert seen.moved() >= MOVES, "the alias hardly moved: this shows little"
        eventually(lambda: process.metric("slipway_queue_length") == 0, what="the queues being empty")
