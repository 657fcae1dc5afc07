"""The images: three of ours from their Containerfiles, and those of the node's own parts around one program each.

Each is made once for its inputs and kept in the cache; the tag is a digest of the inputs, so that a changed source is
another image, which a Deployment rolls out, and an unchanged one is not built again.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from localcluster import debian, inventory, machine, paths, pins, programs
from localcluster.oci import Layout, diff_ids
from localcluster.progress import UserError, step
from localcluster.shell import run
from localcluster.store import lock

OURS = ("operator", "trainer", "server")
_PREFIX = "localhost/slipway"
_USER = "65532:65532"  # the number that images without a named user have agreed on
_BASE_PACKAGES = ("ca-certificates", "python3", "python-is-python3")
_PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
_AUTHORITIES_INSIDE = "/etc/ssl/certs/host-ca.crt"
_WITHOUT_MANUALS = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
# In a mount namespace of its own: what a killed build has mounted goes with it.
_ALONE = ("unshare", "--mount", "--propagation", "private")


@dataclass(frozen=True)
class Image:
    """An image in the cache: its full name, and the digest of its manifest."""

    name: str
    digest: str


@dataclass(frozen=True)
class _Recipe:
    """How an image is made: what its tag is a digest of, and what makes it, from its base if it has one."""

    inputs: tuple[str | Path, ...]
    make: Callable[[Layout, Image | None], str]
    on_base: bool = True


def layout() -> Layout:
    """The store of all images on this machine."""
    return Layout(paths.cache() / "images")


def name(image: str) -> str:
    """The full name of an image for the sources as they are now; nothing is built."""
    return f"{_PREFIX}/{image}:{paths.digest(*_recipe(image).inputs)}"


def ensure(wanted: Iterable[str]) -> dict[str, Image]:
    """Make those of the images that are missing; return them all by short name."""
    return {image: _ensure(image) for image in wanted}


def node_images() -> tuple[str, ...]:
    """The images of the cluster's own parts."""
    return tuple(_PROGRAM_IMAGES)


def prune(days: float) -> None:
    """Remove from the cache every image that nobody asked for in the last `days` days."""
    store, names = layout(), paths.cache() / "images" / "names"
    with lock("images"):
        for record in names.glob("*"):
            if record.stat().st_mtime < time.time() - days * 86400:
                record.unlink()
                for about in _inventory(record).parent.glob(f"{record.name}.*"):
                    about.unlink()
        store.prune(record.read_text() for record in names.glob("*"))


def _inventory(record: Path) -> Path:
    """Where an image's SBOM is kept, by the file that holds its digest."""
    return record.parents[1] / "inventories" / f"{record.name}.cdx.json"


def _record(full: str) -> Path:
    """The file that holds an image's digest, by its full name."""
    return paths.cache() / "images" / "names" / full.replace("/", "_")


def write_sboms(wanted: Iterable[str], into: Path) -> list[Path]:
    """Write `<image>.cdx.json` of each image, made if it is missing, into a directory; return the files."""
    into.mkdir(parents=True, exist_ok=True)
    written = []
    for image, made in ensure(wanted).items():
        kept = _inventory(_record(made.name))
        if not kept.exists():  # an image of before there were SBOMs
            inventory.write(layout(), made.name, made.digest, kept)
        written.append(shutil.copyfile(kept, into / f"{image}.cdx.json"))
    return written


def _ensure(image: str) -> Image:
    store, recipe, full = layout(), _recipe(image), name(image)
    record = _record(full)
    if not _stands(store, record):
        machine.require()
        debian.require(pins.NODE_PACKAGES)
        debian.require_root()
        base = _ensure("base") if recipe.on_base else None
        with lock("images"):
            if not _stands(store, record):
                with step(f"image {image} built"):
                    digest = recipe.make(store, base)
                    inventory.write(store, full, digest, _inventory(record))
                    record.parent.mkdir(exist_ok=True)
                    fresh = record.with_suffix(".new")
                    fresh.write_text(digest)
                    fresh.rename(record)
    os.utime(record)  # its last use, for `prune`
    return Image(full, record.read_text())


def _stands(store: Layout, record: Path) -> bool:
    return record.exists() and store.complete(record.read_text())


