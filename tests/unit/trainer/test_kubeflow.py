"""Reports by the Kubeflow Trainer wire format, as Transformers and the Kubeflow SDK send them."""

from __future__ import annotations

import json

import pytest

from slipway_trainer.kubeflow import Report, ReportError, read_report


def body(**status: object) -> bytes:
    return json.dumps({"trainerStatus": status}).encode()


METRICS = [{"name": "loss", "value": "0.25"}, {"name": "current_step", "value": "30"}]
ALL_STEPS = {"name": "total_steps", "value": "120"}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        pytest.param(
            body(progressPercentage=25, lastUpdatedTime="2026-11-22T01:00:00+00:00", metrics=[*METRICS, ALL_STEPS]),
            Report(30, 120, {"loss": 0.25}),
            id="Transformers sends its steps as metrics",
        ),
        pytest.param(
            body(progressPercentage=45, estimatedRemainingSeconds=9, metrics=METRICS[:1]),
            Report(45, 100, {"loss": 0.25}),
            id="the SDK sends a percentage",
        ),
        pytest.param(body(progressPercentage=100), Report(100, 100, {}), id="no metrics"),
        pytest.param(body(metrics=None), Report(0, 100, {}), id="nothing known yet"),
    ],
)
def test_a_report_is_read(sent: bytes, read: Report) -> None:
    assert read_report(sent) == read


def test_steps_that_an_earlier_report_gave_are_kept() -> None:
    """The last report of Transformers has a percentage alone, and its first one no step."""
    first = read_report(body(progressPercentage=0, metrics=[ALL_STEPS]))
    assert first == Report(0, 120, {})
    assert read_report(body(progressPercentage=100), of=first.of) == Report(120, 120, {})


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"[]",
        b"{}",
        b'{"trainerStatus": 3}',
        body(progressPercentage="many"),
        body(metrics=[{"name": "loss"}]),
        body(metrics=[{"name": "loss", "value": "low"}]),
        body(progressPercentage=101),
        body(progressPercentage=-1),
        body(metrics=[{"name": "total_steps", "value": "inf"}]),
    ],
)
def test_what_is_no_report_is_refused_with_what_to_post(sent: bytes) -> None:
    with pytest.raises(ReportError, match=r"progressPercentage"):
        read_report(sent)


def test_more_steps_than_there_are_is_refused() -> None:
    with pytest.raises(ReportError, match="current_step is 200 and total_steps is 120"):
        read_report(body(metrics=[{"name": "current_step", "value": "200"}, ALL_STEPS]))
