"""Which ONNX files are taken, and what signature they have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from slipway.contract import ONNX_DATATYPES, Signature, Tensor
from slipway_trainer import model_file
from slipway_trainer.failures import TrainerError
from slipway_trainer.model_file import read_model
from slipway_trainer.signature import open_model, signature_of
from tests.support import onnx_models


def save(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def outside(name: str = "w1") -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(outside())


def in_location_alone(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def in_list_alone(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="x")


def in_sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add(dims=[1]).values.CopyFrom(outside())


def in_attribute(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=outside()))


def in_sparse_attribute(model: onnx.ModelProto) -> None:
    attribute = model.graph.node.add(op_type="Constant").attribute.add(name="sparse_value")
    attribute.sparse_tensor.indices.CopyFrom(outside())


def in_branch(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=outside())], "inner", [], [])
    branch = helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner)
    model.graph.node.append(branch)


def in_function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Constant", [], ["c"], value=outside())]
    model.functions.append(helper.make_function("", "F", [], ["c"], body, [helper.make_opsetid("", 17)]))


@pytest.mark.parametrize(
    "put",
    [
        in_initializer,
        in_location_alone,
        in_list_alone,
        in_sparse,
        in_attribute,
        in_sparse_attribute,
        in_branch,
        in_function,
    ],
)
def test_weights_outside_the_file_are_refused_wherever_they_hide(
    tmp_path: Path, put: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx_models.digits()
    put(model)
    with pytest.raises(TrainerError, match="outside the ONNX file") as caught:
        read_model(save(model, tmp_path))
    assert (caught.value.reason.name, caught.value.reason.again) == ("ModelRefused", False)


def called(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Run", ["x"], ["z"], domain="com.evil"))


def called_in_a_branch(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Run", [], ["c"], domain="com.evil")], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))


def brought_along(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("com.evil", "F", [], ["c"], [], [helper.make_opsetid("", 17)]))


@pytest.mark.parametrize("put", [called, called_in_a_branch, brought_along])
def test_operators_outside_the_standard_are_refused(tmp_path: Path, put: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx_models.digits()
    put(model)
    with pytest.raises(TrainerError, match=r"operators of com\.evil"):
        read_model(save(model, tmp_path))


def test_an_import_that_no_operator_uses_is_no_reason(tmp_path: Path) -> None:
    """torch's exporters leave some behind, and the server passes over them too."""
    model = onnx_models.digits()
    model.opset_import.extend([helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("pkg.torch", 1)])
    assert len(read_model(save(model, tmp_path)).graph.node) == 3


@pytest.mark.parametrize("content", [b"\xffnot a model", b"PK\x03\x04" + bytes(100)])
def test_what_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(TrainerError, match=r"is not an ONNX file|not well-formed"):
        read_model(tmp_path / "model.onnx")


def test_a_graph_that_does_not_hold_together_is_refused(tmp_path: Path) -> None:
    model = onnx_models.digits()
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(TrainerError, match="not well-formed"):
        read_model(save(model, tmp_path))


def test_a_file_beyond_protobufs_limit_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "SIZE_LIMIT", 10)
    with pytest.raises(TrainerError, match="make it smaller"):
        read_model(save(onnx_models.digits(), tmp_path))


@pytest.mark.parametrize("datatype", list(ONNX_DATATYPES.values()))
def test_each_datatype_of_the_protocol_is_read(tmp_path: Path, datatype: str) -> None:
    model, signature = onnx_models.identity(datatype)
    assert signature_of(open_model(save(model, tmp_path))) == signature


def test_sizes_that_are_named_are_any_size(tmp_path: Path) -> None:
    model, _ = onnx_models.identity("FP32", (-1, -1, 3))
    assert signature_of(open_model(save(model, tmp_path))).inputs == [Tensor("x", "FP32", [-1, -1, 3])]


def test_a_batch_of_one_size_is_refused(tmp_path: Path) -> None:
    model, _ = onnx_models.identity("FP32", (1, 3))
    with pytest.raises(
        TrainerError, match=r"'x' of the model has the shape \[1, 3\]: export it with a first dimension"
    ):
        signature_of(open_model(save(model, tmp_path)))


def test_what_is_not_a_tensor_is_refused(tmp_path: Path) -> None:
    """scikit-learn's converter makes a list of dictionaries of the class probabilities, unless told otherwise."""
    zipped = helper.make_graph(
        [helper.make_node("ZipMap", ["x"], ["p"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [
            helper.make_value_info(
                "p",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(
                        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
                    )
                ),
            )
        ],
    )
    model = helper.make_model(
        zipped, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)], ir_version=8
    )
    with pytest.raises(TrainerError, match="zipmap=False"):
        signature_of(open_model(save(model, tmp_path)))


def test_a_model_that_onnxruntime_cannot_load_is_refused(tmp_path: Path) -> None:
    model = onnx_models.make(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        Signature([Tensor("x", "FP32", [-1, 3])], [Tensor("y", "FP32", [-1, 3])]),
        [numpy_helper.from_array(np.zeros((4, 3), np.float32), "w")],
    )
    with pytest.raises(TrainerError, match="onnxruntime cannot load the model"):
        open_model(save(model, tmp_path))
