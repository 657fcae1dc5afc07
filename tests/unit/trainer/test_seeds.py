"""The same run gives the same numbers."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from slipway_trainer.seeds import cpu_limit, process_environment, seed_everything, thread_count

CPUS = len(os.sched_getaffinity(0))


def test_all_that_must_be_set_before_python_starts() -> None:
    wanted = process_environment(2**32 + 7, 3, {})
    assert wanted["PYTHONHASHSEED"] == "7"
    assert wanted["OMP_NUM_THREADS"] == wanted["MKL_NUM_THREADS"] == "3"
    assert wanted["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_what_somebody_set_by_hand_stays_but_for_the_seed() -> None:
    wanted = process_environment(7, 3, {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "random"})
    assert "OMP_NUM_THREADS" not in wanted
    assert wanted["PYTHONHASHSEED"] == "7"


@pytest.mark.parametrize(
    ("files", "threads"),
    [
        ({"cpu.max": "150000 100000"}, min(2, CPUS)),
        ({"cpu.max": "20000 100000"}, 1),
        ({"cpu.max": "max 100000"}, CPUS),
        ({"cpu.max": "99900000 100000"}, CPUS),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, CPUS),
        ({"cpu.max": "nonsense"}, CPUS),
        ({}, CPUS),
    ],
)
def test_threads_follow_the_containers_limit_not_the_node(tmp_path: Path, files: dict[str, str], threads: int) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert cpu_limit(tmp_path) == threads


def test_a_number_of_threads_that_somebody_set_is_kept() -> None:
    assert thread_count({"OMP_NUM_THREADS": "3"}) == 3
    for given in ("0", "many", "", "-1"):
        assert thread_count({"OMP_NUM_THREADS": given}) == cpu_limit()


def test_random_and_numpy_are_seeded() -> None:
    def draw(seed: int) -> tuple[float, float]:
        seed_everything(seed, 1)
        return random.random(), float(np.random.random())

    assert draw(7) == draw(7) != draw(8)
    assert draw(-1) == draw(-1)
