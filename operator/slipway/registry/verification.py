"""Is the file what the spec says? A list of rules, the first that has something to say decides. Pure.

Facts in status that cannot be seen in the cluster: ``verification`` or ``failure`` (the spec cannot change, so either
is final), and ``verifyTries``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from slipway import contract, jobfacts, podfacts
from slipway.api.common import duration, parse_time, rfc3339
from slipway.api.model_version import Verification, VerificationFailure
from slipway.api.reasons import Reason
from slipway.kube.objects import JOBS, MODEL_VERSIONS
from slipway.kube.plan import Change, Create, delete
from slipway.registry import approval, children
from slipway.registry.children import CONTAINER
from slipway.registry.observe import Observed

STORE_EVERY: Final = 10.0
"""Seconds between two looks for an S3 place: its ConfigMap carries no label of ours."""

Outlook = Literal["moving", "stalled", "verified", "failed", "idle"]


@dataclass(frozen=True)
class Verdict:
    """What one rule found out about the file."""

    reason: str
    message: str
    outlook: Outlook = "moving"
    changes: tuple[Change, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    again: float | None = None
    warning: bool = False
    quiet: bool = False
    """No Event: another one follows soon."""


@dataclass(frozen=True)
class View:
    """The observed world and the time."""

    seen: Observed
    now: datetime

    @property
    def uid(self) -> str:
        return str(self.seen.version["metadata"]["uid"])

    @property
    def name(self) -> str:
        return str(self.seen.version["metadata"]["name"])

    @property
    def memory(self) -> str:
        """For a sentence."""
        return f"the {children.memory(self.seen.spec.artifact.size)} that verifying a file of this size gets"

    def last_failure(self) -> podfacts.Trouble | None:
        """Why the newest pod that failed did."""
        troubles = (podfacts.ended(pod, CONTAINER, self.memory) for pod in self.seen.pods)
        return next((t for t in troubles if t), None)


def judge(observed: Observed, now: datetime) -> Verdict:
    """What is known of the file, and what is to be done to know it."""
    view = View(observed, now)
    return next(v for rule in RULES if (v := rule(view)))


# -------------------------------------------------------------------------------------- the rules, first one wins


def _verified(view: View) -> Verdict | None:
    """It is recorded; now the Job may go."""
    found = view.seen.status.verification
    if found is None:
        return None
    return _is_verified(found, jobfacts.drop(view.seen.job, view.uid))


def _has_failed(view: View) -> Verdict | None:
    """It is recorded, and stays so. The Job stays too: its pod's log is what a person wants to see."""
    failure = view.seen.status.failure
    return Verdict(Reason.VERIFICATION_FAILED, failure.message, "failed") if failure else None


def _archived(view: View) -> Verdict | None:
    """Nobody may take it, so nobody needs to know whether it could be taken."""
    if not view.seen.spec.archived:
        return None
    return Verdict(Reason.ARCHIVED, "archived before it was verified", "idle")


def _rejected(view: View) -> Verdict | None:
    """The same."""
    ruling = approval.rule(view.name, view.seen.spec)
    return Verdict(ruling.reason, "its file was not verified yet", "idle") if ruling.state == "Rejected" else None


def _no_store(view: View) -> Verdict | None:
    if view.seen.store or view.seen.job is not None:
        return None
    return Verdict(
        Reason.STORE_MISSING,
        jobfacts.store_missing(view.seen.spec.artifact.store),
        "stalled",
        again=STORE_EVERY,
    )


def _no_job(view: View) -> Verdict | None:
    if view.seen.job is not None:
        return None
    seen = view.seen
    made = children.job(seen.version, seen.spec, seen.defaults, seen.status.verify_tries)
    return Verdict(Reason.VERIFYING, "the file is being verified", changes=(Create(made),))


def _not_our_job(view: View) -> Verdict | None:
    job = view.seen.job
    assert job is not None
    name = job["metadata"]["name"]
    if podfacts.leaving(job):
        return Verdict(Reason.VERIFYING, f"an earlier Job {name} is being removed")
    if jobfacts.is_ours(job, view.uid, "verify"):
        return None
    if jobfacts.of_an_earlier(job, MODEL_VERSIONS, view.name):
        return Verdict(Reason.VERIFYING, f"the Job of an earlier ModelVersion {view.name} is being removed", again=5.0)
    return Verdict(
        Reason.NAME_TAKEN,
        f"the file must be verified by a Job {name}, which exists and is not ours: delete it",
        "stalled",
        again=STORE_EVERY,
    )


