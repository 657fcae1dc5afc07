"""Requests against a signature: what is read, and the sentence for each thing that is wrong."""

from __future__ import annotations

import struct
import sys
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.contract import Signature, Tensor
from slipway_server import codec_binary, codec_json
from slipway_server.signature import DTYPES, Plan, TensorPlan
from slipway_server.validate import InferRequest, Reader, RequestError, TooLargeError

XS = Signature([Tensor("x", "FP32", [-1, 2]), Tensor("n", "INT8", [-1])], [Tensor("y", "FP32", [-1, 2])])
X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2]}
N = {"name": "n", "datatype": "INT8", "shape": [1], "data": [3]}


def read(document: Any, signature: Signature = XS, binary: bytes | None = None) -> InferRequest:
    text = document if isinstance(document, bytes) else orjson.dumps(document)
    reader = Reader(Plan.of(signature))
    return reader.read(text, None) if binary is None else reader.read(text + binary, len(text))


def one(datatype: str, shape: list[int]) -> Signature:
    return Signature([Tensor("x", datatype, shape)], [Tensor("y", "FP32", [-1])])


def only(datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "data": data}]}


def test_inputs_come_in_the_order_of_the_signature() -> None:
    request = read({"id": "a", "inputs": [N, X], "parameters": {"whatever": 1}})
    assert request.id == "a"
    assert request.rows == 1
    assert request.tails is None
    assert [a.dtype for a in request.arrays] == [np.float32, np.int8]
    assert request.arrays[0].tolist() == [[1.5, 2.0]]
    assert request.outputs == ((0, False),)


