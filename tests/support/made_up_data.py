"""A look at data that nobody keeps: ``python -m tests.support.made_up_data SPEC SCRATCH OUT FILES ROWS``.

In a process of its own, so that its memory can be taken. The objects are computed while they are read and what comes
out is written to a folder, so none of it is in the memory that is measured, and no server has to hold it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from slipway.contract import DatasetSpec, loads
from slipway_dataset.runner import Look, Surroundings
from slipway_trainer.progress import ProgressBoard
from slipway_trainer.report import Outcome
from slipway_trainer.store import Entry, ObjectMissingError, Place

_PIECE = 10_000
"""Rows that are made at a time."""


class MadeUp:
    """An S3 place: below ``data`` tables that are computed, all others in a folder."""

    def __init__(self, folder: Path, files: int, rows: int) -> None:
        self._folder, self._files, self._rows = folder, files, rows

    def entries(self, bucket: str, prefix: str) -> Iterator[Entry]:
        if bucket == "data":
            for number in range(self._files):
                size = sum(len(piece) for piece in self._table(number))
                yield Entry(f"{prefix}{number // 1000:03}/{number:06}.csv", size, "etag")
            return
        for path in sorted(self._folder.rglob("*")):
            key = str(path.relative_to(self._folder / bucket))
            if path.is_file() and key.startswith(prefix):
                yield Entry(key, path.stat().st_size, "etag")

    def read(self, bucket: str, key: str, etag: str = "") -> Iterator[bytes]:
        if bucket == "data":
            yield from self._table(int(Path(key).stem))
            return
        path = self._folder / bucket / key
        if not path.is_file():
            raise ObjectMissingError(key)
        yield path.read_bytes()

    def write(self, bucket: str, key: str, content: bytes | Path) -> None:
        path = self._folder / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())

    def remove(self, bucket: str, key: str) -> None:
        (self._folder / bucket / key).unlink(missing_ok=True)

    def _table(self, number: int) -> Iterator[bytes]:
        yield b"id,score,label,name\n"
        for start in range(0, self._rows, _PIECE):
            rows = range(start, min(start + _PIECE, self._rows))
            yield "".join(
                f"{number * self._rows + row},{(number + row) * 37 % 1009 / 7:.4f},{row % 10},item-{row % 997}\n"
                for row in rows
            ).encode()


def main() -> int:
    """Exit status of the look; OUT has the termination message."""
    spec, scratch, out, files, rows = sys.argv[1:]
    place = Place("default", "http://made-up", "models", "", "us-east-1", "", "")
    store = MadeUp(Path(scratch) / "store", int(files), int(rows))
    outside = Surroundings(Path(scratch) / "work", lambda _: (place, store), f"try-{os.getpid()}")
    return Look(loads(DatasetSpec, spec), outside, ProgressBoard(), Outcome(Path(out))).run()


if __name__ == "__main__":
    sys.exit(main())
