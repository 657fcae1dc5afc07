"""Parquet: spooled, since its index stands at its end; then read a batch of rows at a time."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from ..partial import NotOfFormatError, Partial
from ..source import Source, spooled
from .common import Wanted, typed_cells

ROWS: Final = 1024
"""Rows decoded at a time, fewer where they are large: what a row takes is known only when it is decoded."""
TOGETHER: Final = 65_536
"""Rows looked at at a time, or as many as have ``BYTES``."""
BYTES: Final = 8 * 1024 * 1024
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
            for batch in _together(file.iter_batches(batch_size=_rows(file.metadata), use_threads=False)):
                columns = zip(batch.schema.names, batch.columns, strict=True)
                into.take([typed_cells(name, array, want) for name, array in columns], batch.num_rows, want.checks)
            for name in file.schema_arrow.names if not into.columns else ():  # no rows, and yet columns
                empty = pa.array([], file.schema_arrow.field(name).type)
                into.take([typed_cells(name, empty, want)], 0, want.checks)
        except (pa.ArrowException, OSError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise
            text = str(error).splitlines()[0][:120]
            raise NotOfFormatError(f"cannot be read as Parquet after row {into.rows:,} ({text})") from None


def _rows(metadata: pq.FileMetaData) -> int:
    """Rows of which ``BYTES`` are expected, by what the file says of itself."""
    groups = (metadata.row_group(n) for n in range(metadata.num_row_groups))
    largest = max((g.total_byte_size // max(1, g.num_rows) for g in groups), default=0)
    return max(1, min(ROWS, BYTES // max(1, largest)))


def _together(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Small batches joined: the work on a batch is much the same whatever its size."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= TOGETHER or size >= BYTES:
            yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()
            waiting, rows, size = [], 0, 0
    if waiting:
        yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()
