"""What the operator's own ``/metrics`` says about rollouts and data, and how its log tells of what is tried again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway.api.dataset import DatasetStatus
from slipway.api.deployment import DeploymentStatus
from slipway.api.model_version import ModelVersionStatus
from slipway.kube.objects import Key
from slipway.kube.plan import Event, Plan
from slipway.telemetry import QUIET_SECONDS, Metrics, TriedAgain

KEY, OTHER = Key("team", "digits"), Key("team", "cats")
ANALYSIS = {
    "metric": "errors",
    "stable": {"n": 900, "bad": 9},
    "candidate": {"n": 100, "bad": 20},
    "evidence": {"harm": "1.5e+06", "noHarm": "0.01"},
    "needed": "20",
    "verdict": "Harm",
}


def status(candidate: str | None = "digits-v2", **more: Any) -> DeploymentStatus:
    def version(name: str) -> dict[str, str]:
        return {"modelVersion": name, "workload": name, "service": name}

    wire: dict[str, Any] = {"stable": version("digits-v1"), "weights": {"stable": 90, "candidate": 10, "mirror": 0}}
    if candidate:
        wire |= {"candidate": version(candidate)}
    return DeploymentStatus.model_validate({**wire, **more})


def shown(metrics: Metrics, family: str) -> dict[tuple[str, ...], float]:
    """The series of a family, by the values of their labels in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for found in metrics.registry.collect()
        for sample in found.samples
        if sample.name == family
    }


def test_the_evidence_of_a_rollout() -> None:
    metrics = Metrics()
    metrics.rollouts.saw(KEY, Plan(status=status(analysis=[ANALYSIS])))
    assert shown(metrics, "slipway_analysis_evidence") == {
        ("digits", "harm", "errors", "team"): 1.5e6,
        ("digits", "no_harm", "errors", "team"): 0.01,
    }
    assert shown(metrics, "slipway_analysis_needed") == {("digits", "errors", "team"): 20}
    assert shown(metrics, "slipway_analysis_requests") == {
        ("digits", "errors", "team", "stable"): 900,
        ("digits", "errors", "team", "candidate"): 100,
    }
    assert shown(metrics, "slipway_analysis_bad_requests")["digits", "errors", "team", "candidate"] == 20


def test_the_weights() -> None:
    metrics = Metrics()
    metrics.rollouts.saw(KEY, Plan(status=status(weights={"stable": 90, "candidate": 10, "mirror": 50})))
    metrics.rollouts.saw(OTHER, Plan(status=status(None, weights={"stable": 100, "candidate": 0})))
    assert shown(metrics, "slipway_rollout_weight") == {
        ("digits", "team", "stable"): 90,
        ("digits", "team", "candidate"): 10,
        ("digits", "team", "shadow"): 50,
        ("cats", "team", "stable"): 100,
    }


def test_a_rollout_that_is_over_shows_no_evidence() -> None:
    metrics = Metrics()
    metrics.rollouts.saw(KEY, Plan(status=status(analysis=[ANALYSIS])))
    metrics.rollouts.saw(KEY, Plan(status=status(None, analysis=[ANALYSIS])))
    assert not shown(metrics, "slipway_analysis_evidence")


def test_a_deployment_that_is_gone_is_forgotten() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.rollouts.saw(Key("team", f"d{number}"), Plan(status=status(analysis=[ANALYSIS])))
    assert len(shown(metrics, "slipway_rollout_weight")) == 300
    for number in range(100):
        metrics.rollouts.saw(Key("team", f"d{number}"), None)
    assert not [s for f in metrics.registry.collect() if f.name.startswith("slipway_analysis") for s in f.samples]
    assert not shown(metrics, "slipway_rollout_weight")


@pytest.mark.parametrize("plan", [Plan(), Plan(status=ModelVersionStatus())])
def test_a_pass_that_says_nothing_about_a_rollout(plan: Plan) -> None:
    metrics = Metrics()
    metrics.rollouts.saw(KEY, plan)
    assert not shown(metrics, "slipway_rollout_weight")


