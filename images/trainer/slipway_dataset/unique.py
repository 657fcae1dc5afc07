"""Whether any value comes twice in a column, over all files: bounded memory, the rest on the pod's scratch.

Each value is a hash of 8 bytes, written to one of 64 files by its first bits; at the end each of these is sorted by
itself. Among n values two different ones have the same hash with a chance of n * n / 2**65: 1 in 3,700 at 100 million.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa

PARTS: Final = 64
KEPT: Final = 1024 * 1024
"""Bytes of one file's hashes in memory and in the state. A file with more is read again each time: 131,072 rows."""
Hashes = np.ndarray[Any, np.dtype[np.uint64]]
_RECORD: Final = np.dtype([("hash", "<u8"), ("row", "<u8"), ("file", "<u4")])


@dataclass(frozen=True)
class Repeated:
    """How many values came before already, and where one of them stands: both rows (from 1) and both files' numbers."""

    count: int
    file: int
    row: int
    first_file: int
    first_row: int


def hashes(text: pa.Array) -> Hashes:
    """8 bytes of each value; 0 for one that is missing."""
    made = (blake2b(v.encode(), digest_size=8).digest() if v is not None else bytes(8) for v in text.to_pylist())
    return np.frombuffer(b"".join(made), dtype="<u8")


class HashList:
    """The hashes of one file's column, in order of rows; on the pod's scratch where there are many."""

    def __init__(self) -> None:
        self._bytes: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=KEPT)  # noqa: SIM115 - closed by `close`

    def add(self, given: Hashes) -> None:
        """Take in the next rows."""
        self._bytes.write(given.astype("<u8").tobytes())

    def pieces(self) -> Iterator[Hashes]:
        """All of them, a piece at a time."""
        self._bytes.seek(0)
        while piece := self._bytes.read(KEPT):
            yield np.frombuffer(piece, dtype="<u8")

    @property
    def too_large(self) -> bool:
        """Whether there are too many to keep."""
        return self._bytes.tell() > KEPT

    def dump(self) -> str:
        """As text, for the state."""
        self._bytes.seek(0)
        return base64.b64encode(self._bytes.read()).decode()

    @classmethod
    def load(cls, text: str) -> HashList:
        """What ``dump`` gave."""
        made = cls()
        made._bytes.write(base64.b64decode(text))
        return made

    def close(self) -> None:
        """Let go of the file."""
        self._bytes.close()

    __del__ = close  # a look that gives up drops what its readers have


class Spill:
    """The hashes of one column in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._parts: list[IO[bytes]] = [(folder / f"{n:02}").open("w+b") for n in range(PARTS)]

    def add(self, given: Hashes, file: int, row: int) -> None:
        """Take in the values of one file from a row on; ``file`` is its number in the order of paths."""
        made = np.empty(len(given), _RECORD)
        made["hash"], made["file"] = given, file
        made["row"] = np.arange(row, row + len(given), dtype=np.uint64)
        made = made[given != 0]
        part = (made["hash"] >> np.uint64(58)).astype(np.int64)
        order = np.argsort(part, kind="stable")
        made, edges = made[order], np.searchsorted(part[order], np.arange(PARTS + 1))
        for number in range(PARTS):
            if edges[number] < edges[number + 1]:
                self._parts[number].write(made[edges[number] : edges[number + 1]].tobytes())

    def repeated(self) -> Repeated | None:
        """What came more than once; None where nothing did."""
        found = list(self._look())
        if not found:
            return None
        first = min(found, key=lambda each: (each.file, each.row))
        return Repeated(sum(e.count for e in found), first.file, first.row, first.first_file, first.first_row)

    def close(self) -> None:
        """Let go of the files."""
        for part in self._parts:
            part.close()

    def _look(self) -> Iterator[Repeated]:
        for part in self._parts:
            part.seek(0)
            records = np.fromfile(part, _RECORD)
            records = records[np.lexsort((records["row"], records["file"], records["hash"]))]
            again = np.flatnonzero(records["hash"][1:] == records["hash"][:-1]) + 1
            if len(again):
                at = again[np.lexsort((records["row"][again], records["file"][again]))[0]]
                start = int(np.searchsorted(records["hash"], records["hash"][at]))
                one, two = records[start], records[at]
                yield Repeated(len(again), int(two["file"]), int(two["row"]), int(one["file"]), int(one["row"]))
