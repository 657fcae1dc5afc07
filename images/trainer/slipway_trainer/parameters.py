"""``spec.parameters`` as the training code reads them: text, or a checked number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from . import failures
from .failures import TrainerError

_TRUTH: Final[Mapping[str, bool]] = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Parameters(Mapping[str, str]):
    """The run's parameters. One that is not there, or is not what is asked for, ends the run with a sentence.

    >>> Parameters({"epochs": "20"}).integer("epochs")
    20
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        if name not in self._values:
            given = ", ".join(sorted(self._values)) or "none"
            raise ParameterMissingError(
                f"the code asks for the parameter {name!r}: write it under spec.parameters (given: {given})"
            )
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Parameters({self._values})"

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number; ``default`` where the parameter is not given."""
        if default is not None and name not in self._values:
            return default
        try:
            return int(self[name])
        except ValueError:
            raise self._not(name, "a whole number, such as 20") from None

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number; ``default`` where the parameter is not given."""
        if default is not None and name not in self._values:
            return default
        try:
            value = float(self[name])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self._not(name, "a number, such as 0.01")
        return value

    def flag(self, name: str, default: bool | None = None) -> bool:
        """True for true, yes and 1; False for false, no and 0; ``default`` where the parameter is not given."""
        if default is not None and name not in self._values:
            return default
        value = self[name].lower()
        if value not in _TRUTH:
            raise self._not(name, "true or false")
        return _TRUTH[value]

    def _not(self, name: str, wanted: str) -> TrainerError:
        return TrainerError(
            failures.PARAMETER_INVALID, f"spec.parameters.{name} is {self._values[name]!r}: write {wanted}"
        )


class ParameterMissingError(TrainerError, KeyError):
    """A ``KeyError`` too, so that ``parameters.get(name, default)`` and ``name in parameters`` work as usual."""

    def __init__(self, message: str) -> None:
        super().__init__(failures.PARAMETER_INVALID, message)

    def __str__(self) -> str:
        return str(self.args[0])
