"""CSV: UTF-8, a first line with the columns' names, commas (tabs in ``.tsv``), quotes as in RFC 4180; ``.gz`` too."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from ..partial import NotOfFormatError, Partial
from ..rows import Cells
from ..source import Source
from ..texts import MISSING, guess, typed
from .common import Wanted

BLOCK: Final = 2 * 1024 * 1024
"""Bytes parsed at a time."""
LONGEST: Final = 8 * 1024 * 1024
"""Bytes of a row."""
ENDINGS: Final = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


def read(source: Source, path: str, size: int, want: Wanted, into: Partial) -> None:
    """Take in all rows of a file.

    Raises:
        NotOfFormatError: it is no CSV file, from some row on.
    """
    name = path.lower()
    delimiter = "\t" if ".tsv" in name[-7:] else ","
    zipped = name.endswith(".gz")
    stream = pa.CompressedInputStream(pa.PythonFile(source, mode="r"), "gzip") if zipped else source
    names: list[str] = []
    try:
        for piece in _pieces(stream, into):
            start = 0
            if not names:
                names = _header(piece, delimiter)
                start = 1
            for batch in _parse(piece, names, start, delimiter, into.rows).to_batches():
                cells = [_cells(name, column, want, into) for name, column in zip(names, batch.columns, strict=True)]
                into.take(cells, batch.num_rows, want.checks)
    except OSError as error:
        if source.error is not None:
            raise source.error from None
        raise NotOfFormatError(f"cannot be read as gzip after row {into.rows:,} ({error})") from None
    if not names:
        raise NotOfFormatError("is empty: the first line must name the columns")


def _pieces(stream: Source | pa.NativeFile, into: Partial) -> Iterator[bytes]:
    """The file in pieces of whole rows. Arrow's own streaming reader reads 32 blocks ahead, whatever their size."""
    left = b""
    while chunk := stream.read(BLOCK):
        left += chunk
        end = _row_end(left)
        if end:
            yield left[:end]
            left = left[end:]
        elif len(left) > LONGEST:
            raise NotOfFormatError(
                f"has a row of more than {LONGEST:,} bytes after row {into.rows:,}: is a quote left open?"
            )
    if left:
        yield left


def _row_end(content: bytes) -> int:
    """Where the last row that is there as a whole ends; a line that ends within quotes does not end a row.

    >>> _row_end(b'1,2\\n3,"a\\nb'), _row_end(b'1,"a\\nb"\\n'), _row_end(b'1')
    (4, 8, 0)
    """
    if b'"' not in content:
        return content.rfind(b"\n") + 1
    letters = np.frombuffer(content, np.uint8)
    outside = np.cumsum(letters == ord('"'), dtype=np.uint32) % 2 == 0
    ends = np.flatnonzero((letters == ord("\n")) & outside)
    return int(ends[-1]) + 1 if len(ends) else 0


def _parse(piece: bytes, names: list[str], start: int, delimiter: str, rows: int) -> pa.Table:
    """A piece of the file; the first ``start`` of its rows is the header. ``rows`` were before it."""
    refused: list[arrow_csv.InvalidRow] = []

    def refuse(row: arrow_csv.InvalidRow) -> str:
        refused.append(row)
        return "error"

    try:
        return arrow_csv.read_csv(
            pa.BufferReader(piece),
            arrow_csv.ReadOptions(
                use_threads=False, block_size=len(piece) + 1, column_names=names, skip_rows_after_names=start
            ),
            arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refuse),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=list(MISSING)
            ),
        )
    except pa.ArrowInvalid as error:
        raise NotOfFormatError(_sentence(str(error), refused, rows - start)) from None


def _cells(name: str, text: pa.Array, want: Wanted, into: Partial) -> Cells:
    text = text.cast(pa.string())
    declared = want.declared(name)
    if declared is None:
        before = into.columns[name].kind if name in into.columns else None
        kind, values = guess(text, before)
        return Cells(name, kind, values, text)
    values, wrong = typed(text, declared)
    return Cells(name, None if text.null_count == len(text) else declared, values, text, wrong)


def _header(start: bytes, delimiter: str) -> list[str]:
    """Names of the columns, in order."""
    try:
        text = start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = start[: error.start].count(b"\n") + 1
        raise NotOfFormatError(f"is not UTF-8 (line {line}): write it anew in that encoding") from None
    names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    if not any(names):
        raise NotOfFormatError("is empty: the first line must name the columns")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise NotOfFormatError(f"has two columns named {twice[0]!r}: rename one")
    return names


def _sentence(error: str, refused: list[arrow_csv.InvalidRow], rows: int) -> str:
    if refused:
        row = refused[-1]
        # Without the row: no check asks for what stands in it, and every person who may read the status would see it.
        return (
            f"has {row.actual_columns} fields in row {rows + row.number:,}, and its first line names "
            f"{row.expected_columns}"
        )
    if "UTF8" in error:
        return f"is not UTF-8 after row {max(0, rows):,}: write it anew in that encoding"
    return f"cannot be read after row {max(0, rows):,} ({error.splitlines()[0][:120]})"
