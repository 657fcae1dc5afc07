"""Is the candidate worse than the stable version? A test that may be looked at as often as one likes.

Every metric is a proportion of bad requests (failed, slow, disagreeing). At each look the operator has one block: how
many requests each side answered since the last look, and how many of them were bad. Two evidences are kept, each an
*e-value*, a fair bet against a hypothesis that starts at 1:

* ``harm`` bets against "candidate - stable <= margin". At 1/alpha the rollout is aborted.
* ``no_harm`` bets against "candidate - stable >= margin". At 1/alpha the step passes.

**Guarantee.** Let the requests be independent, given their rates, and let in every block the candidate's mean rate be
at most the stable's mean rate plus the margin. Then P(``harm`` ever reaches 1/alpha) <= alpha: over all looks, however
many and whenever, and whoever decides when to stop. The rates may change from block to block and from request to
request (day and night, a slow database that both sides feel), the share of traffic may change, and the sizes of the
blocks may be anything that does not look at the outcomes in them. The same holds for ``no_harm`` and its hypothesis.

**Proof.** Let a block hold n = n_s + n_c independent requests. Its likelihood under an alternative a = (a_s, a_c) that
depends on earlier blocks only is compared with that under o = (o_s, o_c), the point of the null hypothesis N (a convex
set of pairs of rates) that minimises n_s KL(a_s, o_s) + n_c KL(a_c, o_c)::

    S = product over the requests of  a_j / o_j  where it was bad,  (1 - a_j) / (1 - o_j)  where it was good

1. A request with rate t has the mean factor L_j(t) = t a_j/o_j + (1 - t)(1 - a_j)/(1 - o_j): linear in t, L_j(o_j) = 1.
2. Independent factors: E[S] is the product of their means, so at most (their arithmetic mean)^n, as a geometric mean is
   at most the arithmetic one. By 1 that mean is (n_s L_s(t_s) + n_c L_c(t_c)) / n with t_s, t_c the sides' mean rates.
3. o minimises a convex function over a convex set, so no way from o to a point t of N begins downhill:
   sum n_j (a_j/o_j - (1 - a_j)/(1 - o_j)) (t_j - o_j) <= 0. By 1 that is n_s (L_s(t_s) - 1) + n_c (L_c(t_c) - 1) <= 0:
   E[S] <= 1 for every t in N.
4. Products of such S over blocks are nonnegative supermartingales. So is a mixture of them with weights fixed in
   advance, also if some begin late and wait in a reserve until then. Ville's inequality gives the guarantee.

**Without the stable version's traffic** (after a switch) the candidate is compared with bounds of what the stable
version showed before (``bounds``): ``harm`` bets against the upper one, ``no_harm`` against the lower one. Let A be the
event that the stable version's rate lies within them, 1 - P(A) <= beta. The bounds are known when the switch comes, so
``harm``, multiplied from then on by the indicator of A, stays a nonnegative supermartingale that begins with 1 before
the switch: P(``harm`` ever reaches 1/alpha) <= alpha + beta, before and after the switch together. The same holds for
``no_harm``, which begins anew. What no test can know is whether the stable version would have stayed as it was.

Sources: 1 to 3 are R. Turner, A. Ly, P. Grünwald, "Generic E-variables for exact sequential k-sample tests that allow
for optional stopping" (arXiv:2106.02693) and R. Turner, P. Grünwald, "Exact anytime-valid confidence intervals for
contingency tables and beyond" (arXiv:2203.09785); the mixture over beginnings is in J. Shin, A. Ramdas, A. Rinaldo,
"E-detectors" (arXiv:2203.03532). Which alternatives are bet on was chosen by simulation: docs/design/0008.

**Not promised.** Failures that come in bursts on one side only (a crashed pod) are a worse rate of that side, and count
as such. A client that repeats a bad request at once makes outcomes depend on each other: the test then sees more
evidence than there is. ``harm`` says that the candidate was worse at some time, not on average over all time, and
``no_harm`` likewise.

Standard library only: docs/design/0008 has what numpy and scipy would cost the operator's process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace

_NAT = 1_000_000
"""Logarithms are kept as whole millionths of a nat, rounded down: what is written into status is then all of the state,
and no rounding ever adds evidence."""

_MOST = 99 * _NAT
"""A bet is never written down as more than e^99, nor as less than e^-99: over 1e9 blocks that adds e^-78 to the chance
of a false alarm."""

_EDGE = 1e-9
"""Rates stay this far from 0 and 1: a likelihood of exactly 0 could never be outweighed."""

_NOTHING = 1e-30
"""A bound of 0 is taken for this: one bad request speaks against it with all the force that is needed."""

_WIDEST = 0.999
"""For ``no_harm`` a wider margin is taken for this one: its hypothesis is larger then, so what is promised holds."""

_KEPT = 1024
"""The rates are taken from the last 1024 to 2048 or so bad (or good, if rarer) requests of the side that has fewer:
to within 3 %, and they follow the day. The guarantee does not depend on it."""

_PRIOR_BAD, _PRIOR_N = 0.5, 50.0
"""Before there is traffic a rate is taken for 1 %, with the weight of 50 requests."""

_FACTORS = (1.25, 1.6, 2.5, 6.0, 30.0)
"""How much worse (better) the alternatives' odds are than the margin's; one more follows the candidate's own rate."""