def _recipe(image: str) -> _Recipe:
    if image == "base":
        return _Recipe((pins.DEBIAN_SUITE, *_BASE_PACKAGES), _make_base, on_base=False)
    if image in _PROGRAM_IMAGES:
        program = _PROGRAM_IMAGES[image]
        return _Recipe((repr(program), repr(pins.PROGRAMS.get(program.program, ""))), program.make, program.on_base)
    if image not in _SOURCES:
        raise UserError(f"There is no image {image}; there are {', '.join([*_SOURCES, *_PROGRAM_IMAGES])}.")
    context = _context(image)
    inputs = [part for inside, path in sorted(context.items()) for part in (inside, path)]

    def make(store: Layout, base: Image | None) -> str:
        if base is None:
            raise AssertionError("an image with a Containerfile has a base")
        return _make_from_containerfile(store, image, base)

    return _Recipe((name("base"), variant(image), *inputs), make)


# --- the base and the node's own parts ---


def _make_base(store: Layout, _: Image | None) -> str:
    with tempfile.TemporaryDirectory(dir=paths.cache()) as scratch:
        archive = Path(scratch, "base.tar")
        found = run(["apt-config", "shell", "P", "Acquire::http::Proxy"], check=False).stdout
        proxy = found.strip().removeprefix("P=").strip("'")
        options = [f'--aptopt=Acquire::http::Proxy "{proxy}"'] if proxy else []
        run(
            [
                *_ALONE,
                "mmdebstrap",
                "--quiet",
                "--mode=root",
                "--variant=minbase",
                f"--include={','.join(_BASE_PACKAGES)}",
                *(f"--dpkgopt={option}" for option in _WITHOUT_MANUALS),
                *options,
                pins.DEBIAN_SUITE,
                archive,
            ],
            env={"TMPDIR": scratch, "SOURCE_DATE_EPOCH": "0"},
        )
        layer = store.adopt_layer(archive)
    return store.add_image(
        [layer], {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["bash"]}
    )


@dataclass(frozen=True)
class _ProgramImage:
    """An image around one program: on Debian's base where the program needs a C library, else on nothing."""

    program: str
    path: str
    arguments: tuple[str, ...] = ()
    on_base: bool = False

    def make(self, store: Layout, base: Image | None) -> str:
        source = Path("/bin/busybox") if self.program == "busybox" else programs.ensure([self.program]) / self.program
        layers = store.layers(base.digest) if base else []
        layer = store.add_layer({self.path: source.resolve(), "/tmp": None})
        return store.add_image(
            [*layers, layer],
            {
                "User": _USER,
                "Entrypoint": [self.path, *self.arguments],
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            },
        )


_PROGRAM_IMAGES = {
    # What holds a pod's namespaces open. It waits for nothing: containerd ends it by SIGKILL.
    "pause": _ProgramImage("busybox", "/bin/busybox", ("sleep", "2147483647")),
    "coredns": _ProgramImage("coredns", "/usr/local/bin/coredns"),
    "envoy-gateway": _ProgramImage("envoy-gateway", "/usr/local/bin/envoy-gateway"),
    "envoy": _ProgramImage("envoy", "/usr/local/bin/envoy", on_base=True),
    "s3": _ProgramImage("weed", "/usr/local/bin/weed"),
}


# --- ours ---

_CONTRACT = ("operator/slipway/__init__.py", "operator/slipway/contract.py")
_SOURCES = {
    "operator": ("images/operator/Containerfile", "requirements/operator.txt", "operator/slipway"),
    "trainer": (
        "images/trainer/Containerfile",
        "requirements/trainer.txt",
        "requirements/trainer-cuda.txt",
        "images/trainer/slipway_trainer",
        "images/trainer/slipway_dataset",
        "images/trainer/slipway_evidence",
        *_CONTRACT,
    ),
    "server": ("images/server/Containerfile", "requirements/server.txt", "images/server/slipway_server", *_CONTRACT),
}


def variant(image: str) -> str:
    """The build argument VARIANT: only the trainer has one, `cpu` unless the environment says `cuda`."""
    return os.environ.get("VARIANT", "cpu") if image == "trainer" else ""


