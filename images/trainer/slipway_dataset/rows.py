"""Checks of single values: which of a batch break a rule. What needs the whole set is in ``verdict.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slipway.contract import CheckSpec
from slipway_trainer import failures
from slipway_trainer.failures import TrainerError

from .texts import typed

SHOWN: Final = 60
"""Letters of a value in a sentence."""


@dataclass(frozen=True)
class Cells:
    """A column of a batch. ``values`` are null where missing (a time: microseconds since 1970).

    ``text`` is the value as written, where the file is text. ``wrong``: which are not of the declared type; of text,
    these are null in ``values``. A row has ``width`` values (NPZ), of which the first ``before`` came already.
    """

    name: str
    kind: str | None
    values: pa.Array
    text: pa.Array | None = None
    wrong: pa.Array | None = None
    width: int = 1
    before: int = 0

    def place(self, number: int) -> int:
        """How many rows further the value of a number (from 0) stands than the first value."""
        return (self.before + number) // self.width

    def as_text(self) -> pa.Array:
        """The values as text."""
        if self.text is not None:
            return self.text
        if self.kind == "Timestamp":
            return self.values.cast(pa.timestamp("us")).cast(pa.string())
        return pa.nulls(len(self.values), pa.string()) if self.kind == "Other" else self.values.cast(pa.string())


@dataclass
class Broken:
    """How many values of one file break one rule, with the first of them."""

    count: int
    row: int
    value: str


Mask = Callable[[Cells], pa.Array]
"""True where a value breaks the rule; null where it is missing."""


class RowChecks:
    """The rules of ``spec.checks`` about single values, made ready.

    Raises:
        TrainerError: a rule that cannot be carried out, with what to write instead.
    """

    def __init__(self, checks: Sequence[CheckSpec]) -> None:
        self._rules: dict[str, list[tuple[str, Mask]]] = {}
        self.unique: set[str] = set()
        for number, check in enumerate(checks):
            _refuse_mixed(check)
            if check.column is None:
                continue
            if check.unique:
                self.unique.add(check.column)
            for rule, make in _RULES.items():
                given = getattr(check, rule)
                if given is not None:
                    self._rules.setdefault(check.column, []).append((key(number, rule), make(check.column, given)))

    def look(self, cells: Cells, row: int) -> dict[str, Broken]:
        """What a batch breaks, by key; ``row`` is that of its first value."""
        found: dict[str, Broken] = {}
        if cells.wrong is not None:
            _note(found, f"type:{cells.name}", cells.wrong, cells, row)
        for name, mask in self._rules.get(cells.name, ()):
            _note(found, name, mask(cells), cells, row)
        return found


def key(number: int, rule: str) -> str:
    """The name under which a rule of one check is counted."""
    return f"{number}:{rule}"


def number_or_time(text: str) -> tuple[str, float]:
    """A bound as a number, or as a time in microseconds since 1970.

    >>> number_or_time("1.5"), number_or_time("1970-01-01T00:00:01Z")
    (('Number', 1.5), ('Timestamp', 1000000.0))
    """
    for kind in ("Number", "Timestamp"):
        values, wrong = typed(pa.array([text]), kind)
        if wrong is None and values[0].is_valid:
            return kind, float(values[0].as_py())
    raise ValueError(text)


def _note(found: dict[str, Broken], name: str, mask: pa.Array, cells: Cells, row: int) -> None:
    count = pc.sum(mask).as_py() or 0
    if count:
        first = pc.index(pc.fill_null(mask, False), pa.scalar(True)).as_py()
        value = (cells.text if cells.text is not None else cells.as_text())[first].as_py()
        shown = repr(value if value is None or len(value) <= SHOWN else value[:SHOWN] + "...")
        if cells.text is None and name.startswith("type:"):
            shown += f", which is {cells.kind}"
        found[name] = Broken(count, row + cells.place(first), shown)


def _refuse_mixed(check: CheckSpec) -> None:
    of_column = [rule for rule in (*_RULES, "notNull", "unique", "maxMissing") if getattr(check, rule)]
    of_set = [rule for rule in ("minRows", "maxRows", "minFiles") if getattr(check, rule) is not None]
    if check.column is not None and of_set:
        raise _refused(
            f"the check of column {check.column!r} has {of_set[0]}, which is of the whole set: leave out column"
        )
    if check.column is None and of_column:
        raise _refused(f"a check has {of_column[0]} but no column: name the column that is meant")
    if not of_column and not of_set:
        raise _refused("a check has no rule: write at least one")
    if check.maxMissing is not None:
        try:
            fine = 0 <= float(check.maxMissing) <= 1
        except ValueError:
            fine = False
        if not fine:
            raise _refused(f"maxMissing {check.maxMissing!r} of column {check.column!r} is no share: write 0 to 1")


def _refused(sentence: str) -> TrainerError:
    return TrainerError(failures.SPEC_INVALID, sentence)


def _bound(smaller: bool) -> Callable[[str, Any], Mask]:
    def make(column: str, given: str) -> Mask:
        try:
            kind, bound = number_or_time(given)
        except ValueError:
            rule = "min" if smaller else "max"
            raise _refused(
                f"{rule} {given!r} of column {column!r} is neither a number nor a time: write 0.5 or 2026-01-31"
            ) from None
        compare = pc.less if smaller else pc.greater

        def mask(cells: Cells) -> pa.Array:
            values, outside = cells.values, None
            if values.null_count == len(values):
                return pa.nulls(len(values), pa.bool_())
            fits = cells.kind == "Timestamp" if kind == "Timestamp" else cells.kind in ("Integer", "Number")
            if not fits:
                text = cells.as_text()
                values, outside = typed(text, kind)
                if cells.kind == "Other":
                    return pa.array(np.full(len(values), True))
            broken = compare(values, pa.scalar(bound, pa.float64()))
            return broken if outside is None else pc.or_(pc.fill_null(broken, False), outside)

        return mask

    return make


def _allowed(_column: str, given: list[str]) -> Mask:
    wanted = pa.array(given, pa.string())
    numbers = typed(wanted, "Number")[0].drop_null()

    def mask(cells: Cells) -> pa.Array:
        if cells.kind in ("Integer", "Number"):
            known = pc.is_in(cells.values.cast(pa.float64()), value_set=numbers)
        else:
            known = pc.is_in(cells.as_text(), value_set=wanted)
        return pc.and_(pc.invert(known), pc.is_valid(cells.values))

    return mask


def _matches(column: str, given: str) -> Mask:
    pattern = f"^(?:{given})$"
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        raise _refused(
            f"matches {given!r} of column {column!r} is no regular expression of RE2 ({error}): correct it"
        ) from None

    def mask(cells: Cells) -> pa.Array:
        return pc.invert(pc.match_substring_regex(cells.as_text(), pattern))

    return mask


_RULES: Final[Mapping[str, Callable[[str, Any], Mask]]] = {
    "min": _bound(smaller=True),
    "max": _bound(smaller=False),
    "allowed": _allowed,
    "matches": _matches,
}
