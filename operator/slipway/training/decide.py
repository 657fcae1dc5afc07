"""Every choice about a TrainingRun. Pure.

A run that has not ended is judged by a list of rules, in order; the first that has something to say decides. Each
verdict carries one sentence, which goes to status, conditions and Event alike.

The facts that status keeps because they cannot be seen in the cluster: ``completionTime`` (the end is recorded; from
then on nothing is changed), ``startTime``, ``attempts`` and ``lastAttempt`` (pods vanish), ``deadlineSince`` (nothing
says when a run was resumed), ``rereads``, ``data`` (a Dataset goes on to its next version), ``gates`` (another version
becomes the champion), and the last known ``progress`` and ``metrics``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from slipway import contract, jobfacts, ledger, podfacts
from slipway.api.common import Condition, Truth, duration, parse_time, rfc3339, seconds, set_conditions
from slipway.api.reasons import Reason
from slipway.api.training_run import Attempt, Progress, Reproduction, TrainingRunStatus
from slipway.kube.objects import JOBS, TRAINING_RUNS, Manifest, owned_by
from slipway.kube.plan import Apply, Change, Create, Event, Plan, delete
from slipway.training import approval, attempts, children, data, gate, numbering, parent, record, reproduction
from slipway.training.children import CODE_CONTAINER, CONTAINER, ROLE
from slipway.training.observe import Observed

PROGRESS_EVERY: Final = 3.0
"""Seconds between two questions to a running pod."""
MISSING_EVERY: Final = 10.0
"""Seconds between two looks for an object that a user has still to make and that carries no label of ours."""
REREADS: Final = 2
"""How often a result is asked for again."""
MESSAGE_LIMIT: Final = 4096
"""Characters of ``status.message``; kubelet and scheduler set no limit to theirs."""
DEADLINE_FLOOR: Final = 300
"""Seconds that a Job made anew gets at least (or all of a shorter deadline): the training may be done already, and
finding its result must not fail for want of the time to pull an image."""

RECORDING: Final = "the training ended; its ModelVersion is being made"
"""The same sentence from the judgement to the version: one Event for all of them."""

Phase = Literal["Pending", "Suspended", "Queued", "Running", "Succeeded", "Failed"]
Outlook = Literal["moving", "waiting", "stalled", "done", "failed"]
"""What the conditions say. ``moving``: Reconciling. ``waiting``: a person wanted it so. ``stalled``: a person must do
something. ``done`` and ``failed`` are the end."""


@dataclass(frozen=True)
class Verdict:
    """What one rule found."""

    phase: Phase
    reason: str
    message: str
    outlook: Outlook = "moving"
    changes: tuple[Change, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    """Fields of the status that this verdict sets."""
    again: float | None = None
    warning: bool = False
    quiet: bool = False
    """No Event: it is one of the usual steps, or its Event comes in a moment."""


@dataclass(frozen=True)
class View:
    """The observed world and what several rules need to know about it."""

    seen: Observed
    now: datetime
    attempts: int
    last_attempt: Attempt | None
    live: Manifest | None
    """The newest pod that has not ended and was not told to."""
    failed: Manifest | None
    """The newest pod that failed."""

    @property
    def uid(self) -> str:
        return str(self.seen.run["metadata"]["uid"])

    @property
    def name(self) -> str:
        return str(self.seen.run["metadata"]["name"])

    @property
    def has_job(self) -> bool:
        """Whether there is a Job of this run's, whose own clock counts then."""
        return self.seen.job is not None and owned_by(self.seen.job, self.uid)

    @property
    def clock(self) -> datetime | None:
        """Since when the deadline counts; None where it does not."""
        meta, status = self.seen.run["metadata"], self.seen.status
        if self.seen.spec.active_deadline is None or self.seen.spec.suspend:
            return None
        if status.deadline_since is not None:
            return parse_time(status.deadline_since)
        # What may change of a spec is ``suspend``: one that was never changed was never suspended.
        return parse_time(meta["creationTimestamp"]) if meta["generation"] == 1 else self.now

    def left(self) -> float | None:
        """Seconds until the deadline; None where there is none, or it does not count."""
        whole, clock = self.seen.spec.active_deadline, self.clock
        if whole is None or clock is None:
            return None
        return max(1.0, seconds(whole)) - (self.now - clock).total_seconds()

    def last_failure(self) -> podfacts.Trouble | None:
        """Why the newest failed pod failed."""
        memory = f"the {self.seen.spec.resources.memory} of spec.resources.memory"
        return podfacts.ended(self.failed, _broken(self.failed), memory) if self.failed else None


