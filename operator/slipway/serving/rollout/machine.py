"""The states of a Deployment and what moves it between them, as data.

Nothing here reads or writes. ``situation`` says which state holds, what happened and which guards hold;
``effects`` says what each effect changes in the recorded facts. ``make generate`` writes the drawing and the table
to ``docs/reference/rollout-states.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Final

from slipway.api.reasons import Reason


class _Named(StrEnum):
    """A name with one sentence of meaning."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> _Named:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class State(_Named):
    """Where a Deployment stands. Derived from recorded facts and the spec, never recorded itself."""

    EMPTY = "Empty", "Nothing runs: the version that the spec asks for cannot be had yet."
    FIRST = "First", "The first version starts; there is nothing to compare it with, so there are no steps."
    HEALTHY = "Healthy", "One version serves and no rollout runs."
    STARTING = "Starting", "The candidate starts its replicas and joins the route at weight 0."
    STEP = "Step", "The candidate's weight, or who else reaches it, is moved to what the step asks."
    ANALYSING = "Analysing", "The evidence is awaited that the candidate does no harm."
    SHADOWING = "Shadowing", "The candidate gets copies of requests, and its answers are compared."
    TESTING = "Testing", "A person's Job judges the candidate."
    WAIT = "Wait", "A pause with a duration."
    PAUSED = "Paused", "A pause until a person says promote, resume or abort."
    PROMOTING = "Promoting", "All steps are done: the candidate gets everything."
    RETREATING = "Retreating", "The candidate's weight goes back to 0."
    ABORTED = "Aborted", "The rollout was given up; the stable version serves until retry or another version."


class Event(_Named):
    """What can happen. The first that happened and has a row decides the pass: persons come before everything."""

    ABORT = "abort", "A person said abort."
    PAUSE = "pause", "A person said pause."
    RESUME = "resume", "A person said resume."
    RETRY = "retry", "A person said retry."
    PROMOTE = "promote", "A person said promote."
    PROMOTE_FULL = "promote-full", "A person said promote-full."
    UNWANTED = "unwanted", "The spec asks for another version than the one on its way (or given up)."
    HOPELESS = "hopeless", "A pod of the candidate ended with a failure that trying again cannot help."
    HARM = "harm", "The evidence says that the candidate is worse than it may be."
    FAILED = "failed", "The person's Job did not end with 0."
    CRASHED = "crashed", "A pod of the candidate crashed after the steps had begun."
    WANTED = "wanted", "The spec asks for a version that is not the stable one and is fit to serve."
    READY = "ready", "All replicas of the new version are ready, and the gateway knows it at weight 0."
    HELD = "held", "The step's weight is written and the gateway was seen to follow."
    WAITED = "waited", "The pause's duration is over."
    PASSED = "passed", "The evidence says that the candidate does no harm, or the person's Job ended with 0."
    INCONCLUSIVE = "inconclusive", "spec.analysis.maxDuration is over, and the evidence says neither."
    EMPTIED = "emptied", "The candidate's weight 0 is verified."
    DEADLINE = "deadline", "The candidate was not ready within spec.progressDeadline."


VERBS: Final = (Event.ABORT, Event.PAUSE, Event.RESUME, Event.RETRY, Event.PROMOTE, Event.PROMOTE_FULL)
"""The events that a person causes by the annotation ``slipway.dev/action``."""


class Guard(_Named):
    """What must also hold."""

    NEXT_IS_WEIGHT = "next is a weight", "The next step is setWeight or headerRoute."
    NEXT_IS_TIMED = "next is a timed pause", "The next step is a pause with a duration."
    NEXT_IS_OPEN = "next is an open pause", "The next step is a pause without a duration."
    NEXT_IS_ANALYSIS = "next is an analysis", "The next step is an analysis."
    NEXT_IS_SHADOW = "next is a shadow", "The next step is a comparison of answers."
    NEXT_IS_TEST = "next is a test", "The next step is a person's Job."
    NEXT_IS_END = "no step is left", "There is no next step, or promote-full was said."
    HERE_IS_START = "before the first step", "The candidate has not begun its steps."
    HERE_IS_WEIGHT = "at a weight", "The present step is setWeight or headerRoute."
    HERE_IS_TIMED = "at a timed pause", "The present step is a pause with a duration."
    HERE_IS_OPEN = "at an open pause", "The present step is a pause without a duration."
    HERE_IS_ANALYSIS = "at an analysis", "The present step is an analysis."
    HERE_IS_SHADOW = "at a shadow", "The present step is a comparison of answers."
    HERE_IS_TEST = "at a test", "The present step is a person's Job."
    HERE_IS_END = "after the last step", "All steps are done."
    BY_PERSON = "held", "The rollout is held by a person, or by an analysis without a verdict, and not by a step."
    ELSE_PROMOTE = "onInconclusive: Promote", "Without a verdict the rollout goes on."
    ELSE_ABORT = "onInconclusive: Abort", "Without a verdict the rollout is given up."
    GIVEN_UP = "given up", "The rollout was aborted, not superseded."
    SAME_TARGET = "still wanted", "The spec still asks for the candidate."
    FIT = "fit to serve", "The version that the spec asks for is Ready and is not the stable one."
    STILL_RUNS = "its replicas still run", "The version was stable before and has kept all its replicas."
    SERVED_BEFORE = "in the rollback window", "The version served before, no further back than rollbackWindow says."


