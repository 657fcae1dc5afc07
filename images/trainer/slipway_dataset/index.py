"""All objects of a data set on the pod's scratch, so that memory does not grow with their number (SQLite)."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from slipway_trainer.fetch import clash
from slipway_trainer.store import Entry

PAGE: Final = 500
"""Rows in memory at a time."""
CACHE: Final = 16 * 1024
"""KiB that SQLite may keep in memory; what it sorts beyond that lies on the scratch too."""
_TABLES: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
CREATE TABLE known (path TEXT PRIMARY KEY, size INT, etag TEXT, sha256 TEXT, reading TEXT, partial BLOB) WITHOUT ROWID;
CREATE TABLE listed (path TEXT PRIMARY KEY, key TEXT, size INT, etag TEXT) WITHOUT ROWID;
CREATE TABLE places (number INTEGER PRIMARY KEY, path TEXT);
"""


@dataclass(frozen=True)
class Known:
    """What was read of one object, now or by an earlier try. ``reading`` says what for: an object that was read to know
    less than is asked now is read again. ``partial`` is JSON."""

    path: str
    size: int
    etag: str
    sha256: str
    reading: str = ""
    partial: str | None = None


@dataclass(frozen=True)
class Unread:
    """An object that must be read: its path in the set, and the object."""

    path: str
    entry: Entry
    number: int
    """Its place (from 0) in the order of all paths."""


class Index:
    """What is listed, and what is known. To be used by one thread. Paths come in the order of their bytes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "index.sqlite"
        self._file.unlink(missing_ok=True)
        self._database = sqlite3.connect(self._file, isolation_level=None)
        self._database.execute(f"PRAGMA cache_size = -{CACHE}")
        self._database.executescript(_TABLES)

    def know(self, records: Iterable[Known]) -> None:
        """Take in what was read; of two records of a path the later one counts."""
        rows = ((r.path, r.size, r.etag, r.sha256, r.reading, _packed(r.partial)) for r in records)
        self._many("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?, ?)", rows)

    def enlist(self, entries: Iterable[tuple[str, Entry]]) -> None:
        """Take in what the store lists, by path; one that comes twice counts once."""
        rows = ((path, entry.key, entry.size, entry.etag) for path, entry in entries)
        self._many("INSERT OR REPLACE INTO listed VALUES (?, ?, ?, ?)", rows)

    def close_list(self, uri: str) -> int:
        """After the listing: number the paths, drop what is known of objects that are gone or changed.

        Returns how many records were dropped.

        Raises:
            TrainerError: a path is a file and a folder at once.
        """
        self._refuse_clashes(uri)
        self._database.execute("INSERT INTO places (path) SELECT path FROM listed ORDER BY path")
        same = "SELECT 1 FROM listed l WHERE l.path = known.path AND l.size = known.size AND l.etag = known.etag"
        return self._database.execute(f"DELETE FROM known WHERE NOT EXISTS ({same})").rowcount  # noqa: S608

    def size(self) -> tuple[int, int]:
        """Number of objects listed, and their bytes."""
        files, total = self._database.execute("SELECT count(*), coalesce(sum(size), 0) FROM listed").fetchone()
        return files, total

    def unread(self, reading: str, fits: Callable[[str], bool]) -> Iterator[Unread]:
        """Objects that nobody has read for what is asked now, in order.

        Args:
            reading: what is asked of files of the format; of the others nothing but their hash.
            fits: whether a path is one of the format.
        """
        self._database.create_function("fits", 1, fits, deterministic=True)
        rows = self._pages(
            "SELECT l.path, l.key, l.size, l.etag, p.number FROM places p JOIN listed l USING (path) "
            "LEFT JOIN known k USING (path) "
            "WHERE p.number > ? AND (k.path IS NULL OR (?2 <> '' AND k.reading <> ?2 AND fits(l.path)))"
            "ORDER BY p.number",
            4,
            0,
            reading,
        )
        for path, key, size, etag, number in rows:
            yield Unread(path, Entry(key, size, etag), number - 1)

    def known(self) -> Iterator[Known]:
        """Everything that is known, in order."""
        query = "SELECT path, size, etag, sha256, reading, partial FROM known WHERE path > ? ORDER BY path"
        for row in self._pages(query, 0, ""):
            path, size, etag, sha256, reading, packed = row
            yield Known(path, size, etag, sha256, reading, packed and zlib.decompress(packed).decode())

    def path_of(self, number: int) -> str:
        """The path at a place (from 0) in the order of all paths."""
        found = self._database.execute("SELECT path FROM places WHERE number = ?", (number + 1,)).fetchone()
        return str(found[0])

    def write_manifest(self, target: Path) -> str:
        """Write the sorted lines ``path size sha256``; returns the digest (``slipway_trainer.manifest``)."""
        digest = hashlib.sha256()
        lines = self._database.execute(
            "SELECT CAST(path || ' ' || size || ' ' || sha256 || char(10) AS BLOB) AS line FROM known ORDER BY line"
        )
        with target.open("wb") as file:
            for (line,) in lines:
                digest.update(line)
                file.write(line)
        return f"sha256:{digest.hexdigest()}"

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _refuse_clashes(self, uri: str) -> None:
        asked = ""
        for (path,) in self._pages("SELECT path FROM listed WHERE path > ? ORDER BY path", 0, ""):
            parent = PurePosixPath(path).parent
            if parent.as_posix() == asked:
                continue
            asked = parent.as_posix()
            for folder in (parent, *parent.parents):
                if self._database.execute("SELECT 1 FROM listed WHERE path = ?", (folder.as_posix(),)).fetchone():
                    raise clash(folder.as_posix(), path, uri)

    def _pages(self, query: str, key: int, after: str | int, *more: str) -> Iterator[tuple[Any, ...]]:
        """Rows of a query that goes on after a key, its column of that number: others may be written in between."""
        while page := self._database.execute(f"{query} LIMIT {PAGE}", (after, *more)).fetchall():
            yield from page
            after = page[-1][key]

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._database.execute("BEGIN")
        self._database.executemany(statement, rows)
        self._database.execute("COMMIT")


def _packed(partial: str | None) -> bytes | None:
    """What a file adds to the profile, as it lies on the scratch: a third of its size."""
    return None if partial is None else zlib.compress(partial.encode(), 1)