def decide(observed: Observed, now: datetime) -> Plan:
    """What is to be done about a run."""
    if observed.ended:
        return _after_the_end(observed, now)
    view = _view(observed, now)
    return _plan(view, _verdict(view))


def refused(observed: Observed, sentence: str, now: datetime) -> Plan | None:
    """What to tell where the API server refused what this pass wanted done. The facts stay those of the pass: they say
    what was seen, never that a child was written."""
    if observed.ended:
        return None
    view = _view(observed, now)
    verdict = _verdict(view)
    if not verdict.changes:
        return None
    told = replace(verdict, reason=Reason.WRITE_REFUSED, message=sentence, outlook="stalled", quiet=False)
    return _plan(view, _cut(replace(told, changes=(), again=None)))


def _verdict(view: View) -> Verdict:
    verdict = next(verdict for rule in RULES if (verdict := rule(view)))
    left = view.left()
    if left is not None and left > 0 and not view.has_job and verdict.outlook in ("moving", "stalled"):
        # No Job counts, so nothing else wakes us at the deadline.
        verdict = replace(verdict, again=left if verdict.again is None else min(left, verdict.again))
    return _cut(verdict)


def _cut(verdict: Verdict) -> Verdict:
    return replace(verdict, message=verdict.message[:MESSAGE_LIMIT])


def _view(seen: Observed, now: datetime) -> View:
    counted, newest = attempts.count(seen.status.attempts, seen.status.last_attempt, seen.job, seen.pods)
    failed = (p for p in seen.pods if podfacts.phase(p) == "Failed")
    return View(seen, now, counted, newest, jobfacts.live(seen.pods), next(failed, None))


# -------------------------------------------------------------------------------------- the rules, first one wins


def _made(view: View) -> Verdict | None:
    """The version exists: pass 3 of numbering. Looked for first, because pods and Job may be gone by now."""
    version = next((v for v in view.seen.versions if record.made_by(v) == view.uid), None)
    if version is None:
        return None
    name = version["metadata"]["name"]
    if lineage := record.told(version):
        metrics, compared = lineage.metrics, "".join(f"; {g.message}" for g in lineage.gates if g.against)
    else:
        metrics, compared = view.seen.status.metrics, ""
    shown = ", ".join(f"{m.name} {m.value}" for m in metrics[:5])
    ended = record.find(view.seen.pods)
    return Verdict(
        "Succeeded",
        Reason.SUCCEEDED,
        f"the training made {name}" + (f" ({shown})" if shown else "") + compared + _asked_since(view, version),
        "done",
        facts={
            "model_version": name,
            "metrics": metrics,
            **_whole(view),
            "completion_time": _end_of(ended.pod if ended else None, view.now),
        },
    )


def _asked_since(view: View, version: Manifest) -> str:
    """A part of a sentence where the version waits for approval though the run does not say so."""
    if approval.said(view.seen.spec) or not (version["spec"].get("approval") or {}).get("required"):
        return ""
    return "; it waits for approval, which the namespace asks for"


def _judged(view: View) -> Verdict | None:
    """A pod ended well, and what the gates say of it is not written down: one write does that, and only then a number
    is claimed. The champion may change afterwards, and the version is born with what was judged (docs/design/0019)."""
    ended = record.find(view.seen.pods)
    if ended is None or view.seen.status.gates or not view.seen.spec.gate:
        return None
    judged = gate.judge(view.seen.spec.gate, gate.Measured.of(ended.result), view.seen.versions)
    facts: dict[str, Any] = {
        "metrics": record.metrics(ended.result.metrics),
        "gates": [each.lineage for each in judged],
    }
    if why := gate.missed(judged):
        return Verdict(
            "Failed",
            Reason.GATE_MISSED,
            f"{why}: no ModelVersion was made; the model lies at {ended.result.artifact.uri}",
            "failed",
            facts={**facts, "completion_time": _end_of(ended.pod, view.now)},
        )
    return Verdict("Running", Reason.RECORDING, RECORDING, facts=facts)


