"""Datasets from the first check on, and runs that wait for them: in order against a golden log, shuffled, and with a
crash at each write."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slipway import contract
from slipway.api.common import ACTION_ANNOTATION
from slipway.datasets import children, decide, observe
from slipway.kube.controller import Room
from slipway.kube.objects import CONFIG_MAPS, DATASETS, JOBS, PODS, TRAINING_RUNS
from slipway.progress import FakeProgress
from slipway.training import children as training_children
from slipway.training import decide as training_decide
from slipway.training import observe as training_observe
from tests.support.builders import NAMESPACE, dataset, dataset_result, failure, store, train_result, training_run
from tests.support.stories import Book, Step, World, is_held, lets_go, quota, timeless

GOLDEN = Path(__file__).parent / "stories"
SEEDS = range(6)
JOB = "digits-dataset"
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
GOOD, CHANGED = contract.dumps(dataset_result(A)), contract.dumps(dataset_result(B))
BAD = contract.dumps(dataset_result(B, ("label.min", "3 of 1,797 values are below 0, the first in row 7 of train.csv")))


def new_world() -> World:
    rooms: list[Room[Any]] = [
        Room(
            DATASETS,
            partial(observe.observe, defaults=children.Defaults(trainer_image="trainer:1"), progress=FakeProgress()),
            decide.decide,
            lambda seen: seen.dataset,
            decide.refused,
        ),
        Room(
            TRAINING_RUNS,
            partial(
                training_observe.observe,
                defaults=training_children.Defaults(trainer_image="trainer:1"),
                progress=FakeProgress(),
            ),
            training_decide.decide,
            lambda seen: seen.run,
            training_decide.refused,
        ),
    ]
    world = World(rooms)
    world.kube.put(store())
    world.kube.on_write = Invariants(world).check
    return world


class Invariants:
    """What must hold after every single write."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pinned: dict[str, Any] = {}
        self.number = 0

    def check(self) -> None:
        kube = self.world.kube
        for found in kube.all(DATASETS):
            status = found.get("status", {})
            digests = [v["digest"] for v in status.get("versions", [])]
            assert len(digests) == len(set(digests)), "a content is listed twice"
            number = status.get("check", {}).get("number", 0)
            assert self.number <= number <= self.number + 1, "a check was left out, or the count went down"
            self.number = number
            if status.get("phase") == "Ready":
                assert status["checked"]["passed"]
                assert status["digest"] == digests[0]
        for run in kube.all(TRAINING_RUNS):
            pins = run.get("status", {}).get("data")
            if pins:
                assert self.pinned.setdefault(run["metadata"]["name"], pins) == pins, "a version was settled twice"
            if run.get("status", {}).get("phase") == "Failed":
                assert kube.find(JOBS, NAMESPACE, run["metadata"]["name"]) is None, "bad data took a pod"
        for job in kube.all(JOBS):
            if job["metadata"]["name"] == "digits-1":
                (spec,) = (
                    e for e in job["spec"]["template"]["spec"]["containers"][0]["env"] if e["name"] == "SLIPWAY_SPEC"
                )
                (asked,) = contract.loads(contract.TrainSpec, spec["value"]).data
                (pin,) = self.pinned["digits-1"]
                assert (asked.uri, asked.digest) == (pin["uri"], pin["version"])
        verb, kind, where = kube.log[-1].split()
        if (verb, kind) == ("delete", "Job"):
            status = (kube.find(DATASETS, NAMESPACE, "digits") or {})["status"]
            recorded = status.get("checked", {}).get("number") == status["check"]["number"]
            assert where.endswith(JOB)
            assert recorded or status["check"]["tries"] > 0 or status["check"]["number"] > 1


def apply(**spec: Any) -> Step:
    def act(world: World) -> None:
        world.kube.put(dataset(**spec))
        world.tell("user", "applies Dataset digits")

    return Step("a user applies digits", act)


def edit(text: str, ready: Callable[[World], bool], **spec: Any) -> Step:
    def act(world: World) -> None:
        world.kube.edit(DATASETS, NAMESPACE, "digits", lambda d: d["spec"].update(spec))
        world.tell("user", text)

    return Step(text, act, ready)


def says(action: str, ready: Callable[[World], bool] = lambda _: True) -> Step:
    def act(world: World) -> None:
        def annotate(found: dict[str, Any]) -> None:
            found["metadata"].setdefault("annotations", {})[ACTION_ANNOTATION] = action

        world.kube.edit(DATASETS, NAMESPACE, "digits", annotate)
        world.tell("user", f"asks for {action}")

    return Step(f"a user says {action}", act, ready)


