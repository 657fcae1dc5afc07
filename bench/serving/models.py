"""The two models of the serving benchmark, made anew from a seed each time: no download, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from slipway.contract import Signature, Tensor

OPSET = 17


@dataclass(frozen=True)
class BenchModel:
    """A model file, its signature and the shape of one row."""

    name: str
    path: Path
    signature: Signature
    row: tuple[int, ...]


def digits(directory: Path) -> BenchModel:
    """A perceptron of 64, 64 and 10, as the quickstart trains it: some 10 µs a run."""
    random = np.random.default_rng(7)
    weights = {
        "w1": random.normal(0, 0.1, (64, 64)),
        "b1": random.normal(0, 0.1, 64),
        "w2": random.normal(0, 0.1, (64, 10)),
        "b2": random.normal(0, 0.1, 10),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["logits"]),
    ]
    return _save("digits", directory, nodes, weights, (64,), 10)


def resnet(directory: Path) -> BenchModel:
    """A ResNet-18 (He et al. 2015, table 1) with random weights and folded batch norms: 11.7 million weights."""
    random = np.random.default_rng(18)
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, np.ndarray] = {}

    def node(kind: str, name: str, sources: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, sources, [name], **attributes))
        return name

    def convolve(name: str, source: str, inside: int, outside: int, size: int, stride: int) -> str:
        scale = np.sqrt(2 / (inside * size * size))
        weights[f"{name}.w"] = random.normal(0, scale, (outside, inside, size, size))
        weights[f"{name}.b"] = np.zeros(outside)
        sizes: dict[str, Any] = {"kernel_shape": [size, size], "strides": [stride, stride], "pads": [size // 2] * 4}
        return node("Conv", name, [source, f"{name}.w", f"{name}.b"], **sizes)

    at = node("Relu", "stem", [convolve("conv1", "x", 3, 64, 7, 2)])
    at = node("MaxPool", "pool", [at], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    inside = 64
    for stage, outside in enumerate([64, 128, 256, 512]):
        for block in range(2):
            stride = 2 if stage and not block else 1
            name = f"s{stage}b{block}"
            first = node("Relu", f"{name}r", [convolve(f"{name}c1", at, inside, outside, 3, stride)])
            second = convolve(f"{name}c2", first, outside, outside, 3, 1)
            shortcut = at if inside == outside else convolve(f"{name}d", at, inside, outside, 1, stride)
            # Halved, so that random weights do not let the numbers grow from block to block.
            total = node("Mul", f"{name}h", [node("Add", f"{name}a", [second, shortcut]), "half"])
            at, inside = node("Relu", f"{name}o", [total]), outside
    weights["half"] = np.array(0.5)
    weights["fc.w"] = random.normal(0, 0.05, (512, 1000))
    weights["fc.b"] = np.zeros(1000)
    flat = node("Flatten", "flat", [node("GlobalAveragePool", "gap", [at])])
    node("Gemm", "logits", [flat, "fc.w", "fc.b"])
    return _save("resnet", directory, nodes, weights, (3, 224, 224), 1000)


def _save(
    name: str,
    directory: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    row: tuple[int, ...],
    classes: int,
) -> BenchModel:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *row])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
        initializer=[numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    path = directory / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    signature = Signature(
        [Tensor("x", "FP32", [-1, *row])],
        [Tensor("logits", "FP32", [-1, classes])],
    )
    return BenchModel(name, path, signature, row)
