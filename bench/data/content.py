"""The data: the same bytes for the same size, written straight into the S3 server."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from minio import Minio
from pyarrow import csv

ROWS = 300_000
"""Rows of one block of the large file: about 32 MiB."""


def small(client: Minio, prefix: str, files: int) -> int:
    """Many small tables, 1,000 to a folder; returns their bytes."""

    def put(number: int) -> int:
        content = table(number, 20 + number % 40)
        client.put_object("data", f"{prefix}{number // 1000:03}/{number:06}.csv", io.BytesIO(content), len(content))
        return len(content)

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(put, range(files)))


def large(client: Minio, key: str, size: int) -> int:
    """One table of about so many bytes; returns how many."""
    stream = _Stream(size)
    client.put_object("data", key, stream, -1, part_size=64 * 1024 * 1024)  # type: ignore[arg-type]  # it has read()
    return stream.given


def table(seed: int, rows: int, header: bool = True) -> bytes:
    """Ten columns of what tables hold: numbers, classes, names, times, some of them missing."""
    rng = np.random.default_rng(seed)
    made = pa.table(
        {
            "id": np.arange(seed * ROWS, seed * ROWS + rows),
            **{f"x{n}": np.round(rng.normal(n, 1 + n, rows), 4) for n in range(5)},
            "label": rng.integers(0, 10, rows),
            "name": np.array([f"item-{n}" for n in range(1000)])[rng.integers(0, 1000, rows)],
            "age": pa.array(rng.integers(0, 99, rows), mask=rng.random(rows) < 0.02),
            "at": (np.datetime64("2026-01-01") + rng.integers(0, 300, rows)).astype("datetime64[D]"),
        }
    )
    out = io.BytesIO()
    csv.write_csv(made, out, csv.WriteOptions(include_header=header, quoting_style="none"))
    return out.getvalue()


class _Stream:
    """The large table as a file."""

    def __init__(self, size: int) -> None:
        self.given = 0
        self._blocks = self._made(size)
        self._left = b""

    def read(self, size: int) -> bytes:
        while len(self._left) < size and (block := next(self._blocks, b"")):
            self._left += block
        taken, self._left = self._left[:size], self._left[size:]
        self.given += len(taken)
        return taken

    def _made(self, size: int) -> Iterator[bytes]:
        seed = made = 0
        while made < size:
            block = table(seed, ROWS, header=seed == 0)
            yield block
            made, seed = made + len(block), seed + 1
