"""A running operator with a kubelet and a gateway that are played, for the tests of one file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.control_plane import Cluster
from tests.support.world import World, world_on


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> Iterator[World]:
    """One operator for a file of tests; what it logged is looked through at the end."""
    with world_on(cluster) as made:
        yield made
        if complaints := made.operator.complaints():
            pytest.fail("the operator's log:\n" + "\n".join(complaints))