def _result(view: View) -> Verdict | None:
    """A pod ended well, and the run has passed its gates: passes 1 and 2 of numbering."""
    ended = record.find(view.seen.pods)
    if ended is None:
        return None
    spec, run = view.seen.spec, view.seen.run
    metrics = record.metrics(ended.result.metrics)
    end = {"metrics": metrics, "completion_time": _end_of(ended.pod, view.now)}
    book = ledger.read(view.seen.ledger)
    number = book.claims.get(view.uid)
    image = next(c["image"] for c in ended.pod["spec"]["containers"] if c["name"] == CONTAINER)
    try:
        waits = approval.required(spec, view.seen.namespace)
        made = record.version_spec(run, spec, ended.result, number or 1, waits=waits)
        settled = view.seen.status
        lineage = record.lineage(run, spec, image, ended, view.attempts, settled.data, settled.parent)
        lineage = lineage.model_copy(update={"gates": settled.gates})
    except record.Unusable as error:
        return Verdict(
            "Failed",
            Reason.RESULT_UNREADABLE,
            f"the training ended, but its result cannot become a ModelVersion: {error}",
            "failed",
            facts=end,
        )
    if view.seen.ledger is not None and not ledger.is_ours(view.seen.ledger):
        return Verdict(
            "Running",
            Reason.NAME_TAKEN,
            f"the training ended, but the ConfigMap {ledger.name(spec.model)}, which must remember the "
            f"numbers of {spec.model}, exists and is not ours: delete or rename it",
            "stalled",
            again=MISSING_EVERY,
        )
    taken = {v["spec"]["version"] for v in view.seen.versions}
    mine = ledger.mark(made.artifact.digest)
    change: Change
    # Somebody's version may have used the number since, and be gone again.
    if number is None or number in taken or book.files.get(number, mine) != mine:
        done = {uid for v in view.seen.versions if (uid := record.made_by(v))}
        new = numbering.claim(book, view.uid, taken, done)
        # Where the ledger was lost, what the registry had written into it is still to be seen.
        for v in view.seen.versions:
            if (v.get("status") or {}).get("numbered"):
                new = new.with_file(v["spec"]["version"], v["spec"]["artifact"]["digest"])
        written = ledger.manifest(run["metadata"]["namespace"], spec.model, new)
        change = Apply(written, view.seen.ledger, guarded=True) if view.seen.ledger else Create(written)
    else:
        change = Create(children.model_version(run, spec, made, lineage))
    return Verdict(
        "Running",
        Reason.RECORDING,
        RECORDING,
        changes=(change,),
        facts={"metrics": metrics},
    )


def _reproduced(view: View) -> Verdict | None:
    """A pod ended well, and it was to make a version once more: no number, no ModelVersion, an answer."""
    ended = record.find(view.seen.pods) if view.seen.spec.reproduce_of else None
    if ended is None:
        return None
    facts = {"metrics": record.metrics(ended.result.metrics), "completion_time": _end_of(ended.pod, view.now)}
    image = next(c["image"] for c in ended.pod["spec"]["containers"] if c["name"] == CONTAINER)
    try:
        lineage = record.lineage(
            view.seen.run, view.seen.spec, image, ended, view.attempts, view.seen.status.data, view.seen.status.parent
        )
        found = reproduction.answer(ended.result, view.seen.original, lineage)
    except record.Unusable as error:
        return Verdict(
            "Failed",
            Reason.RESULT_UNREADABLE,
            f"the training ended, but its result says nothing that can be compared: {error}",
            "failed",
            facts=facts,
        )
    return _answered(found, reproduction.sentence(found), "done", {**facts, **_whole(view)})


