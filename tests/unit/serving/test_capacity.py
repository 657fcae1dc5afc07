"""Who has how many replicas, for all numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slipway.serving.rollout.capacity import Side, in_place, part, share
from slipway.serving.rollout.weights import carries

replicas = st.integers(2, 50)
percent = st.integers(0, 100)


@given(percent, st.integers(0, 1000))
def test_a_share_carries_its_percent_and_one_less_would_not(asked: int, wanted: int) -> None:
    made = share(asked, wanted)
    assert min(1, wanted) <= made <= wanted
    assert carries(made, wanted) >= asked
    if made > 1:
        assert 100 * (made - 1) < asked * wanted


@given(percent, replicas)
def test_a_part_leaves_both_sides_at_least_one_and_is_the_nearest(asked: int, wanted: int) -> None:
    made = part(asked, wanted)
    assert 1 <= made <= wanted - 1
    near = abs(100 * made - asked * wanted)
    others = [n for n in (made - 1, made + 1) if 1 <= n <= wanted - 1]
    assert all(near <= abs(100 * n - asked * wanted) for n in others)


@given(replicas, percent, st.data())
def test_in_place_a_walk_forward_and_back_stays_within_the_room(wanted: int, asked: int, data: st.DataObject) -> None:
    """Controllers follow late, pods get ready in any order: never too many, and the walk comes to its end."""
    need = part(asked, wanted)
    forward = True
    stable, candidate = Side(wanted, wanted, wanted), Side()
    for turn in range(6 * wanted + 6):
        forward = forward and turn < data.draw(st.integers(0, 6 * wanted + 6), label="abort at")
        mine, theirs = in_place(wanted, need, stable, candidate, 0, forward=forward)
        assert mine >= 1
        assert mine + theirs <= wanted
        assert mine >= stable.asked or candidate.ready >= candidate.asked, "one at a time"
        late = data.draw(st.booleans(), label="the controllers are late")
        stable = Side(mine, stable.there, min(stable.ready, mine)) if late else Side(mine, mine, mine)
        candidate = Side(theirs, candidate.there, candidate.ready) if late else Side(theirs, theirs, theirs)
    stable, candidate = (
        Side(stable.asked, stable.asked, stable.asked),
        Side(candidate.asked, candidate.asked, candidate.asked),
    )
    for _ in range(4 * wanted):
        mine, theirs = in_place(wanted, need, stable, candidate, 0, forward=forward)
        stable, candidate = Side(mine, mine, mine), Side(theirs, theirs, theirs)
    if forward:
        assert (stable.asked, candidate.asked) == (wanted - need, need)
    else:
        assert stable.asked + candidate.asked == wanted


@given(replicas, st.integers(0, 50), st.integers(0, 50))
def test_the_stable_version_takes_what_others_leave(wanted: int, present: int, others: int) -> None:
    mine, _ = in_place(wanted, 0, Side(present, present, present), Side(), others, forward=False)
    if present <= wanted:
        assert mine == max(1, present, min(wanted, wanted - others))
