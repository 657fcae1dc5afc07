"""Control groups while pods end: they go at any moment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from localcluster import cgroups


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A group with two below it, in the only hierarchy."""
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path)
    (tmp_path / "cgroup.controllers").write_text("")
    for name in ("pod", "pod/container"):
        (tmp_path / "ours" / name).mkdir(parents=True)
    (tmp_path / "ours" / "pod" / "container" / "cgroup.procs").write_text(f"{os.getpid()}\n")
    return tmp_path / "ours"


def test_every_process_below_is_a_member(top: Path) -> None:
    assert [identity.pid for identity in cgroups.members(top.name)] == [os.getpid()]
    assert cgroups.members("theirs") == []


def test_a_group_that_goes_meanwhile_is_none(top: Path) -> None:
    seen = cgroups._groups(top)
    assert next(seen) == top
    shutil.rmtree(top / "pod")
    assert [group for group in seen if group.exists()] == []


def test_the_deepest_is_removed_first(top: Path) -> None:
    (top / "pod" / "container" / "cgroup.procs").unlink()  # the kernel's own files hold no group
    cgroups.remove(top.name)
    assert not top.exists()
