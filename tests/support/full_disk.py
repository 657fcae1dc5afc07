"""A container's directory that is full: ``python full_disk.py PID DIRECTORY``.

It enters the mount namespace of a process and covers a directory of it with a file system of one page that is full
already, so that whoever writes there gets ENOSPC, as on a real full disk. What lay there before is covered, not gone;
open and mapped files stay as they are. It goes with the container.

The local cluster's kubelet cannot evict by the size of an emptyDir (nothing of a node in namespaces tells it how full
those are), and the emptyDirs of all its pods lie on one file system, which no test may fill.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from typing import Final

_NEW_MOUNT_NAMESPACE: Final = 0x00020000
"""CLONE_NEWNS of sched.h."""
_ONE_PAGE: Final = b"size=4k,mode=1777"


def fill(pid: int, directory: str) -> None:
    """Make a directory full, as that process sees it; in a process of its own, because nobody comes back from there.

    Raises:
        subprocess.CalledProcessError: it cannot be done: not root, no such process, no such directory.
    """
    subprocess.run([sys.executable, __file__, str(pid), directory], check=True)


def _main(pid: str, directory: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    _done(libc.setns(namespace, _NEW_MOUNT_NAMESPACE))
    _done(libc.mount(b"full", directory.encode(), b"tmpfs", 0, _ONE_PAGE))
    page = os.open(f"{directory}/page", os.O_WRONLY | os.O_CREAT, 0o600)
    with contextlib.suppress(OSError):  # ENOSPC: it is full now
        while True:
            os.write(page, bytes(4096))


def _done(answer: int) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    _main(*sys.argv[1:])
