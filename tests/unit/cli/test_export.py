"""A version as an OCI image layout: the blobs are what they are called, and the file is the registered one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from slipway.cli import exporting
from slipway.cli.errors import Stop
from tests.support import registry_scene as scene
from tests.support.fake_api import FakeApi

MODEL = b"onnx" * 1000


@pytest.fixture
def api() -> FakeApi:
    made = scene.version(commit="ab" * 20)
    made["spec"]["artifact"]["digest"] = f"sha256:{hashlib.sha256(MODEL).hexdigest()}"
    return FakeApi(made)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(MODEL)
    return path


def blob(root: Path, descriptor: dict[str, Any]) -> bytes:
    """A blob by its descriptor, of whose digest and size it is."""
    content: bytes = (root / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
    assert len(content) == descriptor["size"]
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == descriptor["digest"]
    return content


def test_the_layout(api: FakeApi, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "out"
    exporting.export(api, None, "digits-v1", to, file)
    assert json.loads((to / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((to / "index.json").read_text())["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "digits-v1"
    assert capsys.readouterr().out == f"{to}: digits-v1  {entry['digest']}\n"
    manifest = json.loads(blob(to, entry))
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    layers = {layer["annotations"]["org.cncf.model.filepath"]: layer for layer in manifest["layers"]}
    assert blob(to, layers["model.onnx"]) == MODEL
    assert layers["model.onnx"]["mediaType"] == "application/vnd.cncf.model.weight.v1.raw"
    assert blob(to, layers["README.md"]).startswith(b"# digits, version 1")
    assert json.loads(blob(to, layers["provenance.json"]))["_type"] == "https://in-toto.io/Statement/v1"
    config = json.loads(blob(to, manifest["config"]))
    assert config["modelfs"] == {"type": "layers", "diffIds": [layer["digest"] for layer in manifest["layers"]]}
    assert config["descriptor"]["revision"] == "ab" * 20
    # and nothing else lies there
    named = {d["digest"].removeprefix("sha256:") for d in (entry, manifest["config"], *manifest["layers"])}
    assert {path.name for path in (to / "blobs" / "sha256").iterdir()} == named


def test_the_same_version_is_the_same_artifact(api: FakeApi, file: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        exporting.export(api, None, "digits-v1", tmp_path / name, file)
    assert (tmp_path / "one" / "index.json").read_bytes() == (tmp_path / "two" / "index.json").read_bytes()


def test_another_file_is_not_exported(api: FakeApi, file: Path, tmp_path: Path) -> None:
    file.write_bytes(MODEL + b"!")
    with pytest.raises(
        Stop, match=r"digits-v1 was not exported .* the file has sha256:.*, and sha256:.* was registered"
    ):
        exporting.export(api, None, "digits-v1", tmp_path / "out", file)
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_touched(api: FakeApi, file: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="is not an empty directory"):
        exporting.export(api, None, "digits-v1", tmp_path, file)
    assert file.read_bytes() == MODEL


class Place:
    """An S3 server, as the minio client would be one."""

    asked: list[tuple[str, str]]

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def get_object(self, bucket: str, key: str) -> Place:
        self.asked.append((bucket, key))
        return self

    def stream(self, _size: int) -> list[bytes]:
        return [MODEL]

    def close(self) -> None: ...


def test_a_key_is_all_behind_the_bucket(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = api.objects
    found["spec"]["artifact"]["uri"] = "s3://models/digits/#3?/model.onnx"
    for name in ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "http://s3:9000")
    Place.asked = []
    monkeypatch.setattr("minio.Minio", Place)
    exporting.export(api, None, "digits-v1", tmp_path / "out", None)
    assert Place.asked == [("models", "digits/#3?/model.onnx")]


def test_without_keys_it_says_which(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(Stop, match=r"set AWS_ENDPOINT_URL.*or name a copy of the file with --file"):
        exporting.export(api, None, "digits-v1", tmp_path / "out", None)
