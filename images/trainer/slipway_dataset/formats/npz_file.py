"""NPZ: a ZIP file of arrays, each a column; its rows are the first dimension. Arrays of Python objects are refused."""

from __future__ import annotations

import io
import lzma
import math
import struct
import zipfile
import zlib
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa

from ..partial import NotOfFormatError, Partial
from ..source import Source, spooled
from .common import Wanted, typed_cells

CHUNK: Final = 2 * 1024 * 1024
"""Bytes of an array looked at at a time."""
TURNED: Final = 256 * 1024 * 1024
"""Bytes up to which an array that lies column by column (Fortran order) is taken into memory and turned."""
ENDINGS: Final = (".npz",)
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,  # of zipfile: encrypted; NotImplementedError among them
    OSError,  # of bz2; one of the scratch has an errno
)


def read(source: Source, path: str, size: int, want: Wanted, into: Partial) -> None:
    """Take in all arrays of a file.

    Raises:
        NotOfFormatError: it is no NPZ file, or an array is one that is not read.
    """
    with spooled(source, size) as whole:
        try:
            with zipfile.ZipFile(whole) as archive:
                for member in archive.infolist():
                    with archive.open(member) as stream:
                        _array(stream, member.filename.removesuffix(".npy"), want, into)
        except _BROKEN as error:
            if getattr(error, "errno", None):
                raise
            raise NotOfFormatError(f"cannot be read as NPZ ({str(error)[:120]})") from None


def _array(stream: IO[bytes], name: str, want: Wanted, into: Partial) -> None:
    shape, fortran, kind = _header(stream)
    if kind.hasobject or kind.fields is not None:
        raise NotOfFormatError(
            f"holds Python objects or records in the array {name!r}, which are not read: save plain numbers or text"
        )
    if kind.itemsize > CHUNK or any(length < 0 for length in shape):
        raise NotOfFormatError(f"holds an array {name!r} of {kind} in the shape {shape}, which no model reads")
    rows = shape[0] if shape else 1
    width = math.prod(shape[1:])
    if fortran and len(shape) > 1:
        if rows * width * kind.itemsize > TURNED:
            raise NotOfFormatError(f"has a large array {name!r} in Fortran order: save numpy.ascontiguousarray of it")
        stream = _turned(stream, shape, kind)
    step = max(1, CHUNK // max(1, kind.itemsize))
    for first in range(0, rows * width, step) or (0,):
        count = min(step, rows * width - first)
        values = np.frombuffer(_exactly(stream, count * kind.itemsize, name), kind, count)
        row, before = divmod(first, max(1, width))
        into.take([typed_cells(name, _arrow(values), want, max(1, width), before)], 0, want.checks, row + 1)
    into.columns[name].shape = list(shape[1:])
    into.rows = max(into.rows, rows)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(stream)
    return found


def _exactly(stream: IO[bytes], size: int, name: str) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise NotOfFormatError(f"ends within the array {name!r}")
    return content


def _turned(stream: IO[bytes], shape: tuple[int, ...], kind: np.dtype[Any]) -> IO[bytes]:
    content = stream.read(math.prod(shape) * kind.itemsize)
    return io.BytesIO(np.frombuffer(content, kind).reshape(shape, order="F").tobytes(order="C"))


def _arrow(values: np.ndarray[Any, np.dtype[Any]]) -> pa.Array:
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    match values.dtype.kind:
        case "S":
            return pa.array([each.decode("utf-8", "replace") for each in values.tolist()], pa.string())
        case "U":
            return pa.array(values.tolist(), pa.string())
        case "M":
            return pa.array(values.astype("datetime64[us]"))
        case "f" if values.dtype.itemsize > 8:
            return pa.array(values.astype(np.float64))
        case "c" | "V" | "m":
            return pa.array([b""] * len(values), pa.binary())  # counted, and not more
    return pa.array(values)
