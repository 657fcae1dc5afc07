"""Which ONNX files are refused before any library parses them.

A walk over the protobuf wire format, not the ``onnx`` package: the package builds every message of the model in
memory (the weights once more) and its external-data loader is the very code of CVE-2024-27318 and its successors,
while the walk reads tags and lengths from a memory map and never touches a weight. It is stricter than a parser: what
it cannot follow is refused, so nothing can hide from it in what another parser would accept.

Refused: tensors whose data lies in other files (initializers, sparse ones, attributes, subgraphs, functions, training
info), operators outside ONNX's own domains, more messages than any real model has, anything not well formed.

Field numbers: onnx/onnx.proto (IR version 13). Wire format: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.contract import ONNX_DOMAINS
from slipway_server import reasons
from slipway_server.reasons import LoadError

MAX_FIELDS: Final = 3_000_000
"""Fields walked in one file. A ResNet-50 has about 10,000, a large transformer 500,000; an empty message costs a
parser a hundred times its two bytes, which is how a small file exhausts memory."""
MAX_DEPTH: Final = 100
"""Nested messages; protobuf's own parsers stop there."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_MESSAGES: Final[dict[str, dict[int, str]]] = {
    "ModelProto": {7: "GraphProto", 8: "OperatorSetIdProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "OperatorSetIdProto": {},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "FunctionProto": {7: "NodeProto", 9: "OperatorSetIdProto", 11: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
"""Message -> field number -> message, for all fields through which a tensor or an operator can be reached."""

_NAME: Final = {"NodeProto": 3, "TensorProto": 8}
"""Field that names a message for the sentence of a refusal."""
_DOMAIN: Final = {"NodeProto": 7, "FunctionProto": 10}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of TensorProto
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2  # of OperatorSetIdProto


@dataclass(frozen=True)
class Summary:
    """What the walk learned: the version of ONNX's default operator set (0 where the file names none)."""

    opset: int


def check(path: Path) -> Summary:
    """Walk a file and refuse what must not be loaded.

    Raises:
        LoadError: ``UnsafeModel``, with the tensor or the operator that is the reason.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _walk(data)


def _walk(data: mmap.mmap) -> Summary:
    fields = 0
    opset = 0
    stack: list[tuple[str, int, int, int]] = [("ModelProto", 0, len(data), 0)]
    while stack:
        message, position, end, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise _unsafe(f"messages are nested more than {MAX_DEPTH} deep")
        children = _MESSAGES[message]
        start, domain, version = position, "", 0
        while position < end:
            fields += 1
            if fields > MAX_FIELDS:
                raise _unsafe(f"it has more than {MAX_FIELDS} fields")
            tag, position = _varint(data, position, end)
            number, wire = tag >> 3, tag & 7
            if number == 0 or tag >= 1 << 32:
                raise _unsafe(f"field number {number} at byte {position} is none")
            value = 0
            content = position
            if wire == _VARINT:
                value, position = _varint(data, position, end)
            elif wire == _BYTES:
                length, content = _varint(data, position, end)
                position = content + length
            elif wire == _FIXED64:
                position += 8
            elif wire == _FIXED32:
                position += 4
            else:  # groups are not used by ONNX
                raise _unsafe(f"wire type {wire} at byte {position} is not used by ONNX")
            if position > end:
                raise _unsafe(f"a field of {message} at byte {content} is longer than its message: the file is cut")
            if number in children:
                if wire != _BYTES:
                    raise _unsafe(f"field {number} of {message} at byte {content} has the wrong type")
                stack.append((children[number], content, position, depth + 1))
            elif message == "TensorProto":
                if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and (wire != _VARINT or value != 0)):
                    raise _unsafe(
                        f"tensor {_name(data, message, start, end)!r} keeps its data in another file: save the model "
                        "as one file (onnx.save_model(model, path, save_as_external_data=False))"
                    )
            elif message == "OperatorSetIdProto":
                if number == _OPSET_DOMAIN and wire == _BYTES:
                    domain = _text(data, content, position)
                elif number == _OPSET_VERSION and wire == _VARINT:
                    version = value
            elif number == _DOMAIN.get(message):
                found = _text(data, content, position)
                if found not in ONNX_DOMAINS:
                    raise _unsafe(
                        f"{message.removesuffix('Proto').lower()} {_name(data, message, start, end)!r} is of the "
                        f"operator domain {found!r}: export the model with ONNX's own operators only"
                    )
        # An import that no operator uses runs nothing, so its domain is not a reason; torch's exporter leaves some.
        if message == "OperatorSetIdProto" and domain in ("", "ai.onnx"):
            opset = max(opset, version)
    return Summary(opset=opset)


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if shift > 63:
            break
    raise _unsafe(f"the number at byte {position} is not well formed: the file is cut, or it is not an ONNX file")


def _text(data: mmap.mmap, start: int, end: int) -> str:
    return data[start : min(end, start + 200)].decode("utf-8", "backslashreplace")


def _name(data: mmap.mmap, message: str, position: int, end: int) -> str:
    """The name of a message, for a sentence; its fields were not all walked yet, so a bad one ends the search."""
    wanted = _NAME.get(message)
    try:
        while position < end and wanted is not None:
            tag, position = _varint(data, position, end)
            wire = tag & 7
            if wire == _BYTES:
                length, position = _varint(data, position, end)
                if tag >> 3 == wanted:
                    return _text(data, position, min(position + length, end))
                position += length
            elif wire == _VARINT:
                _, position = _varint(data, position, end)
            else:
                position += 8 if wire == _FIXED64 else 4
    except LoadError:
        pass
    return "without a name"


def _unsafe(sentence: str) -> LoadError:
    return LoadError(reasons.UNSAFE_MODEL, f"the model file is refused: {sentence}")