def _late(view: View) -> Verdict | None:
    """The deadline has passed and there is no Job whose own clock would say so.

    A Job that is to be made anew is made all the same: the training may be done already.
    """
    left = view.left()
    if left is None or left > 0 or view.has_job:
        return None
    why = next(verdict for rule in RULES[RULES.index(_late) + 1 :] if (verdict := rule(view)))
    if why.outlook == "failed" or (why.changes and view.seen.status.start_time):
        return None
    waited = "" if why.changes else f" once what it waited for is there. At the end: {why.message}"
    return Verdict(
        "Failed",
        Reason.DEADLINE_EXCEEDED,
        f"no Job could be made within spec.activeDeadline ({view.seen.spec.active_deadline}): apply a new TrainingRun"
        f"{waited}",
        "failed",
        facts={"completion_time": rfc3339(view.now)},
    )


def _not_reproducible(view: View) -> Verdict | None:
    """Before a Job is made: there must be something to compare with."""
    asked = view.seen.spec.reproduce_of
    if asked is None or view.seen.job is not None:
        return None
    if view.seen.original is None:
        return Verdict(
            "Pending",
            Reason.MODEL_VERSION_MISSING,
            f"there is no ModelVersion {asked.model_version} in this namespace: register it, and the run goes on; or "
            "delete the run and apply one that names another in spec.reproduceOf.modelVersion",
            "stalled",
            again=MISSING_EVERY,
        )
    if reproduction.is_coming(view.seen.original):
        return Verdict(
            "Pending", Reason.PENDING, f"the lineage of {asked.model_version} is about to be written", again=1.0
        )
    if why := reproduction.cannot(view.seen.original):
        return Verdict("Failed", Reason.NOT_REPRODUCIBLE, why, "failed", facts={"completion_time": rfc3339(view.now)})
    return None


def _open_data(view: View) -> Verdict | None:
    """A Dataset is named whose version is not settled: one write settles all of them, and only then a Job is made."""
    seen = view.seen
    if not data.open_names(seen.spec, seen.status):
        return None
    if seen.spec.suspend:
        # What is newest when the run goes on counts, not what was newest when it was applied.
        return Verdict("Suspended", Reason.SUSPENDED, "spec.suspend is true: no pod runs until it is false", "waiting")
    got = data.settle(seen.spec, seen.datasets)
    if isinstance(got, data.Trouble):
        end = {"completion_time": rfc3339(view.now)} if got.outlook == "failed" else {}
        return Verdict("Failed" if end else "Pending", got.reason, got.message, got.outlook, facts=end)
    taken = ", ".join(f"{pin.name} is {pin.dataset} at {pin.version}" for pin in got)
    return Verdict("Pending", Reason.PENDING, f"the versions of the data are settled: {taken}", facts={"data": got})


def _open_parent(view: View) -> Verdict | None:
    """The weights to begin with are not settled: one write settles them, and only then a Job is made."""
    seen = view.seen
    if not parent.is_open(seen.spec, seen.status) or seen.spec.from_ is None:
        return None
    if seen.spec.suspend:
        return Verdict("Suspended", Reason.SUSPENDED, "spec.suspend is true: no pod runs until it is false", "waiting")
    got = parent.settle(seen.spec.from_.model_version, seen.parent)
    if isinstance(got, parent.Trouble):
        end = {"completion_time": rfc3339(view.now)} if got.outlook == "failed" else {}
        return Verdict("Failed" if end else "Pending", got.reason, got.message, got.outlook, facts=end)
    return Verdict(
        "Pending",
        Reason.PENDING,
        f"the training begins from {got.model_version}, weights {got.digest}",
        facts={"parent": got},
    )


def _too_large(view: View) -> Verdict | None:
    seen = view.seen
    asked = contract.dumps(
        children.train_spec(seen.run, seen.spec, seen.original, seen.status.data, seen.status.parent)
    )
    size = len(asked.encode())
    if size <= children.SPEC_LIMIT:
        return None
    return Verdict(
        "Failed",
        Reason.INVALID_SPEC,
        f"the spec is {size:,} bytes for the trainer, and {children.SPEC_LIMIT:,} fit: put long parameters into a file "
        "of the code's ConfigMap or of the data",
        "failed",
        facts={"completion_time": rfc3339(view.now)},
    )


