"""A look at the counters, as facts. Pure."""

from __future__ import annotations

from slipway.api.common import parse_time
from slipway.api.deployment import DeploymentStatus, Tally
from slipway.serving.analysis import judge
from slipway.serving.analysis.look import REQUESTS, SIDES, Side, blind, covers, record, since
from slipway.serving.rollout.situation import Situation
from slipway.serving.traffic.seen import countable, counted_on


def recorded(s: Situation) -> DeploymentStatus:
    """The facts with what this pass has read. Nothing else is decided here: what follows from the evidence is an event
    of the machine."""
    look = s.observed.look
    if look is None or not s.watching:
        return s.facts
    before = s.facts.looked
    if not look.said:  # nobody could be asked, or no answer has come yet
        told = before.trouble if before else ""
        return s.facts if look.trouble == told else s.facts.model_copy(update={"looked": blind(before, look)})
    # Another threshold, or other queries, under the same name: what they show cannot be compared with what was shown.
    known = before if before is not None and before.questions == s.questions else None
    grown, looked = since(known, look), record(look, known).model_copy(update={"questions": s.questions})
    if before is not None and looked.model_copy(update={"at": before.at}) == before:
        return s.facts  # nobody counted anything: nothing to remember, and nothing to write every second
    changed: dict[str, object] = {"looked": looked}
    if s.watched or s.remembers:
        judged = {metric.name for metric in s.watched}
        # What was found of a metric stays where only others are judged now: evidence of harm is of the whole rollout.
        others = [metric for metric in s.to_watch if metric.name not in judged]
        changed["analysis"] = [
            *judge.judge(s.facts.analysis, s.watched, grown, bar=s.bar, switched=s.asked == 100),
            *judge.look_back(s.facts.analysis, others, grown["Stable"] if s.remembers else {}),
        ]
    weights = s.facts.weights
    # Only what came between two looks that both lie after the gateway took this over tells about it, and only if no
    # pod that is sent requests was left out of either.
    pods: dict[Side, frozenset[str]] = {"Stable": s.runs_stable.answering, "Candidate": s.runs_candidate.answering}
    fair = s.counting and known is not None and covers(known, look, REQUESTS, pods)
    if weights is not None and known is not None and fair and countable(weights, parse_time(known.at)):
        stable, candidate = (grown[side].get(REQUESTS, Tally()).n for side in SIDES)
        counted = counted_on(weights.counted, stable, candidate)
        changed["weights"] = weights.model_copy(update={"counted": counted})
    return s.facts.model_copy(update=changed)
