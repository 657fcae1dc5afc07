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
    """One directory in the OCI image layout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._blobs.mkdir(parents=True, exist_ok=True)
        marker = root / "oci-layout"
        if not marker.exists():
            marker.write_text(json.dumps(_LAYOUT))
            self._write_index([])

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
            "rootfs": {"type": "layers", "diff_ids": list(layers)},  # uncompressed: a layer's digest is its diff id
            "history": [{"created_by": "slipway local-cluster"} for _ in layers],  # buildah counts on one a layer
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._add_json(image, _CONFIG),
            "layers": [{"mediaType": _LAYER, "digest": d, "size": self.blob(d).stat().st_size} for d in layers],
        }
        return str(self._add_json(manifest, _MANIFEST)["digest"])

    def layers(self, digest: str) -> list[str]:
        """The layers of an image."""
        return [layer["digest"] for layer in self._json(digest)["layers"]]

    def complete(self, digest: str) -> bool:
        """Whether every blob of an image is in the store."""
        return self.blob(digest).exists() and all(self.blob(d).exists() for d in self._parts(digest))

    def size(self, digest: str) -> int:
        """Bytes of an image's layers."""
        return sum(self.blob(d).stat().st_size for d in self.layers(digest))

    def name(self, digest: str, name: str) -> None:
        """Make an image findable for other tools as `oci:DIRECTORY:name`."""
        others = [m for m in self._index() if m.get("annotations", {}).get(_REFERENCE) != name]
        size = self.blob(digest).stat().st_size
        self._write_index(
            [*others, {"mediaType": _MANIFEST, "digest": digest, "size": size, "annotations": {_REFERENCE: name}}]
        )

    def named(self, name: str) -> str:
        """The digest of the image that a tool stored as `oci:DIRECTORY:name`."""
        (found,) = (m["digest"] for m in self._index() if m.get("annotations", {}).get(_REFERENCE) == name)
        return str(found)

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
        self._write_index([m for m in self._index() if m["digest"] in set(images)])
        for path in self._blobs.iterdir():
            if path not in wanted:
                path.unlink()

    def _parts(self, digest: str) -> list[str]:
        manifest = self._json(digest)
        return [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]

    def _json(self, digest: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.blob(digest).read_text())
        return loaded

    def _add_json(self, content: Mapping[str, Any], media_type: str) -> dict[str, Any]:
        data = json.dumps(content, sort_keys=True).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blob(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def _index(self) -> list[dict[str, Any]]:
        manifests: list[dict[str, Any]] = json.loads((self.root / "index.json").read_text())["manifests"]
        return manifests

    def _write_index(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        fresh = self.root / "index.json.new"
        fresh.write_text(json.dumps({"schemaVersion": 2, "manifests": list(manifests)}))
        fresh.rename(self.root / "index.json")


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