def _no_job(view: View) -> Verdict | None:
    if view.seen.job is not None:
        return None
    if view.seen.missing:
        return _missing(view, "Pending")
    status = view.seen.status
    made = children.job(
        view.seen.run,
        view.seen.spec,
        view.seen.defaults,
        deadline=_deadline(view),
        attempts_before=view.attempts,
        reread=status.rereads,
        original=view.seen.original,
        pins=status.data,
        parent=status.parent,
    )
    if status.rereads:
        return _rereading(view, changes=(Create(made),))
    words = f"the Job {view.name} is gone and is made anew" if status.start_time else f"the Job {view.name} is made"
    return Verdict("Pending", Reason.PENDING, words, changes=(Create(made),))


def _not_our_job(view: View) -> Verdict | None:
    job = view.seen.job
    assert job is not None
    if podfacts.leaving(job):
        return Verdict("Pending", Reason.PENDING, f"an earlier Job {view.name} is being removed")
    if jobfacts.is_ours(job, view.uid, ROLE):
        return None
    if jobfacts.of_an_earlier(job, TRAINING_RUNS, view.name):
        return Verdict(
            "Pending", Reason.PENDING, f"the Job of an earlier TrainingRun {view.name} is being removed", again=5.0
        )
    return Verdict(
        "Pending",
        Reason.NAME_TAKEN,
        f"a Job {view.name} exists and is not ours: delete it, or apply this TrainingRun under another name",
        "stalled",
        again=MISSING_EVERY,
    )


def _complete(view: View) -> Verdict | None:
    """The Job is complete, but no result can be read: it is in the store, and a new Job will find it there.

    The count goes up in status before the Job is deleted, and the Job says which re-read it is: so a crash between
    the two neither loses nor repeats one.
    """
    job = view.seen.job
    assert job is not None
    if jobfacts.condition(job, "Complete") is None:
        return None
    made_as = int(job["metadata"].get("annotations", {}).get(children.REREAD_ANNOTATION, 0))
    rereads = view.seen.status.rereads
    if made_as < rereads:
        return _rereading(view, changes=(delete(JOBS, job),))
    if rereads < REREADS:
        return _rereading(view, rereads=rereads + 1)
    return Verdict(
        "Failed",
        Reason.RESULT_UNREADABLE,
        f"the training ended well, but {record.unreadable(view.seen.pods)}, and {REREADS} more attempts to read it "
        "from the store found none either: look whether the image holds slipway_trainer of this release",
        "failed",
        facts={"completion_time": rfc3339(view.now)},
    )


def _failed(view: View) -> Verdict | None:
    """The Job gave up."""
    condition = jobfacts.condition(view.seen.job, "Failed")
    if condition is None:
        return None
    why, spec = view.last_failure(), view.seen.spec
    if condition.get("reason") == "DeadlineExceeded":
        reason: str = Reason.DEADLINE_EXCEEDED
        message = (
            f"the training took longer than spec.activeDeadline ({spec.active_deadline}) and was stopped in attempt "
            f"{view.attempts}: apply a new TrainingRun with a longer one"
            if view.attempts
            else f"no pod could begin within spec.activeDeadline ({spec.active_deadline}): "
            "look for what the run waited for in its Events"
        )
    elif why is None:
        reason = Reason.TRAINING_FAILED
        message = f"the Job failed and its pods are gone: {condition.get('message') or condition.get('reason')}"
    elif condition.get("reason") == "BackoffLimitExceeded":
        reason = why.reason
        message = f"attempt {view.attempts} was the last (spec.backoffLimit {spec.backoff_limit}): {why.message}"
    else:
        reason, message = why.reason, why.message
    facts = {"completion_time": _time(condition.get("lastTransitionTime"), view.now)}
    if found := reproduction.other_data(view.seen.original, reason, message):
        return _answered(found, f"{found.model_version} was not made once more: {message}", "failed", facts)
    return Verdict("Failed", reason, message, "failed", facts=facts)


