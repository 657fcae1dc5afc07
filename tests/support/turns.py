"""What the workers of one test run (pytest-xdist) do one after the other, by locks on files that the kernel takes back
when a process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest


def shared_by_workers(factory: pytest.TempPathFactory) -> Path:
    """A directory that all workers of this run have."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock for a block; with ``shared`` others may hold it shared, too."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


@contextmanager
def cluster_turn(directory: Path, *, alone: bool) -> Iterator[None]:
    """The cluster for a block, with others or alone.

    Who comes goes through a gate, and who wants it alone stands in the gate while it waits: a lock by itself would let
    others in again and again, and whoever wants to be alone would never be.
    """
    with ExitStack() as stack:
        with locked(directory / "gate"):
            stack.enter_context(locked(directory / "cluster", shared=not alone))
        yield
