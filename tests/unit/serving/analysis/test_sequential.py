"""What an analysis may promise, computed exactly for small blocks and held for wild ones."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.serving.analysis.sequential import Block, OneSample, TwoSample, bounds, project

RATES = (0.0, 0.003, 0.02, 0.3, 0.9, 1.0)
MARGINS = (0.0, 0.01, 0.2, 0.9)
HISTORIES = {
    "nothing seen": (),
    "an equal candidate": (Block(40, 2, 10, 1), Block(30, 1, 12, 0)),
    "a bad candidate": (Block(90, 0, 10, 4),),
    "a bad stable": (Block(20, 15, 20, 0),),
    "only good ones": (Block(5000, 0, 500, 0),),
    "only bad ones": (Block(50, 50, 50, 50),),
}


def chance(n: int, bad: int, rate: float) -> float:
    return math.comb(n, bad) * rate**bad * (1 - rate) ** (n - bad)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("sizes", [(1, 1), (5, 1), (1, 3), (6, 2)])
def test_under_the_null_hypothesis_a_block_adds_no_evidence_in_the_mean(
    margin: float, history: str, sizes: tuple[int, int]
) -> None:
    test = TwoSample.start(margin)
    for block in HISTORIES[history]:
        test = test.see(block)
    edge = [rate + margin for rate in RATES if rate + margin <= 1]
    outcomes = [
        (s, c, test.see(Block(sizes[0], s, sizes[1], c)))
        for s, c in itertools.product(range(sizes[0] + 1), range(sizes[1] + 1))
    ]
    for stable, candidate in itertools.product(RATES, [*RATES, *edge]):
        chances = [chance(sizes[0], s, stable) * chance(sizes[1], c, candidate) for s, c, _ in outcomes]
        if candidate <= stable + margin:
            mean = math.fsum(p * after.harm for p, (_, _, after) in zip(chances, outcomes, strict=True))
            assert mean <= test.harm * (1 + 1e-9)
        if candidate >= stable + margin:
            mean = math.fsum(p * after.no_harm for p, (_, _, after) in zip(chances, outcomes, strict=True))
            assert mean <= test.no_harm * (1 + 1e-9)


@pytest.mark.parametrize("bound", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("seen", [(0, 0), (10, 0), (10, 10), (1000, 20)])
def test_a_rate_at_its_bound_adds_no_evidence_in_the_mean(bound: float, seen: tuple[int, int]) -> None:
    test = OneSample.start(bound).see(*seen)
    for rate in (*RATES, bound):
        outcomes = [(chance(6, bad, rate), test.see(6, bad)) for bad in range(7)]
        if rate <= bound:
            assert math.fsum(p * after.harm for p, after in outcomes) <= test.harm * (1 + 1e-9)
        if rate >= bound:
            assert math.fsum(p * after.no_harm for p, after in outcomes) <= test.no_harm * (1 + 1e-9)


@st.composite
def blocks(draw: st.DrawFn, most: int = 10**9) -> Block:
    stable_n, candidate_n = draw(st.integers(0, most)), draw(st.integers(0, most))
    return Block(stable_n, draw(st.integers(0, stable_n)), candidate_n, draw(st.integers(0, candidate_n)))


@given(st.floats(0, 2), st.lists(st.one_of(blocks(30), blocks()), max_size=8))
def test_any_counts_and_margin_give_finite_evidence_that_survives_writing_down(
    margin: float, seen: list[Block]
) -> None:
    test = TwoSample.start(margin)
    for block in seen:
        test = test.see(block).next_step() if block.candidate_n % 7 == 0 else test.see(block)
        assert 0 <= test.harm < math.inf
        assert 0 <= test.no_harm < math.inf
        assert TwoSample.load(test.dump()) == test
        assert len(test.dump()) <= 300


@given(st.floats(0, 2), st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1)), max_size=8))
def test_one_sided_evidence_is_finite_and_survives_writing_down(bound: float, seen: list[tuple[int, float]]) -> None:
    test = OneSample.start(bound)
    for n, share in seen:
        test = test.see(n, min(n, int(n * share))).next_step()
        assert 0 <= test.harm < math.inf
        assert 0 <= test.no_harm < math.inf
        assert OneSample.load(test.dump()) == test


@given(st.integers(1, 200), st.integers(1, 200), st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.floats(0, 0.9))
def test_the_projection_is_nearest(n_s: int, n_c: int, stable: float, candidate: float, margin: float) -> None:
    def distance(rate: float) -> float:
        def one(a: float, b: float) -> float:
            return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))

        return n_s * one(stable, rate) + n_c * one(candidate, rate + margin)

    nearest = project(n_s, n_c, stable, candidate, margin)
    assert 0 < nearest < 1 - margin or candidate == pytest.approx(stable + margin)
    for other in (nearest * 0.999, nearest + (1 - margin - nearest) * 0.001):
        assert distance(nearest) <= distance(other) + 1e-9


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(MARGINS), st.data())
def test_one_bad_answer_more_of_the_candidate_is_no_sign_of_its_health(
    n_s: int, n_c: int, margin: float, data: st.DataObject
) -> None:
    bad_s, bad_c = data.draw(st.integers(0, n_s)), data.draw(st.integers(0, n_c - 1))
    test = TwoSample.start(margin).see(Block(100, 3, 20, 1))
    fewer, more = test.see(Block(n_s, bad_s, n_c, bad_c)), test.see(Block(n_s, bad_s, n_c, bad_c + 1))
    assert more.harm >= fewer.harm
    assert more.no_harm <= fewer.no_harm


def run(test: TwoSample, block: Block, looks: int) -> TwoSample:
    for _ in range(looks):
        test = test.see(block)
    return test


def test_clear_cases_are_decided_and_by_the_right_evidence() -> None:
    worse = run(TwoSample.start(0.01), Block(90, 0, 10, 1), 12)
    assert worse.harm > 20 > 1 > worse.no_harm
    equal = run(TwoSample.start(0.01), Block(900, 1, 100, 0), 8)
    assert equal.no_harm > 20 > 1 > equal.harm
    better = run(TwoSample.start(0.0), Block(50, 10, 50, 1), 3)
    assert better.no_harm > 20 > 1 > better.harm


def test_without_the_candidates_traffic_nothing_is_decided() -> None:
    test = run(TwoSample.start(0.01), Block(1000, 500, 0, 0), 100)
    assert (test.harm, test.no_harm) == (TwoSample.start(0.01).harm, TwoSample.start(0.01).no_harm)
    assert test.see(Block()) == test


def test_a_margin_that_allows_everything_never_finds_harm_and_is_soon_content() -> None:
    test = run(TwoSample.start(1.0), Block(90, 0, 10, 9), 5)
    assert test.harm <= 1
    assert test.no_harm > 20


def test_a_bound_that_allows_everything_never_finds_harm_and_is_soon_content() -> None:
    test = OneSample.start(1.0).see(20, 15).see(20, 20)
    assert test.harm <= 1
    assert test.no_harm > 20


def test_a_bound_of_nothing_is_broken_by_one_bad_answer() -> None:
    test = OneSample.start(0.0).see(1000, 0)
    assert test.harm <= 1
    assert test.no_harm <= 1
    assert test.see(1, 1).harm > 20


def test_one_sample_that_turns_bad_after_much_good_evidence_is_found_too() -> None:
    good = OneSample.start(0.01).see(100_000, 100)
    assert good.no_harm > 20
    assert good.next_step().see(100, 10).harm > 20
    assert good.next_step().no_harm == OneSample.start(0.01).no_harm


def test_harm_that_begins_with_more_weight_is_found_soon_after_much_good_evidence() -> None:
    good = run(TwoSample.start(0.01), Block(450, 1, 50, 0), 2000)
    assert good.harm < 1
    assert run(good.next_step(), Block(250, 0, 250, 12), 4).harm > 60


def test_harm_that_begins_within_a_step_is_found_too() -> None:
    good = run(TwoSample.start(0.01), Block(450, 1, 50, 0), 2000)
    assert run(good, Block(450, 1, 50, 3), 10).harm > 60


def test_a_step_starts_the_all_clear_anew() -> None:
    good = run(TwoSample.start(0.01), Block(900, 0, 100, 0), 20)
    assert good.no_harm > 20
    assert good.next_step().no_harm == TwoSample.start(0.01).no_harm


@pytest.mark.parametrize("counts", [(1, 2, 0, 0), (0, 0, 1, 2), (-1, 0, 0, 0), (1, -1, 0, 0)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="0 <= bad <= n"):
        Block(*counts)


@pytest.mark.parametrize("text", ["", "2 0.01 1", "1 0.01 1 2 3", "1 x" + " 0" * 24, "1 0.01" + " x" * 24])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        TwoSample.load(text)


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        TwoSample.start(-0.1)
    with pytest.raises(ValueError, match="bound"):
        OneSample.start(math.nan)
    with pytest.raises(ValueError, match="bad"):
        OneSample.start(0.1).see(1, 2)
    with pytest.raises(ValueError, match="level"):
        bounds(10, 1, 1.0)
    with pytest.raises(ValueError, match="not below"):
        OneSample.start(0.2, 0.3)


@pytest.mark.parametrize(("n", "rate"), [(20, 0.05), (20, 0.3), (60, 0.01), (60, 0.9)])
def test_the_rate_lies_outside_of_its_bounds_as_rarely_as_promised(n: int, rate: float) -> None:
    wrong = [bad for bad in range(n + 1) if not (bounds(n, bad, 0.05)[0] <= rate <= bounds(n, bad, 0.05)[1])]
    assert math.fsum(chance(n, bad, rate) for bad in wrong) <= 0.05


def test_so_it_does_where_the_rate_was_not_always_the_same() -> None:
    """40 requests at 0.4 after 40 at 0.1: the bounds are about the mean of both."""
    wrong = 0.0
    for early, late in itertools.product(range(41), range(41)):
        low, high = bounds(80, early + late, 0.05)
        wrong += chance(40, early, 0.1) * chance(40, late, 0.4) * (not low <= 0.25 <= high)
    assert wrong <= 0.05


def test_the_bounds_close_in_on_the_rate() -> None:
    low, high = bounds(10**9, 10**7, 0.05)
    assert low < 0.01 < high
    assert high - low < 1e-4
    assert bounds(10**9, 0, 0.05)[0] == 0.0
    assert bounds(10**9, 0, 0.05)[1] < 1e-7
    assert bounds(10, 10, 0.05)[1] == 1.0


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.27])
def test_between_its_two_bounds_a_rate_adds_evidence_to_neither(rate: float) -> None:
    test = OneSample.start(0.27, 0.02).see(10, 1)
    outcomes = [(chance(6, bad, rate), test.see(6, bad)) for bad in range(7)]
    assert math.fsum(p * after.harm for p, after in outcomes) <= test.harm * (1 + 1e-9)
    assert math.fsum(p * after.no_harm for p, after in outcomes) <= test.no_harm * (1 + 1e-9)


def test_harm_found_before_a_switch_is_not_forgotten_and_all_clear_begins_anew() -> None:
    suspect = run(TwoSample.start(0.01), Block(90, 0, 10, 1), 6)
    after = suspect.against_past(0.01, 0.05)
    assert after.harm == suspect.harm > 1
    assert after.no_harm == OneSample.start(0.05).no_harm
    assert OneSample.load(after.dump()) == after
