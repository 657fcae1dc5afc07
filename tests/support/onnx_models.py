"""Small ONNX models for tests of the server, made with the onnx package (which the server itself does not use)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from slipway.contract import Artifact, ServeSpec, Signature, Tensor

OPSET = 17

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def _value(tensor: Tensor) -> onnx.ValueInfoProto:
    shape = [f"d{i}" if d == -1 else d for i, d in enumerate(tensor.shape)]
    return helper.make_tensor_value_info(tensor.name, ONNX_TYPES[tensor.datatype], shape)


def make(
    nodes: Sequence[onnx.NodeProto],
    signature: Signature,
    initializers: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    """A model with these nodes, whose inputs and outputs are those of the signature."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [_value(t) for t in signature.inputs],
        [_value(t) for t in signature.outputs],
        initializer=list(initializers),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


DIGITS = Signature([Tensor("x", "FP32", [-1, 64])], [Tensor("logits", "FP32", [-1, 10])])


def digits(seed: int = 0) -> onnx.ModelProto:
    """A perceptron of 64, 64 and 10 with random weights."""
    random = np.random.default_rng(seed)
    weights = {
        "w1": random.normal(0, 0.1, (64, 64)),
        "b1": random.normal(0, 0.1, 64),
        "w2": random.normal(0, 0.1, (64, 10)),
        "b2": random.normal(0, 0.1, 10),
    }
    return make(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["logits"]),
        ],
        DIGITS,
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )


def identity(datatype: str, shape: Sequence[int] = (-1, 2)) -> tuple[onnx.ModelProto, Signature]:
    """Gives back what it takes."""
    signature = Signature([Tensor("x", datatype, list(shape))], [Tensor("y", datatype, list(shape))])
    return make([helper.make_node("Identity", ["x"], ["y"])], signature), signature


def lookup(size: int = 4) -> tuple[onnx.ModelProto, Signature]:
    """Rows of a table by index: an index out of range fits the signature, but cannot be computed."""
    signature = Signature([Tensor("i", "INT64", [-1])], [Tensor("row", "FP32", [-1, 2])])
    table = numpy_helper.from_array(np.arange(2 * size, dtype=np.float32).reshape(size, 2), "table")
    return make([helper.make_node("Gather", ["table", "i"], ["row"])], signature, [table]), signature


def slow(work: int = 200) -> tuple[onnx.ModelProto, Signature]:
    """Multiplies a matrix by itself ``work`` times a row: some milliseconds, and batching gains nothing."""
    signature = Signature([Tensor("x", "FP32", [-1, 128, 128])], [Tensor("y", "FP32", [-1, 128, 128])])
    w = numpy_helper.from_array(np.eye(128, dtype=np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x" if i == 0 else f"h{i}", "w"], ["y" if i == work - 1 else f"h{i + 1}"])
        for i in range(work)
    ]
    return make(nodes, signature, [w]), signature


def save(model: onnx.ModelProto, path: Path) -> Artifact:
    """Write the file; the artifact's URI is made up."""
    data = model.SerializeToString()
    path.write_bytes(data)
    return Artifact(
        uri=f"s3://models/{path.name}",
        digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
        size=len(data),
    )


def spec(artifact: Artifact, signature: Signature, **more: Any) -> ServeSpec:
    """A ServeSpec for model ``m`` version 3."""
    return ServeSpec(
        namespace="n", model="m", modelVersion="m-v3", version=3, artifact=artifact, signature=signature, **more
    )
