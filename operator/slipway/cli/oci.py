"""A version as an OCI image layout in ModelPack's format: a directory that registries and their tools take.

Sources: https://github.com/opencontainers/image-spec/blob/main/image-layout.md and
https://github.com/modelpack/model-spec (``specs-go/v1``: media types, configuration, annotations).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slipway.cli.client import Object
from slipway.cli.reading import lineage_of

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_MODEL: Final = "application/vnd.cncf.model"
_CHUNK: Final = 1024 * 1024


class Tampered(ValueError):
    """The file is not the one that was registered; the message has both digests."""


@dataclass(frozen=True)
class Blob:
    """A blob of the layout."""

    digest: str
    size: int

    def descriptor(self, media_type: str, **annotations: str) -> dict[str, Any]:
        """How a manifest names it."""
        made: dict[str, Any] = {"mediaType": media_type, "digest": self.digest, "size": self.size}
        return made | ({"annotations": annotations} if annotations else {})


class Layout:
    """An OCI image layout that is being written into an empty directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._blobs = root / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def add(self, content: bytes) -> Blob:
        """A blob that is at hand."""
        return self.stream([content])

    def stream(self, parts: Iterable[bytes], wanted: str | None = None) -> Blob:
        """A blob that comes in parts.

        Args:
            wanted: the digest that it must have.

        Raises:
            Tampered: it has another; nothing of it is left.
        """
        coming, found, size = self._blobs / ".coming", hashlib.sha256(), 0
        with coming.open("wb") as file:
            for part in parts:
                found.update(part)
                size += len(part)
                file.write(part)
        digest = f"sha256:{found.hexdigest()}"
        if wanted is not None and digest != wanted:
            coming.unlink()
            raise Tampered(f"the file has {digest}, and {wanted} was registered")
        coming.rename(self._blobs / found.hexdigest())
        return Blob(digest, size)

    def finish(self, manifest: Mapping[str, Any], name: str) -> Blob:
        """Write the manifest, and the index that names it."""
        blob = self.add(_json(manifest))
        entry = blob.descriptor(MANIFEST, **{"org.opencontainers.image.ref.name": name})
        entry["artifactType"] = manifest["artifactType"]
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}
        (self._root / "index.json").write_bytes(_json(index))
        return blob


def pack(layout: Layout, version: Object, file: Iterable[bytes], documents: Mapping[str, bytes]) -> Blob:
    """Write a version.

    The same version gives the same manifest, whenever and wherever it is packed.

    Args:
        file: the ONNX file, in parts.
        documents: what goes with it, by its name.

    Raises:
        Tampered: the file is not the registered one.
    """
    artifact = version["spec"]["artifact"]
    weights = layout.stream(file, artifact["digest"])
    layers = [_layer(weights, "weight", "model.onnx")]
    layers += [_layer(layout.add(content), "doc", name) for name, content in sorted(documents.items())]
    config = layout.add(_json(_configuration(version, [layer["digest"] for layer in layers])))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": f"{_MODEL}.manifest.v1+json",
        "config": config.descriptor(f"{_MODEL}.config.v1+json"),
        "layers": layers,
        "annotations": _annotations(version),
    }
    return layout.finish(manifest, version["metadata"]["name"])


def parts(path: Path) -> Iterable[bytes]:
    """A file in parts."""
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            yield part


def _layer(blob: Blob, kind: str, name: str) -> dict[str, Any]:
    return blob.descriptor(f"{_MODEL}.{kind}.v1.raw", **{"org.cncf.model.filepath": name})


def _configuration(version: Object, layers: list[str]) -> dict[str, Any]:
    spec, lineage = version["spec"], lineage_of(version)
    git = (lineage.get("code") or {}).get("git") or {}
    descriptor = {
        "createdAt": _created(version),
        "family": spec["model"],
        "name": version["metadata"]["name"],
        "version": str(spec["version"]),
        "revision": git.get("commit"),
        "sourceURL": git.get("url"),
        "datasetsURL": [data["uri"] for data in lineage.get("data") or ()],
    }
    return {
        "descriptor": {k: v for k, v in descriptor.items() if v},
        "modelfs": {"type": "layers", "diffIds": layers},
        "config": {"format": "onnx"},
    }


def _annotations(version: Object) -> dict[str, str]:
    git = (lineage_of(version).get("code") or {}).get("git") or {}
    found = {
        "created": _created(version),
        "title": version["metadata"]["name"],
        "version": str(version["spec"]["version"]),
        "revision": git.get("commit"),
        "source": git.get("url"),
    }
    return {f"org.opencontainers.image.{name}": value for name, value in found.items() if value}


def _created(version: Object) -> str:
    run = lineage_of(version).get("trainingRun") or {}
    created: str = run.get("finishedAt") or version["metadata"]["creationTimestamp"]
    return created


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
