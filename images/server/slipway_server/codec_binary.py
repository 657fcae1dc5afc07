"""Tensors as bytes: the binary tensor data extension of the Open Inference Protocol.

Little-endian, row by row, without padding; a BOOL is one byte, 0 or 1; a BYTES element is a 4-byte length and its
bytes. https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol/binary-tensor-data-extension
"""

from __future__ import annotations

import math
import struct
from typing import Final

import numpy as np

from slipway_server.codec_json import DataError
from slipway_server.signature import BYTES, Array, TensorPlan

_LENGTH: Final = struct.Struct("<I")


def read(tensor: TensorPlan, data: memoryview, shape: tuple[int, ...]) -> Array:
    """The array of one input, without a copy where its place in the body allows.

    Raises:
        DataError: another number of bytes than shape and datatype need, a BOOL that is neither 0 nor 1, a text that
            is not UTF-8.
    """
    count = math.prod(shape)
    if tensor.datatype == BYTES:
        return _read_texts(data, count).reshape(shape)
    need = count * tensor.dtype.itemsize
    if len(data) != need:
        raise DataError(
            f"has a binary_data_size of {len(data)}, but {tensor.datatype} of shape {list(shape)} needs {need} bytes"
        )
    if tensor.datatype == "BOOL":
        bits = np.frombuffer(data, dtype=np.uint8)
        if bits.size and bits.max() > 1:
            raise DataError("is BOOL, so each byte must be 0 or 1")
        return bits.view(np.bool_).reshape(shape)
    array = np.frombuffer(data, dtype=tensor.dtype)
    if not array.flags.aligned:  # the JSON before it has any length; onnxruntime's kernels expect whole elements
        array = array.copy()
    return array.reshape(shape)


def write(array: Array) -> bytes:
    """The bytes of one output."""
    if array.dtype != object:
        return np.ascontiguousarray(array).tobytes()
    pieces: list[bytes] = []
    for text in array.reshape(-1):
        raw = str(text).encode()
        pieces += (_LENGTH.pack(len(raw)), raw)
    return b"".join(pieces)


def _read_texts(data: memoryview, count: int) -> Array:
    texts: list[str] = []
    position, end = 0, len(data)
    while position < end:
        start = position + _LENGTH.size
        if start > end:
            raise DataError("is BYTES, but its binary data ends within the length of an element")
        position = start + _LENGTH.unpack_from(data, position)[0]
        if position > end:
            raise DataError(f"is BYTES, but element {len(texts)} is longer than the binary data")
        try:
            texts.append(str(data[start:position], "utf-8"))
        except UnicodeDecodeError:
            raise DataError(f"is BYTES, but element {len(texts)} is not UTF-8") from None
    if len(texts) != count:
        raise DataError(f"has {len(texts)} elements in its binary data, but its shape needs {count}")
    array = np.empty(count, dtype=object)
    array[:] = texts
    return array
