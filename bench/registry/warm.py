"""``python -m bench.registry.warm REPEAT WORD...``: a command of ``kubectl slipway`` again and again in one process.

What is left when Python is started and everything imported: reading the kubeconfig, connecting, asking, answering.
Prints the seconds of each time as JSON; the first one still imported.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time

from slipway.cli.app import app


def main() -> None:
    """Ask once more than REPEAT."""
    repeat, *words = sys.argv[1:]
    seconds = []
    for _ in range(int(repeat) + 1):
        begun = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            app(words, prog_name="kubectl slipway", standalone_mode=False)
        seconds.append(time.perf_counter() - begun)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
