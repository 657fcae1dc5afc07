"""The ledger of a model's numbers, a ConfigMap: which were used, by what, and who was given the next. Pure.

Trainings claim numbers in it (``training/numbering.py``); the registry writes down each version before that is Ready,
whoever made it (``registry/numbers.py``). Both write all of it, guarded by its resourceVersion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from slipway import pods
from slipway.api.common import Label
from slipway.kube.objects import CONFIG_MAPS, Manifest

KEPT: Final = 1000
"""Numbers whose file is remembered, the highest: about 27 kB. A ConfigMap holds 1 MiB, and is written whole."""
_ROLE: Final = "versions"


@dataclass(frozen=True)
class Ledger:
    """What is known of a model's numbers.

    Attributes:
        last: the highest that was ever claimed, or used by a version that was Ready.
        claims: which run claimed what, and may not be done.
        files: the beginning of the digest of the file that a number stands for; of the highest ``KEPT`` numbers.
    """

    last: int
    claims: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[int, str] = field(default_factory=dict)

    def forgotten(self, number: int) -> bool:
        """Whether a number lies below all that are remembered: nobody can tell what it was used for."""
        return len(self.files) >= KEPT and number < min(self.files)

    def with_file(self, number: int, digest: str) -> Ledger:
        """The ledger after a version was seen. A number that stands for a file already goes on to.

        >>> Ledger(3).with_file(7, "sha256:" + "a" * 64)
        Ledger(last=7, claims={}, files={7: 'aaaaaaaaaaaaaaaa'})
        """
        files = {number: mark(digest), **self.files}
        newest = sorted(files)[-KEPT:]
        return replace(self, last=max(self.last, number), files={n: files[n] for n in newest})


def mark(digest: str) -> str:
    """What the ledger keeps of a digest: enough to tell two files apart.

    >>> mark("sha256:" + "ab" * 32)
    'abababababababab'
    """
    return digest.removeprefix("sha256:")[:16]


def name(model: str) -> str:
    """The ConfigMap of a model.

    >>> name("digits")
    'slipway-versions-digits'
    """
    return f"slipway-versions-{model}"


def is_ours(found: Manifest) -> bool:
    """Whether a ConfigMap is a ledger of ours and not somebody's of the same name."""
    return bool((found["metadata"].get("labels") or {}).get(Label.ROLE) == _ROLE)


def read(found: Manifest | None) -> Ledger:
    """The ledger in a ConfigMap. What cannot be read counts as lost: the versions that exist still set the floor."""
    data: dict[str, Any] = (found or {}).get("data") or {}
    try:
        last = max(0, int(data.get("last", "0")))
    except ValueError:
        last = 0
    claims = {k: v for k, v in _map(data, "claims").items() if isinstance(v, int) and v > 0}
    files = {int(k): v for k, v in _map(data, "files").items() if k.isdecimal() and isinstance(v, str)}
    return Ledger(max([last, *claims.values(), *files]), claims, files)


def manifest(namespace: str, model: str, ledger: Ledger) -> dict[str, Any]:
    """The ConfigMap. It has no owner: it must outlive every run and version, or a number would be used twice."""
    return {
        "apiVersion": CONFIG_MAPS.api_version,
        "kind": CONFIG_MAPS.kind,
        "metadata": {
            "name": name(model),
            "namespace": namespace,
            "labels": pods.managed(model=model, role=_ROLE),
        },
        "data": {
            "last": str(ledger.last),
            "claims": json.dumps(ledger.claims, sort_keys=True),
            "files": json.dumps({str(n): ledger.files[n] for n in sorted(ledger.files)}, separators=(",", ":")),
        },
    }


def _map(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    try:
        found = json.loads(data.get(key, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
