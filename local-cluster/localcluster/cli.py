"""The commands behind the Makefile's targets: `python3 local-cluster COMMAND`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from localcluster import chart, environment, paths, pins, plugin, programs
from localcluster.cluster import WAYS, Cluster
from localcluster.progress import UserError, say


def _up(cluster: Cluster) -> None:
    begun = time.monotonic()
    cluster.up()
    say(f'cluster up after {time.monotonic() - begun:.0f} s; `eval "$(make -s env)"` gives this shell its kubectl')


def _down(cluster: Cluster) -> None:
    cluster.down()


def _env(cluster: Cluster) -> None:
    variables = cluster.environment()
    programs_of_ours = plugin.ensure(Path(variables["KUBECONFIG"]).parent / "bin")
    if programs_of_ours is not None:
        variables["PATH"] = f"{programs_of_ours}:{variables.get('PATH', '$PATH')}"
    for name, value in variables.items():
        print(f'export {name}="{value}"')


def _images(cluster: Cluster) -> None:
    for image, name in cluster.load().items():
        print(f"{image} {name}")


def _sbom(cluster: Cluster) -> None:
    for path in cluster.write_sboms(paths.REPOSITORY / "build" / "sbom"):
        print(path)


def _deploy(cluster: Cluster) -> None:
    names = cluster.load()
    with cluster.alone():
        chart.deploy(cluster.kubectl, cluster.helm, names)


def _memory(cluster: Cluster) -> None:
    taken = cluster.memory()
    for name, mebibytes in sorted(taken.items(), key=lambda item: -item[1]):
        print(f"{mebibytes:7.0f} MiB  {name}")
    print(f"{sum(taken.values()):7.0f} MiB  in all")


def _binaries(_: Cluster) -> None:
    print(programs.ensure(pins.CONTROL_PLANE))


def _venv(_: Cluster) -> None:
    print(environment.ensure())


def _venv_path(_: Cluster) -> None:
    print(environment.path())


def _lock(_: Cluster) -> None:
    environment.resolve()


_COMMANDS: dict[str, tuple[Callable[[Cluster], None], str]] = {
    "up": (_up, "bring this checkout's cluster up, from whatever state it is in"),
    "down": (_down, "take it away without a trace"),
    "env": (_env, "print the exports that a shell needs"),
    "images": (_images, "build our images and give them to the cluster; print their names"),
    "sbom": (_sbom, "write the SBOM of each of our images, in CycloneDX, into build/sbom; print the files"),
    "deploy": (_deploy, "install or upgrade Slipway's chart with those images"),
    "memory": (_memory, "print what the cluster's processes take of the machine's memory, pods included"),
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
