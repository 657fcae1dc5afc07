"""Fixtures of the end-to-end tests: the running cluster, and a namespace for each test."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.e2e import EXAMPLES, QUICKSTART, REPOSITORY, OperatorProcesses, Tenant, World, environment
from tests.support.turns import cluster_turn, locked, shared_by_workers

_numbers = itertools.count(1)
_PREFIX = "-".join(["e2e", *filter(None, [os.environ.get("PYTEST_XDIST_WORKER")])])
"""Of the namespaces' names: the workers of a test run share the cluster, and each replaces the namespaces it finds."""


@pytest.fixture(scope="module", autouse=True)
def turn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Files of tests of several workers stand side by side on the cluster, but one that is marked ``alone`` has it for
    itself. What such a file is kept waiting for is the end of one other file at most."""
    alone = request.node.get_closest_marker("alone") is not None
    with cluster_turn(shared_by_workers(tmp_path_factory), alone=alone):
        yield


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The running cluster with this checkout's images and chart: the one that `make test-e2e` has brought up and put
    into the environment, or else brought up here."""
    if not os.environ.get("SLIPWAY_GATEWAY_URL"):
        subprocess.run(["make", "up", "images", "deploy"], cwd=REPOSITORY, check=True)
    made = World(environment())
    made.bucket("data")
    made.bucket("models")
    yield made
    made.api.close()


@pytest.fixture
def operator(world: World) -> Iterator[OperatorProcesses]:
    """The operator's processes; before the test and after it all replicas are ready."""
    processes = OperatorProcesses(world)
    Tenant._until(processes.ready, 180, "the operator is ready", lambda: str(processes.pods()))
    yield processes
    Tenant._until(processes.ready, 180, "the operator is ready again", lambda: str(processes.pods()))


@pytest.fixture
def tenant(world: World) -> Iterator[Tenant]:
    """A namespace for one test."""
    with world.tenant(f"{_PREFIX}-{next(_numbers)}") as made:
        yield made


@pytest.fixture(scope="module")
def module_tenant(world: World) -> Iterator[Tenant]:
    """A namespace for all tests of a file: for a long story that is told once and looked at from many sides."""
    with world.tenant(f"{_PREFIX}-{next(_numbers)}") as made:
        yield made


@pytest.fixture
def new_tenant(world: World) -> Iterator[Callable[[], Tenant]]:
    """Further namespaces, as many as the test asks for."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(world.tenant(f"{_PREFIX}-{next(_numbers)}"))


@pytest.fixture(scope="session")
def said(world: World, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> str:
    """What the demo printed. It runs once, whoever of the workers asks first."""
    printed = shared_by_workers(tmp_path_factory) / f"demo-{testrun_uid}"
    with locked(printed.with_suffix(".lock")):
        if not printed.exists():
            demo = EXAMPLES / "quickstart" / "demo.py"
            done = subprocess.run(
                [sys.executable, demo], cwd=REPOSITORY, env=world.environment, text=True, capture_output=True,
                timeout=600, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
            printed.write_text(done.stdout)
    return printed.read_text()


@pytest.fixture(scope="session")
def digits(world: World, said: str) -> Tenant:
    """The namespace that the demo leaves."""
    assert said
    return Tenant(world, QUICKSTART)
