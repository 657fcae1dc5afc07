"""What Flagger and Argo Rollouts would have said on the same streams, at the values of their documentation.

Flagger (fluxcd/flagger, docs/gitbook/usage: deployment-strategies.md, metrics.md): ``interval: 1m``, ``threshold: 10``
failed checks, ``maxWeight: 50`` by ``stepWeight: 2`` (so 25 good checks), ``request-success-rate`` at least 99 %,
``request-duration`` P99 at most 500 ms, each over 1 minute. A failed check halts the advancement and is counted for
good (pkg/controller/scheduler.go), and so is one without values (scheduler_metrics.go).

Argo Rollouts (argoproj/argo-rollouts, docs/features/analysis.md): ``successCondition: result[0] >= 0.95``, ``interval:
60s``, ``count: 5``; ``failureLimit`` 0 (pkg/apis/rollouts/v1alpha1/analysis_types.go). Without requests the query gives
NaN, which is not >= 0.95. Its rates come from scrapes, every minute by Prometheus' default.

Both get the traffic that our rule gets (the weights of the case, not Flagger's own), and look at the candidate alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNDECIDED, ABORTED, PROMOTED = 0, 1, 2
MINUTE = 60


@dataclass(frozen=True)
class Checks:
    """A check every minute of the candidate's last minute: passed while at most ``allowed`` of the requests are bad."""

    name: str
    allowed: float
    good_to_promote: int
    bad_to_abort: int

    def start(self, rollouts: int) -> Watch:
        """Watch as many rollouts."""
        return Watch(self, rollouts)


FLAGGER = Checks("Flagger", allowed=0.01, good_to_promote=25, bad_to_abort=10)
ARGO = Checks("Argo Rollouts", allowed=0.05, good_to_promote=5, bad_to_abort=1)


class Watch:
    """The state of one rule over many rollouts."""

    def __init__(self, checks: Checks, rollouts: int) -> None:
        self.checks = checks
        self.n, self.bad = np.zeros(rollouts, np.int64), np.zeros(rollouts, np.int64)
        self.passed, self.failed = np.zeros(rollouts, np.int64), np.zeros(rollouts, np.int64)
        self._minute = 1

    def see(self, second: int, n: NDArray[np.int64], bad: NDArray[np.int64]) -> NDArray[np.int64]:
        """The candidate's requests until ``second``; what is decided now, for each rollout."""
        self.n += n
        self.bad += bad
        verdict = np.full(len(n), UNDECIDED)
        if second < self._minute * MINUTE:
            return verdict
        self._minute = second // MINUTE + 1
        good = (self.n > 0) & (self.bad <= self.checks.allowed * self.n)
        self.passed += good
        self.failed += ~good
        self.n[:], self.bad[:] = 0, 0
        verdict[self.passed >= self.checks.good_to_promote] = PROMOTED
        verdict[self.failed >= self.checks.bad_to_abort] = ABORTED
        return verdict
