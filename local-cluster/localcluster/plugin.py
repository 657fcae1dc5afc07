"""``kubectl slipway`` for the shells of this checkout's cluster: programs that run the plugin from these sources."""

from __future__ import annotations

import shlex
from pathlib import Path

from localcluster import environment, paths

_MODULES = {"kubectl-slipway": "slipway.cli", "kubectl_complete-slipway": "slipway.cli.complete"}
"""kubectl finds its plugins, and those that complete their words, by the names of programs on the PATH."""


def ensure(directory: Path) -> Path | None:
    """Write the programs into ``directory``; return it. None where this checkout has no plugin (only a part of it was
    copied)."""
    sources = paths.REPOSITORY / "operator"
    if not (sources / "slipway" / "cli").is_dir():
        return None
    python = environment.ensure() / "bin" / "python"
    directory.mkdir(parents=True, exist_ok=True)
    for name, module in _MODULES.items():
        program = directory / name
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(sources))} exec {shlex.quote(str(python))} -m {module} "$@"\n'
        )
        program.chmod(0o755)
    return directory
