"""What to tell: phase, message and conditions of a Deployment, from what is known. Pure.

No sentence holds a time or a number that changes by itself, so a status that says the same is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeVar

from slipway.api.common import Condition, Label, Truth, duration, parse_time, set_conditions
from slipway.api.deployment import DeploymentStatus, VersionStatus
from slipway.api.reasons import Reason
from slipway.serving import children
from slipway.serving.analysis import judge
from slipway.serving.rollout import program
from slipway.serving.rollout.machine import State
from slipway.serving.rollout.situation import Situation
from slipway.serving.traffic import gateway_api, service
from slipway.serving.traffic.seen import stray
from slipway.serving.words import summary, words

V = TypeVar("V", bound=VersionStatus)
PATIENCE: Final = timedelta(seconds=30)
"""How long a gateway may take to take a route over before the status speaks of it."""


@dataclass(frozen=True)
class Trouble:
    """Something that keeps the Deployment from where it should be."""

    reason: str
    message: str
    stalled: bool


def status(s: Situation, worse: Trouble | None = None) -> DeploymentStatus:
    """The whole status for the facts of this situation.

    Args:
        worse: a trouble that is told instead of any that can be seen.
    """
    trouble = worse or _trouble(s)
    phase = _phase(s, trouble)
    message = _message(s, trouble)
    facts = s.facts
    busy = _busy(s)
    return facts.model_copy(
        update={
            "observed_generation": s.observed.generation,
            "phase": phase,
            "message": message,
            "stable": _counted(s, facts.stable),
            "candidate": _counted(s, facts.candidate),
            "candidate_role": program.role(
                facts, s.spec.strategy.type, s.here, s.weights.candidate if s.weights else 0
            ),
            "retiring": [_counted_one(s, r) for r in facts.retiring],
            "weights": s.weights,
            "replicas": sum(s.observed.of(version).pods_made for version in busy),
            "selector": _selector(s, busy),
            "url": _url(s),
            "conditions": _conditions(s, phase, message, trouble),
        }
    )


# ---------------------------------------------------------------------------------------------------- sentences


def _message(s: Situation, trouble: Trouble | None) -> str:
    told = _MESSAGES[s.state](s)
    if trouble and trouble.message not in told:
        told = f"{told}; {trouble.message}" if told else trouble.message
    return told[:4096]


def _empty(s: Situation) -> str:
    return s.observed.target.message or "no version runs"


def _first(s: Situation) -> str:
    return f"{s.candidate} starts: {_ready(s, s.candidate, s.spec.replicas)}"


def _healthy(s: Situation) -> str:
    if s.spec.replicas == 0:
        return f"{s.stable} is scaled to zero: {_ZERO}"
    ready = _ready(s, s.stable, s.spec.replicas)
    serves, _, why = _serves(s)
    lacks = f"; the next rollout cannot begin: {s.refusal.message}" if s.refusal else ""
    return (f"{s.stable} serves: {ready}" if serves else f"{s.stable} runs: {ready}; {why}") + lacks


def _starting(s: Situation) -> str:
    if not s.candidate_whole:
        return f"{s.kind} {s.candidate} starts: {_ready(s, s.candidate, s.candidate_need)}"
    return f"{s.kind} {s.candidate} is ready and joins the traffic at 0%"


def _step(s: Situation) -> str:
    return f"{_at(s)}: {_place(s)}, moves to {s.asked}%{_short(s)}{_so_far(s)}"


def _wait(s: Situation) -> str:
    lasts = duration(s.here.lasts or 0.0) if s.here else ""
    return f"{_at(s)}: {_place(s)}, pauses {lasts}{_short(s)}{_so_far(s)}"


def _analysing(s: Situation) -> str:
    return f"{_at(s)}: {_place(s)}, {judge.summary(s.facts.analysis) or 'the first look is awaited'}{_short(s)}"


def _shadowing(s: Situation) -> str:
    percent = s.here.mirror if s.here else 0
    gets = "gets" if s.extras.mirror else "waits for"
    told = summary(s.facts) or "the first look is awaited"
    return f"{s.kind} {s.candidate} {gets} copies of {percent}% of the requests: {_place(s)}, {told}{_short(s)}"


def _testing(s: Situation) -> str:
    return f"{_at(s)}: {_place(s)}, the Job {s.test_name} tests it"


def _so_far(s: Situation) -> str:
    """What a background analysis has seen."""
    told = judge.summary(s.facts.analysis) if s.watched else ""
    return f"; {told}" if told else ""


def _paused(s: Situation) -> str:
    held = s.facts.rollout is not None and s.facts.rollout.paused_at is not None
    why = s.facts.rollout.message if s.facts.rollout and held else ""
    what = f"held: {why}. Say resume, promote or abort" if held else "waits for a person: promote or abort"
    return f"{_at(s)}: {_place(s)}, {what}{_short(s)}"


def _promoting(s: Situation) -> str:
    return f"{_at(s)}: all steps are done, moves to 100%{_short(s)}"


def _retreating(s: Situation) -> str:
    why = s.facts.rollout.message if s.facts.rollout else f"another version takes the place of {s.candidate}"
    return f"{why}; it leaves the traffic"


def _aborted(s: Situation) -> str:
    why = s.facts.rollout.message if s.facts.rollout else ""
    return f"{why}; {s.stable} serves. Say retry, or set another spec.modelVersion"


_MESSAGES: Final[Mapping[State, Callable[[Situation], str]]] = {
    State.EMPTY: _empty,
    State.FIRST: _first,
    State.HEALTHY: _healthy,
    State.STARTING: _starting,
    State.STEP: _step,
    State.ANALYSING: _analysing,
    State.SHADOWING: _shadowing,
    State.TESTING: _testing,
    State.WAIT: _wait,
    State.PAUSED: _paused,
    State.PROMOTING: _promoting,
    State.RETREATING: _retreating,
    State.ABORTED: _aborted,
}


_ZERO: Final = "spec.replicas is 0, so no request is answered; scale it up to serve again"


def _ready(s: Situation, version: str | None, asked: int) -> str:
    if asked == 0:
        return "scaled to zero"
    return f"{min(asked, s.observed.of(version).ready)} of {asked} {'replica' if asked == 1 else 'replicas'} ready"


def _at(s: Situation) -> str:
    share = s.weights.candidate if s.weights else 0
    asked = s.asked
    # Behind a plain Service the share is that of the pods, which can only come near what is asked.
    honest = f" (asked {asked}%)" if s.spec.route is None and share != asked else ""
    return f"{s.kind} {s.candidate} at {share}%{honest}"


def _place(s: Situation) -> str:
    end = len(s.steps)
    if s.facts.step is None:
        return "before the first step"
    if s.facts.step.index >= end:
        return "all steps are done"
    return f"step {s.facts.step.index + 1} of {end}"


def _short(s: Situation) -> str:
    """What is left unsaid: why the candidate does not get what the step asks."""
    asked = s.asked
    able = s.able
    if asked and s.weight > asked:
        return f"; {s.stable} has no ready replica, so it gets {s.weight}%"
    if asked and not s.candidate_whole:
        ready = _ready(s, s.candidate, s.candidate_need)
        return f"; {ready}" if able >= asked else f"; {ready}, which carries {able}%"
    return ""


# ----------------------------------------------------------------------------------------------------- troubles


def _trouble(s: Situation) -> Trouble | None:
    """What stands in the way, the first of those that may."""
    return next((found for look in _TROUBLES if (found := look(s))), None)


def _name_taken(s: Situation) -> Trouble | None:
    return Trouble(Reason.NAME_TAKEN, str(s.observed.taken), True) if s.observed.taken else None


def _target(s: Situation) -> Trouble | None:
    target = s.observed.target
    served = s.stable is not None and target.wanted == s.stable
    if s.state not in (State.EMPTY, State.HEALTHY) or target.fit or served:
        return None
    return Trouble(target.reason, target.message, target.stalled)


def _cannot(s: Situation) -> Trouble | None:
    """The strategy cannot be carried out here, and somebody waits for it. Before that only the message says so: what
    serves well is not degraded by what a next rollout would lack."""
    waits = s.observed.target.wanted not in (None, s.stable)
    found = s.refusal if waits and s.state in (State.EMPTY, State.HEALTHY, State.ABORTED) else None
    return Trouble(found.reason, found.message, found.stalled) if found else None


def _blind(s: Situation) -> Trouble | None:
    """The counters that something waits for cannot be read."""
    # As recorded: most passes do not look themselves, and must not say that nothing is wrong.
    looked = s.facts.looked
    if s.state not in (State.ANALYSING, State.SHADOWING) or looked is None or not looked.trouble:
        return None
    return Trouble(Reason.NO_COUNTERS, looked.trouble, False)


def _gave_up(s: Situation) -> Trouble | None:
    rollout = s.facts.rollout
    if s.state is not State.ABORTED or rollout is None:
        return None
    return Trouble(rollout.reason or Reason.ABORTED, rollout.message, True)


def _traffic(s: Situation) -> Trouble | None:
    found = s.seen.trouble
    since = s.weights.written_at if s.weights else None
    # A moment of it belongs to every write: only a long one is worth a word.
    long = since is not None and s.now >= parse_time(since) + PATIENCE
    return Trouble(found.reason, found.message, found.stalled) if found and (found.stalled or long) else None


def _policy(s: Situation) -> Trouble | None:
    """The gateway does not do what copies, or clients that stay, need of it. Before a rollout only the message says so:
    one version serves alone as well."""
    live = s.observed.policy
    if s.candidate is None or live is None or not s.policy_waits:
        return None
    if found := s.policy_answer.trouble:
        return Trouble(found.reason, found.message, found.stalled)
    since = live["metadata"].get("creationTimestamp")
    if since is None or s.now < parse_time(since) + PATIENCE:
        return None
    name = f"{s.observed.namespace}/{live['metadata']['name']}"
    return Trouble(Reason.ROUTE_PENDING, f"the gateway has not taken the BackendTrafficPolicy {name} over yet", False)


def _stray(s: Situation) -> Trouble | None:
    """The gateway says that it follows, and the servers count something else."""
    told, since = stray(s.weights), s.weights.written_at if s.weights else None
    if told is None or since is None or s.now < parse_time(since) + PATIENCE:
        return None
    direct = " or ".join(children.child_name(s.observed.name, v) for v in (s.stable, s.candidate) if v)
    return Trouble(
        Reason.TRAFFIC_DIFFERS,
        f"the traffic does not come as the route asks: {told}; look at the gateway's proxies, and whether somebody "
        f"sends requests to the Service {direct} past the gateway",
        False,
    )


def _candidate_pods(s: Situation) -> Trouble | None:
    said = s.candidate_words
    if s.candidate is None or said is None or s.candidate_whole:
        return None
    # With a stable version there is a deadline that ends it; a first version may only tell.
    stalled = said.hopeless or (s.state is State.FIRST and (said.stalled or _is_late(s)))
    return Trouble(said.reason, said.message, stalled)


def _late(s: Situation) -> Trouble | None:
    if s.state is not State.FIRST or not _is_late(s):
        return None
    return Trouble(
        Reason.PROGRESS_DEADLINE_EXCEEDED,
        f"not ready within {s.spec.progress_deadline}: look at the pods' logs, say retry to wait anew, or set "
        "another spec.modelVersion",
        True,
    )


def _is_late(s: Situation) -> bool:
    return s.deadline is not None and s.now >= s.deadline


def _stable_pods(s: Situation) -> Trouble | None:
    outdated = s.runs_stable.outdated
    if s.stable is None or (s.runs_stable.ready >= s.stable_goal and not outdated):
        return None
    said = words(s.runs_stable, s.spec)
    if outdated:
        why = f": {said.message}" if said else ""
        return Trouble(Reason.REPLACING_PODS, f"{outdated} of its pods are still to be replaced{why}", False)
    return Trouble(Reason.REPLICAS_UNAVAILABLE, said.message, False) if said else None


_TROUBLES: Final = (
    _name_taken,
    _target,
    _cannot,
    _traffic,
    _policy,
    _stray,
    _candidate_pods,
    _blind,
    _late,
    _gave_up,
    _stable_pods,
)


# --------------------------------------------------------------------------------------------------- conditions

_PHASE: Final[Mapping[State, Literal["Progressing", "Paused", "Healthy", "Degraded"]]] = {
    State.EMPTY: "Progressing",
    State.FIRST: "Progressing",
    State.HEALTHY: "Healthy",
    State.STARTING: "Progressing",
    State.STEP: "Progressing",
    State.ANALYSING: "Progressing",
    State.SHADOWING: "Progressing",
    State.TESTING: "Progressing",
    State.WAIT: "Progressing",
    State.PAUSED: "Paused",
    State.PROMOTING: "Progressing",
    State.RETREATING: "Progressing",
    State.ABORTED: "Degraded",
}

_ROLLING: Final[Mapping[State, Reason]] = {
    State.FIRST: Reason.FIRST_STARTING,
    State.STARTING: Reason.CANDIDATE_STARTING,
    State.STEP: Reason.STEP_RUNNING,
    State.ANALYSING: Reason.ANALYSING,
    State.SHADOWING: Reason.ANALYSING,
    State.TESTING: Reason.TEST_RUNNING,
    State.WAIT: Reason.STEP_RUNNING,
    State.PAUSED: Reason.PAUSED,
    State.PROMOTING: Reason.STEP_RUNNING,
    State.RETREATING: Reason.RETREATING,
}
"""States in which a version is on its way, and the reason that the conditions give."""


def _phase(s: Situation, trouble: Trouble | None) -> str:
    if trouble and trouble.stalled:
        return "Degraded"
    if s.state is State.RETREATING and s.facts.rollout is not None:
        return "Degraded"
    if s.state is State.HEALTHY and s.spec.replicas == 0 and not trouble:
        return "Paused"
    whole = s.runs_stable.ready >= s.stable_goal and _serves(s)[0]
    if s.state is State.HEALTHY and (not whole or trouble):
        return "Progressing"
    return _PHASE[s.state]


def _serves(s: Situation) -> tuple[bool, Reason, str]:
    """Whether clients are answered: whoever has traffic has a ready replica, and the gateway knows the route."""
    if s.stable is None or s.weights is None:
        return False, Reason.FIRST_STARTING, "no version serves yet"
    if s.spec.replicas == 0:
        return False, Reason.SCALED_TO_ZERO, _ZERO
    share = {s.stable: s.weights.stable, s.candidate: s.weights.candidate}
    dead = [version for version, weight in share.items() if weight and not s.observed.of(version).ready]
    if dead:
        return False, Reason.NOT_SERVING, f"{', '.join(str(d) for d in dead)} gets traffic but has no ready replica"
    found = s.seen.trouble
    if found and found.stalled:
        return False, found.reason, found.message
    if not (s.weights.verified or s.seen.served):
        return False, Reason.ROUTE_PENDING, found.message if found else "the traffic has not settled yet"
    if s.runs_stable.ready < s.stable_goal:
        return True, Reason.REPLICAS_UNAVAILABLE, f"{s.stable} serves: {_ready(s, s.stable, s.stable_goal)}"
    return True, Reason.HEALTHY, f"{s.stable} serves"


def _conditions(s: Situation, phase: str, message: str, trouble: Trouble | None) -> list[Condition]:
    serves, why, words_ = _serves(s)
    rolling = _ROLLING.get(s.state)
    stalled = trouble is not None and trouble.stalled
    resting = s.state is State.HEALTHY and s.spec.replicas == 0
    moving = not stalled and not resting and phase in ("Progressing", "Paused")
    # One reason for the three that speak of the way: what is in the way, or where it is, or why it is not there yet.
    cause = str(trouble.reason if trouble else rolling or why)
    wanted = (
        _condition("Ready", serves, why, words_),
        _condition("Progressing", rolling is not None, rolling or cause, message),
        _condition("Reconciling", moving, cause, message),
        _condition("Stalled", stalled, cause, message if stalled else ""),
    )
    return set_conditions(s.facts.conditions, wanted, s.observed.generation, s.now)


def _condition(kind: str, holds: bool, reason: str, message: str) -> tuple[str, Truth, str, str]:
    return kind, "True" if holds else "False", str(reason), message


# -------------------------------------------------------------------------------------------------------- numbers


def _counted(s: Situation, version: VersionStatus | None) -> VersionStatus | None:
    return _counted_one(s, version) if version else None


def _counted_one(s: Situation, version: V) -> V:
    running = s.observed.of(version.model_version)
    return version.model_copy(update={"replicas": running.replicas, "ready_replicas": running.ready})


def _busy(s: Situation) -> list[str]:
    """The versions whose pods an autoscaler is to look at: those that clients' requests reach. A former version that
    keeps its replicas for a while, and one that only gets copies, would make it see idle pods, or the load twice."""
    weights = s.weights
    share = {s.stable: weights.stable, s.candidate: weights.candidate} if weights else {s.candidate: 100}
    return sorted(version for version, weight in share.items() if version and weight)


def _selector(s: Situation, versions: list[str]) -> str:
    chosen = ",".join(f"{k}={v}" for k, v in children.selector(s.observed.name).items())
    return f"{chosen},{Label.MODEL_VERSION} in ({','.join(versions)})" if versions else chosen


def _url(s: Situation) -> str | None:
    version = s.observed.versions.get(s.stable or "")
    if version is None:
        return None
    route = s.spec.route
    return gateway_api.url(s.observed, route, version.model) if route else service.url(s.observed, version.model)
