"""What kind of values a column of text holds, and those values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

MISSING: Final = ("", "#N/A", "#NA", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "<NA>")
"""Cells that are read as missing, in every column, as pandas does."""
_FORMS: Final[Mapping[str, str]] = {
    "Integer": r"^[0-9]{1,18}$|^-[0-9]{1,18}$",
    "Number": r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?(?i:inf|infinity)$",
    "Boolean": r"^(?i:true|false|0|1)$",
    "Timestamp": (
        r"^[0-9]{4}-(0[1-9]|1[0-2])-([0-2][0-9]|3[01])"
        r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]+)?)?)?$"
    ),
}
"""What surely can be converted, one value at a time; used only where a whole batch cannot."""
_GUESSES: Final = ("Integer", "Number", "Boolean", "Timestamp")


def typed(text: pa.Array, kind: str) -> tuple[pa.Array, pa.Array | None]:
    """Text as values of a kind: the values, null where there are none, and which of the texts are no such value.

    The second is None where all are. Spaces around a value and a plus sign before a number are passed over.

    >>> values, wrong = typed(pa.array(["1", " 2", "x", None]), "Integer")
    >>> values.to_pylist(), wrong.to_pylist()
    ([1, 2, None, None], [False, False, True, False])
    """
    if kind == "String":
        return text, None
    whole = _try(text, kind)
    if whole is not None:
        return whole, None
    tidy = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"^\+", "")
    whole = _try(tidy, kind)
    if whole is not None:
        return whole, None
    good = pc.fill_null(pc.match_substring_regex(tidy, _FORMS[kind]), False)
    values = _try(pc.if_else(good, tidy, pa.scalar(None, text.type)), kind)
    if values is None:  # a value that looks right and is not: the 31st of February
        values, good = _one_by_one(tidy, kind)
    return values, pc.and_(pc.invert(good), pc.is_valid(text))


def guess(text: pa.Array, before: str | None) -> tuple[str | None, pa.Array]:
    """The narrowest kind that all texts of a batch have, and their values; ``before`` is that of the batches before.

    >>> [guess(pa.array(texts), None)[0] for texts in (["1", "2.5"], ["true", None], ["a", "1"])]
    ['Number', 'Boolean', 'String']
    """
    if text.null_count == len(text):
        return None, text
    if before == "String":
        return "String", text
    for kind in _GUESSES if before is None else (before, "Number") if before == "Integer" else (before,):
        values = _try(text, kind)
        if values is not None:
            return kind, values
    return "String", text


def _try(text: pa.Array, kind: str) -> pa.Array | None:
    try:
        return _CASTS[kind](text)
    except pa.ArrowInvalid:
        return None


def _time(text: pa.Array) -> pa.Array:
    """Microseconds since 1970; a time without a zone is one of UTC."""
    try:
        return text.cast(pa.timestamp("us")).cast(pa.int64())
    except pa.ArrowInvalid:
        return text.cast(pa.timestamp("us", "UTC")).cast(pa.int64())


_CASTS: Final[Mapping[str, Callable[[pa.Array], pa.Array]]] = {
    "Integer": lambda text: text.cast(pa.int64()),
    "Number": lambda text: text.cast(pa.float64()),
    "Boolean": lambda text: text.cast(pa.bool_()),
    "Timestamp": _time,
}


def _one_by_one(text: pa.Array, kind: str) -> tuple[pa.Array, pa.Array]:
    found = [_try(text.slice(i, 1), kind) for i in range(len(text))]
    values = [None if each is None else each[0].as_py() for each in found]
    made = pa.array(values, type=_CASTS[kind](pa.array([], pa.string())).type)
    return made, pa.array([each is not None for each in found])
