"""One object of the store as a stream that is hashed while somebody reads it."""

from __future__ import annotations

import hashlib
import io
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

IN_MEMORY: Final = 8 * 1024 * 1024
"""Bytes of a file that is read out of order (Parquet, NPZ) up to which it is not written to the scratch."""


class Source(io.RawIOBase):
    """A file-like object over the pieces of an object; each byte is hashed once, whoever takes it.

    A reader may run in a thread of its own, and may give up early: ``finish`` takes the rest.
    """

    def __init__(self, pieces: Iterator[bytes], stop: threading.Event) -> None:
        super().__init__()
        self._pieces = pieces
        self._stop = stop
        self._lock = threading.Lock()
        self._digest = hashlib.sha256()
        self._left = b""
        self.size = 0
        self.error: BaseException | None = None
        """What the store said; a reader may have wrapped it into an error of its own."""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes, and fewer only at the end, as those who read files expect."""
        if size < 0:
            return b"".join(self.pieces())
        with self._lock:
            taken = [self._left[:size]]
            self._left = self._left[size:]
            missing = size - len(taken[0])
            while missing > 0 and (piece := self._next()):
                taken.append(piece[:missing])
                self._left = piece[missing:]
                missing -= len(taken[-1])
            return b"".join(taken) if len(taken) > 1 else taken[0]

    def peek(self, size: int) -> bytes:
        """The first bytes, which stay there to be read."""
        with self._lock:
            taken, length = [self._left], len(self._left)
            while length < size and (piece := self._next()):
                taken.append(piece)
                length += len(piece)
            self._left = b"".join(taken)
            return self._left[:size]

    def pieces(self) -> Iterator[bytes]:
        """All that is left, as it comes."""
        while True:
            with self._lock:
                piece, self._left = self._left or self._next(), b""
            if not piece:
                return
            yield piece

    def finish(self) -> tuple[int, str]:
        """Take the rest; returns the size in bytes and the sha256 in hexadecimal of the whole.

        Raises:
            TrainerError, ObjectMissingError: what the store said, now or earlier.
        """
        for _ in self.pieces():
            pass
        if self.error is not None:
            raise self.error
        return self.size, self._digest.hexdigest()

    def _next(self) -> bytes:
        if self.error is not None:
            return b""
        try:
            if self._stop.is_set():
                raise StoppedError
            piece = next(self._pieces, b"")
        except BaseException as error:
            self.error = error
            raise
        self._digest.update(piece)
        self.size += len(piece)
        return piece


class StoppedError(Exception):
    """Another file failed, or the pod was told to stop: this one is not wanted any more."""


@contextmanager
def spooled(source: Source, size: int) -> Iterator[io.BytesIO | Path]:
    """The whole object, to be read out of order: in memory where it is small, else a file on the scratch."""
    if size <= IN_MEMORY:
        yield io.BytesIO(source.read())
        return
    with tempfile.NamedTemporaryFile(prefix="dataset-") as file:
        for piece in source.pieces():
            file.write(piece)
        file.flush()
        yield Path(file.name)