def _result(view: View) -> Verdict | None:
    """A pod has loaded the file."""
    found = jobfacts.result(contract.VerifyResult, view.seen.pods, CONTAINER)
    if found is None:
        return None
    result, pod = found
    wanted = view.seen.spec.artifact.digest
    if result.digest != wanted:
        return _wrong("DigestMismatch", f"the file has the digest {result.digest}, and {wanted} is recorded")
    end = podfacts.terminated(pod, CONTAINER).get("finishedAt")
    made = Verification(
        digest=result.digest,
        provider=result.provider,
        onnxruntime=result.onnxruntime,
        verified_at=rfc3339(parse_time(end) if end else view.now),
    )
    return replace(_is_verified(made, ()), facts={"verification": made})


def _wrong_file(view: View) -> Verdict | None:
    """A pod has read the file and found something else than what was registered."""
    why = view.last_failure()
    return _wrong(why.reason, why.message) if why and why.reason in contract.FILE_FAILURES else None


def _ended(view: View) -> Verdict | None:
    """The Job is over without a word about the file: a new Job tries again after a while.

    The count goes up in status before the old Job is deleted, and each Job says which try it is: so a crash between
    the two neither loses nor repeats one.
    """
    job = view.seen.job
    assert job is not None
    over = jobfacts.condition(job, "Failed", "Complete")
    if over is None:
        return None
    why = view.last_failure()
    if why is None and over["type"] == "Complete":
        why = podfacts.Trouble(Reason.RESULT_UNREADABLE, "the pod ended well but left no result that can be read")
    if why is None:
        why = podfacts.Trouble(Reason.VERIFICATION_RETRYING, str(over.get("message") or over.get("reason")))
    number = int(job["metadata"].get("annotations", {}).get(children.TRY_ANNOTATION, 0))
    tries = view.seen.status.verify_tries
    wait = jobfacts.wait(number)
    message = f"the file could not be verified: {why.message}. It is tried again {duration(wait)} later"
    if number < tries:
        return Verdict(why.reason, message, "stalled", changes=(delete(JOBS, job),))
    if (left := jobfacts.left(over, wait, view.now)) > 0:
        return Verdict(why.reason, message, "stalled", again=left)
    return Verdict(why.reason, message, "stalled", facts={"verify_tries": number + 1})


def _starting(view: View) -> Verdict | None:
    pod = jobfacts.live(view.seen.pods)
    trouble = podfacts.waiting(pod, CONTAINER) if pod else None
    if trouble is None:
        return None
    return Verdict(
        trouble.reason,
        f"the pod that verifies the file does not start: {trouble.message}",
        "stalled" if trouble.stalled else "moving",
        warning=True,
    )


def _not_made(view: View) -> Verdict | None:
    trouble = jobfacts.not_made(view.seen.job, view.seen.pods, view.seen.refusals)
    return Verdict(trouble.reason, trouble.message, "stalled", again=STORE_EVERY) if trouble else None


def _verifying(view: View) -> Verdict | None:
    why = view.last_failure()
    # Nothing wakes us where the pod may not be made: look again until there is one.
    again = STORE_EVERY if jobfacts.lacks_pod(view.seen.job, view.seen.pods) else None
    if why is None:
        return Verdict(Reason.VERIFYING, "the file is being verified", again=again)
    # Its Event comes if the Job gives up.
    message = f"the file is being verified; an attempt ended: {why.message}"
    return Verdict(Reason.VERIFYING, message, again=again, quiet=True)


RULES: Final[tuple[Callable[[View], Verdict | None], ...]] = (
    _verified,
    _has_failed,
    _archived,
    _rejected,
    _no_store,
    _no_job,
    _not_our_job,
    _result,
    _wrong_file,
    _ended,
    _starting,
    _not_made,
    _verifying,
)


# ------------------------------------------------------------------------------------------------ parts of rules


def _is_verified(found: Verification, changes: tuple[Change, ...]) -> Verdict:
    return Verdict(
        Reason.VERIFIED,
        f"verified: onnxruntime {found.onnxruntime} loads the file by {found.provider}",
        "verified",
        changes=changes,
    )


def _wrong(reason: str, message: str) -> Verdict:
    failure = VerificationFailure(reason=reason, message=f"the file is not what was registered: {message}")
    return Verdict(Reason.VERIFICATION_FAILED, failure.message, "failed", facts={"failure": failure})
