"""A real sshd, Debian's, that gives out git repositories by key. Needs root, for a mount namespace of its own.

It is not installed, which would start it on every address of the machine: its program is taken out of its package.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localcluster import debian, paths
from tests.support.api_server import eventually

_USER: Final = 65532
# In a mount namespace of its own: git's user, whom this machine does not have, is there as long as the server is.
_START: Final = """
set -e
mount --bind "$1/passwd" /etc/passwd
exec setpriv --reuid=65532 --regid=65532 --clear-groups --pdeathsig KILL \
  env LD_LIBRARY_PATH="$1/program" "$1/program/sshd" -D -e -f "$1/config"
"""


@dataclass(frozen=True)
class SshServer:
    """One that runs: where, the private key that it takes, and its own key as known_hosts names it."""

    host: str
    port: int
    key: str
    known_hosts: str

    def url(self, repository: Path) -> str:
        """The address of a repository on this machine's disk; git's user must be able to read it."""
        return f"ssh://git@{self.host}:{self.port}{repository}"


@contextmanager
def ssh_server(folder: Path, *, host: str, port: int, prefix: Sequence[str] = ()) -> Iterator[SshServer]:
    """Start it, wait until it answers, and take it down whatever happens.

    It keeps its files in ``folder``, which git's user must be able to reach; ``prefix`` goes before the command
    (``nsenter``).
    """
    shutil.copytree(_program(), folder / "program")  # git's user cannot reach the cache
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.chown(folder / "host", _USER, _USER)
    (folder / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\ngit:x:{_USER}:{_USER}::{folder}:/bin/sh\n")
    settings = {
        "ListenAddress": f"{host}:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        # The repositories belong to whoever runs the tests.
        "SetEnv": "GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*",
    }
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    alone = ("unshare", "--mount", "--propagation", "private", "--")
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*prefix, *alone, "sh", "-c", _START, "sh", str(folder)],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
        )
    try:
        eventually(lambda: _answers(host, port), seconds=20, what="sshd answering", show=log.read_text)
        public = " ".join((folder / "host.pub").read_text().split()[:2])
        yield SshServer(host, port, (folder / "user").read_text(), f"[{host}]:{port} {public}\n")
    finally:
        process.kill()
        process.wait(10)


def _program() -> Path:
    """The folder with sshd and the one library of it that not every machine has."""
    folder = paths.cache() / "sshd"
    if not (folder / "sshd").exists():
        folder.mkdir(exist_ok=True)
        debian.extract("libwrap0", "usr/lib/x86_64-linux-gnu/libwrap.so.0", folder / "libwrap.so.0")
        debian.extract("openssh-server", "usr/sbin/sshd", folder / "sshd.new")
        (folder / "sshd.new").rename(folder / "sshd")
    return folder


def _answers(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=2) as asked:
        return asked.recv(4) == b"SSH-"
    return False
