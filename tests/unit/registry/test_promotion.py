"""A copy of another namespace's version: who must allow it, what must be the same, and what is taken over."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from slipway.api.reasons import Reason
from slipway.kube.controller import Room
from slipway.kube.fake import FakeKube
from slipway.kube.objects import JOBS, MODEL_VERSIONS, NAMESPACES
from slipway.kube.recent import Recent
from slipway.registry.children import Defaults
from slipway.registry.decide import decide, refused
from slipway.registry.observe import observe
from slipway.registry.reproductions import Runs
from tests.support.builders import NAMESPACE, model_version, store
from tests.support.stories import World
from tests.unit.registry.test_decide import VERIFIED
from tests.unit.registry.test_lineage import GOOD

THERE = "staging"
SOURCE = {"namespace": THERE, "modelVersion": "digits-v1"}
NOT_READY = {"phase": "Verifying", "verification": None}
OTHER = "sha256:" + "b" * 64


def namespace(name: str, **annotations: str) -> dict[str, Any]:
    named = {f"slipway.dev/promote-{key}": value for key, value in annotations.items()}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": named}}


def original(**changes: Any) -> dict[str, Any]:
    made = model_version(status={**VERIFIED, "lineage": GOOD, **changes.pop("status", {})}, **changes)
    made["metadata"]["namespace"] = THERE
    return made


HERE, GIVES = namespace(NAMESPACE, **{"from": f"dev, {THERE}"}), namespace(THERE, to=f"{NAMESPACE},prod")


def new_world(*objects: dict[str, Any], whole_cluster: bool = True, **spec: Any) -> World:
    defaults = Defaults("server:1", "trainer:1", whole_cluster=whole_cluster)
    look = partial(observe, defaults=defaults, runs=Runs(), recent=Recent(0))
    world = World([Room(MODEL_VERSIONS, look, decide, lambda seen: seen.version, refused)])
    for manifest in (store(), *objects, model_version(promotedFrom=SOURCE, **spec)):
        world.kube.put(manifest)
    return world


def copy(kube: FakeKube) -> dict[str, Any]:
    found = kube.find(MODEL_VERSIONS, NAMESPACE, "digits-v1")
    assert found is not None
    return found


CASES: dict[str, tuple[World, str, str]] = {
    "this namespace takes none": (
        new_world(namespace(NAMESPACE, **{"from": "dev"}), GIVES, original()),
        Reason.PROMOTION_REFUSED,
        f"takes no versions from {THERE}: whoever may, says kubectl annotate namespace team slipway.dev/promote-from=",
    ),
    "the other one gives none": (
        new_world(HERE, namespace(THERE, to="prod"), original()),
        Reason.PROMOTION_REFUSED,
        f"gives no versions to team: whoever may, says kubectl annotate namespace {THERE} slipway.dev/promote-to=team",
    ),
    "the other one does not exist": (new_world(HERE), Reason.PROMOTION_REFUSED, "gives no versions to team"),
    "an installation for some namespaces": (
        new_world(HERE, GIVES, original(), whole_cluster=False),
        Reason.PROMOTION_REFUSED,
        "promotion takes one for the whole cluster",
    ),
    "there is no such version": (new_world(HERE, GIVES), Reason.PROMOTION_WAITING, "there is no ModelVersion digits"),
    "it is not Ready": (
        new_world(HERE, GIVES, original(status=NOT_READY)),
        Reason.PROMOTION_WAITING,
        f"it is promoted when digits-v1 in {THERE} is Ready, and that is Verifying now",
    ),
    "it is archived": (new_world(HERE, GIVES, original(archived=True)), Reason.PROMOTION_WAITING, "is Ready"),
    "another file": (
        new_world(HERE, GIVES, original(artifact={**model_version()["spec"]["artifact"], "digest": OTHER})),
        Reason.PROMOTION_DIFFERS,
        f"and there it is {OTHER}: a promotion is a copy of digits-v1 in {THERE}",
    ),
    "another signature": (
        new_world(
            HERE,
            GIVES,
            original(
                signature={
                    **model_version()["spec"]["signature"],
                    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
                }
            ),
        ),
        Reason.PROMOTION_DIFFERS,
        "spec.signature is another",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_what_holds_it_back(case: str) -> None:
    world, reason, words = CASES[case]
    await world.rest()
    status = copy(world.kube)["status"]
    assert words in status["message"]
    assert status["phase"] == "Verifying"
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert "lineage" not in status
    assert not world.kube.all(JOBS), "the file of what is no promotion was read"


async def test_of_its_own_namespace() -> None:
    world = new_world(HERE)
    world.kube.edit(
        MODEL_VERSIONS,
        NAMESPACE,
        "digits-v1",
        lambda v: v["spec"].update(promotedFrom={"namespace": NAMESPACE, "modelVersion": "digits-v1"}),
    )
    await world.rest()
    assert "a version is promoted from another one" in copy(world.kube)["status"]["message"]


@pytest.mark.parametrize("gone", ["crash", "calm"])
async def test_the_lineage_is_taken_over_with_the_step(gone: str) -> None:
    first = {"namespace": "dev", "modelVersion": "digits-v1", "at": "2025-12-31T00:00:00Z"}
    promoted = {**GOOD, "origin": "Promoted", "promotions": [first]}
    elsewhere = {**model_version()["spec"]["artifact"], "uri": "s3://prod/digits.onnx"}
    world = new_world(HERE, GIVES, original(status={"lineage": promoted}), artifact=elsewhere)
    if gone == "crash":
        for writes in (1, 2, 3):
            world.kube.crash_after(writes)
            await world.rest()
    await world.rest()
    made = copy(world.kube)
    lineage = made["status"]["lineage"]
    assert (lineage["origin"], lineage["trainingRun"]) == ("Promoted", GOOD["trainingRun"])
    assert [p["namespace"] for p in lineage["promotions"]] == ["dev", THERE]
    assert lineage["artifact"] == GOOD["artifact"], "where it was first written"
    assert made["metadata"]["labels"][f"data.slipway.dev/{'a' * 40}"] == ""
    assert [j["metadata"]["name"] for j in world.kube.all(JOBS)] == ["digits-v1-verify"]
    # From then on the original is not asked any more.
    world.kube.remove(MODEL_VERSIONS, THERE, "digits-v1")
    world.kube.remove(NAMESPACES, "", THERE)
    await world.rest()
    assert copy(world.kube)["status"]["lineage"] == lineage


@pytest.mark.parametrize("author", ["alice", None])
async def test_who_made_the_original_is_taken_over(author: str | None) -> None:
    """Its run may not say so, and an imported one has none: the annotation of the original is asked in any case."""
    said = {"slipway.dev/created-by": author} if author else None
    world = new_world(HERE, GIVES, original(annotations=said))
    world.kube.edit(
        MODEL_VERSIONS,
        NAMESPACE,
        "digits-v1",
        lambda v: v["metadata"].update(annotations={"slipway.dev/created-by": "bob"}),
    )
    await world.rest()
    (step,) = copy(world.kube)["status"]["lineage"]["promotions"]
    assert step.get("createdBy") == author


@pytest.mark.parametrize("there", ["another file", "not Ready", "nothing"])
async def test_nothing_is_taken_over_by_way_of_the_archive(there: str) -> None:
    """Archived first, so that nobody looks at it; then taken back with the lineage of somebody else's file."""
    world = new_world(HERE, GIVES, archived=True)
    if there != "nothing":
        forged = {**model_version()["spec"]["artifact"], "digest": OTHER}
        world.kube.put(original(artifact=forged) if there == "another file" else original(status=NOT_READY))
    await world.rest()
    assert copy(world.kube)["status"]["phase"] == "Archived"
    assert "lineage" not in copy(world.kube)["status"]
    world.kube.edit(MODEL_VERSIONS, NAMESPACE, "digits-v1", lambda v: v["spec"].update(archived=False))
    await world.rest()
    status = copy(world.kube)["status"]
    assert "lineage" not in status
    reason = Reason.PROMOTION_DIFFERS if there == "another file" else Reason.PROMOTION_WAITING
    assert next(c["reason"] for c in status["conditions"] if c["type"] == "Ready") == reason
    assert not world.kube.all(JOBS)


