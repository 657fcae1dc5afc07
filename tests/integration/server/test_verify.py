"""``verify`` and ``serve`` as processes: every way a model is refused, with reason, sentence and exit status."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from slipway.contract import (
    EXIT_ERROR,
    EXIT_OK,
    EXIT_USER_ERROR,
    DiscardResult,
    ServeSpec,
    Signature,
    Tensor,
    loads,
)
from slipway_server import reasons
from tests.support import onnx_models
from tests.support.fake_s3 import FakeS3, fake_s3
from tests.support.server_process import run, serving


@pytest.fixture
def s3() -> Iterator[FakeS3]:
    with fake_s3() as store:
        yield store


def registered(s3: FakeS3, directory: Path, model: onnx.ModelProto, signature: Signature) -> ServeSpec:
    """Upload a model and say what was recorded of it."""
    artifact = onnx_models.save(model, directory / "uploaded.onnx")
    artifact = replace(artifact, uri="s3://models/m/v3/model.onnx")
    s3.objects["models/m/v3/model.onnx"] = (directory / "uploaded.onnx").read_bytes()
    return onnx_models.spec(artifact, signature)


def test_a_good_model_is_verified(s3: FakeS3, tmp_path: Path) -> None:
    spec = registered(s3, tmp_path, onnx_models.digits(), onnx_models.DIGITS)
    done = run("verify", tmp_path, spec, s3.environment())
    assert done.code == EXIT_OK, done.log
    assert done.result.digest == spec.artifact.digest
    assert done.result.provider == "CPUExecutionProvider"
    assert done.result.opset == onnx_models.OPSET


def external() -> onnx.ModelProto:
    model = onnx_models.digits()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return model


def foreign() -> onnx.ModelProto:
    model = onnx_models.digits()
    model.graph.node[0].domain = "com.microsoft"
    return model


Case = Callable[[FakeS3, ServeSpec], ServeSpec]
DIGITS = onnx_models.DIGITS


def tampered(s3: FakeS3, spec: ServeSpec) -> ServeSpec:
    data = bytearray(s3.objects["models/m/v3/model.onnx"])
    data[-1] ^= 1
    s3.objects["models/m/v3/model.onnx"] = bytes(data)
    return spec


def gone(s3: FakeS3, spec: ServeSpec) -> ServeSpec:
    del s3.objects["models/m/v3/model.onnx"]
    s3.objects["models/other"] = b""
    return spec


def no_bucket(s3: FakeS3, spec: ServeSpec) -> ServeSpec:
    return replace(spec, artifact=replace(spec.artifact, uri="s3://nobody/model.onnx"))


def refusing(code: str, status: int) -> Case:
    def change(s3: FakeS3, spec: ServeSpec) -> ServeSpec:
        s3.refuse = (code, status)
        return spec

    return change


def unreachable(s3: FakeS3, spec: ServeSpec) -> ServeSpec:
    s3.endpoint = "http://127.0.0.1:9"
    return spec


def another_place(s3: FakeS3, spec: ServeSpec) -> ServeSpec:
    return replace(spec, artifact=replace(spec.artifact, store="elsewhere"))


def signed(signature: Signature) -> Case:
    return lambda s3, spec: replace(spec, signature=signature)


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], Case, str, list[str], int]] = {
    "tampered with after registration": (
        onnx_models.digits, tampered, reasons.DIGEST_MISMATCH, ["has digest sha256:", "recorded"], EXIT_USER_ERROR,
    ),
    "no such object": (
        onnx_models.digits, gone, reasons.ARTIFACT_NOT_FOUND, ["s3://models/m/v3/model.onnx does not exist"],
        EXIT_USER_ERROR,
    ),
    "no such bucket": (
        onnx_models.digits, no_bucket, reasons.ARTIFACT_NOT_FOUND, ["bucket 'nobody' does not exist"], EXIT_USER_ERROR,
    ),
    "wrong keys": (
        onnx_models.digits, refusing("SignatureDoesNotMatch", 403), reasons.CREDENTIALS_REFUSED,
        ["Secret 'slipway-store-default'", "correct accessKey and secretKey"], EXIT_USER_ERROR,
    ),
    "no such key id": (
        onnx_models.digits, refusing("InvalidAccessKeyId", 403), reasons.CREDENTIALS_REFUSED, ["InvalidAccessKeyId"],
        EXIT_USER_ERROR,
    ),
    "store broken": (
        onnx_models.digits, refusing("InternalError", 500), reasons.STORE_UNREACHABLE, ["127.0.0.1"], EXIT_ERROR,
    ),
    "store not there": (
        onnx_models.digits, unreachable, reasons.STORE_UNREACHABLE, ["cannot reach http://127.0.0.1:9"], EXIT_ERROR,
    ),
    "place not given": (
        onnx_models.digits, another_place, reasons.STORE_NOT_GIVEN, ["no S3 place 'elsewhere'"], EXIT_USER_ERROR,
    ),
    "data in another file": (
        external, lambda s3, spec: spec, reasons.UNSAFE_MODEL, ["tensor 'w1' keeps its data in another file"],
        EXIT_USER_ERROR,
    ),
    "operators that are not ONNX's": (
        foreign, lambda s3, spec: spec, reasons.UNSAFE_MODEL, ["'com.microsoft'"], EXIT_USER_ERROR,
    ),
    "another signature": (
        onnx_models.digits, signed(Signature([Tensor("x", "FP64", [-1, 64])], DIGITS.outputs)),
        reasons.SIGNATURE_MISMATCH, ["input 'x' is FP64 of shape [-1, 64] in the signature, but FP32"], EXIT_USER_ERROR,
    ),
    "an output that is not there": (
        onnx_models.digits, signed(Signature(DIGITS.inputs, [Tensor("p", "FP32", [-1, 10])])),
        reasons.SIGNATURE_MISMATCH, ["the signature names the outputs ['p'], but the model has ['logits']"],
        EXIT_USER_ERROR,
    ),
}  # fmt: skip


BY_BOTH = ("tampered with after registration", "store not there")
"""`serve` and `verify` load by the same function; these show that both report alike."""


@pytest.mark.parametrize(
    ("case", "action"), [*((case, "verify") for case in REFUSED), *((case, "serve") for case in BY_BOTH)]
)
def test_refused(case: str, action: str, s3: FakeS3, tmp_path: Path) -> None:
    model, change, reason, words, code = REFUSED[case]
    spec = change(s3, registered(s3, tmp_path, model(), DIGITS))
    done = run(action, tmp_path, spec, s3.environment())
    assert (done.code, done.failure.reason) == (code, reason), done.log
    for word in words:
        assert word in done.failure.message


@pytest.mark.parametrize("text", ["", "{", '{"v": 2}', '{"v": 1, "model": "m"}'])
def test_a_spec_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    done = run("verify", tmp_path, text)
    assert (done.code, done.failure.reason) == (EXIT_USER_ERROR, reasons.SPEC_INVALID)
    assert "SLIPWAY_SPEC" in done.failure.message


def test_a_restarted_server_needs_no_store_and_still_checks_the_digest(s3: FakeS3, tmp_path: Path) -> None:
    spec = registered(s3, tmp_path, onnx_models.digits(), onnx_models.DIGITS)
    with serving(tmp_path, spec, s3.environment()):
        pass
    asked = s3.requests
    s3.refuse = ("InternalError", 500)
    with serving(tmp_path, spec, s3.environment()):
        assert s3.requests == asked

    (file,) = (tmp_path / "model").iterdir()
    file.chmod(0o600)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    done = run("verify", tmp_path, spec, s3.environment())
    assert done.failure.reason == reasons.STORE_UNREACHABLE  # it was thrown away and asked for again
    s3.refuse = None
    assert run("verify", tmp_path, spec, s3.environment()).code == EXIT_OK


# ---------------------------------------------------------------------------------------------------------- discard


def test_a_file_is_discarded_once_and_its_being_gone_is_no_error(s3: FakeS3, tmp_path: Path) -> None:
    spec = registered(s3, tmp_path, onnx_models.digits(), onnx_models.DIGITS)
    s3.objects["models/m/v4/model.onnx"] = b"another version's"
    for was in (True, False):
        done = run("discard", tmp_path, spec, s3.environment())
        assert done.code == EXIT_OK, done.log
        assert loads(DiscardResult, done.message) == DiscardResult(spec.artifact.digest, was)
        assert list(s3.objects) == ["models/m/v4/model.onnx"]


def test_other_bytes_than_those_that_were_registered_are_left(s3: FakeS3, tmp_path: Path) -> None:
    spec = registered(s3, tmp_path, onnx_models.digits(), onnx_models.DIGITS)
    s3.objects["models/m/v3/model.onnx"] = b"somebody else's"
    done = run("discard", tmp_path, spec, s3.environment())
    assert (done.code, done.failure.reason) == (EXIT_USER_ERROR, reasons.DIGEST_MISMATCH)
    assert "other bytes lie there now, and are left" in done.failure.message
    assert s3.objects["models/m/v3/model.onnx"] == b"somebody else's"


def test_a_store_that_is_down_is_asked_again(s3: FakeS3, tmp_path: Path) -> None:
    spec = registered(s3, tmp_path, onnx_models.digits(), onnx_models.DIGITS)
    s3.refuse = ("SlowDown", 400)
    done = run("discard", tmp_path, spec, s3.environment())
    assert (done.code, done.failure.reason) == (EXIT_ERROR, reasons.STORE_UNREACHABLE)
