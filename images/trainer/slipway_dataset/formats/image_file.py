"""Images: each file is a row. They are decoded, so one that is cut short is found out."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, Final

import pyarrow as pa
from PIL import Image

from ..partial import NotOfFormatError, Partial
from ..rows import Cells
from ..source import Source
from .common import Wanted, typed_cells

COLUMNS: Final = ("label", "width", "height", "channels", "brightness", "format", "bytes")
_TYPES: Final = (pa.string(), pa.int64(), pa.int64(), pa.int64(), pa.float64(), pa.string(), pa.int64())
ENDINGS: Final = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
_DECODERS: Final = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
"""Pillow knows forty more, which nobody trains on and which have had most of its security faults."""
PIXELS: Final = 100_000_000
BYTES: Final = 256 * 1024 * 1024


class _Room:
    """So many bytes are in use at a time, by whatever number of threads; one that needs more waits to be alone."""

    def __init__(self, size: int) -> None:
        self._size, self._used = size, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._used == 0 or self._used + size <= self._size)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()


_DECODED: Final = _Room(128 * 1024 * 1024)


def read(source: Source, path: str, size: int, want: Wanted, into: Partial) -> None:
    """Decode one image.

    Raises:
        NotOfFormatError: it is none, or larger than ``PIXELS`` or ``BYTES``.
    """
    if size > BYTES:
        raise NotOfFormatError(f"has {size:,} bytes, more than an image may have ({BYTES:,})")
    Image.MAX_IMAGE_PIXELS = None  # ours is checked below, and gives a sentence instead of a warning
    try:
        content = source.read()
        with Image.open(io.BytesIO(content), formats=_DECODERS) as image:
            image.verify()  # a PNG's checksums; the other formats have none
        with Image.open(io.BytesIO(content), formats=_DECODERS) as image:
            width, height = image.size
            if width * height > PIXELS:
                raise NotOfFormatError(f"has {width:,} x {height:,} pixels, more than {PIXELS:,}")
            channels, name = len(image.getbands()), image.format
            image.draft("L", (max(1, width // 8), max(1, height // 8)))  # JPEG: an eighth of the size in 2% of the time
            with _DECODED.taken(image.width * image.height * (channels + 1)):
                counts = image.convert("L").histogram()
            brightness = sum(value * count for value, count in enumerate(counts)) / sum(counts)
    except (OSError, ValueError, SyntaxError, struct.error, EOFError) as error:
        raise NotOfFormatError(f"cannot be decoded as an image ({str(error)[:120]})") from None
    folder = PurePosixPath(path).parent.name
    into.rows = 1
    into.cells = [folder or None, width, height, channels, round(brightness, 2), name, size]


def columns(rows: list[list[Any]], want: Wanted) -> list[Cells]:
    """The values of many images as columns."""
    return [
        typed_cells(name, pa.array([row[n] for row in rows], kind), want)
        for n, (name, kind) in enumerate(zip(COLUMNS, _TYPES, strict=True))
    ]
