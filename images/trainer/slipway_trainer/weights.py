"""The weights that a training begins with: one safetensors file of an earlier version, fetched and checked."""

from __future__ import annotations

import errno
import hashlib
import logging
from pathlib import Path

from slipway.contract import ParentSpec, split_s3

from . import failures
from .failures import TrainerError
from .store import ObjectMissingError, Store

log = logging.getLogger(__name__)


def fetch_weights(store: Store, parent: ParentSpec, folder: Path) -> Path:
    """Put the weights into the folder, as ``<ModelVersion>.safetensors``; returns where.

    The file has its name only when all of it is there and its digest is the one that the version's lineage names.

    Raises:
        TrainerError: nothing lies there, it is another file, no room, or the store does not answer.
    """
    bucket, key = split_s3(parent.weights.uri)
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{parent.modelVersion}.safetensors"
    part = final.with_suffix(".part")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as stream:
            for piece in store.read(bucket, key):
                digest.update(piece)
                stream.write(piece)
    except ObjectMissingError:
        raise TrainerError(
            failures.WEIGHTS_NOT_FOUND,
            f"nothing lies at {parent.weights.uri}, where the weights of {parent.modelVersion} were: put the file "
            f"back, or begin a new run from another version",
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainerError(
            failures.DISK_FULL,
            f"the weights of {parent.modelVersion} have {parent.weights.size:,} bytes, more than the pod's scratch "
            f"volume has room for: run it on a node with more ephemeral storage",
        ) from None
    found = f"sha256:{digest.hexdigest()}"
    if found != parent.weights.digest:
        raise TrainerError(
            failures.WEIGHTS_DIGEST_MISMATCH,
            f"the weights of {parent.modelVersion} at {parent.weights.uri} have the digest {found}, and its lineage "
            f"names {parent.weights.digest}: somebody changed the file; put the old one back, or begin a new run "
            f"from another version",
        )
    part.rename(final)
    log.info("weights fetched version=%s digest=%s", parent.modelVersion, found)
    return final
