"""Progress: newest and best values, in bounded number."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slipway.contract import Metric, Progress
from slipway_trainer.failures import TrainerError
from slipway_trainer.progress import METRIC_LIMIT, ProgressBoard, as_number


def test_the_best_is_the_largest_unless_the_name_ends_with_loss_or_error() -> None:
    board = ProgressBoard()
    for step, (accuracy, loss, error) in enumerate([(0.5, 2.0, 3), (0.9, 0.5, 1), (0.7, 1.0, 2)], start=1):
        board.step(step, 3, {"accuracy": accuracy, "val_loss": loss, "Error": error})
    assert board.read() == Progress(
        step=3,
        of=3,
        metrics=[Metric("accuracy", "0.7", "0.9"), Metric("val_loss", "1.0", "0.5"), Metric("Error", "2", "1")],
    )


def test_a_value_that_is_no_number_is_shown_but_never_the_best() -> None:
    board = ProgressBoard()
    for value in (math.nan, 0.5, math.nan):
        board.step(1, 2, {"loss": value})
    assert board.read().metrics == [Metric("loss", "NaN", "0.5")]
    assert board.best("loss", 0.75) == 0.5
    assert board.best("other", 0.75) == 0.75


def test_scalars_of_numpy_are_numbers() -> None:
    assert as_number("a", np.float64(0.5)) == 0.5
    assert as_number("a", np.array([3])) == 3


@pytest.mark.parametrize("value", ["0.5", None, True, [1.0], np.array([1.0, 2.0])])
def test_what_is_not_one_number_is_refused_by_name(value: object) -> None:
    with pytest.raises(TrainerError, match="'accuracy' is not one number"):
        ProgressBoard().step(1, 1, {"accuracy": value})


@pytest.mark.parametrize("name", ["", "x" * 64, "line\nbreak"])
def test_a_name_that_would_not_read_well_is_refused(name: str) -> None:
    with pytest.raises(TrainerError, match="1 to 63 letters"):
        as_number(name, 1.0)


def test_the_number_of_names_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    board = ProgressBoard()
    board.step(1, 1, {f"m{i}": 1.0 for i in range(METRIC_LIMIT + 2)})
    board.step(1, 1, {f"m{METRIC_LIMIT}": 2.0})
    assert len(board.read().metrics) == METRIC_LIMIT
    assert [record.args for record in caplog.records] == [(METRIC_LIMIT, "m32"), (METRIC_LIMIT, "m33")]


def test_a_message_stands_until_the_next_step() -> None:
    board = ProgressBoard()
    board.tell("fetching data train, 3 of 10 files")
    assert board.read().message == "fetching data train, 3 of 10 files"
    board.step(1, 2, {})
    board.tell("exporting the model")
    assert (board.read().step, board.read().message) == (1, "exporting the model")
    board.step(2, 2, {})
    assert board.read().message == ""
