"""The operator keeps within the limits that ``limits.json`` writes down. ``make test-scale`` runs all of it; ``make
test`` leaves out the minute of nothing, which tests/integration/test_steady_state.py has in it already.

Times depend on the machine, and requests on whether a resync falls into the minute, so there is no limit on them;
memory and writes depend on nothing but the operator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.operator.measure import Level, levels
from tests.support.control_plane import control_plane

LIMITS = json.loads((Path(__file__).parent / "limits.json").read_text())


@pytest.fixture(scope="module")
def level(request: pytest.FixtureRequest) -> Iterator[Level]:
    """Measured once; with the minute of nothing if a test asks for it."""
    idle = any(i.path == request.path and i.get_closest_marker("idle") for i in request.session.items)
    with control_plane() as cluster:
        (made,) = levels(cluster, (LIMITS["objects"],), print, idle=idle)
        yield made


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.idle] if n.startswith("idle_") else []) for n in LIMITS["limits"]]
)
def test_within_the_limit(level: Level, name: str) -> None:
    assert asdict(level)[name] <= LIMITS["limits"][name]


def test_every_limit_came_from_a_run() -> None:
    at = [run for run in LIMITS["runs"] if run["objects"] == LIMITS["objects"]]
    assert at
    for name, limit in LIMITS["limits"].items():
        assert max(run[name] for run in at) <= limit, name
