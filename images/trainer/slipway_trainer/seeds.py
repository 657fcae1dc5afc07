"""The same run gives the same numbers: seeds, deterministic algorithms, a fixed number of threads."""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


def process_environment(seed: int, threads: int, env: Mapping[str, str]) -> dict[str, str]:
    """Variables that must be set before Python, OpenMP and CUDA start. What is already set by hand stays.

    How sums are split among threads changes their last digits, so the number of threads is fixed by the run's CPU
    limit and not by the node that the pod landed on.

    >>> process_environment(7, 1, {})["PYTHONHASHSEED"]
    '7'
    """
    wanted = {
        "PYTHONHASHSEED": str(seed % 2**32),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        # https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        # A few lines of ConfigMap-mounted code are compiled in a blink, and its folder is read-only.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return {name: value for name, value in wanted.items() if name == "PYTHONHASHSEED" or name not in env}


def thread_count(env: Mapping[str, str]) -> int:
    """Threads of one operation: what ``OMP_NUM_THREADS`` says where somebody set it, else the CPU limit.

    >>> thread_count({"OMP_NUM_THREADS": "3"})
    3
    """
    given = env.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else cpu_limit()


def cpu_limit(cgroup: Path = _CGROUP) -> int:
    """Whole CPUs that this container may use: its limit rounded up, or the CPUs it may run on. At least 1."""
    usable = len(os.sched_getaffinity(0))
    for quota, period in _quotas(cgroup):
        if quota > 0 and period > 0:
            return max(1, min(usable, math.ceil(quota / period)))
    return usable


def _quotas(cgroup: Path) -> list[tuple[int, int]]:
    """CPU quota and period in microseconds, from cgroup v2 or else v1 (Linux: admin-guide/cgroup-v2, ``cpu.max``)."""
    found: list[tuple[int, int]] = []
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        found.append((0 if quota == "max" else int(quota), int(period)))
    except (OSError, ValueError):
        pass
    try:
        quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
        found.append((int(quota), int((cgroup / "cpu/cpu.cfs_period_us").read_text())))
    except (OSError, ValueError):
        pass
    return found


def restart_with(wanted: Mapping[str, str]) -> None:
    """Replace this process by itself with the variables set; returns only if they are."""
    if all(os.environ.get(name) == value for name, value in wanted.items()):
        return
    os.execve(  # noqa: S606 - this very program again
        sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **wanted}
    )


def seed_everything(seed: int, threads: int) -> None:
    """Seed random, numpy and torch, and have torch take deterministic algorithms where it has them."""
    random.seed(seed)
    try:
        import numpy as np
    except ImportError:
        pass
    else:
        np.random.seed(seed % 2**32)
    try:
        import torch
    except ImportError:
        return
    torch.manual_seed(seed % 2**63)  # the generators of all GPUs too
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
