"""The commands behind the Makefile's targets: `python3 local-cluster COMMAND`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from localcluster import cluster, environment, paths, pins, programs
from localcluster.progress import UserError, say


def _binaries(_: argparse.Namespace) -> None:
    print(programs.ensure(pins.CONTROL_PLANE))


def _scale_binaries(_: argparse.Namespace) -> None:
    print(programs.ensure(pins.SCALE))


def _programs(_: argparse.Namespace) -> None:
    print(programs.ensure(pins.PROGRAMS))
    programs.envoy_gateway_charts()
    programs.drop_build_caches()


def _venv(_: argparse.Namespace) -> None:
    print(environment.ensure())


def _venv_path(_: argparse.Namespace) -> None:
    print(environment.path())


def _lock(_: argparse.Namespace) -> None:
    environment.resolve()


def _up(_: argparse.Namespace) -> None:
    begun = time.monotonic()
    cluster.up()
    say(f"cluster up after {time.monotonic() - begun:.0f} s; `eval \"$(make -s env)\"` gives this shell its kubectl")


def _down(_: argparse.Namespace) -> None:
    cluster.down()


def _env(_: argparse.Namespace) -> None:
    for name, value in cluster.environment().items():
        print(f'export {name}="{value}"')


_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], None], str]] = {
    "binaries": (_binaries, "build what the control plane alone needs; print its directory"),
    "scale-binaries": (_scale_binaries, "build the control plane, the scheduler and kwok; print their directory"),
    "programs": (_programs, "build every program of the cluster; print their directory"),
    "venv": (_venv, "make the development environment; print its directory"),
    "venv-path": (_venv_path, "print where the development environment is or will be"),
    "up": (_up, "bring this checkout's cluster up, from whatever state it is in"),
    "down": (_down, "take it away without a trace"),
    "env": (_env, "print the exports that a shell needs"),
    "lock": (_lock, "resolve the Python requirements into requirements/*.txt"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its result goes to standard output, progress and errors to standard error."""
    parser = argparse.ArgumentParser(prog="local-cluster", description=f"Slipway's local cluster (cache: {paths.cache()})")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (function, words) in _COMMANDS.items():
        commands.add_parser(name, help=words, description=words).set_defaults(function=function)
    chosen = parser.parse_args(arguments)
    try:
        chosen.function(chosen)
    except UserError as error:
        say(f"local-cluster: {error}")
        return 1
    except KeyboardInterrupt:
        say("local-cluster: interrupted; the same command goes on from here")
        return 130
    sys.stdout.flush()
    return 0
