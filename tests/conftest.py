"""Fixtures that more than one level of tests uses."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.support.api_server import NAMESPACES, Api
from tests.support.control_plane import Cluster, control_plane, make_namespace

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real control plane with our CRDs, for the whole run. Needs no root; starts in about 5 s."""
    with control_plane() as made:
        yield made


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Api:
    """The administrator's client."""
    return cluster.api


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    """A namespace for one test, in which Pod Security enforces ``restricted``."""
    name = f"test-{next(_numbers)}"
    make_namespace(api, name)
    yield name
    api.delete(NAMESPACES, None, name)
