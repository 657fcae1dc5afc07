"""A version is made once more: the training's room and the registry's in one world, in order, shuffled, and with a
crash at each write."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from slipway import contract
from slipway.api.common import parse_time
from slipway.api.reproduce import run_manifest
from slipway.kube.controller import Room
from slipway.kube.fake import FakeKube
from slipway.kube.objects import CONFIG_MAPS, MODEL_VERSIONS, TRAINING_RUNS, Key, Manifest, key_of
from slipway.kube.recent import Recent
from slipway.progress import FakeProgress
from slipway.registry import children as registry_children
from slipway.registry import decide as registry_decide
from slipway.registry import observe as registry_observe
from slipway.registry.reproductions import Runs
from slipway.training import children as training_children
from slipway.training import decide as training_decide
from slipway.training import observe as training_observe
from tests.support.builders import (
    DIGEST,
    NAMESPACE,
    failure,
    model_version,
    store,
    train_result,
    training_run,
    verify_result,
)
from tests.support.stories import Book, Step, World, tell_in_order, timeless

SEEDS = range(6)
VERIFY = "digits-v1-verify"
AGAIN = "digits-v1-again"
OTHER = "sha256:" + "b" * 64


class Seen(Runs):
    """The index as it is when every event has come."""

    def __init__(self, kube: FakeKube) -> None:
        super().__init__()
        self._kube = kube

    def of(self, version: Key) -> list[Key]:
        for run in self._kube.all(TRAINING_RUNS):
            self.changed(run, False)
        return super().of(version)


def new_world() -> World:
    world = World([])
    training: Room[Any] = Room(
        TRAINING_RUNS,
        partial(
            training_observe.observe,
            defaults=training_children.Defaults(trainer_image="trainer:1"),
            progress=FakeProgress(),
        ),
        training_decide.decide,
        lambda seen: seen.run,
        training_decide.refused,
    )
    registry: Room[Any] = Room(
        MODEL_VERSIONS,
        partial(
            registry_observe.observe,
            defaults=registry_children.Defaults(server_image="server:1"),
            runs=Seen(world.kube),
            recent=Recent(0),
        ),
        registry_decide.decide,
        lambda seen: seen.version,
        registry_decide.refused,
    )
    world.rooms = (training, registry)
    world.kube.put(store())
    return world


def version(world: World, name: str = "digits-v1") -> Manifest:
    found = world.kube.find(MODEL_VERSIONS, NAMESPACE, name)
    assert found is not None
    return found


def run(world: World, name: str = AGAIN) -> dict[str, Any]:
    return world.kube.find(TRAINING_RUNS, NAMESPACE, name) or {}


def pod(job: str, code: int, message: Any) -> list[Step]:
    return [
        Step(f"a pod of {job} runs", lambda w: w.kubelet.run(job), lambda w: w.kubelet.pod(job, "Pending") is not None),
        Step(
            f"it ends with {code}",
            lambda w: w.kubelet.end(job, code, message(w) if callable(message) else message),
            lambda w: w.kubelet.pod(job, "Running") is not None,
        ),
    ]


def apply(change: dict[str, Any] | None = None, name: str = AGAIN) -> Step:
    """What ``kubectl slipway reproduce`` applies, with or without an edit."""

    def act(world: World) -> None:
        made = run_manifest(version(world), name=name, run=run(world, "digits-1"))
        made["spec"] |= {"suspend": False, **(change or {})}
        world.kube.put(made)

    return Step("a user applies it", act, lambda w: _ready(w))


def _ready(world: World) -> bool:
    found = world.kube.find(MODEL_VERSIONS, NAMESPACE, "digits-v1")
    return bool(found) and (found or {}).get("status", {}).get("phase") == "Ready"


def result(verdict: str, *differs: contract.Difference, **changes: Any) -> Any:
    """What the pod of the second training says."""

    def made(world: World) -> str:
        uid = version(world)["metadata"]["uid"]
        said = contract.Reproduction("digits-v1", uid, verdict, list(differs))
        return contract.dumps(train_result(reproduction=said, **changes))

    return made


MADE = [
    Step("a user trains", lambda w: w.kube.put(training_run())),
    *pod("digits-1", 0, contract.dumps(train_result())),
    *pod(VERIFY, 0, contract.dumps(verify_result())),
]
TOLD = contract.Difference("artifact", f"the file: {DIGEST} then, {OTHER} now")

STORIES: dict[str, list[Step]] = {
    "identical": [*MADE, apply(), *pod(AGAIN, 0, result("Identical"))],
    "another seed": [*MADE, apply({"seed": 8}), *pod(AGAIN, 0, result("Different", TOLD))],
    "other data": [
        *MADE,
        apply(),
        *pod(AGAIN, 64, failure("DataDigestMismatch", "the data set train has sha256:2, and sha256:1 is asked for")),
    ],
    "the pod is lost and another one finds the result": [
        *MADE,
        apply(),
        *pod(AGAIN, 0, "no JSON"),
        *pod(AGAIN, 0, result("Identical")),
    ],
    "twice": [
        *MADE,
        apply(),
        *pod(AGAIN, 0, result("Identical")),
        Step("an hour passes", lambda w: w.advance(3600), lambda w: "completionTime" in run(w).get("status", {})),
        apply(name="digits-v1-later"),
        *pod("digits-v1-later", 0, result("WithinTolerance", TOLD)),
    ],
}


def the_end(world: World) -> Any:
    assert len(world.kube.all(MODEL_VERSIONS)) == 1, "a reproduction made a version"
    ledgers = [c["data"]["last"] for c in world.kube.all(CONFIG_MAPS) if "last" in c.get("data", {})]
    assert ledgers == ["1"], "a reproduction took a number"
    times = timeless(version(world)["status"])
    for each in times["lineage"].get("reproductions", ()):
        each.pop("at", None)  # `timeless` takes some times away
        each.pop("uid")
    runs = {r["metadata"]["name"]: timeless(r["status"]) for r in world.kube.all(TRAINING_RUNS)}
    for each in runs.values():
        each.get("reproduction", {}).pop("uid", None)
    return times, runs


def answer(world: World, name: str = AGAIN) -> dict[str, Any]:
    return dict(run(world, name)["status"]["reproduction"])


@pytest.mark.thorough
@pytest.mark.parametrize("name", STORIES)
async def test_shuffled_and_crashing_it_ends_the_same(name: str) -> None:
    book = Book(STORIES, new_world, the_end)
    await book.at_rest(name)
    await book.shuffled(name, SEEDS)
    await book.crashing(name)


async def test_the_same_file_is_said_to_be_identical_on_both_sides() -> None:
    world = new_world()
    await tell_in_order(world, STORIES["identical"])
    made = run(world)["status"]
    assert (made["phase"], "modelVersion" in made) == ("Succeeded", False)
    assert made["message"] == "digits-v1 was made once more: Identical, the file has the same digest"
    assert {c["type"]: (c["status"], c["reason"]) for c in made["conditions"]}["Succeeded"] == ("True", "Reproduced")
    (told,) = version(world)["status"]["lineage"]["reproductions"]
    assert told | {"uid": "", "at": ""} == {
        "trainingRun": AGAIN, "uid": "", "verdict": "Identical", "detail": "", "at": "",
    }  # fmt: skip
    assert parse_time(told["at"]) == parse_time(made["completionTime"])


async def test_another_seed_is_named() -> None:
    world = new_world()
    await tell_in_order(world, STORIES["another seed"])
    found = answer(world)
    assert found["verdict"] == "Different"
    assert {d["what"]: d["message"] for d in found["differs"]} == {
        "seed": "the seed: 7 then, 8 now",
        "artifact": TOLD.message,
    }
    assert run(world)["status"]["message"].startswith(
        "digits-v1 was made once more: Different. the seed: 7 then, 8 now; the file: sha256:"
    )
    (told,) = version(world)["status"]["lineage"]["reproductions"]
    assert told["detail"].startswith("the seed: 7 then, 8 now; ")


async def test_other_data_are_refused_before_the_training_and_named() -> None:
    world = new_world()
    await tell_in_order(world, STORIES["other data"])
    made = run(world)["status"]
    assert made["phase"] == "Failed"
    assert made["message"].startswith("digits-v1 was not made once more: the data set train has sha256:2")
    assert [d["what"] for d in answer(world)["differs"]] == ["data"]
    assert version(world)["status"]["lineage"]["reproductions"][0]["verdict"] == "Different"


async def test_the_newest_stands_first() -> None:
    world = new_world()
    await tell_in_order(world, STORIES["twice"])
    told = version(world)["status"]["lineage"]["reproductions"]
    assert [t["verdict"] for t in told] == ["WithinTolerance", "Identical"]


async def test_what_a_run_said_stays_when_the_run_is_gone() -> None:
    world = new_world()
    await tell_in_order(world, STORIES["identical"])
    world.kube.remove(TRAINING_RUNS, NAMESPACE, AGAIN)
    await world.rest()
    assert version(world)["status"]["lineage"]["reproductions"]


async def test_a_version_made_anew_under_the_same_name_has_no_share_in_it() -> None:
    world = new_world()
    await tell_in_order(world, STORIES["identical"])
    old = version(world)
    world.kube.remove(MODEL_VERSIONS, NAMESPACE, "digits-v1")
    world.kube.put({**old, "metadata": {**old["metadata"], "uid": "another"}, "status": {}})
    await world.rest()
    assert "reproductions" not in version(world)["status"]["lineage"]
    assert key_of(old) == key_of(version(world))


async def test_without_the_version_it_waits_and_without_a_lineage_it_fails() -> None:
    world = new_world()
    world.kube.put(training_run(reproduceOf={"modelVersion": "digits-v1"}))
    await world.rest()
    waits = run(world, "digits-1")["status"]
    assert waits["phase"] == "Pending"
    assert "there is no ModelVersion digits-v1 in this namespace" in waits["message"]
    world.kube.put(model_version())
    await world.rest()
    failed = run(world, "digits-1")["status"]
    assert (failed["phase"], failed["conditions"][0]["reason"]) == ("Failed", "NotReproducible")
    assert "digits-v1 has no lineage in its status" in failed["message"]


async def test_a_trainer_that_compares_nothing_is_found_out() -> None:
    world = new_world()
    await tell_in_order(world, [*MADE, apply(), *pod(AGAIN, 0, contract.dumps(train_result()))])
    failed = run(world)["status"]
    assert (failed["phase"], "reproduction" in failed) == ("Failed", False)
    assert "the trainer compared nothing" in failed["message"]
