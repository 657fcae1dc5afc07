"""``python -m bench [--only NAME] [--quick] [--output FILE]``: run the benchmarks, print tables, write JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import serving
from bench.table import Report

SECTIONS: dict[str, Callable[[bool], Report]] = {
    "serving": serving.run,
}
"""Name -> what measures it; ``quick`` makes it shorter and noisier."""


def main() -> int:
    """Exit status 1 if a bar was missed (never with ``--quick``, whose figures decide nothing)."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(SECTIONS), action="append", help="this section (default: all)")
    parser.add_argument("--quick", action="store_true", help="shorter and noisier; decides nothing")
    parser.add_argument("--output", type=Path, help="write all figures as JSON")
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    missed: list[str] = []
    for name in given.only or sorted(SECTIONS):
        report = SECTIONS[name](given.quick)
        print(report.text(), flush=True)
        figures[name] = report.figures
        missed += report.missed
    if given.output is not None:
        given.output.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for sentence in missed:
        print(f"MISSED: {sentence}", file=sys.stderr)
    return 1 if missed and not given.quick else 0


if __name__ == "__main__":
    sys.exit(main())
