"""The digest of a set of files: the same whatever the order, the machine or the store (design: lineage, "Digests")."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1024 * 1024
"""Bytes read at a time."""


@dataclass(frozen=True)
class FileDigest:
    """One file of a set: its path relative to the set, with ``/``, its size in bytes, its sha256 in hexadecimal."""

    path: str
    size: int
    sha256: str


def manifest_digest(files: Iterable[FileDigest]) -> str:
    """Digest of a set of files: sha256 over its sorted lines ``path size sha256``, each ended by a newline.

    Lines are sorted as UTF-8 bytes. A path with spaces is not ambiguous: size and sha256 are the last two words. A
    path with a newline would be, so whoever lists the files refuses it.

    >>> manifest_digest([])
    'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    >>> a, b = FileDigest("a", 1, "00"), FileDigest("b", 2, "11")
    >>> manifest_digest([a, b]) == manifest_digest([b, a])
    True
    """
    lines = sorted(f"{file.path} {file.size} {file.sha256}\n".encode() for file in files)
    return f"sha256:{hashlib.sha256(b''.join(lines)).hexdigest()}"


def file_digest(path: Path) -> str:
    """``sha256:<hex>`` of a file's bytes."""
    return f"sha256:{_hash(path)}"


def directory_digest(root: Path) -> str | None:
    """Manifest digest of the files one sees below ``root``; None where there is none.

    A mounted ConfigMap shows its files as links into ``..data``, a link itself to a directory named by the time it
    was written: those names, which start with two dots, are the kubelet's own and left out, so that the digest says
    what the files hold and not when they were mounted.
    """
    files: list[FileDigest] = []
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not _is_hidden(name):
                relative = path.relative_to(root).as_posix()
                files.append(FileDigest(relative, path.stat().st_size, _hash(path)))
    return manifest_digest(files) if files else None


def _is_hidden(name: str) -> bool:
    return name.startswith("..") or name == "__pycache__"


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
