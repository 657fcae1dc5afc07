"""The end of a file: kept, or deleted in steps of which each may be the last before a crash."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from slipway import contract
from slipway.api import wayback
from slipway.api.model_version import ModelVersionSpec
from slipway.api.reasons import Reason
from slipway.kube.controller import Room
from slipway.kube.objects import DEPLOYMENTS, JOBS, MODEL_VERSIONS, WORKLOADS
from slipway.kube.recent import Recent
from slipway.registry.children import Defaults
from slipway.registry.decide import decide, refused
from slipway.registry.observe import observe
from slipway.registry.reproductions import Runs
from tests.support.builders import DIGEST, NAMESPACE, failure, model_version, store
from tests.support.stories import World
from tests.unit.registry.test_decide import VERIFIED
from tests.unit.registry.test_lineage import GOOD
from tests.unit.registry.test_observe import deployment, workload

JOB = "digits-v1-discard"
GONE = contract.dumps(contract.DiscardResult(DIGEST))


def new_world(**spec: Any) -> World:
    look = partial(observe, defaults=Defaults("server:1", "trainer:1"), runs=Runs(), recent=Recent(0))
    world = World([Room(MODEL_VERSIONS, look, decide, lambda seen: seen.version, refused)])
    world.kube.put(store())
    world.kube.put(model_version(status=VERIFIED, **{"archived": True, "artifactPolicy": "Delete", **spec}))
    return world


def status(world: World, name: str = "digits-v1") -> dict[str, Any]:
    found = world.kube.find(MODEL_VERSIONS, NAMESPACE, name)
    assert found is not None
    made: dict[str, Any] = found["status"]
    return made


async def ends(world: World, code: int, message: str) -> None:
    await world.rest()
    world.kubelet.run(JOB)
    await world.rest()
    world.kubelet.end(JOB, code, message)
    await world.rest()


async def test_the_file_is_deleted_and_the_lineage_stays() -> None:
    world = new_world()
    await ends(world, 0, GONE)
    told = status(world)
    assert (told["phase"], told["lineage"]["origin"]) == ("Archived", "Imported")
    assert told["artifactDeletion"] == {"since": "2026-01-01T00:00:00Z", "at": "2026-01-01T00:00:00Z"}
    assert "its file was deleted at 2026-01-01T00:00:00Z" in told["message"]
    assert not world.kube.all(JOBS)
    before = world.kube.snapshot()
    await world.rest()
    assert world.kube.snapshot() == before


@pytest.mark.parametrize("at", range(1, 6))
async def test_a_crash_after_any_write_ends_the_same(at: int) -> None:
    calm, wild = new_world(), new_world()
    await ends(calm, 0, GONE)
    wild.kube.crash_after(at)
    await ends(wild, 0, GONE)
    assert status(wild) == status(calm)


async def test_that_it_began_is_written_before_the_job_is_made() -> None:
    """From then on the API server lets nobody take the version back: it would be one without a file."""
    world = new_world()
    await world.rest()
    writes = [line for line in world.kube.log if "digits-v1" in line]
    assert writes.index(f"create Job {NAMESPACE}/{JOB}") > writes.index(f"status ModelVersion {NAMESPACE}/digits-v1")
    assert status(world)["artifactDeletion"] == {"since": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize("spec", [{"artifactPolicy": "Keep"}, {"archived": False}], ids=["kept", "in use"])
async def test_nothing_is_deleted_of_which_nobody_said_so(spec: dict[str, Any]) -> None:
    world = new_world(**spec)
    await world.rest()
    assert not world.kube.all(JOBS)
    assert "artifactDeletion" not in status(world)


async def test_a_deployment_that_took_it_in_the_same_moment_is_named() -> None:
    world = new_world(artifactPolicy="Keep")
    world.kube.put(deployment("a") | {"status": {"candidate": {"modelVersion": "digits-v1"}}})
    world.kube.put(workload("a-v1", "a", "digits-v1"))
    await world.rest()
    words = (
        "archived: no new Deployment may take it; the Deployment a took it in that moment, and runs it until it names"
    )
    assert status(world)["message"].startswith(words)
    assert status(world)["deployments"] == [{"name": "a", "role": "candidate"}]
    world.kube.edit(DEPLOYMENTS, NAMESPACE, "a", lambda d: d["status"].pop("candidate"))
    await world.rest()
    assert "Deployment a" not in status(world)["message"], "its pods go, and nobody is sent to them"


async def test_what_is_needed_still_is_kept() -> None:
    world = new_world()
    copy = model_version("digits-v2", artifact=model_version()["spec"]["artifact"])
    copy["metadata"]["labels"] = wayback.labels(ModelVersionSpec.model_validate(copy["spec"]), None)
    copy["metadata"]["namespace"] = "prod"
    step = {"namespace": NAMESPACE, "modelVersion": "digits-v1", "at": "2026-01-01T00:00:00Z"}
    copy["status"] = {**VERIFIED, "lineage": {**GOOD, "origin": "Promoted", "promotions": [step]}}
    world.kube.put(copy)
    stranger = {**copy, "metadata": {**copy["metadata"], "namespace": "stranger"}, "status": VERIFIED}
    world.kube.put(stranger)
    world.kube.put(deployment("a"))
    world.kube.put(workload("a-v1", "a", "digits-v1"))
    await world.rest()
    assert "its file is kept while the Deployment a runs it" in status(world)["message"]
    world.kube.remove(WORKLOADS, NAMESPACE, "a-v1")
    await world.rest()
    assert "its file is kept while prod/digits-v2 has the same file" in status(world)["message"]
    assert not [j for j in world.kube.all(JOBS) if j["metadata"]["name"] == JOB]
    gone = {"archived": True, "artifactPolicy": "Delete"}
    world.kube.edit(MODEL_VERSIONS, "prod", "digits-v2", lambda v: v["spec"].update(gone))
    await world.rest()
    assert [j for j in world.kube.all(JOBS) if j["metadata"]["name"] == JOB]


async def test_other_bytes_are_left_and_it_is_tried_again() -> None:
    world = new_world()
    await ends(world, 64, failure("DigestMismatch", "other bytes lie there now, and are left"))
    told = status(world)
    assert "its file could not be deleted: other bytes lie there now" in told["message"]
    ready = next(c for c in told["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == Reason.ARTIFACT_NOT_DELETED
    assert next(c for c in told["conditions"] if c["type"] == "Stalled")["status"] == "True"
    world.advance(301)
    await ends(world, 0, GONE)
    assert "at" in status(world)["artifactDeletion"]
