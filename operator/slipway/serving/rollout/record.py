"""A look at the counters, as facts. Pure."""

from __future__ import annotations

from slipway.api.deployment import Counted, DeploymentStatus
from slipway.serving.analysis import judge
from slipway.serving.analysis.look import REQUESTS, record, since
from slipway.serving.rollout.machine import State
from slipway.serving.rollout.situation import Situation


def recorded(s: Situation) -> DeploymentStatus:
    """The facts with what this pass has read. Nothing else is decided here: what follows from the evidence is an event
    of the machine."""
    look = s.observed.look
    if look is None or not s.watching:
        return s.facts
    grown = since(s.facts.looked, look)
    names = sorted({metric for side in look.counts.values() for counts in side.values() for metric in counts})
    changed: dict[str, object] = {"looked": record(look, names)}
    if s.state is State.STARTING and s.spec.analysis:
        changed["analysis"] = judge.look_back(s.facts.analysis, s.to_watch, grown["Stable"])
    elif s.watched:
        changed["analysis"] = judge.judge(s.facts.analysis, s.watched, grown, bar=s.bar, switched=s.asked == 100)
    weights = s.facts.weights
    if weights is not None and weights.accepted_at is not None:
        stable, candidate = (grown[side].get(REQUESTS) for side in ("Stable", "Candidate"))
        before = weights.counted or Counted()
        counted = Counted(
            stable=before.stable + (stable.n if stable else 0),
            candidate=before.candidate + (candidate.n if candidate else 0),
        )
        changed["weights"] = weights.model_copy(update={"counted": counted})
    return s.facts.model_copy(update=changed)
