"""A program on a leash: ``python leash.py FOLDER COMMAND...`` runs COMMAND until it ends or the leash is let go.

Whoever starts it holds the other end of its standard input. A bench that is killed cannot take anything down itself;
but the kernel closes that end, and then everything that COMMAND started is ended and FOLDER removed. ``setpriv
--pdeathsig`` does not do for these: MLflow's server starts workers that outlive it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE = 10.0
"""Seconds to end in by itself."""


def main() -> int:
    """The exit status of the command."""
    folder, *command = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    let_go = threading.Event()
    threading.Thread(target=_hold, args=(process, let_go), daemon=True).start()
    try:
        return process.wait()
    finally:
        _end(process)
        if let_go.is_set():
            shutil.rmtree(folder, ignore_errors=True)


def _hold(process: subprocess.Popen[bytes], let_go: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    let_go.set()
    _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole group: workers do not always end with who started them. PostgreSQL takes SIGINT for "now"."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
