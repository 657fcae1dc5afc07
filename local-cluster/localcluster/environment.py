"""Virtual environments, made once per lock file and shared by all checkouts."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from localcluster import debian, machine, paths, pins
from localcluster.progress import step
from localcluster.shell import run
from localcluster.store import lock

_REQUIREMENTS = paths.REPOSITORY / "requirements"


def path() -> Path:
    """Where this checkout's development environment is, or will be: keyed by its lock and by the Python that runs."""
    return _path(_REQUIREMENTS / "dev.txt")


def ensure() -> Path:
    """Make the development environment if it is missing; return its directory."""
    target = path()
    _make(target, "virtual environment made", ["-r", str(_REQUIREMENTS / "dev.txt"), "--require-hashes"])
    return target


def ensure_fetcher() -> Path:
    """A Python with pip and nothing else, to fetch wheels with: Debian's own has no pip and may not be added to."""
    target = paths.cache() / "venv" / f"fetch-{_python()}"
    _make(target, "pip made ready", [])
    return target / "bin" / "python"


def _python() -> str:
    # The interpreter's real path too: an environment holds a link to it.
    version = ".".join(str(n) for n in sys.version_info[:3])
    return f"{version}-{paths.digest(str(Path(sys.executable).resolve()))[:6]}"


def _path(requirements: Path) -> Path:
    return paths.cache() / "venv" / f"dev-{paths.digest(requirements, _python())}"


def _make(target: Path, what: str, install: list[str]) -> None:
    # A virtual environment holds its own path, so it cannot be renamed into place: a marker tells a whole one.
    marker = target / "complete"
    if marker.exists():
        return
    machine.require()
    # Elsewhere Python brings its venv along, or the run of it says what is missing.
    debian.require(("python3-venv",) if debian.present() else ())
    with lock(f"venv-{target.name}"):
        if marker.exists():
            return
        shutil.rmtree(target, ignore_errors=True)
        with step(what):
            run([sys.executable, "-m", "venv", target])
            if install:
                run(
                    [
                        target / "bin" / "pip",
                        "install",
                        "-q",
                        "--disable-pip-version-check",
                        "--no-deps",
                        "--only-binary",
                        ":all:",
                        *install,
                    ]
                )
            marker.touch()


def resolve() -> None:
    """Resolve the `.in` files into `requirements/*.txt`, with hashes, for Python 3.11 and later."""
    fetcher = ensure_fetcher()
    target = paths.cache() / "venv" / f"uv-{pins.UV.version}"
    wish = f"uv=={pins.UV.version} --hash=sha256:{pins.UV.sha256}\n"
    with tempfile.TemporaryDirectory() as scratch:
        listed = Path(scratch, "uv.txt")
        listed.write_text(wish)
        if not target.is_dir():
            run([fetcher, "-m", "pip", "install", "-q", "--require-hashes", "--target", target, "-r", listed])
    sources = {name: f"../images/{name}/requirements.in" for name in ("operator", "trainer", "server")}
    for name, source in {**sources, "trainer-cuda": "../images/trainer/requirements-cuda.in", "dev": "dev.in"}.items():
        with step(f"requirements/{name}.txt resolved"):
            run(
                [
                    target / "bin" / "uv",
                    "pip",
                    "compile",
                    "-q",
                    "--universal",
                    "--python-version",
                    "3.11",
                    "--generate-hashes",
                    "--no-header",
                    "--no-annotate",
                    "-o",
                    f"{name}.txt",
                    source,
                ],
                cwd=_REQUIREMENTS,
            )
