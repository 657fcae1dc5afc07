"""``make bench-shadow``: measure on the running cluster, and write docs/benchmarks-shadow.md. About 8 minutes."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from bench.shadow.measure import RATE, WITH, WITHOUT, Phase, phases
from bench.table import markdown
from tests.support.e2e import World, environment

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks-shadow.md"


def page(measured: list[Phase], seconds: float, when: datetime) -> str:
    """The page as Markdown."""
    head = ["requests", "side", "sent", "failed", "p50 ms", "p99 ms", "p50: with - without", "p99: with - without"]
    rows = []
    for phase in measured:
        for side in (WITHOUT, WITH):
            seen = phase.sides[side]
            last = side == WITH
            rows.append(
                [
                    "" if last else phase.name,
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
{seconds:g} s a row. In the rows "with a shadow" from the third run on every request is copied to a candidate, and the
candidate compares its answers with those that the clients got. In the first two runs neither has a shadow: they show
how far two equal Deployments are apart. In the next two the shadow shares two processors with all that the clients wait
for: Envoy, the stable server, and the clients themselves. In the last two it takes its processor from nobody, as on a
node with room or on another node: clients and stable servers have one processor, Envoy has the other, and the shadow
runs there as an idle task (`cpu.idle`). What mirroring itself costs the clients is the difference there; what it is
more in the two runs before is the price of the processor that the shadow takes from them.
Differences are in milliseconds, with their 95% intervals (bootstrap): an
interval that holds 0 is no difference that can be told from chance. Load average of the machine during the runs:
{loads}.

{markdown(head, rows)}

## What it comes to

{chr(10).join(f"- {sentence(phase)}" for phase in measured[2:])}

What is left on spare processor lies on the request's own way: Envoy sends it twice, from the thread that the client
waits for, and the stable server keeps its answer for a while. The two were not measured apart.
"""


def sentence(phase: Phase) -> str:
    """Whether the difference of a run can be told from chance, in words."""
    p50, p99 = (_told(found) for found in (phase.p50, phase.p99))
    return f"{phase.name}: at p50 {p50}; at p99 {p99}."


def _told(found: tuple[float, float, float]) -> str:
    difference, low, high = found
    if low <= 0 <= high:
        return "no difference that can be told from chance"
    return f"{abs(difference):.2f} ms {'more' if difference > 0 else 'less'} ({low:+.2f} to {high:+.2f})"


def _interval(found: tuple[float, float, float]) -> str:
    return f"{found[0]:+.2f} ({found[1]:+.2f} to {found[2]:+.2f})"


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
