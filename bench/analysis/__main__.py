"""``python -m bench.analysis [--quick] [--only WORDS] [--markdown FILE]``: simulate, print a table, hold promises."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from bench.analysis import RULES, Played, play_named
from bench.analysis.cases import cases
from bench.analysis.others import ABORTED, PROMOTED, UNDECIDED
from bench.table import Report

BEGIN, END = "<!-- make bench-analysis: begin -->", "<!-- make bench-analysis: end -->"


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.analysis", description=__doc__)
    parser.add_argument("--rollouts", type=int, default=2000, help="simulated rollouts of each case (default: 2000)")
    parser.add_argument("--quick", action="store_true", help="60 rollouts; the promises are too coarse to hold it to")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--markdown", type=Path, help="write the tables into this page, between its two marks")
    given = parser.parse_args(arguments)
    rollouts = 60 if given.quick else given.rollouts
    chosen = [case.name for case in cases() if given.only in case.name]
    began = time.monotonic()
    if given.jobs == 1:
        played = [play_named(name, rollouts, given.seed) for name in chosen]
    else:
        with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
            played = list(pool.map(partial(play_named, rollouts=rollouts, seed=given.seed), chosen))
    report = table(played, rollouts, given.seed)
    print(report.text(), flush=True)
    print(f"{time.monotonic() - began:.0f} s with {given.jobs} processes.")
    if given.markdown is not None:
        page = given.markdown.read_text(encoding="utf-8")
        before, after = page[: page.index(BEGIN) + len(BEGIN)], page[page.index(END) :]
        given.markdown.write_text(f"{before}\n\n{report.text()}\n{after}", encoding="utf-8")
    for sentence in report.missed:
        print(f"BROKEN: {sentence}", file=sys.stderr)
    return 1 if report.missed and not given.quick else 0


def table(played: list[Played], rollouts: int, seed: int) -> Report:
    """As in docs/analysis.md."""
    report = Report(f"{rollouts:,} simulated rollouts of each case, seed {seed}")
    rows = []
    for one in played:
        for rule in RULES:
            outcome = one.outcomes[rule]
            first = rule == RULES[0]
            requests, times = (
                [outcome.percentile(of, q) for q in (50, 95)] for of in (outcome.requests, outcome.second)
            )
            rows.append(
                [
                    one.name if first else "",
                    rule,
                    *(f"{100 * outcome.share(verdict):.1f}" for verdict in (ABORTED, PROMOTED, UNDECIDED)),
                    _pair(requests, _count),
                    _pair(times, _time),
                    *(_beside(requests, one.best, _count) if first else ("", "")),
                    *(_beside(times, one.best_time, _time) if first else ("", "")),
                ]
            )
        for sentence, met in one.promises:
            report.bar(sentence, met)
    report.table(
        "Requests are the candidate's, until the verdict; median and 95th percentile of the rollouts that got one.",
        [
            *("case", "rule", "aborted %", "promoted %", "undecided %", "requests", "time"),
            *("fewest requests", "ours / fewest", "shortest time", "ours / shortest"),
        ],
        rows,
    )
    apart = [one for one in played if one.name.startswith("equal versions in the morning")]
    if apart:
        report.blocks.append(
            "Counted together, without regard to when a request came: "
            + "; ".join(
                f"{o.name.split(':')[0].split(',')[0]}: stable {o.pooled[0]:.2%}, candidate {o.pooled[1]:.2%}"
                for o in apart
            )
            + "."
        )
    return report


def _pair(of: list[float | None], form: Callable[[float], str]) -> str:
    return "" if None in of else " / ".join(form(value) for value in of if value is not None)


def _beside(of: list[float | None], best: float | None, form: Callable[[float], str]) -> tuple[str, str]:
    """The best possible, and how many times as much the median and the 95th percentile are."""
    if not best:
        return "", ""
    return form(best), _pair([value and value / best for value in of], lambda value: f"{value:.2f}")


def _count(n: float) -> str:
    return f"{n:,.0f}"


def _time(seconds: float) -> str:
    """
    >>> _time(59), _time(600), _time(36000)
    ('59 s', '10 min', '10.0 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    sys.exit(main())
