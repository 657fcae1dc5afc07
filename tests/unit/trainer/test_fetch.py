"""Data come whole, checked and under safe names, or the run ends with a sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from slipway.contract import DataResult
from slipway_trainer.failures import TrainerError
from slipway_trainer.fake_store import MemoryStore
from slipway_trainer.fetch import fetch
from slipway_trainer.manifest import FileDigest, manifest_digest
from slipway_trainer.store import ObjectMissingError
from tests.unit.trainer.helpers import data

FILES = {"digits/train.csv": b"1,2,3\n" * 50, "digits/more/test.csv": b"4,5\n"}


def store(**objects: bytes) -> MemoryStore:
    made = MemoryStore("data")
    made.buckets["data"] = {**FILES, **objects}
    return made


def told(_: str) -> None:
    return None


def digest(*files: tuple[str, bytes]) -> str:
    return manifest_digest(FileDigest(p, len(c), hashlib.sha256(c).hexdigest()) for p, c in files)


BOTH = digest(("train.csv", FILES["digits/train.csv"]), ("more/test.csv", FILES["digits/more/test.csv"]))


def test_all_below_a_prefix_comes_with_its_tree(tmp_path: Path) -> None:
    said: list[str] = []
    result = fetch(store(**{"digitsX": b"no", "digits/": b""}), data(), tmp_path, said.append)
    assert result == DataResult("train", "s3://data/digits/", BOTH, 2, 304)
    found = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"train/train.csv": FILES["digits/train.csv"], "train/more/test.csv": FILES["digits/more/test.csv"]}
    assert said[-1] == "fetching data train, 2 of 2 files"


def test_one_object_comes_under_its_base_name(tmp_path: Path) -> None:
    result = fetch(store(**{"digits/train.csv.bak": b"x"}), data("s3://data/digits/train.csv"), tmp_path, told)
    assert result.digest == digest(("train.csv", FILES["digits/train.csv"]))
    assert [p.name for p in (tmp_path / "train").iterdir()] == ["train.csv"]


def test_the_digest_that_the_run_names_is_the_same_from_another_store_and_prefix(tmp_path: Path) -> None:
    other = MemoryStore("lake")
    other.buckets["lake"] = {"a/b/" + key.removeprefix("digits/"): value for key, value in reversed(FILES.items())}
    assert fetch(other, data("s3://lake/a/b/", BOTH), tmp_path, told).digest == BOTH


def test_what_an_earlier_container_left_is_gone(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "old.csv").write_text("old")
    fetch(store(), data(), tmp_path, told)
    assert not (tmp_path / "train" / "old.csv").exists()


def test_another_digest_ends_the_run_with_both(tmp_path: Path) -> None:
    wanted = "sha256:" + "0" * 64
    with pytest.raises(TrainerError) as caught:
        fetch(store(), data(digest=wanted), tmp_path, told)
    assert caught.value.reason.name == "DataDigestMismatch"
    assert caught.value.reason.exit_code == 64
    assert wanted in str(caught.value)
    assert BOTH in str(caught.value)


def test_data_that_changed_since_they_were_checked_are_to_be_checked_again(tmp_path: Path) -> None:
    pinned = replace(data(digest="sha256:" + "0" * 64), dataset="digits")
    with pytest.raises(TrainerError, match="annotate dset digits"):
        fetch(store(), pinned, tmp_path, told)


@pytest.mark.parametrize(
    ("uri", "reason", "sentence"),
    [
        ("s3://nowhere/digits/", "BucketNotFound", "create it"),
        ("s3://data/empty/", "DataNotFound", "correct the address"),
        ("s3://data/digits", "DataNotFound", "with a slash at the end"),
        ("s3://data", "SpecInvalid", "write s3://BUCKET/KEY"),
        ("http://data/digits/", "SpecInvalid", "write s3://BUCKET/KEY"),
    ],
)
def test_an_address_with_nothing_behind_it_is_told(tmp_path: Path, uri: str, reason: str, sentence: str) -> None:
    with pytest.raises(TrainerError) as caught:
        fetch(store(), data(uri), tmp_path, told)
    assert (caught.value.reason.name, caught.value.reason.again) == (reason, False)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("key", ["../../etc/cron", "a/../../b", "/etc/passwd", "a//b", "./a", "line\nbreak", "nul\0"])
def test_a_key_that_is_no_safe_path_is_refused_before_anything_is_written(tmp_path: Path, key: str) -> None:
    with pytest.raises(TrainerError, match="rename it") as caught:
        fetch(store(**{f"digits/{key}": b"evil"}), data(), tmp_path, told)
    assert caught.value.reason.name == "DataPathRefused"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_key_that_is_a_file_and_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="'more' would be a file and a folder"):
        fetch(store(**{"digits/more": b"x"}), data(), tmp_path, told)


class ShrinkingStore(MemoryStore):
    """Another program writes over an object between the listing and the reading."""

    def read(self, bucket: str, key: str, etag: str = "") -> Iterator[bytes]:
        self.buckets[bucket]["digits/train.csv"] = b"short"
        return super().read(bucket, key, etag)


class ForgettingStore(MemoryStore):
    def read(self, bucket: str, key: str, etag: str = "") -> Iterator[bytes]:
        raise ObjectMissingError(key)


@pytest.mark.parametrize("kind", [ShrinkingStore, ForgettingStore])
def test_an_object_that_changes_meanwhile_leaves_no_file_and_may_be_tried_again(
    tmp_path: Path, kind: type[MemoryStore]
) -> None:
    changing = kind("data")
    changing.buckets["data"] = {"digits/train.csv": FILES["digits/train.csv"]}
    with pytest.raises(TrainerError) as caught:
        fetch(changing, data(), tmp_path, told)
    assert (caught.value.reason.name, caught.value.reason.again) == ("DataChanged", True)
    assert not (tmp_path / "train" / "train.csv").exists()


class FullDiskStore(MemoryStore):
    def read(self, bucket: str, key: str, etag: str = "") -> Iterator[bytes]:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_told_with_the_size(tmp_path: Path) -> None:
    full = FullDiskStore("data")
    full.buckets["data"] = dict(FILES)
    with pytest.raises(TrainerError, match="304 bytes") as caught:
        fetch(full, data(), tmp_path, told)
    assert caught.value.reason.name == "DiskFull"
