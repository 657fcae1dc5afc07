"""``make bench-shadow``: measure on the running cluster, and write docs/benchmarks-shadow.md. About 13 minutes."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.shadow.measure import (
    EVERY,
    FEW,
    NOBODY,
    NOTHING,
    RATE,
    SHARED,
    SOME,
    WITH,
    WITHOUT,
    Difference,
    Phase,
    phases,
)
from bench.table import markdown
from tests.support.e2e import World, environment

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks-shadow.md"


def page(measured: list[Phase], seconds: float, when: datetime) -> str:
    """The page as Markdown."""
    head = ["", "asked", "side", "sent", "failed", "p50 ms", "p99 ms", "p50: with - without", "p99: with - without"]
    rows = []
    for phase in measured:
        for side in (WITHOUT, WITH):
            seen = phase.sides[side]
            last = side == WITH
            rows.append(
                [
                    "" if last else phase.kind,
                    "" if last else phase.asked,
                    side,
                    f"{seen.requests:,}",
                    f"{seen.failed}",
                    f"{seen.p50:.2f}",
                    f"{seen.p99:.1f}",
                    _interval(phase.p50) if last else "",
                    _interval(phase.p99) if last else "",
                ]
            )
    loads = ", ".join(f"{phase.load[0]:.1f}" for phase in measured)
    return f"""# What a shadow costs the clients

Made by `make bench-shadow` on {when:%Y-%m-%d}: two Deployments of the same model behind one Envoy on the local
cluster, one replica each, asked in turn by one load, {RATE:g} requests a second each (large ones: {RATE / 4:g}),
{seconds:g} s a row. One of them has a shadow, which compares its answers with those that the clients got.

- *{NOBODY}*: how far two equal Deployments are apart.
- *{SHARED}*: the shadow takes its processor from all that the clients wait for: Envoy, the stable server, and
  the clients themselves, on two processors.
- *{EVERY}*: the shadow takes its processor from nobody, as on a node with room or on another node. Clients and stable
  servers have one processor, Envoy has the other, and the shadow runs there as an idle task (`cpu.idle`). So it is
  from here on.
- *{SOME}*: `percent: {FEW}`.
- *{NOTHING}*: the mirror is taken out of the route. The requests stay buffered, and the shadow goes on asking the
  stable server, which goes on keeping its answers: what is gone is Envoy's second sending, and nothing else.

Differences are in milliseconds, with their 95% intervals (bootstrap): an interval that holds 0 is no difference that
can be told from chance. Load average of the machine during the runs: {loads}.

{markdown(head, rows)}

## What it comes to

{chr(10).join(f"- {line}" for line in verdicts(measured))}

{textwrap.fill(closing(measured), 120)}
"""


def closing(measured: list[Phase]) -> str:
    """Whose the costs are, and what buffering, and keeping answers for the comparison, cost without any copy."""
    told = "; ".join(f"{_told(phase.p50)} for {phase.asked}" for phase in measured if phase.kind == NOTHING)
    return (
        "On spare processor what a shadow costs is Envoy's second sending: it is on the one thread that the client "
        "waits for, and we know of no setting that takes it off there. All the rest (buffering, and keeping "
        f"answers for the comparison) costs, at p50, {told}. Who cannot spare the second sending has a part of the "
        "requests copied (`percent`): the others pay nothing, and the comparison takes longer by as much."
    )


def verdicts(measured: list[Phase]) -> Iterator[str]:
    """Of each run with a shadow, whether the difference can be told from chance, in words."""
    without = {phase.asked: phase for phase in measured if phase.kind == NOTHING}
    for phase in measured:
        if phase.kind == NOBODY:
            continue
        line = f"{phase.asked}, {phase.kind}: at p50 {_told(phase.p50)}; at p99 {_told(phase.p99)}."
        if phase.kind in (EVERY, SOME):
            base = without[phase.asked]
            p50, p99 = (_told(a.beyond(b)) for a, b in ((phase.p50, base.p50), (phase.p99, base.p99)))
            line += f" Beyond what is there with nothing copied: at p50 {p50}; at p99 {p99}."
        yield line


def _told(found: Difference) -> str:
    low, high = found.interval
    if low <= 0 <= high:
        return "nothing that can be told from chance"
    return f"{abs(found.value):.2f} ms {'more' if found.value > 0 else 'less'} ({low:+.2f} to {high:+.2f})"


def _interval(found: Difference) -> str:
    low, high = found.interval
    return f"{found.value:+.2f} ({low:+.2f} to {high:+.2f})"


def main() -> None:
    """Run all, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.shadow", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="length of each run")
    parser.add_argument("--print", action="store_true", help="print the page, write nothing")
    given = parser.parse_args()
    text = page(phases(World(environment()), given.seconds), given.seconds, datetime.now(UTC))
    print(text)
    if not given.print:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
