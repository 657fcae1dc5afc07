"""Brings a data set from its S3 place onto the pod's disk and takes its digest on the way."""

from __future__ import annotations

import errno
import hashlib
import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path, PurePosixPath
from typing import Final

from slipway.contract import ContractError, DataResult, DataSpec, split_s3

from . import failures, recorded
from .failures import TrainerError
from .manifest import FileDigest, manifest_digest
from .store import Entry, ObjectMissingError, Store

log = logging.getLogger(__name__)

PARALLEL: Final = 8
"""Objects read at a time: small ones are bound by the round trip, large ones fill the line with fewer."""


def fetch(
    store: Store, data: DataSpec, root: Path, tell: Callable[[str], None], manifests: Store | None = None
) -> DataResult:
    """Put the data set's files below ``root/<name>`` and check its digest where one is given.

    A prefix (``s3://bucket/prefix/``) keeps the tree below it, a single object its base name. A file appears under
    its name only when all of it is there. ``tell`` gets one short sentence for each file that came. ``manifests`` is
    the place of ``data.manifest``, by which a refusal names the files that changed.

    Raises:
        TrainerError: no such bucket or object, a key that cannot be a file's name, another digest, no room, or the
            store does not answer.
    """
    bucket, key = split_uri(data)
    target = root / data.name
    if target.exists():
        shutil.rmtree(target)  # what an earlier container of this pod left half done
    target.mkdir(parents=True)
    wanted = _listing(store, data, bucket, key)
    try:
        files = _fetch_all(store, bucket, wanted, target, data.name, tell)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        need = sum(entry.size for entry in wanted.values())
        raise TrainerError(
            failures.DISK_FULL,
            f"data set {data.name!r} has {need:,} bytes, more than the pod's scratch volume has room for: "
            f"run it on a node with more ephemeral storage, or split the data set",
        ) from None
    digest = manifest_digest(files)
    if data.digest and data.digest != digest:
        raise _other_digest(data, digest, recorded.differences(manifests, data, files))
    return DataResult(data.name, data.uri, digest, len(files), sum(file.size for file in files))


def _other_digest(data: DataSpec, digest: str, which: str) -> TrainerError:
    found = f"data set {data.name!r} at {data.uri} has the digest {digest}"
    if data.dataset:
        says = (
            f"but the run takes the version {data.digest} of the Dataset {data.dataset}: somebody changed the "
            f"data since they were checked{which}; put the old ones back, or have the new ones checked with "
            f"kubectl annotate dset {data.dataset} slipway.dev/action=refresh and run again"
        )
    else:
        says = (
            f"but spec.data asks for {data.digest}: somebody changed the data; write the new digest if that is meant, "
            f"or give the address of the old data"
        )
    return TrainerError(failures.DATA_DIGEST_MISMATCH, f"{found}, {says}")


def split_uri(data: DataSpec) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` address; the key of a whole bucket is empty.

    >>> split_uri(DataSpec("train", "s3://data/digits/"))
    ('data', 'digits/')
    """
    try:
        return split_s3(data.uri)
    except ContractError:
        raise TrainerError(
            failures.SPEC_INVALID,
            f"the address {data.uri!r} of data set {data.name!r} is not one of S3: write s3://BUCKET/KEY for a file "
            f"or s3://BUCKET/PREFIX/ for all below it",
        ) from None


def _listing(store: Store, data: DataSpec, bucket: str, key: str) -> dict[str, Entry]:
    """What to fetch, by its path below the data set's folder."""
    whole = key == "" or key.endswith("/")
    found = [entry for entry in store.entries(bucket, key) if whole or entry.key == key]
    named = {
        (entry.key.removeprefix(key) if whole else PurePosixPath(key).name): entry
        for entry in found
        if not entry.key.endswith("/")  # the marker of an empty folder, as S3 consoles make it
    }
    if not named:
        raise nothing(data, whole)
    for path in named:
        refuse_unsafe(path, data.uri)
    _refuse_clash(set(named), data)
    return named


def nothing(data: DataSpec, whole: bool) -> TrainerError:
    """No object lies at the address; ``whole``: it names all below a prefix."""
    hint = "write s3://BUCKET/PREFIX/ with a slash at the end to mean all that lies below"
    if whole:
        hint = "correct the address, or put the files there"
    return TrainerError(failures.DATA_NOT_FOUND, f"nothing lies at {data.uri} (data set {data.name!r}): {hint}")


def refuse_unsafe(path: str, uri: str) -> None:
    """A key is any text; a path that leaves its folder, or that a manifest line cannot hold, is refused."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(ord(letter) < 32 for letter in path):
        raise TrainerError(
            failures.DATA_PATH_REFUSED,
            f"the object {path!r} below {uri} cannot safely be a file: rename it, without '..', empty parts "
            f"or control characters",
        )


def _refuse_clash(paths: set[str], data: DataSpec) -> None:
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if parent.as_posix() in paths:
                raise clash(parent.as_posix(), path, data.uri)


def clash(parent: str, path: str, uri: str) -> TrainerError:
    """Two keys that cannot both be files."""
    return TrainerError(
        failures.DATA_PATH_REFUSED,
        f"below {uri} the object {parent!r} would be a file and a folder at once, because {path!r} lies below it: "
        f"rename one",
    )


def _fetch_all(
    store: Store, bucket: str, wanted: dict[str, Entry], target: Path, name: str, tell: Callable[[str], None]
) -> list[FileDigest]:
    done = 0
    lock = threading.Lock()
    stop = threading.Event()

    def one(path: str, entry: Entry) -> FileDigest:
        nonlocal done
        file = _fetch_file(store, bucket, path, entry, target, stop)
        with lock:
            done += 1
            tell(f"fetching data {name}, {done} of {len(wanted)} files")
        return file

    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="fetch") as pool:
        running = [pool.submit(one, path, entry) for path, entry in sorted(wanted.items())]
        wait(running, return_when=FIRST_EXCEPTION)
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    for future in running:
        if not future.cancelled() and (error := future.exception()) and not isinstance(error, _StoppedError):
            raise error
    return [future.result() for future in running]


class _StoppedError(Exception):
    """Another file of the set failed, so this one is not wanted any more."""


def _fetch_file(store: Store, bucket: str, path: str, entry: Entry, target: Path, stop: threading.Event) -> FileDigest:
    final = target / path
    final.parent.mkdir(parents=True, exist_ok=True)
    part = final.with_name(f".{hashlib.sha256(path.encode()).hexdigest()[:16]}.part")
    digest = hashlib.sha256()
    size = 0
    try:
        with part.open("wb") as stream:
            for piece in store.read(bucket, entry.key):
                if stop.is_set():
                    raise _StoppedError
                digest.update(piece)
                stream.write(piece)
                size += len(piece)
    except ObjectMissingError:
        size = -1
    if size != entry.size:
        raise TrainerError(
            failures.DATA_CHANGED,
            f"s3://{bucket}/{entry.key} changed while it was read ({entry.size} bytes were listed): "
            f"let nobody write there while a run reads",
        )
    part.rename(final)
    return FileDigest(path, size, digest.hexdigest())
