"""What the container may use, and how its memory is shared out, so that no request can end the process.

A kernel that kills for memory loses every request under way. So each part has a bound of its own, and what does not
fit is one request's 413, 422 or 503. Of the memory that is free when the model is loaded:

    60%    onnxruntime's arena (activations): a run that needs more fails, alone
    25%    what parsing one JSON body may take; bodies are parsed one at a time
    12.5%  bodies that are held while they arrive and wait
     2.5%  answers kept for a shadow that compares (answers.py), and in a shadow half of it for its own; at most 16 MiB

Where no limit is set, only the limits of the ServeSpec hold.
"""

from __future__ import annotations

import ctypes
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")

KEPT_BLOCK: Final = 4 * 1024 * 1024
KEPT_TOP: Final = 32 * 1024 * 1024
"""Bytes that may lie free at the top of the heap."""
_M_TRIM_THRESHOLD: Final = -1  # of glibc's malloc.h; mallopt(3)
_M_MMAP_THRESHOLD: Final = -3


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes for each part."""

    arena: int
    json: int
    bodies: int
    answers: int

    @classmethod
    def of(cls, limit: int, used: int, weights: int) -> MemoryPlan:
        """Share out what ``limit`` leaves beside what is ``used`` before the model, and its ``weights``.

        At least 64 MiB are shared out: a container that small fails at the load, with the kernel's own words.

        >>> MemoryPlan.of(limit=512 << 20, used=80 << 20, weights=32 << 20).arena >> 20
        240
        """
        free = max(limit - used - weights, 64 << 20)
        return cls(arena=free * 6 // 10, json=free // 4, bodies=free // 8, answers=min(free // 40, 16 << 20))


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Cores that this process may use: its affinity, and the CPU limit of its container, rounded up."""
    cores = len(os.sched_getaffinity(0))
    text = _read(cgroup / "cpu.max")  # cgroup v2: "quota period"
    if text is not None:
        quota, _, period = text.partition(" ")
    else:
        quota = _read(cgroup / "cpu" / "cpu.cfs_quota_us") or "max"
        period = _read(cgroup / "cpu" / "cpu.cfs_period_us") or "100000"
    if not quota.isdigit() or not period.isdigit() or period == "0":  # "max", or v1's -1
        return cores
    return max(1, min(cores, math.ceil(int(quota) / int(period))))


def memory_limit(cgroup: Path = _CGROUP) -> int | None:
    """Bytes that the container may use, or None where nothing limits it below the machine's memory."""
    text = _read(cgroup / "memory.max") or _read(cgroup / "memory" / "memory.limit_in_bytes")
    if text is None or not text.isdigit():
        return None
    limit = int(text)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return limit if limit < machine else None


def memory_used() -> int:
    """Resident bytes of this process."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def keep_memory() -> None:
    """Let glibc keep freed blocks of up to ``KEPT_BLOCK`` bytes instead of giving each back to the kernel.

    By default every block above 128 KiB is mapped anew and unmapped when it is freed, so each page of a 600 kB body is
    faulted in three times: 0.7 ms of processor time a request where 0.15 ms do (docs/benchmarks.md), on a virtual
    machine, where a fault is dear. Called after the model was loaded, so that what loading freed is given back.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return
    mallopt(_M_MMAP_THRESHOLD, KEPT_BLOCK)
    mallopt(_M_TRIM_THRESHOLD, KEPT_TOP)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
