"""How the artifact gets onto the disk of the pod: one object, streamed, and its digest checked on the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from slipway.contract import Artifact, ContractError, StoreKeys, split_s3, store_env, store_object_name
from slipway_server import reasons
from slipway_server.reasons import LoadError

CHUNK: Final = 1024 * 1024
"""Bytes read at once."""
MAX_ARTIFACT: Final = 2 * 1024**3 - 1
"""Bytes: a protobuf message, so a single-file ONNX model, cannot be larger (protobuf encoding: 2 GiB)."""
TIMEOUT: Final = urllib3.Timeout(connect=5, read=60)
"""Seconds to connect, and seconds without one byte."""
RETRIES: Final = urllib3.Retry(total=3, backoff_factor=0.3, status_forcelist=[500, 502, 503, 504])

_NOT_FOUND: Final = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "ResourceNotFound"})
_REFUSED: Final = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "Forbidden"}
)


class Source(Protocol):
    """Where an artifact's bytes come from."""

    def chunks(self, bucket: str, key: str) -> Iterator[bytes]:
        """The object, piece by piece.

        Raises:
            LoadError: the store does not give it.
        """


@dataclass(frozen=True)
class Place:
    """An S3 place, read from the environment that its ConfigMap and Secret made."""

    name: str
    endpoint: str
    region: str
    access_key: str
    secret_key: str

    @classmethod
    def from_environment(cls, name: str, environment: Mapping[str, str]) -> Place:
        """Read the keys of ``slipway-store-<name>``.

        Raises:
            LoadError: a key is missing, or the endpoint is not a URL.
        """

        def need(key: str, kind: str) -> str:
            value = environment.get(store_env(name, key), "").strip()
            if not value:
                raise LoadError(
                    reasons.STORE_NOT_GIVEN,
                    f"this pod has no S3 place {name!r}: put the key {key!r} into the {kind} "
                    f"{store_object_name(name)!r} of this namespace",
                )
            return value

        endpoint = need(StoreKeys.ENDPOINT, "ConfigMap")
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise LoadError(
                reasons.STORE_NOT_GIVEN,
                f"the endpoint {endpoint!r} of S3 place {name!r} must be http://host:port or https://host:port",
            )
        return cls(
            name=name,
            endpoint=endpoint,
            region=environment.get(store_env(name, StoreKeys.REGION), "").strip() or "us-east-1",
            access_key=need(StoreKeys.ACCESS_KEY, "Secret"),
            secret_key=need(StoreKeys.SECRET_KEY, "Secret"),
        )


