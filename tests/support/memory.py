"""The most memory that a program had, by the kernel's own count: Arrow's buffers and every other library's included,
which ``tracemalloc`` does not see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
# A process's maximum resident set begins with that of who forked it, so one that has next to nothing does.
_LAUNCHER = """
import os, sys
null = os.open(os.devnull, os.O_WRONLY)
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
_, status, usage = os.wait4(pid, 0)
print([usage.ru_utime + usage.ru_stime, usage.ru_maxrss])
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Spent:
    """What a process took: seconds of processor, and the highest that its resident set was, in MiB."""

    cpu: float
    memory: float


def spent(command: Sequence[str], env: Mapping[str, str], cwd: Path = _ROOT) -> Spent:
    """Run a command to its end.

    Raises:
        RuntimeError: it ended with another status than 0.
    """
    process = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCHER, *command], cwd=cwd, env=dict(env), capture_output=True, check=False
    )
    if process.returncode:
        raise RuntimeError(f"{command[:4]} ended with {process.returncode}: {process.stderr.decode()[-2000:]}")
    cpu, memory = json.loads(process.stdout.splitlines()[-1])
    return Spent(cpu, memory / 1024)


def python(module: str, *words: str, env: Mapping[str, str]) -> Spent:
    """Run a module of ours to its end."""
    path = os.pathsep.join(str(_ROOT / part) for part in ("", "operator", "images/trainer"))
    return spent([sys.executable, "-m", module, *words], {**os.environ, **env, "PYTHONPATH": path})
