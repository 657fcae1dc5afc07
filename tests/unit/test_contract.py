"""What crosses a container wall: written by one side, read by the other, with no third thing to import."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway import contract
from slipway.contract import (
    TERMINATION_MESSAGE_LIMIT,
    Artifact,
    CheckFailure,
    CheckSpec,
    ColumnSpec,
    Comparison,
    ContractError,
    DataResult,
    DatasetResult,
    DatasetSpec,
    DataSpec,
    Environment,
    Failure,
    Gpu,
    Metric,
    Parity,
    Progress,
    ServeSpec,
    Signature,
    StoreKeys,
    Tensor,
    TrainResult,
    TrainSpec,
    VerifyResult,
    dumps,
    loads,
    store_env,
    store_object_name,
)

DIGEST = "sha256:" + "0" * 64
ARTIFACT = Artifact("s3://models/digits/v1/model.onnx", DIGEST, 17432)
SIGNATURE = Signature([Tensor("x", "FP32", [-1, 64])], [Tensor("logits", "FP32", [-1, 10])])
RESULT = TrainResult(
    artifact=ARTIFACT,
    signature=SIGNATURE,
    metrics=[Metric("accuracy", "0.9733", "0.9755")],
    data=[DataResult("train", "s3://data/digits/", DIGEST, 2, 1024)],
    environment=Environment("3.13.1", torch="2.6.0", gpu=Gpu("NVIDIA H200", 1)),
    result="s3://models/digits/result.json",
    startedAt="2026-01-01T00:00:00Z",
    finishedAt="2026-01-01T00:01:00Z",
    parity=Parity("1.5e-07", 2),
)
DOCUMENTS = [
    TrainSpec("team", "digits-1", "uid", "digits", entrypoint="train:main", data=[DataSpec("train", "s3://d/x")]),
    ServeSpec(
        "team", "digits", "digits-v1", 1, ARTIFACT, SIGNATURE, comparison=Comparison("peers:9091", "1e-4", "1e-3", 2)
    ),
    RESULT,
    Failure("NoData", "give a bucket"),
    Progress(1, 20, [Metric("loss", "0.5")], "training"),
    VerifyResult(DIGEST, "CPUExecutionProvider", "1.23.0", 17),
    DatasetSpec(
        "team",
        "digits",
        "uid",
        "s3://data/digits/",
        format="Csv",
        schema=[ColumnSpec("label", "Integer", nullable=False)],
        checks=[CheckSpec("label", notNull=True, min="0", allowed=["0", "1"]), CheckSpec(minRows=1000)],
    ),
    DatasetResult(
        DIGEST,
        2,
        1024,
        1,
        "s3://models/datasets/digits/manifests/00.txt",
        rows=7,
        failures=[CheckFailure("minRows", "few")],
    ),
]
by_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: type(d).__name__)


@by_document
def test_what_is_written_reads_back(document: Any) -> None:
    assert loads(type(document), dumps(document)) == document


@by_document
def test_a_newer_writer_may_add_a_field(document: Any) -> None:
    assert loads(type(document), json.dumps({**json.loads(dumps(document)), "added": {"in": "v1.1"}})) == document


@by_document
def test_another_version_is_refused(document: Any) -> None:
    with pytest.raises(ContractError, match="version 2 of the document is not 1"):
        loads(type(document), json.dumps({**json.loads(dumps(document)), "v": 2}))


@by_document
def test_a_field_that_is_missing_is_named(document: Any) -> None:
    required = [
        f.name
        for f in dataclasses.fields(document)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    for name in required:
        raw = json.loads(dumps(document))
        del raw[name]
        with pytest.raises(ContractError, match=name):
            loads(type(document), json.dumps(raw))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a JSON document"),
        ("Killed", "not a JSON document"),
        ("[]", "not a JSON object"),
        ('{"v": 1, "reason": 3, "message": "m"}', "Failure.reason: str was expected, found int"),
        ('{"v": true, "reason": "R", "message": "m"}', "Failure.v: int was expected, found bool"),
        ('{"reason": "R", "message": "m"}', "version None of the document is not 1"),
        (b"\xff\xfe", "not a JSON document"),
    ],
)
def test_what_a_broken_pod_may_leave_behind(text: str | bytes, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        loads(Failure, text)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("metrics", {}, r"TrainResult\.metrics: a list was expected"),
        ("metrics", [{"name": "a", "value": 0.9}], r"TrainResult\.metrics\[0\]\.value: str was expected, found float"),
        ("artifact", "s3://x", r"TrainResult\.artifact: an object was expected"),
        (
            "signature",
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, "64"]}], "outputs": []},
            r"shape\[1\]",
        ),
    ],
)
def test_a_wrong_type_deep_inside_is_named(field: str, value: object, says: str) -> None:
    raw = {**json.loads(dumps(RESULT)), field: value}
    with pytest.raises(ContractError, match=says):
        loads(TrainResult, json.dumps(raw))


@given(st.text() | st.binary())
def test_no_text_makes_the_reader_fail_otherwise(text: str | bytes) -> None:
    with pytest.raises(ContractError, match=r"\w"):
        loads(TrainResult, text)


def _json() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False)
    return st.recursive(leaves, lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=3), s, max_size=3))


@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(TrainResult)]), _json()))
def test_no_json_makes_the_reader_fail_otherwise(raw: dict[str, Any]) -> None:
    with contextlib.suppress(ContractError):
        loads(TrainResult, json.dumps({**raw, "v": 1}))


def test_a_usual_result_fits_the_termination_message() -> None:
    assert len(dumps(RESULT).encode()) < TERMINATION_MESSAGE_LIMIT / 2


def test_none_is_not_written() -> None:
    assert "null" not in dumps(TrainSpec("team", "digits-1", "uid", "digits"))


@pytest.mark.parametrize(
    ("uri", "bucket", "key"),
    [
        ("s3://models/digits/v3/model.onnx", "models", "digits/v3/model.onnx"),
        ("s3://models/digits/v3#2?/a%20b;c.onnx", "models", "digits/v3#2?/a%20b;c.onnx"),
        ("s3://models//model.onnx", "models", "/model.onnx"),
        ("s3://models/s3://x", "models", "s3://x"),
        ("s3://data/digits/", "data", "digits/"),
        ("s3://data/", "data", ""),
    ],
)
def test_a_key_is_all_behind_the_bucket(uri: str, bucket: str, key: str) -> None:
    assert contract.split_s3(uri) == (bucket, key)


@pytest.mark.parametrize("uri", ["", "s3://", "s3://data", "s3:///key", "http://data/key", "data/key", "S3://data/key"])
def test_what_is_no_address_of_s3(uri: str) -> None:
    with pytest.raises(ContractError, match="is no address of S3: write s3://bucket/key"):
        contract.split_s3(uri)


def test_the_keys_of_a_place_make_names_that_do_not_meet() -> None:
    names = [store_env(place, key) for place in ("default", "team-a") for key in StoreKeys.CONFIG + StoreKeys.SECRET]
    assert len(names) == len(set(names))
    assert all(name.isidentifier() and name.isupper() for name in names)
    assert store_object_name("team-a") == "slipway-store-team-a"


def test_it_needs_the_standard_library_only() -> None:
    """The runtimes copy this one file into their images."""
    for node in ast.walk(ast.parse(Path(contract.__file__).read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.module.split(".")[0] in sys.stdlib_module_names, node.module
        elif isinstance(node, ast.Import):
            assert {a.name.split(".")[0] for a in node.names} <= sys.stdlib_module_names
