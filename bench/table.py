"""What a benchmark gives back: tables to read, figures to keep, and the bars it was held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """``figures`` goes into the JSON file; ``bars`` are (sentence, met)."""

    title: str
    figures: dict[str, Any] = field(default_factory=dict)
    blocks: list[str] = field(default_factory=list)
    bars: list[tuple[str, bool]] = field(default_factory=list)
    closing: str = ""
    """Markdown after the bars: what the figures are worth."""

    def table(self, caption: str, header: list[str], rows: list[list[str]]) -> None:
        """Add a Markdown table."""
        self.blocks.append(f"{caption}\n\n{markdown(header, rows)}")

    def bar(self, sentence: str, met: bool) -> None:
        """Add a bar and whether it was met."""
        self.bars.append((sentence, met))
        self.figures.setdefault("bars", []).append({"bar": sentence, "met": met})

    @property
    def missed(self) -> list[str]:
        """The bars that were not met."""
        return [sentence for sentence, met in self.bars if not met]

    def text(self) -> str:
        """The report as Markdown."""
        bars = [f"- {'met' if met else 'MISSED'}: {sentence}" for sentence, met in self.bars]
        parts = [f"## {self.title}", *self.blocks, "\n".join(bars), self.closing]
        return "\n\n".join(part for part in parts if part) + "\n"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns line up.

    >>> print(markdown(["a", "b"], [["1", "22"]]))
    | a | b  |
    | - | -- |
    | 1 | 22 |
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * w for w in widths], *rows]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)
