"""What the figures of one run are worth, in words: of that run, and of nothing else. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

QUIET = 1.0
"""Load average of the last minute before a run, below which its bars decide."""


def busy(load_before: Sequence[float]) -> str:
    """What has to stand at the top of a page whose run had not the machine to itself; empty if it had."""
    if load_before[0] < QUIET:
        return ""
    return (
        f"**The machine was not quiet: its load average was {load_before[0]:.1f} before this run, and only below "
        f"{QUIET:g} a run decides. Rates, p99 and missed bars may be owed to what else ran.**\n"
    )


def words(figures: Mapping[str, Any], *, quick: bool) -> str:
    """The section that ends the report of ``bench.serving``, by its figures."""
    return "\n\n".join(["### What these figures are worth", " ".join(_run(figures, quick)), *_heavy(figures)])


def _run(figures: Mapping[str, Any], quick: bool) -> Iterator[str]:
    load = figures["machine"]["load_before"][0]
    if quick:
        yield "This was a run with `--quick`, which is short and decides nothing."
    elif load < QUIET:
        yield f"The load average was {load:.1f} before the run, so its bars decide."
    else:
        yield (
            f"The load average was {load:.1f} before the run: other work had a part of the same cores, so no bar that "
            "was missed here decides. Ratios within a round and processor time suffer less from that than rates do."
        )
    bars = figures["bars"]
    met = sum(bar["met"] for bar in bars)
    yield f"All {len(bars)} bars were met." if met == len(bars) else f"{met} of {len(bars)} bars were met."


def _heavy(figures: Mapping[str, Any]) -> Iterator[str]:
    for where, seen in figures["heavy"].items():
        shares = [o["load"]["rate"] / rate for o, (rate, _) in zip(seen["ours"], seen["bare"], strict=True)]
        bare = 1000 * statistics.median(cpu for _, cpu in seen["bare"])
        extra = 1000 * statistics.median(o["cpu"] for o in seen["ours"]) - bare
        told = (
            f"Heavy model, {where}: {_percent(seen['share'])} of bare `run`, {_spread(shares)}; by processor time of "
            f"the server alone {_percent(seen['cpu_share'])}. A request took {abs(extra):.1f} ms of it "
            f"{'more' if extra >= 0 else 'less'} than a run, which took {bare:.1f} ms."
        )
        if min(shares) < 0.95 <= max(shares):
            told += " The bar of 95% lies within that spread: another run may come out on its other side."
        if beside := seen.get("beside"):
            others = [o["load"]["rate"] / b["rate"] for o, b in zip(seen["ours"], beside, strict=True)]
            asked = statistics.median(b["load"]["rate"] for b in beside)
            rate = statistics.median(b["rate"] for b in beside)
            told += (
                f" Bare `run` had these cores for itself, the server had not: the load came out of them too. Beside a "
                f"program that reads the same {figures['body_bytes'] / 1000:,.0f} kB a request, {asked:.1f} times a "
                f"second, and does nothing with them, bare `run` came to {rate:.1f} a second, and the server to "
                f"{_percent(seen['share_beside'])} of that, {_spread(others)}. No bar is held against this share."
            )
        yield told


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _spread(shares: Iterable[float]) -> str:
    """
    >>> _spread([0.95, 0.941, 0.96])
    'from 94.1% to 96.0% in the 3 rounds'
    """
    found = list(shares)
    return f"from {_percent(min(found))} to {_percent(max(found))} in the {len(found)} rounds"
