"""Loading, comparing and warming up real little models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from slipway.contract import Signature, Tensor
from slipway_server import model as models
from slipway_server import reasons
from slipway_server.model import Model, ModelRunError, Profile
from slipway_server.reasons import LoadError
from slipway_server.signature import DTYPES, Array, Plan
from tests.support import onnx_models


def loaded(tmp_path: Path, model: onnx.ModelProto, signature: Signature) -> Model:
    onnx_models.save(model, tmp_path / "m.onnx")
    return models.load(tmp_path / "m.onnx", Plan.of(signature))


def refused(tmp_path: Path, model: onnx.ModelProto, signature: Signature) -> LoadError:
    with pytest.raises(LoadError) as caught:
        models.warm_up(loaded(tmp_path, model, signature), 8)
    return caught.value


def test_a_tiny_model_runs_on_the_loop_and_is_worth_batching(tmp_path: Path) -> None:
    model = loaded(tmp_path, onnx_models.digits(), onnx_models.DIGITS)
    profile = models.warm_up(model, 32)
    assert model.provider == "CPUExecutionProvider"
    assert model.opset == onnx_models.OPSET
    assert profile.on_loop
    assert profile.batch > 1


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_goes_in_and_comes_out(datatype: str, tmp_path: Path) -> None:
    model = loaded(tmp_path, *onnx_models.identity(datatype))
    models.warm_up(model, 4)
    (array,) = model.zeros(3, 1)
    (output,) = model.run([array])
    assert output.shape == (3, 2)
    assert (output == array).all()


def test_free_dimensions_are_tried_until_the_model_runs(tmp_path: Path) -> None:
    signature = Signature([Tensor("x", "FP32", [-1, 3, -1, -1])], [Tensor("y", "FP32", [-1, 3, -1, -1])])
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[20, 20])
    profile = models.warm_up(loaded(tmp_path, onnx_models.make([node], signature), signature), 1)
    assert profile.free == 32


def test_a_model_whose_rows_do_not_stay_rows_is_not_batched(tmp_path: Path) -> None:
    signature = Signature([Tensor("x", "FP32", [-1])], [Tensor("y", "FP32", [-1])])
    node = helper.make_node("Unique", ["x"], ["y"])
    profile = models.warm_up(loaded(tmp_path, onnx_models.make([node], signature), signature), 8)
    assert (profile.batch, profile.joins) == (1, False)


def test_a_model_with_a_fixed_batch_is_not_batched(tmp_path: Path) -> None:
    profile = models.warm_up(loaded(tmp_path, *onnx_models.identity("FP32", [1, 2])), 8)
    assert profile.batch == 1


def test_what_onnxruntime_cannot_load(tmp_path: Path) -> None:
    model = onnx_models.digits()
    model.graph.node[0].op_type = "NoSuchOperator"
    error = refused(tmp_path, model, onnx_models.DIGITS)
    assert error.reason == reasons.LOAD_FAILED
    assert "NoSuchOperator" in error.message


def test_a_model_that_loads_but_does_not_run(tmp_path: Path) -> None:
    signature = Signature([Tensor("i", "INT64", [-1])], [Tensor("y", "FP32", [-1, 2])])
    table = onnx.numpy_helper.from_array(np.zeros((4, 2), dtype=np.float32), "table")
    nodes = [helper.make_node("Add", ["i", "far"], ["j"]), helper.make_node("Gather", ["table", "j"], ["y"])]
    far = onnx.numpy_helper.from_array(np.array(9, dtype=np.int64), "far")
    error = refused(tmp_path, onnx_models.make(nodes, signature, [table, far]), signature)
    assert error.reason == reasons.LOAD_FAILED
    assert "does not run on one row of zeros" in error.message


def test_an_output_that_the_file_declares_wrongly_is_seen_in_the_warm_up(tmp_path: Path) -> None:
    model, signature = onnx_models.lookup()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "any"  # declares nothing; two in truth
    wrong = Signature(signature.inputs, [Tensor("row", "FP32", [-1, 3])])
    error = refused(tmp_path, model, wrong)
    assert error.reason == reasons.SIGNATURE_MISMATCH
    assert "'row'" in error.message


def test_a_run_that_fails_is_one_sentence(tmp_path: Path) -> None:
    model = loaded(tmp_path, *onnx_models.lookup())
    with pytest.raises(ModelRunError, match="out of data bounds"):
        model.run([np.array([99], dtype=np.int64)])


class Timed:
    """A model with one free batch dimension, whose time is a function of rows."""

    plan = Plan.of(onnx_models.DIGITS)

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds = seconds

    def zeros(self, rows: int, free: int) -> list[Array]:
        return [np.zeros((rows, 64), dtype=np.float32)]

    def run(self, arrays: list[Array]) -> list[Array]:
        rows = arrays[0].shape[0]
        if rows not in self.seconds:
            raise ModelRunError("out of memory")
        return [np.zeros((rows, 10), dtype=np.float32)]


BATCHES: dict[str, tuple[dict[int, float], Profile]] = {
    "batching gains nothing": ({1: 0.04, 2: 0.08, 4: 0.16, 8: 0.32}, Profile(0.04, 1, 0.04, joins=True)),
    "batching gains at first": ({1: 0.04, 2: 0.05, 4: 0.09, 8: 0.18}, Profile(0.04, 2, 0.05, joins=True)),
    "batching gains always": ({1: 0.04, 2: 0.05, 4: 0.06, 8: 0.07}, Profile(0.04, 8, 0.07, joins=True)),
    "the memory ends": ({1: 0.04, 2: 0.05}, Profile(0.04, 2, 0.05, joins=True)),
}


@pytest.mark.parametrize("case", BATCHES)
def test_a_batch_grows_while_a_row_gets_cheaper(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, expected = BATCHES[case]

    def median(model: Timed, rows: int, free: int) -> float:
        model.run(model.zeros(rows, free))
        return model.seconds[rows]

    monkeypatch.setattr(models, "_median", median)
    model: object = Timed(seconds)
    assert models.warm_up(model, 8) == expected  # type: ignore[arg-type]
