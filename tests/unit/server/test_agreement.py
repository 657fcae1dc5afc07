"""When two answers agree: a table of sentences, and numpy's own rule."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from slipway.contract import Comparison, Tensor
from slipway_server.agreement import (
    AGREED,
    CLASS,
    ERROR,
    INCOMPARABLE,
    NUMERIC,
    REPEATED_ID,
    UNANSWERED,
    Judge,
    Tolerance,
)
from slipway_server.answers import REPEATED, Summary, summarise
from slipway_server.reasons import LoadError
from slipway_server.signature import Array, TensorPlan

NAN, INF = np.nan, np.inf
EXACT = Tolerance(0.0, 0.0)
LOOSE = Tolerance(absolute=0.1, relative=0.01)

SCORES = Tensor("y", "FP32", [-1, 3])
NUMBERS = Tensor("y", "FP32", [-1])
LABELS = Tensor("y", "INT64", [-1])
COUNTS = Tensor("y", "INT64", [-1, 4])
TEXTS = Tensor("y", "BYTES", [-1])
FLAGS = Tensor("y", "BOOL", [-1])

TYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_, "BYTES": object}


@dataclass(frozen=True)
class Case:
    tensor: Tensor
    own: object
    other: object
    outcome: str
    tolerance: Tolerance = field(default=EXACT)
    other_tensor: Tensor | None = None


CASES: dict[str, Case] = {
    "the same numbers agree": Case(NUMBERS, [1, 2], [1, 2], AGREED),
    "without tolerance the smallest difference counts": Case(NUMBERS, [1.0000001], [1], NUMERIC),
    "within the absolute tolerance": Case(NUMBERS, [0.05], [0], AGREED, LOOSE),
    "beyond the absolute tolerance": Case(NUMBERS, [0.2], [0], NUMERIC, LOOSE),
    "within the relative tolerance, of the peer's number": Case(NUMBERS, [101], [100], AGREED, LOOSE),
    "beyond the relative tolerance": Case(NUMBERS, [102], [100], NUMERIC, LOOSE),
    "one element of many is enough": Case(NUMBERS, [1, 1, 5, 1], [1, 1, 1, 1], NUMERIC, LOOSE),
    "NaN agrees with NaN": Case(NUMBERS, [1, NAN], [1, NAN], AGREED, LOOSE),
    "NaN agrees with no number": Case(NUMBERS, [1, NAN], [1, 2], NUMERIC, LOOSE),
    "no number agrees with NaN": Case(NUMBERS, [1, 2], [1, NAN], NUMERIC, LOOSE),
    "infinity agrees with itself": Case(NUMBERS, [INF, -INF, 1.05], [INF, -INF, 1], AGREED, LOOSE),
    "no number is near infinity, however wide the relative tolerance": Case(NUMBERS, [1e30], [INF], NUMERIC, LOOSE),
    "infinities of unlike sign disagree": Case(NUMBERS, [INF], [-INF], NUMERIC, LOOSE),
    "another number of rows disagrees": Case(NUMBERS, [1, 2], [1, 2, 3], NUMERIC, LOOSE),
    "a wider type may hold the same number": Case(
        NUMBERS, [1.5], [1.5], AGREED, other_tensor=Tensor("y", "FP64", [-1])
    ),
    "the same class agrees, whatever the scores": Case(SCORES, [[1, 9, 2]], [[0, 1, 0]], AGREED),
    "another class disagrees": Case(SCORES, [[1, 9, 2]], [[9, 1, 2]], CLASS),
    "one row of many is enough": Case(SCORES, [[1, 0, 0]] * 3, [[1, 0, 0]] * 2 + [[0, 1, 0]], CLASS),
    "a tie of the peer's agrees with either": Case(SCORES, [[1, 9, 2]], [[5, 5, 0]], AGREED),
    "a tie of one's own agrees with either": Case(SCORES, [[5, 5, 0]], [[0, 9, 0]], AGREED),
    "a tie with a third class does not help": Case(SCORES, [[5, 0, 5]], [[0, 9, 0]], CLASS),
    "almost a tie, within the tolerance": Case(SCORES, [[5.0, 4.95, 0]], [[0, 9, 0]], AGREED, LOOSE),
    "almost a tie, without tolerance": Case(SCORES, [[5.0, 4.95, 0]], [[0, 9, 0]], CLASS),
    "a NaN among one side's scores is a numeric disagreement": Case(SCORES, [[NAN, 9, 2]], [[0, 9, 2]], NUMERIC),
    "NaN among both sides' scores agrees": Case(SCORES, [[NAN, 9, 2]], [[7, NAN, 2]], AGREED),
    "a model with a class more may agree": Case(
        SCORES, [[1, 9, 2]], [[1, 9, 2, 3]], AGREED, other_tensor=Tensor("y", "FP32", [-1, 4])
    ),
    "a class that one's own model does not have": Case(
        SCORES, [[1, 9, 2]], [[1, 2, 3, 9]], CLASS, other_tensor=Tensor("y", "FP32", [-1, 4])
    ),
    "scores against an embedding": Case(
        SCORES, [[1, 9, 2]], [[0.0] * 5000], NUMERIC, other_tensor=Tensor("y", "FP32", [-1, 5000])
    ),
    "the same labels agree": Case(LABELS, [3, 4], [3, 4], AGREED),
    "labels have no tolerance": Case(LABELS, [1000], [1001], CLASS, LOOSE),
    "whole numbers that are no labels have": Case(COUNTS, [[1000, 0, 0, 0]], [[1001, 0, 0, 0]], AGREED, LOOSE),
    "large whole numbers are compared exactly": Case(COUNTS, [[2**53 + 1, 0, 0, 0]], [[2**53, 0, 0, 0]], NUMERIC),
    "the largest whole numbers are far apart": Case(
        COUNTS, [[2**63 - 1, 0, 0, 0]], [[-(2**63), 0, 0, 0]], NUMERIC, Tolerance(1e6, 0.5)
    ),
    "the same texts agree": Case(TEXTS, ["cat", "dog"], ["cat", "dog"], AGREED),
    "another text disagrees": Case(TEXTS, ["cat", "dog"], ["cat", "fox"], CLASS),
    "a text is no number": Case(TEXTS, ["1"], [1], CLASS, other_tensor=NUMBERS),
    "another flag disagrees": Case(FLAGS, [True, False], [True, True], CLASS),
}


def summary(tensor: Tensor, values: object) -> Summary:
    return (200, *summarise([np.array(values, dtype=TYPES[tensor.datatype])]))


@pytest.mark.parametrize("sentence", CASES)
def test_outputs(sentence: str) -> None:
    case = CASES[sentence]
    other_tensor = case.other_tensor or case.tensor
    judge = Judge((TensorPlan.of(case.tensor),), case.tolerance)
    found = judge.judge(
        summary(case.tensor, case.own),
        summary(other_tensor, case.other),
        ((other_tensor.name, other_tensor.datatype),),
    )
    assert found == case.outcome


STATUSES: dict[str, tuple[int, int, str]] = {
    "both answered": (200, 200, AGREED),
    "the shadow cannot compute what its peer can": (422, 200, ERROR),
    "the shadow is broken": (500, 200, ERROR),
    "the shadow has no room": (503, 200, ERROR),
    "the shadow was too slow": (504, 200, ERROR),
    "the shadow computes what its peer refused": (200, 422, ERROR),
    "both refused": (400, 400, UNANSWERED),
    "the peer's fault is not the shadow's": (200, 500, UNANSWERED),
    "the peer had no room": (200, 503, UNANSWERED),
    "the client left": (200, 499, UNANSWERED),
    "the gateway dropped the copy": (499, 200, UNANSWERED),
    "neither": (500, 503, UNANSWERED),
    "two clients' requests of one id": (200, REPEATED, REPEATED_ID),
}


@pytest.mark.parametrize("sentence", STATUSES)
def test_statuses(sentence: str) -> None:
    own, other, outcome = STATUSES[sentence]

    def answer(status: int) -> Summary:
        return summary(NUMBERS, [1]) if status == 200 else (status, (), ())

    judge = Judge((TensorPlan.of(NUMBERS),), EXACT)
    assert judge.judge(answer(own), answer(other), (("y", "FP32"),)) == outcome


def both(scores: list[float], numbers: list[float]) -> Summary:
    return (200, *summarise([np.array([scores], dtype=np.float32), np.array(numbers, dtype=np.float32)]))


def test_a_request_disagrees_once_and_its_class_comes_first() -> None:
    outputs = (TensorPlan.of(Tensor("n", "FP32", [-1])), TensorPlan.of(Tensor("s", "FP32", [-1, 2])))
    judge = Judge(outputs, EXACT)
    own: Summary = (200, *summarise([np.array([1], dtype="f4"), np.array([[1, 2]], dtype="f4")]))
    other: Summary = (200, *summarise([np.array([2], dtype="f4"), np.array([[2, 1]], dtype="f4")]))
    assert judge.judge(own, other, (("n", "FP32"), ("s", "FP32"))) == CLASS


def test_outputs_are_paired_by_name_and_only_common_ones_are_compared() -> None:
    judge = Judge((TensorPlan.of(Tensor("s", "FP32", [-1, 2])), TensorPlan.of(Tensor("n", "FP32", [-1]))), EXACT)
    own = both([1, 2], [7])
    turned: Summary = (200, own[1][::-1], own[2][::-1])
    assert judge.judge(own, turned, (("n", "FP32"), ("s", "FP32"))) == AGREED
    assert judge.judge(own, summary(NUMBERS, [7]), (("n", "FP32"),)) == AGREED
    assert judge.judge(own, summary(NUMBERS, [8]), (("n", "FP32"),)) == NUMERIC
    assert judge.judge(own, summary(NUMBERS, [8]), (("other", "FP32"),)) == INCOMPARABLE


ANY = arrays.arrays(np.float32, 6, elements=st.floats(width=32, allow_nan=True, allow_infinity=True))


@given(ANY, ANY, st.floats(0, 10), st.floats(0, 1))
def test_numbers_agree_as_numpy_says(own: Array, other: Array, absolute: float, relative: float) -> None:
    with np.errstate(all="ignore"):
        expected = np.isclose(own.astype("f8"), other.astype("f8"), rtol=relative, atol=absolute, equal_nan=True)
    assert (Tolerance(absolute, relative).holds(own, other) == expected).all()


INTEGERS = arrays.arrays(np.int64, 4)


@given(INTEGERS, INTEGERS, st.integers(0, 2**40))
def test_whole_numbers_are_compared_exactly(own: Array, other: Array, absolute: int) -> None:
    expected = [abs(int(a) - int(b)) <= absolute for a, b in zip(own, other, strict=True)]
    assert Tolerance(absolute, 0).holds(own, other).tolist() == expected


@given(arrays.arrays(np.float32, (7, 5), elements=st.floats(width=32)), st.floats(0, 1))
def test_an_answer_agrees_with_itself(scores: Array, tolerance: float) -> None:
    tensor = Tensor("y", "FP32", [-1, 5])
    found: Summary = (200, *summarise([scores]))
    again: Summary = (200, *summarise([scores.astype(np.float64)]))
    judge = Judge((TensorPlan.of(tensor),), Tolerance(tolerance, tolerance))
    assert judge.judge(found, found, (("y", "FP32"),)) == AGREED
    assert judge.judge(found, again, (("y", "FP64"),)) == AGREED


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "1,5"])
def test_a_tolerance_that_is_none(text: str) -> None:
    with pytest.raises(LoadError, match="must be a number of at least 0, like 1e-4"):
        Tolerance.of(Comparison("h:1", absolute=text))
    assert Tolerance.of(Comparison("h:1", "1e-4", "0.5")) == Tolerance(1e-4, 0.5)
