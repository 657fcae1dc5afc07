"""``make bench-data``: measure, and write docs/benchmarks-data.md. About 25 minutes, and 12 GB of disk."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.data import dvc
from bench.data.measure import Section, sections
from bench.table import markdown
from localcluster import paths
from tests.support.s3_server import s3_server

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks-data.md"


def page(made: list[Section], when: datetime) -> str:
    """The page as Markdown."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(": ")[1].strip() for line in lines if "model name" in line), "?")
    head = ["", "time (s)", "processor (s)", "memory (MiB)", "disk (MiB)", "load before"]
    blocks = []
    for section in made:
        rows = [
            [c.what, f"{c.seconds:,}", f"{c.cpu:,}", f"{c.memory:,.0f}", f"{c.disk:,.0f}", f"{c.load}"]
            for c in section.costs
        ]
        blocks.append(f"## {section.title}, {section.bytes / 1e9:.2f} GB\n\n{markdown(head, rows)}\n")
    return f"""# What a look at data costs, beside DVC

Made by `make bench-data` on {when:%Y-%m-%d}: CSV files in one S3 server (SeaweedFS) on the same {os.cpu_count()}
cores ({cpu}) as what reads them, Python {platform.python_version()}; DVC {dvc.VERSION} from PyPI in an environment of
its own. One command after the other, each a process of its own: its time, its processor time (the S3 server's is not
in it), the most memory it had (maximum resident set), and the most disk it had beside the S3 server. "Load before" is
the load average of the machine when it began: above 1, other work slowed it.

The two do different things with the same data. Slipway streams them from S3, keeps no copy, and takes a sha256 of each
file; with "profile and checks" it also parses every row. DVC's `import-url` downloads them from the same S3 server into
a workspace and a cache (hard links, so one copy) and takes MD5; `add` does the second half only, on files that lie on
its disk already. Neither profiles nor checks. "Nothing changed" is the same command once more.

{"".join(f"{block}{chr(10)}" for block in blocks).rstrip()}
"""


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.data", description=__doc__)
    parser.add_argument("--files", type=int, default=100_000, help="small files")
    parser.add_argument("--bytes", type=float, default=5e9, help="size of the large one")
    parser.add_argument("--print", action="store_true", help="print the page, write nothing")
    given = parser.parse_args()

    def say(words: str) -> None:
        print(f"  {words}", file=sys.stderr, flush=True)

    dvc.program()
    paths.cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.cache(), prefix="bench-data-") as folder, s3_server() as s3:
        text = page(sections(s3, Path(folder), given.files, int(given.bytes), say), datetime.now(UTC))
    print(text)
    if not given.print:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
