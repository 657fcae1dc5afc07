"""The trainer's store against a real S3 server: what the fake of the unit tests cannot know."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from slipway.contract import DataSpec
from slipway_trainer import store as store_module
from slipway_trainer.failures import TrainerError
from slipway_trainer.fetch import fetch
from slipway_trainer.store import ObjectMissingError, Place, S3Store, place_from_env
from tests.support.s3_server import S3Server

_numbers = itertools.count(1)


@pytest.fixture
def place(s3: S3Server) -> Place:
    return place_from_env("default", s3.environment())


@pytest.fixture
def prefix(s3: S3Server) -> str:
    """A prefix of the bucket ``data`` that only this test uses."""
    return f"test-{next(_numbers)}/"


def put(s3: S3Server, **objects: bytes) -> None:
    for key, content in objects.items():
        s3.client.put_object("data", key, io.BytesIO(content), len(content))


def test_objects_go_and_come_whole(s3: S3Server, place: Place, prefix: str, tmp_path: Path) -> None:
    store = S3Store(place)
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 40_000)
    store.write("models", prefix + "large", large)
    store.write("models", prefix + "none", b"")
    assert b"".join(store.read("models", prefix + "large")) == large.read_bytes()
    assert b"".join(store.read("models", prefix + "none")) == b""
    assert [(e.key, e.size) for e in store.entries("models", prefix)] == [
        (prefix + "large", 10_240_000),
        (prefix + "none", 0),
    ]
    store.remove("models", prefix + "large")
    store.remove("models", prefix + "large")
    with pytest.raises(ObjectMissingError):
        next(store.read("models", prefix + "large"))


def test_a_file_in_parts_comes_whole(
    place: Place, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "PART_SIZE", 5 * 1024 * 1024)
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 50_000)
    store = S3Store(place)
    store.write("models", prefix + "large", large)
    assert b"".join(store.read("models", prefix + "large")) == large.read_bytes()


def test_a_download_goes_on_from_an_offset_of_the_same_object_only(s3: S3Server, place: Place, prefix: str) -> None:
    put(s3, **{prefix + "a": b"0123456789"})
    store = S3Store(place)
    with store._open("data", prefix + "a", 0, "") as first:
        tag = first.headers["ETag"]
    with store._open("data", prefix + "a", 4, tag) as rest:
        assert rest.read() == b"456789"
    put(s3, **{prefix + "a": b"abcdefghij"})
    with pytest.raises(TrainerError) as caught:
        store._again("data", lambda: store._open("data", prefix + "a", 4, tag))
    assert caught.value.reason.name == "DataChanged"


def test_data_of_many_files_have_the_same_digest_from_two_prefixes(
    s3: S3Server, place: Place, prefix: str, tmp_path: Path
) -> None:
    files = {f"part {i:03}/ä+{i}.csv": b"row\n" * i for i in range(40)}
    for top in ("one/", "two/"):
        put(s3, **{prefix + top + name: content for name, content in files.items()})
    store = S3Store(place)
    results = [
        fetch(store, DataSpec(name, f"s3://data/{prefix}{name}/"), tmp_path, lambda _: None) for name in ("one", "two")
    ]
    assert results[0].digest == results[1].digest
    assert (results[0].files, results[0].bytes) == (40, 4 * sum(range(40)))
    assert (tmp_path / "one" / "part 007" / "ä+7.csv").read_bytes() == b"row\n" * 7


@pytest.mark.parametrize(
    ("change", "reason", "sentence"),
    [
        ({"access_key": "nobody"}, "WrongCredentials", "correct accessKey in the Secret slipway-store-default"),
        ({"secret_key": "wrong"}, "WrongCredentials", "correct secretKey in the Secret slipway-store-default"),
    ],
)
def test_wrong_credentials_are_told(place: Place, change: dict[str, str], reason: str, sentence: str) -> None:
    with pytest.raises(TrainerError) as caught:
        list(S3Store(replace(place, **change)).entries("data", ""))
    assert (caught.value.reason.name, caught.value.reason.again) == (reason, False)
    assert sentence in str(caught.value)
    assert "wrong" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_told(place: Place) -> None:
    """For reading, which the trainer does first everywhere: a write makes the bucket, here and not on other servers."""
    store = S3Store(place)
    for ask in (lambda: list(store.entries("nowhere", "x/")), lambda: list(store.read("nowhere", "x"))):
        with pytest.raises(TrainerError, match="has no bucket 'nowhere': create it") as caught:
            ask()
        assert (caught.value.reason.name, caught.value.reason.again) == ("BucketNotFound", False)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://s3.invalid:8333", "https://127.0.0.1:1"])
def test_an_endpoint_where_nothing_answers_may_pass(place: Place, endpoint: str) -> None:
    slept: list[float] = []
    with pytest.raises(TrainerError) as caught:
        list(S3Store(replace(place, endpoint=endpoint), sleep=slept.append).entries("data", ""))
    assert (caught.value.reason.name, caught.value.reason.again) == ("StoreUnreachable", True)
    assert f"nothing answers at {endpoint}" in str(caught.value)
    assert "0x" not in str(caught.value)
    assert slept == list(store_module.PAUSES)


def test_an_endpoint_that_speaks_no_tls_is_told(s3: S3Server, place: Place) -> None:
    wrong = replace(place, endpoint=s3.endpoint.replace("http://", "https://"))
    with pytest.raises(TrainerError) as caught:
        list(S3Store(wrong, sleep=lambda _: None).entries("data", ""))
    assert "correct endpoint in the ConfigMap slipway-store-default" in str(caught.value)
