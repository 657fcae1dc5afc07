"""What is inside an image: its Debian packages and its Python packages with their versions, one a line."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

from localcluster.oci import Layout

_DPKG_STATUS = "var/lib/dpkg/status"
_DISTRIBUTION = re.compile(r"usr/local/lib/python[\d.]+/dist-packages/([^/]+)-([^/-]+)\.dist-info/METADATA")


def write(store: Layout, digest: str, target: Path) -> None:
    """Write the list of an image's packages to `target`, sorted."""
    debian: list[str] = []
    python: set[str] = set()
    for layer in store.layers(digest):
        found = _layer(store, layer)
        debian = found["debian"] or debian  # a later layer's list of installed packages holds the earlier one's too
        python.update(found["python"])
    target.parent.mkdir(exist_ok=True)
    target.write_text("".join(f"{line}\n" for line in [*sorted(debian), *sorted(python)]))


def _layer(store: Layout, layer: str) -> dict[str, list[str]]:
    """What one layer adds; read from the layer once, and kept beside the store."""
    kept = store.root / "packages" / f"{layer.removeprefix('sha256:')}.json"
    if not kept.exists():
        found: dict[str, list[str]] = {"debian": [], "python": []}
        with tarfile.open(store.blob(layer)) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if distribution := _DISTRIBUTION.fullmatch(name):
                    found["python"].append(f"python {distribution[1]} {distribution[2]}")
                elif name == _DPKG_STATUS and (content := archive.extractfile(member)):
                    found["debian"] = _debian(content.read().decode())
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(found))
    read: dict[str, list[str]] = json.loads(kept.read_text())
    return read


def _debian(status: str) -> list[str]:
    found = []
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            found.append(f"debian {fields['Package']} {fields['Version']}")
    return found
