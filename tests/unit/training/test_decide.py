"""Single choices about a TrainingRun, as a table: what is seen, what is said, what is done."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slipway import contract, ledger
from slipway.api.common import Label
from slipway.api.model_version import LINEAGE_ANNOTATION
from slipway.api.reasons import Reason
from slipway.api.training_run import TrainingRunSpec, TrainingRunStatus
from slipway.kube.objects import owner_reference
from slipway.kube.plan import Apply, Create, Delete, Plan
from slipway.ledger import Ledger
from slipway.training import children
from slipway.training.children import CODE_CONTAINER, Defaults
from slipway.training.decide import DEADLINE_FLOOR, MISSING_EVERY, PROGRESS_EVERY, decide
from slipway.training.observe import Observed
from tests.support.builders import DIGEST, T0, config_map, failure, model_version, pod, train_result, training_run

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
UID = "run-uid"
LABELS = {Label.TRAINING_RUN_UID: UID}
DEFAULTS = Defaults(trainer_image="trainer:1")
RUN = training_run(uid=UID)
GOOD = contract.dumps(train_result())


def job(*, owner: Any = RUN, annotations: dict[str, str] | None = None, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "digits-1",
            "namespace": "team",
            "uid": "job-uid",
            "resourceVersion": "7",
            "labels": {Label.ROLE: "train"},
            "annotations": annotations or {},
            "ownerReferences": [owner_reference(owner)] if owner else [],
        },
        "spec": {"suspend": False},
        "status": {"startTime": T0, **status},
    }


def condition(kind: str, reason: str = "", message: str = "") -> list[dict[str, str]]:
    return [{"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": T0}]


def made_here(name: str, uid: str = UID) -> dict[str, Any]:
    """A version whose lineage says that a run made it."""
    lineage = {"origin": "Trained", "trainingRun": {"name": "digits-1", "uid": uid}}
    return model_version(name, status={"lineage": {**lineage, "artifact": model_version(name)["spec"]["artifact"]}})


def seen(*, status: dict[str, Any] | None = None, spec: dict[str, Any] | None = None, **world: Any) -> Observed:
    run = training_run(uid=UID, **(spec or {}))
    return Observed(
        run=run,
        spec=TrainingRunSpec.model_validate(run["spec"]),
        status=TrainingRunStatus.model_validate(status or {}),
        defaults=DEFAULTS,
        **world,
    )


def trainer(name: str = "digits-1-a", **how: Any) -> dict[str, Any]:
    return pod(name, labels=LABELS, **how)


def said(plan: Plan) -> tuple[str, str, dict[str, str]]:
    """Phase, reason and what the conditions say."""
    assert isinstance(plan.status, TrainingRunStatus)
    status = plan.status
    reasons = {c.reason for c in status.conditions}
    assert len(reasons) == 1
    assert {c.message for c in status.conditions} == {status.message}
    return status.phase, reasons.pop(), {c.type: c.status for c in status.conditions}


SECRET_MISSING = 'secret "digits-git" not found'
GIT = {"git": {"url": "https://git.example.com/digits", "revision": "main", "secret": "digits-git"}}


def fetching(state: dict[str, Any], **how: Any) -> dict[str, Any]:
    """A pod whose code is being fetched."""
    waits = {"reason": "PodInitializing", "message": ""}
    return trainer(waiting=waits, initContainerStatuses=[{"name": CODE_CONTAINER, "state": state}], **how)


MOVING = {"Succeeded": "Unknown", "Reconciling": "True", "Stalled": "False"}
WAITING = {"Succeeded": "Unknown", "Reconciling": "False", "Stalled": "False"}
STALLED = {"Succeeded": "Unknown", "Reconciling": "False", "Stalled": "True"}
FAILED = {"Succeeded": "False", "Reconciling": "False", "Stalled": "True"}
DONE = {"Succeeded": "True", "Reconciling": "False", "Stalled": "False"}
Case = tuple[Observed, str, str, dict[str, str], str]

CASES: dict[str, Case] = {
    "a new run": (seen(), "Pending", Reason.PENDING, MOVING, "the Job digits-1 is made"),
    "the S3 place is missing: no Job is made": (
        seen(missing=("slipway-store-default",)),
        "Pending",
        Reason.STORE_MISSING,
        STALLED,
        (
            'this namespace was not given the S3 place "default": make a ConfigMap and a Secret, both named '
            "slipway-store-default; the ConfigMap holds endpoint and bucket, the Secret holds accessKey and secretKey"
        ),
    ),
    "the code is missing: no Job is made": (
        seen(spec={"code": {"configMap": "digits-code"}}, missing=("digits-code",)),
        "Pending",
        Reason.CODE_MISSING,
        STALLED,
        (
            "the ConfigMap digits-code of spec.code does not exist: make it, for example with "
            "kubectl create configmap digits-code --from-file=train.py"
        ),
    ),
    "the code was deleted while the pod was starting": (
        seen(spec={"code": {"configMap": "digits-code"}}, missing=("digits-code",), job=job(), pods=(trainer(),)),
        "Queued",
        Reason.CODE_MISSING,
        STALLED,
        (
            "the ConfigMap digits-code of spec.code does not exist: make it, for example with "
            "kubectl create configmap digits-code --from-file=train.py"
        ),
    ),
    "a Job of that name belongs to somebody else": (
        seen(job=job(owner=None)),
        "Pending",
        Reason.NAME_TAKEN,
        STALLED,
        "a Job digits-1 exists and is not ours: delete it, or apply this TrainingRun under another name",
    ),
    "the Job of an earlier run of that name is still there": (
        seen(job=job(owner=training_run(uid="earlier"))),
        "Pending",
        Reason.PENDING,
        MOVING,
        "the Job of an earlier TrainingRun digits-1 is being removed",
    ),
    "the spec does not fit an environment variable": (
        seen(spec={"parameters": {f"p{i}": "x" * 1024 for i in range(128)}}),
        "Failed",
        Reason.INVALID_SPEC,
        FAILED,
        (
            "the spec is 132,418 bytes for the trainer, and 102,400 fit: put long parameters into a file of the code's "
            "ConfigMap or of the data"
        ),
    ),
    "the image cannot be had": (
        seen(job=job(), pods=(trainer(waiting={"reason": "ErrImagePull", "message": "not found"}),)),
        "Queued",
        Reason.IMAGE_NOT_PULLED,
        STALLED,
        "the image trainer:1 cannot be had: not found. Check its name and tag, and that the node may pull it",
    ),
    "the code is fetched": (
        seen(spec={"code": GIT}, job=job(), pods=(fetching({"running": {"startedAt": T0}}),)),
        "Queued",
        Reason.QUEUED,
        MOVING,
        "attempt 1 fetches its code from https://git.example.com/digits at main",
    ),
    "the Secret of the code is missing": (
        seen(
            spec={"code": GIT},
            job=job(),
            pods=(fetching({"waiting": {"reason": "CreateContainerConfigError", "message": SECRET_MISSING}}),),
        ),
        "Queued",
        Reason.CONFIG_MISSING,
        STALLED,
        (
            f"the container cannot be started: {SECRET_MISSING}. The Secret digits-git of spec.code.git must hold "
            "username, password and url (how the addresses begin that these two may be sent to)"
        ),
    ),
    "the code cannot be had": (
        seen(
            spec={"code": GIT},
            job=job(failed=1, conditions=condition("Failed", "PodFailurePolicy")),
            pods=(
                fetching(
                    {
                        "terminated": {
                            "exitCode": 64,
                            "startedAt": T0,
                            "message": failure("GitRevisionNotFound", "there is no main"),
                        }
                    },
                    phase="Failed",
                ),
            ),
        ),
        "Failed",
        "GitRevisionNotFound",
        FAILED,
        "there is no main",
    ),
    "a pod trains": (
        seen(job=job(), pods=(trainer(started=T0),)),
        "Running",
        Reason.RUNNING,
        MOVING,
        "attempt 1 is training",
    ),
    "the second attempt trains": (
        seen(
            job=job(failed=1),
            pods=(
                trainer("digits-1-b", started="2026-01-01T00:10:00Z"),
                trainer(exit_code=1, message=failure("CodeRaised", "boom")),
            ),
        ),
        "Running",
        Reason.RUNNING,
        MOVING,
        "attempt 2 is training; attempt 1 ended: boom",
    ),
    "it waits for the next attempt": (
        seen(job=job(failed=1), pods=(trainer(exit_code=1, message=failure("CodeRaised", "boom")),)),
        "Queued",
        Reason.RETRYING,
        MOVING,
        "attempt 1 ended: boom. The Job starts another (spec.backoffLimit 2)",
    ),
    "out of memory, for the last time": (
        seen(
            spec={"backoffLimit": 0},
            job=job(failed=1, conditions=condition("Failed", "BackoffLimitExceeded")),
            pods=(trainer(exit_code=137, reason="OOMKilled"),),
        ),
        "Failed",
        Reason.OUT_OF_MEMORY,
        FAILED,
        (
            "attempt 1 was the last (spec.backoffLimit 0): it used more memory than the 1Gi of spec.resources.memory "
            "and was killed: give it more"
        ),
    ),
    "the deadline passed while it trained": (
        seen(
            spec={"activeDeadline": "10m"},
            job=job(conditions=condition("Failed", "DeadlineExceeded")),
            status={"attempts": 2},
        ),
        "Failed",
        Reason.DEADLINE_EXCEEDED,
        FAILED,
        (
            "the training took longer than spec.activeDeadline (10m) and was stopped in attempt 2: apply a new "
            "TrainingRun with a longer one"
        ),
    ),
    "the deadline passed before any pod ran": (
        seen(spec={"activeDeadline": "10m"}, job=job(conditions=condition("Failed", "DeadlineExceeded"))),
        "Failed",
        Reason.DEADLINE_EXCEEDED,
        FAILED,
        "no pod could begin within spec.activeDeadline (10m): look for what the run waited for in its Events",
    ),
    "the Job failed and its pods are gone": (
        seen(job=job(failed=3, conditions=condition("Failed", "BackoffLimitExceeded", "too often"))),
        "Failed",
        Reason.TRAINING_FAILED,
        FAILED,
        "the Job failed and its pods are gone: too often",
    ),
    "a result that was written before the Job was judged counts": (
        seen(
            job=job(conditions=condition("Failed", "DeadlineExceeded")),
            pods=(trainer(exit_code=0, message=GOOD),),
        ),
        "Running",
        Reason.RECORDING,
        MOVING,
        "the training ended; its ModelVersion is being made",
    ),
    "the gate is missed": (
        seen(
            spec={"gate": [{"metric": "accuracy", "min": "0.99"}, {"metric": "loss", "max": "1"}]},
            job=job(),
            pods=(trainer(exit_code=0, message=GOOD),),
        ),
        "Failed",
        Reason.GATE_MISSED,
        FAILED,
        (
            "accuracy 0.9733 is below the gate's min 0.99; the training reported no loss (it reported accuracy): no "
            "ModelVersion was made; the model lies at s3://models/digits/runs/1/model.onnx"
        ),
    ),
    "the result names a type that no ModelVersion may have": (
        seen(
            job=job(),
            pods=(
                trainer(
                    exit_code=0,
                    message=contract.dumps(
                        train_result(
                            signature=contract.Signature(
                                [contract.Tensor("x", "FLOAT", [-1])], [contract.Tensor("y", "FP32", [-1])]
                            )
                        )
                    ),
                ),
            ),
        ),
        "Failed",
        Reason.RESULT_UNREADABLE,
        FAILED,
        (
            "the training ended, but its result cannot become a ModelVersion: inputs.0.datatype: Input should be "
            "'BOOL', 'UINT8', 'UINT16', 'UINT32', 'UINT64', 'INT8', 'INT16', 'INT32', 'INT64', 'FP16', 'FP32', "
            "'FP64' or 'BYTES'"
        ),
    ),
    "a ConfigMap of the ledger's name is somebody else's": (
        seen(
            job=job(),
            pods=(trainer(exit_code=0, message=GOOD),),
            ledger=config_map("slipway-versions-digits", {"a": "b"}),
        ),
        "Running",
        Reason.NAME_TAKEN,
        STALLED,
        (
            "the training ended, but the ConfigMap slipway-versions-digits, which must remember the numbers of digits, "
            "exists and is not ours: delete or rename it"
        ),
    ),
    "suspended": (
        seen(spec={"suspend": True}, job={**job(), "spec": {"suspend": True}}),
        "Suspended",
        Reason.SUSPENDED,
        WAITING,
        "spec.suspend is true: no pod runs until it is false",
    ),
    "its version exists, though Job and pods are gone": (
        seen(versions=(made_here("digits-v4"),), status={"attempts": 1}),
        "Succeeded",
        Reason.SUCCEEDED,
        DONE,
        "the training made digits-v4",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said(case: str) -> None:
    observed, phase, reason, conditions, message = CASES[case]
    plan = decide(observed, NOW)
    assert plan.status is not None
    assert plan.status.wire()["message"] == message
    assert said(plan) == (phase, reason, conditions)


@pytest.mark.parametrize("case", CASES)
def test_the_same_world_gives_the_same_status_and_no_second_event(case: str) -> None:
    observed = CASES[case][0]
    first = decide(observed, NOW)
    assert isinstance(first.status, TrainingRunStatus)
    again = decide(replace(observed, status=first.status), NOW + timedelta(seconds=1))
    assert again.status == first.status
    assert again.events == ()


def test_a_run_is_looked_at_often_while_it_trains_and_while_something_unlabelled_is_missing() -> None:
    assert decide(CASES["a pod trains"][0], NOW).again == PROGRESS_EVERY
    assert decide(CASES["the S3 place is missing: no Job is made"][0], NOW).again == MISSING_EVERY
    # nothing wakes it where the next pod may not be made
    assert decide(CASES["it waits for the next attempt"][0], NOW).again == MISSING_EVERY


def test_progress_and_metrics_of_a_running_pod_are_merged() -> None:
    progress = contract.Progress(step=8, of=20, metrics=[contract.Metric("accuracy", "0.9", "0.95")])
    running: dict[str, Any] = {"job": job(), "pods": (trainer(started=T0),)}
    status = decide(seen(**running, progress=progress), NOW).status
    assert isinstance(status, TrainingRunStatus)
    assert status.wire()["progress"] == {"percent": 40, "step": 8, "of": 20}
    assert status.wire()["metrics"] == [{"name": "accuracy", "value": "0.9", "best": "0.95"}]
    # The pod does not answer, or has nothing new: what is known stays.
    for later in (None, contract.Progress(message="fetching data")):
        kept = decide(seen(**running, progress=later, status=status.wire()), NOW).status
        assert isinstance(kept, TrainingRunStatus)
        assert kept.metrics == status.metrics
    silent = decide(seen(**running, status=status.wire()), NOW).status
    assert isinstance(silent, TrainingRunStatus)
    assert silent.progress == status.progress


def test_what_a_pod_says_can_never_make_a_status_that_the_api_server_refuses() -> None:
    wild = contract.Progress(
        step=10**30,
        of=-5,
        message="x" * 5000,
        metrics=[contract.Metric("a" * 64, "1"), contract.Metric("b", "1" * 33), contract.Metric("c", "1")] * 2
        + [contract.Metric(f"m{i}", "1") for i in range(100)],
    )
    status = decide(seen(job=job(), pods=(trainer(started=T0),), progress=wild), NOW).status
    assert isinstance(status, TrainingRunStatus)
    assert status.progress is not None
    assert (status.progress.step, status.progress.of, status.progress.percent) == (2**31 - 1, 0, 0)
    assert len(status.progress.message or "") == 256
    names = [m.name for m in status.metrics]
    assert names[0] == "c"
    assert len(names) == len(set(names)) == 64
    assert TrainingRunStatus.model_validate(status.wire()) == status


def behind(champion: str) -> dict[str, Any]:
    """The spec of a run with a gate, and a version before which it falls back."""
    registered = model_version(champion)
    measured = {
        "artifact": registered["spec"]["artifact"],
        "metrics": [{"name": "accuracy", "value": "0.99"}],
        "data": [{"name": "train", "uri": "s3://data/digits/", "digest": DIGEST, "files": 2, "bytes": 1000}],
    }
    came = {**registered, "status": {"phase": "Ready", "heldAliases": ["champion"], "lineage": measured}}
    gate = {"metric": "accuracy", "notWorseThan": {"alias": "champion", "better": "Higher"}}
    return {"spec": {"gate": [gate]}, "versions": (came,)}


def test_a_run_is_judged_once_and_its_version_says_what_was_judged_though_a_better_champion_came_since() -> None:
    """Whether the operator died before the claim or after it."""
    ended: dict[str, Any] = {"job": job(), "pods": (trainer(exit_code=0, message=GOOD),)}
    judged = decide(seen(**ended, spec=behind("digits-v9")["spec"]), NOW)
    assert isinstance(judged.status, TrainingRunStatus)
    assert judged.changes == ()
    (said_then,) = judged.status.wire()["gates"]
    assert said_then["message"] == "no version holds champion: accuracy 0.9733 was compared with none"

    later: dict[str, Any] = {**ended, **behind("digits-v9"), "status": judged.status.wire()}
    (claim,) = decide(seen(**later), NOW).changes
    assert isinstance(claim, Create)
    assert claim.manifest["kind"] == "ConfigMap"
    (made,) = decide(seen(**later, ledger=ledger.manifest("team", "digits", Ledger(10, {UID: 10}))), NOW).changes
    assert isinstance(made, Create)
    assert made.manifest["metadata"]["name"] == "digits-v10"
    assert json.loads(made.manifest["metadata"]["annotations"][LINEAGE_ANNOTATION])["gates"] == [said_then]


def test_a_claim_alone_passes_no_gate() -> None:
    """The ledger is a ConfigMap: whoever may edit those must not be able to let a run pass."""
    claimed = ledger.manifest("team", "digits", Ledger(10, {UID: 10}))
    world = seen(job=job(), pods=(trainer(exit_code=0, message=GOOD),), ledger=claimed, **behind("digits-v9"))
    plan = decide(world, NOW)
    assert said(plan)[1] == Reason.GATE_MISSED
    assert plan.changes == ()
    assert isinstance(plan.status, TrainingRunStatus)
    assert [g.message for g in plan.status.gates] == [plan.status.message.partition(": no ModelVersion was made")[0]]


def test_the_end_is_final_whatever_happens_to_the_job() -> None:
    ended = decide(CASES["the deadline passed while it trained"][0], NOW).status
    assert isinstance(ended, TrainingRunStatus)
    for world in ({}, {"job": job()}, {"job": job(), "pods": (trainer(exit_code=0, message=GOOD),)}):
        plan = decide(seen(status=ended.wire(), spec={"activeDeadline": "10m"}, **world), NOW + timedelta(days=1))
        assert (plan.changes, plan.status, plan.events) == ((), ended, ())


def test_a_change_of_suspend_after_the_end_is_observed_and_nothing_else() -> None:
    ended = decide(CASES["its version exists, though Job and pods are gone"][0], NOW).status
    assert isinstance(ended, TrainingRunStatus)
    later = seen(status=ended.wire(), spec={"suspend": True})
    later.run["metadata"]["generation"] = 2
    plan = decide(later, NOW)
    assert isinstance(plan.status, TrainingRunStatus)
    assert plan.changes == ()
    assert plan.status.observed_generation == 2
    assert {c.observed_generation for c in plan.status.conditions} == {2}
    assert [(c.type, c.status) for c in plan.status.conditions] == [(c.type, c.status) for c in ended.conditions]


def test_only_the_one_field_of_a_job_is_written_that_may_change() -> None:
    plan = decide(seen(spec={"suspend": True}, job=job()), NOW)
    (change,) = plan.changes
    assert isinstance(change, Apply)
    assert change.guarded
    assert change.manifest["spec"] == {"suspend": True}


def test_a_job_that_goes_on_gets_the_whole_deadline_though_it_was_made_when_some_was_gone() -> None:
    made = job()
    made["spec"] |= {"suspend": True, "activeDeadlineSeconds": 60}
    (change,) = decide(seen(spec={"activeDeadline": "2h"}, job=made), NOW).changes
    assert isinstance(change, Apply)
    assert change.manifest["spec"] == {"suspend": False, "activeDeadlineSeconds": 7200}


HALF = "2026-01-01T00:30:00Z"
"""Half an hour after the creation, half an hour before now."""


@pytest.mark.parametrize(
    ("whole", "status", "generation", "wanted"),
    [
        (None, {}, 1, None),
        # the first Job gets what waiting has left of it
        ("2h", {}, 1, 3600),
        ("61m", {}, 1, 60),
        ("2h", {"deadlineSince": HALF}, 3, 5400),
        # resumed since the last pass
        ("2h", {}, 3, 7200),
        # one that is made anew gets a little more at least
        ("2h", {"startTime": T0}, 1, 3600),
        ("30m", {"startTime": T0}, 1, DEADLINE_FLOOR),
        ("1m", {"startTime": T0}, 1, 60),
        # and not less than is left since it was resumed
        ("2h", {"startTime": T0, "deadlineSince": HALF}, 3, 5400),
    ],
)
def test_a_job_gets_the_time_that_is_left(
    whole: str | None, status: dict[str, Any], generation: int, wanted: int | None
) -> None:
    observed = seen(spec={"activeDeadline": whole} if whole else {}, status=status)
    observed.run["metadata"]["generation"] = generation
    plan = decide(observed, NOW)
    (change,) = plan.changes
    assert isinstance(change, Create)
    assert change.manifest["spec"].get("activeDeadlineSeconds") == wanted
    assert isinstance(plan.status, TrainingRunStatus)
    since = status.get("deadlineSince") or (T0 if generation == 1 else "2026-01-01T01:00:00Z")
    assert plan.status.deadline_since == (since if whole else None)


def test_a_run_that_waits_is_looked_at_when_its_time_is_over_and_ends_then() -> None:
    waits: dict[str, Any] = {"spec": {"activeDeadline": "61m"}, "missing": ("slipway-store-default",)}
    assert decide(seen(**waits), NOW).again == MISSING_EVERY
    assert decide(seen(**waits), NOW + timedelta(seconds=55)).again == 5
    ended = decide(seen(**waits), NOW + timedelta(seconds=60))
    phase, reason, states = said(ended)
    assert (phase, reason, states) == ("Failed", Reason.DEADLINE_EXCEEDED, FAILED)
    assert ended.status is not None
    assert ended.status.wire()["message"].startswith(
        "no Job could be made within spec.activeDeadline (61m): apply a new TrainingRun once what it waited for is "
        "there. At the end: this namespace was not given the S3 place"
    )
    assert ended.changes == ()
    # also where the Job's name is somebody else's; and not while it is suspended, or where its Job may be made anew
    taken = seen(spec={"activeDeadline": "10m"}, job=job(owner=None))
    assert said(decide(taken, NOW))[1] == Reason.DEADLINE_EXCEEDED
    rests = seen(spec={"activeDeadline": "10m", "suspend": True}, missing=("slipway-store-default",))
    assert said(decide(rests, NOW))[1] == Reason.STORE_MISSING
    late = seen(spec={"activeDeadline": "10m"})
    assert said(decide(late, NOW))[1] == Reason.DEADLINE_EXCEEDED, "nobody was there to make it in time"
    anew = seen(spec={"activeDeadline": "10m"}, status={"startTime": T0})
    assert said(decide(anew, NOW))[1] == Reason.PENDING
    gone = seen(spec={"activeDeadline": "10m"}, status={"startTime": T0}, missing=("slipway-store-default",))
    assert said(decide(gone, NOW))[1] == Reason.DEADLINE_EXCEEDED


def test_the_clock_stands_still_while_a_run_is_suspended_and_begins_anew() -> None:
    had = {"deadlineSince": T0}
    rests = decide(seen(spec={"activeDeadline": "2h", "suspend": True}, status=had, job=job()), NOW).status
    assert isinstance(rests, TrainingRunStatus)
    assert rests.deadline_since is None
    resumed = seen(spec={"activeDeadline": "2h"}, status=rests.wire(), job=job())
    resumed.run["metadata"]["generation"] = 3
    goes_on = decide(resumed, NOW).status
    assert isinstance(goes_on, TrainingRunStatus)
    assert goes_on.deadline_since == "2026-01-01T01:00:00Z"


def test_an_unreadable_result_is_asked_for_twice_counted_before_the_job_is_deleted() -> None:
    complete: dict[str, Any] = {"conditions": condition("Complete")}
    first = decide(seen(job=job(**complete)), NOW)
    assert isinstance(first.status, TrainingRunStatus)
    assert (first.changes, first.status.rereads) == ((), 1)
    second = decide(seen(job=job(**complete), status=first.status.wire()), NOW)
    assert [type(c) for c in second.changes] == [Delete]
    third = decide(seen(status=first.status.wire()), NOW)
    (made,) = third.changes
    assert isinstance(made, Create)
    marked = {children.REREAD_ANNOTATION: "1"}
    assert made.manifest["metadata"]["annotations"].items() >= marked.items()
    fourth = decide(seen(job=job(annotations=marked, **complete), status=first.status.wire()), NOW)
    assert isinstance(fourth.status, TrainingRunStatus)
    assert (fourth.changes, fourth.status.rereads) == ((), 2)
    last = decide(
        seen(job=job(annotations={children.REREAD_ANNOTATION: "2"}, **complete), status=fourth.status.wire()), NOW
    )
    assert said(last)[:2] == ("Failed", Reason.RESULT_UNREADABLE)


def test_the_job_goes_after_its_time_and_not_before() -> None:
    done = {"phase": "Succeeded", "completionTime": "2026-01-01T00:30:00Z", "modelVersion": "digits-v1"}
    early = decide(seen(spec={"ttlAfterFinished": "1h"}, status=done, job=job()), NOW)
    assert (early.changes, early.again) == ((), 1800)
    late = decide(seen(spec={"ttlAfterFinished": "1h"}, status=done, job=job()), NOW + timedelta(seconds=1800))
    assert [type(c) for c in late.changes] == [Delete]
    # a finalizer, or a person's foreground deletion, holds it: it was told once, and so was the Event
    held = job()
    held["metadata"]["deletionTimestamp"] = T0
    going = decide(seen(spec={"ttlAfterFinished": "1h"}, status=done, job=held), NOW + timedelta(seconds=1800))
    assert (going.changes, going.events) == ((), ())
    never = decide(seen(status=done, job=job()), NOW + timedelta(days=999))
    assert (never.changes, never.again) == ((), None)
    strange = decide(seen(spec={"ttlAfterFinished": "1h"}, status=done, job=job(owner=None)), NOW + timedelta(days=1))
    assert strange.changes == ()
