"""How answers look: plain columns and trees, coloured on a terminal, whole and without colour in a pipe."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from slipway.api.common import duration, parse_time

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

_BOUNDLESS: Final = 1_000_000
_GAP: Final = 2
_GOOD: Final = frozenset({"Ready", "Healthy", "Succeeded", "Promoted", "Approved", "Identical", "NoHarm", "yes"})
_BAD: Final = frozenset({"Failed", "Degraded", "Rejected", "Aborted", "Different", "Harm", "no"})
_BUSY: Final = frozenset(
    {"Running", "Queued", "Progressing", "Verifying", "Checking", "AwaitingApproval", "Paused", "WithinTolerance"}
)
_QUIET: Final = frozenset({"Archived", "Superseded", "Suspended"})


def console(*, errors: bool = False) -> Console:
    """Standard output (or error) as rich knows it; in a pipe nothing is wrapped or cut."""
    from rich.console import Console

    made = Console(stderr=errors, highlight=False, emoji=False, markup=False)
    if not made.is_terminal:
        made.width = _BOUNDLESS
    return made


def style(word: str) -> str:
    """The colour of a word that judges; no colour for any other."""
    for words, colour in ((_GOOD, "green"), (_BAD, "red"), (_BUSY, "yellow"), (_QUIET, "dim")):
        if word in words:
            return colour
    return ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> list[Text]:
    """Lines of left-aligned columns.

    Args:
        width: cells of a terminal; the last column is cut there. None: nothing is cut.
    """
    from rich.cells import cell_len
    from rich.text import Text

    # A column in which nobody has anything to say is left out.
    used = [i for i, _ in enumerate(heads) if any(row[i] for row in rows)]
    wide = [max(cell_len(line[i]) for line in (heads, *rows)) for i in used]
    lines = []
    for number, row in enumerate((heads, *rows)):
        if number == 0 and not any(heads):
            continue
        line = Text(no_wrap=True)
        for place, i in enumerate(used):
            last = place == len(used) - 1
            cell = row[i] if last else row[i] + " " * (wide[place] - cell_len(row[i]) + _GAP)
            line.append(cell, "bold" if number == 0 else style(row[i]))
        line.rstrip()
        if width is not None:
            line.truncate(width, overflow="ellipsis")
        lines.append(line)
    return lines


def say_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, cut: bool = True) -> None:
    """A table to standard output, its lines cut at the edge of a terminal where that is asked for."""
    out = console()
    for line in table(heads, rows, out.width if cut and out.is_terminal else None):
        out.print(line, soft_wrap=True)


def say_json(value: Any) -> None:
    """JSON to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def say(line: str | Text) -> None:
    """A line to standard output."""
    console().print(line, soft_wrap=True)


def note(line: str) -> None:
    """A line to standard error: what a program that reads the output must not see."""
    console(errors=True).print(line, soft_wrap=True, style="dim")


def short(digest: str | None) -> str:
    """A digest as people compare it.

    >>> short("sha256:" + "0123456789abcdef" * 4)
    'sha256:0123456789ab'
    """
    if not digest:
        return "unknown"
    name, _, rest = digest.rpartition(":")
    return f"{name}:{rest[:12]}" if name else rest[:12]


def size(count: int) -> str:
    """Bytes for people.

    >>> size(999), size(265_284), size(5 * 10**9)
    ('999 B', '265 kB', '5.0 GB')
    """
    if count < 1000:
        return f"{count} B"
    value, unit = count / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def plural(count: int, noun: str) -> str:
    """
    >>> plural(1, "version"), plural(12_000, "version")
    ('1 version', '12,000 versions')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def moment(text: str | None) -> str:
    """A time of the API for people: UTC, without the T.

    >>> moment("2026-11-22T02:58:24Z")
    '2026-11-22 02:58:24'
    """
    return text.replace("T", " ").removesuffix("Z") if text else "?"


def took(begun: str | None, ended: str | None) -> str:
    """How long something took, empty where that is not known.

    >>> took("2026-11-22T02:58:24Z", "2026-11-22T02:58:42Z")
    '18s'
    """
    if not begun or not ended:
        return ""
    return duration(max(timedelta(), parse_time(ended) - parse_time(begun)).total_seconds())


def age(text: str, now: datetime) -> str:
    """How long ago, in its largest unit or two, as kubectl says it.

    >>> from datetime import UTC
    >>> age("2026-11-22T02:00:00Z", datetime(2026, 11, 24, 5, 0, tzinfo=UTC))
    '2d3h'
    """
    left = max(0, int((now - parse_time(text)).total_seconds()))
    # kubectl's HumanDuration: seconds matter for two minutes, minutes for three hours, hours for two days.
    if left < 120:
        return f"{left}s"
    if left < 3 * 3600:
        return duration(left) if left < 600 else duration(left // 60 * 60)
    if left < 8 * 86400:
        return duration(left // 3600 * 3600)
    return duration(left // 86400 * 86400)


_AGE: Final = re.compile(r"([0-9]+)(y|d|h|m|s)")
_SECONDS: Final = {"y": 365 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}


def age_seconds(text: str) -> int:
    """About how many seconds an age is that the API server wrote.

    >>> age_seconds("2d3h"), age_seconds("5m12s"), age_seconds("<unknown>")
    (183600, 312, 0)
    """
    return sum(int(number) * _SECONDS[unit] for number, unit in _AGE.findall(text))


def columns(pairs: Iterable[tuple[str, str]]) -> str:
    """Names with their values in one line."""
    return "  ".join(f"{name} {value}" for name, value in pairs)


def say_tree(tree: Tree) -> None:
    """A tree to standard output: folded at the edge of a terminal, whole in a pipe."""
    out = console()
    with out.capture() as drawn:
        out.print(tree)
    # rich fills lines up to the width, which in a pipe is none.
    for line in drawn.get().splitlines():
        sys.stdout.write(f"{line.rstrip()}\n")


def say_words(verdict: str, words: str) -> None:
    """A word that judges, in its colour, and what is said about it."""
    from rich.text import Text

    say(Text.assemble((verdict, style(verdict) or "yellow"), f"  {words}"))