class Effect(_Named):
    """What changes in the recorded facts."""

    BEGIN = "begin", "The version that the spec asks for becomes the candidate."
    GO_BACK = "go back", "A version that served before becomes the candidate and skips the steps."
    DROP = "drop", "The first version is forgotten before it served."
    ENTHRONE = "enthrone", "The candidate becomes the stable version; the old one keeps its replicas for a while."
    ADVANCE = "advance", "The next step begins."
    HOLD = "hold", "The rollout stays where it is until a person speaks."
    RELEASE = "release", "The rollout goes on where it was held; a timed pause begins anew."
    SKIP = "skip", "The steps are skipped."
    ABORT = "abort", "The rollout is given up."
    SUPERSEDE = "supersede", "The candidate makes room for another version."
    RETIRE = "retire", "The candidate, without traffic now, keeps its replicas for a while."
    FORGET = "forget", "The rollout that was given up is forgotten."
    RESTART = "restart", "The rollout begins anew, and so does its deadline."
    REFUSE = "refuse", "Nothing changes; the answer says why."


@dataclass(frozen=True)
class Row:
    """One line of the table. ``answer`` is the sentence for a verb that is refused."""

    state: State
    event: Event
    when: tuple[Guard, ...]
    next: State
    effect: Effect
    reason: Reason
    answer: str = ""


S, E, G, F, R = State, Event, Guard, Effect, Reason
_JUDGED: Final = (S.ANALYSING, S.SHADOWING, S.TESTING)
"""States that wait for a verdict."""
_STEPS: Final = (S.STEP, *_JUDGED, S.WAIT, S.PAUSED, S.PROMOTING)
"""States in which the steps have begun."""
_RUNNING: Final = (S.STARTING, *_STEPS)
"""States of a rollout that goes forward."""
_NO_ROLLOUT: Final = "no rollout is running"


def _advance(state: State, event: Event, *when: Guard) -> Iterator[Row]:
    """The next step may be of any sort."""
    for guard, to in (
        (G.NEXT_IS_WEIGHT, S.STEP),
        (G.NEXT_IS_TIMED, S.WAIT),
        (G.NEXT_IS_OPEN, S.PAUSED),
        (G.NEXT_IS_ANALYSIS, S.ANALYSING),
        (G.NEXT_IS_SHADOW, S.SHADOWING),
        (G.NEXT_IS_TEST, S.TESTING),
        (G.NEXT_IS_END, S.PROMOTING),
    ):
        yield Row(state, event, (*when, guard), to, F.ADVANCE, R.STEP_RUNNING)


def _release(event: Event) -> Iterator[Row]:
    """A rollout that a person held goes on where it was."""
    for guard, to in (
        (G.HERE_IS_START, S.STARTING),
        (G.HERE_IS_WEIGHT, S.STEP),
        (G.HERE_IS_TIMED, S.WAIT),
        (G.HERE_IS_OPEN, S.PAUSED),
        (G.HERE_IS_ANALYSIS, S.ANALYSING),
        (G.HERE_IS_SHADOW, S.SHADOWING),
        (G.HERE_IS_TEST, S.TESTING),
        (G.HERE_IS_END, S.PROMOTING),
    ):
        yield Row(S.PAUSED, event, (G.BY_PERSON, guard), to, F.RELEASE, R.RESUMED)


