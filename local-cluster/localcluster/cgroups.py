"""The control groups that hold this cluster's pods, in version 1 and version 2 of the kernel's interface.

A parent of their own: two kubelets under one root would each take the other's pods for leftovers, and kill them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from localcluster.processes import Identity

_ROOT = Path("/sys/fs/cgroup")


def _unified() -> bool:
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    if _unified():
        return [_ROOT]
    return [d for d in _ROOT.iterdir() if d.is_dir() and not d.is_symlink() and (d / "cgroup.procs").exists()]


def ensure(name: str) -> None:
    """Make the group `name` in every hierarchy."""
    for hierarchy in _hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)
        if _unified():
            for controller in (hierarchy / "cgroup.controllers").read_text().split():
                for group in (hierarchy, hierarchy / name):
                    # A controller that this machine does not hand down is one the kubelet does not need either, or
                    # names in its log.
                    with contextlib.suppress(OSError):
                        (group / "cgroup.subtree_control").write_text(f"+{controller}")


def members(name: str) -> list[Identity]:
    """Every process in `name` and below: the pods'."""
    pids: set[int] = set()
    for hierarchy in _hierarchies():
        for group in _groups(hierarchy / name):
            with contextlib.suppress(OSError):
                pids.update(int(line) for line in (group / "cgroup.procs").read_text().split())
    return [identity for pid in pids if (identity := Identity.of(pid)) is not None]


def _groups(top: Path) -> Iterator[Path]:
    """A group and all below it; one that goes meanwhile is none. (``Path.glob`` raises on it.)"""
    for folder, _, _ in os.walk(top):
        yield Path(folder)


def remove(name: str) -> None:
    """Remove the empty groups, the deepest first."""
    for hierarchy in _hierarchies():
        for group in sorted(_groups(hierarchy / name), key=lambda d: len(d.parts), reverse=True):
            with contextlib.suppress(OSError):
                group.rmdir()
