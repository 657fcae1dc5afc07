"""How the artifact comes onto the disk, with a source that is a list of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from slipway.contract import EXIT_ERROR, EXIT_USER_ERROR, Artifact, StoreKeys, store_env
from slipway_server import reasons, store
from slipway_server.reasons import LoadError

DATA = b"a model" * 1000
# `#` and `?` are letters of a key like others (contract.split_s3).
ARTIFACT = Artifact("s3://models/m/#3?/model.onnx", f"sha256:{hashlib.sha256(DATA).hexdigest()}", len(DATA))


@dataclass
class Fake:
    data: bytes = DATA
    asked: list[tuple[str, str]] = field(default_factory=list)
    breaks_after: int | None = None

    def __call__(self) -> Fake:
        return self

    def chunks(self, bucket: str, key: str) -> Iterator[bytes]:
        self.asked.append((bucket, key))
        for start in range(0, len(self.data), 100):
            if self.breaks_after is not None and start >= self.breaks_after:
                raise LoadError(reasons.STORE_UNREACHABLE, "gone")
            yield self.data[start : start + 100]


def refused(artifact: Artifact, directory: Path, source: Fake) -> LoadError:
    with pytest.raises(LoadError) as caught:
        store.fetch(artifact, directory, source)
    assert list(directory.iterdir()) == [], "what was refused must not stay on the disk"
    return caught.value


def test_it_comes_from_bucket_and_key_and_is_for_reading_only(tmp_path: Path) -> None:
    source = Fake()
    path = store.fetch(ARTIFACT, tmp_path, source)
    assert path.read_bytes() == DATA
    assert source.asked == [("models", "m/#3?/model.onnx")]
    assert path.stat().st_mode & 0o777 == 0o400
    assert list(tmp_path.iterdir()) == [path]


def test_a_restarted_container_asks_the_store_for_nothing(tmp_path: Path) -> None:
    path = store.fetch(ARTIFACT, tmp_path, Fake())
    source = Fake()
    assert store.fetch(ARTIFACT, tmp_path, source) == path
    assert source.asked == []


@pytest.mark.parametrize("changed", [DATA[:-1] + b"!", DATA + b"!", b""], ids=["a byte", "longer", "empty"])
def test_a_file_that_was_changed_on_the_disk_is_thrown_away(changed: bytes, tmp_path: Path) -> None:
    path = store.fetch(ARTIFACT, tmp_path, Fake())
    path.chmod(0o600)
    path.write_bytes(changed)
    assert store.fetch(ARTIFACT, tmp_path, Fake()).read_bytes() == DATA
    path.chmod(0o600)
    path.write_bytes(changed)
    assert refused(ARTIFACT, tmp_path, Fake(data=changed or b"?")).reason == reasons.DIGEST_MISMATCH


def test_other_bytes_are_refused_with_both_digests(tmp_path: Path) -> None:
    other = DATA[:-1] + b"!"
    error = refused(ARTIFACT, tmp_path, Fake(data=other))
    assert error.reason == reasons.DIGEST_MISMATCH
    assert ARTIFACT.digest in error.message
    assert hashlib.sha256(other).hexdigest() in error.message
    assert error.exit_code == EXIT_USER_ERROR


def test_a_download_stops_at_the_recorded_size(tmp_path: Path) -> None:
    error = refused(replace(ARTIFACT, size=150), tmp_path, Fake())
    assert error.reason == reasons.DIGEST_MISMATCH
    assert "larger than the 150 bytes" in error.message


def test_a_wrong_size_with_the_right_digest_says_what_to_correct(tmp_path: Path) -> None:
    assert (
        "register the version anew with the right spec.artifact.size"
        in refused(replace(ARTIFACT, size=10**6), tmp_path, Fake()).message
    )


def test_a_download_that_breaks_leaves_nothing_and_may_pass(tmp_path: Path) -> None:
    assert refused(ARTIFACT, tmp_path, Fake(breaks_after=300)).exit_code == EXIT_ERROR


def test_what_a_killed_download_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f"{ARTIFACT.digest.removeprefix('sha256:')}.part").write_bytes(b"half")
    store.fetch(ARTIFACT, tmp_path, Fake())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 0}, reasons.UNSAFE_MODEL),
        ({"size": 2**31}, reasons.UNSAFE_MODEL),
        ({"digest": "md5:00"}, reasons.SPEC_INVALID),
        ({"uri": "http://a/b"}, reasons.ARTIFACT_NOT_FOUND),
        ({"uri": "s3://bucket"}, reasons.ARTIFACT_NOT_FOUND),
        ({"uri": "s3://bucket/folder/"}, reasons.ARTIFACT_NOT_FOUND),
    ],
)
def test_nothing_is_asked_for_what_cannot_be_right(change: dict[str, object], reason: str, tmp_path: Path) -> None:
    source = Fake()
    assert refused(replace(ARTIFACT, **change), tmp_path, source).reason == reason  # type: ignore[arg-type]
    assert source.asked == []


ENVIRONMENT = {
    store_env("team-a", StoreKeys.ENDPOINT): "http://s3:9000",
    store_env("team-a", StoreKeys.ACCESS_KEY): "key",
    store_env("team-a", StoreKeys.SECRET_KEY): "secret",
}


def test_a_place_is_read_from_the_environment() -> None:
    place = store.Place.from_environment("team-a", ENVIRONMENT)
    assert (place.endpoint, place.region, place.access_key) == ("http://s3:9000", "us-east-1", "key")


@pytest.mark.parametrize("key", [StoreKeys.ENDPOINT, StoreKeys.ACCESS_KEY, StoreKeys.SECRET_KEY])
def test_a_place_that_was_not_given_says_where_to_give_it(key: str) -> None:
    missing = {k: v for k, v in ENVIRONMENT.items() if k != store_env("team-a", key)}
    with pytest.raises(LoadError, match="'slipway-store-team-a' of this namespace") as caught:
        store.Place.from_environment("team-a", missing)
    assert caught.value.reason == reasons.STORE_NOT_GIVEN


@pytest.mark.parametrize("endpoint", ["s3:9000", "ftp://s3", "http://s3:9000/path", "http://"])
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(LoadError, match="must be http://host:port"):
        store.Place.from_environment("team-a", {**ENVIRONMENT, store_env("team-a", StoreKeys.ENDPOINT): endpoint})