class S3Source:
    """Objects of one S3 place, by the minio client."""

    def __init__(self, place: Place) -> None:
        parts = urlsplit(place.endpoint)
        self._place = place
        self._client = Minio(
            endpoint=parts.netloc,
            access_key=place.access_key,
            secret_key=place.secret_key,
            secure=parts.scheme == "https",
            region=place.region,
            http_client=urllib3.PoolManager(timeout=TIMEOUT, retries=RETRIES, cert_reqs="CERT_REQUIRED"),
        )

    def chunks(self, bucket: str, key: str) -> Iterator[bytes]:
        """See ``Source.chunks``."""
        with self._explained(bucket, key):
            response = self._client.get_object(bucket_name=bucket, object_name=key)
            try:
                yield from response.stream(CHUNK)
            finally:
                response.close()
                response.release_conn()

    def delete(self, bucket: str, key: str) -> None:
        """Delete the object; it being gone already is no error.

        Raises:
            LoadError: the store does not do it.
        """
        with self._explained(bucket, key):
            self._client.remove_object(bucket_name=bucket, object_name=key)

    @contextmanager
    def _explained(self, bucket: str, key: str) -> Iterator[None]:
        """Turn what minio and urllib3 raise into a reason and a sentence."""
        what, place = f"s3://{bucket}/{key}", self._place
        try:
            yield
        except S3Error as error:
            code = error.code or "unknown"
            if code in _NOT_FOUND:
                missing = f"bucket {bucket!r}" if code == "NoSuchBucket" else what
                raise LoadError(
                    reasons.ARTIFACT_NOT_FOUND,
                    f"{missing} does not exist in S3 place {place.name!r} ({place.endpoint}): "
                    "check spec.artifact.uri, or upload the file there",
                ) from error
            if code in _REFUSED:
                raise LoadError(
                    reasons.CREDENTIALS_REFUSED,
                    f"{place.endpoint} refuses to read {what} with the keys of Secret "
                    f"{store_object_name(place.name)!r} ({code}): correct accessKey and secretKey",
                ) from error
            raise LoadError(
                reasons.STORE_UNREACHABLE, f"{place.endpoint} answered {code} for {what}: {error.message}"
            ) from error
        except (ServerError, InvalidResponseError, MinioException) as error:
            raise LoadError(
                reasons.STORE_UNREACHABLE,
                f"{place.endpoint} of S3 place {place.name!r} does not answer as an S3 server: {error}",
            ) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise LoadError(
                reasons.STORE_UNREACHABLE,
                f"cannot reach {place.endpoint} of S3 place {place.name!r}: {_root(error)}",
            ) from error
        except ValueError as error:  # minio checks names of buckets and objects before it asks
            raise LoadError(reasons.ARTIFACT_NOT_FOUND, f"{what} is not a name that S3 allows: {error}") from error


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` URI.

    Raises:
        LoadError: it is none.

    >>> split_uri("s3://models/digits/v3/model.onnx")
    ('models', 'digits/v3/model.onnx')
    """
    with suppress(ContractError):
        bucket, key = split_s3(uri)
        if key and not key.endswith("/"):
            return bucket, key
    raise LoadError(reasons.ARTIFACT_NOT_FOUND, f"{uri!r} is not the URI of a file: write s3://bucket/key")


def fetch(artifact: Artifact, directory: Path, source: Callable[[], Source]) -> Path:
    """Bring the artifact into ``directory``, unless it is already there (a restarted container keeps its emptyDir).

    Whatever way the file came there, its digest was computed over it in this very call before the path is given
    out; a file whose digest is another is deleted.

    Args:
        artifact: URI, digest ``sha256:<hex>`` and size in bytes.
        directory: a directory that only this process writes.
        source: makes the store's client; called only if a download is needed, so that a restart of a container
            does not need the store.

    Raises:
        LoadError: not there, not readable, another digest, another size.
    """
    algorithm, _, expected = artifact.digest.partition(":")
    if algorithm != "sha256" or len(expected) != 64:
        raise LoadError(reasons.SPEC_INVALID, f"digest {artifact.digest!r} must be sha256: and 64 hex digits")
    if not 0 < artifact.size <= MAX_ARTIFACT:
        raise LoadError(
            reasons.UNSAFE_MODEL,
            f"an artifact of {artifact.size} bytes is not served: an ONNX file has 1 to {MAX_ARTIFACT} bytes",
        )
    bucket, key = split_uri(artifact.uri)
    target = directory / f"{expected}.onnx"
    if target.exists():
        if target.stat().st_size == artifact.size and file_digest(target) == artifact.digest:
            return target
        target.unlink()
    partial = directory / f"{expected}.part"
    partial.unlink(missing_ok=True)
    try:
        _download(artifact, source().chunks(bucket, key), partial)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.rename(target)
    return target


def discard(artifact: Artifact, source: S3Source) -> bool:
    """Delete the artifact, if it is the one that was registered; whether there was one.

    Raises:
        LoadError: it could not be read or deleted, or other bytes lie there, which are left where they are.
    """
    bucket, key = split_uri(artifact.uri)
    digest = hashlib.sha256()
    try:
        for chunk in source.chunks(bucket, key):
            digest.update(chunk)
    except LoadError as error:
        if error.reason == reasons.ARTIFACT_NOT_FOUND:
            return False
        raise
    found = f"sha256:{digest.hexdigest()}"
    if found != artifact.digest:
        raise LoadError(
            reasons.DIGEST_MISMATCH,
            f"{artifact.uri} has digest {found} and not {artifact.digest}: other bytes lie there now, and are left",
        )
    source.delete(bucket, key)
    return True


def file_digest(path: Path) -> str:
    """``sha256:<hex>`` of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _download(artifact: Artifact, chunks: Iterator[bytes], path: Path) -> None:
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > artifact.size:  # do not fill the disk with what cannot be right
                raise LoadError(
                    reasons.DIGEST_MISMATCH,
                    f"{artifact.uri} is larger than the {artifact.size} bytes recorded for {artifact.digest}: "
                    "the file was changed after it was registered; register it as a new ModelVersion",
                )
            digest.update(chunk)
            file.write(chunk)
    found = f"sha256:{digest.hexdigest()}"
    if found != artifact.digest:
        raise LoadError(
            reasons.DIGEST_MISMATCH,
            f"{artifact.uri} has digest {found} ({size} bytes), but {artifact.digest} ({artifact.size} bytes) was "
            "recorded: the file was changed after it was registered; register it as a new ModelVersion",
        )
    if size != artifact.size:
        raise LoadError(
            reasons.DIGEST_MISMATCH,
            f"{artifact.uri} has {size} bytes, but {artifact.size} were recorded with this digest: register "
            "the version anew with the right spec.artifact.size",
        )


def _root(error: BaseException) -> str:
    """The innermost cause in few words; urllib3 wraps it several times."""
    reason = getattr(error, "reason", None)
    return _root(reason) if isinstance(reason, BaseException) else (str(error) or type(error).__name__)
