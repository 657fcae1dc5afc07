"""Any program can train: this one has no torch and knows nothing of Slipway. It solves a linear least-squares problem.

Data lie under $SLIPWAY_DATA/<name>, parameters are JSON in $SLIPWAY_PARAMETERS; what counts is that model.onnx and
metrics.json lie in $SLIPWAY_OUTPUT at the end, and that the exit status is 0.
"""

import json
import os
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HELD_OUT = 360

parameters = json.loads(os.environ["SLIPWAY_PARAMETERS"])
output = Path(os.environ["SLIPWAY_OUTPUT"])
table = np.loadtxt(Path(os.environ["SLIPWAY_DATA"], "train", "train.csv"), delimiter=",", skiprows=1)
table = table[np.random.default_rng(int(os.environ["SLIPWAY_SEED"])).permutation(len(table))]
x, labels = np.hstack([table[:, :64] / 16, np.ones((len(table), 1))]), table[:, 64].astype(int)
train, test = slice(HELD_OUT, None), slice(0, HELD_OUT)

ridge = float(parameters["ridge"]) * np.eye(65)
solved = np.linalg.solve(x[train].T @ x[train] + ridge, x[train].T @ np.eye(10)[labels[train]]).astype(np.float32)
accuracy = float(np.mean((x[test] @ solved).argmax(axis=1) == labels[test]))
print(f"accuracy {accuracy:.4f}")

graph = helper.make_graph(
    [helper.make_node("Gemm", ["x", "weight", "bias"], ["logits"])],
    "digits",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
    [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
    [numpy_helper.from_array(solved[:64], "weight"), numpy_helper.from_array(solved[64], "bias")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.save(model, output / "model.onnx")
(output / "metrics.json").write_text(json.dumps({"accuracy": round(accuracy, 4)}))
