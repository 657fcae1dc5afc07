"""The API server goes away, for a moment and for long: whoever waits for it goes on by itself when it is there again,
and nobody reads a traceback for it."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from localcluster.paths import REPOSITORY
from slipway.kube.objects import DEPLOYMENTS
from tests.support.api_server import eventually
from tests.support.control_plane import Cluster, control_plane
from tests.support.kubelet import Kubelet
from tests.support.line import Line, line
from tests.support.operator_process import Operator, lease_holder, operator
from tests.support.world import Team, World


def test_for_less_than_the_leaders_patience(cluster: Cluster) -> None:
    """The same process goes on, and what happened meanwhile is seen. Cut off by the line, and not by the API server's
    end: how long that takes to start is up to the machine, and the leader's patience is ten seconds."""
    port = urlsplit(cluster.plane.url).port
    assert port is not None
    with line(port) as wire, operator(cluster, identity="slipway-line", line=wire) as run:
        team = a_team(cluster, run)
        looked_at(team, 1)
        before, size = run.pid, run.log.stat().st_size
        wire.cut()
        noticed(run, size)
        team.register(number=2)
        wire.mend()
        looked_at(team, 2)
        assert run.pid == before
        assert lease_holder(cluster.api) == "slipway-line"
        assert not run.complaints()


def test_whoever_watches_a_rollout(world: World) -> None:
    """``kubectl slipway rollout get --watch`` says why it shows nothing new, and goes on by itself."""
    team = world.team(store=False)
    team.deploy(version="none-v1", routed=False)
    team.until(DEPLOYMENTS, "digits", reason="ModelVersionMissing")
    port = urlsplit(world.cluster.plane.url).port
    assert port is not None
    with line(port) as wire, watching(world.cluster, wire, team) as shown:
        eventually(lambda: "none-v1" in shown.said(), what="the first line", show=shown.said)
        wire.cut()
        eventually(lambda: "; trying again" in shown.said(), what="the reason", show=shown.said)
        team.deploy(version="other-v1", routed=False)
        team.until(DEPLOYMENTS, "digits", lambda d: "other-v1" in d["status"]["message"])
        assert "other-v1" not in shown.said()
        wire.mend()
        eventually(lambda: "other-v1" in shown.said(), what="what happened meanwhile", show=shown.said)
        assert shown.runs()
        team.api.delete(DEPLOYMENTS, team.namespace, "digits")
        assert shown.ends() == 1
    assert shown.said().endswith("kubectl slipway: digits was deleted\n")
    assert "Traceback" not in shown.said()


@dataclass(frozen=True)
class Shown:
    """A command that runs, and all that it has printed."""

    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def runs(self) -> bool:
        return self.process.poll() is None

    def ends(self) -> int:
        return self.process.wait(30)


@contextmanager
def watching(cluster: Cluster, wire: Line, team: Team) -> Iterator[Shown]:
    """The plugin, by a line."""
    kubeconfig, output = cluster.directory / "plugin.kubeconfig", cluster.directory / "plugin.out"
    kubeconfig.write_text(wire.reached_by(cluster.kubeconfig.read_text(), cluster.plane.url))
    command = [sys.executable, "-m", "slipway.cli", "rollout", "get", "digits", "--watch"]
    command += ["--namespace", team.namespace, "--kubeconfig", str(kubeconfig)]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "operator"), "PYTHONUNBUFFERED": "1"}
    with output.open("wb") as file:
        process = subprocess.Popen(command, env=env, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        yield Shown(process, output)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def mortal() -> Iterator[Cluster]:
    """A cluster of one's own: other tests want an API server that stays."""
    with control_plane() as made:
        yield made


def test_for_longer(mortal: Cluster) -> None:
    """The leader cannot tell any more whether it still leads, and ends. The other stays; what the kubelet starts
    meanwhile waits, and does not end again and again."""
    with (
        operator(mortal, identity="slipway-a", user="replica-a") as a,
        operator(mortal, identity="slipway-b", user="replica-b", fresh_lease=False) as b,
    ):
        eventually(lambda: lease_holder(mortal.api) == "slipway-a", what="the first leading", show=a.tail)
        team, other = a_team(mortal, a), b.pid
        looked_at(team, 1)
        size = b.log.stat().st_size
        mortal.plane.kill("kube-apiserver")
        assert a.wait(40) == 1
        assert "the operator ends, to begin again with nothing in memory: slipway-a could not renew" in a.tail()
        noticed(b, size)
        a.start(ready=False)
        waiting = "waiting for the API server: the API server gave no answer"
        eventually(lambda: waiting in a.tail(), what="the one that begins waiting", show=a.tail)
        assert a.get("/healthz") == "ok\n"
        with pytest.raises(urllib.error.HTTPError, match="503"):
            a.get("/readyz")
        mortal.plane.start()
        looked_at(team, 2)
        eventually(a.is_ready, what="the one that waited being ready", show=a.tail)
        assert b.is_ready()
        assert b.pid == other
        assert not a.complaints()
        assert not b.complaints()


def a_team(cluster: Cluster, run: Operator) -> Team:
    """Without an S3 place, so that no pod is wanted and none has to be played."""
    return World(cluster, run, Kubelet(cluster.api)).team(store=False)


def noticed(run: Operator, since: int) -> None:
    """Wait until a replica says that nobody answers."""
    what = f"{run.identity} noticing"
    eventually(lambda: b"no connection" in run.log.read_bytes()[since:], what=what, show=run.tail)


def looked_at(team: Team, number: int) -> None:
    """A version is registered, and the operator says what it lacks: it watches, and it writes."""
    team.register(number=number)
    team.version_until("Verifying", f"digits-v{number}", reason="StoreMissing")