def _inconclusive(state: State) -> Iterator[Row]:
    """An analysis that came to no verdict."""
    event, reason = Event.INCONCLUSIVE, R.ANALYSIS_INCONCLUSIVE
    for row in _advance(state, event, G.ELSE_PROMOTE):
        yield replace(row, reason=reason)
    yield Row(state, event, (G.ELSE_ABORT,), S.RETREATING, F.ABORT, reason)
    yield Row(state, event, (), S.PAUSED, F.HOLD, reason)


def _refuse(event: Event, answers: dict[State, str]) -> Iterator[Row]:
    for state, answer in answers.items():
        yield Row(state, event, (), state, F.REFUSE, R.ACTION_REFUSED, answer)


def _each(states: Iterable[State], event: Event, to: State, effect: Effect, reason: Reason) -> Iterator[Row]:
    for state in states:
        yield Row(state, event, (), to, effect, reason)


def _same(answer: str, *states: State) -> dict[State, str]:
    return dict.fromkeys(states, answer)


TABLE: Final[tuple[Row, ...]] = (
    # The spec asks for a version.
    Row(S.EMPTY, E.WANTED, (), S.FIRST, F.BEGIN, R.ROLLOUT_STARTED),
    Row(S.HEALTHY, E.WANTED, (G.STILL_RUNS,), S.STARTING, F.GO_BACK, R.ROLLOUT_STARTED),
    Row(S.HEALTHY, E.WANTED, (G.SERVED_BEFORE,), S.STARTING, F.GO_BACK, R.ROLLOUT_STARTED),
    Row(S.HEALTHY, E.WANTED, (), S.STARTING, F.BEGIN, R.ROLLOUT_STARTED),
    Row(S.FIRST, E.UNWANTED, (), S.EMPTY, F.DROP, R.SUPERSEDED),
    *_each(_RUNNING, E.UNWANTED, S.RETREATING, F.SUPERSEDE, R.SUPERSEDED),
    Row(S.ABORTED, E.UNWANTED, (), S.HEALTHY, F.FORGET, R.SUPERSEDED),
    # Forward.
    Row(S.FIRST, E.READY, (), S.HEALTHY, F.ENTHRONE, R.PROMOTED),
    *_advance(S.STARTING, E.READY),
    *_advance(S.STEP, E.HELD),
    *_advance(S.WAIT, E.WAITED),
    *(replace(row, reason=R.TEST_PASSED) for row in _advance(S.TESTING, E.PASSED)),
    *(
        replace(row, reason=R.ANALYSIS_PASSED)
        for state in (S.ANALYSING, S.SHADOWING)
        for row in _advance(state, E.PASSED)
    ),
    *(row for state in (S.ANALYSING, S.SHADOWING) for row in _inconclusive(state)),
    Row(S.PROMOTING, E.HELD, (), S.HEALTHY, F.ENTHRONE, R.PROMOTED),
    # Back.
    *_each(_RUNNING, E.HOPELESS, S.RETREATING, F.ABORT, R.ABORTED),
    *_each(_STEPS, E.HARM, S.RETREATING, F.ABORT, R.HARM_FOUND),
    Row(S.TESTING, E.FAILED, (), S.RETREATING, F.ABORT, R.TEST_FAILED),
    *_each(_STEPS, E.CRASHED, S.RETREATING, F.ABORT, R.CANDIDATE_CRASHED),
    *_each((S.STARTING, S.STEP, S.PROMOTING), E.DEADLINE, S.RETREATING, F.ABORT, R.PROGRESS_DEADLINE_EXCEEDED),
    Row(S.RETREATING, E.EMPTIED, (G.GIVEN_UP,), S.ABORTED, F.RETIRE, R.ABORTED),
    Row(S.RETREATING, E.EMPTIED, (), S.HEALTHY, F.RETIRE, R.SUPERSEDED),
    # A person speaks.
    *_each(_RUNNING, E.ABORT, S.RETREATING, F.ABORT, R.ABORTED),
    *_refuse(
        E.ABORT,
        {
            **_same(f"there is nothing to abort: {_NO_ROLLOUT}", S.EMPTY, S.HEALTHY),
            S.FIRST: "there is no version to go back to: this is the first one. Set spec.modelVersion to another "
            "version, or delete the Deployment",
            S.RETREATING: "the candidate is already on its way out",
            S.ABORTED: "the rollout was aborted already",
        },
    ),
    *_each((S.STARTING, S.STEP, *_JUDGED, S.WAIT, S.PROMOTING), E.PAUSE, S.PAUSED, F.HOLD, R.PAUSED),
    *_refuse(
        E.PAUSE,
        {
            **_same(f"there is nothing to pause: {_NO_ROLLOUT}", S.EMPTY, S.HEALTHY, S.ABORTED),
            S.FIRST: "there is nothing to pause: the first version starts without steps",
            S.PAUSED: "the rollout is paused already: promote, resume or abort",
            S.RETREATING: "the candidate is on its way out, which is not paused",
        },
    ),
    *_release(E.RESUME),
    *_advance(S.PAUSED, E.RESUME),
    *_refuse(
        E.RESUME,
        {
            **_same(f"there is nothing to resume: {_NO_ROLLOUT}", S.EMPTY, S.FIRST, S.HEALTHY),
            **_same(
                "there is nothing to resume: the rollout is not paused",
                *(S.STARTING, S.STEP, *_JUDGED, S.WAIT, S.PROMOTING),
            ),
            S.RETREATING: "there is nothing to resume: the candidate is on its way out",
            S.ABORTED: "the rollout was aborted: say retry to begin it anew",
        },
    ),
    Row(S.FIRST, E.RETRY, (), S.FIRST, F.RESTART, R.ROLLOUT_STARTED),
    Row(S.RETREATING, E.RETRY, (G.GIVEN_UP, G.SAME_TARGET), S.STARTING, F.RESTART, R.ROLLOUT_STARTED),
    Row(S.ABORTED, E.RETRY, (G.FIT, G.SERVED_BEFORE), S.STARTING, F.GO_BACK, R.ROLLOUT_STARTED),
    Row(S.ABORTED, E.RETRY, (G.FIT,), S.STARTING, F.BEGIN, R.ROLLOUT_STARTED),
    *_refuse(
        E.RETRY,
        {
            **_same(f"there is nothing to retry: {_NO_ROLLOUT}", S.EMPTY, S.HEALTHY),
            **_same("there is nothing to retry: the rollout was not aborted", *_RUNNING),
            S.RETREATING: "there is nothing to retry: another version takes the candidate's place",
            S.ABORTED: "the version that the spec asks for is not fit to serve",
        },
    ),
    Row(S.PAUSED, E.PROMOTE, (G.BY_PERSON, G.HERE_IS_START), S.STARTING, F.RELEASE, R.RESUMED),
    Row(S.PAUSED, E.PROMOTE, (G.BY_PERSON, G.HERE_IS_END), S.PROMOTING, F.RELEASE, R.RESUMED),
    *_advance(S.STEP, E.PROMOTE),
    *_advance(S.WAIT, E.PROMOTE),
    *(row for state in _JUDGED for row in _advance(state, E.PROMOTE)),
    *_advance(S.PAUSED, E.PROMOTE),
    *_refuse(
        E.PROMOTE,
        {
            **_same(f"there is nothing to promote: {_NO_ROLLOUT}", S.EMPTY, S.HEALTHY),
            S.FIRST: "there is nothing to promote: the first version serves as soon as it is ready",
            S.STARTING: "the candidate is not ready yet: promote-full skips the steps as soon as it is",
            S.PROMOTING: "the candidate is being promoted already",
            S.RETREATING: "the candidate is on its way out: say retry to begin anew",
            S.ABORTED: "the rollout was aborted: say retry to begin it anew",
        },
    ),
    Row(S.STARTING, E.PROMOTE_FULL, (), S.STARTING, F.SKIP, R.STEP_RUNNING),
    Row(S.PAUSED, E.PROMOTE_FULL, (G.HERE_IS_START,), S.STARTING, F.SKIP, R.STEP_RUNNING),
    *_each((S.STEP, *_JUDGED, S.WAIT, S.PAUSED), E.PROMOTE_FULL, S.PROMOTING, F.SKIP, R.STEP_RUNNING),
    *_refuse(
        E.PROMOTE_FULL,
        {
            **_same(f"there is nothing to promote: {_NO_ROLLOUT}", S.EMPTY, S.HEALTHY),
            S.FIRST: "there is nothing to promote: the first version serves as soon as it is ready",
            S.PROMOTING: "the candidate is being promoted already",
            S.RETREATING: "the candidate is on its way out: say retry to begin anew",
            S.ABORTED: "the rollout was aborted: say retry to begin it anew",
        },
    ),
)