async def test_a_lineage_of_another_file_never_makes_it_ready() -> None:
    world = new_world(HERE, GIVES, original())
    foreign = {**GOOD, "origin": "Promoted", "artifact": {**GOOD["artifact"], "digest": OTHER}}
    world.kube.edit(MODEL_VERSIONS, NAMESPACE, "digits-v1", lambda v: v.update(status={"lineage": foreign}))
    await world.rest()
    assert "its lineage is that of another file" in copy(world.kube)["status"]["message"]
    assert not world.kube.all(JOBS)


async def test_a_way_back_and_a_long_way_are_listed_and_the_other_sides_runs_are_not() -> None:
    steps = [
        {"namespace": ("dev", THERE)[n % 2], "modelVersion": "digits-v1", "at": f"2025-12-31T00:00:{n:02}Z"}
        for n in range(16)
    ]
    again = {"trainingRun": "digits-again", "uid": "u", "verdict": "Identical", "at": "2026-01-01T00:00:00Z"}
    lineage = {**GOOD, "origin": "Promoted", "promotions": steps, "reproductions": [again], "reproductionsCut": 3}
    source = original(status={"lineage": lineage})
    world = new_world(HERE, GIVES, source)
    await world.rest()
    made = copy(world.kube)["status"]["lineage"]
    # The first stays, however long the way: it says who made the original.
    assert [p["at"] for p in made["promotions"][:-1]] == [s["at"] for s in (steps[0], *steps[2:])]
    assert len(made["promotions"]) == 16
    assert not made.keys() & {"reproductions", "reproductionsCut"}
