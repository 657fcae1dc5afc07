"""Candidates that are not as they should be: real ONNX files of the digits model's signature, each bad in one way.

All but the slow ones answer exactly like the model of ``seed`` until a request has a negative first number, and then
show what is wrong with them. So a load decides how often: one such body among twenty is 5% of the requests, for stable
and candidate alike, and the stable version answers them as well as all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_models import DIGITS, digits, make

OFFENCE: Final = -1.0
"""The first number of a request that a bad candidate stumbles over."""
_WIDTH: Final = 512
_TEXT: Final = "x" * 1024


def question(row: Sequence[float]) -> dict[str, Any]:
    """An inference request of one row of 64 numbers."""
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": list(row)}]}


def questions(*, harmless: int = 19, offending: int = 1, seed: int = 5) -> list[dict[str, Any]]:
    """Different requests in random order, so many of which a bad candidate stumbles over."""
    random = np.random.default_rng(seed)
    rows = [[round(float(x), 4) for x in random.uniform(0, 1, 64)] for _ in range(harmless + offending)]
    for row in rows[:offending]:
        row[0] = OFFENCE
    return [question(rows[i]) for i in random.permutation(len(rows))]


def _beside(nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Any], seed: int) -> bytes:
    """The digits model with ``nodes`` behind it: they find its answer as ``plain`` and the offence as ``offence`` (0 or
    1, one a row), and leave the answer as ``logits``."""
    base = digits(seed)
    body = list(base.graph.node)
    body[-1].output[0] = "plain"
    first = {"from": np.array([0, 0]), "to": np.array([np.iinfo(np.int64).max, 1])}
    head = [
        helper.make_node("Slice", ["x", "from", "to"], ["first"]),
        helper.make_node("Neg", ["first"], ["negative"]),
        helper.make_node("Relu", ["negative"], ["offence"]),
    ]
    known = list(base.graph.initializer)
    for name, value in {**first, **constants}.items():
        known.append(value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name))
    return bytes(make([*head, *body, *nodes], DIGITS, known).SerializeToString())


def healthy(seed: int = 1) -> bytes:
    """Nothing is wrong with it."""
    return bytes(digits(seed).SerializeToString())


def not_a_number(seed: int = 1) -> bytes:
    """Answers an offending request with NaN."""
    nodes = [
        helper.make_node("Neg", ["offence"], ["minus"]),
        helper.make_node("Sqrt", ["minus"], ["root"]),
        helper.make_node("Add", ["plain", "root"], ["logits"]),
    ]
    return _beside(nodes, {}, seed)


def refusing(seed: int = 1) -> bytes:
    """Cannot compute on an offending request: the server answers 422."""
    nodes = [
        helper.make_node("Cast", ["offence"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "row"], ["found"]),
        helper.make_node("Add", ["plain", "found"], ["logits"]),
    ]
    return _beside(nodes, {"table": np.zeros(1, dtype=np.float32)}, seed)


def hungry(seed: int = 1, mebibytes: int = 600) -> bytes:
    """Takes so much memory for an offending request.

    As text: onnxruntime's arena, which the server bounds so that a run that needs too much fails alone, holds numbers;
    texts lie on the heap. So this one is killed by the kernel.
    """
    text = numpy_helper.from_array(np.array([_TEXT], dtype=object), "text")
    constants = {
        "text": text,
        "times": np.array(mebibytes * 1024 * 1024 / len(_TEXT), dtype=np.float32),
        "once": np.array([1], dtype=np.int64),
        "nothing": np.array(0, dtype=np.float32),
    }
    nodes = [
        helper.make_node("ReduceMax", ["offence"], ["worst"], keepdims=0),
        helper.make_node("Mul", ["worst", "times"], ["many"]),
        helper.make_node("Cast", ["many"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "once"], ["listed"]),
        helper.make_node("Add", ["listed", "once"], ["count"]),
        helper.make_node("Expand", ["text", "count"], ["texts"]),
        helper.make_node("Shape", ["texts"], ["counted"]),
        helper.make_node("Cast", ["counted"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "nothing"], ["zero"]),
        helper.make_node("Add", ["plain", "zero"], ["logits"]),
    ]
    return _beside(nodes, constants, seed)


def slow(work: int, seed: int = 1) -> bytes:
    """Multiplies by a matrix of 512 x 512 ``work`` times before it answers: each takes some 0.05 ms."""
    constants = {
        "widen": np.full((64, _WIDTH), 1e-3, dtype=np.float32),
        "w": np.eye(_WIDTH, dtype=np.float32),
        "nothing": np.array(0, dtype=np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "widen"], ["wide0"]),
        *(helper.make_node("MatMul", [f"wide{i}", "w"], [f"wide{i + 1}"]) for i in range(work)),
        helper.make_node("ReduceMax", [f"wide{work}"], ["largest"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["largest", "nothing"], ["zero"]),
        helper.make_node("Add", ["plain", "zero"], ["logits"]),
    ]
    return _beside(nodes, constants, seed)