_SMALL_FACTOR = 1.1
_LEAST_FACTOR = 1.02
"""The alternative that follows the candidate's own rate stays at least that far on its side."""

_WEIGHTS = (0.08, 0.12, 0.15, 0.2, 0.1, 0.15, 0.2)

_LATE = 0.3
"""Share of ``harm`` that waits for harm that begins late."""

_UNHURRIED = 256.0
"""Candidate requests after which half of what drips into play within a step has done so, roughly."""

_SURPRISE = 4
"""A block that is this many times larger than all that was seen before is judged at several guesses of the rate."""

_GUESSES = (0.001, 0.01, 0.1, 0.4)


@dataclass(frozen=True)
class Block:
    """Requests answered and how many of them were bad, on both sides over the same time."""

    stable_n: int = 0
    stable_bad: int = 0
    candidate_n: int = 0
    candidate_bad: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError where more requests are bad than there are, or fewer than none."""
        if not (0 <= self.stable_bad <= self.stable_n and 0 <= self.candidate_bad <= self.candidate_n):
            raise ValueError(f"a block needs 0 <= bad <= n on both sides, not {self}")

    def __add__(self, other: Block) -> Block:
        """The requests of both."""
        return Block(
            self.stable_n + other.stable_n,
            self.stable_bad + other.stable_bad,
            self.candidate_n + other.candidate_n,
            self.candidate_bad + other.candidate_bad,
        )

    @property
    def one_sided(self) -> bool:
        """Nothing to compare yet."""
        return not (self.stable_n and self.candidate_n)

    @property
    def recent(self) -> Block:
        """Without its older half while it holds more than is needed to know both rates.

        Both sides forget at once, so that what is remembered of them is of the same time.

        >>> Block(20_000, 1500, 10_000, 3000).recent
        Block(stable_n=20000, stable_bad=1500, candidate_n=10000, candidate_bad=3000)
        >>> Block(20_000, 3000, 10_000, 3000).recent
        Block(stable_n=10000, stable_bad=1500, candidate_n=5000, candidate_bad=1500)
        """
        a = self
        while (
            min(a.stable_bad, a.stable_n - a.stable_bad, a.candidate_bad, a.candidate_n - a.candidate_bad) > 2 * _KEPT
        ):
            a = Block(a.stable_n // 2, a.stable_bad // 2, a.candidate_n // 2, a.candidate_bad // 2)
        return a


@dataclass(frozen=True)
class _Bets:
    """A mixture of bets, one for each alternative, and what waits to be put into play later.

    ``logs`` are those of the money in each bet, ``reserve`` that of the reserve at the last beginning, in millionths of
    a nat; ``clock`` counts the candidate's requests since then.
    """

    logs: tuple[int, ...]
    reserve: int
    clock: int = 0

    @classmethod
    def start(cls, late: float) -> _Bets:
        """All money but ``late`` in play."""
        return cls(tuple(_down(_log(weight * (1 - late))) for weight in _WEIGHTS), _down(_log(late)))

    def waiting(self, clock: int) -> float:
        """What of the reserve is not in play after that many requests: half of it drips in slowly, half never does.

        >>> [round(_Bets.start(0.5).waiting(n), 3) for n in (0, 256, 10**6)]
        [0.5, 0.398, 0.277]
        """
        return math.exp(self.reserve / _NAT) * (0.5 + 0.5 / (1 + math.log1p(clock / _UNHURRIED)))

    def see(self, candidate_n: int, factors: Iterable[float]) -> _Bets:
        """Win or lose a block: ``factors`` are log S of each alternative."""
        fresh = self.waiting(self.clock) - self.waiting(self.clock + candidate_n)
        logs = (
            _down(_sum(log / _NAT, _log(fresh * w)) + f) for log, w, f in zip(self.logs, _WEIGHTS, factors, strict=True)
        )
        return replace(self, logs=tuple(logs), clock=self.clock + candidate_n)

    def next_step(self) -> _Bets:
        """Half of the reserve comes into play at once: harm often begins with more weight."""
        half = self.waiting(self.clock) / 2
        logs = tuple(_down(_sum(log / _NAT, _log(half * w))) for log, w in zip(self.logs, _WEIGHTS, strict=True))
        return _Bets(logs, _down(_log(half)))

    @property
    def value(self) -> float:
        """All money: the e-value."""
        return math.fsum(math.exp(log / _NAT) for log in self.logs) + self.waiting(self.clock)


@dataclass(frozen=True)
class TwoSample:
    """The candidate against the stable version, over the same time; see the module for what is guaranteed.

    ``margin`` is the increase of the proportion of bad requests that is tolerated (``maxIncrease``, 0 to 1).

    >>> test = TwoSample.start(margin=0.01)
    >>> for second in range(6):
    ...     test = test.see(Block(stable_n=90, stable_bad=0, candidate_n=10, candidate_bad=2))
    >>> test.harm > 20, test.no_harm < 1
    (True, True)
    >>> TwoSample.load(test.dump()) == test
    True
    """

    margin: float
    open: Block
    """Traffic of one side that waits for some of the other. What closes it is counts, never outcomes."""
    seen: Block
    bets_harm: _Bets
    bets_no_harm: _Bets

    @classmethod
    def start(cls, margin: float) -> TwoSample:
        """No evidence: both e-values are 1. Raises ValueError for a margin below 0."""
        if not margin >= 0:
            raise ValueError(f"the margin is a proportion, 0 or more, not {margin}")
        return cls(margin, Block(), Block(), _Bets.start(_LATE), _Bets.start(0))

    def see(self, block: Block) -> TwoSample:
        """With the requests of one look more.

        A look at which only one side had traffic waits for the other side:

        >>> start = TwoSample.start(0.01)
        >>> waiting = start.see(Block(stable_n=9, stable_bad=1))
        >>> round(waiting.harm, 6)
        1.0
        >>> waiting.see(Block(candidate_n=1)) == start.see(Block(9, 1, 1, 0))
        True
        """
        block = self.open + block
        if block.one_sided:
            return replace(self, open=block)
        return TwoSample(
            self.margin,
            Block(),
            (self.seen + block).recent,
            self.bets_harm.see(block.candidate_n, self._factors(block, harm=True)),
            self.bets_no_harm.see(block.candidate_n, self._factors(block, harm=False)),
        )

    def next_step(self) -> TwoSample:
        """The weight changes: ``no_harm`` starts anew, ``harm`` goes on and puts more into play.

        Traffic of one side that still waits is dropped: it belongs to the old weight, and perhaps to another rate.
        """
        return replace(self, open=Block(), bets_harm=self.bets_harm.next_step(), bets_no_harm=_Bets.start(0))

    def against_past(self, low: float, high: float) -> OneSample:
        """The stable version has no traffic any more: what of the stake of ``harm`` is left, in play or waiting, is bet
        on against the bounds of its past. It stays one fair bet over the whole rollout, so nothing is added to the
        level but the chance that the bounds are wrong.

        >>> before = TwoSample.start(0.01).see(Block(9000, 10, 1000, 1))
        >>> after = before.against_past(0.0105, 0.0125)
        >>> after.harm == before.harm < 1, after.no_harm == TwoSample.start(0.01).no_harm
        (True, True)
        """
        return replace(OneSample.start(high, low), bets_harm=self.bets_harm)

    @property
    def harm(self) -> float:
        """The e-value against "candidate - stable <= margin"."""
        return self.bets_harm.value

    @property
    def no_harm(self) -> float:
        """The e-value against "candidate - stable >= margin"."""
        return self.bets_no_harm.value

    def dump(self) -> str:
        """All of the state in at most 300 characters: ``load`` gives back an equal test."""
        rest = (*_flat(self.bets_harm), *_flat(self.bets_no_harm))
        return _pack((self.margin,), (*astuple(self.open), *astuple(self.seen)), *rest)

    @classmethod
    def load(cls, text: str) -> TwoSample:
        """The test that ``dump`` wrote. Raises ValueError for any other text."""
        (margin,), (counts, harm, no_harm) = _unpack(text, 1, 8, _BETS, _BETS)
        return cls(margin, Block(*counts[:4]), Block(*counts[4:]), _bets(harm), _bets(no_harm))

    def _factors(self, block: Block, *, harm: bool) -> list[float]:
        """log S of each alternative."""
        guesses = [
            (_rate(self.seen.stable_n, self.seen.stable_bad), _rate(self.seen.candidate_n, self.seen.candidate_bad))
        ]
        if block.stable_n + block.candidate_n > _SURPRISE * (self.seen.stable_n + self.seen.candidate_n + 16):
            guesses += [(rate, rate) for rate in _GUESSES]
        margin = self.margin if harm else min(self.margin, _WIDEST)
        judged = [
            [_log_s(block, stable, candidate, margin) for candidate in _alternatives(stable, margin, own, harm=harm)]
            for stable, own in guesses
        ]
        return [_log_mean(logs) for logs in zip(*judged, strict=True)]


@dataclass(frozen=True)
class OneSample:
    """A rate against a fixed bound: disagreement in a shadow, or after a switch, when the stable gets no traffic.

    The same bets as those of ``TwoSample``, with nothing to project: of the rates up to the bound it is nearest itself.
    Where the bound is known to within two numbers only, ``harm`` bets against the larger one, ``bound``, and
    ``no_harm`` against the smaller one, ``low``: each keeps its promise wherever between them the true one lies.

    >>> test = OneSample.start(bound=0.01)
    >>> test.see(1000, 40).harm > 20, test.see(1000, 1).no_harm > 20
    (True, True)
    >>> test.see(1000, 10).harm < 20, test.see(1000, 10).no_harm < 20
    (True, True)
    >>> OneSample.load(test.see(1000, 40).dump()) == test.see(1000, 40)
    True

    20 requests of the stable version, none bad: its rate may have been 0 or 28 %. With a margin of 1 % a candidate with
    5 % is then neither shown to be harmful nor harmless:

    >>> low, high = bounds(20, 0, 0.01)
    >>> test = OneSample.start(high + 0.01, low + 0.01).see(1000, 50)
    >>> test.harm < 1, test.no_harm < 1
    (True, True)
    """

    bound: float
    low: float
    n: int
    bad: int
    bets_harm: _Bets
    bets_no_harm: _Bets

    @classmethod
    def start(cls, bound: float, low: float | None = None) -> OneSample:
        """No evidence. Without ``low`` the bound is known. Raises ValueError for a bound below 0 or below ``low``."""
        low = bound if low is None else low
        if not bound >= low >= 0:
            raise ValueError(f"the bound is a proportion, 0 or more, and not below {low}, not {bound}")
        return cls(bound, low, 0, 0, _Bets.start(_LATE), _Bets.start(0))

    def see(self, n: int, bad: int) -> OneSample:
        """With ``n`` requests more, of which ``bad`` were bad."""
        if not 0 <= bad <= n:
            raise ValueError(f"0 <= bad <= n is needed, not bad={bad}, n={n}")
        if not n:
            return self
        return OneSample(
            self.bound,
            self.low,
            self.n + n,
            self.bad + bad,
            self.bets_harm.see(n, self._factors(n, bad, harm=True)),
            self.bets_no_harm.see(n, self._factors(n, bad, harm=False)),
        )

    def next_step(self) -> OneSample:
        """As of ``TwoSample``."""
        return replace(self, bets_harm=self.bets_harm.next_step(), bets_no_harm=_Bets.start(0))

    @property
    def harm(self) -> float:
        """The e-value against "rate <= bound"."""
        return self.bets_harm.value

    @property
    def no_harm(self) -> float:
        """The e-value against "rate >= low"."""
        return self.bets_no_harm.value

    def dump(self) -> str:
        """All of the state: ``load`` gives back an equal test."""
        rest = (*_flat(self.bets_harm), *_flat(self.bets_no_harm))
        return _pack((self.bound, self.low), (self.n, self.bad), *rest)

    @classmethod
    def load(cls, text: str) -> OneSample:
        """The test that ``dump`` wrote. Raises ValueError for any other text."""
        (bound, low), ((n, bad), harm, no_harm) = _unpack(text, 2, 2, _BETS, _BETS)
        return cls(bound, low, n, bad, _bets(harm), _bets(no_harm))

    def _factors(self, n: int, bad: int, *, harm: bool) -> list[float]:
        """log S of each alternative."""
        if harm and self.bound >= 1:
            return [0.0] * len(_WEIGHTS)
        bound = min(max(self.bound if harm else self.low, _NOTHING), 1 - _EDGE if harm else _WIDEST)
        rates = _alternatives(bound, 0.0, _rate(self.n, self.bad), harm=harm)
        return [0.0 if rate is None else _log_ratio(n, bad, rate, bound) for rate in rates]


def bounds(n: int, bad: int, level: float) -> tuple[float, float]:
    """Between which two numbers a rate lies: outside of them with probability at most ``level``, whenever one looks.

    The rates that a mixture of bets (Beta(1/2, 1/2) over the alternatives) has not rejected at 1/level; H. Robbins,
    "Statistical methods related to the law of the iterated logarithm" (1970). A little wider than Clopper and
    Pearson's, whose level holds only for a number of requests that was fixed in advance. Both sides together have the
    one level: a bound is wrong only where the bet against the true rate was won.

    >>> bounds(0, 0, 0.05)
    (0.0, 1.0)
    >>> [[round(bound, 4) for bound in bounds(n, n // 100, 0.01)] for n in (20, 100, 1000, 10_000, 1_000_000)]
    [[0.0, 0.284], [0.0, 0.1004], [0.002, 0.0286], [0.0063, 0.015], [0.0095, 0.0105]]
    """
    if not (0 <= bad <= n and 0 < level < 1):
        raise ValueError(f"0 <= bad <= n and 0 < level < 1 are needed, not bad={bad}, n={n}, level={level}")
    mixture = math.lgamma(bad + 0.5) + math.lgamma(n - bad + 0.5) - math.lgamma(n + 1) - math.log(math.pi)
    # lgamma of 1e9 is 2e10: its last digits are 1e-5 nats.
    least = mixture + math.log(level) - 1e-15 * math.lgamma(n + 2)
    low = _last_kept(n, bad, least, outside=0.0) if bad else 0.0
    high = _last_kept(n, bad, least, outside=1.0) if bad < n else 1.0
    return low, high


def _last_kept(n: int, bad: int, least: float, outside: float) -> float:
    """The rate farthest from ``bad / n``, towards ``outside``, whose log likelihood is not below ``least``."""
    kept = bad / n
    for _ in range(60):
        middle = (kept + outside) / 2
        rate = min(max(middle, _EDGE / 10), 1 - _EDGE / 10)
        if bad * math.log(rate) + (n - bad) * math.log1p(-rate) >= least:
            kept = middle
        else:
            outside = middle
    return outside


def project(stable_n: int, candidate_n: int, stable: float, candidate: float, margin: float) -> float:
    """The x whose (x, x + margin) is nearest to the given rates, in Kullback-Leibler divergence weighted by requests.

    With margin 0 it is the mean of all requests:

    >>> project(90, 10, 0.1, 0.6, 0.0)
    0.15
    >>> nearest = project(90, 10, 0.1, 0.6, 0.2)
    >>> round(nearest, 4)
    0.1149
    >>> other = nearest + 0.2
    >>> slope = 90 * (nearest - 0.1) / (nearest * (1 - nearest)) + 10 * (other - 0.6) / (other * (1 - other))
    >>> abs(slope) < 1e-9
    True
    """
    if margin == 0:
        return (stable_n * stable + candidate_n * candidate) / (stable_n + candidate_n)
    low, high = max(min(stable, candidate - margin), 0.0), min(max(stable, candidate - margin), 1 - margin)
    x = (low + high) / 2
    for _ in range(200):  # a step of Newton's, or half of the bracket where that would leave it
        y = x + margin
        from_s, from_c = stable_n * (x - stable), candidate_n * (y - candidate)
        slope = from_s * y * (1 - y) + from_c * x * (1 - x)
        steep = stable_n * y * (1 - y) + from_s * (1 - 2 * y) + candidate_n * x * (1 - x) + from_c * (1 - 2 * x)
        low, high = (x, high) if slope < 0 else (low, x)
        nearer = x - slope / steep if steep > 0 else low
        if not low < nearer < high:
            nearer = (low + high) / 2
        if abs(nearer - x) <= 1e-15 * x:
            break
        x = nearer
    return x


def _alternatives(stable: float, margin: float, own: float, *, harm: bool) -> list[float | None]:
    """The candidate's rates that are bet on, None where there is no room beyond the margin.

    By factors in odds; as far beyond the margin as that is wide (for ``no_harm``: the stable's rate); its own so far.

    >>> rates = _alternatives(0.02, 0.01, 0.09, harm=True)
    >>> [round(rate, 4) for rate in rates if rate]
    [0.0372, 0.0472, 0.0718, 0.1565, 0.4813, 0.04, 0.09]
    >>> rates = _alternatives(0.02, 0.01, 0.09, harm=False)
    >>> [round(rate, 4) for rate in rates if rate]
    [0.0241, 0.019, 0.0122, 0.0051, 0.001, 0.02, 0.0294]
    >>> _alternatives(0.5, 0.6, 0.1, harm=True) == [None] * 7
    True
    """
    limit = stable + margin
    if harm and limit >= 1 - _EDGE:
        return [None] * len(_WEIGHTS)
    limit = min(limit, 1 - _EDGE)

    def beyond(factor: float) -> float:
        odds = limit / (1 - limit) * (factor if harm else 1 / factor)
        return odds / (1 + odds)

    least = beyond(_LEAST_FACTOR)
    rates = [
        *(beyond(factor) for factor in _FACTORS),
        (limit + margin if harm else limit - margin) if margin else beyond(_SMALL_FACTOR),
        max(least, own) if harm else min(least, own),
    ]
    within = (min(max(rate, _EDGE), 1 - _EDGE) for rate in rates)
    return [rate if (rate > limit if harm else rate < limit) else None for rate in within]


def _log_s(block: Block, stable: float, candidate: float | None, margin: float) -> float:
    """log S of a block for one alternative; 0, no bet, where there is none or its projection is too near to 1."""
    if candidate is None:
        return 0.0
    null = project(block.stable_n, block.candidate_n, stable, candidate, margin)
    if null + margin > 1 - _EDGE:
        return 0.0
    return _log_ratio(block.stable_n, block.stable_bad, stable, null) + _log_ratio(
        block.candidate_n, block.candidate_bad, candidate, null + margin
    )


def _rate(n: int, bad: int) -> float:
    """
    >>> _rate(0, 0), _rate(50, 49)
    (0.01, 0.495)
    """
    return (bad + _PRIOR_BAD) / (n + _PRIOR_N)


def _log_ratio(n: int, bad: int, rate: float, null: float) -> float:
    """The log likelihood of a side's requests at ``rate`` less that at ``null``.

    >>> round(math.exp(_log_ratio(10, 1, 0.5, 0.25)), 6) == round((0.5 / 0.25) * (0.5 / 0.75) ** 9, 6)
    True
    """
    return bad * math.log(rate / null) + (n - bad) * (math.log1p(-rate) - math.log1p(-null))


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def _sum(a: float, b: float) -> float:
    """log(e^a + e^b).

    >>> round(math.exp(_sum(math.log(2), math.log(3))), 9), _sum(1.0, -math.inf)
    (5.0, 1.0)
    """
    return max(a, b) + math.log1p(math.exp(-abs(a - b))) if min(a, b) > -math.inf else max(a, b)


def _log_mean(logs: tuple[float, ...]) -> float:
    """The log of the mean of e^logs."""
    most = max(logs)
    return most + math.log(math.fsum(math.exp(log - most) for log in logs) / len(logs))


def _down(log: float) -> int:
    """A logarithm in millionths of a nat, rounded down and kept writable.

    >>> _down(-0.1234567), _down(-math.inf)
    (-123457, -99000000)
    """
    return min(max(math.floor(max(log, -99.0) * _NAT), -_MOST), _MOST)


_BETS = len(_WEIGHTS) + 2


def _flat(bets: _Bets) -> tuple[int, ...]:
    return (*bets.logs, bets.reserve, bets.clock)


def _bets(numbers: tuple[int, ...]) -> _Bets:
    return _Bets(numbers[:-2], numbers[-2], numbers[-1])


def _pack(numbers: tuple[float, ...], counts: tuple[int, ...], *rest: int) -> str:
    return " ".join(["1", *(repr(number) for number in numbers), *(str(n) for n in (*counts, *rest))])


def _unpack(text: str, numbers: int, *lengths: int) -> tuple[tuple[float, ...], list[tuple[int, ...]]]:
    words = text.split(" ")
    if words[0] != "1" or len(words) != 1 + numbers + sum(lengths):
        raise ValueError(f"not the state of an analysis of this version: {text[:40]!r}")
    rest = iter([int(word) for word in words[1 + numbers :]])
    return tuple(float(word) for word in words[1 : 1 + numbers]), [
        tuple(next(rest) for _ in range(length)) for length in lengths
    ]
