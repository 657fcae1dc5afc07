"""``python -m bench [--only NAME] [--quick] [--output FILE]``: run the benchmarks, print tables, write JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import serving
from bench.serving import worth
from bench.table import Report

SECTIONS: dict[str, Callable[[bool], Report]] = {
    "serving": serving.run,
}
"""Name -> what measures it; ``quick`` makes it shorter and noisier."""


HEAD = """\
# Benchmarks

Written by `make bench ARGS="--markdown docs/benchmarks.md"` on {date}. Everything in a table ran in turns in one go, so
what counts are the ratios and the processor time (CPU) of one request; the load averages tell how much else the machine
had to do. With other work on the cores rates and p99 say little, and the bars on them can be missed for that reason
alone: below a load average of 1 before the run they decide.
{busy}
"""


def page(when: datetime, texts: Sequence[str], loads: Sequence[tuple[float, ...]]) -> str:
    """The page: the sections' texts under a head that says when, and how busy the machine was at their beginnings."""
    busy = worth.busy(max(loads))
    return HEAD.format(date=when.date(), busy=f"\n{busy}" if busy else "") + "\n".join(texts)


def main() -> int:
    """Exit status 1 if a bar was missed (never with ``--quick``, whose figures decide nothing)."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(SECTIONS), action="append", help="this section (default: all)")
    parser.add_argument("--quick", action="store_true", help="shorter and noisier; decides nothing")
    parser.add_argument("--output", type=Path, help="write all figures as JSON")
    parser.add_argument("--markdown", type=Path, help="write the tables as a page, as docs/benchmarks.md is")
    given = parser.parse_args()
    texts: list[str] = []
    figures: dict[str, Any] = {}
    missed: list[str] = []
    loads: list[tuple[float, ...]] = []
    for name in given.only or sorted(SECTIONS):
        report = SECTIONS[name](given.quick)
        texts.append(report.text())
        print(texts[-1], flush=True)
        figures[name] = report.figures
        missed += report.missed
        loads.append(report.figures["machine"]["load_before"])
        if warning := worth.busy(loads[-1]):
            print(warning.replace("**", ""), file=sys.stderr)
    if given.output is not None:
        given.output.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    if given.markdown is not None:
        given.markdown.write_text(page(datetime.now(UTC), texts, loads), encoding="utf-8")
    for sentence in missed:
        print(f"MISSED: {sentence}", file=sys.stderr)
    return 1 if missed and not given.quick else 0


if __name__ == "__main__":
    sys.exit(main())