def _suspend(view: View) -> Verdict | None:
    job, wanted = view.seen.job, view.seen.spec.suspend
    assert job is not None
    changes: tuple[Change, ...] = ()
    if bool(job["spec"].get("suspend", False)) != wanted:
        whole = view.seen.spec.active_deadline
        changes = (Apply(children.job_suspend(view.seen.run, wanted, _whole_seconds(whole)), job, guarded=True),)
    if wanted:
        return Verdict(
            "Suspended",
            Reason.SUSPENDED,
            "spec.suspend is true: no pod runs until it is false",
            "waiting",
            changes=changes,
        )
    return (
        Verdict("Queued", Reason.QUEUED, "the training goes on: spec.suspend is false", changes=changes)
        if changes
        else None
    )


def _running(view: View) -> Verdict | None:
    pod = view.live
    if pod is None or podfacts.phase(pod) != "Running":
        return None
    why = view.last_failure()
    message = f"attempt {view.attempts} is training"
    if view.seen.status.rereads:
        message = f"attempt {view.attempts} looks for the result of an earlier one in the store"
    elif why and view.attempts > 1:
        message += f"; attempt {view.attempts - 1} ended: {why.message}"
    said = view.seen.progress
    facts: dict[str, Any] = {}
    if said is not None:
        # An answer without metrics is one from before the first step of this attempt: what was known is kept.
        facts = {
            "progress": record.progress(said),
            "metrics": record.metrics(said.metrics) or view.seen.status.metrics,
        }
    return Verdict("Running", Reason.RUNNING, message, facts=facts, again=PROGRESS_EVERY)


def _starting(view: View) -> Verdict | None:
    """A pod is there but does not run yet, and somebody knows why."""
    pod = view.live
    if pod is None:
        return None
    if trouble := podfacts.waiting(pod, CODE_CONTAINER) or podfacts.waiting(pod, CONTAINER):
        outlook: Outlook = "stalled" if trouble.stalled else "moving"
        message = trouble.message + _git_hint(view, trouble)
        return Verdict("Queued", trouble.reason, message, outlook, warning=True)
    if view.seen.missing:
        return _missing(view, "Queued")
    git = view.seen.spec.code.git if view.seen.spec.code else None
    fetching = podfacts.container(pod, CODE_CONTAINER).get("state", {})
    if git is None or not fetching.keys() & {"running", "terminated"}:
        return None
    if "running" in fetching:
        message = f"attempt {view.attempts} fetches its code from {git.url} at {git.revision}"
        return Verdict("Queued", Reason.QUEUED, message)
    return Verdict("Queued", Reason.QUEUED, f"attempt {view.attempts} has its code and is about to train", quiet=True)


def _not_made(view: View) -> Verdict | None:
    """The Job controller may not make the pod: nothing but its Events says so, and it tries again by itself."""
    trouble = jobfacts.not_made(view.seen.job, view.seen.pods, view.seen.refusals)
    if trouble is None:
        return None
    return Verdict("Queued", trouble.reason, trouble.message, "stalled", again=MISSING_EVERY)


def _between(view: View) -> Verdict | None:
    """No pod runs, and one has failed."""
    why, pod, job = view.last_failure(), view.failed, view.seen.job
    if why is None or pod is None or job is None:
        return None
    ended, limit = f"attempt {view.attempts} ended: {why.message}", view.seen.spec.backoff_limit
    if podfacts.disruption(pod):
        return Verdict(
            "Queued",
            Reason.RETRYING,
            f"{ended}. The Job starts another; this one does not count towards spec.backoffLimit",
            again=MISSING_EVERY,  # nothing wakes us where the next pod may not be made
            warning=True,
        )
    counted = [p for p in view.seen.pods if podfacts.phase(p) == "Failed" and not podfacts.disruption(p)]
    last = podfacts.terminated(pod, _broken(pod)).get("exitCode") == contract.EXIT_USER_ERROR
    if last or max(len(counted), job.get("status", {}).get("failed", 0)) > limit:
        # The Job controller's verdict comes within a moment, and the Event comes with it.
        return Verdict("Running", why.reason, ended, quiet=True)
    words = f"{ended}. The Job starts another (spec.backoffLimit {limit})"
    return Verdict("Queued", Reason.RETRYING, words, again=MISSING_EVERY, warning=True)


