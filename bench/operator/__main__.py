"""``make bench-operator ARGS="[SIZE ...]"``: measure, and write docs/benchmarks-operator.md. About 20 minutes."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.operator.measure import Level, levels
from tests.support.control_plane import control_plane

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks-operator.md"
ROWS = (
    ("resident memory, everything reconciled (MiB)", "memory"),
    ("highest resident memory on the way there (MiB)", "peak"),
    ("resident memory of a process started with all of it there (MiB)", "restarted_memory"),
    ("its highest (MiB)", "restarted_peak"),
    ("from its start until it has looked at every object (s)", "restart_seconds"),
    ("from the first TrainingRun created to the last Job (s)", "jobs_seconds"),
    ("from the first ModelVersion created to the last that is Ready (s)", "verified_seconds"),
    ("from the first Deployment created to the last workload (s)", "workloads_seconds"),
    ("from one TrainingRun to its Job, all else at rest, median of 20 (s)", "first_child_p50"),
    ("processor time in a minute of nothing (s)", "idle_cpu_a_minute"),
    ("requests in that minute, but for watches and the Lease", "idle_requests_a_minute"),
    ("of these, writes", "idle_writes_a_minute"),
    ("load average of the machine, all that ran there", "load"),
)


def page(measured: list[Level], when: datetime) -> str:
    """The page as Markdown."""
    cpu = next(
        (
            line.split(": ")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "?",
    )
    head = ["objects of each kind", *(f"{level.objects:,}" for level in measured)]
    rows = [[words, *(f"{asdict(level)[name]:,}" for level in measured)] for words, name in ROWS]
    table = "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] + ["---:"] * len(measured), *rows])
    return f"""# What the operator costs

Made by `make bench-operator` on {when:%Y-%m-%d}: a real etcd, kube-apiserver and kube-controller-manager without
a kubelet, and one replica of the operator with 4 workers, all on the same {os.cpu_count()} cores ({cpu}), Python
{platform.python_version()}. What one object of each kind stands for is written in `bench/operator/measure.py`; the
limits that the operator is held to are in `tests/scale/limits.json`.

{table}
What is created in these times is created through the same API server on the same cores, so the times are those of a
whole control plane and not of the operator alone; on a machine that is busy with other things they are longer. Memory,
requests and writes do not depend on that. A row of writes that is not 0 is a defect.
"""


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.operator", description=__doc__)
    parser.add_argument(
        "sizes", nargs="*", type=int, default=[0, 100, 1000], metavar="SIZE", help="objects of each kind"
    )
    parser.add_argument("--json", action="store_true", help="print the measurements and leave the page as it is")
    chosen = parser.parse_args()

    def say(words: str) -> None:
        print(f"  {words}", file=sys.stderr, flush=True)

    measured = []
    with control_plane() as cluster:
        for level in levels(cluster, tuple(sorted(chosen.sizes)), say):
            say(json.dumps(asdict(level)))
            measured.append(level)
            if not chosen.json:  # after each level: the last one takes long
                PAGE.write_text(page(measured, datetime.now(UTC)), encoding="utf-8")
    print(json.dumps([asdict(level) for level in measured], indent=1) if chosen.json else PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
