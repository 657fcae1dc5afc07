"""TrainingRuns from beginning to end: told in order against a golden log, shuffled, and with a crash at each write."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slipway import contract
from slipway.api.common import Label
from slipway.api.model_version import LINEAGE_ANNOTATION
from slipway.kube.controller import Room
from slipway.kube.fake import Crash
from slipway.kube.objects import CONFIG_MAPS, JOBS, MODEL_VERSIONS, NAMESPACES, PODS, TRAINING_RUNS
from slipway.progress import FakeProgress
from slipway.training.children import Defaults
from slipway.training.decide import decide, refused
from slipway.training.observe import observe
from tests.support.builders import (
    DIGEST,
    NAMESPACE,
    T0,
    config_map,
    failure,
    model_version,
    store,
    train_result,
    training_run,
)
from tests.support.stories import Book, Step, World, is_held, lets_go, quota, tell_in_order, timeless

GOLDEN = Path(__file__).parent / "stories"
SEEDS = range(6)
GOOD = contract.dumps(train_result())
RAISED = failure("CodeRaised", "the training code raised ValueError: too warm (train.py, line 7)")


def new_world() -> World:
    progress = FakeProgress()
    room = Room(
        TRAINING_RUNS,
        partial(observe, defaults=Defaults(trainer_image="trainer:1"), progress=progress),
        decide,
        lambda seen: seen.run,
        refused,
    )
    world = World([room])
    world.kube.put(store())
    world.kube.on_write = Invariants(world).check
    return world


class Invariants:
    """What must hold after every single write."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.attempts: dict[str, int] = {}
        self.ends: dict[str, str] = {}

    def check(self) -> None:
        kube = self.world.kube
        made: dict[str, list[int]] = {}
        for version in kube.all(MODEL_VERSIONS):
            made.setdefault(version["metadata"].get("labels", {}).get(Label.TRAINING_RUN_UID, "by hand"), []).append(
                version["spec"]["version"]
            )
        for uid, numbers in made.items():
            assert uid == "by hand" or len(numbers) == 1, f"run {uid} made the versions {numbers}"
        numbers = sorted(n for found in made.values() for n in found)
        # A claimed number may be made later than the next one, but no number is left out for ever (see `the_end`).
        assert len(numbers) == len(set(numbers))
        for run in kube.all(TRAINING_RUNS):
            uid, status = run["metadata"]["uid"], run.get("status", {})
            attempts = status.get("attempts", 0)
            assert attempts >= self.attempts.get(uid, 0), "attempts went down"
            self.attempts[uid] = attempts
            if "completionTime" in status:
                end = f"{status['phase']} {status['message']} {status.get('modelVersion')}"
                assert self.ends.setdefault(uid, end) == end, "an end was changed"
            if status.get("phase") == "Succeeded":
                assert status["modelVersion"].startswith(f"{run['spec']['model']}-v")
                assert uid in made
        verb, kind, where = kube.log[-1].split()
        if (verb, kind) == ("create", "ModelVersion") and (asks := kube.find(NAMESPACES, "", NAMESPACE)):
            waits = (kube.find(MODEL_VERSIONS, *where.split("/")) or {})["spec"].get("approval")
            assert asks["metadata"]["labels"] == ASKS
            assert waits == {"required": True, "state": "Pending"}, "the admission policy refuses it"
        if (verb, kind) == ("delete", "Job"):
            status = (kube.find(TRAINING_RUNS, *where.split("/")) or {})["status"]
            assert "completionTime" in status or status["rereads"] > 0, (
                "a Job was deleted before its result was recorded"
            )


def apply(run: dict[str, Any]) -> Step:
    name = run["metadata"]["name"]

    def act(world: World) -> None:
        world.kube.put(run)
        world.tell("user", f"applies TrainingRun {name}")

    return Step(f"a user applies {name}", act)


def pod_runs(job: str = "digits-1") -> Step:
    return Step(
        f"a pod of {job} runs",
        lambda w: w.kubelet.run(job),
        lambda w: w.kubelet.pod(job, "Pending") is not None,
    )


def pod_ends(code: int, message: str, job: str = "digits-1", **how: Any) -> Step:
    return Step(
        f"the pod of {job} ends with {code}",
        lambda w: w.kubelet.end(job, code, message, **how),
        lambda w: w.kubelet.pod(job, "Running") is not None,
    )


