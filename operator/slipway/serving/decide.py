"""Every choice about a Deployment: ``decide(observed, now) -> Plan``. Pure.

A pass either **decides** or **does**. If something happened, the pass writes the new facts and nothing else; if not,
it makes the children what the recorded facts say. So every decision is one atomic write, every child follows from
what is written down, and an operator that dies after any write goes on from there (docs/design/0005).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from slipway.api.common import ACTION_ANNOTATION, LastAction, answered, parse_time
from slipway.api.deployment import DeploymentStatus, VersionStatus
from slipway.api.reasons import Reason
from slipway.kube.objects import BUDGETS, HTTP_ROUTES, JOBS, SERVICES, TRAFFIC_POLICIES, WORKLOADS
from slipway.kube.plan import Apply, Change, Create, Event, Plan, delete
from slipway.serving import children, report
from slipway.serving.analysis.look import INTERVAL
from slipway.serving.observed import Observed, Running
from slipway.serving.rollout import machine
from slipway.serving.rollout.effects import Decision, carry_out, is_verb, refusal, retired
from slipway.serving.rollout.happened import happened, holds
from slipway.serving.rollout.machine import VERBS, State
from slipway.serving.rollout.record import recorded
from slipway.serving.rollout.situation import Situation, traffic_differs
from slipway.serving.traffic.seen import believed_at

LOOK_AGAIN: Final = 15.0
"""Seconds to the next look while something that wakes nobody is missing (a Gateway, a foreign object's end)."""


def decide(observed: Observed, now: datetime) -> Plan:
    """What one pass wants done."""
    situation = _look(observed, now)
    decision, by_person = _choose(situation)
    if decision is None:
        return _do(situation)
    facts = _with_answer(situation, decision) if by_person else decision.facts
    return Plan(
        status=report.status(_with(situation, facts)),
        remove_annotations=_annotation(observed) if by_person else None,
        events=(Event(decision.type, decision.reason, decision.message),),
        again=0.0,
    )


def refused(observed: Observed, sentence: str, now: datetime) -> Plan | None:
    """What to tell where the API server refused a child. A pass that decides writes none, so there is nothing to tell
    in the status that was refused itself."""
    situation = _look(observed, now)
    decision, _ = _choose(situation)
    if decision is not None or not any(_changes(situation)):
        return None
    told = report.status(situation, report.Trouble(Reason.WRITE_REFUSED, sentence, stalled=True))
    news = observed.status.message != told.message
    return Plan(status=told, events=(Event("Warning", Reason.WRITE_REFUSED, sentence),) if news else ())


def _look(observed: Observed, now: datetime) -> Situation:
    situation = _with(Situation(observed, now), answered(observed.status, observed.action))
    # A look at the counters becomes a fact first: the decision stands on what is recorded with it.
    return _with(situation, recorded(situation))


def _with(s: Situation, facts: DeploymentStatus) -> Situation:
    """The situation where these are the facts: the same one, with all that it has worked out, if they are already."""
    return s if facts is s.facts else Situation(replace(s.observed, status=facts), s.now)


# ------------------------------------------------------------------------------------------------------- deciding


def _choose(s: Situation) -> tuple[Decision | None, bool]:
    """The first decision there is, and whether a person asked for it."""
    if s.asked_anew and s.verb is None:
        known = ", ".join(VERBS)
        return refusal(s, f"{s.observed.action!r} is no action: write one of {known}"), True
    for event in machine.Event:
        row = machine.answer(s.state, event, partial(holds, s)) if happened(s, event) else None
        if row is not None:
            return carry_out(s, row), is_verb(row)
    return retired(s), False


def _with_answer(s: Situation, decision: Decision) -> DeploymentStatus:
    answer = LastAction.answer(s.observed.action, s.observed.action_by, decision.message, s.now)
    return decision.facts.model_copy(update={"last_action": answer})


def _annotation(observed: Observed) -> dict[str, str] | None:
    return {ACTION_ANNOTATION: observed.action} if observed.action is not None else None


# --------------------------------------------------------------------------------------------------------- doing


def _do(s: Situation) -> Plan:
    return Plan(
        changes=tuple(_changes(s)),
        status=report.status(s),
        # Only an annotation that was answered gets here: a new one is always a decision.
        remove_annotations=_annotation(s.observed),
        again=_next_look(s),
    )


def _changes(s: Situation) -> Iterator[Change]:
    """Children as the facts say: the traffic first, then what runs, then what is left over.

    The traffic never waits for another write, because an abort must get through even if the API server refuses
    everything else. It names only what an earlier pass has made and seen ready.
    """
    yield from _traffic(s)
    yield from _policy(s)
    yield from _preview(s)
    stable, candidate = s.sizes
    yield from _version(s, s.stable, stable)
    yield from _version(s, s.candidate, candidate)
    yield from _beside(s)
    yield from _left_over(s)


def _traffic(s: Situation) -> Iterator[Change]:
    possible = s.observed.gateway_api if s.spec.route else True
    if s.traffic is not None and not s.in_place and possible and s.observed.taken.traffic is None:
        # Compared already, and more closely than usual: see traffic_differs.
        yield Apply(s.traffic, None)


def _policy(s: Situation) -> Iterator[Change]:
    """What Envoy Gateway is told beside the route."""
    live = s.observed.policy
    if s.policy is not None:
        if s.observed.taken.traffic is None and (live is None or set(live["spec"]) != set(s.policy["spec"])):
            yield Apply(s.policy, None)
        elif live is not None:
            yield Apply(s.policy, live)
    elif live is not None:
        yield delete(TRAFFIC_POLICIES, live)


def _preview(s: Situation) -> Iterator[Change]:
    """The route of the preview host name stands while there is a candidate to be seen."""
    if s.preview is not None:
        if s.observed.preview is None or traffic_differs(s.preview, s.observed.preview):
            yield Apply(s.preview, None)
    elif s.observed.preview is not None:
        yield delete(HTTP_ROUTES, s.observed.preview)


def _beside(s: Situation) -> Iterator[Change]:
    """What a rollout needs beside the versions: the way from a shadow to the stable pods, and a person's test."""
    owner = s.observed.object
    compares = s.facts.candidate is not None and s.facts.candidate.comparison is not None
    if compares and s.stable is not None and s.state is not State.RETREATING:
        yield Apply(children.peers(owner, s.stable), s.observed.peers)
    elif s.observed.peers is not None:
        yield delete(SERVICES, s.observed.peers)
    step, wanted = s.here, s.test_name if s.state is State.TESTING else None
    for job in s.observed.tests:
        if job["metadata"]["name"] != wanted:
            yield delete(JOBS, job)
    version = s.observed.versions.get(s.candidate or "")
    if wanted is not None and s.test is None and step is not None and step.job is not None and version is not None:
        yield Create(children.test(owner, wanted, step.job, version, s.stable))


def _version(s: Situation, version: str | None, replicas: int) -> Iterator[Change]:
    known = s.observed.versions.get(version or "")
    running = s.observed.of(version)
    if version is None or known is None or version in s.observed.taken.versions:
        return
    if s.state is State.RETREATING and replicas == 0:
        return
    owner = s.observed.object
    yield Apply(children.service(owner, version), running.service)
    compares = next((v.comparison for v in _facts(s) if v.model_version == version), None)
    yield Apply(children.workload(owner, s.spec, known, replicas, s.observed.defaults, compares), running.workload)
    if replicas > 1:
        yield Apply(children.budget(owner, version), running.budget)
    elif running.budget is not None:
        yield delete(BUDGETS, running.budget)


def _facts(s: Situation) -> list[VersionStatus]:
    return [v for v in (s.facts.stable, s.facts.candidate, *s.facts.retiring) if v is not None]


def _left_over(s: Situation) -> Iterator[Change]:
    """Objects of versions that no fact names, and the other kind of traffic if spec.route came or went."""
    keep = {s.stable, s.candidate, *(r.model_version for r in s.facts.retiring)}
    for version, running in sorted(s.observed.running.items()):
        if version not in keep and (s.settled or version not in s.seen.holds):
            yield from _all_of(running)
    if s.settled:
        other = s.observed.front if s.spec.route else s.observed.route
        if other is not None:
            yield delete(SERVICES if s.spec.route else HTTP_ROUTES, other)


def _all_of(running: Running) -> Iterator[Change]:
    for resource, live in ((BUDGETS, running.budget), (WORKLOADS, running.workload), (SERVICES, running.service)):
        if live is not None:
            yield delete(resource, live)


# ------------------------------------------------------------------------------------------------------- waiting


def _next_look(s: Situation) -> float | None:
    """Seconds to the next moment at which time alone changes something; None where only events do."""
    moments = [
        m
        for m in (s.pause_ends, s.deadline, s.judged_from, s.inconclusive_at, *_settling(s))
        if m is not None and m > s.now
    ]
    if s.watching:
        moments.append(s.now + timedelta(seconds=INTERVAL))
    moments += [t for r in s.facts.retiring if (t := parse_time(r.scale_down_at)) > s.now]
    # Nothing wakes us when a policy is answered: its kind is not watched.
    if s.seen.trouble is not None or s.observed.target.stalled or s.observed.taken or s.policy_waits:
        moments.append(s.now + timedelta(seconds=LOOK_AGAIN))
    return (min(moments) - s.now).total_seconds() if moments else None


def _settling(s: Situation) -> Iterator[datetime]:
    if s.weights is not None and s.weights.accepted_at and not s.weights.verified:
        yield believed_at(s.weights.accepted_at)
