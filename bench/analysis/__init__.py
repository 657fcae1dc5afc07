"""Simulated rollouts: the rule of ``slipway.serving.analysis.sequential`` beside Flagger's and Argo Rollouts'.

All three see the same streams, made with seeds: Poisson traffic, and answers that are bad with the case's rates. Ours
looks every second and decides at the e-value that one metric needs; the two others as in ``others``.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.analysis.best import fewest
from bench.analysis.cases import Case, cases
from bench.analysis.many import Many
from bench.analysis.others import ABORTED, ARGO, FLAGGER, PROMOTED, UNDECIDED, Watch
from slipway.api.deployment import Tally
from slipway.serving.analysis.judge import ALPHA, before_switch, needed

BAR = needed(1)
RULES = ("Slipway", FLAGGER.name, ARGO.name)
Ints = NDArray[np.int64]


@dataclass
class Outcome:
    """What one rule decided in each rollout, when, and after how many of the candidate's requests."""

    verdict: Ints
    second: Ints
    requests: Ints

    @classmethod
    def start(cls, rollouts: int) -> Outcome:
        """Nothing decided."""
        return cls(*(np.zeros(rollouts, np.int64) for _ in range(3)))

    def decide(self, rollouts: Ints, verdict: Ints, second: int, requests: Ints) -> None:
        """Note the first verdict of each rollout."""
        new = (verdict != UNDECIDED) & (self.verdict[rollouts] == UNDECIDED)
        some = rollouts[new]
        self.verdict[some], self.second[some], self.requests[some] = verdict[new], second, requests[new]

    def share(self, verdict: int) -> float:
        """The part of the rollouts that ended so."""
        return float(np.mean(self.verdict == verdict))

    def percentile(self, of: Ints, q: float) -> float | None:
        """Over the rollouts that were decided; None if fewer than one in a hundred was."""
        decided = self.verdict != UNDECIDED
        return float(np.percentile(of[decided], q)) if decided.mean() >= 0.01 else None


@dataclass
class Played:
    """One case: outcomes by rule, what was promised of ours, and the fewest requests that could do.

    ``pooled``: the stable's and the candidate's proportions of bad requests, counted together without regard to time.
    ``best_time``: seconds in which so many requests come to the candidate.
    """

    name: str
    outcomes: dict[str, Outcome]
    promises: list[tuple[str, bool]]
    pooled: tuple[float, float]
    best: int | None
    best_time: float | None


def play(case: Case, rollouts: int, seed: int = 4) -> Played:
    """Simulate, with a generator of the case's own."""
    dice = np.random.default_rng([seed, zlib.crc32(case.name.encode())])
    ours = Many(rollouts, case.margin, no_harm=case.passing_ends)
    watches = [(rule.name, Watch(rule, rollouts)) for rule in (FLAGGER, ARGO)]
    outcomes = {name: Outcome.start(rollouts) for name in RULES}
    everyone = np.arange(rollouts)
    playing = everyone  # whose rollout our rule has not decided: only those are in `ours`
    requests = np.zeros(rollouts, np.int64)
    total = np.zeros(4, np.int64)
    stable = np.zeros((rollouts, 2), np.int64)
    origin = case.harm_from or 0
    watched = origin if case.switch is not None else 0  # before it no candidate has traffic
    for second in range(case.every, case.seconds + 1, case.every):
        begun = second - case.every
        blocks = _blocks(case, begun, rollouts, dice)
        total += blocks.sum(0)
        if begun >= origin:
            requests += blocks[:, 2]
        if begun in case.steps:
            ours.next_step()
        if begun == case.switch:
            ours.switch(_past(stable[playing], case.margin))
        stable += blocks[:, :2]
        if len(playing):
            ours.see(blocks[playing])
            verdict = np.where(ours.harm >= BAR, ABORTED, UNDECIDED)
            if case.passing_ends and (case.switch is None or begun >= case.switch):
                verdict = np.where((verdict == UNDECIDED) & (ours.no_harm >= BAR), PROMOTED, verdict)
            outcomes["Slipway"].decide(playing, verdict, second - origin, requests[playing])
            if (verdict != UNDECIDED).any():
                ours.keep(verdict == UNDECIDED)
                playing = playing[verdict == UNDECIDED]
        for name, watch in watches if begun >= watched else []:
            bad = blocks[:, 3]
            if name == FLAGGER.name and case.worst is not None:
                bad = dice.binomial(bad, case.worst)
            verdict = watch.see(second - watched, blocks[:, 2], bad)
            if case.harm_from is not None and case.switch is None:  # watched in the background: there is no end to pass
                verdict = np.where(verdict == PROMOTED, UNDECIDED, verdict)
            outcomes[name].decide(everyone, verdict, second - origin, requests)
        if all((outcome.verdict != UNDECIDED).all() for outcome in outcomes.values()):
            break
    pooled = (float(total[1] / total[0]), float(total[3] / total[2]))
    best = _best(case)
    # Where there is a best, traffic and weight do not change from where it counts.
    best_time = best / (case.rate(origin) * case.weight(origin)) if best else None
    return Played(case.name, outcomes, _promises(case, outcomes["Slipway"]), pooled, best, best_time)


def play_named(name: str, rollouts: int, seed: int) -> Played:
    """By the case's name: a case holds functions, and those do not travel between processes."""
    return play(next(case for case in cases() if case.name == name), rollouts, seed)


def _promises(case: Case, ours: Outcome) -> list[tuple[str, bool]]:
    aborted = ours.share(ABORTED)
    promises = []
    if case.false_abort:
        promises.append((f"at most {ALPHA:.0%} aborted, {aborted:.2%}: {case.name}", aborted <= ALPHA))
    if case.must_abort:
        enough = aborted >= case.must_abort
        promises.append((f"at least {case.must_abort:.0%} aborted, {aborted:.2%}: {case.name}", enough))
    if case.false_pass:
        passed = ours.share(PROMOTED)
        promises.append((f"at most {ALPHA:.0%} passed, {passed:.2%}: {case.name}", passed <= ALPHA))
    return promises


def _past(stable: Ints, margin: float) -> NDArray[np.float64]:
    """What the candidate is held against after a switch: ``low`` and ``bound`` of each rollout."""
    past = np.array([before_switch(Tally(n=int(n), bad=int(bad)), BAR) for n, bad in stable])
    return np.minimum(past + margin, 1.0)


def _blocks(case: Case, begun: int, rollouts: int, dice: np.random.Generator) -> Ints:
    rate, weight = case.rate(begun) * case.every, case.weight(begun)
    stable_n, candidate_n = dice.poisson(rate * (1 - weight), rollouts), dice.poisson(rate * weight, rollouts)
    stable_bad = dice.binomial(stable_n, case.stable(begun))
    return np.stack([stable_n, stable_bad, candidate_n, dice.binomial(candidate_n, case.candidate(begun))], axis=1)


def _best(case: Case) -> int | None:
    """Where the rates are constant, from where they count, and the nearest wrong hypothesis is another rate."""
    end = case.seconds - 1
    if case.switch is not None or (case.stable(end) != case.stable(0) and case.harm_from is None):
        return None
    null, true = case.stable(end) + case.margin, case.candidate(end)
    if null == true or not (case.passing_ends or case.harm_from is not None):
        return None
    return fewest(null, true, ALPHA, ALPHA)
