"""What `local-cluster memory` says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localcluster import cli, node, paths
from localcluster.processes import Identity


def test_a_process_tells_its_name_and_its_share_of_memory() -> None:
    me = Identity.of(os.getpid())
    assert me is not None
    name, mebibytes = me.memory()
    assert name
    assert 5 < mebibytes < 4096


def test_a_process_that_has_ended_takes_nothing() -> None:
    assert Identity(2**22 + 1, "b/0").memory() == ("", 0.0)


def test_processes_of_one_name_are_summed_and_the_largest_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert cli.main(["memory"]) == 1
    assert "`make up` brings one up" in capsys.readouterr().err
    paths.state().mkdir(parents=True)
    (paths.state() / "addresses.json").touch()
    monkeypatch.setattr("localcluster.addresses.of", lambda _: None)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    taken = {
        1: ("etcd", 60.4),
        2: ("kube-apiserver", 400.0),
        3: ("containerd-shim", 10.0),
        4: ("containerd-shim", 11.0),
    }
    monkeypatch.setattr(node, "processes", lambda *_: [Identity(pid, "") for pid in taken])
    monkeypatch.setattr(Identity, "memory", lambda self: taken[self.pid])
    assert cli.main(["memory"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "    400 MiB  kube-apiserver",
        "     60 MiB  etcd",
        "     21 MiB  containerd-shim",
        "    481 MiB  in all",
    ]
