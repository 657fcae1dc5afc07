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

_numbers = itertools.count(1)
_PREFIX = os.environ.get("SLIPWAY_E2E_PREFIX", "e2e")
"""Of the namespaces' names. Two runs at once on one cluster need two: each replaces the namespaces that it finds."""


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
    """The operator's processes; after the test all replicas are ready again."""
    processes = OperatorProcesses(world)
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
def said(world: World) -> str:
    """What the demo printed."""
    demo = EXAMPLES / "quickstart" / "demo.py"
    done = subprocess.run(
        [sys.executable, demo], cwd=REPOSITORY, env=world.environment, text=True, capture_output=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def digits(world: World, said: str) -> Tenant:
    """The namespace that the demo leaves."""
    assert said
    return Tenant(world, QUICKSTART)
