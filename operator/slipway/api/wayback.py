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
from slipway.api.training_run import ANCESTRY_CODE, ANCESTRY_DATA, Ancestry

DATA_PREFIX: Final = f"data.{GROUP}"
"""One label a data set, because a version has several: the digest is in the key. So are the commits and the images of
the next two, for a version descends from others, and one selector finds them all."""
COMMIT_PREFIX: Final = f"commit.{GROUP}"
IMAGE_PREFIX: Final = f"image.{GROUP}"
ITSELF: Final = ""
"""The value of such a label where the version itself was made of it."""
ANCESTOR: Final = "ancestor"
"""The value where one was that it descends from."""
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


def commit_key(commit: str) -> str | None:
    """The key of the label that versions carry whose code came from this commit."""
    held = short_commit(commit)
    return f"{COMMIT_PREFIX}/{held}" if held else None


def image_key(digest: str | None) -> str | None:
    """The key of the label that versions carry which were trained in this image."""
    held = short(digest)
    return f"{IMAGE_PREFIX}/{held}" if held else None


def ancestry(parent: Lineage) -> Ancestry:
    """What a version that begins from this one descends from: all that this one was made of, and then its own ancestry.

    What is no digest, and would make no label, is left out.
    """
    before = parent.ancestry or Ancestry()
    git = parent.code.git if parent.code else None
    image = parent.code.image.digest if parent.code else None
    data = list(dict.fromkeys(d for d in (*(d.digest for d in parent.data), *before.data) if short(d)))
    images = list(dict.fromkeys(d for d in (image, *before.images) if d and short(d)))
    commits = list(dict.fromkeys(c for c in (git.commit if git else "", *before.commits) if short_commit(c)))
    kept = data[:ANCESTRY_DATA], images[:ANCESTRY_CODE], commits[:ANCESTRY_CODE]
    cut = (before.cut or 0) + sum(map(len, (data, images, commits))) - sum(map(len, kept))
    return Ancestry(data=kept[0], images=kept[1], commits=kept[2], cut=cut or None)


def labels(spec: ModelVersionSpec, lineage: Lineage | None) -> dict[str, str]:
    """Every label of the way back that a version has by its spec and its lineage.

    What is no digest makes no label: the API server would refuse it again and again.
    """
    made: dict[str, str | None] = {Label.MODEL: spec.model, Label.ARTIFACT: short(spec.artifact.digest)}
    if lineage is not None:
        # The ancestors first: of what went into both, the version itself was made.
        made |= _leading(lineage.ancestry, ANCESTOR) if lineage.ancestry else {}
        made |= _leading(ancestry(lineage.model_copy(update={"ancestry": None})), ITSELF)
        if lineage.code is not None:
            made[Label.IMAGE] = short(lineage.code.image.digest)
            made[Label.COMMIT] = short_commit(lineage.code.git.commit) if lineage.code.git else None
        made[Label.WEIGHTS] = short(lineage.weights.digest) if lineage.weights else None
        if lineage.parent is not None:
            made[Label.PARENT] = lineage.parent.model_version if _NAME.match(lineage.parent.model_version) else None
            made[Label.PARENT_WEIGHTS] = short(lineage.parent.digest)
    return {key: value for key, value in made.items() if value is not None}


def _leading(made_of: Ancestry, value: str) -> dict[str, str]:
    """Labels whose key is a digest."""
    keys = (*map(data_key, made_of.data), *map(image_key, made_of.images), *map(commit_key, made_of.commits))
    return {key: value for key in keys if key}
