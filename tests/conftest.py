"""Fixtures that more than one level of tests uses.

What a real control plane needs is imported only when one is asked for: unit tests load this file too.
"""

from __future__ import annotations

import gc
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.support.api_server import Api
    from tests.support.control_plane import Cluster

_numbers = itertools.count(1)

# Hardly anything that importing and collecting make is ever garbage. To look for some among all of it, again and again,
# took nearly half of the time of collecting, and a share of every test's.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """From here on: only among what tests make."""
    gc.freeze()
    gc.enable()


# How long one example takes says something about the machine, which is shared, and nothing about the code.
hypothesis.settings.register_profile("slipway", deadline=None)
hypothesis.settings.load_profile("slipway")

# A line for each request of a wait would hide what a failed test says.
logging.getLogger("httpx").setLevel(logging.WARNING)

_E2E, _UNIT = Path(__file__).parent / "e2e", Path(__file__).parent / "unit"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that want the cluster alone come between files that want no cluster, so that a second worker (`make test`
    has two, which take file by file in this order) has something else to do meanwhile."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    alone = [f for f, held in files.items() if any(item.get_closest_marker("alone") for item in held)]
    beside = [f for f in files if _E2E not in f.parents and _UNIT not in f.parents]
    if not alone or not beside:
        return
    first = [f for f in files if _UNIT in f.parents]
    last = [f for f in files if _E2E in f.parents and f not in alone]
    between = [beside[n * len(beside) // len(alone) : (n + 1) * len(beside) // len(alone)] for n in range(len(alone))]
    woven = [f for each, several in zip(alone, between, strict=True) for f in (each, *several)]
    items[:] = [item for f in (*first, *woven, *last) for item in files[f]]


class _Failures:
    """Says what failed when it fails: a test run that is cut short comes to no summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            words = crash.message if crash else str(report.longrepr)
            terminal = self._plugins.get_plugin("terminalreporter")
            assert isinstance(terminal, pytest.TerminalReporter)
            terminal.ensure_newline()
            terminal.write_line(f"{report.nodeid} ({report.when}): {words[:2000]}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # what workers say is not seen; their reports come to the first process
        config.pluginmanager.register(_Failures(config))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real control plane with our CRDs, for the whole run. Needs no root; starts in about 5 s."""
    from tests.support.control_plane import control_plane

    with control_plane() as made:
        yield made


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Api:
    """The administrator's client."""
    return cluster.api


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    """A namespace for one test, in which Pod Security enforces ``restricted``."""
    from tests.support.api_server import NAMESPACES
    from tests.support.control_plane import make_namespace

    name = f"test-{next(_numbers)}"
    make_namespace(api, name)
    yield name
    api.delete(NAMESPACES, None, name)