def code_ends(code: int, message: str = "", job: str = "digits-1") -> Step:
    return Step(
        f"the code of {job} is fetched with {code}",
        lambda w: w.kubelet.first(job, code, message),
        lambda w: w.kubelet.pod(job, "Pending") is not None,
    )


def parent(ready: str) -> dict[str, Any]:
    """digits-v1, which lies in the store and has weights."""
    made = model_version("digits-v1")
    weights = {"uri": "s3://models/cats/model.safetensors", "digest": DIGEST, "size": 9}
    condition = {"type": "Ready", "status": ready, "reason": "Ready", "message": "", "lastTransitionTime": T0}
    lineage = {"artifact": made["spec"]["artifact"], "weights": weights}
    phase = "Verifying" if ready == "Unknown" else "Ready"
    return {**made, "status": {"phase": phase, "conditions": [condition], "lineage": lineage}}


def edit(name: str, text: str, **spec: Any) -> Step:
    def act(world: World) -> None:
        world.kube.edit(TRAINING_RUNS, NAMESPACE, name, lambda run: run["spec"].update(spec))
        world.tell("user", text)

    return Step(text, act)


def delete_job(name: str = "digits-1", ready: Callable[[World], bool] = lambda w: True) -> Step:
    def act(world: World) -> None:
        world.kube.remove(JOBS, NAMESPACE, name)
        world.tell("user", f"deletes the Job {name}")

    return Step(
        f"a user deletes the Job {name}",
        act,
        lambda w: w.kube.find(JOBS, NAMESPACE, name) is not None and ready(w),
    )


def operator(alive: bool) -> Step:
    def act(world: World) -> None:
        world.alive = alive

    return Step("the operator is back" if alive else "the operator is down", act)


def says(reason: str) -> Callable[[World], bool]:
    return lambda world: any(
        c["reason"] == reason and c["type"] == "Stalled" for c in status(world).get("conditions", ())
    )


def time_passes(seconds: float, ready: Callable[[World], bool] = lambda w: True) -> Step:
    return Step(f"{seconds:g} s pass", lambda w: w.advance(seconds), ready)


def status(world: World, name: str = "digits-1") -> dict[str, Any]:
    found = world.kube.find(TRAINING_RUNS, NAMESPACE, name)
    return found.get("status", {}) if found else {}


def ended(name: str = "digits-1") -> Callable[[World], bool]:
    return lambda world: "completionTime" in status(world, name)


def both_end(world: World) -> None:
    for job in ("digits-1", "digits-2"):
        world.kubelet.end(job, 0, GOOD)


QUOTA = "exceeded quota: small, requested: count/jobs.batch=1, used: count/jobs.batch=3, limited: count/jobs.batch=3"
ASKS = {"slipway.dev/approval": "required"}
LABELLED = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": ASKS}}

HAPPY = [apply(training_run()), pod_runs(), time_passes(60), pod_ends(0, GOOD)]

FROM: dict[str, Any] = {"from": {"modelVersion": "digits-v1"}}
BEHIND = {"metric": "accuracy", "notWorseThan": {"alias": "champion", "by": "0.01", "better": "Higher"}}


def champion(name: str, accuracy: str) -> dict[str, Any]:
    """A version that holds the alias and was measured on the data that every story's run reads."""
    made = model_version(name)
    data = {"name": "train", "uri": "s3://data/digits/", "digest": DIGEST, "files": 2, "bytes": 1000}
    metrics = [{"name": "accuracy", "value": accuracy}]
    lineage = {"artifact": made["spec"]["artifact"], "metrics": metrics, "data": [data]}
    return {**made, "status": {"phase": "Ready", "heldAliases": ["champion"], "lineage": lineage}}


