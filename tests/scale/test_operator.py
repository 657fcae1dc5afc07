"""The operator keeps within the limits that ``limits.json`` writes down. ``make test`` leaves this out: ask for it by
``pytest tests/scale``; it takes about five minutes.

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
def level() -> Iterator[Level]:
    """Measured once."""
    with control_plane() as cluster:
        (made,) = levels(cluster, (LIMITS["objects"],), print)
        yield made


@pytest.mark.parametrize("name", LIMITS["limits"])
def test_within_the_limit(level: Level, name: str) -> None:
    assert asdict(level)[name] <= LIMITS["limits"][name]


def test_every_limit_came_from_a_run() -> None:
    at = [run for run in LIMITS["runs"] if run["objects"] == LIMITS["objects"]]
    assert at
    for name, limit in LIMITS["limits"].items():
        assert max(run[name] for run in at) <= limit, name
