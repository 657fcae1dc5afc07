"""Parquet: spooled, since its index stands at its end; then read a batch of rows at a time."""

from __future__ import annotations

import io
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from ..partial import NotOfFormatError, Partial
from ..source import Source, spooled
from .common import Wanted, typed_cells

ROWS: Final = 65_536
"""Rows of a batch."""
BUFFER: Final = 1024 * 1024
"""Bytes of a column chunk that are read at a time; without it a whole chunk is, which may be any size."""
ENDINGS: Final = (".parquet", ".pq")


def read(source: Source, path: str, size: int, want: Wanted, into: Partial) -> None:
    """Take in all rows of a file.

    Raises:
        NotOfFormatError: it is no Parquet file.
    """
    with spooled(source, size) as whole:
        try:
            file = pq.ParquetFile(
                pa.BufferReader(whole.getbuffer()) if isinstance(whole, io.BytesIO) else whole,
                buffer_size=BUFFER,
                pre_buffer=False,
            )
            for batch in file.iter_batches(batch_size=ROWS, use_threads=False):
                columns = zip(batch.schema.names, batch.columns, strict=True)
                into.take([typed_cells(name, array, want) for name, array in columns], batch.num_rows, want.checks)
            for name in file.schema_arrow.names if not into.columns else ():  # no rows, and yet columns
                empty = pa.array([], file.schema_arrow.field(name).type)
                into.take([typed_cells(name, empty, want)], 0, want.checks)
        except (pa.ArrowException, OSError) as error:
            text = str(error).splitlines()[0][:120]
            raise NotOfFormatError(f"cannot be read as Parquet after row {into.rows:,} ({text})") from None
