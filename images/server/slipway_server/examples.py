"""Answers that disagree, kept for a person who wants to see some: off by default, few, in the pod's scratch.

They hold a client's inputs, so no port gives them out. Who may exec into the pod reads them (docs/serving.md):

    kubectl exec POD -- python -m slipway_server examples

which needs this module and the standard library only: a program of a few MiB beside a server that has a limit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

DIRECTORY: Final = "examples"
"""Below the model's directory."""
MAX_EXAMPLE: Final = 4 * 1024 * 1024
"""Bytes of one, as JSON."""
MAX_EXAMPLES: Final = 16 * 1024 * 1024
"""Bytes of all: well below what the operator gives a pod as scratch beside the model, beyond which it is evicted."""


class Examples:
    """A directory of at most ``limit`` files. Made once a server; what an earlier container of the pod kept counts."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory / DIRECTORY
        kept = [p.stat().st_size for p in _files(directory)] if limit else []
        self._number = len(kept)
        self._bytes = sum(kept)
        self._left = max(0, limit - len(kept))

    @property
    def wanted(self) -> bool:
        """Whether there is room for another."""
        return self._left > 0

    def keep(self, document: bytes) -> bool:
        """Write one; False if it is too large or there is no more room. Any one thread at a time.

        Raises:
            OSError: the disk is full, or the like; nothing of it is left behind.
        """
        if not self._left or len(document) > MAX_EXAMPLE or self._bytes + len(document) > MAX_EXAMPLES:
            return False
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self._directory / "partial"
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(document)
            partial.rename(self._directory / f"{self._number:06}.json")
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        self._number += 1
        self._bytes += len(document)
        self._left -= 1
        return True


def show(directory: Path) -> int:
    """Print what was kept below a model's directory, a JSON object a line."""
    number = 0
    for path in _files(directory):
        sys.stdout.write(path.read_text(encoding="utf-8") + "\n")
        number += 1
    if not number:
        print(
            "no examples are kept here: none disagreed so far, or keepExamples of the shadow in spec.strategy is 0, "
            "its default",
            file=sys.stderr,
        )
    return 0


def _files(directory: Path) -> Iterator[Path]:
    return iter(sorted((directory / DIRECTORY).glob("*.json")))