def _but(*those: State) -> tuple[State, ...]:
    return tuple(s for s in S if s not in those)


IGNORED: Final[dict[Event, tuple[tuple[State, ...], str]]] = {
    E.WANTED: (
        (S.FIRST, *_RUNNING, S.RETREATING, S.ABORTED),
        "one version at a time: UNWANTED ends what runs; what was aborted waits for retry",
    ),
    E.UNWANTED: ((S.EMPTY, S.HEALTHY, S.RETREATING), "nothing is on its way, or it is on its way out"),
    E.HOPELESS: (
        (S.EMPTY, S.FIRST, S.HEALTHY, S.RETREATING, S.ABORTED),
        "there is nothing to go back to: the condition Stalled says it, and the pods are tried again",
    ),
    E.HARM: (tuple(s for s in S if s not in _STEPS), "nothing gets traffic whose harm could be measured"),
    E.FAILED: (_but(S.TESTING), "only a test waits for it"),
    E.CRASHED: (
        tuple(s for s in S if s not in _STEPS),
        "a start takes the tries that it takes, and without a rollout there is nothing to go back to",
    ),
    E.READY: (_but(S.FIRST, S.STARTING), "only a start waits for it"),
    E.HELD: (_but(S.STEP, S.PROMOTING), "only a weight waits for it"),
    E.WAITED: (_but(S.WAIT), "only a timed pause waits for it"),
    E.PASSED: (_but(*_JUDGED), "only what is to be judged waits for it"),
    E.INCONCLUSIVE: (_but(S.ANALYSING, S.SHADOWING), "only an analysis has a longest time"),
    E.EMPTIED: (_but(S.RETREATING), "only a retreat waits for it"),
    E.DEADLINE: (
        _but(S.STARTING, S.STEP, S.PROMOTING),
        "a first version has nothing to go back to and says Stalled; a pause and a verdict take their time",
    ),
}
"""For each event the states in which it means nothing, and why. With ``TABLE`` it covers every pair exactly once."""


