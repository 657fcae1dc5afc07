"""What each effect of the table changes in the recorded facts, and the sentence about it. Pure.

An effect touches nothing but facts: the children follow from the facts in the next pass. So a decision is exactly one
write, and an operator that dies right before or after it finds either the old facts or the new ones, never a half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from slipway import podfacts
from slipway.api.common import duration, rfc3339, seconds
from slipway.api.deployment import (
    FIRST_VERSION,
    ComparisonTerms,
    DeploymentStatus,
    HistoryEntry,
    Retiring,
    Rollout,
    Step,
    VersionStatus,
    Weights,
)
from slipway.api.reasons import Reason
from slipway.serving import children
from slipway.serving.analysis import judge
from slipway.serving.rollout import program, rollback
from slipway.serving.rollout.machine import VERBS, Effect, Event, Row, State
from slipway.serving.rollout.situation import Situation
from slipway.serving.words import crash, summary

KEPT: Final = 3
"""Versions that may wait for their scale-down at a time; whoever changes the version faster keeps the newest."""
_REASON_LIMIT: Final = 1024


@dataclass(frozen=True)
class Decision:
    """New facts, and what to tell about them."""

    facts: DeploymentStatus
    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


def carry_out(situation: Situation, row: Row) -> Decision:
    """The decision of a row of the table."""
    return _EFFECTS[row.effect](situation, row)


# ------------------------------------------------------------------------------------------------------- begin


def _begin(s: Situation, row: Row) -> Decision:
    target = s.observed.target.wanted
    assert target is not None  # the event WANTED and the guard FIT say so
    # At 0 replicas nobody is answered, so nothing can be compared or harmed.
    facts = _with_candidate(s, target, full=s.stable is not None and s.spec.replicas == 0)
    if s.stable is None:
        return Decision(facts, row.reason, f"{target} is the first version: it serves as soon as it is ready")
    if s.spec.replicas == 0:
        return Decision(facts, row.reason, f"{s.kind} {target} begins without steps: spec.replicas is 0")
    steps = _count(len(s.steps), "step")
    return Decision(facts, row.reason, f"{s.kind} {target} begins: {steps}, {s.stable} is the stable one")


def _go_back(s: Situation, row: Row) -> Decision:
    target = s.observed.target.wanted
    assert target is not None  # the guards STILL_RUNS and SERVED_BEFORE say so
    facts = _with_candidate(s, target, full=True)
    if s.still_runs:
        kept = s.observed.of(target).ready
        if kept < s.spec.replicas:
            some = f"{kept} of {_count(s.spec.replicas, 'replica')} still run, the others are started first"
            return Decision(facts, row.reason, f"back to {target} without the steps: {some}")
        return Decision(facts, row.reason, f"back to {target} at once: its {_count(kept, 'replica')} still run")
    window = s.spec.strategy.rollback_window
    why = f"it is within rollbackWindow {window}, so it gets 100% without the steps as soon as it is ready"
    return Decision(facts, row.reason, f"back to {target}: {why}")


def _with_candidate(s: Situation, target: str, *, full: bool) -> DeploymentStatus:
    name = children.child_name(s.observed.name, target)
    others = [r for r in s.facts.retiring if r.model_version != target]
    if s.spec.route is None:
        # One Service that selects every pod that serves cannot leave a third version out: those make room now.
        others = [_due(r, s) for r in others]
    return s.facts.model_copy(
        update={
            "candidate": VersionStatus(
                model_version=target, workload=name, service=name, comparison=_comparison(s, target, full=full)
            ),
            "rollout": Rollout(target=target, started_at=rfc3339(s.now), full=full),
            "step": None,
            "analysis": [],
            "looked": None,
            "retiring": others,
        }
    )


def _comparison(s: Situation, target: str, *, full: bool) -> ComparisonTerms | None:
    """How the candidate's servers compare, as the spec says now. One that goes back and skips the steps keeps what its
    running pods have: they must not be replaced on the way."""
    record = s.retiring(target)
    if full or s.stable is None:
        return record.comparison if record else None
    terms = next((step.shadow for step in s.steps if step.shadow), None)
    if terms is None:
        return None
    tolerance = terms.tolerance
    return ComparisonTerms(absolute=tolerance.absolute, relative=tolerance.relative, examples=terms.keep_examples)


def _restart(s: Situation, row: Row) -> Decision:
    assert s.candidate is not None  # the states FIRST and RETREATING have one
    rollout = Rollout(target=s.candidate, started_at=rfc3339(s.now), full=s.served_before(s.candidate))
    return Decision(
        s.facts.model_copy(update={"rollout": rollout, "step": None, "analysis": [], "looked": None}),
        row.reason,
        f"{s.candidate} begins anew",
    )


# ----------------------------------------------------------------------------------------------------- forward


def _advance(s: Situation, row: Row) -> Decision:
    end = len(s.steps)
    index = program.following(s.facts, s.steps)
    to = program.at(s.steps, index)
    facts = s.facts.model_copy(
        update={
            "step": Step(index=index, of=end, started_at=rfc3339(s.now)),
            "rollout": _rollout(s, paused_at=None, message="", whole_at=_whole_at(s)),
            "analysis": judge.next_step(s.facts.analysis),
        }
    )
    so_far = _found(s) if row.event in (Event.PASSED, Event.INCONCLUSIVE) else ""
    if row.next is State.PROMOTING:
        return Decision(facts, row.reason, f"{s.kind} {s.candidate}: {so_far}all steps are done, it gets 100%")
    return Decision(
        facts, row.reason, f"{s.kind} {s.candidate}: {so_far}step {index + 1} of {end}, {_NEXT[row.next](to)}"
    )


def _skip(s: Situation, row: Row) -> Decision:
    end = len(s.steps)
    step = Step(index=end, of=end, started_at=rfc3339(s.now)) if s.facts.step else None
    facts = s.facts.model_copy(
        update={
            "step": step,
            "rollout": _rollout(s, full=True, paused_at=None, message=""),
            "analysis": judge.next_step(s.facts.analysis),
        }
    )
    when = "it gets 100%" if step else "it gets 100% as soon as it is ready"
    return Decision(facts, row.reason, f"{s.kind} {s.candidate}: the steps are skipped, {when}")


def _hold(s: Situation, row: Row) -> Decision:
    if row.event is Event.INCONCLUSIVE:
        why = f"{_found(s)}no verdict within {s.longest}"
    else:
        why = f"{s.observed.action_by or 'a person'} said pause"
    facts = s.facts.model_copy(update={"rollout": _rollout(s, paused_at=rfc3339(s.now), message=why)})
    told = f"{s.kind} {s.candidate} is held at {_weight(s)}%: {why}. Say resume, promote or abort"
    return Decision(facts, row.reason, told, "Warning" if row.event is Event.INCONCLUSIVE else "Normal")


def _release(s: Situation, row: Row) -> Decision:
    now = rfc3339(s.now)
    step = s.facts.step.model_copy(update={"started_at": now}) if s.facts.step else None
    # Before the first step it is the start that is timed: the deadline must not count the time it was held.
    rollout = _rollout(s, paused_at=None, message="")
    rollout = rollout if step else rollout.model_copy(update={"started_at": now})
    facts = s.facts.model_copy(update={"step": step, "rollout": rollout})
    return Decision(facts, row.reason, f"{s.kind} {s.candidate} goes on at {_weight(s)}%")


def _enthrone(s: Situation, row: Row) -> Decision:
    delay = s.spec.strategy.scale_down_delay
    old = s.facts.stable
    story = _story(s, old)
    facts = _closed(s, "Promoted", story).model_copy(
        update={
            "stable": s.facts.candidate,
            "candidate": None,
            "rollout": None,
            "step": None,
            "looked": None,
            # What was counted by side means something else from now on: the sides have changed.
            "weights": _uncounted(s),
            "retiring": _retiring(s, old, was_stable=True),
        }
    )
    if old is None:
        return Decision(facts, row.reason, f"{s.candidate} is the first version that serves")
    kept = _count(s.observed.of(old.model_version).replicas, "replica")
    then = f"keeps its {kept} for {delay}" if s.surge else f"gives its {kept} back"
    return Decision(facts, row.reason, f"{s.candidate} was promoted; {old.model_version} {then}")


def _story(s: Situation, old: VersionStatus | None) -> str:
    """How it came to serve."""
    if old is None:
        return FIRST_VERSION
    new, before = s.observed.versions.get(s.candidate or ""), s.observed.versions.get(old.model_version)
    if new and before and rollback.is_back(s.facts, new.number, before.number):
        return f"rolled back to {s.candidate} from {old.model_version}"
    return f"replaced {old.model_version}"


# -------------------------------------------------------------------------------------------------------- back


def _abort(s: Situation, row: Row) -> Decision:
    reason, why = _why(s, row)
    share = f" at {_weight(s)}%" if _weight(s) else ""
    message = f"the rollout of {s.candidate} was aborted{share}: {why}"
    rollout = _rollout(s, aborted_at=rfc3339(s.now), paused_at=None, reason=reason, message=message)
    facts = _closed(s, "Aborted", why).model_copy(
        update={"rollout": rollout, "step": None, "looked": None, "weights": _uncounted(s)}
    )
    return Decision(facts, reason, message, "Warning")


def _why(s: Situation, row: Row) -> tuple[str, str]:
    said = s.candidate_words
    if row.event is Event.HOPELESS and said:
        return said.reason, said.message
    if row.event is Event.DEADLINE:
        ready, asked = s.runs_candidate.ready, s.candidate_need
        text = f"{ready} of {_count(asked, 'replica')} ready within {s.spec.progress_deadline}"
        return row.reason, f"{text}: {said.message}" if said else text
    if row.event is Event.HARM:
        harm = [e.message for e in s.facts.analysis if e.verdict == "Harm"]
        counted = max((e.candidate.n for e in s.facts.analysis if e.verdict == "Harm"), default=0)
        return row.reason, f"{'; '.join(harm)}, after {_count(counted, 'request')} of this step"
    if row.event is Event.INCONCLUSIVE:
        return row.reason, f"{_found(s)}no verdict within {s.longest}"
    if row.event is Event.FAILED:
        return row.reason, _test_words(s)
    if row.event is Event.CRASHED and s.facts.rollout and s.facts.rollout.whole_at:
        how = crash(s.runs_candidate, s.facts.rollout.whole_at, s.runs_stable)
        return row.reason, f"it crashed: {how.message}" if how else "it crashed"
    return row.reason, f"{s.observed.action_by or 'a person'} said abort"


def _test_words(s: Situation) -> str:
    """Why the person's Job did not end well, in its own words."""
    name = s.test["metadata"]["name"] if s.test else ""
    pods = [p for p in s.observed.test_pods if children.of_job(p, name)]
    for pod in podfacts.newest_first(pods):
        if said := podfacts.ended(pod, children.TEST, "blueGreen.prePromotion.job.resources.memory"):
            return f"the test failed: {said.message}"
    return f"the test failed: {children.job_message(s.test)}"


