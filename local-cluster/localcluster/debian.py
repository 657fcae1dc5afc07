"""Debian packages: what is missing is installed, and a machine that cannot is told what it lacks."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from localcluster.progress import UserError, step
from localcluster.shell import run


def missing(packages: Iterable[str]) -> list[str]:
    """Those of `packages` that dpkg does not have installed."""
    absent = []
    for package in packages:
        done = run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], check=False)
        if done.stdout != "installed":
            absent.append(package)
    return absent


def require(packages: Iterable[str]) -> None:
    """Install those of `packages` that are absent. No packages need no Debian.

    Raises UserError with a sentence where the machine is not a Debian one, or the user may not install.
    """
    wanted = list(packages)
    if not wanted:
        return
    require_dpkg()
    absent = missing(wanted)
    if not absent:
        return
    if os.geteuid() != 0:
        raise UserError(f"These Debian packages are missing: {' '.join(absent)}. Install them, or run this as root.")
    with step(f"Debian packages installed: {' '.join(absent)}"):
        apt = {"DEBIAN_FRONTEND": "noninteractive"}
        options = ["-q", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300"]
        # Lists may be absent or stale on a fresh machine: refreshed once, only when something must be installed.
        run(["apt-get", *options, "update"], env=apt)
        run(["apt-get", *options, "install", "-y", "--no-install-recommends", *absent], env=apt)


def require_dpkg() -> None:
    """Raise UserError unless this machine has Debian's packages."""
    if not present():
        raise UserError(
            "The local cluster installs what it needs from Debian's packages, and this machine has no dpkg. "
            "Use a Debian 12 or 13 machine, or `make up CLUSTER=kind` where Docker is present."
        )


def present() -> bool:
    """Whether this machine has Debian's packages."""
    return shutil.which("dpkg-query") is not None


def release() -> str:
    """What this machine runs, for example ``debian 12``; empty where nobody says."""
    try:
        return " ".join(platform.freedesktop_os_release().get(k, "") for k in ("ID", "VERSION_ID"))
    except OSError:
        return ""


def extract(package: str, member: str, target: Path) -> None:
    """Put one file of a package's newest version at `target`, without installing the package.

    Raises UserError where the machine has no apt.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise UserError(f"{member} comes from the Debian package {package}, and this machine has no apt.")
    with tempfile.TemporaryDirectory() as scratch:
        done = run(["apt-get", "-q", "download", package], cwd=Path(scratch), check=False)
        if done.returncode:  # the lists may be absent or stale
            run(["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "update"])
            run(["apt-get", "-q", "download", package], cwd=Path(scratch))
        (archive,) = Path(scratch).glob("*.deb")
        run(["dpkg-deb", "--extract", archive, Path(scratch, "x")])
        shutil.copy2(Path(scratch, "x", member), target)


def require_root() -> None:
    """Raise UserError unless this process may create network namespaces and mounts."""
    if os.geteuid() != 0:
        raise UserError(
            "The local cluster makes network namespaces and mounts, which needs root: run `sudo -E make ...`, "
            "or use `make up CLUSTER=kind` where Docker is present. Unit and integration tests need no root."
        )
    if not Path("/proc/self/ns/net").exists():
        raise UserError("The local cluster needs Linux with network namespaces.")
