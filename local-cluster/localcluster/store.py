"""The cache's two rules: a thing appears whole or not at all, and one process at a time makes it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster import paths
from localcluster.progress import say


@contextmanager
def lock(name: str, *, root: Path | None = None) -> Iterator[None]:
    """Hold the lock `name`, waiting for whoever has it; the kernel lets go of it when its holder dies."""
    directory = (root or paths.cache()) / "locks"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / name).open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            say(f"  waiting for process {handle.read().strip() or 'unknown'}, which is at work on {name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield


@contextmanager
def publish(target: Path) -> Iterator[Path]:
    """Give a scratch directory that becomes `target` by one rename at the end; removed if the body fails.

    What a killed process left behind is removed by the next one: the caller holds the lock for `target`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".making-{target.name}-"
    for stale in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(stale, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    scratch.chmod(0o755)
    try:
        yield scratch
        scratch.rename(target)
    finally:
        if scratch.exists():
            shutil.rmtree(scratch)
