"""Whether a data set is what its schema and its checks say: a pure function of what was counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from slipway.contract import CheckFailure, CheckSpec, ColumnSpec, DatasetSpec

from .column import Column
from .rows import key
from .total import Found, Place, Total

Twice = Mapping[str, tuple[int, Place, Place]]


@dataclass(frozen=True)
class Check:
    """One rule that was looked at; ``failure`` is the sentence that says what does not hold, or None."""

    name: str
    failure: str | None


def look(spec: DatasetSpec, files: int, total: Total | None, twice: Twice) -> list[Check]:
    """Every rule of a data set with its outcome, the schema first. ``total`` is None where nothing but bytes is known.

    ``files`` is the number of all files, of whatever format.
    """
    quoted = spec.quoteValues
    made: list[Check] = []
    if total is not None:
        made.append(Check("readable", _unreadable(total)))
        for column in spec.schema:
            made += _of_schema(column, total, quoted)
    for number, check in enumerate(spec.checks):
        if check.column is not None and total is not None:
            made += _of_column(number, check, check.column, total, twice, quoted)
        elif check.column is None:
            made += _of_set(check, files, total)
    return made


def failures(checks: Sequence[Check]) -> list[CheckFailure]:
    """Those that do not hold."""
    return [CheckFailure(check.name, check.failure) for check in checks if check.failure is not None]


def _unreadable(total: Total) -> str | None:
    if total.files == 0:
        return "no file has a name of the format: correct spec.format, or the names of the files"
    if total.problems is None:
        return None
    sentence = f"{total.problems.place.path} {total.problems.value}"
    more = total.problems.count - 1
    return sentence + (f" (and {more:,} more {'file' if more == 1 else 'files'} of {total.files:,})" if more else "")


def _of_schema(column: ColumnSpec, total: Total, quoted: bool) -> Iterator[Check]:
    name = column.name
    failure = None
    if absent := total.absent.get(name):
        failure = f"column {name!r} is missing in {absent.count:,} of {total.files:,} files, such as {absent.place}"
    yield Check(f"{name}.present", failure)
    failure = None
    if wrong := total.broken.get(f"type:{name}"):
        failure = (
            f"column {name!r} must be {column.type}: {wrong.count:,} of {_values(total, name):,} values are not, "
            f"{_first(wrong, quoted)}"
        )
    yield Check(f"{name}.type", failure)
    if not column.nullable:
        yield Check(f"{name}.nullable", _missing(name, total, "must not be missing") if name in total.missing else None)


def _of_column(number: int, check: CheckSpec, name: str, total: Total, twice: Twice, quoted: bool) -> Iterator[Check]:
    nowhere = f"no file has a column {name!r}" if name not in total.columns else None
    column = total.columns.get(name, Column())
    values = _values(total, name)
    if check.notNull:
        failure = _missing(name, total, "must not be missing") if name in total.missing else None
        yield Check(f"{name}.notNull", nowhere or failure)
    if check.maxMissing is not None:
        share = column.missing / column.count if column.count else 0.0
        over = f"may be missing in a share of {check.maxMissing} at most" if share > float(check.maxMissing) else None
        yield Check(f"{name}.maxMissing", nowhere or (over and _missing(name, total, over)))
    if check.unique:
        yield Check(f"{name}.unique", nowhere or (_repeated(name, *twice[name]) if name in twice else None))
    for rule, given in (("min", check.min), ("max", check.max), ("matches", check.matches)):
        if given is not None:
            words = {
                "min": f"are below {given} or not comparable with it",
                "max": f"are above {given} or not comparable with it",
                "matches": f"do not match {given!r}",
            }
            yield Check(
                f"{name}.{rule}", nowhere or _broken(name, total, key(number, rule), values, words[rule], quoted)
            )
    if check.allowed is not None:
        shown = ", ".join(check.allowed[:5]) + (f" and {len(check.allowed) - 5} more" if check.allowed[5:] else "")
        words_of = f"are none of {shown}"
        yield Check(
            f"{name}.allowed", nowhere or _broken(name, total, key(number, "allowed"), values, words_of, quoted)
        )


def _of_set(check: CheckSpec, files: int, total: Total | None) -> Iterator[Check]:
    rows = total.rows if total is not None else 0
    if check.minRows is not None:
        low = f"there are {rows:,} rows, and {check.minRows:,} must be there at least" if rows < check.minRows else None
        yield Check("minRows", low)
    if check.maxRows is not None:
        high = f"there are {rows:,} rows, and {check.maxRows:,} may be there at most" if rows > check.maxRows else None
        yield Check("maxRows", high)
    if check.minFiles is not None:
        few = f"there are {files:,} files, and {check.minFiles:,} must be there at least"
        yield Check("minFiles", few if files < check.minFiles else None)


def _broken(name: str, total: Total, which: str, values: int, words: str, quoted: bool) -> str | None:
    found = total.broken.get(which)
    if found is None:
        return None
    return f"{found.count:,} of {values:,} values of column {name!r} {words}, {_first(found, quoted)}"


def _first(found: Found, quoted: bool) -> str:
    return f"such as {found.value} in {found.place}" if quoted else f"the first in {found.place}"


def _missing(name: str, total: Total, words: str) -> str:
    column, first = total.columns[name], total.missing[name].place
    share = 100 * column.missing / column.count
    return (
        f"column {name!r} {words}: {column.missing:,} of {column.count:,} values are ({share:.3g}%), such as in {first}"
    )


def _repeated(name: str, count: int, again: Place, before: Place) -> str:
    repeat = "value repeats" if count == 1 else "values repeat"
    return f"column {name!r} must be unique: {count:,} {repeat} an earlier one, such as in {again} that of {before}"


def _values(total: Total, name: str) -> int:
    column = total.columns.get(name)
    return column.count - column.missing if column is not None else 0
