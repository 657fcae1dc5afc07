"""An image's SBOM: CycloneDX by its own schema, with what the layers hold."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from packageurl import PackageURL

from localcluster import cli, images, inventory
from localcluster.oci import Layout

NAME = "localhost/slipway/server:0123456789abcdef"
NOW = datetime(2026, 11, 29, 16, 0, tzinfo=UTC)
RELEASE = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n'
BASE = """\
Package: libstdc++6
Status: install ok installed
Maintainer: Debian GCC Maintainers <gcc@example.org>
Architecture: amd64
Source: gcc-14 (14.2.0-19)
Version: 14.2.0-19
Description: a library
 with more: words

Package: left
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
MORE = f"""{BASE}
Package: git
Status: install ok installed
Architecture: amd64
Version: 1:2.47.3-0+deb13u1
"""
PYTHON = "usr/local/lib/python3.13/dist-packages"


def layer(store: Layout, files: Mapping[str, str]) -> str:
    """A layer as buildah packs one: every name with ./ before it."""
    path = store.root / "layer.new"
    with tarfile.open(path, "w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return store.adopt_layer(path)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return images.layout()


@pytest.fixture
def image(store: Layout) -> str:
    base = layer(store, {"var/lib/dpkg/status": BASE, "usr/lib/os-release": RELEASE})
    packages = layer(
        store,
        {
            f"{PYTHON}/prometheus_client-0.23.1.dist-info/METADATA": "Name: prometheus_client\n",
            f"{PYTHON}/torch-2.6.0+debian.dist-info/METADATA": "Name: torch\n",
            "var/lib/dpkg/status": MORE,
        },
    )
    return store.add_image([base, packages, layer(store, {"usr/share/ours": "x"})], {})


def valid(document: Mapping[str, Any]) -> None:
    from cyclonedx.validation.json import JsonStrictValidator  # takes a second, which other tests need not wait for

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None


def test_it_is_cyclonedx_and_holds_every_package(store: Layout, image: str) -> None:
    made = inventory.document(store, NAME, image, NOW)
    valid(made)
    held = {c["name"]: c["version"] for c in made["components"]}
    assert held == {
        "debian": "13",
        "libstdc++6": "14.2.0-19",
        "git": "1:2.47.3-0+deb13u1",  # of the later layer's list
        "prometheus-client": "0.23.1",
        "torch": "2.6.0+debian",
    }
    assert made["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": image.removeprefix("sha256:")}]
    (whole, *parts) = made["dependencies"]
    assert whole["ref"] == image
    assert whole["dependsOn"] == [p["ref"] for p in parts] == [c["bom-ref"] for c in made["components"]]


def test_scanners_find_the_packages_by_their_urls(store: Layout, image: str) -> None:
    made = inventory.document(store, NAME, image, NOW)
    urls = {c["name"]: PackageURL.from_string(c["purl"]) for c in made["components"] if "purl" in c}
    assert set(urls) == {"libstdc++6", "git", "prometheus-client", "torch"}
    for name, url in urls.items():
        assert (url.name, url.version) == (name, next(c["version"] for c in made["components"] if c["name"] == name))
    library = urls["libstdc++6"]
    assert (library.type, library.namespace) == ("deb", "debian")
    assert library.qualifiers == {"arch": "amd64", "distro": "debian-13", "upstream": "gcc-14@14.2.0-19"}
    assert urls["torch"].type == "pypi"
    whole = PackageURL.from_string(made["metadata"]["component"]["purl"])
    assert (whole.type, whole.name, whole.version) == ("oci", "server", image)


def test_the_same_image_has_the_same_sbom_but_for_its_time(store: Layout, image: str) -> None:
    first, later = (inventory.document(store, NAME, image, at) for at in (NOW, datetime(2027, 1, 1, tzinfo=UTC)))
    assert first.pop("metadata")["timestamp"] == "2026-11-29T16:00:00Z"
    assert later.pop("metadata")["timestamp"] == "2027-01-01T00:00:00Z"
    assert first == later


def test_an_image_without_any_package_has_one_too(store: Layout) -> None:
    made = inventory.document(store, NAME, store.add_image([layer(store, {"bin/pause": "x"})], {}), NOW)
    valid(made)
    assert made["components"] == []


def test_make_sbom_writes_one_for_each_image_also_for_those_built_before(
    store: Layout, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {short: images.name(short) for short in images.OURS}
    for full in names.values():
        record = images._record(full)
        record.parent.mkdir(exist_ok=True)
        record.write_text(image)
    monkeypatch.setattr("localcluster.paths.REPOSITORY", tmp_path / "checkout")
    monkeypatch.setattr(images, "name", names.__getitem__)
    monkeypatch.setattr(images, "_recipe", lambda _: None)
    assert cli.main(["sbom"]) == 0
    files = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [f.name for f in files] == ["operator.cdx.json", "trainer.cdx.json", "server.cdx.json"]
    for short, file in zip(images.OURS, files, strict=True):
        document = json.loads(file.read_text())
        valid(document)
        assert document["metadata"]["component"]["name"] == f"localhost/slipway/{short}"


def test_an_image_that_is_pruned_takes_its_sbom_along(store: Layout, image: str) -> None:
    record = images._record(NAME)
    record.parent.mkdir(exist_ok=True)
    record.write_text(image)
    inventory.write(store, NAME, image, images._inventory(record))
    images.prune(days=1)
    assert images._inventory(record).exists()
    images.prune(days=-1)
    assert not images._inventory(record).exists()
    assert not store.blob(image).exists()
