"""Which files are not those of the version that a run was to take: what was read, held against its manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from slipway.contract import DataSpec, split_s3

from .failures import TrainerError
from .manifest import FileDigest
from .store import ObjectMissingError, Store

LIMIT: Final = 64 * 1024 * 1024
"""Bytes of a manifest that are read: some 500,000 files."""
SHOWN: Final = 3
"""Files that are named."""


def differences(manifests: Store | None, data: DataSpec, files: Iterable[FileDigest]) -> str:
    """The files that changed, came or went, as part of a sentence; empty where that cannot be said, because there is
    no manifest or it is not that of the version. Never raises: the refusal itself does not depend on it."""
    if manifests is None or data.manifest is None:
        return ""
    try:
        before = _read(manifests, data.manifest, data.digest)
    except (TrainerError, ObjectMissingError, ValueError):
        return ""
    now = {file.path: file for file in files}
    told = [
        f"{path} {_words(before.get(path), now.get(path))}"
        for path in sorted({*before, *now})
        if before.get(path) != now.get(path)
    ]
    more = f" and {len(told) - SHOWN:,} more" if len(told) > SHOWN else ""
    return f" ({', '.join(told[:SHOWN])}{more})" if told else ""


def _words(then: FileDigest | None, now: FileDigest | None) -> str:
    if now is None:
        return "is gone"
    if then is None:
        return "is new"
    return (
        f"has {now.size:,} bytes with the sha256 {now.sha256[:16]}..., and had {then.size:,} with {then.sha256[:16]}..."
    )


def _read(manifests: Store, uri: str, digest: str | None) -> dict[str, FileDigest]:
    bucket, key = split_s3(uri)
    content = bytearray()
    for piece in manifests.read(bucket, key):
        content += piece
        if len(content) > LIMIT:
            raise ValueError("the manifest is too long")
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        raise ValueError("the manifest is not that of the version")
    lines = (line.rsplit(" ", 2) for line in content.decode().splitlines())
    return {path: FileDigest(path, int(size), sha256) for path, size, sha256 in lines}