def _supersede(s: Situation, row: Row) -> Decision:
    wanted = s.observed.target.wanted
    why = f"the spec asks for {wanted} now"
    facts = _closed(s, "Superseded", why).model_copy(
        update={"rollout": None, "step": None, "analysis": [], "looked": None, "weights": _uncounted(s)}
    )
    return Decision(facts, row.reason, f"{s.kind} {s.candidate} makes room at {_weight(s)}%: {why}")


def _drop(s: Situation, row: Row) -> Decision:
    why = f"the spec asks for {s.observed.target.wanted} now"
    facts = _closed(s, "Superseded", why).model_copy(update={"candidate": None, "rollout": None, "step": None})
    return Decision(facts, row.reason, f"{s.candidate} is dropped before it served: {why}")


def _retire(s: Situation, row: Row) -> Decision:
    # One that no client ever reached has nothing to wait for.
    reached = s.candidate in s.seen.holds or (s.spec.route is None and s.runs_candidate.ready > 0)
    retiring = _retiring(s, s.facts.candidate, was_stable=False) if reached else s.facts.retiring
    facts = s.facts.model_copy(update={"candidate": None, "step": None, "retiring": retiring})
    waits = reached and s.surge
    kept = f"keeps its replicas for {s.spec.strategy.scale_down_delay}" if waits else "is removed"
    return Decision(facts, row.reason, f"{s.stable} has all traffic again; {s.candidate} {kept}")


