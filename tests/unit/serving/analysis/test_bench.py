"""The simulation behind docs/analysis.md: its quick twin of the rule, the two other rules, and its promises."""

from __future__ import annotations

import doctest
import importlib
import math
from pathlib import Path

import numpy as np
import pytest

from bench.analysis import Outcome, play
from bench.analysis.__main__ import BEGIN, END, main
from bench.analysis.best import fewest
from bench.analysis.cases import Case, always, cases
from bench.analysis.many import Many
from bench.analysis.others import ABORTED, ARGO, FLAGGER, PROMOTED, UNDECIDED
from slipway.serving.analysis.sequential import Block, TwoSample

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("name", ["best", "cases", "__main__"])
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"bench.analysis.{name}")).failed == 0


@pytest.mark.parametrize("margin", [0.0, 0.01, 0.2, 0.95, 1.5])
@pytest.mark.parametrize("scale", [1, 30, 3000, 10**6])
def test_the_twin_gives_the_same_numbers_as_the_rule(margin: float, scale: int) -> None:
    dice = np.random.default_rng([scale, int(100 * margin)])
    rules, twin = [TwoSample.start(margin) for _ in range(5)], Many(5, margin)
    for look in range(20):
        n = dice.poisson(scale * dice.random((5, 2)) * [1, 0.2])
        bad = dice.binomial(n, dice.choice([0, 0.001, 0.05, 0.3, 1], size=(5, 2)))
        blocks = np.stack([n[:, 0], bad[:, 0], n[:, 1], bad[:, 1]], axis=1)
        twin.see(blocks)
        rules = [rule.see(Block(*map(int, block))) for rule, block in zip(rules, blocks, strict=True)]
        if look % 7 == 6:
            twin.next_step()
            rules = [rule.next_step() for rule in rules]
        assert [math.log(rule.harm) for rule in rules] == pytest.approx(np.log(twin.harm).tolist(), abs=2e-5)
        assert [math.log(rule.no_harm) for rule in rules] == pytest.approx(np.log(twin.no_harm).tolist(), abs=2e-5)


@pytest.mark.parametrize("scale", [1, 30, 3000])
def test_the_twin_gives_the_same_numbers_after_a_switch(scale: int) -> None:
    dice = np.random.default_rng(scale)
    past = [(0.0, 0.0), (0.01, 0.3), (0.02, 0.02), (0.5, 1.0), (1.0, 1.0)]
    before = [Block(90, 1, 10, n) for n in range(5)]
    twin = Many(5, 0.01)
    twin.see(np.array([[b.stable_n, b.stable_bad, b.candidate_n, b.candidate_bad] for b in before]))
    rules = [TwoSample.start(0.01).see(block).against_past(*known) for block, known in zip(before, past, strict=True)]
    twin.bets_no_harm = Many(5, 0.01).bets_no_harm
    twin.switch(np.array(past))
    for look in range(12):
        n = dice.poisson(scale * dice.random(5))
        bad = dice.binomial(n, dice.choice([0, 0.001, 0.05, 0.3, 1], size=5))
        twin.see(np.stack([n * 9, n, n, bad], axis=1))
        rules = [rule.see(*map(int, seen)) for rule, seen in zip(rules, zip(n, bad, strict=True), strict=True)]
        if look % 5 == 4:
            twin.next_step()
            rules = [rule.next_step() for rule in rules]
        assert [math.log(rule.harm) for rule in rules] == pytest.approx(np.log(twin.harm).tolist(), abs=2e-5)
        assert [math.log(rule.no_harm) for rule in rules] == pytest.approx(np.log(twin.no_harm).tolist(), abs=2e-5)


def test_after_a_switch_a_worse_candidate_does_not_pass_for_want_of_a_past() -> None:
    """The audit's case: 5 points worse, 20 requests of the stable version, and 1% tolerated."""
    case = next(case for case in cases() if case.name.startswith("after a switch: 5.1% errors"))
    played = play(case, 100, seed=1)
    assert played.outcomes["Slipway"].share(PROMOTED) <= 0.05
    assert [met for _, met in played.promises] == [True]


def test_the_twin_forgets_rollouts_that_are_over() -> None:
    twin = Many(3, 0.01)
    twin.see(np.array([[90, 0, 10, 9], [90, 0, 10, 0], [90, 0, 10, 5]]))
    before = twin.harm
    twin.keep(np.array([True, False, True]))
    assert twin.harm.tolist() == before[[0, 2]].tolist()


