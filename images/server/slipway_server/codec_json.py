"""Tensors as JSON: numbers, booleans and texts, flat or nested, row by row."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson

from slipway_server.signature import BYTES, Array, TensorPlan

_INTEGER: Final = frozenset({int})
_NUMBER: Final = frozenset({int, float})
_BOOL: Final = frozenset({bool})
_TEXT: Final = frozenset({str})

_ALLOWED: Final[dict[str, tuple[frozenset[type], str]]] = {
    "BOOL": (_BOOL, "true and false"),
    "FP16": (_NUMBER, "numbers"),
    "FP32": (_NUMBER, "numbers"),
    "FP64": (_NUMBER, "numbers"),
    BYTES: (_TEXT, "texts"),
} | {f"{sign}INT{bits}": (_INTEGER, "whole numbers") for sign in ("", "U") for bits in (8, 16, 32, 64)}

_JSON_NAMES: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a whole number",
    float: "a number with a fraction",
    str: "a text",
    dict: "an object",
    list: "a list",
}


class DataError(ValueError):
    """The data of one input is not what its shape and datatype say; the message completes "input 'x' ..."."""


def loads(body: bytes | memoryview) -> Any:
    """Parse JSON.

    Raises:
        DataError: it is none; NaN and infinities are not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DataError(str(error)) from None


def cost(body: bytes | memoryview) -> int:
    """Bytes of memory that parsing takes at most, without parsing: one look at the separators.

    Each value follows a comma, a colon or an opening bracket. A number takes up to 40 bytes with its place in the
    list, a list 72, an object 200, a text 64 and its characters. ``{},{},...`` takes 24 times its size; without this
    bound 64 MiB of it would end a container of a gigabyte.

    >>> cost(b'[1,2]'), cost(b'[{},{}]')
    (117, 519)
    """
    data = bytes(body)
    parts = ((b",", 40), (b"[", 72), (b"{", 200), (b'"', 32))
    return len(data) + sum(size * data.count(mark) for mark, size in parts)


def dumps(document: Any) -> bytes:
    """JSON of a response; numpy arrays in it are written without a detour over Python numbers.

    A NaN or an infinity, which JSON does not have, becomes ``null``.
    """
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def read(tensor: TensorPlan, data: Any, shape: tuple[int, ...]) -> Array:
    """The array of one input.

    Raises:
        DataError: another number of elements, a wrong type among them, a number that the datatype cannot hold.
    """
    if type(data) is not list:
        raise DataError(f"needs its elements as a list in 'data', found {_JSON_NAMES[type(data)]}")
    kinds = set(map(type, data))
    if list in kinds:
        data = _flatten(data, shape)
        kinds = set(map(type, data))
    count = math.prod(shape)
    if len(data) != count:
        raise DataError(f"has {len(data)} elements in 'data', but its shape {list(shape)} needs {count}")
    allowed, words = _ALLOWED[tensor.datatype]
    if not kinds <= allowed:
        wrong = ", ".join(sorted(_JSON_NAMES[k] for k in kinds - allowed))
        raise DataError(f"is {tensor.datatype}, so its data must be {words}; found {wrong}")
    try:
        # A number too large for a float becomes infinite without a word unless numpy is told to raise.
        with np.errstate(over="raise"):
            array: Array = np.array(data, dtype=tensor.dtype)
    except (OverflowError, FloatingPointError):
        raise DataError(f"has a number that {tensor.datatype} cannot hold") from None
    return array.reshape(shape)


def write(array: Array) -> Any:
    """The flat data of one output, as ``dumps`` takes it."""
    if array.dtype == object:
        return array.reshape(-1).tolist()
    return np.ascontiguousarray(array).reshape(-1)


def _flatten(data: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Nested lists as one list, if they are nested as the shape says."""
    sizes = [len(data)]
    while True:
        kinds = set(map(type, data))
        if list not in kinds:
            break
        if kinds != {list}:
            raise DataError("mixes lists and single elements in 'data': write it flat, or nested as its shape says")
        lengths = set(map(len, data))
        if len(lengths) != 1 or len(sizes) == len(shape):
            raise DataError(f"has lists in 'data' that are not nested as its shape {list(shape)} says")
        sizes.append(lengths.pop())
        data = list(chain.from_iterable(data))
    if tuple(sizes) != shape[: len(sizes)] or len(sizes) != len(shape):
        raise DataError(f"has 'data' nested as {sizes}, but its shape is {list(shape)}")
    return data
