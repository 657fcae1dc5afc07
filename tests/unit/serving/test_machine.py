"""The table of states: complete, unambiguous, and what the rest of the room makes of it."""

from __future__ import annotations

from itertools import product

import pytest

from slipway.serving.rollout import effects, happened, machine
from slipway.serving.rollout.machine import IGNORED, TABLE, VERBS, Effect, Event, Guard, State

PAIRS = list(product(State, Event))


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=[f"{s}-{e}" for s, e in PAIRS])
def test_every_state_answers_every_event_in_one_way(state: State, event: Event) -> None:
    answered = any(r.state is state and r.event is event for r in TABLE)
    ignored = event in IGNORED and state in IGNORED[event][0]
    assert answered != ignored, "both answered and ignored" if answered else "neither answered nor ignored"


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_never_met_with_silence(state: State, verb: Event) -> None:
    """Guards that hold together are those of one step and one pause: each combination finds a row."""
    heres = [g for g in Guard if g.name.startswith("HERE_")]
    nexts = [g for g in Guard if g.name.startswith("NEXT_")]
    others = (Guard.BY_PERSON, Guard.GIVEN_UP, Guard.SAME_TARGET, Guard.FIT, Guard.SERVED_BEFORE)
    for here, following, bits in product(heres, nexts, product((True, False), repeat=len(others))):
        true = {here, following, *(g for g, bit in zip(others, bits, strict=True) if bit)}
        assert machine.answer(state, verb, true.__contains__) is not None, sorted(true)


def test_a_row_without_guards_is_the_last_of_its_pair() -> None:
    seen: set[tuple[State, Event]] = set()
    for row in TABLE:
        assert (row.state, row.event) not in seen, f"{row} is never reached"
        if not row.when:
            seen.add((row.state, row.event))


def test_what_is_refused_says_why_and_changes_nothing() -> None:
    for row in TABLE:
        assert (row.effect is Effect.REFUSE) == bool(row.answer), row
        if row.effect is Effect.REFUSE:
            assert row.next is row.state, row


def test_every_name_of_the_table_is_carried_out_by_somebody() -> None:
    assert set(effects._EFFECTS) == set(Effect)
    assert set(happened._HOLDS) == set(Guard)
    assert set(happened._HAPPENED) == set(Event) - set(VERBS)
    assert {r.effect for r in TABLE} == set(Effect)
    assert {g for r in TABLE for g in r.when} == set(Guard)
    assert {r.event for r in TABLE} == set(Event)


def test_every_state_is_reached_and_left() -> None:
    moves = {(r.state, r.next) for r in TABLE if r.state is not r.next}
    assert {there for _, there in moves} == set(State)
    assert {here for here, _ in moves} == set(State)


def test_the_drawing_shows_every_move() -> None:
    drawing = machine.drawing()
    for row in TABLE:
        if row.effect is not Effect.REFUSE:
            assert f"    {row.state} --> {row.next}: " in drawing
