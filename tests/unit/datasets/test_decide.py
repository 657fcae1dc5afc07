"""Single choices about a Dataset, as a table: what is seen, what is said, what is done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slipway import contract
from slipway.api.common import ACTION_ANNOTATION, Label
from slipway.api.dataset import DatasetSpec, DatasetStatus
from slipway.api.reasons import Reason
from slipway.datasets.children import ROLE, TRY_ANNOTATION, Defaults, job
from slipway.datasets.decide import decide
from slipway.datasets.observe import Observed
from slipway.jobfacts import FIRST_WAIT, LAST_WAIT
from slipway.kube.objects import owner_reference
from slipway.kube.plan import Create, Delete, Plan
from tests.support.builders import DIGEST, T0, dataset, dataset_result, failure, pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UID = "dataset-uid"
OTHER = "sha256:" + "b" * 64
GOOD = contract.dumps(dataset_result())
BAD = contract.dumps(
    dataset_result(
        OTHER,
        ("label.notNull", "2 of 1,797 values are missing"),
        ("label.min", "1 of 1,797 values is below 0"),
        ("minRows", "1,797 rows, fewer than 2,000"),
        ("x.type", "3 values are no Number"),
        failuresCut=2,
    )
)
BEGUN = {"check": {"number": 1, "generation": 1, "tries": 0}}
VERSION = {
    "digest": DIGEST,
    "at": T0,
    "seenAt": T0,
    "uri": "s3://data/digits/",
    "store": "default",
    "files": 2,
    "bytes": 1000,
    "rows": 1797,
    "manifest": "s3://models/datasets/digits/manifests/a.txt",
    "profile": "s3://models/datasets/digits/profiles/a.json",
    "passed": True,
}
PASSED = {
    **BEGUN,
    "checked": {"number": 1, "generation": 1, "at": T0, "passed": True, "rules": 3, "read": 2},
    **{key: VERSION[key] for key in ("digest", "files", "bytes", "rows", "manifest", "profile")},
    "columns": 65,
    "versions": [VERSION],
}


def the_job(*conditions: str, reason: str = "R", number: int = 1, tries: int = 0, owner: Any = None) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "digits-dataset",
            "namespace": "team",
            "uid": "job-uid",
            "labels": {Label.DATASET_CHECK: str(number), Label.ROLE: ROLE},
            "annotations": {TRY_ANNOTATION: str(tries)},
            "ownerReferences": [owner_reference(owner or dataset(uid=UID))],
        },
        "spec": {},
        "status": {
            "conditions": [
                {"type": c, "status": "True", "reason": reason, "message": "the Job's words", "lastTransitionTime": T0}
                for c in conditions
            ]
        },
    }


def seen(*, status: dict[str, Any] | None = None, spec: dict[str, Any] | None = None, **world: Any) -> Observed:
    found = dataset(uid=UID, **(spec or {}))
    return Observed(
        dataset=found,
        spec=DatasetSpec.model_validate(found["spec"]),
        status=DatasetStatus.model_validate(BEGUN if status is None else status),
        defaults=Defaults("trainer:1"),
        **world,
    )


def reader(number: int = 1, **how: Any) -> dict[str, Any]:
    return pod("digits-dataset-a", labels={Label.DATASET_CHECK: str(number)}, container="dataset", **how)


def status_of(plan: Plan) -> DatasetStatus:
    assert isinstance(plan.status, DatasetStatus)
    return plan.status


CHECKING = {"Ready": "False", "Checked": "Unknown", "Reconciling": "True", "Stalled": "False"}
AGAIN = {**CHECKING, "Ready": "True"}
STALLED = {"Ready": "False", "Checked": "Unknown", "Reconciling": "False", "Stalled": "True"}
READY = {"Ready": "True", "Checked": "True", "Reconciling": "False", "Stalled": "False"}
FAILED = {"Ready": "False", "Checked": "False", "Reconciling": "False", "Stalled": "True"}
KEEPS = (
    "version sha256:aaaaaaaaaaaa (2 files, 1,000 bytes, 1,797 rows, 65 columns) keeps all 3 rules of schema and checks"
)

CASES: dict[str, tuple[Observed, str, str, dict[str, str], str]] = {
    "newly applied": (
        seen(status={}),
        "Checking",
        Reason.CHECKING,
        CHECKING,
        "the data are about to be read for the first time",
    ),
    "the first check is begun": (seen(), "Checking", Reason.CHECKING, CHECKING, "the data are being read"),
    "the spec changed": (
        seen(status={**PASSED, "check": {"number": 1, "generation": 0}}),
        "Checking",
        Reason.CHECKING,
        AGAIN,
        "the data are about to be read again, because the spec changed",
    ),
    "the S3 place is missing": (
        seen(missing=("default",)),
        "Checking",
        Reason.STORE_MISSING,
        STALLED,
        (
            'this namespace was not given the S3 place "default": make a ConfigMap and a Secret, both named '
            "slipway-store-default; the ConfigMap holds endpoint and bucket, the Secret holds accessKey and secretKey"
        ),
    ),
    "a Job of that name is somebody else's": (
        seen(job={**the_job(), "metadata": {**the_job()["metadata"], "ownerReferences": []}}),
        "Checking",
        Reason.NAME_TAKEN,
        STALLED,
        "the data must be read by a Job digits-dataset, which exists and is not ours: delete it",
    ),
    "the Job of an earlier Dataset of that name is still there": (
        seen(job=the_job(owner=dataset(uid="earlier"))),
        "Checking",
        Reason.CHECKING,
        CHECKING,
        "the Job of an earlier Dataset digits is being removed",
    ),
    "the pod's image cannot be had": (
        seen(job=the_job(), pods=(reader(waiting={"reason": "ImagePullBackOff", "message": "no such image"}),)),
        "Checking",
        Reason.IMAGE_NOT_PULLED,
        STALLED,
        (
            "the pod that reads the data does not start: the image trainer:1 cannot be had: no such image. "
            "Check its name and tag, and that the node may pull it"
        ),
    ),
    "an attempt failed and the Job tries again": (
        seen(job=the_job(), pods=(reader(exit_code=1, message=failure("StoreUnreachable", "no answer")),)),
        "Checking",
        Reason.CHECKING,
        CHECKING,
        "the data are being read; an attempt ended: no answer",
    ),
    "a pod says how far it is": (
        seen(job=the_job(), pods=(reader(started=T0),), progress=contract.Progress(message="3,000 of 100,000 files")),
        "Checking",
        Reason.CHECKING,
        CHECKING,
        "the data are being read: 3,000 of 100,000 files",
    ),
    "the data pass": (
        seen(job=the_job(), pods=(reader(exit_code=0, message=GOOD),)),
        "Ready",
        "ChecksPassed",
        READY,
        KEEPS,
    ),
    "the data pass, and the Job was deleted meanwhile": (
        seen(pods=(reader(exit_code=0, message=GOOD),)),
        "Ready",
        Reason.CHECKS_PASSED,
        READY,
        KEEPS,
    ),
    "nothing is asked of the data": (
        seen(
            pods=(
                reader(
                    exit_code=0, message=contract.dumps(dataset_result(rows=None, columns=None, files=1, checked=0))
                ),
            )
        ),
        "Ready",
        Reason.CHECKS_PASSED,
        READY,
        "version sha256:aaaaaaaaaaaa (1 file, 1,000 bytes) is recorded",
    ),
    "the data do not pass, and those before did": (
        seen(
            status={**PASSED, "check": {"number": 2, "generation": 1}},
            pods=(reader(2, exit_code=0, message=BAD), reader(1, exit_code=0, message=GOOD)),
        ),
        "Failed",
        Reason.CHECKS_FAILED,
        FAILED,
        (
            "version sha256:bbbbbbbbbbbb (2 files, 1,000 bytes, 1,797 rows, 65 columns) does not pass its checks: "
            "label.notNull: 2 of 1,797 values are missing; label.min: 1 of 1,797 values is below 0; minRows: 1,797 "
            f"rows, fewer than 2,000; and 3 more. The last version that passed is {DIGEST}"
        ),
    ),
    "what an earlier check found says nothing about this one": (
        seen(
            status={**PASSED, "check": {"number": 2, "generation": 1}},
            job=the_job(number=2),
            pods=(reader(1, exit_code=0, message=GOOD),),
        ),
        "Checking",
        Reason.CHECKING,
        AGAIN,
        "the data are being read",
    ),
    "it passed some time ago": (seen(status=PASSED), "Ready", Reason.CHECKS_PASSED, READY, KEEPS),
    "the credentials are wrong": (
        seen(
            job=the_job("Failed"),
            pods=(reader(exit_code=64, message=failure("WrongCredentials", "the key is not known")),),
        ),
        "Checking",
        "WrongCredentials",
        STALLED,
        "the data could not be read: the key is not known. It is tried again 30s later",
    ),
    "the pod ran out of memory": (
        seen(job=the_job("Failed"), pods=(reader(exit_code=137, reason="OOMKilled"),)),
        "Checking",
        Reason.OUT_OF_MEMORY,
        STALLED,
        (
            "the data could not be read: it used more memory than the 1Gi of spec.resources.memory and was killed: "
            "give it more. It is tried again 30s later"
        ),
    ),
    "the deadline passed": (
        seen(job=the_job("Failed", reason="DeadlineExceeded")),
        "Checking",
        Reason.DEADLINE_EXCEEDED,
        STALLED,
        (
            "the data could not be read: it took longer than spec.activeDeadline (1h); the next try goes on from "
            "there. It is tried again 30s later"
        ),
    ),
    "the pod said nothing": (
        seen(job=the_job("Failed"), pods=(reader(exit_code=2),)),
        "Checking",
        Reason.CHECK_RETRYING,
        STALLED,
        "the data could not be read: exit code 2 and no last words. It is tried again 30s later",
    ),
    "the pod says what no status may hold": (
        seen(job=the_job("Complete"), pods=(reader(exit_code=0, message=contract.dumps(dataset_result("md5:1"))),)),
        "Checking",
        Reason.RESULT_UNREADABLE,
        STALLED,
        (
            "the data could not be read: the pod digits-dataset-a left a result that cannot be read (the digest "
            "'md5:1' is not sha256: and 64 digits of 0-9 and a-f). It is tried again 30s later"
        ),
    ),
    "more is asked than one variable holds": (
        seen(spec={"checks": [{"column": "x" * 250, "allowed": [f"{i:0>250}" for i in range(256)]}] * 2}),
        "Checking",
        Reason.INVALID_SPEC,
        STALLED,
        (
            "the spec is 130,390 bytes for the pod, and 102,400 fit: write fewer columns in spec.schema, or shorter "
            "lists in spec.checks"
        ),
    ),
}


@pytest.mark.parametrize("sentence", CASES)
def test_what_is_said(sentence: str) -> None:
    observed, phase, reason, states, message = CASES[sentence]
    status = status_of(decide(observed, NOW))
    assert status.message == message
    assert status.phase == phase
    assert {c.type: c.status for c in status.conditions} == states
    assert next(c for c in status.conditions if c.type == "Reconciling").reason == reason


def test_what_was_found_is_recorded_before_the_job_goes() -> None:
    first = decide(seen(job=the_job("Complete"), pods=(reader(exit_code=0, message=GOOD),)), NOW)
    assert not first.changes
    made = status_of(first)
    assert made.checked is not None
    assert (made.checked.number, made.checked.passed, made.checked.read, made.checked.rules) == (1, True, 2, 3)
    second = decide(seen(status=made.wire(), job=the_job("Complete")), NOW)
    assert [type(c) for c in second.changes] == [Delete]
    assert status_of(second) == made


def test_the_job_of_an_earlier_check_makes_room() -> None:
    plan = decide(seen(status={"check": {"number": 2, "generation": 1}}, job=the_job(number=1)), NOW)
    assert [type(c) for c in plan.changes] == [Delete]
    plan = decide(seen(status={"check": {"number": 2, "generation": 1}}), NOW)
    (made,) = plan.changes
    assert isinstance(made, Create)
    assert made.manifest["metadata"]["labels"][Label.DATASET_CHECK] == "2"


def test_each_try_waits_longer() -> None:
    waits = []
    for tries in (0, 1, 2, 20):
        check = {"number": 1, "generation": 1, "tries": tries}
        observed = seen(status={"check": check}, job=the_job("Failed", tries=tries))
        waits.append(decide(observed, NOW).again)
        later = status_of(decide(observed, NOW + timedelta(seconds=LAST_WAIT)))
        assert later.check is not None
        assert later.check.tries == tries + 1
    assert waits == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT, LAST_WAIT]


def test_a_refresh_comes_in_time() -> None:
    hourly = seen(status=PASSED, spec={"refresh": "1h"})
    assert decide(hourly, NOW + timedelta(minutes=10)).again == 3000
    due = status_of(decide(hourly, NOW + timedelta(hours=1)))
    assert due.check is not None
    assert (due.check.number, due.message) == (2, "the data are about to be read again (spec.refresh)")
    assert decide(seen(status=PASSED), NOW).again is None


@pytest.mark.parametrize(("action", "number", "event"), [("refresh", 2, "Checking"), ("promote", 1, "ActionRefused")])
def test_an_action_is_carried_out_once(action: str, number: int, event: str) -> None:
    asked = seen(status=PASSED, action=action, action_by="kubectl-annotate")
    plan = decide(asked, NOW)
    made = status_of(plan)
    assert made.check is not None
    assert made.last_action is not None
    assert (made.check.number, made.last_action.by, made.last_action.pending) == (number, "kubectl-annotate", True)
    assert plan.remove_annotations == {ACTION_ANNOTATION: action}
    assert [e.reason for e in plan.events] == [event]
    # The operator died before the annotation was removed: the next pass removes it, and does nothing anew.
    again = decide(seen(status=made.wire(), action=action), NOW)
    after = status_of(again)
    assert after.check == made.check
    assert again.remove_annotations == {ACTION_ANNOTATION: action}
    # It is gone: the same word is a new wish from now on.
    gone = status_of(decide(seen(status=after.wire()), NOW))
    assert gone.last_action is not None
    assert not gone.last_action.pending
    repeated = status_of(decide(seen(status=gone.wire(), action=action), NOW))
    assert repeated.check is not None
    assert repeated.check.number == (number + 1 if action == "refresh" else number)


def test_the_job_is_given_what_the_contract_says() -> None:
    found = dataset(
        uid=UID,
        outputStore="kept",
        quoteValues=False,
        checks=[{"column": "label", "min": "0", "max": "9", "allowed": ["1"], "matches": "[0-9]", "maxMissing": "0.1"}],
    )
    spec = DatasetSpec.model_validate(found["spec"])
    made = job(found, spec, Defaults("trainer:1"), DatasetStatus.model_validate(BEGUN).check)  # type: ignore[arg-type]
    (container,) = made["spec"]["template"]["spec"]["containers"]
    values = {e["name"]: e.get("value") for e in container["env"]}
    asked = contract.loads(contract.DatasetSpec, values[contract.Env.SPEC] or "")
    assert (asked.uri, asked.store, asked.outputStore, asked.uid) == ("s3://data/digits/", "default", "kept", UID)
    assert asked.schema == [contract.ColumnSpec("label", "Integer", nullable=False)]
    assert not asked.quoteValues
    assert asked.checks == [
        contract.CheckSpec("label", min="0", max="9", allowed=["1"], matches="[0-9]", maxMissing="0.1")
    ]
    assert {"SLIPWAY_STORE_DEFAULT_SECRETKEY", "SLIPWAY_STORE_KEPT_SECRETKEY"} <= set(values)
    assert "nvidia.com/gpu" not in str(container["resources"])
