"""The commands behind the Makefile's targets: `python3 local-cluster COMMAND`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from localcluster import chart, environment, images, paths, pins, programs
from localcluster.cluster import WAYS, Cluster
from localcluster.progress import UserError, say


def _up(cluster: Cluster) -> None:
    begun = time.monotonic()
    cluster.up()
    say(f'cluster up after {time.monotonic() - begun:.0f} s; `eval "$(make -s env)"` gives this shell its kubectl')


def _down(cluster: Cluster) -> None:
    cluster.down()


def _env(cluster: Cluster) -> None:
    for name, value in cluster.environment().items():
        print(f'export {name}="{value}"')


def _images(cluster: Cluster) -> None:
    for image, name in cluster.load().items():
        print(f"{image} {name}")


def _deploy(cluster: Cluster) -> None:
    names = cluster.load()
    with cluster.alone():
        chart.deploy(cluster.kubectl, cluster.helm, names)


def _test_image(_: Cluster) -> None:
    """The tests that need what only an image holds; pytest comes from the development environment."""
    site = environment.ensure() / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)  # the image runs as nobody in particular
        for package in _PYTEST:  # pure Python, so good for the image's Python too; numpy, say, would not be
            for source in (site / package, *site.glob(f"{package}-*.dist-info")):
                shutil.copytree(source, Path(scratch, source.name))
        shutil.copy(site / "py.py", scratch)
        volumes = {Path(scratch): "/pytest", paths.REPOSITORY: "/repository"}
        # Neither the settings nor the fixtures of the other levels: they need what the image does not hold.
        options = f"-p no:cacheprovider -o addopts= -o filterwarnings= --import-mode=importlib --confcutdir={_INSIDE}"
        command = f"cd /repository && PYTHONPATH=/pytest:/repository exec python -m pytest {options} {_INSIDE}"
        status = images.run_inside("trainer", ["sh", "-c", command], volumes)
    if status:
        raise UserError(f"the tests inside the trainer image ended with exit status {status}")


def _binaries(_: Cluster) -> None:
    print(programs.ensure(pins.CONTROL_PLANE))


def _venv(_: Cluster) -> None:
    print(environment.ensure())


def _venv_path(_: Cluster) -> None:
    print(environment.path())


def _lock(_: Cluster) -> None:
    environment.resolve()


_PYTEST = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments")  # and py.py
_INSIDE = "tests/image/trainer/inside"

_COMMANDS: dict[str, tuple[Callable[[Cluster], None], str]] = {
    "up": (_up, "bring this checkout's cluster up, from whatever state it is in"),
    "down": (_down, "take it away without a trace"),
    "env": (_env, "print the exports that a shell needs"),
    "images": (_images, "build our images and give them to the cluster; print their names"),
    "deploy": (_deploy, "install or upgrade Slipway's chart with those images"),
    "test-image": (_test_image, "run the tests that need torch, inside the trainer image"),
    "binaries": (_binaries, "build what the control plane alone needs; print its directory"),
    "venv": (_venv, "make the development environment; print its directory"),
    "venv-path": (_venv_path, "print where the development environment is or will be"),
    "lock": (_lock, "resolve the Python requirements into requirements/*.txt"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its result goes to standard output, progress and errors to standard error."""
    parser = argparse.ArgumentParser(
        prog="local-cluster", description=f"Slipway's local cluster (cache: {paths.cache()})"
    )
    parser.add_argument(
        "--cluster", choices=WAYS, default="local", help="how the cluster is made (default: %(default)s)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (function, words) in _COMMANDS.items():
        commands.add_parser(name, help=words, description=words).set_defaults(function=function)
    chosen = parser.parse_args(arguments)
    try:
        chosen.function(WAYS[chosen.cluster]())
    except UserError as error:
        say(f"local-cluster: {error}")
        return 1
    except KeyboardInterrupt:
        say("local-cluster: interrupted; the same command goes on from here")
        return 130
    sys.stdout.flush()
    return 0
