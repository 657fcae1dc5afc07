"""A refusal of data names the files that changed, by the manifest of the version that was asked for."""

from __future__ import annotations

import hashlib

import pytest

from slipway.contract import DataSpec
from slipway_trainer.fake_store import MemoryStore
from slipway_trainer.manifest import FileDigest
from slipway_trainer.recorded import differences

A, B, C = (FileDigest(name, 10, hashlib.sha256(name.encode()).hexdigest()) for name in ("a.csv", "b c.csv", "c.csv"))
MANIFEST = "".join(f"{f.path} {f.size} {f.sha256}\n" for f in (A, B)).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
# `#` and `?` are letters of a key like others (contract.split_s3).
KEY = "datasets/#digits?/manifests/a.txt"
URI = f"s3://models/{KEY}"


def asked(digest: str = DIGEST, manifest: str | None = URI) -> DataSpec:
    return DataSpec("train", "s3://data/digits/", digest=digest, dataset="digits", manifest=manifest)


def kept(content: bytes = MANIFEST) -> MemoryStore:
    made = MemoryStore("models")
    made.write("models", KEY, content)
    return made


def test_the_files_that_changed_came_and_went_are_named() -> None:
    changed = FileDigest(B.path, 1234, "f" * 64)
    assert differences(kept(), asked(), [changed, C]) == (
        f" (a.csv is gone, b c.csv has 1,234 bytes with the sha256 {'f' * 16}..., and had 10 with {B.sha256[:16]}..., "
        "c.csv is new)"
    )


def test_no_more_than_a_few_are_named() -> None:
    many = [FileDigest(f"{n:05}", 1, "0" * 64) for n in range(2000)]
    assert differences(kept(), asked(), [A, B, *many]) == " (00000 is new, 00001 is new, 00002 is new and 1,997 more)"


@pytest.mark.parametrize(
    ("store", "spec"),
    [
        (None, asked()),
        (kept(), asked(manifest=None)),
        (kept(), asked(manifest="s3://models/nothing-there")),
        (kept(), asked(manifest="s3://nowhere/a")),
        (kept(b"tampered"), asked()),
        (kept(b"\xff\xfe"), asked("sha256:" + hashlib.sha256(b"\xff\xfe").hexdigest())),
        (kept(b"no manifest"), asked("sha256:" + hashlib.sha256(b"no manifest").hexdigest())),
    ],
    ids=["no place", "no manifest", "no object", "no bucket", "another manifest", "no text", "no lines"],
)
def test_nothing_is_said_where_nothing_is_known(store: MemoryStore | None, spec: DataSpec) -> None:
    assert differences(store, spec, [C]) == ""
