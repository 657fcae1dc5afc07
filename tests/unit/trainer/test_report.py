"""The termination message: it always fits, the first end stands, and no secret is in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.contract import (
    TERMINATION_MESSAGE_LIMIT,
    Artifact,
    DataResult,
    Environment,
    Failure,
    Metric,
    Signature,
    Tensor,
    TrainResult,
    dumps,
    loads,
)
from slipway_trainer import failures
from slipway_trainer.failures import TrainerError
from slipway_trainer.report import Outcome, fit


def result(metrics: int = 1, data: int = 1) -> TrainResult:
    digest = "sha256:" + "a" * 64
    return TrainResult(
        artifact=Artifact("s3://models/digits/runs/uid/model.onnx", digest, 17432),
        signature=Signature([Tensor("x", "FP32", [-1, 64])], [Tensor("y", "FP32", [-1, 10])]),
        metrics=[Metric(f"metric-{i}", "0.9733333333333334", "0.98") for i in range(metrics)],
        data=[DataResult(f"data-{i}", f"s3://data/{i}/", digest, 3, 1000) for i in range(data)],
        environment=Environment("3.13.5"),
        result="s3://models/digits/runs/uid/result.json",
        startedAt="2026-11-22T01:00:00Z",
        finishedAt="2026-11-22T02:00:00Z",
    )


@given(st.integers(0, 300))
def test_a_result_is_cut_to_what_fits_and_says_so(metrics: int) -> None:
    whole = result(metrics)
    short = fit(whole)
    assert len(dumps(short).encode()) <= TERMINATION_MESSAGE_LIMIT
    assert short.metrics == whole.metrics[: len(short.metrics)]
    assert len(short.metrics) + short.metricsCut == metrics
    assert loads(TrainResult, dumps(short)) == short


def test_as_many_metrics_as_fit_are_kept() -> None:
    short = fit(result(300))
    one_more = TrainResult(**{**vars(short), "metrics": result(len(short.metrics) + 1).metrics})
    assert len(dumps(one_more).encode()) > TERMINATION_MESSAGE_LIMIT


def test_a_result_that_does_not_fit_without_metrics_is_a_failure() -> None:
    with pytest.raises(TrainerError, match="use fewer data sets") as caught:
        fit(result(data=40))
    assert (caught.value.reason.name, caught.value.reason.again) == ("ResultTooLarge", False)


@given(st.text(min_size=0, max_size=6000))
def test_a_failure_always_fits_and_can_be_read(text: str) -> None:
    from slipway_trainer.report import _fit_failure

    document = _fit_failure("CodeRaised", text)
    assert len(document.encode()) <= TERMINATION_MESSAGE_LIMIT
    read = loads(Failure, document)
    assert read.message == text or " ... " in read.message


def test_a_long_traceback_keeps_its_end(tmp_path: Path) -> None:
    Outcome(tmp_path / "log").fail(TrainerError(failures.CODE_RAISED, "begin " + "x" * 9000 + " ValueError: bad"))
    message = loads(Failure, (tmp_path / "log").read_text()).message
    assert message.startswith("begin ")
    assert message.endswith(" ValueError: bad")


def test_the_exit_status_says_whether_another_attempt_can_help(tmp_path: Path) -> None:
    assert Outcome(tmp_path / "a").fail(TrainerError(failures.CODE_RAISED, "m")) == 1
    assert Outcome(tmp_path / "b").fail(TrainerError(failures.DATA_DIGEST_MISMATCH, "m")) == 64
    assert Outcome(tmp_path / "c").succeed(result()) == 0
    assert loads(Failure, (tmp_path / "b").read_text()) == Failure("DataDigestMismatch", "m")
    assert loads(TrainResult, (tmp_path / "c").read_text()) == result()


def test_the_first_end_stands(tmp_path: Path) -> None:
    """SIGTERM may come while the result is being reported, and must not turn it into a failure."""
    outcome = Outcome(tmp_path / "log")
    outcome.succeed(result())
    assert outcome.fail(TrainerError(failures.INTERRUPTED, "told to stop")) == 0
    assert loads(TrainResult, (tmp_path / "log").read_text()) == result()


def test_secrets_are_struck_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Outcome(tmp_path / "log", ["hunter2hunter2", ""]).fail(
        TrainerError(failures.CODE_RAISED, "cannot log in with hunter2hunter2")
    )
    assert json.loads((tmp_path / "log").read_text())["message"] == "cannot log in with ***"
    assert "hunter2" not in caplog.text
