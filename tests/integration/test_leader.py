"""Two replicas, one of which works: paused, killed and told to stop. Never two writers."""

from __future__ import annotations

import signal
import time

from slipway.kube.fence import LEASE_SECONDS
from slipway.kube.leader import RETRY_SECONDS
from tests.support.api_server import eventually
from tests.support.control_plane import Cluster, Request
from tests.support.operator_process import Operator, lease_holder, operator
from tests.support.world import World, neighbours

TAKES_OVER = LEASE_SECONDS + 2 * RETRY_SECONDS + 3
"""Seconds: the Lease runs out, the other looks every ``RETRY_SECONDS``, and this machine is busy."""


def _work_by(requests: list[Request], user: str) -> list[int]:
    """Where in the log the writes of a replica stand that are its work and not its election."""
    return [
        i for i, r in enumerate(requests) if r.user == user and r.writes and r.resource != "leases" and r.code < 400
    ]


def _leads(cluster: Cluster, replica: Operator, seconds: float) -> float:
    """Wait until a replica holds the Lease; returns how long that took."""
    begun = time.monotonic()
    holds = lambda: lease_holder(cluster.api) == replica.identity  # noqa: E731
    eventually(holds, seconds=seconds, what=f"{replica.identity} leading", show=replica.tail)
    return time.monotonic() - begun


def test_the_other_takes_over_and_there_are_never_two(cluster: Cluster) -> None:
    with (
        neighbours(cluster) as played,
        operator(cluster, identity="slipway-a", user="replica-a") as a,
    ):
        _leads(cluster, a, 10)
        with operator(cluster, identity="slipway-b", user="replica-b", fresh_lease=False) as b:
            team = World(cluster, a, played).team()
            start = cluster.audit.position()
            team.run("first")
            team.run_until("Succeeded", "first")
            assert not _work_by(cluster.audit.since(start), "replica-b")

            # A leader that stands still (its node is stuck) and comes back.
            paused = cluster.audit.position()
            a.send(signal.SIGSTOP)
            team.run("second")
            assert _leads(cluster, b, TAKES_OVER) <= TAKES_OVER
            team.run_until("Succeeded", "second")
            resumed = cluster.audit.position()
            a.send(signal.SIGCONT)
            assert a.wait() == 1, "a leader that lost the Lease ends, and begins with nothing in memory"
            assert not _work_by(cluster.audit.since(resumed), "replica-a")
            requests = cluster.audit.since(paused)
            assert _work_by(requests, "replica-b")
            assert max(_work_by(requests, "replica-a"), default=-1) < min(_work_by(requests, "replica-b"))

            # A leader that is killed.
            a.start()
            killed = cluster.audit.position()
            b.kill()
            team.run("third")
            assert _leads(cluster, a, TAKES_OVER) <= TAKES_OVER
            team.run_until("Succeeded", "third")
            assert not _work_by(cluster.audit.since(killed), "replica-b")

            # A leader that is told to stop gives the Lease back, and nobody waits for it to run out.
            b.start()
            stopped = cluster.audit.position()
            team.run("fourth")
            assert a.stop() == 0
            assert _leads(cluster, b, TAKES_OVER) < 2 * RETRY_SECONDS + 3
            team.run_until("Succeeded", "fourth")
            requests = cluster.audit.since(stopped)
            assert max(_work_by(requests, "replica-a"), default=-1) < min(
                _work_by(requests, "replica-b"), default=len(requests)
            )

            versions = {
                name: team.run_until("Succeeded", name)["status"]["modelVersion"]
                for name in ("first", "second", "third", "fourth")
            }
            assert list(versions.values()) == [f"digits-v{i}" for i in range(1, 5)]
