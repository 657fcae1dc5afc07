"""What one file adds to the profile of its set. It is kept in the state, so that the file need not be read again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from .column import Column
from .rows import Broken, Cells, RowChecks
from .unique import HashList, hashes

COLUMNS: Final = 2000
"""Columns of a file; more are refused, since each is a line in a profile that people read."""


class NotOfFormatError(Exception):
    """A file is not what the data set's format says. ``str(error)`` goes on after the file's name in a sentence."""


@dataclass
class Partial:
    """Columns, rows and what breaks the rules, of one file.

    ``problem``: why the file could not be read to its end as the format says; what was read until then counts.
    ``cells``: of an image, its one row of values, from which the columns are made when all files are put together.
    """

    rows: int = 0
    columns: dict[str, Column] = field(default_factory=dict)
    broken: dict[str, Broken] = field(default_factory=dict)
    hashes: dict[str, HashList] = field(default_factory=dict)
    problem: str | None = None
    cells: list[Any] | None = None

    def take(self, batch: list[Cells], rows: int, checks: RowChecks, first: int | None = None) -> None:
        """Take in a batch of the file: cells of each column, ``rows`` of them.

        ``first``: row (from 1) of the first of them, where arrays come one after another and not side by side.
        """
        first = self.rows + 1 if first is None else first
        for cells in batch:
            column = self.columns.get(cells.name)
            if column is None:
                if len(self.columns) == COLUMNS:
                    raise NotOfFormatError(f"has more than {COLUMNS:,} columns")
                column = self.columns[cells.name] = Column()
            column.add(cells, first)
            for key, now in checks.look(cells, first).items():
                before = self.broken.setdefault(key, Broken(0, now.row, now.value))
                before.count += now.count
            if cells.name in checks.unique:
                text = cells.values.cast("string") if cells.kind == "Integer" else cells.as_text()
                self.hashes.setdefault(cells.name, HashList()).add(hashes(text))
        self.rows += rows

    @property
    def too_large(self) -> bool:
        """Whether the hashes of its values are too many to keep, so that the file must be read again another time."""
        return any(each.too_large for each in self.hashes.values())

    def dump(self) -> dict[str, Any]:
        """JSON types, which ``load`` reads back; without the hashes where they are too many."""
        made: dict[str, Any] = {"r": self.rows}
        if self.columns:
            made["c"] = {name: column.dump() for name, column in self.columns.items()}
        if self.broken:
            made["b"] = {key: [each.count, each.row, each.value] for key, each in self.broken.items()}
        if self.hashes and not self.too_large:
            made["u"] = {name: each.dump() for name, each in self.hashes.items()}
        if self.problem is not None:
            made["p"] = self.problem
        if self.cells is not None:
            made["i"] = self.cells
        return made

    @classmethod
    def load(cls, raw: dict[str, Any]) -> Partial:
        """What ``dump`` gave."""
        return cls(
            rows=raw["r"],
            columns={name: Column.load(each) for name, each in raw.get("c", {}).items()},
            broken={key: Broken(*each) for key, each in raw.get("b", {}).items()},
            hashes={name: HashList.load(each) for name, each in raw.get("u", {}).items()},
            problem=raw.get("p"),
            cells=raw.get("i"),
        )

    def close(self) -> None:
        """Let go of what lies on the scratch."""
        for each in self.hashes.values():
            each.close()
