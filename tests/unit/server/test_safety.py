"""Which files are refused, and that what the walk accepts holds no external tensor in the eyes of the onnx package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from slipway_server import reasons, safety
from slipway_server.reasons import LoadError
from tests.support import onnx_models


def external(name: str = "secret") -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(2, dtype=np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return tensor


def sparse(values: onnx.TensorProto, indices: onnx.TensorProto) -> onnx.SparseTensorProto:
    made = onnx.SparseTensorProto(dims=[4])
    made.values.CopyFrom(values)
    made.indices.CopyFrom(indices)
    return made


def inner() -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(2, dtype=np.float32), "inner")


def subgraph() -> onnx.GraphProto:
    return helper.make_graph([], "sub", [], [], initializer=[external()])


def attribute(model: onnx.ModelProto) -> onnx.AttributeProto:
    made: onnx.AttributeProto = model.graph.node[0].attribute.add()
    made.name = "a"
    return made


def in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(external())


def in_sparse_values(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(sparse(external(), inner()))


def in_sparse_indices(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(sparse(inner(), external()))


def in_attribute(model: onnx.ModelProto) -> None:
    attribute(model).t.CopyFrom(external())


def in_attribute_list(model: onnx.ModelProto) -> None:
    attribute(model).tensors.append(external())


def in_sparse_attribute(model: onnx.ModelProto) -> None:
    attribute(model).sparse_tensor.CopyFrom(sparse(external(), inner()))


def in_sparse_attribute_list(model: onnx.ModelProto) -> None:
    attribute(model).sparse_tensors.append(sparse(external(), inner()))


def in_subgraph(model: onnx.ModelProto) -> None:
    attribute(model).g.CopyFrom(subgraph())


def in_subgraph_list(model: onnx.ModelProto) -> None:
    attribute(model).graphs.append(subgraph())


def in_function(model: onnx.ModelProto) -> None:
    function = model.functions.add()
    function.name = "f"
    function.node.append(helper.make_node("Constant", [], ["c"], value=external()))


def in_function_default(model: onnx.ModelProto) -> None:
    function = model.functions.add()
    function.name = "f"
    made = function.attribute_proto.add()
    made.name = "a"
    made.t.CopyFrom(external())


def in_training_initialization(model: onnx.ModelProto) -> None:
    model.training_info.add().initialization.CopyFrom(subgraph())


def in_training_algorithm(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.CopyFrom(subgraph())


PLACES = [
    in_initializer,
    in_sparse_values,
    in_sparse_indices,
    in_attribute,
    in_attribute_list,
    in_sparse_attribute,
    in_sparse_attribute_list,
    in_subgraph,
    in_subgraph_list,
    in_function,
    in_function_default,
    in_training_initialization,
    in_training_algorithm,
]


def refuse(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(LoadError) as caught:
        safety.check(path)
    assert caught.value.reason == reasons.UNSAFE_MODEL
    return caught.value.message


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_an_external_tensor_is_refused_wherever_it_stands(
    place: Callable[[onnx.ModelProto], object], tmp_path: Path
) -> None:
    model = onnx_models.digits()
    place(model)
    assert "tensor 'secret' keeps its data in another file" in refuse(tmp_path / "m", model.SerializeToString())


def test_external_data_is_refused_even_where_the_location_does_not_say_external(tmp_path: Path) -> None:
    model = onnx_models.digits()
    tensor = external()
    tensor.ClearField("data_location")
    model.graph.initializer.append(tensor)
    assert "'secret'" in refuse(tmp_path / "m", model.SerializeToString())


def test_an_unknown_data_location_is_refused(tmp_path: Path) -> None:
    model = onnx_models.digits()
    data = model.SerializeToString()
    # graph (7) { initializer (5) { data_location (14) = 7 } }: protobuf merges it with the graph before
    data += bytes([7 << 3 | 2, 4, 5 << 3 | 2, 2, 14 << 3, 7])
    assert "keeps its data in another file" in refuse(tmp_path / "m", data)


def test_an_ordinary_model_passes_and_tells_its_operator_set(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.digits(), tmp_path / "m")
    assert safety.check(tmp_path / "m").opset == onnx_models.OPSET


@pytest.mark.parametrize("domain", ["com.microsoft", "evil", "ai.onnx.training"])
def test_an_operator_of_another_domain_is_refused(domain: str, tmp_path: Path) -> None:
    model = onnx_models.digits()
    model.graph.node[1].name = "gate"
    model.graph.node[1].domain = domain
    message = refuse(tmp_path / "m", model.SerializeToString())
    assert f"node 'gate' is of the operator domain {domain!r}" in message


@pytest.mark.parametrize("domain", ["", "ai.onnx", "ai.onnx.ml"])
def test_onnx_own_domains_pass(domain: str, tmp_path: Path) -> None:
    model = onnx_models.digits()
    model.graph.node[1].domain = domain
    onnx_models.save(model, tmp_path / "m")
    safety.check(tmp_path / "m")


def test_an_operator_of_another_domain_in_a_subgraph_is_refused(tmp_path: Path) -> None:
    model = onnx_models.digits()
    graph = helper.make_graph([helper.make_node("Evil", [], [], domain="evil")], "sub", [], [])
    attribute(model).g.CopyFrom(graph)
    assert "'evil'" in refuse(tmp_path / "m", model.SerializeToString())


def test_an_import_that_no_operator_uses_is_no_reason(tmp_path: Path) -> None:
    model = onnx_models.digits()
    model.opset_import.append(helper.make_opsetid("pkg.onnxscript.torch_lib", 1))
    onnx_models.save(model, tmp_path / "m")
    assert safety.check(tmp_path / "m").opset == onnx_models.OPSET


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field; protobuf's own writers refuse what the next test needs."""
    length, size = b"", len(payload)
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + payload


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    graph = b""
    for _ in range(40):
        graph = field(1, field(5, field(6, graph)))  # node, attribute, graph
    assert "nested more than" in refuse(tmp_path / "m", field(7, graph))


