"""An S3 place in memory, for tests: the fake beside the protocol ``store.Store``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from . import failures
from .failures import TrainerError
from .store import Entry, ObjectMissingError


class MemoryStore:
    """Objects by bucket and key. ``buckets`` is open to the tests."""

    def __init__(self, *buckets: str) -> None:
        self.buckets: dict[str, dict[str, bytes]] = {bucket: {} for bucket in buckets}

    def entries(self, bucket: str, prefix: str) -> Iterator[Entry]:
        for key, content in sorted(self._objects(bucket).items()):
            if key.startswith(prefix):
                yield Entry(key, len(content), hashlib.md5(content, usedforsecurity=False).hexdigest())

    def read(self, bucket: str, key: str, etag: str = "") -> Iterator[bytes]:
        objects = self._objects(bucket)
        if key not in objects:
            raise ObjectMissingError(key)
        content = objects[key]
        if etag not in ("", hashlib.md5(content, usedforsecurity=False).hexdigest()):
            raise TrainerError(failures.DATA_CHANGED, f"{key} was written over while it was read")
        for start in range(0, len(content), 7):
            yield content[start : start + 7]

    def write(self, bucket: str, key: str, content: bytes | Path) -> None:
        self._objects(bucket)[key] = content if isinstance(content, bytes) else content.read_bytes()

    def remove(self, bucket: str, key: str) -> None:
        self._objects(bucket).pop(key, None)

    def _objects(self, bucket: str) -> dict[str, bytes]:
        if bucket not in self.buckets:
            raise TrainerError(failures.BUCKET_NOT_FOUND, f"there is no bucket {bucket!r}: create it")
        return self.buckets[bucket]
