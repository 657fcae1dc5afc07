"""The API server goes away, for a moment and for long: whoever waits for it goes on by itself when it is there again,
and nobody reads a traceback for it."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator

import pytest

from tests.support.api_server import eventually
from tests.support.control_plane import Cluster, control_plane
from tests.support.kubelet import Kubelet
from tests.support.operator_process import Operator, lease_holder, operator
from tests.support.world import Team, World


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One of its own: other tests want an API server that stays."""
    with control_plane() as made:
        yield made


def test_the_api_server_goes_away_and_comes_back(cluster: Cluster) -> None:
    with (
        operator(cluster, identity="slipway-a", user="replica-a") as a,
        operator(cluster, identity="slipway-b", user="replica-b", fresh_lease=False) as b,
    ):
        eventually(lambda: lease_holder(cluster.api) == "slipway-a", what="the first leading", show=a.tail)
        team = World(cluster, a, Kubelet(cluster.api)).team(store=False)  # no pod is needed here
        looked_at(team, 1)

        # For less than the leader's patience: the same process goes on.
        before = (a.pid, b.pid)
        away(cluster, a, b)
        cluster.plane.start()
        looked_at(team, 2)
        assert (a.pid, b.pid) == before
        assert lease_holder(cluster.api) == "slipway-a"

        # For longer: the leader cannot tell any more whether it still leads, and ends.
        away(cluster, a, b)
        assert a.wait(40) == 1
        assert "the operator ends, to begin again with nothing in memory: slipway-a could not renew" in a.tail()
        # What the kubelet starts then waits, and is not ready; it does not end again and again.
        a.start(ready=False)
        eventually(lambda: "waiting for the API server: the API server gave no answer" in a.tail(), what="a waiting")
        assert a.get("/healthz") == "ok\n"
        with pytest.raises(urllib.error.HTTPError, match="503"):
            a.get("/readyz")
        cluster.plane.start()
        looked_at(team, 3)
        eventually(a.is_ready, what="a being ready", show=a.tail)
        assert b.pid == before[1]
        assert not a.complaints()
        assert not b.complaints()


def away(cluster: Cluster, *replicas: Operator) -> None:
    """Kill the API server, and return when everybody has seen it."""
    sizes = [replica.log.stat().st_size for replica in replicas]
    cluster.plane.kill("kube-apiserver")
    for replica, size in zip(replicas, sizes, strict=True):

        def noticed(log: Operator = replica, since: int = size) -> bool:
            return b"no connection" in log.log.read_bytes()[since:]

        eventually(noticed, what=f"{replica.identity} noticing", show=replica.tail)


def looked_at(team: Team, number: int) -> None:
    """A version is registered, and the operator says what it lacks: it watches, and it writes."""
    team.register(number=number)
    team.version_until("Verifying", f"digits-v{number}", reason="StoreMissing")
