"""The labels by which a ModelVersion is found again from what it was made of: the way back, by selector. Pure.

A bad release of data, a hole in an image, a file in a bucket: whoever asks "which versions?" asks the API server for a
label and gets an answer as fast for ten thousand versions as for ten. The truth is ``status.lineage``; these labels are
its index, made from it by the one function below, where a version is made and again where a version lacks them.
"""

from __future__ import annotations

import re
from typing import Final

from slipway.api.common import DIGEST, GROUP, Label
from slipway.api.model_version import COMMIT, Lineage, ModelVersionSpec

DATA_PREFIX: Final = f"data.{GROUP}"
"""One label a data set, because a version has several: the digest is in the key, the value is empty."""
_DIGITS: Final = 40
"""Hexadecimal digits of a digest in a label: a label holds 63 characters, and git takes 160 bits for unique."""

_NAME: Final = re.compile("^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")


def short(digest: str | None) -> str | None:
    """A digest as a label holds it; None where it is no sha256.

    >>> short("sha256:" + "0123456789abcdef" * 4)
    '0123456789abcdef0123456789abcdef01234567'
    >>> short("md5:0")
    """
    if digest is None or not re.match(DIGEST, digest):
        return None
    return digest.removeprefix("sha256:")[:_DIGITS]


def short_commit(commit: str) -> str | None:
    """A whole commit as a label holds it: all of a SHA-1, the beginning of a SHA-256; None where it is neither.

    >>> short_commit("ab" * 32), short_commit("main")
    ('abababababababababababababababababababab', None)
    """
    return commit[:_DIGITS] if re.match(COMMIT, commit) else None


def data_key(digest: str) -> str | None:
    """The key of the label that versions carry which were made of this data.

    >>> data_key("sha256:" + "ab" * 32)
    'data.slipway.dev/abababababababababababababababababababab'
    """
    held = short(digest)
    return f"{DATA_PREFIX}/{held}" if held else None


def labels(spec: ModelVersionSpec, lineage: Lineage | None) -> dict[str, str]:
    """Every label of the way back that a version has by its spec and its lineage.

    What is no digest makes no label: the API server would refuse it again and again.
    """
    made: dict[str, str | None] = {Label.MODEL: spec.model, Label.ARTIFACT: short(spec.artifact.digest)}
    if lineage is not None:
        if lineage.code is not None:
            made[Label.IMAGE] = short(lineage.code.image.digest)
            made[Label.COMMIT] = short_commit(lineage.code.git.commit) if lineage.code.git else None
        if lineage.parent is not None and _NAME.match(lineage.parent.model_version):
            made[Label.PARENT] = lineage.parent.model_version
        made |= {key: "" for data in lineage.data if (key := data_key(data.digest))}
    return {key: value for key, value in made.items() if value is not None}
