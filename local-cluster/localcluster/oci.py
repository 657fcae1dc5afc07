"""A store of images in the OCI image layout: blobs named by their digest, so that images share what is the same.

The format: https://github.com/opencontainers/image-spec, image-layout.md, manifest.md and config.md. Layers are kept
uncompressed: they never leave this machine, and packing a gigabyte costs a minute.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_REFERENCE = "org.opencontainers.image.ref.name"
_LAYOUT = {"imageLayoutVersion": "1.0.0"}


class Layout:
    """The blobs of an OCI image layout; which images there are is the caller's to know."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._blobs.mkdir(parents=True, exist_ok=True)

    def blob(self, digest: str) -> Path:
        """The file of a blob, by `sha256:...`."""
        return self._blobs / digest.removeprefix("sha256:")

    def add_layer(self, files: Mapping[str, Path | None]) -> str:
        """Store a layer of `path in the image -> file on this machine, None for an empty directory`; return its digest.

        Owners, modes and times are fixed, so that the same content has the same digest.
        """
        scratch = self._blobs / f".making-{os.getpid()}"
        with tarfile.open(scratch, "w", format=tarfile.PAX_FORMAT) as archive:
            for name, source in sorted(files.items()):
                entry = tarfile.TarInfo(name.lstrip("/"))
                if source is None:
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
                    archive.addfile(entry)
                else:
                    entry.size, entry.mode = source.stat().st_size, 0o755
                    with source.open("rb") as content:
                        archive.addfile(entry, content)
        return self.adopt_layer(scratch)

    def adopt_layer(self, archive: Path) -> str:
        """Move an uncompressed tar archive into the store; return its digest."""
        with archive.open("rb") as content:
            digest = "sha256:" + hashlib.file_digest(content, "sha256").hexdigest()
        archive.rename(self.blob(digest))
        return digest

    def add_image(self, layers: Sequence[str], config: Mapping[str, Any]) -> str:
        """Store an image of stored layers; `config` is its `config` part (User, Entrypoint, Env). Return its digest."""
        image = {
            "architecture": "amd64",
            "os": "linux",
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": list(layers)},
            "history": [{"created_by": "slipway local-cluster"} for _ in layers],  # buildah counts on one a layer
        }
        return self.adopt_image(json.dumps(image, sort_keys=True).encode())

    def adopt_image(self, configuration: bytes) -> str:
        """Store an image by its configuration document, whose layers are in the store; return its digest."""
        # Uncompressed, a layer's digest is its diff id.
        layers = [
            {"mediaType": _LAYER, "digest": d, "size": self.blob(d).stat().st_size} for d in diff_ids(configuration)
        ]
        config = self._add(configuration, _CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers}
        return str(self._add(json.dumps(manifest, sort_keys=True).encode(), _MANIFEST)["digest"])

    def layers(self, digest: str) -> list[str]:
        """The layers of an image."""
        return [layer["digest"] for layer in self._json(digest)["layers"]]

    def complete(self, digest: str) -> bool:
        """Whether every blob of an image is in the store."""
        return self.blob(digest).exists() and all(self.blob(d).exists() for d in self._parts(digest))

    def size(self, digest: str) -> int:
        """Bytes of an image's layers."""
        return sum(self.blob(d).stat().st_size for d in self.layers(digest))

    def export(self, images: Mapping[str, str], out: IO[bytes], has: Callable[[str], bool]) -> None:
        """Write an archive of `name -> digest` images, without the blobs that the receiver `has` already.

        containerd takes such an archive: what it names and does not hold is looked for in containerd's own store.
        """
        with tarfile.open(fileobj=out, mode="w|") as archive:
            _add_bytes(archive, "oci-layout", json.dumps(_LAYOUT).encode())
            manifests = [
                {
                    "mediaType": _MANIFEST,
                    "digest": d,
                    "size": self.blob(d).stat().st_size,
                    "annotations": {"io.containerd.image.name": name, _REFERENCE: name.rpartition(":")[2]},
                }
                for name, d in images.items()
            ]
            _add_bytes(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())
            wanted = {part for d in images.values() for part in (d, *self._parts(d))}
            for digest in sorted(wanted):
                # The small ones always: a receiver reads them to find out what else it needs.
                if self.blob(digest).stat().st_size < 1 << 20 or not has(digest):
                    archive.add(self.blob(digest), f"blobs/sha256/{digest.removeprefix('sha256:')}", recursive=False)

    def prune(self, keep: Iterable[str]) -> None:
        """Remove every blob that none of the images `keep` needs."""
        images = [d for d in keep if self.blob(d).exists()]
        wanted = {self.blob(part) for d in images for part in (d, *self._parts(d))}
        for path in self._blobs.iterdir():
            if path not in wanted:
                path.unlink()

    def _parts(self, digest: str) -> list[str]:
        manifest = self._json(digest)
        return [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]

    def _json(self, digest: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.blob(digest).read_text())
        return loaded

    def _add(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blob(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}


def diff_ids(configuration: bytes) -> list[str]:
    """The digests of an image's uncompressed layers, the lowest first, from its configuration document."""
    found: list[str] = json.loads(configuration)["rootfs"]["diff_ids"]
    return found


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