WRONG: dict[str, tuple[Any, str]] = {
    "not JSON": (b"{", "the body is not JSON"),
    "an empty body": (b"", "the body is not JSON"),
    "NaN is not JSON": (b'{"inputs": [NaN]}', "the body is not JSON"),
    "an infinite number is not JSON": (b'{"inputs": [1e999]}', "the body is not JSON"),
    "not UTF-8": (b'{"inputs": "\xff"}', "the body is not JSON"),
    "a list": ([], "must be a JSON object with 'inputs'"),
    "no inputs": ({}, "'inputs' must be a list with the inputs 'x', 'n'"),
    "inputs of another type": ({"inputs": "x"}, "'inputs' must be a list"),
    "an input that is no object": ({"inputs": [1]}, "each of 'inputs' must be an object"),
    "an id that is no text": ({"id": 7, "inputs": [X, N]}, "'id' must be a text"),
    "unknown input": (
        {"inputs": [X, N, {**X, "name": "z"}]},
        "unknown input 'z': this model takes 'x', 'n'",
    ),
    "input without a name": ({"inputs": [{"data": []}]}, "unknown input None"),
    "a name of another type": ({"inputs": [{"name": ["x"]}]}, "unknown input ['x']"),
    "missing input": ({"inputs": [X]}, "input 'n' is missing: INT8 of shape [-1] was expected"),
    "input twice": ({"inputs": [X, X, N]}, "input 'x' is given twice"),
    "another datatype": (
        {"inputs": [{**X, "datatype": "FP64"}, N]},
        "input 'x' has datatype 'FP64': FP32 of shape [-1, 2] was expected",
    ),
    "another size": (
        {"inputs": [{**X, "shape": [1, 3]}, N]},
        "input 'x' has shape [1, 3]: FP32 of shape [-1, 2] was expected",
    ),
    "another rank": ({"inputs": [{**X, "shape": [2]}, N]}, "input 'x' has shape [2]"),
    "no shape": (
        {"inputs": [{"name": "x", "datatype": "FP32", "data": [1, 2]}, N]},
        "input 'x' has the shape None",
    ),
    "a shape of fractions": ({"inputs": [{**X, "shape": [1.0, 2]}, N]}, "as a list of whole numbers"),
    "a shape of booleans": ({"inputs": [{**X, "shape": [True, 2]}, N]}, "as a list of whole numbers"),
    "no row": (
        {"inputs": [{**X, "shape": [0, 2], "data": []}, N]},
        "input 'x' has shape [0, 2]: every dimension must be at least 1",
    ),
    "a negative dimension": ({"inputs": [{**X, "shape": [-1, 2]}, N]}, "must be at least 1"),
    "unequal rows": (
        {"inputs": [{**X, "shape": [2, 2], "data": [1, 2, 3, 4]}, N]},
        "input 'n' has 1 rows, but another input has 2: all need the same",
    ),
    "no data": (
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2]}, N]},
        "input 'x' needs its elements as a list in 'data', found null",
    ),
    "too few elements": (
        {"inputs": [{**X, "data": [1]}, N]},
        "input 'x' has 1 elements in 'data', but its shape [1, 2] needs 2",
    ),
    "a gigantic shape": ({"inputs": [{**X, "shape": [2**63 - 1, 2]}, N]}, "input 'x' has 2 elements in 'data'"),
    "null among numbers": (
        {"inputs": [{**X, "data": [1, None]}, N]},
        "input 'x' is FP32, so its data must be numbers; found null",
    ),
    "a text among numbers": ({"inputs": [{**X, "data": [1, "2"]}, N]}, "found a text"),
    "a boolean among numbers": ({"inputs": [{**X, "data": [1, True]}, N]}, "found a boolean"),
    "an object among numbers": ({"inputs": [{**X, "data": [1, {}]}, N]}, "found an object"),
    "a number too large for FP32": ({"inputs": [{**X, "data": [1, 1e39]}, N]}, "a number that FP32 cannot hold"),
    "a fraction for an integer": (
        {"inputs": [X, {**N, "data": [1.5]}]},
        "input 'n' is INT8, so its data must be whole numbers; found a number with a fraction",
    ),
    "an integer out of range": ({"inputs": [X, {**N, "data": [128]}]}, "input 'n' has a number that INT8 cannot hold"),
    "nested otherwise than the shape": (
        {"inputs": [{**X, "data": [[1], [2]]}, N]},
        "input 'x' has 'data' nested as [2, 1], but its shape is [1, 2]",
    ),
    "ragged": ({"inputs": [{**X, "data": [[1], [2, 3]]}, N]}, "not nested as its shape [1, 2] says"),
    "nested too deep": ({"inputs": [{**X, "data": [[[1, 2]]]}, N]}, "not nested as its shape [1, 2] says"),
    "lists and numbers": ({"inputs": [{**X, "data": [[1], 2]}, N]}, "mixes lists and single elements"),
    "parameters that are no object": ({"inputs": [{**X, "parameters": 1}, N]}, "'parameters' that are not an object"),
    "request parameters": ({"inputs": [X, N], "parameters": []}, "the request has 'parameters' that are not an object"),
    "outputs of another type": ({"inputs": [X, N], "outputs": {}}, "'outputs' must be a list"),
    "unknown output": ({"inputs": [X, N], "outputs": [{"name": "z"}]}, "unknown output 'z': this model gives 'y'"),
    "an output that is no object": ({"inputs": [X, N], "outputs": ["y"]}, "unknown output None"),
    "output twice": (
        {"inputs": [X, N], "outputs": [{"name": "y"}, {"name": "y"}]},
        "output 'y' is asked for twice",
    ),
    "binary_data of another type": (
        {"inputs": [X, N], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
        "output 'y' has the parameter binary_data 1: true or false was expected",
    ),
    "binary size without the header": (
        {"inputs": [{**X, "parameters": {"binary_data_size": 8}}, N]},
        "no header Inference-Header-Content-Length",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_requests_are_refused_with_a_sentence(case: str) -> None:
    document, sentence = WRONG[case]
    with pytest.raises(RequestError) as caught:
        read(document)
    assert sentence in str(caught.value)


def test_a_sentence_never_repeats_a_large_value() -> None:
    with pytest.raises(RequestError) as caught:
        read({"inputs": [{**X, "shape": list(range(100_000))}, N]})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]], ids=["flat", "nested"])
def test_flat_and_nested_data_are_the_same(data: list[Any]) -> None:
    request = read(only("INT32", [2, 2], data), one("INT32", [-1, 2]))
    assert request.arrays[0].tolist() == [[1, 2], [3, 4]]


def test_free_dimensions_are_told_to_the_batcher() -> None:
    request = read(only("FP32", [2, 3], [0] * 6), one("FP32", [-1, -1]))
    assert (request.rows, request.tails) == (2, ((3,),))