def _waiting(view: View) -> Verdict | None:
    if any(podfacts.phase(pod) == "Succeeded" for pod in view.seen.pods):
        return Verdict("Running", Reason.RECORDING, "the pod has ended; its Job is about to say so", quiet=True)
    # Nothing wakes us where the pod may not be made: look again until there is one.
    again = MISSING_EVERY if jobfacts.lacks_pod(view.seen.job, view.seen.pods) else None
    return Verdict("Queued", Reason.QUEUED, f"the Job {view.name} is starting its pod", again=again, quiet=True)


RULES: Final[tuple[Callable[[View], Verdict | None], ...]] = (
    _made,
    _reproduced,
    _judged,
    _result,
    _late,
    _not_reproducible,
    _open_data,
    _open_parent,
    _too_large,
    _no_job,
    _not_our_job,
    _complete,
    _failed,
    _suspend,
    _running,
    _starting,
    _not_made,
    _between,
    _waiting,
)


# ------------------------------------------------------------------------------------------------ parts of rules


def _answered(found: Reproduction, message: str, outlook: Outlook, facts: dict[str, Any]) -> Verdict:
    """The answer to ``spec.reproduceOf``, which is the end."""
    differs = found.verdict == "Different"
    return Verdict(
        "Succeeded" if outlook == "done" else "Failed",
        Reason.NOT_REPRODUCED if differs else Reason.REPRODUCED,
        message,
        outlook,
        facts={**facts, "reproduction": found},
        warning=differs,
    )


def _whole(view: View) -> dict[str, Any]:
    progress = view.seen.status.progress or Progress()
    return {"progress": progress.model_copy(update={"percent": 100, "message": None})}


def _missing(view: View, phase: Phase) -> Verdict:
    """A ConfigMap that the pod needs does not exist."""
    name, code = view.seen.missing[0], view.seen.spec.code
    if code and code.config_map == name:
        reason = Reason.CODE_MISSING
        message = (
            f"the ConfigMap {name} of spec.code does not exist: make it, for example with "
            f"kubectl create configmap {name} --from-file=train.py"
        )
    else:
        reason = Reason.STORE_MISSING
        place = name.removeprefix(contract.store_object_name(""))
        message = jobfacts.store_missing(place)
    return Verdict(phase, reason, message, "stalled", again=MISSING_EVERY)


def _rereading(view: View, *, changes: tuple[Change, ...] = (), rereads: int | None = None) -> Verdict:
    number = view.seen.status.rereads if rereads is None else rereads
    return Verdict(
        "Running",
        Reason.RECORDING,
        f"the training ended, but the pod that reported it is gone or unreadable: another Job reads the result from "
        f"the store ({number} of {REREADS})",
        changes=changes,
        facts={"rereads": number},
        warning=True,
    )


def _deadline(view: View) -> int | None:
    """Seconds that a Job may take which is made now."""
    total, left = _whole_seconds(view.seen.spec.active_deadline), view.left()
    if total is None:
        return None
    if left is None:
        return total  # it is suspended: all of it counts from when it goes on
    if view.seen.status.start_time is None:
        return max(1, math.ceil(left))
    return max(math.ceil(left), min(total, DEADLINE_FLOOR))


def _whole_seconds(deadline: str | None) -> int | None:
    return None if deadline is None else max(1, round(seconds(deadline)))


def _broken(pod: Manifest) -> str:
    """The container that a failed pod failed in."""
    return CODE_CONTAINER if podfacts.terminated(pod, CODE_CONTAINER).get("exitCode") else CONTAINER


