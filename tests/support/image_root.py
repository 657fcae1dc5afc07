"""One of our images unpacked into a folder, and programs run in it as its own user. Needs root, as the node does."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcluster import images, paths

_USER = 65532

# A mount namespace of its own: what is mounted here is gone with the process, also when it is killed.
_INSIDE = """
set -e
root=$1; shift
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
mkdir "$root/dev/shm"; chmod 1777 "$root/dev/shm"
for device in null zero random urandom; do
  touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"
done
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$(dirname "$root$2")"; touch "$root$2"; fi
  mount --bind "$1" "$root$2"; shift 2
done
shift
exec chroot --userspec=65532:65532 "$root" "$@"
"""


@dataclass(frozen=True)
class ImageRoot:
    """An unpacked image."""

    path: Path

    def start(
        self, command: Sequence[str], env: Mapping[str, str], mounts: Mapping[Path, str], **more: Any
    ) -> subprocess.Popen[str]:
        """Start a program inside, as the image's user; ``mounts`` maps what is outside to where it appears."""
        pairs = [str(part) for outside, inside in mounts.items() for part in (outside, inside)]
        alone = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", _INSIDE, "sh", str(self.path)]
        path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.Popen([*alone, *pairs, "--", *command], env={**path, **env}, text=True, **more)

    def run(self, command: Sequence[str], env: Mapping[str, str], mounts: Mapping[Path, str]) -> tuple[int, str]:
        """Run a program to its end; returns its status and all it wrote."""
        process = self.start(command, env, mounts, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = process.communicate()
        return process.returncode, output


@contextmanager
def image_root(image: str) -> Iterator[ImageRoot]:
    """One of our images, unpacked; built first where it is missing.

    It is kept for the next run, and goes when another of the same name is unpacked, unless somebody still uses it: a
    shared lock says so, which the kernel takes back when its process ends, however it ends.
    """
    made = images.ensure([image])[image]
    roots = paths.cache() / "roots"
    roots.mkdir(exist_ok=True)
    name = f"{image}-{made.digest.removeprefix('sha256:')[:16]}"
    with (roots / f"{image}.lock").open("w") as turn, (roots / f"{name}.lock").open("w") as used:
        fcntl.flock(turn, fcntl.LOCK_EX)
        fcntl.flock(used, fcntl.LOCK_SH)
        for other in roots.iterdir():
            if other.is_dir() and other.name.startswith(f"{image}-") and other.name != name:
                _remove_unless_used(other)
        if not (roots / name).is_dir():
            _unpack(made.digest, roots / name)
        fcntl.flock(turn, fcntl.LOCK_UN)
        yield ImageRoot(roots / name)


def _unpack(digest: str, target: Path) -> None:
    store = images.layout()
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for layer in store.layers(digest):
        subprocess.run(["tar", "--extract", "--file", store.blob(layer), "--directory", fresh], check=True)
    fresh.rename(target)


def _remove_unless_used(root: Path) -> None:
    with root.with_name(f"{root.name.removesuffix('.new')}.lock").open("w") as used:
        try:
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(root)


def writable(folder: Path) -> Path:
    """A folder that the image's user may write to."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, _USER, _USER)
    return folder
