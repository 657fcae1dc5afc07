"""docs/training.md says what is so."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from slipway.contract import Env
from slipway_trainer import Context, failures
from slipway_trainer.progress import METRIC_LIMIT

TEXT = Path(__file__).parents[3].joinpath("docs", "training.md").read_text()
REASONS = [value for value in vars(failures).values() if isinstance(value, failures.Reason)]


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.name)
def test_each_reason_is_told_with_its_meaning(reason: failures.Reason) -> None:
    assert f"| {reason.name} | {'yes' if reason.again else 'no'} | {reason.meaning} |" in TEXT


def test_no_reason_is_told_that_is_not_there() -> None:
    table = TEXT.split("| reason | again | meaning |")[1]
    told = {line.split("|")[1].strip() for line in table.splitlines()[2:] if line.startswith("|")}
    assert told == {reason.name for reason in REASONS}


def test_all_that_a_context_has_is_told() -> None:
    methods = [name for name, _ in inspect.getmembers(Context, inspect.isfunction) if not name.startswith("_")]
    attributes = ["parameters", "seed", "device", "rank", "world_size"]
    assert [name for name in (*methods, *attributes) if f"`{name}" not in TEXT] == []
    assert f"{METRIC_LIMIT} names at most" in TEXT


def test_all_that_a_program_is_given_is_told() -> None:
    given = [Env.DATA, Env.OUTPUT, Env.PARAMETERS, Env.SEED, Env.KUBEFLOW_URL, Env.KUBEFLOW_TOKEN]
    assert [name for name in given if name not in TEXT] == []
