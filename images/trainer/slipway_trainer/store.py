"""Where data come from and results go: an S3 place, behind four methods.

``Store`` is the protocol, ``S3Store`` the real one, ``fake_store.MemoryStore`` the one of the tests.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError

from slipway.contract import StoreKeys, store_env, store_object_name

from . import failures
from .failures import Reason, TrainerError

log = logging.getLogger(__name__)

PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between the attempts at one request. With the connect timeout: about 45 s until a dead endpoint is a failure,
after which the Job's own back-off takes over."""
CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 60.0
"""Seconds without a single byte."""
PART_SIZE: Final = 64 * 1024 * 1024
"""Bytes of one part of a multipart upload. S3 allows 10,000 parts, so 640 GB an object."""

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """One object: its whole key, its size in bytes and the store's own tag of its content."""

    key: str
    size: int
    etag: str = ""


class ObjectMissingError(Exception):
    """There is no object of that key."""


class Store(Protocol):
    """An S3 place. Every method may raise ``TrainerError``; a write is seen whole or not at all."""

    def entries(self, bucket: str, prefix: str) -> Iterator[Entry]:
        """All objects whose key starts with ``prefix``; one may come twice, where the server's answer broke off."""
        ...

    def read(self, bucket: str, key: str, etag: str = "") -> Iterator[bytes]:
        """The bytes of one object, in pieces; of the one with this tag, where a tag is given.

        Raises ``ObjectMissingError``.
        """
        ...

    def write(self, bucket: str, key: str, content: bytes | Path) -> None:
        """Put one object, over an older one of the same key."""
        ...

    def remove(self, bucket: str, key: str) -> None:
        """Delete one object; no error where there is none."""
        ...


@dataclass(frozen=True)
class Place:
    """An S3 place that the namespace was given (``StoreKeys``)."""

    name: str
    endpoint: str
    bucket: str
    prefix: str
    region: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    def key(self, *parts: str) -> str:
        """A key below the place's prefix.

        >>> Place("default", "http://s3", "models", "team", "us-east-1", "", "").key("digits", "runs")
        'team/digits/runs'
        """
        return "/".join(part for part in (self.prefix, *parts) if part)

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"


OpenPlace = Callable[[str], tuple[Place, Store]]
"""Opens an S3 place by its name."""


def place_from_env(name: str, env: Mapping[str, str]) -> Place:
    """Read one S3 place from the environment.

    Raises:
        TrainerError: a key that must be there is not, or the endpoint is no address.
    """
    values = {key: env.get(store_env(name, key), "").strip() for key in (*StoreKeys.CONFIG, *StoreKeys.SECRET)}
    for kind, keys in (("ConfigMap", StoreKeys.CONFIG), ("Secret", StoreKeys.SECRET)):
        missing = [key for key in keys if not values[key] and key not in StoreKeys.OPTIONAL]
        if missing:
            raise TrainerError(
                failures.STORE_NOT_CONFIGURED,
                f"the S3 place {name!r} lacks {', '.join(missing)}: put "
                f"{'it' if len(missing) == 1 else 'them'} into the {kind} {store_object_name(name)} of this namespace",
            )
    address = urlsplit(values[StoreKeys.ENDPOINT])
    if address.scheme not in ("http", "https") or not address.hostname or address.path.strip("/"):
        raise TrainerError(
            failures.STORE_NOT_CONFIGURED,
            f"the endpoint {values[StoreKeys.ENDPOINT]!r} of the S3 place {name!r} is not an address: write "
            f"http://HOST:PORT or https://HOST:PORT, without a path, into the ConfigMap {store_object_name(name)}",
        )
    return Place(
        name=name,
        endpoint=values[StoreKeys.ENDPOINT],
        bucket=values[StoreKeys.BUCKET],
        prefix=values[StoreKeys.PREFIX].strip("/"),
        region=values[StoreKeys.REGION] or "us-east-1",
        access_key=values[StoreKeys.ACCESS_KEY],
        secret_key=values[StoreKeys.SECRET_KEY],
    )


