"""``make bench-registry``: measure, and write docs/benchmarks-registry.md. About 20 minutes.

1,000 models, which are 10,000 versions, are the size that is promised; fewer are for trying. PostgreSQL has to be on
the machine (``apt-get install postgresql``); nothing of it need run.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from bench.registry.content import VERSIONS
from bench.registry.measure import measure
from bench.registry.page import page

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks-registry.md"
OVER = 90 * 60
"""Seconds after which it is given up, whatever it does."""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.registry", description=__doc__)
    parser.add_argument("--models", type=int, default=1000, help=f"each has {VERSIONS} versions (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=7, help="of each question (default: %(default)s)")
    parser.add_argument("--print", action="store_true", help="print the page, write nothing")
    given = parser.parse_args()
    begun = datetime.now(UTC)

    def say(words: str) -> None:
        print(f"  {(datetime.now(UTC) - begun).seconds:5} s  {words}", file=sys.stderr, flush=True)

    def stop(number: int, _: object) -> NoReturn:
        # As an exception, so that everything is taken down on its way.
        sys.exit(f"it took longer than {OVER // 60} minutes" if number == signal.SIGALRM else 128 + number)

    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, stop)
    signal.alarm(OVER)
    figures = measure(given.models, given.repeat, say)
    say(json.dumps(asdict(figures)))
    text = page(figures, begun)
    print(text)
    if not given.print:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
