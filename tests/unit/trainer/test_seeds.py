"""The same run gives the same numbers."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from slipway_trainer.seeds import process_environment, seed_everything, thread_count


def test_all_that_must_be_set_before_python_starts() -> None:
    wanted = process_environment(2**32 + 7, 3, {})
    assert wanted["PYTHONHASHSEED"] == "7"
    assert wanted["OMP_NUM_THREADS"] == wanted["MKL_NUM_THREADS"] == "3"
    assert wanted["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_what_somebody_set_by_hand_stays_but_for_the_seed() -> None:
    wanted = process_environment(7, 3, {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "random"})
    assert "OMP_NUM_THREADS" not in wanted
    assert wanted["PYTHONHASHSEED"] == "7"


def test_no_library_takes_fewer_threads_because_a_node_has_few_cores() -> None:
    wanted = process_environment(7, 64, {})
    assert wanted["OMP_DYNAMIC"] == wanted["MKL_DYNAMIC"] == "FALSE"


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_threads_are_the_runs_whatever_the_node_has(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert thread_count(3, {}) == 3
    assert thread_count(0, {}) == 1, "of a document that says nonsense"


def test_a_number_of_threads_that_the_image_sets_is_kept() -> None:
    assert thread_count(1, {"OMP_NUM_THREADS": "3"}) == 3
    for given in ("0", "many", "", "-1"):
        assert thread_count(2, {"OMP_NUM_THREADS": given}) == 2


def test_random_and_numpy_are_seeded() -> None:
    def draw(seed: int) -> tuple[float, float]:
        seed_everything(seed, 1)
        return random.random(), float(np.random.random())

    assert draw(7) == draw(7) != draw(8)
    assert draw(-1) == draw(-1)
