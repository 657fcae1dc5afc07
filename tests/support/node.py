"""Programs of a test on the local cluster's node, beside the kubelet: pods reach them by the node's address."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from localcluster import addresses
from localcluster.namespaces import Namespaces
from tests.support import git_server
from tests.support.api_server import eventually
from tests.support.e2e import World
from tests.support.http_server import free_port


def address(world: World) -> str:
    """The node's address."""
    found = urlsplit(world.gateway).hostname
    assert found is not None, world.gateway
    return found


def enter(world: World) -> tuple[str, ...]:
    """What to put before a command so that it runs on the node."""
    return _namespaces(world).enter()


def holder(world: World) -> int:
    """The number of a process that is on the node."""
    found = _namespaces(world).holder()
    assert found is not None, "the cluster's node does not run"
    return found


def _namespaces(world: World) -> Namespaces:
    state = Path(world.environment["KUBECONFIG"]).parent
    return Namespaces(state, addresses.of(state / "addresses.json"))


@contextmanager
def git_over_http(world: World, root: Path, *, user: str) -> Iterator[str]:
    """Every repository below a folder, for ``name:password`` alone; the server's address."""
    port, host = free_port(), address(world)
    command = [sys.executable, git_server.__file__, host, str(port), str(root), user]
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *enter(world), *command], stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: git_server.answers(host, port), seconds=30, what="the git server answering")
        yield f"http://{host}:{port}"
    finally:
        process.kill()
        process.wait(10)
