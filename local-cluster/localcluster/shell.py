"""Running other programs: quietly when they succeed, with their words when they fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from localcluster.progress import UserError


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end with its output captured.

    `env` is laid over this process's environment. Raises UserError with the last lines of output when the program
    fails and `check` is set.
    """
    done = subprocess.run(
        [os.fspath(a) for a in argv],
        cwd=cwd,
        env={**os.environ, **env} if env is not None else None,
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    if check and done.returncode != 0:
        words = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        command = " ".join(os.fspath(a) for a in argv)
        raise UserError(f"this command failed with exit status {done.returncode}:\n  {command}\n{words}")
    return done
