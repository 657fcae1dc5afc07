"""What a container may use, as both versions of cgroups tell it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slipway_server import resources
from slipway_server.resources import MemoryPlan


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


CORES: dict[str, tuple[dict[str, str], int]] = {
    "no limit": ({"cpu.max": "max 100000"}, 4),
    "one core and a half": ({"cpu.max": "150000 100000"}, 2),
    "half a core": ({"cpu.max": "50000 100000"}, 1),
    "more than there are": ({"cpu.max": "900000 100000"}, 4),
    "nothing mounted": ({}, 4),
    "version 1": ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
    "version 1, no limit": ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 4),
}


@pytest.mark.parametrize("case", CORES)
def test_cores(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, cores = CORES[case]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert resources.usable_cores(write(tmp_path, files)) == cores


MEMORY: dict[str, tuple[dict[str, str], int | None]] = {
    "no limit": ({"memory.max": "max"}, None),
    "a limit": ({"memory.max": "536870912"}, 536870912),
    "nothing mounted": ({}, None),
    "version 1": ({"memory/memory.limit_in_bytes": "536870912"}, 536870912),
    "version 1, no limit": ({"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
}


@pytest.mark.parametrize("case", MEMORY)
def test_memory(case: str, tmp_path: Path) -> None:
    files, limit = MEMORY[case]
    assert resources.memory_limit(write(tmp_path, files)) == limit


def test_used_memory_is_that_of_this_process() -> None:
    before = resources.memory_used()
    held = b"x" * (64 << 20)
    assert resources.memory_used() - before > len(held) // 2


def test_the_parts_fit_into_what_is_free() -> None:
    plan = MemoryPlan.of(limit=512 << 20, used=80 << 20, weights=50 << 20)
    assert plan.arena + plan.json + plan.bodies <= (512 - 80 - 50) << 20
    assert plan.bodies > 40 << 20


def test_a_container_that_is_too_small_still_gets_bounds() -> None:
    plan = MemoryPlan.of(limit=64 << 20, used=80 << 20, weights=50 << 20)
    assert min(plan.arena, plan.json, plan.bodies) > 0