class S3Store:
    """An S3 server through the ``minio`` client, with a bounded number of attempts at each request."""

    def __init__(self, place: Place, client: Minio | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._place = place
        self._client = client or _connect(place)
        self._sleep = sleep

    def entries(self, bucket: str, prefix: str) -> Iterator[Entry]:
        """A listing that breaks begins anew: not every server lists in the order of keys, and where to go on is
        then not known (``start-after``: SeaweedFS issue 11321)."""
        listing: Iterator[Any] = iter(())

        def begin() -> Any:
            nonlocal listing
            listing = iter(self._client.list_objects(bucket, prefix=prefix or None, recursive=True))
            return next(listing, None)

        item = self._again(bucket, begin)
        broken = 0
        while item is not None:
            yield Entry(item.object_name, item.size or 0, item.etag or "")
            try:
                item = next(listing, None)
            except _OF_CLIENT as error:
                told = _tell(error, self._place, bucket)
                if told.reason not in _MAY_PASS or broken == len(PAUSES):
                    raise told from None
                log.warning("listing broke off, beginning anew problem=%s", told)
                self._sleep(PAUSES[broken])
                broken += 1
                item = self._again(bucket, begin)

    def read(self, bucket: str, key: str, etag: str = "") -> Iterator[bytes]:
        """A stream that breaks goes on where it broke, as long as the object is still the same one."""
        offset, broken = 0, 0
        etag = f'"{etag}"' if etag else ""
        while True:
            start = offset
            response = self._again(bucket, functools.partial(self._open, bucket, key, start, etag))
            etag = response.headers.get("ETag", "")
            length = int(response.headers.get("Content-Length", "0"))
            try:
                for piece in response.stream(1024 * 1024):
                    offset += len(piece)
                    yield piece
                if offset - start >= length:
                    return
                problem = f"{offset - start} of {length} bytes came"
            except urllib3.exceptions.HTTPError as error:
                problem = type(error).__name__
            finally:
                response.close()
                response.release_conn()
            if broken == len(PAUSES):
                raise TrainerError(
                    failures.STORE_UNREACHABLE,
                    f"reading s3://{bucket}/{key} broke off {broken + 1} times ({problem}); "
                    f"see whether the S3 server at {self._place.endpoint} is well",
                )
            log.warning("read broke off, going on key=%s offset=%d problem=%s", key, offset, problem)
            self._sleep(PAUSES[broken])
            broken += 1

    def write(self, bucket: str, key: str, content: bytes | Path) -> None:
        self._again(bucket, lambda: self._put(bucket, key, content))

    def remove(self, bucket: str, key: str) -> None:
        try:
            self._again(bucket, lambda: self._client.remove_object(bucket, key))
        except ObjectMissingError:
            return

    def _open(self, bucket: str, key: str, offset: int, etag: str) -> urllib3.BaseHTTPResponse:
        headers: dict[str, str | list[str] | tuple[str]] | None = {"If-Match": etag} if etag else None
        return self._client.get_object(bucket, key, offset=offset, request_headers=headers)

    def _put(self, bucket: str, key: str, content: bytes | Path) -> None:
        if isinstance(content, bytes):
            self._client.put_object(bucket, key, io.BytesIO(content), len(content))
            return
        with content.open("rb") as stream:
            self._client.put_object(bucket, key, stream, content.stat().st_size, part_size=PART_SIZE)

    def _again(self, bucket: str, call: Callable[[], T]) -> T:
        """Call until it works, it cannot work, or the attempts are used up."""
        for pause in (*PAUSES, None):
            try:
                return call()
            except _OF_CLIENT as error:
                told = _tell(error, self._place, bucket)
                if told.reason not in _MAY_PASS or pause is None:
                    raise told from None
                log.warning("the S3 server did not answer well, trying again in %.1f s problem=%s", pause, told)
                self._sleep(pause)
        raise AssertionError("the last pause is None, so the loop returned or raised")


_OF_CLIENT: Final = (S3Error, ServerError, InvalidResponseError, urllib3.exceptions.HTTPError)
"""What the client raises."""
_MAY_PASS: Final = (failures.STORE_UNREACHABLE, failures.STORE_ERROR)
"""What the same request may not meet a moment later."""

_CODES: Final[Mapping[str, tuple[Reason, str]]] = {
    "InvalidAccessKeyId": (
        failures.WRONG_CREDENTIALS,
        (
            "the S3 server at {endpoint} does not know the access key of the place {place!r}: "
            "correct accessKey in the Secret {object}"
        ),
    ),
    "SignatureDoesNotMatch": (
        failures.WRONG_CREDENTIALS,
        "the secret key of the place {place!r} does not fit its access key: correct secretKey in the Secret {object}",
    ),
    "AccessDenied": (
        failures.ACCESS_DENIED,
        (
            "the S3 server at {endpoint} forbids the place {place!r} what was asked of bucket {bucket!r}: give its key "
            "the right to list, read and write there, or put another key into the Secret {object}"
        ),
    ),
    "NoSuchBucket": (
        failures.BUCKET_NOT_FOUND,
        (
            "the S3 server at {endpoint} has no bucket {bucket!r}: create it, or correct the address "
            "(uri in the spec, or bucket in the ConfigMap {object})"
        ),
    ),
    "PreconditionFailed": (
        failures.DATA_CHANGED,
        "an object in bucket {bucket!r} was written over while it was read: let nobody write there while a run reads",
    ),
}
"""S3 error codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""


def _tell(error: Exception, place: Place, bucket: str) -> TrainerError:
    """An error of the client as a sentence. Raises ``ObjectMissingError`` for the one that callers decide on."""
    facts = {
        "endpoint": place.endpoint,
        "place": place.name,
        "bucket": bucket,
        "object": store_object_name(place.name),
    }
    if isinstance(error, S3Error):
        if error.code in ("NoSuchKey", "NoSuchObject"):
            raise ObjectMissingError(error.object_name) from None
        known = _CODES.get(error.code or "")
        if known is not None:
            reason, sentence = known
            return TrainerError(reason, sentence.format(**facts))
        return TrainerError(
            failures.STORE_ERROR,
            f"the S3 server at {place.endpoint} answered {error.code} ({error.message}) about bucket {bucket!r}",
        )
    if isinstance(error, (ServerError, InvalidResponseError)):
        return TrainerError(
            failures.STORE_ERROR, f"{place.endpoint} does not answer as an S3 server does: {_short(error)}"
        )
    return TrainerError(
        failures.STORE_UNREACHABLE,
        f"nothing answers at {place.endpoint}, the endpoint of the S3 place {place.name!r} ({_short(error)}): see "
        f"whether the server runs, or correct endpoint in the ConfigMap {store_object_name(place.name)}",
    )


def _short(error: Exception) -> str:
    """What lies at the bottom of the client's error, without the addresses in memory that urllib3 prints."""
    cause: BaseException = error
    while isinstance(getattr(cause, "reason", None), BaseException):
        cause = cause.reason  # type: ignore[attr-defined]  # MaxRetryError and ProtocolError carry it
    text = str(cause)
    return text.split(">: ", 1)[-1].split("): ", 1)[-1][:200] or type(cause).__name__


def _connect(place: Place) -> Minio:
    address = urlsplit(place.endpoint)
    # The client's own retries are switched off: ours are bounded, logged, and know which errors are final.
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
        maxsize=16,
        retries=False,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )
    return Minio(
        address.netloc,
        access_key=place.access_key,
        secret_key=place.secret_key,
        secure=address.scheme == "https",
        region=place.region,
        http_client=pool,
    )
