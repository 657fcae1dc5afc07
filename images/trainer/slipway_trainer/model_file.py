"""Which ONNX files Slipway stores: whole in one file, and made of standard operators only (design: security)."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from slipway.contract import ONNX_DOMAINS

from . import failures
from .failures import TrainerError

SIZE_LIMIT: Final = 2**31 - 1
"""Bytes; protobuf reads no larger message."""


def read_model(path: Path) -> Any:
    """Parse an ONNX file without touching any other file, and refuse what is not served.

    Raises:
        TrainerError: too large, not ONNX, weights outside the file, operators of another domain, not well-formed.
    """
    size = path.stat().st_size
    if size > SIZE_LIMIT:
        raise TrainerError(
            failures.MODEL_REFUSED,
            f"the ONNX file has {size:,} bytes and one in a single piece can have {SIZE_LIMIT:,}: make it smaller, "
            f"for instance with 16-bit weights",
        )
    with without_schema_noise():
        import onnx
        from google.protobuf.message import DecodeError
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError:
        raise TrainerError(failures.MODEL_REFUSED, f"{path.name} is not an ONNX file") from None
    refuse_unserved(model)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise TrainerError(
            failures.MODEL_REFUSED, f"the ONNX file is not well-formed: {str(error).strip()[:500]}"
        ) from None
    return model


def refuse_unserved(model: Any) -> None:
    """Refuse weights outside the file and operators outside the standard."""
    outside = sorted({tensor.name for tensor in _tensors(model) if _is_outside(tensor)})
    if outside:
        raise TrainerError(
            failures.MODEL_REFUSED,
            f"the model keeps {len(outside)} tensors outside the ONNX file (such as {outside[0]!r}): save it in one "
            f"piece, onnx.save(model, path, save_as_external_data=False)",
        )
    # An import that no operator uses runs nothing, so it is no reason; torch's exporters leave some.
    used = {node.domain for node in _nodes(model)} | {function.domain for function in model.functions}
    strange = sorted(used - ONNX_DOMAINS)
    if strange:
        raise TrainerError(
            failures.MODEL_REFUSED,
            f"the model uses operators of {', '.join(strange)}: use those of ai.onnx and ai.onnx.ml only",
        )


def _is_outside(tensor: Any) -> bool:
    return bool(tensor.external_data) or tensor.data_location == type(tensor).EXTERNAL


def _graphs(model: Any) -> Iterator[Any]:
    """The main graph, those inside its nodes' attributes, and the bodies of local functions."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for attribute in _attributes([graph]):
            waiting.extend(attribute.graphs)
            if attribute.HasField("g"):
                waiting.append(attribute.g)


def _nodes(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from graph.node


def _attributes(graphs: Iterable[Any]) -> Iterator[Any]:
    for graph in graphs:
        for node in graph.node:
            yield from node.attribute
        # A local function may give defaults for its attributes; a graph has no such field.
        yield from getattr(graph, "attribute_proto", ())


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
    for attribute in _attributes(_graphs(model)):
        yield from attribute.tensors
        yield attribute.t
        for sparse in (*attribute.sparse_tensors, attribute.sparse_tensor):
            yield from (sparse.values, sparse.indices)


@contextlib.contextmanager
def without_schema_noise() -> Iterator[None]:
    """Leave out of standard error what importing onnx and onnxruntime together prints there.

    Debian's two share one schema registry and say so in two hundred harmless lines. They are written by C++ code, so
    the file descriptor is turned away for the time of the import; what else came is printed afterwards.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        try:
            os.dup2(caught.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            for line in caught.read().splitlines():
                if line.strip() and not line.startswith(b"Schema error: Trying to register schema"):
                    os.write(2, line + b"\n")