def _forget(s: Situation, row: Row) -> Decision:
    target = s.facts.rollout.target if s.facts.rollout else None
    facts = s.facts.model_copy(update={"rollout": None})
    return Decision(facts, row.reason, f"{target} is not asked for any more")


def _refuse(s: Situation, row: Row) -> Decision:
    return refusal(s, f"{row.event.value} was not carried out: {row.answer}")


def refusal(s: Situation, message: str) -> Decision:
    """Nothing changes; the person who asked is told why."""
    return Decision(s.facts, Reason.ACTION_REFUSED, message, "Warning")


# --------------------------------------------------------------------------------------------------- retirement


def retired(s: Situation) -> Decision | None:
    """The versions that may go now: their time has come, and the traffic was seen to do without them."""
    gone = [
        r.model_version
        for r in s.facts.retiring
        if s.settled and r.model_version not in s.seen.holds and r.model_version not in s.backends
    ]
    if not gone:
        return None
    facts = s.facts.model_copy(update={"retiring": [r for r in s.facts.retiring if r.model_version not in gone]})
    return Decision(facts, Reason.RETIRED, f"{', '.join(gone)} had no traffic any more and gives its replicas back")


def _retiring(s: Situation, version: VersionStatus | None, *, was_stable: bool) -> list[Retiring]:
    if version is None:
        return s.facts.retiring
    # Without room for both, those that wait keep others from starting.
    delay = seconds(s.spec.strategy.scale_down_delay) if s.surge else 0.0
    until = rfc3339(s.now + timedelta(seconds=delay))
    record = Retiring(**version.model_dump(), scale_down_at=until, was_stable=was_stable)
    others = [r for r in s.facts.retiring if r.model_version != version.model_version]
    return [record, *(r if i < KEPT - 1 else _due(r, s) for i, r in enumerate(others))]