def answer(state: State, event: Event, holds: Callable[[Guard], bool]) -> Row | None:
    """The first row of this state and event whose guards hold; None where the event means nothing here."""
    return next((r for r in TABLE if r.state is state and r.event is event and all(map(holds, r.when))), None)


# ---------------------------------------------------------------------------------------------- documentation


def drawing() -> str:
    """The table as a mermaid state diagram; verbs that are refused are left out."""
    edges: dict[tuple[State, State], list[str]] = {}
    for row in TABLE:
        if row.effect is not F.REFUSE:
            label = row.event.value + (f" [{', '.join(row.when)}]" if row.when else "")
            edges.setdefault((row.state, row.next), []).append(label)
    lines = ["stateDiagram-v2", "    [*] --> Empty"]
    for (here, there), labels in edges.items():
        events = dict.fromkeys(label.split(" [")[0] for label in labels)
        lines.append(f"    {here} --> {there}: {', '.join(events)}")
    return "\n".join(lines)


def page() -> str:
    """The reference page: drawing, meanings, the whole table."""

    def meanings(title: str, of: type[Enum]) -> list[str]:
        named = [m for m in of if isinstance(m, _Named)]
        return [
            f"## {title}",
            "",
            "| name | meaning |",
            "| --- | --- |",
            *(f"| {m} | {m.meaning} |" for m in named),
            "",
        ]

    rows = [
        f"| {r.state} | {r.event} | {', '.join(r.when) or 'always'} | {r.next} | {r.effect} | {r.answer or r.reason} |"
        for r in TABLE
    ]
    ignored = [f"| {event} | {', '.join(states)} | {why} |" for event, (states, why) in IGNORED.items()]
    return "\n".join(
        [
            "# The states of a Deployment",
            "",
            "From `operator/slipway/serving/rollout/machine.py`.",
            "",
            "```mermaid",
            drawing(),
            "```",
            "",
            *meanings("States", State),
            *meanings("Events, in the order in which they are looked for", Event),
            *meanings("Guards", Guard),
            *meanings("Effects on the recorded facts", Effect),
            "## Transitions",
            "",
            "The first row of a state and an event whose guards hold is taken.",
            "",
            "| state | event | when | next | effect | reason or answer |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            "## Events that mean nothing in a state",
            "",
            "| event | in | why |",
            "| --- | --- | --- |",
            *ignored,
            "",
        ]
    )