def _git_hint(view: View, trouble: podfacts.Trouble) -> str:
    """What the Secret of the code holds, where the kubelet misses it or a key of it."""
    git = view.seen.spec.code.git if view.seen.spec.code else None
    if (
        trouble.reason != Reason.CONFIG_MISSING
        or git is None
        or git.secret is None
        or git.secret not in trouble.message
    ):
        return ""
    keys = contract.GitKeys
    holds = f"{keys.USERNAME}, {keys.PASSWORD} and {keys.URL} (how the addresses begin that these two may be sent to)"
    if contract.is_ssh(git.url):
        holds = f"{keys.SSH_KEY} and {keys.KNOWN_HOSTS}"
    return f". The Secret {git.secret} of spec.code.git must hold {holds}"


def _end_of(pod: Manifest | None, now: datetime) -> str:
    return _time(podfacts.terminated(pod, CONTAINER).get("finishedAt") if pod else None, now)


def _time(text: str | None, now: datetime) -> str:
    return rfc3339(parse_time(text) if text else now)


# ------------------------------------------------------------------------------------------------------ the plan


def _plan(view: View, verdict: Verdict) -> Plan:
    seen, old = view.seen, view.seen.status
    job_start = (
        (seen.job or {}).get("status", {}).get("startTime") if seen.job and owned_by(seen.job, view.uid) else None
    )
    facts: dict[str, Any] = {
        "observed_generation": seen.run["metadata"]["generation"],
        "phase": verdict.phase,
        "message": verdict.message,
        "job": view.name,
        "start_time": old.start_time or (_time(job_start, view.now) if job_start else None),
        "deadline_since": rfc3339(clock) if (clock := view.clock) else None,
        "attempts": view.attempts,
        "last_attempt": view.last_attempt,
        "conditions": _conditions(seen, verdict, view.now),
        **verdict.facts,
    }
    status = old.model_copy(update=facts)
    return Plan(
        changes=verdict.changes,
        status=status,
        events=_events(old, verdict),
        again=verdict.again,
    )


def _conditions(seen: Observed, verdict: Verdict, now: datetime) -> list[Condition]:
    succeeded: dict[Outlook, Truth] = {"done": "True", "failed": "False"}
    states: tuple[tuple[str, Truth], ...] = (
        ("Succeeded", succeeded.get(verdict.outlook, "Unknown")),
        ("Reconciling", "True" if verdict.outlook == "moving" else "False"),
        ("Stalled", "True" if verdict.outlook in ("stalled", "failed") else "False"),
    )
    wanted = ((kind, state, verdict.reason, verdict.message) for kind, state in states)
    return set_conditions(seen.status.conditions, wanted, seen.run["metadata"]["generation"], now)


def _events(old: TrainingRunStatus, verdict: Verdict) -> tuple[Event, ...]:
    """One Event a decision: when the sentence is a new one."""
    if verdict.quiet or old.message == verdict.message:
        return ()
    bad = verdict.warning or verdict.outlook in ("stalled", "failed")
    return (Event("Warning" if bad else "Normal", verdict.reason, verdict.message),)


def _after_the_end(seen: Observed, now: datetime) -> Plan:
    """The end is recorded: the status stays, the Job goes when its time has come."""
    generation = seen.run["metadata"]["generation"]
    status = seen.status.model_copy(
        update={
            "observed_generation": generation,
            "conditions": [c.model_copy(update={"observed_generation": generation}) for c in seen.status.conditions],
        }
    )
    ttl, end = seen.spec.ttl_after_finished, seen.status.completion_time
    gone = jobfacts.drop(seen.job, seen.run["metadata"]["uid"])
    if ttl is None or end is None or not gone:
        return Plan(status=status)
    left = seconds(ttl) - (now - parse_time(end)).total_seconds()
    if left > 0:
        return Plan(status=status, again=left)
    return Plan(
        changes=gone,
        status=status,
        events=(
            Event(
                "Normal",
                "JobDeleted",
                f"the Job and its pods were deleted {duration(seconds(ttl))} after the end (spec.ttlAfterFinished)",
            ),
        ),
    )