def _due(record: Retiring, s: Situation) -> Retiring:
    return record.model_copy(update={"scale_down_at": min(record.scale_down_at, rfc3339(s.now))})


# -------------------------------------------------------------------------------------------------------- verbs


def is_verb(row: Row) -> bool:
    """Whether a person caused it."""
    return row.event in VERBS


# ------------------------------------------------------------------------------------------------------- helpers


def _closed(s: Situation, outcome: Literal["Promoted", "Aborted", "Superseded"], why: str) -> DeploymentStatus:
    """The facts with this rollout in their history, the newest first."""
    assert s.candidate is not None
    assert s.facts.rollout is not None
    entry = HistoryEntry(
        model_version=s.candidate,
        from_=s.facts.rollout.started_at,
        to=rfc3339(s.now),
        outcome=outcome,
        reason=why[:_REASON_LIMIT],
    )
    spec = s.spec
    history = rollback.kept([entry, *s.facts.history], spec.history_limit, spec.strategy.rollback_window)
    return s.facts.model_copy(update={"history": history})


def _rollout(s: Situation, **changed: object) -> Rollout:
    assert s.facts.rollout is not None  # every state of a rollout has one
    return s.facts.rollout.model_copy(update=changed)


def _uncounted(s: Situation) -> Weights | None:
    """The fact about traffic without what was counted on the way here."""
    return s.facts.weights.model_copy(update={"counted": None}) if s.facts.weights else None


def _weight(s: Situation) -> int:
    return s.weights.candidate if s.weights else 0


def _whole_at(s: Situation) -> str:
    assert s.facts.rollout is not None  # every state of a rollout has one
    return s.facts.rollout.whole_at or rfc3339(s.now)


def _found(s: Situation) -> str:
    """What was measured, before what follows from it."""
    told = summary(s.facts)
    return f"{told}; " if told else ""


def _reaches(step: program.Step) -> str:
    header = f"requests with {step.header.name}: {step.header.value} reach it, " if step.header else ""
    return f"{header}weight {step.weight}%"


_NEXT: Final[Mapping[State, Callable[[program.Step], str]]] = {
    State.STEP: _reaches,
    State.WAIT: lambda step: f"pauses {duration(step.lasts or 0.0)}",
    State.PAUSED: lambda step: "waits for a person: promote or abort",
    State.ANALYSING: lambda step: f"waits for evidence at weight {step.weight}%",
    State.SHADOWING: lambda step: f"gets copies of {step.mirror}% of the requests",
    State.TESTING: lambda step: "is tested by a Job",
}


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


_EFFECTS: Final[Mapping[Effect, Callable[[Situation, Row], Decision]]] = {
    Effect.BEGIN: _begin,
    Effect.GO_BACK: _go_back,
    Effect.DROP: _drop,
    Effect.ENTHRONE: _enthrone,
    Effect.ADVANCE: _advance,
    Effect.HOLD: _hold,
    Effect.RELEASE: _release,
    Effect.SKIP: _skip,
    Effect.ABORT: _abort,
    Effect.SUPERSEDE: _supersede,
    Effect.RETIRE: _retire,
    Effect.FORGET: _forget,
    Effect.RESTART: _restart,
    Effect.REFUSE: _refuse,
}
