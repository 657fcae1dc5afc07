"""Which events happened and which guards hold, each as one question to the situation. Pure.

The machine names them (``machine.Event``, ``machine.Guard``); what they mean stands here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from slipway.api.common import parse_time
from slipway.serving import children
from slipway.serving.rollout import program
from slipway.serving.rollout.machine import VERBS, Event, Guard, State
from slipway.serving.rollout.situation import Situation
from slipway.serving.words import crash


def happened(s: Situation, event: Event) -> bool:
    """Whether an event happened, as far as this observation shows."""
    if event in VERBS:
        return s.verb is event
    return _HAPPENED[event](s)


def holds(s: Situation, guard: Guard) -> bool:
    """Whether a guard holds."""
    return _HOLDS[guard](s)


def _unwanted(s: Situation) -> bool:
    wanted = s.observed.target.wanted
    under_way = s.candidate or (s.facts.rollout.target if s.facts.rollout else None)
    return wanted is not None and under_way is not None and wanted != under_way


def _hopeless(s: Situation) -> bool:
    said, rollout = s.candidate_words, s.facts.rollout
    if said is None or not said.hopeless or rollout is None:
        return False
    # What was said before a retry was about what has been mended since.
    return said.said_at is None or parse_time(said.said_at) >= parse_time(rollout.started_at)


def _ready(s: Situation) -> bool:
    return s.candidate_whole and (s.stable is None or (s.settled and s.candidate in s.backends and s.preview_ready))


def _held(s: Situation) -> bool:
    has_it = s.candidate in s.seen.holds and s.weight >= s.asked
    return s.settled and s.candidate_whole and has_it


def _emptied(s: Situation) -> bool:
    return s.candidate not in s.seen.holds or s.settled


def _verdicts(s: Situation) -> dict[str, str]:
    return {entry.metric: entry.verdict for entry in s.facts.analysis}


def _harm(s: Situation) -> bool:
    found = _verdicts(s)
    return any(found.get(metric.name) == "Harm" for metric in s.watched)


def _passed(s: Situation) -> bool:
    if s.state is State.TESTING:
        return s.test is not None and children.job_ended(s.test) == "Complete"
    found, begin = _verdicts(s), s.judged_from
    shown = all(found.get(metric.name) == "NoHarm" for metric in s.watched)
    return bool(s.watched) and shown and _past(begin, s.now) and s.in_place


def _crashed(s: Situation) -> bool:
    begun = s.facts.rollout.whole_at if s.facts.rollout else None
    if begun is None:
        return False
    return crash(s.runs_candidate, begun, s.runs_stable) is not None


def _past(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and now >= moment


_HAPPENED: Mapping[Event, Callable[[Situation], bool]] = {
    Event.UNWANTED: _unwanted,
    Event.HOPELESS: _hopeless,
    Event.WANTED: lambda s: s.fit,
    Event.READY: _ready,
    Event.HELD: _held,
    Event.WAITED: lambda s: _past(s.pause_ends, s.now),
    Event.HARM: _harm,
    Event.PASSED: _passed,
    Event.FAILED: lambda s: s.test is not None and children.job_ended(s.test) == "Failed",
    Event.CRASHED: _crashed,
    Event.INCONCLUSIVE: lambda s: _past(s.inconclusive_at, s.now),
    Event.EMPTIED: _emptied,
    Event.DEADLINE: lambda s: _past(s.deadline, s.now),
}


def _next_is(state: State) -> Callable[[Situation], bool]:
    return lambda s: program.at(s.steps, program.following(s.facts, s.steps)).state is state


def _here_is(state: State) -> Callable[[Situation], bool]:
    return lambda s: s.facts.step is not None and program.at(s.steps, s.facts.step.index).state is state


_HOLDS: Mapping[Guard, Callable[[Situation], bool]] = {
    Guard.NEXT_IS_WEIGHT: _next_is(State.STEP),
    Guard.NEXT_IS_TIMED: _next_is(State.WAIT),
    Guard.NEXT_IS_OPEN: _next_is(State.PAUSED),
    Guard.NEXT_IS_ANALYSIS: _next_is(State.ANALYSING),
    Guard.NEXT_IS_SHADOW: _next_is(State.SHADOWING),
    Guard.NEXT_IS_TEST: _next_is(State.TESTING),
    Guard.NEXT_IS_END: _next_is(State.PROMOTING),
    Guard.HERE_IS_START: lambda s: s.facts.step is None,
    Guard.HERE_IS_WEIGHT: _here_is(State.STEP),
    Guard.HERE_IS_TIMED: _here_is(State.WAIT),
    Guard.HERE_IS_OPEN: _here_is(State.PAUSED),
    Guard.HERE_IS_ANALYSIS: _here_is(State.ANALYSING),
    Guard.HERE_IS_SHADOW: _here_is(State.SHADOWING),
    Guard.HERE_IS_TEST: _here_is(State.TESTING),
    Guard.ELSE_PROMOTE: lambda s: s.on_inconclusive == "Promote",
    Guard.ELSE_ABORT: lambda s: s.on_inconclusive == "Abort",
    Guard.HERE_IS_END: _here_is(State.PROMOTING),
    Guard.BY_PERSON: lambda s: bool(s.facts.rollout and s.facts.rollout.paused_at),
    Guard.GIVEN_UP: lambda s: bool(s.facts.rollout and s.facts.rollout.aborted_at),
    Guard.SAME_TARGET: lambda s: s.observed.target.wanted == s.candidate,
    Guard.FIT: lambda s: s.fit,
    Guard.STILL_RUNS: lambda s: s.still_runs,
    Guard.SERVED_BEFORE: lambda s: s.served_before(s.observed.target.wanted),
}
