"""Products that a bench is held against, each in a Python environment of its own: nothing of theirs enters ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from localcluster import paths


def environment(name: str, *requirements: str) -> Path:
    """The environment's directory in the user's cache; made from PyPI on first use.

    Args:
        name: with the version that is asked for, so that another version is another environment.
    """
    home = paths.cache() / "venv" / f"bench-{name}"
    if not (home / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "-q", *requirements], check=True)
        (home / "complete").touch()
    return home
