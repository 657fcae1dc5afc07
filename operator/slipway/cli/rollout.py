"""What a person wants to know of a rollout, as lines. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from slipway.api.common import duration, parse_time
from slipway.api.deployment import (
    AnalysisStep,
    CanaryStep,
    DeploymentSpec,
    DeploymentStatus,
    MetricAnalysis,
    Pause,
    Shadow,
    ShadowTerms,
    Tally,
)
from slipway.cli.client import Object
from slipway.cli.show import age, moment

_BAR: Final = 24
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Piece:
    """A part of a line, and the colour that rich gives it."""

    text: str
    style: str = ""


Line = tuple[Piece, ...]


@dataclass(frozen=True)
class Section:
    """A heading with its lines."""

    title: str
    lines: tuple[Line, ...]


def steps(spec: DeploymentSpec) -> list[str]:
    """The steps of the strategy in words; as many as the operator counts in ``status.step``."""
    strategy = spec.strategy
    if strategy.type == "Canary":
        return [_canary(step) for step in strategy.canary.steps] if strategy.canary else ["weight 100%"]
    if strategy.type == "Shadow":
        plan = strategy.shadow or Shadow()
        return [_shadow(plan), *(["wait for a person"] if plan.on_pass == "Hold" else [])]  # noqa: S105 - no password
    made = []
    plan_ = strategy.blue_green
    before, after = (plan_.pre_promotion, plan_.post_promotion) if plan_ else (None, None)
    if before and before.job:
        made.append(f"test by a Job of {before.job.image}")
    if before and before.analysis:
        made.append(f"{_analysis(before.analysis)} of the preview")
    if plan_ and not plan_.auto_promote:
        made.append("wait for a person")
    made.append("switch: weight 100%")
    if after:
        made.append(f"{_analysis(after.analysis)} after the switch")
    return made


def _canary(step: CanaryStep) -> str:
    if step.pause is not None:
        return _pause(step.pause)
    if step.analysis is not None:
        return _analysis(step.analysis)
    if step.shadow is not None:
        return _shadow(step.shadow)
    if step.header_route is not None:
        return f"requests with {step.header_route.name}: {step.header_route.value}"
    return f"weight {step.set_weight}%"


def _pause(pause: Pause) -> str:
    return f"pause {pause.duration}" if pause.duration else "wait for a person"


def _analysis(given: AnalysisStep) -> str:
    return f"analysis, {given.duration} at least" if given.duration else "analysis"


def _shadow(plan: ShadowTerms) -> str:
    return f"copies of {plan.percent}% of the requests, {plan.min_samples:,} compared"


def view(deployment: Object, now: datetime) -> list[Section]:
    """Everything about a Deployment that a person asks of a rollout."""
    spec = DeploymentSpec.model_validate(deployment["spec"])
    status = DeploymentStatus.model_validate(deployment.get("status") or {})
    sections = [
        Section("Traffic", tuple(_traffic(status))),
        Section("Versions", tuple(_versions(status, now))),
        Section("Steps", tuple(_steps(spec, status, now))),
        Section("Evidence", tuple(_evidence(m) for m in status.analysis)),
        Section("History", tuple(_history(status))),
        Section("Last word", tuple(_last(status, now))),
    ]
    return [s for s in sections if s.lines]


def headline(deployment: Object) -> tuple[Line, str]:
    """Name, phase and place; and the operator's own sentence."""
    meta, status = deployment["metadata"], deployment.get("status") or {}
    phase, url = str(status.get("phase", "")), str(status.get("url") or "")
    strategy = str(deployment["spec"].get("strategy", {}).get("type", ""))
    line = (
        Piece(str(meta["name"]), "bold"),
        Piece("  "),
        Piece(phase or "not looked at yet", phase),
        Piece(f"  {strategy}, namespace {meta['namespace']}"),
        Piece(f"  {url}".rstrip(), "dim"),
    )
    return line, str(status.get("message", ""))


