"""What earlier tries have read, kept beside the data set's results, so that nobody reads it again.

    <prefix>/datasets/<dataset>/state/<where the data lie>/<try>-<number>.jsonl.gz

A segment holds one line for each object that was read: path, size, the store's tag, sha256, what was asked, and what
the object adds to the profile. Each line is true by itself as long as the object has that size and tag, so segments may
come in any order, twice, or not at all: a try that dies loses the segment that it did not write yet, and two tries at
once do not harm each other. At the end of a try all that is still true becomes one segment, and the older ones are
deleted.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from slipway_trainer.store import ObjectMissingError, Store

from .index import Known

log = logging.getLogger(__name__)

VERSION: Final = 1
"""Of a segment's lines; another one is passed over, and its objects are read again."""
SECONDS: Final = 15.0
"""A try that dies loses what it read in this time at most."""
BYTES: Final = 8 * 1024 * 1024
"""Bytes of lines that wait in memory at most."""


class State:
    """The segments of one data set. ``flush`` may be called by another thread."""

    def __init__(
        self,
        store: Store,
        bucket: str,
        folder: str,
        source: str,
        attempt: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._bucket, self._folder = store, bucket, folder
        self._head = {"v": VERSION, "source": source}
        self._attempt = attempt
        self._clock = clock
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._lines: list[bytes] = []
        self._size = 0
        self._written = 0
        self._flushed = clock()
        self._found: list[str] = []

    def load(self) -> Iterator[Known]:
        """What all segments hold. One that cannot be read is passed over."""
        self._found = sorted({entry.key for entry in self._store.entries(self._bucket, f"{self._folder}/")})
        for key in self._found:
            try:
                yield from self._read(key)
            except ObjectMissingError:
                log.info("a segment of the state is gone, another try ended meanwhile key=%s", key)
            except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
                log.warning(
                    "a segment of the state cannot be read, its objects are read again key=%s problem=%s", key, error
                )

    def add(self, record: Known) -> None:
        """Keep what was read of one object; written after some seconds, with others."""
        line = _line(record)
        with self._lock:
            self._lines.append(line)
            self._size += len(line)
            due = self._size >= BYTES or self._clock() - self._flushed >= SECONDS
        if due:
            self.flush()

    def flush(self) -> None:
        """Write what waits, and wait for what another thread writes."""
        with self._writing:
            with self._lock:
                lines, self._lines, self._size = self._lines, [], 0
                self._flushed = self._clock()
                key = self._next_key()
            if lines:
                content = gzip.compress(b"".join([_json(self._head), *lines]), compresslevel=1, mtime=0)
                self._store.write(self._bucket, key, content)
                self._found.append(key)

    def replace(self, records: Iterator[Known], scratch: Path) -> None:
        """Make one segment of all that is still true, then delete the others."""
        with self._lock:
            self._lines, self._size = [], 0
            older, key = list(self._found), self._next_key()
        with gzip.GzipFile(scratch, "wb", compresslevel=1, mtime=0) as file:
            file.write(_json(self._head))
            for record in records:
                file.write(_line(record))
        self._store.write(self._bucket, key, scratch)
        scratch.unlink()
        for each in older:
            self._store.remove(self._bucket, each)
        self._found = [key]

    @property
    def segments(self) -> int:
        """How many there are."""
        return len(self._found)

    def _next_key(self) -> str:
        self._written += 1
        return f"{self._folder}/{self._attempt}-{self._written:05}.jsonl.gz"

    def _read(self, key: str) -> Iterator[Known]:
        raw = io.BufferedReader(_Pieces(self._store.read(self._bucket, key)), 1024 * 1024)
        with gzip.GzipFile(fileobj=raw) as lines:
            if json.loads(next(lines, b"null")) != self._head:
                return
            for line in lines:
                facts, tab, partial = line.partition(b"\t")
                path, size, etag, sha256, reading = json.loads(facts)
                yield Known(path, size, etag, sha256, reading, partial.decode() if tab else None)


def _line(record: Known) -> bytes:
    """A record as a line: JSON, and after a tab (which JSON escapes) the partial, which is JSON already."""
    facts = [record.path, record.size, record.etag, record.sha256, record.reading]
    head = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
    return f"{head}\n".encode() if record.partial is None else f"{head}\t{record.partial}\n".encode()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode() + b"\n"


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
