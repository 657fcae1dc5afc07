"""The examples in docstrings are run: one that is wrong is worse than none."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import slipway

MODULES = sorted(m.name for m in pkgutil.walk_packages(slipway.__path__, "slipway.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    found = (doctest.DocTestFinder().find(importlib.import_module(name)) for name in MODULES)
    assert sum(bool(example.examples) for tests in found for example in tests) >= 5