def test_many_empty_messages_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety, "MAX_FIELDS", 1000)
    model = onnx_models.digits()
    for _ in range(1100):
        model.graph.node.add()
    assert "more than 1000 fields" in refuse(tmp_path / "m", model.SerializeToString())


@pytest.mark.parametrize(
    "data",
    [b"\x80" * 11, b"\x0b\x0c", b"\x00\x00", b"PK\x03\x04 a zip", b"\x80\x04\x95pickle", b"\x3a\xff\xff\xff\x7fgraph"],
    ids=["endless number", "group", "field 0", "zip", "pickle", "longer than the file"],
)
def test_what_is_no_onnx_file_is_refused(data: bytes, tmp_path: Path) -> None:
    assert "the model file is refused" in refuse(tmp_path / "m", data)


def test_a_cut_file_is_refused_or_harmless(tmp_path: Path) -> None:
    data = onnx_models.digits().SerializeToString()
    path = tmp_path / "m"
    refused = 0
    for end in range(1, 1200, 7):
        path.write_bytes(data[:end])
        try:
            safety.check(path)  # anything but a LoadError fails the test
        except LoadError:
            refused += 1
    assert refused > 160


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor in a model, found through the descriptors, so without the list of fields that the walk has."""
    todo: list[object] = [model]
    while todo:
        message = todo.pop()
        if isinstance(message, onnx.TensorProto):
            yield message
        for field, value in message.ListFields():  # type: ignore[attr-defined]
            if field.message_type is not None:
                todo += value if field.is_repeated else [value]


BASE = onnx_models.digits()
BASE.graph.initializer[0].raw_data = b"\0" * 8
for _place in PLACES:
    _place(BASE)
for _tensor in tensors(BASE):
    if _tensor.name == "secret":
        _tensor.ClearField("external_data")
        _tensor.data_location = TensorProto.DEFAULT
SEED = BASE.SerializeToString()


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_whatever_passes_has_no_external_tensor_for_the_onnx_package(
    changes: list[tuple[int, int]], tmp_path: Path
) -> None:
    data = bytearray(SEED)
    for place, value in changes:
        data[place] = value
    path = tmp_path / "m"
    path.write_bytes(data)
    try:
        safety.check(path)
    except LoadError:
        return
    try:
        model = onnx.load_model_from_string(bytes(data))
    except DecodeError:
        return
    for tensor in tensors(model):
        assert tensor.data_location == TensorProto.DEFAULT
        assert not tensor.external_data