def _traffic(status: DeploymentStatus) -> list[Line]:
    weights = status.weights
    if status.stable is None and status.candidate is None:
        return []
    if weights is None:
        return [(Piece("not moved yet", "dim"),)]
    counted = weights.counted
    lines: list[Line] = []
    for version, percent, requests in (
        (status.stable, weights.stable, counted.stable if counted else None),
        (status.candidate, weights.candidate, counted.candidate if counted else None),
    ):
        if version is not None:
            seen = f"  {requests:,} requests" if requests is not None else ""
            lines.append(
                (Piece(f"{version.model_version}  {percent:>3}%  "), Piece(_bar(percent), "cyan"), Piece(seen))
            )
    if weights.mirror:
        lines.append((Piece(f"copies of {weights.mirror}% of the requests go to the candidate"),))
    if status.candidate is not None:
        how = {"Traffic": "seen in the traffic", "Conditions": "by its conditions"}.get(weights.verified_by or "", "")
        lines.append(
            (Piece(f"the gateway follows: {how}" if weights.verified else "the gateway does not follow yet", "dim"),)
        )
    return lines


def _bar(percent: int) -> str:
    """A bar of at most 24 cells, in eighths.

    >>> _bar(50)
    '████████████'
    """
    eighths = round(percent / 100 * _BAR * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _versions(status: DeploymentStatus, now: datetime) -> list[Line]:
    lines: list[Line] = []
    for role, version in (("stable", status.stable), (status.candidate_role or "candidate", status.candidate)):
        if version is not None:
            ready = f"{version.ready_replicas}/{version.replicas} ready"
            colour = "Ready" if version.ready_replicas >= version.replicas else "Progressing"
            lines.append((Piece(f"{version.model_version}  "), Piece(f"{role:<9}  "), Piece(ready, colour)))
    for old in status.retiring:
        left = (parse_time(old.scale_down_at) - now).total_seconds()
        when = f"for {duration(left)} more" if left > 0 else "until the gateway follows"
        lines.append(
            (Piece(f"{old.model_version}  "), Piece("retiring   ", "dim"), Piece(f"keeps its replicas {when}", "dim"))
        )
    return lines


def _steps(spec: DeploymentSpec, status: DeploymentStatus, now: datetime) -> list[Line]:
    """Only while something is on its way: what a next rollout would do stands in the spec."""
    if status.candidate is None or status.stable is None:
        return []
    here = status.step.index if status.step else -1
    lines: list[Line] = []
    for index, words in enumerate(steps(spec)):
        mark, colour = ("✔", "green") if index < here else ("●", "yellow") if index == here else ("○", "dim")
        since = f"  for {age(status.step.started_at, now)}" if status.step and index == here else ""
        lines.append(
            (Piece(f"{mark} {index + 1} ", colour), Piece(words, "" if index <= here else "dim"), Piece(since, "dim"))
        )
    return lines


def _evidence(metric: MetricAnalysis) -> Line:
    against = f"{_share(metric.candidate)} against {_share(metric.stable)}"
    needed = f"  (no harm {metric.evidence.no_harm}, harm {metric.evidence.harm}, needed {metric.needed})"
    return (
        Piece(f"{metric.metric}  {against}  "),
        Piece(metric.verdict, metric.verdict),
        Piece(needed if metric.verdict == "Undecided" else "", "dim"),
    )


def _share(tally: Tally) -> str:
    """
    >>> _share(Tally(n=900, bad=1)), _share(Tally())
    ('1 of 900 (0.111%)', '0 of 0')
    """
    return f"{tally.bad} of {tally.n}" + (f" ({100 * tally.bad / tally.n:.3g}%)" if tally.n else "")


def _history(status: DeploymentStatus) -> list[Line]:
    lines: list[Line] = [
        (
            Piece(f"{moment(entry.to)}  {entry.model_version}  "),
            Piece(entry.outcome, entry.outcome),
            Piece(f"  {entry.reason}", "dim"),
        )
        for entry in status.history
    ]
    return lines


def _last(status: DeploymentStatus, now: datetime) -> list[Line]:
    last = status.last_action
    if last is None:
        return []
    by = f" by {last.by}" if last.by else ""
    return [(Piece(f"{last.action}{by}, {age(last.at, now)} ago: {last.result}"),)]
