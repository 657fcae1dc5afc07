"""What is inside an image, as a CycloneDX SBOM: its Debian packages and its Python packages with their versions.

The format: https://cyclonedx.org/docs/1.6/json, written here by hand because this program has the standard library
only; a test holds it against the schema. Package URLs: https://github.com/package-url/purl-spec.
"""

from __future__ import annotations

import json
import re
import tarfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from localcluster.oci import Layout

_DPKG_STATUS = "var/lib/dpkg/status"
_RELEASE = "usr/lib/os-release"
_DISTRIBUTION = re.compile(r"usr/local/lib/python[\d.]+/dist-packages/([^/]+)-([^/-]+)\.dist-info/METADATA")
_FIELDS = ("Package", "Version", "Architecture", "Source", "Maintainer")


def write(store: Layout, name: str, digest: str, target: Path) -> None:
    """Write the SBOM of an image to `target`; `name` is its full name with its tag."""
    target.parent.mkdir(exist_ok=True)
    fresh = target.with_name(f"{target.name}.new")
    fresh.write_text(json.dumps(document(store, name, digest, datetime.now(UTC)), indent=1) + "\n")
    fresh.rename(target)


def document(store: Layout, name: str, digest: str, now: datetime) -> dict[str, Any]:
    """The SBOM as JSON types. The same image has the same serial number and the same components."""
    debian: list[dict[str, str]] = []
    release: dict[str, str] = {}
    python: set[tuple[str, str]] = set()
    for layer in store.layers(digest):
        found = _layer(store, layer)
        debian = found["debian"] or debian  # a later layer's list of installed packages holds the earlier one's too
        release = found["release"] or release
        python.update((package, version) for package, version in found["python"])
    components = _system(release)
    components += [_debian_component(package, release) for package in sorted(debian, key=lambda p: p["Package"])]
    components += [_python_component(*package) for package in sorted(python)]
    short, _, tag = name.rpartition(":")
    image = {
        "type": "container",
        "bom-ref": digest,
        "name": short,
        "version": tag,
        "purl": f"pkg:oci/{short.rpartition('/')[2]}@{quote(digest)}?tag={quote(tag)}",
        "hashes": [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'slipway:{name}@{digest}')}",
        "version": 1,
        "metadata": {
            "timestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {"components": [{"type": "application", "name": "slipway local-cluster"}]},
            "component": image,
        },
        "components": components,
        "dependencies": [
            {"ref": digest, "dependsOn": [c["bom-ref"] for c in components]},
            *({"ref": c["bom-ref"]} for c in components),
        ],
    }


def _system(release: dict[str, str]) -> list[dict[str, Any]]:
    if not release:
        return []
    name, version = release["ID"], release.get("VERSION_ID", "")
    return [{"type": "operating-system", "bom-ref": f"os:{name}-{version}", "name": name, "version": version}]


def _debian_component(package: dict[str, str], release: dict[str, str]) -> dict[str, Any]:
    name, version = package["Package"], package["Version"]
    qualifiers = {"arch": package["Architecture"]}
    if release:
        qualifiers["distro"] = f"{release['ID']}-{release.get('VERSION_ID', '')}"
    # Debian's security tracker knows source packages; the field is there only where the names differ.
    if source := package.get("Source"):
        upstream, _, source_version = source.partition(" ")
        named = f"{upstream}@{source_version.strip('()')}" if source_version else upstream
        qualifiers["upstream"] = named
    asked = "&".join(f"{key}={quote(value, safe=':')}" for key, value in sorted(qualifiers.items()))
    purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe=':')}?{asked}"
    component: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if maintainer := package.get("Maintainer"):
        component["supplier"] = {"name": maintainer.partition(" <")[0]}
    return component


def _python_component(name: str, version: str) -> dict[str, Any]:
    # PyPI's own spelling of a name: https://packaging.python.org/en/latest/specifications/name-normalization
    spelled = re.sub(r"[-_.]+", "-", name).lower()
    purl = f"pkg:pypi/{spelled}@{quote(version, safe='')}"
    return {"type": "library", "bom-ref": purl, "name": spelled, "version": version, "purl": purl}


def _layer(store: Layout, layer: str) -> dict[str, Any]:
    """What one layer adds; read from the layer once, and kept beside the store."""
    kept = store.root / "contents" / f"{layer.removeprefix('sha256:')}.json"
    if not kept.exists():
        found: dict[str, Any] = {"debian": [], "python": [], "release": {}}
        with tarfile.open(store.blob(layer)) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if distribution := _DISTRIBUTION.fullmatch(name):
                    found["python"].append([distribution[1], distribution[2]])
                elif name == _DPKG_STATUS and (content := archive.extractfile(member)):
                    found["debian"] = _debian(content.read().decode())
                elif name == _RELEASE and (content := archive.extractfile(member)):
                    lines = content.read().decode().splitlines()
                    found["release"] = {k: v.strip('"') for k, _, v in (line.partition("=") for line in lines) if k}
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(found))
    read: dict[str, Any] = json.loads(kept.read_text())
    return read


def _debian(status: str) -> list[dict[str, str]]:
    found = []
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            found.append({key: fields[key] for key in _FIELDS if key in fields})
    return found
