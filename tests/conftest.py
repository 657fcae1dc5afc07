"""Fixtures that more than one level of tests uses.

What a real control plane needs is imported only when one is asked for: unit tests load this file too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.support.api_server import Api
    from tests.support.control_plane import Cluster

_numbers = itertools.count(1)

# How long one example takes says something about the machine, which is shared, and nothing about the code.
hypothesis.settings.register_profile("slipway", deadline=None)
hypothesis.settings.load_profile("slipway")


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
