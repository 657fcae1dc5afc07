"""The profile of a whole data set: what its files add up to, in the order of their paths, one at a time in memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .column import Column
from .formats.common import Wanted
from .partial import COLUMNS, Partial
from .unique import Spill

TOGETHER: Final = 4096
"""Images whose values are made columns at a time."""


@dataclass(frozen=True)
class Place:
    """A row (from 1) of a file; without one, the file as a whole."""

    path: str
    row: int | None = None

    def __str__(self) -> str:
        return self.path if self.row is None else f"{self.path} row {self.row:,}"


@dataclass
class Found:
    """How many values or files there are of something, and the first."""

    count: int
    place: Place
    value: str = ""


class Total:
    """Columns, rows, and what breaks the rules, of all files so far."""

    def __init__(self, want: Wanted, scratch: Path, as_columns: Callable[..., Any] | None = None) -> None:
        self.rows = 0
        self.files = 0
        self.columns: dict[str, Column] = {}
        self.present: dict[str, int] = {}
        """In how many files each column is."""
        self.absent: dict[str, Found] = {}
        """Files that lack a column of the schema."""
        self.missing: dict[str, Found] = {}
        """Missing values by column."""
        self.broken: dict[str, Found] = {}
        self.problems: Found | None = None
        """Files that are not of the format; the value goes on after the file's name in a sentence."""
        self.columns_left_out = 0
        self._want = want
        self._scratch = scratch / "unique"
        self._spills: dict[str, Spill] = {}
        self._as_columns = as_columns
        self._waiting: list[tuple[str, int, list[Any]]] = []

    def add(self, path: str, number: int, file: Partial) -> None:
        """Take in the next file; ``number`` is its place in the order of paths."""
        self.files += 1
        if file.problem is not None:
            self._problem(path, file.problem)
        if self._as_columns is not None:
            if file.cells is not None:
                self._waiting.append((path, number, file.cells))
                if len(self._waiting) == TOGETHER:
                    self._take_waiting()
            return
        if file.problem is None:
            for name in self._want.schema:
                if name not in file.columns:
                    self.absent.setdefault(name, Found(0, Place(path))).count += 1
        self._merge(file, 1, lambda row: Place(path, row), lambda _row: number)
        file.close()

    @property
    def readable(self) -> int:
        """Files that are of the format."""
        return self.files - (self.problems.count if self.problems is not None else 0)

    def spill(self, file: Partial, number: Callable[[int], int]) -> None:
        """Take in the hashes of a file's values; ``number`` gives the place of the file that a row is of."""
        for name, kept in file.hashes.items():
            if name not in self._spills:
                self._spills[name] = Spill(self._scratch / f"{len(self._spills)}")
            row = 1
            for piece in kept.pieces():
                if self._as_columns is None:
                    self._spills[name].add(piece, number(row), row)
                else:
                    for offset in range(len(piece)):
                        self._spills[name].add(piece[offset : offset + 1], number(row + offset), 1)
                row += len(piece)

    def finish(self) -> None:
        """After the last file."""
        self._take_waiting()

    def repeated(self, path_of: Callable[[int], str]) -> Mapping[str, tuple[int, Place, Place]]:
        """Columns with values that come twice: how many, where one is, where it was before. ``path_of`` a number."""
        found = {name: spill.repeated() for name, spill in sorted(self._spills.items())}
        return {
            name: (each.count, Place(path_of(each.file), each.row), Place(path_of(each.first_file), each.first_row))
            for name, each in found.items()
            if each is not None
        }

    def close(self) -> None:
        """Let go of what lies on the scratch."""
        for spill in self._spills.values():
            spill.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _take_waiting(self) -> None:
        """Columns of the images that wait: a row is a file."""
        if not self._waiting or self._as_columns is None:
            return
        waiting, self._waiting = self._waiting, []
        batch = Partial()
        batch.take(self._as_columns([cells for _, _, cells in waiting], self._want), len(waiting), self._want.checks)
        for name in self._want.schema:
            if name not in batch.columns:
                self.absent.setdefault(name, Found(0, Place(waiting[0][0]))).count += len(waiting)
        self._merge(batch, len(waiting), lambda row: Place(waiting[row - 1][0]), lambda row: waiting[row - 1][1])
        batch.close()

    def _merge(self, file: Partial, files: int, place: Callable[[int], Place], number: Callable[[int], int]) -> None:
        self.rows += file.rows
        for name, column in file.columns.items():
            if name not in self.columns:
                if len(self.columns) == COLUMNS:
                    self.columns_left_out += 1
                    continue
                self.columns[name] = Column()
            self.columns[name].merge(column)
            self.present[name] = self.present.get(name, 0) + files
            if column.first_missing is not None:
                self.missing.setdefault(name, Found(0, place(column.first_missing))).count += column.missing
        for key, each in file.broken.items():
            self.broken.setdefault(key, Found(0, place(each.row), each.value)).count += each.count
        self.spill(file, number)

    def _problem(self, path: str, text: str) -> None:
        if self.problems is None:
            self.problems = Found(0, Place(path), text)
        self.problems.count += 1
