"""Fixtures of the tests that run inside the trainer image."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Each test draws the same weights, whatever ran before it."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
