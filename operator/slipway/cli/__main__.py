"""``kubectl slipway``: the program."""

from __future__ import annotations

import os
import sys

from slipway.cli.app import app
from slipway.cli.errors import Stop


def main() -> None:
    """Run a command; what it cannot do is one sentence on standard error, and the exit status is not 0."""
    try:
        app(prog_name="kubectl slipway")
    except Stop as stop:
        sys.stderr.write(f"kubectl slipway: {stop}\n")
        sys.exit(stop.status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader has seen enough (`| head`); Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