def minutes(rule: str, *seen: tuple[int, int]) -> int:
    """What a rule says after these minutes of the candidate's (requests, bad)."""
    watch = {FLAGGER.name: FLAGGER, ARGO.name: ARGO}[rule].start(1)
    for minute, (n, bad) in enumerate(seen, start=1):
        assert watch.see(60 * minute - 30, np.array([n]), np.array([bad]))[0] == UNDECIDED
        verdict = int(watch.see(60 * minute, np.array([0]), np.array([0]))[0])
        if verdict != UNDECIDED:
            return verdict
    return UNDECIDED


def test_flagger_wants_25_good_minutes_and_forgives_9_bad_ones() -> None:
    assert minutes("Flagger", *[(100, 1)] * 24) == UNDECIDED
    assert minutes("Flagger", *[(100, 1)] * 25) == PROMOTED
    assert minutes("Flagger", *[(100, 2)] * 9, *[(100, 0)] * 25) == PROMOTED
    assert minutes("Flagger", *[(100, 2)] * 5, *[(100, 0)] * 20, *[(100, 2)] * 5) == ABORTED
    assert minutes("Flagger", *[(0, 0)] * 10) == ABORTED


def test_argo_wants_5_good_minutes_and_forgives_none() -> None:
    assert minutes("Argo Rollouts", *[(100, 5)] * 4) == UNDECIDED
    assert minutes("Argo Rollouts", *[(100, 5)] * 5) == PROMOTED
    assert minutes("Argo Rollouts", *[(100, 0)] * 4, (100, 6)) == ABORTED
    assert minutes("Argo Rollouts", (0, 0)) == ABORTED


def test_the_best_possible_is_as_good_as_it_says_and_one_request_fewer_is_not() -> None:
    n = fewest(0.011, 0.05)

    def upto(k: int, n: int, rate: float) -> float:
        return math.fsum(math.comb(n, i) * rate**i * (1 - rate) ** (n - i) for i in range(k + 1))

    def possible(n: int) -> bool:
        return any(1 - upto(k, n, 0.011) <= 0.05 and upto(k, n, 0.05) <= 0.05 for k in range(30))

    assert possible(n)
    assert not possible(n - 1)


def test_an_outcome_keeps_the_first_verdict() -> None:
    outcome, all_three = Outcome.start(3), np.arange(3)
    outcome.decide(all_three, np.array([ABORTED, UNDECIDED, UNDECIDED]), 5, np.array([50, 51, 52]))
    outcome.decide(all_three, np.array([PROMOTED, PROMOTED, UNDECIDED]), 6, np.array([60, 61, 62]))
    assert outcome.verdict.tolist() == [ABORTED, PROMOTED, UNDECIDED]
    assert outcome.second.tolist() == [5, 6, 0]
    assert outcome.requests.tolist() == [50, 61, 0]
    assert outcome.percentile(outcome.requests, 50) == 55.5


def test_the_same_seed_plays_the_same_rollouts() -> None:
    case = next(case for case in cases() if case.name.startswith("5% errors against 0.1%, 500"))
    first, again, other = play(case, 5, seed=1), play(case, 5, seed=1), play(case, 5, seed=2)
    assert first.outcomes["Slipway"].requests.tolist() == again.outcomes["Slipway"].requests.tolist()
    assert first.outcomes["Slipway"].requests.tolist() != other.outcomes["Slipway"].requests.tolist()


def test_a_broken_promise_is_told() -> None:
    case = Case("worse", 0.0, always(500), always(0.5), always(0.001), always(0.5), seconds=60, false_abort=True)
    assert [met for _, met in play(case, 5).promises] == [False]
    hopeless = Case("equal", 0.0, always(1), always(0.5), always(0.5), always(0.5), seconds=3, must_abort=0.99)
    assert [met for _, met in play(hopeless, 5).promises] == [False]
    blind = Case("good", 0.5, always(500), always(0.5), always(0.5), always(0.1), seconds=60, false_pass=True)
    assert [met for _, met in play(blind, 5).promises] == [False]


def test_the_command_writes_its_table_between_the_marks_of_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["--quick", "--only", "0.1% errors against 20%", "--jobs", "1", "--markdown", str(page)]) == 0
    written = page.read_text()
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "old" not in written
    assert "| Slipway       | 0.0       | 100.0      |" in written
    assert "| Flagger " in capsys.readouterr().out


def test_the_page_has_a_row_for_each_case() -> None:
    page = (ROOT / "docs/analysis.md").read_text()
    table = page[page.index(BEGIN) : page.index(END)]
    assert [case.name for case in cases() if f"| {case.name} " not in table] == []
    assert "2,000 simulated rollouts" in table
    assert "BROKEN" not in table
    assert "MISSED" not in table
