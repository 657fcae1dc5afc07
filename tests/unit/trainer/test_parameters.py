"""Parameters read as text or as checked numbers, each fault with a sentence that names the field."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slipway_trainer.failures import TrainerError
from slipway_trainer.parameters import Parameters

GIVEN = Parameters({"epochs": "20", "rate": "1e-2", "shuffle": "Yes", "name": "mlp"})


def test_they_read_as_what_they_are() -> None:
    assert int(GIVEN["epochs"]) == GIVEN.integer("epochs") == 20
    assert GIVEN.number("rate") == 0.01
    assert GIVEN.flag("shuffle") is True
    assert dict(GIVEN)["name"] == "mlp"


def test_one_that_is_not_given_has_its_default() -> None:
    assert GIVEN.integer("width", 64) == 64
    assert GIVEN.number("momentum", 0.0) == 0.0
    assert GIVEN.flag("verbose", False) is False
    assert GIVEN.get("width", "64") == "64"
    assert "width" not in GIVEN


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda p: p["width"], "write it under spec.parameters (given: epochs, name, rate, shuffle)"),
        (lambda p: p.integer("width"), "asks for the parameter 'width'"),
        (lambda p: p.integer("rate"), "spec.parameters.rate is '1e-2': write a whole number"),
        (lambda p: p.number("name"), "spec.parameters.name is 'mlp': write a number"),
        (lambda p: Parameters({"x": "inf"}).number("x"), "spec.parameters.x is 'inf': write a number"),
        (lambda p: p.flag("epochs"), "spec.parameters.epochs is '20': write true or false"),
    ],
)
def test_a_fault_is_a_sentence_that_says_what_to_write(ask: Callable[[Parameters], object], sentence: str) -> None:
    with pytest.raises(TrainerError) as caught:
        ask(GIVEN)
    assert (caught.value.reason.name, caught.value.reason.again) == ("ParameterInvalid", False)
    assert sentence in str(caught.value)