def trains(**spec: Any) -> Step:
    run = training_run(data=[{"name": "train", "dataset": "digits", "store": "default", **spec}])

    def act(world: World) -> None:
        world.kube.put(run)
        world.tell("user", "applies TrainingRun digits-1")

    return Step("a user applies the run digits-1", act)


def trains_instead(digest: str) -> Callable[[World], None]:
    def act(world: World) -> None:
        world.kube.remove(TRAINING_RUNS, NAMESPACE, "digits-1")
        trains(digest=digest).act(world)

    return act


def pod_runs(job: str = JOB) -> Step:
    return Step(
        f"a pod of {job} runs", lambda w: w.kubelet.run(job), lambda w: w.kubelet.pod(job, "Pending") is not None
    )


def pod_ends(code: int, message: str, job: str = JOB) -> Step:
    return Step(
        f"the pod of {job} ends with {code}",
        lambda w: w.kubelet.end(job, code, message),
        lambda w: w.kubelet.pod(job, "Running") is not None,
    )


def checked(message: str) -> list[Step]:
    return [pod_runs(), pod_ends(0, message)]


def trained(digest: str) -> list[Step]:
    data = [contract.DataResult("train", "s3://data/digits/", digest, 2, 1000)]
    return [pod_runs("digits-1"), pod_ends(0, contract.dumps(train_result(data=data)), "digits-1")]


def is_(phase: str, number: int = 1) -> Callable[[World], bool]:
    """The Dataset's check of that number has ended so."""

    def ready(world: World) -> bool:
        status = (world.kube.find(DATASETS, NAMESPACE, "digits") or {}).get("status", {})
        return bool(status.get("phase") == phase and status.get("check", {}).get("number") == number)

    return ready


def told(part: str) -> Callable[[World], bool]:
    def ready(world: World) -> bool:
        return part in (world.kube.find(DATASETS, NAMESPACE, "digits") or {}).get("status", {}).get("message", "")

    return ready


def waits(reason: str) -> Callable[[World], bool]:
    def ready(world: World) -> bool:
        status = (world.kube.find(TRAINING_RUNS, NAMESPACE, "digits-1") or {}).get("status", {})
        return any(c["reason"] == reason for c in status.get("conditions", ()))

    return ready


