"""Quantiles and frequent values are what they say, within the error that they say, however the data are cut up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from slipway_dataset.column import SHARES
from slipway_dataset.frequent import ROOM, Frequent
from slipway_dataset.quantiles import K, Quantiles

Values = NDArray[np.float64]
ORDERS: dict[str, Callable[[Values, np.random.Generator], Values]] = {
    "sorted": lambda values, _: values,
    "backwards": lambda values, _: values[::-1],
    "mixed": lambda values, rng: rng.permutation(values),
    "from both ends": lambda values, _: np.ravel(np.column_stack([values, values[::-1]]))[: len(values)],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("pieces", [1, 7, 400])
def test_ranks_are_off_by_about_a_hundredth(order: str, pieces: int) -> None:
    values = ORDERS[order](np.arange(100_000.0), np.random.default_rng(5))
    merged = Quantiles()
    for piece in np.array_split(values, pieces):
        one = Quantiles()
        one.add(piece)
        merged.merge(one)
    assert merged.count == 100_000
    ranks = np.searchsorted(np.sort(values), merged.at(SHARES)) / len(values)
    assert np.abs(ranks - np.array(SHARES)).max() < 0.015


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=K), st.sampled_from(SHARES))
def test_few_values_are_kept_exactly(values: list[float], share: float) -> None:
    sketch = Quantiles()
    sketch.add(np.array(values))
    (found,) = sketch.at([share])
    assert sum(v <= found for v in values) >= share * len(values) - 1e-6
    assert sum(v < found for v in values) < share * len(values) + 1e-6


def test_the_same_values_give_the_same_sketch_and_it_stays_small() -> None:
    one, two = Quantiles(), Quantiles()
    for sketch in (one, two):
        for piece in np.array_split(np.random.default_rng(1).normal(size=300_000), 50):
            sketch.add(piece)
    text = json.dumps(one.dump())
    assert text == json.dumps(two.dump())
    assert sum(len(level) for level in one.dump()["l"]) < 3.2 * K
    again = Quantiles.load(json.loads(text))
    assert again.at(SHARES) == one.at(SHARES)
    again.add(np.arange(1000.0))
    one.add(np.arange(1000.0))
    assert again.dump() == one.dump()


@given(st.lists(st.lists(st.integers(0, 600).map(str), max_size=900), max_size=5))
def test_counts_are_low_by_the_error_at_most(files: list[list[str]]) -> None:
    merged, truth = Frequent(), Counter[str]()
    for file in files:
        one = Frequent()
        one.add(Counter(file))
        merged.merge(Frequent.load(json.loads(json.dumps(one.dump()))))
        truth.update(file)
    found = dict(merged.top(ROOM))
    for value, count in truth.items():
        assert count - merged.error <= found.get(value, 0) <= count
    assert merged.error <= sum(truth.values()) / (ROOM + 1)
    if len(truth) <= ROOM and merged.error == 0:
        assert merged.distinct == len(truth)


def test_a_value_that_is_most_of_the_data_is_found_among_many() -> None:
    sketch = Frequent()
    for start in range(0, 50_000, 500):
        sketch.add({"often": 400} | {str(n): 1 for n in range(start, start + 500)})
    ((value, count),) = sketch.top(5)
    assert value == "often"
    assert 40_000 - sketch.error <= count <= 40_000
    assert sketch.distinct is None