def test_a_model_without_a_batch_dimension_has_one_row() -> None:
    assert read(only("FP32", [2], [1, 2]), one("FP32", [2])).rows == 1
    assert read(only("FP32", [], [1]), one("FP32", [])).arrays[0].shape == ()


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "BOOL": st.booleans(),
    "BYTES": st.text(max_size=8),
    "FP16": st.floats(width=16, allow_nan=False, allow_infinity=False),
    "FP32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "FP64": st.floats(allow_nan=False, allow_infinity=False),
} | {n: st.integers(np.iinfo(d).min, np.iinfo(d).max) for n, d in DTYPES.items() if d.kind in "iu"}


@pytest.mark.parametrize("datatype", DTYPES)
@settings(max_examples=40)
@given(data=st.data())
def test_json_and_binary_bring_the_same_array_and_give_it_back(datatype: str, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 4))
    values = data.draw(st.lists(VALUES[datatype], min_size=2 * rows, max_size=2 * rows))
    signature = one(datatype, [-1, 2])
    by_json = read(only(datatype, [rows, 2], values), signature).arrays[0]

    raw = codec_binary.write(by_json)
    document = only(datatype, [rows, 2], None)
    del document["inputs"][0]["data"]
    document["inputs"][0]["parameters"] = {"binary_data_size": len(raw)}
    by_binary = read(document, signature, raw).arrays[0]

    assert by_json.dtype == by_binary.dtype == DTYPES[datatype]
    assert by_json.tolist() == by_binary.tolist()
    assert orjson.loads(codec_json.dumps(codec_json.write(by_json))) == pytest.approx(values)


def binary(*sizes: Any, **more: Any) -> dict[str, Any]:
    inputs = [{**X, "parameters": {"binary_data_size": sizes[0]}, **more}, N]
    inputs[0].pop("data", None) if "data" not in more else None
    return {"inputs": inputs}


def test_binary_and_json_inputs_may_be_mixed() -> None:
    request = read(binary(8), binary=struct.pack("<2f", 1, 2))
    assert [a.tolist() for a in request.arrays] == [[[1, 2]], [3]]


BINARY_WRONG: dict[str, tuple[Any, bytes, str]] = {
    "too few bytes for the shape": (
        binary(4),
        b"1234",
        "of 4, but FP32 of shape [1, 2] needs 8",
    ),
    "more than there are": (binary(8), b"1234", "has a binary_data_size of 8, but only 4 bytes are left in the body"),
    "bytes left over": (binary(8), b"1" * 12, "4 bytes at the end of the body belong to no input"),
    "a negative size": (binary(-1), b"", "has the binary_data_size -1: a number of bytes was expected"),
    "a size that is a text": (binary("8"), b"1" * 8, "has the binary_data_size '8'"),
    "a size that is a boolean": (binary(True), b"1", "has the binary_data_size True"),
    "data as well": (binary(8, data=[1, 2]), b"1" * 8, "has both 'data' and a binary_data_size"),
}


@pytest.mark.parametrize("case", BINARY_WRONG)
def test_wrong_binary_requests_are_refused_with_a_sentence(case: str) -> None:
    document, raw, sentence = BINARY_WRONG[case]
    with pytest.raises(RequestError) as caught:
        read(document, binary=raw)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("length", [0, 10_000])
def test_a_wrong_length_of_the_json_is_refused(length: int) -> None:
    with pytest.raises(RequestError, match="Inference-Header-Content-Length is"):
        Reader(Plan.of(XS)).read(b"{}", length)


@pytest.mark.parametrize(
    ("datatype", "raw", "sentence"),
    [
        ("BOOL", b"\0\2", "each byte must be 0 or 1"),
        ("BYTES", b"\1\0", "ends within the length of an element"),
        ("BYTES", b"\x09\0\0\0a", "element 0 is longer than the binary data"),
        ("BYTES", b"\1\0\0\0\xff\0\0\0\0", "element 0 is not UTF-8"),
        ("BYTES", b"\0\0\0\0", "has 1 elements in its binary data, but its shape needs 2"),
    ],
)
def test_wrong_bytes(datatype: str, raw: bytes, sentence: str) -> None:
    with pytest.raises(codec_json.DataError, match=sentence):
        codec_binary.read(TensorPlan.of(Tensor("x", datatype, [2])), memoryview(raw), (2,))


