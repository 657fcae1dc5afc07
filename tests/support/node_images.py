"""Images on the local cluster's node: whoever may write there moves a tag, as whoever may push does in a registry."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localcluster import addresses
from localcluster.node import Node
from tests.support.e2e import World


class NodeImages:
    """containerd's images, by its own client."""

    def __init__(self, world: World) -> None:
        state = Path(world.environment["KUBECONFIG"]).parent
        programs = shutil.which("ctr", path=world.environment["PATH"])
        assert programs, "the local cluster's programs are not on the PATH that `make env` gives"
        self._node = Node(state, addresses.of(state / "addresses.json"), Path(programs).parent)

    @contextmanager
    def tagged(self, source: str, name: str) -> Iterator[str]:
        """Give an image that is there a further name; its digest. What the name stands for is gone afterwards."""
        digest = self.digest(source)
        names = {name}
        self._name(source, name, digest)
        try:
            yield digest
        finally:
            held = self._said("images", "list", "--quiet").split()
            names |= {each for each in held if each.startswith(f"{_repository(name)}@")}
            self._said("images", "remove", *sorted(names))

    def move(self, name: str) -> str:
        """Let a name stand for an image of other content: the same layers, and a label that it had not; its digest."""
        manifest = self._blob(self.digest(name))
        config = self._blob(manifest["config"]["digest"])
        config["config"].setdefault("Labels", {})["changed"] = "yes"
        raw = json.dumps(config).encode()
        manifest["config"] |= {"digest": _sha256(raw), "size": len(raw)}
        made = json.dumps(manifest).encode()
        described = {
            "mediaType": manifest["mediaType"],
            "digest": _sha256(made),
            "size": len(made),
            "annotations": {"io.containerd.image.name": name},
        }
        files = {
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
            "index.json": json.dumps({"schemaVersion": 2, "manifests": [described]}).encode(),
            **{f"blobs/sha256/{_sha256(blob).removeprefix('sha256:')}": blob for blob in (raw, made)},
        }
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "image.tar"
            with tarfile.open(archive, "w") as tar:
                for path, content in files.items():
                    entry = tarfile.TarInfo(path)
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
            self._said("images", "import", str(archive))
        assert self.digest(name) == described["digest"], f"{name} is {self.digest(name)} after the import"
        self._name(name, name, str(described["digest"]))
        return str(described["digest"])

    def digest(self, name: str) -> str:
        """What a name stands for now."""
        for line in self._said("images", "list", f"name=={name}").splitlines()[1:]:
            return line.split()[2]
        raise AssertionError(f"the node has no image {name}: {self._said('images', 'list', '--quiet')}")

    def _name(self, source: str, name: str, digest: str) -> None:
        """By a tag and by the digest, as an image that was pulled has both."""
        for wanted in (name, f"{_repository(name)}@{digest}"):
            if wanted != source:
                self._said("images", "tag", "--force", source, wanted)

    def _blob(self, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._said("content", "get", digest))
        return found

    def _said(self, *words: str) -> str:
        done = self._node.ctr(*words)
        assert done.returncode == 0, f"ctr {' '.join(words)}: {done.stderr}"
        return done.stdout


def _repository(name: str) -> str:
    return name.rpartition(":")[0]


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
