"""What the readers of all formats share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from slipway.contract import ColumnSpec

from ..rows import Cells, RowChecks


@dataclass(frozen=True)
class Wanted:
    """What is asked of a file: its schema by name, and the checks of its rows."""

    schema: Mapping[str, ColumnSpec]
    checks: RowChecks

    def declared(self, name: str) -> str | None:
        """The type that the schema gives a column, or None."""
        return self.schema[name].type if name in self.schema else None


def wanted(schema: Sequence[ColumnSpec], checks: RowChecks) -> Wanted:
    """See ``Wanted``."""
    return Wanted({column.name: column for column in schema}, checks)


def typed_cells(name: str, array: pa.Array, want: Wanted, width: int = 1, before: int = 0) -> Cells:
    """Cells of a column that has a type of its own, held against the declared one."""
    kind, values = _kind(array)
    if kind == "Number":
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    declared = want.declared(name)
    fits = declared in (None, kind) or (declared, kind) == ("Number", "Integer") or kind is None
    return Cells(name, kind, values, None, None if fits else pc.is_valid(values), width, before)


def _kind(array: pa.Array) -> tuple[str | None, pa.Array]:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _kind(array.dictionary_decode())
    if pa.types.is_null(kind):
        return None, array
    if pa.types.is_boolean(kind):
        return "Boolean", array
    if pa.types.is_integer(kind):
        try:
            return "Integer", array.cast(pa.int64())
        except pa.ArrowInvalid:  # of 64 bits without a sign
            return "Number", array.cast(pa.float64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "Number", array.cast(pa.float64())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "String", array.cast(pa.string())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        moments = (
            array.cast(pa.timestamp("us"))
            if pa.types.is_date(kind)
            else array.cast(pa.timestamp("us", kind.tz), safe=False)
        )
        return "Timestamp", moments.cast(pa.int64())
    return "Other", array
