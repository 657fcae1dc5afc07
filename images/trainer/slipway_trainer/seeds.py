"""The same run gives the same numbers: seeds, deterministic algorithms, a fixed number of threads."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping


def process_environment(seed: int, threads: int, env: Mapping[str, str]) -> dict[str, str]:
    """Variables that must be set before Python, OpenMP and CUDA start. What is already set by hand stays.

    How sums are split among threads changes their last digits, so the number of threads is the run's own (``threads``)
    and not that of the node that the pod landed on; and no library may take fewer because a node has few cores.

    >>> process_environment(7, 1, {})["PYTHONHASHSEED"]
    '7'
    """
    wanted = {
        "PYTHONHASHSEED": str(seed % 2**32),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "OMP_DYNAMIC": "FALSE",
        "MKL_DYNAMIC": "FALSE",
        # https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        # A few lines of ConfigMap-mounted code are compiled in a blink, and its folder is read-only.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return {name: value for name, value in wanted.items() if name == "PYTHONHASHSEED" or name not in env}


def thread_count(asked: int, env: Mapping[str, str]) -> int:
    """Threads of one operation: what ``OMP_NUM_THREADS`` says where the image sets it, else what the operator asks.

    Neither the CPUs of the node nor the container's CPU quota are looked at: pods of ours have no quota.

    >>> thread_count(2, {"OMP_NUM_THREADS": "3"}), thread_count(2, {})
    (3, 2)
    """
    given = env.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else max(1, asked)


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
