"""The S3 place: what it is made of, which errors are final, and that attempts are bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest
import urllib3
from minio.error import S3Error, ServerError

from slipway_trainer.failures import TrainerError
from slipway_trainer.store import PAUSES, ObjectMissingError, Place, S3Store, place_from_env
from tests.unit.trainer.helpers import PLACE

ENV = {
    "SLIPWAY_STORE_TEAM_A_ENDPOINT": "https://s3.test",
    "SLIPWAY_STORE_TEAM_A_BUCKET": "models",
    "SLIPWAY_STORE_TEAM_A_PREFIX": "/team/",
    "SLIPWAY_STORE_TEAM_A_ACCESSKEY": "key",
    "SLIPWAY_STORE_TEAM_A_SECRETKEY": "the secret",
}


def test_a_place_is_read_from_the_environment() -> None:
    place = place_from_env("team-a", ENV)
    assert place == Place("team-a", "https://s3.test", "models", "team", "us-east-1", "key", "the secret")
    assert place.uri(place.key("digits", "runs")) == "s3://models/team/digits/runs"
    assert "the secret" not in repr(place)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"SLIPWAY_STORE_TEAM_A_BUCKET": ""}, "lacks bucket: put it into the ConfigMap slipway-store-team-a"),
        ({"SLIPWAY_STORE_TEAM_A_SECRETKEY": ""}, "lacks secretKey: put it into the Secret slipway-store-team-a"),
        ({"SLIPWAY_STORE_TEAM_A_ENDPOINT": "s3.test:80"}, "write http://HOST:PORT"),
        ({"SLIPWAY_STORE_TEAM_A_ENDPOINT": "http://s3.test/bucket"}, "without a path"),
    ],
)
def test_a_place_that_is_not_whole_is_told_by_name(change: dict[str, str], sentence: str) -> None:
    with pytest.raises(TrainerError) as caught:
        place_from_env("team-a", ENV | change)
    assert caught.value.reason.name == "StoreNotConfigured"
    assert not caught.value.reason.again
    assert sentence in str(caught.value)


def s3_error(code: str) -> S3Error:
    return S3Error(Mock(spec=urllib3.BaseHTTPResponse), code, "message", "/data/key", "1", "2", "data", "key")


class Client:
    """A stand-in for ``minio.Minio``: raises the errors it was given, then answers."""

    def __init__(self, *errors: Exception, answer: Any = None) -> None:
        self.errors = list(errors)
        self.answer = answer
        self.calls = 0

    def remove_object(self, *_: object, **__: object) -> Any:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.answer

    list_objects = put_object = remove_object


def store(client: object, slept: list[float] | None = None) -> S3Store:
    sleep: Callable[[float], None] = (slept if slept is not None else []).append
    return S3Store(PLACE, client, sleep)  # type: ignore[arg-type]  # a stand-in


@pytest.mark.parametrize(
    ("code", "reason", "sentence"),
    [
        ("InvalidAccessKeyId", "WrongCredentials", "correct accessKey in the Secret slipway-store-default"),
        ("SignatureDoesNotMatch", "WrongCredentials", "correct secretKey in the Secret slipway-store-default"),
        ("AccessDenied", "AccessDenied", "put another key into the Secret slipway-store-default"),
        ("NoSuchBucket", "BucketNotFound", "has no bucket 'data': create it, or correct the address"),
    ],
)
def test_what_cannot_get_better_is_told_at_once(code: str, reason: str, sentence: str) -> None:
    client = Client(s3_error(code))
    slept: list[float] = []
    with pytest.raises(TrainerError) as caught:
        store(client, slept).write("data", "key", b"content")
    assert caught.value.reason.name == reason
    assert caught.value.reason.exit_code == 64
    assert sentence in str(caught.value)
    assert "secret-key" not in str(caught.value)
    assert (client.calls, slept) == (1, [])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (urllib3.exceptions.NewConnectionError(Mock(), "Connection refused"), "StoreUnreachable"),
        (s3_error("SlowDown"), "StoreError"),
        (ServerError("server failed with HTTP status code 503", 503), "StoreError"),
    ],
)
def test_what_may_pass_is_tried_again_a_bounded_number_of_times(error: Exception, reason: str) -> None:
    slept: list[float] = []
    client = Client(*[error] * 99)
    with pytest.raises(TrainerError) as caught:
        store(client, slept).write("data", "key", b"content")
    assert caught.value.reason.name == reason
    assert caught.value.reason.exit_code == 1
    assert slept == list(PAUSES)
    assert client.calls == len(PAUSES) + 1


def test_an_error_that_passes_is_not_seen() -> None:
    client = Client(urllib3.exceptions.ProtocolError("cut"), s3_error("InternalError"))
    store(client).write("data", "key", b"content")
    assert client.calls == 3


def test_deleting_what_is_not_there_is_no_error() -> None:
    store(Client(s3_error("NoSuchKey"))).remove("data", "key")


class Stream:
    """One answer to a GET: gives its pieces, then breaks if it was told to."""

    def __init__(self, content: bytes, length: int, breaks: bool) -> None:
        self.headers = {"ETag": '"tag"', "Content-Length": str(length)}
        self._content, self._breaks = content, breaks

    def stream(self, _: int) -> Iterator[bytes]:
        yield self._content
        if self._breaks:
            raise urllib3.exceptions.ProtocolError("cut")

    def close(self) -> None: ...

    release_conn = close


class Reader:
    """A stand-in for a server whose line breaks after three bytes, as often as told."""

    def __init__(self, content: bytes, breaks: int) -> None:
        self.content, self.breaks = content, breaks
        self.asked: list[tuple[int, object]] = []

    def get_object(self, _bucket: str, _key: str, offset: int, request_headers: object) -> Stream:
        self.asked.append((offset, request_headers))
        rest = self.content[offset:]
        if self.breaks:
            self.breaks -= 1
            return Stream(rest[:3], len(rest), breaks=True)
        return Stream(rest, len(rest), breaks=False)


def test_a_broken_download_goes_on_where_it_broke_and_only_with_the_same_object() -> None:
    reader = Reader(b"0123456789", breaks=2)
    assert b"".join(store(reader).read("data", "key")) == b"0123456789"
    assert reader.asked == [(0, None), (3, {"If-Match": '"tag"'}), (6, {"If-Match": '"tag"'})]


def test_a_download_that_always_breaks_ends() -> None:
    with pytest.raises(TrainerError, match="broke off 6 times") as caught:
        list(store(Reader(b"0123456789" * 9, breaks=99)).read("data", "key"))
    assert caught.value.reason.again


def test_an_object_that_is_not_there_is_for_the_caller_to_judge() -> None:
    client = Mock()
    client.get_object.side_effect = s3_error("NoSuchKey")
    with pytest.raises(ObjectMissingError):
        list(store(client).read("data", "key"))