@pytest.mark.parametrize("offset", range(8))
def test_numbers_may_begin_at_any_byte(offset: int) -> None:
    raw = b"." * offset + struct.pack("<2d", 1, 2)
    array = codec_binary.read(TensorPlan.of(Tensor("x", "FP64", [2])), memoryview(raw)[offset:], (2,))
    assert array.flags.aligned
    assert array.tolist() == [1, 2]


def test_outputs_are_chosen_and_may_be_binary() -> None:
    signature = Signature(XS.inputs, [Tensor(n, "FP32", [-1]) for n in "abc"])

    def outputs(**more: Any) -> tuple[tuple[int, bool], ...]:
        return read({"inputs": [X, N], **more}, signature).outputs

    assert outputs() == ((0, False), (1, False), (2, False))
    assert outputs(outputs=[]) == outputs()
    assert outputs(outputs=[{"name": "c"}, {"name": "a"}]) == ((2, False), (0, False))
    assert outputs(parameters={"binary_data_output": True}) == ((0, True), (1, True), (2, True))
    mixed = [{"name": "a", "parameters": {"binary_data": False}}, {"name": "b"}]
    assert outputs(outputs=mixed, parameters={"binary_data_output": True}) == ((0, False), (1, True))


def test_what_json_cannot_say_becomes_null() -> None:
    assert codec_json.dumps(codec_json.write(np.array([np.nan, np.inf, 1], dtype=np.float32))) == b"[null,null,1.0]"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(["id", "inputs", "outputs", "parameters", "name", "datatype", "shape", "data"])
tensor_like = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "n", "y"]) | json_values,
        "datatype": st.sampled_from(["FP32", "INT8"]) | json_values,
        "shape": st.lists(st.integers(-2, 3), max_size=3) | json_values,
        "data": st.lists(json_values, max_size=4) | json_values,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "binary_data"]), json_values) | json_values,
    },
)
request_like = st.fixed_dictionaries(
    {},
    optional={
        "id": json_values,
        "inputs": st.lists(tensor_like | st.sampled_from([X, N]), max_size=3) | json_values,
        "outputs": st.lists(tensor_like, max_size=2) | json_values,
        "parameters": json_values,
    },
)


def size(value: Any) -> int:
    """Bytes of memory, the places in lists included; small integers, None and the like are shared."""
    if isinstance(value, list):
        return sys.getsizeof(value) + sum(map(size, value))
    if isinstance(value, dict):
        return sys.getsizeof(value) + sum(size(k) + size(v) for k, v in value.items())
    return sys.getsizeof(value)


@settings(max_examples=60)
@given(values=st.lists(json_values, min_size=10, max_size=15))
def test_parsing_takes_no_more_memory_than_was_reckoned(values: list[Any]) -> None:
    text = orjson.dumps(values)
    assert size(orjson.loads(text)) <= 1.2 * codec_json.cost(text)


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"0,", b"1.5,", b'"",', b'"ab",', b'{"a":1},'])
def test_nothing_takes_more_memory_than_was_reckoned_however_much_of_it(piece: bytes) -> None:
    text = b"[" + piece * 20_000 + b"0]"
    assert size(orjson.loads(text)) <= 1.2 * codec_json.cost(text)


def test_json_that_might_take_too_much_memory_is_refused_before_it_is_parsed() -> None:
    reader = Reader(Plan.of(XS), json_memory=10_000)
    with pytest.raises(TooLargeError, match="send fewer rows, send binary tensors, or give"):
        reader.read(b"[" + b"{}," * 1000 + b"1]", None)
    with pytest.raises(RequestError, match="must be a JSON object"):
        reader.read(b"[1,2]", None)
    assert reader.read(orjson.dumps({"inputs": [X, N]}), None).rows == 1


@settings(max_examples=300)
@given(document=request_like | json_values, tail=st.none() | st.binary(max_size=12))
def test_no_document_brings_anything_but_a_sentence(document: Any, tail: bytes | None) -> None:
    try:
        request = read(orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS), binary=tail)
    except RequestError:
        return  # anything else fails the test
    assert [a.shape[1:] for a in request.arrays] == [(2,), ()]
    assert [a.dtype for a in request.arrays] == [np.float32, np.int8]