STORIES: dict[str, list[Step]] = {
    "checked and trained from": [
        apply(),
        *checked(GOOD),
        Step("it is Ready", lambda _: None, is_("Ready")),
        trains(),
        *trained(A),
    ],
    "a run waits for the Dataset and for its check": [
        trains(),
        Step("the run waits", lambda _: None, waits("DatasetMissing")),
        apply(),
        pod_runs(),
        Step("the run waits for the check", lambda _: None, waits("DatasetChecking")),
        pod_ends(0, GOOD),
        *trained(A),
    ],
    "neither Job nor pod may be made for a while": [
        quota(JOBS, "exceeded quota: jobs"),
        apply(),
        quota(PODS, "exceeded quota: pods", told("the API server refused a write: exceeded quota: jobs")),
        quota(PODS, None, told("the pod of the Job digits-dataset cannot be made: exceeded quota: pods")),
        *checked(GOOD),
    ],
    "bad data stop the run, and the version before can be asked for": [
        apply(),
        *checked(GOOD),
        says("refresh", is_("Ready")),
        *checked(BAD),
        Step("it has failed", lambda _: None, is_("Failed", 2)),
        trains(),
        Step(
            "the run has failed; another asks for the version before",
            trains_instead(A),
            waits("DatasetFailed"),
        ),
        *trained(A),
    ],
    "a run keeps its version though the data go on": [
        apply(),
        *checked(GOOD),
        Step("it is Ready", lambda _: None, is_("Ready")),
        trains(),
        pod_runs("digits-1"),
        says("refresh"),
        *checked(CHANGED),
        Step("the Dataset has gone on", lambda _: None, is_("Ready", 2)),
        pod_ends(0, contract.dumps(train_result()), "digits-1"),
    ],
    "a content that comes back is not listed twice": [
        apply(),
        *checked(GOOD),
        says("refresh", is_("Ready")),
        *checked(CHANGED),
        says("refresh", is_("Ready", 2)),
        *checked(GOOD),
    ],
    "a refresh in the middle of a check begins another": [
        apply(),
        pod_runs(),
        says("refresh", told("being read")),
        Step(
            "the first Job is gone",
            lambda _: None,
            lambda w: is_("Checking", 2)(w) and w.kubelet.pod(JOB, "Running") is None,
        ),
        *checked(GOOD),
    ],
    "a finalizer holds the Job of the check before": [
        apply(),
        pod_runs(),
        is_held(JOBS, JOB),
        says("refresh", told("being read")),
        lets_go(JOBS, JOB),
        *checked(GOOD),
    ],
    "an action that is none": [apply(), *checked(GOOD), says("promote", is_("Ready"))],
    "the spec changes in the middle of a check": [
        apply(),
        pod_runs(),
        edit("moves the data", told("being read"), uri="s3://data/digits-2/"),
        Step(
            "the first Job is gone",
            lambda _: None,
            lambda w: is_("Checking", 2)(w) and w.kubelet.pod(JOB, "Running") is None,
        ),
        *checked(GOOD),
    ],
    "an hour later it is read again": [
        apply(refresh="1h"),
        *checked(GOOD),
        Step("59 minutes pass", lambda w: w.advance(3540), is_("Ready")),
        Step("another passes", lambda w: w.advance(61)),
        *checked(CHANGED),
    ],
    "the Job is deleted after its pod ended": [
        apply(),
        pod_runs(),
        Step("the operator goes down", lambda w: setattr(w, "alive", False)),
        pod_ends(0, GOOD),
        Step("a user deletes the Job", lambda w: w.kube.remove(JOBS, NAMESPACE, JOB)),
        Step("the operator is back", lambda w: setattr(w, "alive", True)),
        *checked(GOOD),
    ],
    "the operator is down at the end": [
        apply(),
        pod_runs(),
        Step("the operator goes down", lambda w: setattr(w, "alive", False)),
        pod_ends(0, GOOD),
        Step("two hours pass", lambda w: w.advance(7200)),
        Step("the operator is back", lambda w: setattr(w, "alive", True)),
    ],
    "an attempt fails, the next one goes on": [
        apply(),
        pod_runs(),
        pod_ends(1, failure("StoreUnreachable", "no answer")),
        *checked(GOOD),
    ],
    "no such bucket until somebody makes it": [
        apply(),
        pod_runs(),
        pod_ends(64, failure("BucketNotFound", "there is no bucket data")),
        Step("half a minute passes", lambda w: w.advance(31), told("tried again 30s later")),
        *checked(GOOD),
    ],
    "the result cannot be read at first": [
        apply(),
        *checked("Segmentation fault"),
        Step("half a minute passes", lambda w: w.advance(31), told("tried again 30s later")),
        *checked(GOOD),
    ],
    "the deadline passes and the next try goes on": [
        apply(activeDeadline="10m"),
        pod_runs(),
        Step("11 minutes pass", lambda w: w.advance(660), told("being read")),
        Step("half a minute passes", lambda w: w.advance(31), told("tried again 30s later")),
        *checked(GOOD),
    ],
    "the S3 place comes later": [
        Step("the S3 place is not there", lambda w: w.kube.remove(CONFIG_MAPS, NAMESPACE, "slipway-store-default")),
        apply(),
        trains(),
        Step("a person makes it", lambda w: w.kube.put(store()), waits("StoreMissing")),
        *checked(GOOD),
        *trained(A),
    ],
}


def the_end(world: World) -> Any:
    def comparable(status: dict[str, Any]) -> Any:
        return timeless({**status, "lastAction": {**status.get("lastAction", {}), "at": ""}})

    return {
        "datasets": [comparable(d["status"]) for d in world.kube.all(DATASETS)],
        "annotations": [d["metadata"].get("annotations", {}) for d in world.kube.all(DATASETS)],
        "runs": [timeless(r["status"]) for r in world.kube.all(TRAINING_RUNS)],
        "jobs": [j["metadata"]["name"] for j in world.kube.all(JOBS)],
        "pods": len(world.kube.all(PODS)),
    }


BOOK = Book(STORIES, new_world, the_end)
# By module: pytest puts the tests of one story side by side then, and they share its calm telling.
each_story = pytest.mark.parametrize("name", STORIES, scope="module")


@each_story
async def test_in_order(name: str) -> None:
    await BOOK.in_order(name, GOLDEN)


@each_story
async def test_at_rest_nothing_is_written(name: str) -> None:
    await BOOK.at_rest(name)


@pytest.mark.thorough
@each_story
async def test_shuffled(name: str) -> None:
    await BOOK.shuffled(name, SEEDS)


@pytest.mark.thorough
@each_story
async def test_a_crash_after_any_write_ends_the_same(name: str) -> None:
    await BOOK.crashing(name)