def test_verdicts_are_counted_by_their_reason() -> None:
    metrics = Metrics()
    for reason in ("HarmFound", "Promoted", "Promoted"):
        metrics.rollouts.saw(KEY, Plan(status=status(), events=(Event("Normal", reason, "..."),)))
    metrics.rollouts.saw(KEY, Plan(status=status()))
    assert shown(metrics, "slipway_rollout_verdicts_total") == {("HarmFound",): 1, ("Promoted",): 2}


def test_the_reference_names_every_metric_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    named = {line.split("`")[1].split("{")[0] for line in page.splitlines() if line.startswith("| `")}
    families = {f.name + ("_total" if f.type == "counter" else "") for f in Metrics().registry.collect()}
    assert named == families


def test_the_verdicts_on_data_are_shown_and_forgotten() -> None:
    metrics = Metrics()
    checked = {"number": 1, "generation": 1, "at": "2026-01-01T00:00:00Z", "passed": False, "rules": 3, "read": 2}
    metrics.datasets.saw(KEY, Plan(status=DatasetStatus.model_validate({"checked": checked})))
    metrics.datasets.saw(OTHER, Plan(status=DatasetStatus()))
    assert shown(metrics, "slipway_dataset_passed") == {("digits", "team"): 0}
    assert shown(metrics, "slipway_dataset_checked_timestamp_seconds") == {("digits", "team"): 1767225600}
    metrics.datasets.saw(KEY, None)
    assert not shown(metrics, "slipway_dataset_passed")


Told = Callable[..., logging.LogRecord | None]


@pytest.fixture
def told() -> Told:
    """A library's record at a time, as the log tells it; None where it keeps it back."""
    kept = TriedAgain()

    def through(name: str, said: str, at: float, error: Exception | None = None) -> logging.LogRecord | None:
        info = (type(error), error, None) if error else None
        record = logging.LogRecord(name, logging.ERROR, "", 0, said, (), info)
        record.created = at
        return record if kept.filter(record) else None

    return through


KOPF = "kopf._cogs.clients.api"
WATCH = "Request attempt #{} failed; will retry: GET https://10.0.0.1/apis/{}?watch=true -> {}"
AWAY = "ClientConnectorError(ConnectionKey(host='10.0.0.1', port=443), ConnectionRefusedError(111, 'refused'))"


def test_an_api_server_that_is_away_is_told_of_once_in_a_while(told: Told) -> None:
    first = told(KOPF, WATCH.format(1, "trainingruns", AWAY), 100.0)
    assert first is not None
    assert first.levelname == "WARNING"
    assert first.getMessage() == WATCH.format(1, "trainingruns", "no connection")
    assert told(KOPF, WATCH.format(1, "modelversions", AWAY), 100.1) is None
    assert told(KOPF, WATCH.format(2, "trainingruns", AWAY), 101.0) is None
    other = told(KOPF, WATCH.format(1, "pods", "APIForbiddenError('may not watch')"), 102.0)
    assert other is not None
    assert told(KOPF, WATCH.format(9, "pods", AWAY), 100.0 + QUIET_SECONDS) is not None


def test_the_election_tells_no_traceback(told: Told) -> None:
    record = told("kubernetes.aio.leaderelection.resourcelock.leaselock", "Failed to update lock", 1.0, OSError("gone"))
    assert record is not None
    assert record.getMessage() == "Failed to update lock: gone"
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)


@pytest.mark.parametrize("name", ["kopf.objects", "slipway.kube.controller"])
def test_other_errors_are_told_as_they_are(told: Told, name: str) -> None:
    for _ in range(2):
        record = told(name, "the pass failed", 1.0, RuntimeError("a bug"))
        assert record is not None
        assert record.levelno == logging.ERROR
        assert record.exc_info