def _context(image: str) -> dict[str, Path]:
    """Every file the build of `image` may read: path inside the build -> file."""
    found: dict[str, Path] = {}
    for source in _SOURCES[image]:
        top = paths.REPOSITORY / source
        files = [top] if top.is_file() else [f for f in top.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
        if not files:
            raise UserError(f"The image {image} is made from {source}, which is not there.")
        found.update({str(f.relative_to(paths.REPOSITORY)): f for f in files})
    return found


def stage(image: str, into: Path) -> Path:
    """Copy everything the build of `image` may read, and nothing else, into a directory; return its Containerfile.

    Modes and times are fixed, so that a builder's own cache sees the same input as the same.
    """
    for inside, source in _context(image).items():
        target = into / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        os.utime(target, (0, 0))
    return into / "images" / image / "Containerfile"


def _make_from_containerfile(store: Layout, image: str, base: Image) -> str:
    _give_to_buildah(store, base)
    tag = f"{_PREFIX}/{image}:latest"
    with tempfile.TemporaryDirectory(dir=paths.cache()) as scratch:
        containerfile = stage(image, Path(scratch))
        arguments = {"BASE": base.name, "VARIANT": variant(image), **_pip_settings()}
        authorities = _authorities()
        volumes = [f"--volume={authorities}:{_AUTHORITIES_INSIDE}:ro"] if authorities else []
        _buildah(
            "build",
            "--isolation=chroot",
            "--network=host",
            "--layers",
            "--pull=never",
            "--format=oci",
            "--timestamp=0",
            _limits(),
            *volumes,
            *(f"--build-arg={key}={value}" for key, value in arguments.items() if value),
            f"--file={containerfile}",
            f"--tag={tag}",
            scratch,
        )
    return _take_from_buildah(store, tag)


def _take_from_buildah(store: Layout, tag: str) -> str:
    """Copy an image out of buildah's storage, only the layers that the store lacks.

    `buildah push` does the same, but reads and hashes every layer each time: 20 s for a changed line in the trainer.
    """
    configuration = json.loads(_buildah("inspect", "--type=image", tag))["Config"].encode()
    storage = _buildah_storage()
    # What tells a layer's name in the storage by its digest; several names may have the same content.
    named = {
        layer.get("diff-digest"): layer["id"]
        for layer in json.loads((storage / "overlay-layers" / "layers.json").read_text())
    }
    for digest in diff_ids(configuration):
        if not store.blob(digest).exists():
            fresh = store.root / "layer.new"
            fresh.unlink(missing_ok=True)
            run(
                [
                    *_ALONE,
                    "containers-storage",
                    "--graph",
                    storage,
                    "--run",
                    storage.parent / "run",
                    "diff",
                    "--uncompressed",
                    "--file",
                    fresh,
                    named[digest],
                ]
            )
            if store.adopt_layer(fresh) != digest:
                raise UserError(f"A layer of {tag} does not have the digest {digest} that buildah gave it.")
    return store.adopt_image(configuration)


def _limits() -> str:
    """This process's own limit of open files: Debian 13's buildah would raise it, which a sandboxed root may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"--ulimit=nofile={soft}:{hard}"


def _authorities() -> Path | None:
    """The certificate authorities that this machine's pip trusts, in pip's own order of preference."""
    named = [os.environ.get(v, "") for v in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")]
    return next((Path(f) for f in (*named, "/etc/ssl/certs/ca-certificates.crt") if f and Path(f).is_file()), None)


def _give_to_buildah(store: Layout, image: Image) -> None:
    if _buildah("images", "--quiet", "--filter", f"reference={image.name}").strip():
        return
    with tempfile.TemporaryDirectory(dir=paths.cache()) as scratch:
        archive = Path(scratch, "image.tar")
        with archive.open("wb") as out:
            store.export({image.name: image.digest}, out, lambda _: False)
        _buildah("tag", _buildah("pull", "--quiet", f"oci-archive:{archive}").strip(), image.name)


def _pip_settings() -> dict[str, str]:
    """How this machine's pip is set to reach its index, for the pip inside a build; the image keeps nothing of it."""
    settings = {key: value for key, value in os.environ.items() if key in _PIP_SETTINGS}
    if _authorities():
        settings["PIP_CERT"] = _AUTHORITIES_INSIDE  # it may hold the authority of a proxy between here and the index
    return settings


def _buildah(*arguments: str | os.PathLike[str]) -> str:
    return run([*_ALONE, *_buildah_command(), *arguments]).stdout


def _buildah_command() -> tuple[str, ...]:
    storage = _buildah_storage()
    return ("buildah", "--root", str(storage), "--runroot", str(storage.parent / "run"))


def _buildah_storage() -> Path:
    return paths.cache() / "buildah" / "storage"
