"""Every choice about a Dataset. Pure.

Two things are told apart: which check is wanted (``status.check``: the spec changed, a person asked, the time has
come) and whether it has ended with a word about the data (``status.checked``). A list of rules, in order, says what
is done about the difference; the first that has something to say decides (docs/design/0011).

The facts that status keeps because they cannot be seen in the cluster: ``check`` and ``checked``, what the newest
check found, ``versions`` (the objects in the store change), and ``lastAction``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from slipway import contract, jobfacts, podfacts
from slipway.api.common import (
    ACTION_ANNOTATION,
    ACTION_LIMIT,
    Condition,
    LastAction,
    Truth,
    answered,
    asked_anew,
    duration,
    parse_time,
    rfc3339,
    seconds,
    set_conditions,
)
from slipway.api.dataset import REFRESH, Check, Checked, DatasetStatus, FailedCheck
from slipway.api.reasons import Reason
from slipway.datasets import children, versions
from slipway.datasets.children import CONTAINER
from slipway.datasets.observe import Observed
from slipway.kube.objects import DATASETS, JOBS, Manifest
from slipway.kube.plan import Change, Create, Event, Plan, delete

MISSING_EVERY: Final = 10.0
"""Seconds between two looks for an S3 place: its ConfigMap carries no label of ours."""
PROGRESS_EVERY: Final = 3.0
"""Seconds between two questions to a pod that reads."""
REFRESH_FLOOR: Final = 60.0
"""Seconds between two checks that begin by themselves, however the spec spells less."""
MESSAGE_LIMIT: Final = 4096
SHOWN: Final = 3
"""Failed checks that a message names; ``status.failures`` has more, the profile has all."""

Outlook = Literal["moving", "stalled", "passed", "failed"]


@dataclass(frozen=True)
class Verdict:
    """What one rule found."""

    reason: str
    message: str
    outlook: Outlook = "moving"
    changes: tuple[Change, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    again: float | None = None
    warning: bool = False
    quiet: bool = False
    """No Event: nothing that a person would want to be told."""


@dataclass(frozen=True)
class View:
    """The observed world and the time."""

    seen: Observed
    now: datetime

    @property
    def status(self) -> DatasetStatus:
        return self.seen.status

    @property
    def uid(self) -> str:
        return str(self.seen.dataset["metadata"]["uid"])

    @property
    def name(self) -> str:
        return str(self.seen.dataset["metadata"]["name"])

    @property
    def generation(self) -> int:
        return int(self.seen.dataset["metadata"]["generation"])

    @property
    def check(self) -> Check:
        """The check that is wanted. Rules below ``_wanted`` ask; it has seen to it that there is one."""
        assert self.status.check is not None
        return self.status.check

    @property
    def pods(self) -> list[Manifest]:
        """Those of the check that is wanted."""
        return versions.of_check(self.seen.pods, self.check)

    def last_failure(self) -> podfacts.Trouble | None:
        """Why the newest pod that failed did."""
        memory = f"the {self.seen.spec.resources.memory} of spec.resources.memory"
        troubles = (podfacts.ended(pod, CONTAINER, memory) for pod in self.pods)
        found = next((t for t in troubles if t), None)
        if found and found.reason == Reason.TRAINING_FAILED:
            return replace(found, reason=Reason.CHECK_RETRYING)
        return found


def decide(observed: Observed, now: datetime) -> Plan:
    """What is to be done about a Dataset."""
    action, facts = observed.action, answered(observed.status, observed.action)
    view = View(replace(observed, status=facts), now)
    if action is not None and asked_anew(action, facts.last_action):
        return _answer(view, action)
    return _plan(view, _verdict(view))


def refused(observed: Observed, sentence: str, now: datetime) -> Plan | None:
    """What to tell where the API server refused what this pass wanted done. The facts stay those of the pass: they say
    what was seen, never that a child was written."""
    view = View(replace(observed, status=answered(observed.status, observed.action)), now)
    verdict = _verdict(view)
    if not verdict.changes or verdict.outlook in ("passed", "failed"):
        return None
    told = replace(verdict, reason=Reason.WRITE_REFUSED, message=sentence, outlook="stalled", quiet=False)
    plan = _plan(view, _cut(replace(told, changes=(), again=None)))
    return replace(plan, remove_annotations=None)


def _verdict(view: View) -> Verdict:
    return _cut(next(v for rule in RULES if (v := rule(view))))


def _cut(verdict: Verdict) -> Verdict:
    return replace(verdict, message=verdict.message[:MESSAGE_LIMIT])


# --------------------------------------------------------------------------------------------- what a person asks


def _answer(view: View, action: str) -> Plan:
    """One write records the wish as carried out together with what follows from it; only then is the annotation
    removed. So it is carried out exactly once, wherever the operator dies."""
    facts: dict[str, Any] = {}
    if action == REFRESH:
        check = _next(view)
        facts["check"] = check
        event = Event("Normal", Reason.CHECKING, f"check {check.number} begins, because a person asked for it")
    else:
        event = Event("Warning", Reason.ACTION_REFUSED, f"{action[:ACTION_LIMIT]!r} is no action: write {REFRESH}")
    facts["last_action"] = LastAction.answer(action, view.seen.action_by, event.message, view.now)
    return Plan(
        status=view.status.model_copy(update=facts),
        remove_annotations={ACTION_ANNOTATION: action},
        events=(event,),
        again=0.0,
    )


def _next(view: View) -> Check:
    number = view.status.check.number if view.status.check else 0
    return Check(number=number + 1, generation=view.generation)


# -------------------------------------------------------------------------------------- the rules, first one wins


def _wanted(view: View) -> Verdict | None:
    """A check is wanted that was not begun: of a new spec, or because the time has come."""
    check, checked = view.status.check, view.status.checked
    begun = {"check": _next(view)}
    if check is None or check.generation != view.generation:
        again = "again, because the spec changed" if check else "for the first time"
        return Verdict(Reason.CHECKING, f"the data are about to be read {again}", facts=begun, quiet=check is None)
    if checked is None or not view.status.settled(view.generation):
        return None
    left = _until_refresh(view, checked)
    if left is not None and left <= 0:
        return Verdict(Reason.CHECKING, "the data are about to be read again (spec.refresh)", facts=begun, quiet=True)
    return None


def _settled(view: View) -> Verdict | None:
    """It is recorded; now the Job may go."""
    checked = view.status.checked
    if checked is None or not view.status.settled(view.generation):
        return None
    changes = jobfacts.drop(view.seen.job, view.uid)
    return replace(_found(view.status, checked), changes=changes, again=_until_refresh(view, checked))


def _too_large(view: View) -> Verdict | None:
    asked = contract.dumps(children.dataset_spec(view.seen.dataset, view.seen.spec))
    size = len(asked.encode())
    if size <= children.SPEC_LIMIT:
        return None
    return Verdict(
        Reason.INVALID_SPEC,
        f"the spec is {size:,} bytes for the pod, and {children.SPEC_LIMIT:,} fit: write fewer columns in spec.schema, "
        "or shorter lists in spec.checks",
        "stalled",
    )


def _result(view: View) -> Verdict | None:
    """A pod has read the data. Looked for before the Job, which may have been deleted meanwhile."""
    ended = versions.find(view.pods)
    if ended is None:
        return None
    result, check, old = ended.result, view.check, view.status
    end = podfacts.terminated(ended.pod, CONTAINER).get("finishedAt")
    at = rfc3339(parse_time(end) if end else view.now)
    listed, cut = versions.with_newest(old.versions, view.seen.spec, result, at)
    shown, more = versions.failures(result)
    checked = Checked(
        number=check.number,
        generation=check.generation,
        at=at,
        passed=result.passed,
        rules=result.checked,
        read=result.read,
    )
    facts = {
        "digest": result.digest,
        "files": result.files,
        "bytes": result.bytes,
        "rows": result.rows,
        "columns": result.columns,
        "manifest": result.manifest,
        "profile": result.profile,
        "failures": shown,
        "failures_cut": more,
        "checked": checked,
        "versions": listed,
        "versions_cut": ((old.versions_cut or 0) + cut) or None,
    }
    same = old.digest == result.digest and old.checked is not None and old.checked.passed == result.passed
    # What the last check found too is no news, unless a person waits for it.
    quiet = same and old.checked is not None and old.checked.generation == check.generation
    return replace(_found(old.model_copy(update=facts), checked), facts=facts, quiet=quiet)


def _no_store(view: View) -> Verdict | None:
    if not view.seen.missing or view.seen.job is not None:
        return None
    return Verdict(
        Reason.STORE_MISSING,
        jobfacts.store_missing(view.seen.missing[0]),
        "stalled",
        again=MISSING_EVERY,
    )


def _no_job(view: View) -> Verdict | None:
    if view.seen.job is not None:
        return None
    made = children.job(view.seen.dataset, view.seen.spec, view.seen.defaults, view.check)
    return Verdict(Reason.CHECKING, "the data are being read", changes=(Create(made),), quiet=view.check.number > 1)


def _not_our_job(view: View) -> Verdict | None:
    job = view.seen.job
    assert job is not None
    name = job["metadata"]["name"]
    if podfacts.leaving(job):
        return Verdict(Reason.CHECKING, f"an earlier Job {name} is being removed", quiet=True)
    if jobfacts.is_ours(job, view.uid, children.ROLE):
        return None
    if jobfacts.of_an_earlier(job, DATASETS, view.name):
        return Verdict(Reason.CHECKING, f"the Job of an earlier Dataset {view.name} is being removed", again=5.0)
    return Verdict(
        Reason.NAME_TAKEN,
        f"the data must be read by a Job {name}, which exists and is not ours: delete it",
        "stalled",
        again=MISSING_EVERY,
    )


def _other_job(view: View) -> Verdict | None:
    """The Job is of an earlier check, or of an earlier try: the fact went up in status before, so the Job goes now."""
    job = view.seen.job
    assert job is not None
    if children.is_of(job, view.check):
        return None
    return Verdict(Reason.CHECKING, "the data are about to be read anew", changes=(delete(JOBS, job),), quiet=True)


def _ended(view: View) -> Verdict | None:
    """The Job is over without a word about the data: a new Job tries again after a while."""
    over = jobfacts.condition(view.seen.job, "Failed", "Complete")
    if over is None:
        return None
    why = view.last_failure()
    if over.get("reason") == "DeadlineExceeded":
        limit = f"spec.activeDeadline ({view.seen.spec.active_deadline})"
        why = podfacts.Trouble(
            Reason.DEADLINE_EXCEEDED, f"it took longer than {limit}; the next try goes on from there"
        )
    elif over["type"] == "Complete":
        why = podfacts.Trouble(Reason.RESULT_UNREADABLE, versions.unreadable(view.pods))
    elif why is None:
        why = podfacts.Trouble(Reason.CHECK_RETRYING, str(over.get("message") or over.get("reason")))
    wait = jobfacts.wait(view.check.tries)
    message = f"the data could not be read: {why.message}. It is tried again {duration(wait)} later"
    if (left := jobfacts.left(over, wait, view.now)) > 0:
        return Verdict(why.reason, message, "stalled", again=left)
    tried = view.check.model_copy(update={"tries": view.check.tries + 1})
    return Verdict(why.reason, message, "stalled", facts={"check": tried})


def _starting(view: View) -> Verdict | None:
    pod = jobfacts.live(view.pods)
    trouble = podfacts.waiting(pod, CONTAINER) if pod else None
    if trouble is None:
        return None
    return Verdict(
        trouble.reason,
        f"the pod that reads the data does not start: {trouble.message}",
        "stalled" if trouble.stalled else "moving",
        warning=True,
    )


def _not_made(view: View) -> Verdict | None:
    trouble = jobfacts.not_made(view.seen.job, view.pods, view.seen.refusals)
    if trouble is None:
        return None
    return Verdict(trouble.reason, trouble.message, "stalled", again=MISSING_EVERY)


def _reading(view: View) -> Verdict | None:
    why = view.last_failure()
    said = view.seen.progress
    message = "the data are being read"
    if said is not None and said.message:
        message += f": {said.message[:256]}"
    if why is not None:
        # Its Event comes if the Job gives up.
        message += f"; an attempt ended: {why.message}"
    # How far it is is no news; that it began was told when the Job was made.
    running = any(podfacts.phase(p) == "Running" for p in view.pods)
    again = PROGRESS_EVERY if running else None
    if jobfacts.lacks_pod(view.seen.job, view.pods):
        again = MISSING_EVERY  # nothing wakes us where the pod may not be made
    return Verdict(Reason.CHECKING, message, quiet=True, again=again)


RULES: Final[tuple[Callable[[View], Verdict | None], ...]] = (
    _wanted,
    _settled,
    _too_large,
    _result,
    _no_store,
    _no_job,
    _not_our_job,
    _other_job,
    _ended,
    _starting,
    _not_made,
    _reading,
)


# ------------------------------------------------------------------------------------------------ parts of rules


def _found(status: DatasetStatus, checked: Checked) -> Verdict:
    """What a check that has ended says. ``status`` holds what it found."""
    assert status.digest is not None
    counts = [_count(status.files or 0, "file"), _count(status.bytes or 0, "byte")]
    counts += [_count(n, word) for n, word in ((status.rows, "row"), (status.columns, "column")) if n is not None]
    what = f"version {short(status.digest)} ({', '.join(counts)})"
    if checked.passed:
        kept = f"keeps all {checked.rules} rules of schema and checks" if checked.rules else "is recorded"
        kept = "keeps the one rule of schema and checks" if checked.rules == 1 else kept
        return Verdict(Reason.CHECKS_PASSED, f"{what} {kept}", "passed")
    last = next((v for v in status.versions if v.passed), None)
    kept = f". The last version that passed is {last.digest}" if last else ""
    return Verdict(
        Reason.CHECKS_FAILED,
        f"{what} does not pass its checks: {broken(status.failures, status.failures_cut)}{kept}",
        "failed",
    )


def broken(failures: list[FailedCheck], cut: int | None) -> str:
    """The failed checks as part of a sentence.

    >>> broken([FailedCheck(check="age.min", message="3 values are below 0")], None)
    'age.min: 3 values are below 0'
    """
    told = "; ".join(f"{f.check}: {f.message}" for f in failures[:SHOWN])
    more = len(failures[SHOWN:]) + (cut or 0)
    return f"{told}; and {more} more" if more else told


def short(digest: str) -> str:
    """A digest as a sentence names it.

    >>> short("sha256:" + "a" * 64)
    'sha256:aaaaaaaaaaaa'
    """
    return digest[: len("sha256:") + 12]


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def _until_refresh(view: View, checked: Checked) -> float | None:
    """Seconds to the next check that begins by itself; None where none does."""
    every = view.seen.spec.refresh
    if every is None:
        return None
    return max(REFRESH_FLOOR, seconds(every)) - (view.now - parse_time(checked.at)).total_seconds()


# ------------------------------------------------------------------------------------------------------ the plan


def _plan(view: View, verdict: Verdict) -> Plan:
    old = view.status
    phase: dict[Outlook, Literal["Checking", "Ready", "Failed"]] = {"passed": "Ready", "failed": "Failed"}
    facts: dict[str, Any] = {
        "observed_generation": view.generation,
        "phase": phase.get(verdict.outlook, "Checking"),
        "message": verdict.message,
        "conditions": _conditions(view, verdict),
        **verdict.facts,
    }
    events: tuple[Event, ...] = ()
    if old.message != verdict.message and not verdict.quiet:
        bad = verdict.warning or verdict.outlook in ("stalled", "failed")
        events = (Event("Warning" if bad else "Normal", verdict.reason, verdict.message),)
    return Plan(
        changes=verdict.changes,
        status=old.model_copy(update=facts),
        # Only an annotation that was answered gets here: a new one is answered before any rule is asked.
        remove_annotations={ACTION_ANNOTATION: view.seen.action} if view.seen.action is not None else None,
        events=events,
        again=verdict.again,
    )


def _conditions(view: View, verdict: Verdict) -> list[Condition]:
    checked, outlook = view.status.checked, verdict.outlook
    # While the same spec is checked again, the last verdict stands; what stalls is not ready for anything.
    stands = checked is not None and checked.passed and checked.generation == view.generation and outlook == "moving"
    ready: Truth = "True" if outlook == "passed" or stands else "False"
    verdicts: dict[Outlook, Truth] = {"passed": "True", "failed": "False"}
    states: tuple[tuple[str, Truth], ...] = (
        ("Ready", ready),
        ("Checked", verdicts.get(outlook, "Unknown")),
        ("Reconciling", "True" if outlook == "moving" else "False"),
        ("Stalled", "True" if outlook in ("stalled", "failed") else "False"),
    )
    wanted = ((kind, state, verdict.reason, verdict.message) for kind, state in states)
    return set_conditions(view.status.conditions, wanted, view.generation, view.now)
