"""Why a strategy cannot be carried out where it is asked for, known before anything is begun. Pure."""

from __future__ import annotations

from slipway.api.reasons import Reason
from slipway.serving.observed import Observed
from slipway.serving.rollout.program import Step
from slipway.serving.traffic import features, policy
from slipway.serving.traffic.features import Feature
from slipway.serving.traffic.gateway_api import parent_ref
from slipway.serving.traffic.seen import Trouble


def refusal(observed: Observed, steps: tuple[Step, ...]) -> Trouble | None:
    """The first thing that is missing; None where nothing is known to be.

    A rollout to the first version has no steps, but what its successor will need is said at once, not months later.
    """
    analysis = observed.spec.analysis
    if analysis and analysis.source == "Prometheus" and not observed.defaults.prometheus:
        return Trouble(
            Reason.NO_COUNTERS,
            "spec.analysis.source is Prometheus, but this operator was not told of one: set the chart's value "
            "prometheus.address, or write source: Pods",
            stalled=True,
        )
    if observed.spec.route is None:
        return None
    for feature in needs(observed, steps):
        said = features.refusal(observed.gateway_class, feature, policies=observed.policies)
        if said:
            return Trouble(Reason.GATEWAY_CANNOT, said, stalled=True)
    if observed.spec.route.stickiness is None:
        return None
    # It stands before the rollout: where it was refused, clients would go back and forth between the versions.
    return policy.taken(observed.policy, parent_ref(observed.spec.route.gateway, observed.namespace)).trouble


def needs(observed: Observed, steps: tuple[Step, ...]) -> list[Feature]:
    """What the gateway must be able to do."""
    found = []
    if any(step.mirror for step in steps):
        found.append(Feature.MIRROR)
    if any(0 < step.mirror < 100 for step in steps):
        found.append(Feature.PERCENT_MIRROR)
    if any(step.header for step in steps):
        found.append(Feature.HEADER_MATCH)
    if observed.spec.route is not None and observed.spec.route.stickiness is not None:
        found.append(Feature.STICKINESS)
    return found