COMPARED = "a run that is better than the champion"
STORIES: dict[str, list[Step]] = {
    "happy path": HAPPY,
    "an attempt raises, the next one succeeds": [
        apply(training_run()),
        pod_runs(),
        pod_ends(1, RAISED),
        time_passes(10),
        pod_runs(),
        time_passes(60),
        pod_ends(0, GOOD),
    ],
    "all attempts raise": [
        apply(training_run(backoffLimit=1)),
        pod_runs(),
        pod_ends(1, RAISED),
        pod_runs(),
        pod_ends(1, RAISED),
    ],
    "a mistake that cannot pass is not tried again": [
        apply(training_run()),
        pod_runs(),
        pod_ends(64, failure("DataDigestMismatch", "the data set train has sha256:1, and sha256:2 is asked for")),
    ],
    "no node has a GPU, then one has": [
        apply(training_run(resources={"cpu": "1", "memory": "1Gi", "gpu": {"count": 1}})),
        Step(
            "the scheduler finds no node",
            lambda w: w.kubelet.unschedulable("digits-1", "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."),
            lambda w: w.kubelet.pod("digits-1", "Pending") is not None,
        ),
        time_passes(300),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "suspended and resumed": [
        apply(training_run()),
        pod_runs(),
        edit("digits-1", "suspends the run", suspend=True),
        Step(
            "an hour passes",
            lambda w: w.advance(3600),
            lambda w: status(w).get("phase") == "Suspended" and w.kubelet.pod("digits-1", "Running") is None,
        ),
        edit("digits-1", "resumes the run", suspend=False),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "born suspended": [
        apply(training_run(suspend=True)),
        Step("an hour passes", lambda w: w.advance(3600), lambda w: status(w).get("phase") == "Suspended"),
        edit("digits-1", "resumes the run", suspend=False),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "the Job is deleted in the middle": [
        apply(training_run()),
        pod_runs(),
        delete_job(ready=lambda w: status(w).get("phase") == "Running"),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "the operator is down at the end": [
        apply(training_run()),
        pod_runs(),
        Step("the operator goes down", operator(False).act, lambda w: status(w).get("phase") == "Running"),
        pod_ends(0, GOOD),
        time_passes(7200),
        operator(True),
    ],
    "the operator is down at the end and the Job is deleted meanwhile": [
        apply(training_run()),
        pod_runs(),
        Step("the operator goes down", operator(False).act, lambda w: status(w).get("phase") == "Running"),
        pod_ends(0, GOOD),
        delete_job(),
        operator(True),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "the pod is lost after the upload": [
        apply(training_run()),
        pod_runs(),
        Step("the operator goes down", operator(False).act, lambda w: status(w).get("phase") == "Running"),
        pod_ends(0, GOOD),
        Step(
            "the node is lost",
            lambda w: w.kubelet.lose("digits-1", "Succeeded"),
            lambda w: _complete(w) and w.kubelet.pod("digits-1", "Succeeded") is not None,
        ),
        operator(True),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "the result can never be read": [
        apply(training_run()),
        *(step for _ in range(3) for step in (pod_runs(), pod_ends(0, "Traceback: this is no JSON"))),
    ],
    "no Job may be made, then one may": [
        quota(JOBS, QUOTA),
        apply(training_run()),
        time_passes(60, says("WriteRefused")),
        quota(JOBS, None),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "no pod may be made, then one may": [
        quota(PODS, QUOTA),
        apply(training_run()),
        time_passes(60, says("PodRefused")),
        quota(PODS, None),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "the second attempt may not be made, then it may": [
        apply(training_run()),
        pod_runs(),
        quota(PODS, QUOTA),
        pod_ends(1, RAISED),
        time_passes(60, says("PodRefused")),
        quota(PODS, None),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "no version may be made, then one may": [
        apply(training_run()),
        pod_runs(),
        quota(MODEL_VERSIONS, "exceeded quota: versions"),
        pod_ends(0, GOOD),
        time_passes(60, says("WriteRefused")),
        quota(MODEL_VERSIONS, None),
    ],
    "the namespace begins to ask for approval": [
        apply(training_run()),
        pod_runs(),
        Step(
            "it asks for approval",
            lambda w: w.kube.put(LABELLED),
            lambda w: not w.kube.all(MODEL_VERSIONS),
        ),
        pod_ends(0, GOOD),
    ],
    "the gate is missed": [
        apply(training_run(gate=[{"metric": "accuracy", "min": "0.99"}])),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "a run that falls behind the champion": [
        Step("digits-v1 is the champion", lambda w: w.kube.put(champion("digits-v1", "0.99"))),
        apply(training_run(gate=[BEHIND])),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    COMPARED: [
        Step("digits-v1 is the champion", lambda w: w.kube.put(champion("digits-v1", "0.95"))),
        apply(training_run(gate=[BEHIND])),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "the first version is compared with nobody": [apply(training_run(gate=[BEHIND])), pod_runs(), pod_ends(0, GOOD)],
    "two runs of one model end together": [
        apply(training_run("digits-1")),
        apply(training_run("digits-2")),
        pod_runs("digits-1"),
        pod_runs("digits-2"),
        Step(
            "both pods end",
            both_end,
            lambda w: all(w.kubelet.pod(job, "Running") for job in ("digits-1", "digits-2")),
        ),
    ],
    "a version made by hand has the number": [
        Step("a person makes digits-v1", lambda w: w.kube.put(model_version("digits-v1"))),
        *HAPPY,
    ],
    "the Job goes when its time has come": [
        apply(training_run(ttlAfterFinished="1h")),
        pod_runs(),
        pod_ends(0, GOOD),
        Step("half an hour passes", lambda w: w.advance(1800), ended()),
        time_passes(1801),
    ],
    "the Job goes when its time has come, and a finalizer holds it": [
        apply(training_run(ttlAfterFinished="1h")),
        pod_runs(),
        pod_ends(0, GOOD),
        is_held(JOBS, "digits-1"),
        Step("two hours pass", lambda w: w.advance(7200), ended()),
        lets_go(JOBS, "digits-1"),
    ],
    "the deadline passes": [
        apply(training_run(activeDeadline="10m")),
        pod_runs(),
        Step("11 minutes pass", lambda w: w.advance(660), lambda w: status(w).get("phase") == "Running"),
    ],
    "the deadline passes before there is a Job": [
        Step("the S3 place is not there", lambda w: w.kube.remove(CONFIG_MAPS, NAMESPACE, "slipway-store-default")),
        apply(training_run(activeDeadline="10m")),
        time_passes(599, says("StoreMissing")),
        time_passes(1),
    ],
    "what it waited for costs the Job its time": [
        Step("the S3 place is not there", lambda w: w.kube.remove(CONFIG_MAPS, NAMESPACE, "slipway-store-default")),
        apply(training_run(activeDeadline="10m")),
        time_passes(540, says("StoreMissing")),
        Step("the S3 place comes", lambda w: w.kube.put(store())),
        pod_runs(),
        Step("another minute passes", lambda w: w.advance(60), lambda w: status(w).get("phase") == "Running"),
    ],
    "the clock begins anew where a run without a Job is resumed": [
        Step("the S3 place is not there", lambda w: w.kube.remove(CONFIG_MAPS, NAMESPACE, "slipway-store-default")),
        apply(training_run(activeDeadline="10m", data=[{"name": "train", "dataset": "digits", "store": "default"}])),
        time_passes(540, says("DatasetMissing")),
        edit("digits-1", "suspends the run", suspend=True),
        time_passes(7200, lambda w: status(w).get("phase") == "Suspended"),
        edit("digits-1", "resumes the run", suspend=False),
        time_passes(599, says("DatasetMissing")),
        time_passes(1),
    ],
    "the pod is evicted, which costs no attempt of the back-off limit": [
        apply(training_run(backoffLimit=0)),
        pod_runs(),
        pod_ends(
            137,
            "",
            conditions=({"type": "DisruptionTarget", "status": "True", "message": "preempted by team/important"},),
        ),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "the S3 place comes later": [
        Step("the S3 place is not there", lambda w: w.kube.remove(CONFIG_MAPS, NAMESPACE, "slipway-store-default")),
        apply(training_run()),
        Step(
            "a person makes it",
            lambda w: w.kube.put(store()),
            lambda w: bool(status(w)),
        ),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "the version that it begins from comes later": [
        apply(training_run(**FROM)),
        Step("a person registers it", lambda w: w.kube.put(parent("Unknown")), lambda w: bool(status(w))),
        Step(
            "it is verified",
            lambda w: w.kube.put(parent("True")),
            lambda w: "is being verified" in status(w).get("message", ""),
        ),
        Step(
            "it is archived, which comes too late",
            lambda w: w.kube.put(parent("False")),
            lambda w: "parent" in status(w),
        ),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
    "the git server is down at first": [
        apply(training_run(code={"git": {"url": "https://git.example.com/digits", "revision": "main"}})),
        code_ends(1, failure("GitUnreachable", "the git server at git.example.com does not answer")),
        code_ends(0),
        pod_runs(),
        pod_ends(0, contract.dumps(train_result(code=contract.CodeResult("c" * 40), codeDigest=None))),
    ],
    "the branch does not exist": [
        apply(training_run(code={"git": {"url": "https://git.example.com/digits", "revision": "mian"}})),
        code_ends(64, failure("GitRevisionNotFound", "there is no branch 'mian'")),
    ],
    "the code comes later": [
        apply(training_run(code={"configMap": "digits-code"})),
        Step(
            "a person makes it",
            lambda w: w.kube.put(config_map("digits-code", {"train.py": ""})),
            lambda w: bool(status(w)),
        ),
        pod_runs(),
        pod_ends(0, GOOD),
    ],
}


def _complete(world: World) -> bool:
    job = world.kube.find(JOBS, NAMESPACE, "digits-1")
    return job is not None and any(c["type"] == "Complete" for c in job["status"]["conditions"])


def the_end(world: World) -> dict[str, Any]:
    """The end state: every status without times, every version, every number (but who of several runs has which)."""
    kube = world.kube
    versions = {v["metadata"]["name"]: v["spec"] for v in kube.all(MODEL_VERSIONS)}
    numbers = sorted(spec["version"] for spec in versions.values())
    assert numbers == list(range(1, len(numbers) + 1)), f"a number was left out: {numbers}"
    ledgers = {c["metadata"]["name"]: c["data"]["last"] for c in kube.all(CONFIG_MAPS) if "last" in c["data"]}
    assert all(int(last) == max(numbers) for last in ledgers.values())
    runs = {r["metadata"]["name"]: timeless(r["status"]) for r in kube.all(TRAINING_RUNS)}
    if len(runs) > 1:
        for run in runs.values():
            _forget_which(run)
        for spec in versions.values():
            spec["trainingRun"] = "digits-N"
    return {
        "runs": runs,
        "versions": timeless(versions),
        "ledgers": ledgers,
        "jobs": [j["metadata"]["name"] for j in kube.all(JOBS)],
    }


def _forget_which(run: dict[str, Any]) -> None:
    version = run.get("modelVersion", "digits-vN")
    run["modelVersion"] = "digits-vN"
    run["message"] = run["message"].replace(version, "digits-vN")
    for condition in run["conditions"]:
        condition["message"] = condition["message"].replace(version, "digits-vN")


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


@each_story
async def test_a_crash_after_any_write_ends_the_same(name: str) -> None:
    await BOOK.crashing(name)


@pytest.mark.parametrize("accuracy", ["0.5", "0.999"], ids=["a worse one", "a better one"])
async def test_the_champion_moves_while_the_operator_is_dead(accuracy: str) -> None:
    """After whichever write it dies: what was judged is what the version says, and nobody is judged twice."""
    calm = new_world()
    await tell_in_order(calm, STORIES[COMPARED])
    judged = []
    for at in range(1, len(calm.kube.log) + 1):
        world = new_world()
        world.kube.crash_after(at)
        await tell_in_order(world, STORIES[COMPARED][:-1])
        STORIES[COMPARED][-1].act(world)
        if not any("DIES" in line for line in world.log):
            with pytest.raises(Crash):
                for _ in calm.kube.log:
                    await world.actors()
        then = status(world).get("gates")
        world.kube.edit(MODEL_VERSIONS, NAMESPACE, "digits-v1", lambda old: old["status"].update(heldAliases=[]))
        world.kube.put(champion("digits-v7", accuracy))
        await world.rest()
        end, story = status(world), "\n".join(world.log)
        (said,) = end["gates"]
        made = made_by(world, "digits-1")
        assert then in (None, [said]), story
        assert said["against"]["modelVersion"] == ("digits-v1" if then else "digits-v7"), story
        assert (end["phase"] == "Succeeded") == (then is not None or accuracy == "0.5") == bool(made), story
        assert [json.loads(v["metadata"]["annotations"][LINEAGE_ANNOTATION])["gates"] for v in made] == [[said]] * len(
            made
        )
        judged.append(then is not None)
    assert any(judged)
    assert not all(judged)


def made_by(world: World, run: str) -> list[dict[str, Any]]:
    return [v for v in world.kube.all(MODEL_VERSIONS) if v["spec"].get("trainingRun") == run]


async def test_a_crash_is_not_swallowed() -> None:
    """The harness itself: a crash that nobody sees would make the tests above say nothing."""
    world = new_world()
    world.kube.crash_after(1)
    world.kube.put(training_run())
    with pytest.raises(Crash):
        await world.actors()
