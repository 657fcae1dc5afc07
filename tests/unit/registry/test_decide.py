"""Single choices about a ModelVersion, as a table: what is seen, what is said, what is done."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slipway import contract, ledger
from slipway.api import wayback
from slipway.api.common import Label
from slipway.api.model_version import LINEAGE_ANNOTATION, Lineage, ModelVersionSpec, ModelVersionStatus
from slipway.api.reasons import Reason
from slipway.jobfacts import FIRST_WAIT, LAST_WAIT
from slipway.kube.objects import owner_reference
from slipway.kube.plan import Apply, Create, Delete, Plan
from slipway.ledger import Ledger
from slipway.registry.children import TRY_ANNOTATION, Defaults
from slipway.registry.decide import ALIAS_EVERY, decide
from slipway.registry.observe import Observed
from slipway.registry.verification import STORE_EVERY
from slipway_server import reasons as server
from tests.support.builders import DIGEST, T0, config_map, failure, model_version, pod, verify_result
from tests.unit.registry.test_lineage import GOOD as LINEAGE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UID = "version-uid"
GOOD = contract.dumps(verify_result())
VERIFIED = {
    "phase": "Ready",
    "numbered": True,
    "verification": {
        "digest": DIGEST,
        "provider": "CPUExecutionProvider",
        "onnxruntime": "1.23.2",
        "verifiedAt": T0,
    },
}
KNOWS = ledger.manifest("team", "digits", Ledger(1).with_file(1, DIGEST))
"""The ledger that knows digits-v1."""
LOADS = "verified: onnxruntime 1.23.2 loads the file by CPUExecutionProvider"


def job(*conditions: str, owner: Any = None, number: int = 0, at: str = T0) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "digits-v1-verify",
            "namespace": "team",
            "uid": "job-uid",
            "labels": {Label.ROLE: "verify"},
            "annotations": {TRY_ANNOTATION: str(number)},
            "ownerReferences": [owner_reference(owner or model_version(uid=UID))],
        },
        "spec": {},
        "status": {
            "conditions": [
                {"type": c, "status": "True", "reason": "R", "message": "the Job's words", "lastTransitionTime": at}
                for c in conditions
            ]
        },
    }


def seen(
    *,
    status: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    annotations: dict[str, str] | None = None,
    **world: Any,
) -> Observed:
    version = model_version(uid=UID, annotations=annotations, **(spec or {}))
    world.setdefault("ledger", KNOWS)
    version["metadata"]["labels"] = wayback.labels(ModelVersionSpec.model_validate(version["spec"]), None)
    return Observed(
        version=version,
        spec=ModelVersionSpec.model_validate(version["spec"]),
        status=ModelVersionStatus.model_validate(status or {}),
        defaults=Defaults("server:1"),
        **world,
    )


def verifier(**how: Any) -> dict[str, Any]:
    return pod("digits-v1-verify-a", labels={}, container="verify", image="server:1", **how)


def status_of(plan: Plan) -> ModelVersionStatus:
    assert isinstance(plan.status, ModelVersionStatus)
    return plan.status


VERIFYING = {"Ready": "False", "Verified": "Unknown", "Reconciling": "True", "Stalled": "False"}
STALLED = {"Ready": "False", "Verified": "Unknown", "Reconciling": "False", "Stalled": "True"}
READY = {"Ready": "True", "Verified": "True", "Reconciling": "False", "Stalled": "False"}
ARCHIVED = {"Ready": "False", "Verified": "True", "Reconciling": "False", "Stalled": "False"}
FAILED = {"Ready": "False", "Verified": "False", "Reconciling": "False", "Stalled": "True"}

CASES: dict[str, tuple[Observed, str, str, dict[str, str], str]] = {
    "newly registered": (seen(), "Verifying", Reason.VERIFYING, VERIFYING, "the file is being verified"),
    "the S3 place is missing": (
        seen(store=False),
        "Verifying",
        Reason.STORE_MISSING,
        STALLED,
        (
            'this namespace was not given the S3 place "default": make a ConfigMap and a Secret, both named '
            "slipway-store-default; the ConfigMap holds endpoint and bucket, the Secret holds accessKey and secretKey"
        ),
    ),
    "a Job of the verification's name is somebody else's": (
        seen(job={**job(), "metadata": {**job()["metadata"], "ownerReferences": []}}),
        "Verifying",
        Reason.NAME_TAKEN,
        STALLED,
        "the file must be verified by a Job digits-v1-verify, which exists and is not ours: delete it",
    ),
    "the Job of an earlier version of that name is still there": (
        seen(job=job(owner=model_version(uid="earlier"))),
        "Verifying",
        Reason.VERIFYING,
        VERIFYING,
        "the Job of an earlier ModelVersion digits-v1 is being removed",
    ),
    "the pod's image cannot be had": (
        seen(job=job(), pods=(verifier(waiting={"reason": "ImagePullBackOff", "message": "no such image"}),)),
        "Verifying",
        Reason.IMAGE_NOT_PULLED,
        STALLED,
        (
            "the pod that verifies the file does not start: the image server:1 cannot be had: no such image. "
            "Check its name and tag, and that the node may pull it"
        ),
    ),
    "no node has room": (
        seen(
            job=job(),
            pods=(
                verifier(
                    conditions=[
                        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
                    ]
                ),
            ),
        ),
        "Verifying",
        Reason.UNSCHEDULABLE,
        VERIFYING,
        "the pod that verifies the file does not start: no node can take the pod: 0/1 nodes",
    ),
    "an attempt failed and the Job tries again": (
        seen(job=job(), pods=(verifier(exit_code=1, message=failure("StoreUnreachable", "no answer")),)),
        "Verifying",
        Reason.VERIFYING,
        VERIFYING,
        "the file is being verified; an attempt ended: no answer",
    ),
    "the pod has loaded the file": (
        seen(job=job(), pods=(verifier(exit_code=0, message=GOOD),)),
        "Ready",
        Reason.VERIFIED,
        READY,
        LOADS,
    ),
    "the pod has loaded some other file": (
        seen(
            job=job(),
            pods=(verifier(exit_code=0, message=contract.dumps(verify_result("sha256:" + "b" * 64))),),
        ),
        "Failed",
        Reason.VERIFICATION_FAILED,
        FAILED,
        (f"the file is not what was registered: the file has the digest sha256:{'b' * 64}, and {DIGEST} is recorded"),
    ),
    "the file has another signature": (
        seen(job=job(), pods=(verifier(exit_code=64, message=failure("SignatureMismatch", "x is FP64, not FP32")),)),
        "Failed",
        Reason.VERIFICATION_FAILED,
        FAILED,
        "the file is not what was registered: x is FP64, not FP32",
    ),
    "it failed some time ago": (
        seen(status={"phase": "Failed", "failure": {"reason": "UnsafeModel", "message": "it reads other files"}}),
        "Failed",
        Reason.VERIFICATION_FAILED,
        FAILED,
        "it reads other files",
    ),
    "the credentials are wrong": (
        seen(
            job=job("Failed"),
            pods=(verifier(exit_code=64, message=failure("CredentialsRefused", "the key is not known")),),
        ),
        "Verifying",
        "CredentialsRefused",
        STALLED,
        "the file could not be verified: the key is not known. It is tried again 30s later",
    ),
    "the pod ran out of memory": (
        seen(job=job("Failed"), pods=(verifier(exit_code=137, reason="OOMKilled"),)),
        "Verifying",
        Reason.OUT_OF_MEMORY,
        STALLED,
        (
            "the file could not be verified: it used more memory than the 512Mi that verifying a file of this size "
            "gets and was killed: give it more. It is tried again 30s later"
        ),
    ),
    "the Job failed and its pods are gone": (
        seen(job=job("Failed")),
        "Verifying",
        Reason.VERIFICATION_RETRYING,
        STALLED,
        "the file could not be verified: the Job's words. It is tried again 30s later",
    ),
    "archived when it was verified": (
        seen(spec={"archived": True}, status=VERIFIED),
        "Archived",
        Reason.ARCHIVED,
        ARCHIVED,
        f"archived: no new Deployment may take it; {LOADS}",
    ),
    "archived before it was verified": (
        seen(spec={"archived": True}),
        "Archived",
        Reason.ARCHIVED,
        {"Ready": "False", "Verified": "Unknown", "Reconciling": "False", "Stalled": "False"},
        "archived before it was verified",
    ),
    "it waits for approval": (
        seen(spec={"approval": {"required": True}}, status=VERIFIED),
        "AwaitingApproval",
        Reason.AWAITING_APPROVAL,
        {"Ready": "False", "Verified": "True", "Reconciling": "False", "Stalled": "False", "Approved": "False"},
        f"{LOADS}; it waits for approval: somebody who may approve says kubectl slipway approve digits-v1, or reject",
    ),
    "it will have to be approved": (
        seen(spec={"approval": {"required": True}}, job=job()),
        "Verifying",
        Reason.VERIFYING,
        {**VERIFYING, "Approved": "False"},
        "the file is being verified",
    ),
    "it is approved": (
        seen(
            spec={"approval": {"required": True, "state": "Approved", "by": "jane", "comment": "well"}}, status=VERIFIED
        ),
        "Ready",
        Reason.VERIFIED,
        {**READY, "Approved": "True"},
        f"{LOADS}; approved by jane: well",
    ),
    "it is rejected": (
        seen(spec={"approval": {"state": "Rejected", "by": "jane", "comment": "it is biased"}}, status=VERIFIED),
        "Rejected",
        Reason.REJECTED,
        {"Ready": "False", "Verified": "True", "Reconciling": "False", "Stalled": "True", "Approved": "False"},
        f"rejected by jane: it is biased; {LOADS}",
    ),
    "it is rejected before it was verified": (
        seen(spec={"approval": {"state": "Rejected", "by": "jane"}}),
        "Rejected",
        Reason.REJECTED,
        {"Ready": "False", "Verified": "Unknown", "Reconciling": "False", "Stalled": "True", "Approved": "False"},
        "rejected by jane; its file was not verified yet",
    ),
    "it is approved and the file is another": (
        seen(
            spec={"approval": {"state": "Approved", "by": "jane"}},
            status={"failure": {"reason": "UnsafeModel", "message": "it reads other files"}},
        ),
        "Failed",
        Reason.VERIFICATION_FAILED,
        {**FAILED, "Approved": "True"},
        "it reads other files",
    ),
    "its lineage is broken": (
        seen(status=VERIFIED, annotations={LINEAGE_ANNOTATION: '{"seed": 1}'}),
        "Ready",
        Reason.VERIFIED,
        READY,
        (f"{LOADS}; its annotation slipway.dev/lineage is not a lineage and is ignored (artifact: Field required)"),
    ),
    "it claims a run that left no record": (
        seen(spec={"trainingRun": "digits-1"}, status=VERIFIED),
        "Ready",
        Reason.VERIFIED,
        READY,
        f"{LOADS}; spec.trainingRun names digits-1, but there is no record that it made this: it counts as imported",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said(case: str) -> None:
    observed, phase, reason, conditions, message = CASES[case]
    status = status_of(decide(observed, NOW))
    assert status.message == message
    assert (status.phase, {c.type: c.status for c in status.conditions}) == (phase, conditions)
    assert {c.message for c in status.conditions} == {message}
    assert next(c.reason for c in status.conditions if c.type == "Reconciling") == reason


@pytest.mark.parametrize("case", CASES)
def test_the_same_world_gives_the_same_status_and_no_second_event(case: str) -> None:
    observed = CASES[case][0]
    first = status_of(decide(observed, NOW))
    again = decide(replace(observed, status=first), NOW + timedelta(seconds=1))
    assert again.status == first
    assert again.events == ()


def test_no_job_is_made_without_a_store_nor_for_an_archived_version() -> None:
    without = decide(CASES["the S3 place is missing"][0], NOW)
    assert (without.changes, without.again) == ((), STORE_EVERY)
    assert decide(CASES["archived before it was verified"][0], NOW).changes == ()
    assert [type(c) for c in decide(seen(), NOW).changes] == [Create]


def test_the_job_is_deleted_only_after_its_result_is_recorded() -> None:
    first = decide(CASES["the pod has loaded the file"][0], NOW)
    assert first.changes == ()
    second = decide(seen(status=status_of(first).wire(), job=job("Complete")), NOW)
    assert [type(c) for c in second.changes] == [Delete]
    assert decide(seen(status=status_of(first).wire()), NOW).changes == ()


def test_the_job_of_a_wrong_file_stays_for_its_log() -> None:
    first = decide(CASES["the file has another signature"][0], NOW)
    assert status_of(first).wire()["failure"]["reason"] == "SignatureMismatch"
    later = decide(seen(status=status_of(first).wire(), job=job("Failed")), NOW + timedelta(days=1))
    assert (first.changes, later.changes, later.again) == ((), (), None)


@pytest.mark.parametrize(
    ("number", "wait"), [(0, FIRST_WAIT), (1, 60), (2, 120), (5, 960), (6, LAST_WAIT), (10**6, LAST_WAIT)]
)
def test_the_next_try_waits_longer_and_is_counted_before_the_job_is_deleted(number: int, wait: float) -> None:
    over = job("Failed", number=number)
    before: dict[str, Any] = {"verifyTries": number}
    early = decide(seen(job=over, status=before), NOW + timedelta(seconds=wait - 1))
    assert (early.changes, early.again, status_of(early).verify_tries) == ((), 1, number)
    due = decide(seen(job=over, status=before), NOW + timedelta(seconds=wait))
    assert (due.changes, status_of(due).verify_tries) == ((), number + 1)
    then = decide(seen(job=over, status=status_of(due).wire()), NOW + timedelta(seconds=wait))
    assert [type(c) for c in then.changes] == [Delete]
    (made,) = decide(seen(status=status_of(due).wire()), NOW + timedelta(seconds=wait)).changes
    assert isinstance(made, Create)
    assert made.manifest["metadata"]["annotations"] == {TRY_ANNOTATION: str(number + 1)}


# ----------------------------------------------------------------------------------------------------- approval


def test_a_decision_keeps_the_time_at_which_it_was_first_seen() -> None:
    spec = {"approval": {"required": True, "state": "Approved", "by": "jane", "comment": "well"}}
    first = decide(seen(spec=spec, status={**VERIFIED, "phase": "AwaitingApproval"}), NOW)
    assert status_of(first).wire()["approval"] == {"state": "Approved", "by": "jane", "at": T0, "comment": "well"}
    assert [e.reason for e in first.events] == [Reason.APPROVED]
    later = NOW + timedelta(hours=1)
    again = status_of(decide(seen(spec=spec, status=status_of(first).wire()), later))
    assert again == status_of(first)
    spec["approval"] |= {"state": "Rejected", "by": "joe"}
    other = status_of(decide(seen(spec=spec, status=again.wire()), later)).approval
    assert other is not None
    assert (other.state, other.by, other.at) == ("Rejected", "joe", "2026-01-01T01:00:00Z")
    taken_back = decide(seen(spec={"approval": {"required": True}}, status=again.wire()), later)
    assert (status_of(taken_back).approval, status_of(taken_back).phase) == (None, "AwaitingApproval")


# ------------------------------------------------------------------------------------------------------ aliases


def sibling(
    number: int, *aliases: str, archived: bool = False, verified: bool = True, approval: dict[str, Any] | None = None
) -> dict[str, Any]:
    more: dict[str, Any] = {"approval": approval} if approval else {}
    return model_version(
        f"digits-v{number}", aliases=list(aliases), archived=archived, status=VERIFIED if verified else {}, **more
    )


ALIASES: dict[str, tuple[tuple[dict[str, Any], ...], dict[str, Any], list[str], str | None]] = {
    "alone": ((), {}, ["champion"], None),
    "a lower number does not matter": ((sibling(0, "champion"),), {}, ["champion"], None),
    "a higher one that is Ready holds it": ((sibling(4, "champion"),), {}, [], "digits-v4"),
    "the highest of two holds it": ((sibling(4, "champion"), sibling(9, "champion")), {}, [], "digits-v9"),
    "a higher one that is archived does not": ((sibling(4, "champion", archived=True),), {}, ["champion"], None),
    "a higher one that is not verified does not": ((sibling(4, "champion", verified=False),), {}, ["champion"], None),
    "a higher one that waits for approval does not": (
        (sibling(4, "champion", approval={"required": True}),),
        {},
        ["champion"],
        None,
    ),
    "a higher one that was rejected does not": (
        (sibling(4, "champion", approval={"state": "Rejected", "by": "jane"}),),
        {},
        ["champion"],
        None,
    ),
    "a higher one that was approved does": (
        (sibling(4, "champion", approval={"required": True, "state": "Approved", "by": "jane"}),),
        {},
        [],
        "digits-v4",
    ),
    "a higher one with another alias does not": ((sibling(4, "newest"),), {}, ["champion"], None),
}


@pytest.mark.parametrize("case", ALIASES)
def test_who_holds_an_alias(case: str) -> None:
    siblings, more, held, holder = ALIASES[case]
    plan = decide(seen(spec={"aliases": ["champion"], **more}, status=VERIFIED, siblings=siblings), NOW)
    status = status_of(plan)
    assert status.held_aliases == held
    condition = next(c for c in status.conditions if c.type == "AliasesHeld")
    assert next(c.status for c in status.conditions if c.type == "Ready") == "True"
    if holder is None:
        assert (condition.status, status.message) == ("True", LOADS)
    else:
        assert (condition.status, condition.reason) == ("False", Reason.ALIAS_HELD_ELSEWHERE)
        assert status.message == f'{LOADS}; the alias "champion" is held by {holder}, which has the higher number'


def test_an_alias_is_taken_only_when_nobody_shows_it_any_more() -> None:
    before = {**sibling(0, "champion"), "status": {**VERIFIED, "heldAliases": ["champion"]}}
    plan = decide(seen(spec={"aliases": ["champion", "newest"]}, status=VERIFIED, siblings=(before,)), NOW)
    status = status_of(plan)
    assert (status.phase, status.held_aliases) == ("Ready", ["newest"])
    assert status.message == f'{LOADS}; the alias "champion" comes over from digits-v0'
    assert (plan.events, plan.again) == ((), ALIAS_EVERY)
    # The other one sees that a higher number is Ready, and lets go.
    higher = {**sibling(2, "champion"), "status": status.wire()}
    old = {**VERIFIED, "heldAliases": ["champion"]}
    other = decide(seen(spec={"aliases": ["champion"]}, status=old, siblings=(higher,)), NOW)
    assert status_of(other).held_aliases == []
    let_go = {**before, "status": VERIFIED}
    after = decide(seen(spec={"aliases": ["champion", "newest"]}, status=status.wire(), siblings=(let_go,)), NOW)
    assert status_of(after).held_aliases == ["champion", "newest"]


def test_a_version_that_is_not_ready_holds_no_alias() -> None:
    assert status_of(decide(seen(spec={"aliases": ["champion"]}), NOW)).held_aliases == []
    archived = decide(seen(spec={"aliases": ["champion"], "archived": True}, status=VERIFIED), NOW)
    assert status_of(archived).held_aliases == []


# ------------------------------------------------------------------------------------------------ the way back


def deployment(name: str, **roles: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "team"},
        "status": {role: {"modelVersion": version} for role, version in roles.items()},
    }


def test_who_runs_the_version_stands_in_status_and_the_list_has_a_limit() -> None:
    world = [
        deployment("b", stable="digits-v1", candidate="digits-v2"),
        deployment("a", stable="digits-v0", candidate="digits-v1"),
        deployment("c", stable="digits-v2"),
        {"metadata": {"name": "new", "namespace": "team"}},
    ]
    status = status_of(decide(seen(status=VERIFIED, deployments=tuple(world)), NOW))
    assert [(d.name, d.role) for d in status.deployments] == [("a", "candidate"), ("b", "stable")]
    assert status.deployments_cut is None
    copies = deployment("s", stable="digits-v0", candidate="digits-v1")
    copies["status"]["candidateRole"] = "shadow"
    status = status_of(decide(seen(status=VERIFIED, deployments=(copies,)), NOW))
    assert [(d.name, d.role) for d in status.deployments] == [("s", "shadow")]
    many = tuple(deployment(f"d{i:03}", stable="digits-v1") for i in range(130))
    status = status_of(decide(seen(status=VERIFIED, deployments=many), NOW))
    assert (len(status.deployments), status.deployments_cut) == (100, 30)


# ------------------------------------------------------------------------------------------------------ its origin


def test_a_version_without_the_record_of_a_training_is_imported_and_keeps_what_was_said() -> None:
    source = {"description": "by the vision team, 2024", "url": "https://models.example.com/digits"}
    made = status_of(decide(seen(spec={"source": source}), NOW)).wire()["lineage"]
    assert made == {
        "origin": "Imported",
        "source": source,
        "parameters": {},
        "artifact": model_version()["spec"]["artifact"],
    }


@pytest.mark.parametrize("labels", [{}, {"slipway.dev/model": "cats"}], ids=["none", "a wrong one"])
def test_labels_come_first_and_in_a_pass_of_their_own(labels: dict[str, str]) -> None:
    told = {LINEAGE_ANNOTATION: json.dumps(LINEAGE)}
    observed = seen(spec={"trainingRun": "digits-1"}, status=VERIFIED, annotations=told)
    bare = {**observed.version, "metadata": {**observed.version["metadata"], "labels": {**labels, "team": "vision"}}}
    plan = decide(replace(observed, version=bare), NOW)
    assert (plan.status, plan.events) == (None, ())
    (change,) = plan.changes
    assert isinstance(change, Apply)
    assert change.guarded
    assert change.manifest["metadata"]["labels"] == {
        "slipway.dev/model": "digits",
        "slipway.dev/artifact": "a" * 40,
        f"data.slipway.dev/{'a' * 40}": "",
    }
    assert "spec" not in change.manifest


# ------------------------------------------------------------------------------------------------ across the wall


def test_every_reason_that_is_final_is_one_of_the_server_s() -> None:
    known = {value for name, value in vars(server).items() if name.isupper() and isinstance(value, str)}
    assert known >= contract.FILE_FAILURES
    assert not contract.FILE_FAILURES & server.MAY_PASS


def test_nothing_is_signed_before_the_lineage_is_written_that_the_provenance_is_made_of() -> None:
    """The operator died when it had made the verification's Job, and comes back when that has ended."""
    asked = config_map("slipway-signing", {"publicKey": "PEM", "secret": "signer", "required": "true"})
    pods = (verifier(exit_code=0, message=GOOD),)
    told = {LINEAGE_ANNOTATION: json.dumps(LINEAGE)}
    back = seen(spec={"trainingRun": "digits-1"}, annotations=told, job=job("Complete"), pods=pods, signing=asked)
    back.version["metadata"]["labels"] = wayback.labels(back.spec, Lineage.model_validate(LINEAGE))
    plan = decide(back, NOW)
    assert plan.changes == ()
    assert status_of(plan).verification is not None
    assert status_of(plan).phase == "Verifying", "it is not Ready without its signature meanwhile"
    # The next pass finds it written.
    version = {**back.version, "status": status_of(plan).wire()}
    (change, *_) = [
        c for c in decide(replace(back, version=version, status=status_of(plan)), NOW).changes if isinstance(c, Create)
    ]
    (container,) = change.manifest["spec"]["template"]["spec"]["containers"]
    said = contract.loads(contract.EvidenceSpec, container["env"][0]["value"])
    assert json.loads(said.statement or "null")["predicate"]["runDetails"]["metadata"]["invocationId"] == "u"
