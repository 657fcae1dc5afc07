"""A model card as a page for a browser, and as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from slipway.cli.card import WORDS, Card, Section

_STYLE: Final = """
:root { color-scheme: light dark; --line: light-dark(#d8dee4, #3a424b); --dim: light-dark(#59636e, #9aa4af); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1.2rem;
       background: light-dark(#fff, #14181d); color: light-dark(#1b1f24, #e6e9ec); }
h1 { font-size: 1.9rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.phase { font-size: .85rem; font-weight: 600; padding: .15rem .6rem; border-radius: 1rem; vertical-align: middle;
         border: 1px solid currentColor; margin-left: .6rem; white-space: nowrap; }
.Ready { color: light-dark(#1a7f37, #56d364); } .Failed, .Rejected { color: light-dark(#cf222e, #ff7b72); }
.Verifying, .AwaitingApproval, .Archived { color: light-dark(#9a6700, #e3b341); }
p { margin: .3rem 0; } .lead { color: var(--dim); }
.wide { overflow-x: auto; } table { border-collapse: collapse; min-width: min(100%, 28rem); font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line);
         overflow-wrap: break-word; }
th { font-weight: 600; color: var(--dim); white-space: nowrap; }
td.digest { font-family: ui-monospace, monospace; font-size: .8rem; overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; } }
"""


def html(card: Card) -> str:
    """One file without anything from elsewhere."""
    body = [
        f'<h1>{escape(card.title)}<span class="phase {escape(card.phase)}">{escape(card.phase)}</span></h1>',
        *(f'<p class="lead">{escape(line)}</p>' for line in card.lead),
        *_words(card),
        *(line for section in card.sections for line in _section(section)),
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(card.title)}</title><style>{_STYLE}</style></head><body>",
            *body,
            "</body></html>",
        ]
    )


def _words(card: Card) -> Iterator[str]:
    for key, title in WORDS.items():
        if texts := card.words.said.get(key):
            yield f"<h2>{title}</h2>"
            yield from (f"<p>{escape(text)}</p>" for text in texts)


def _section(section: Section) -> Iterator[str]:
    yield f'<h2>{escape(section.title)}</h2>\n<div class="wide"><table>'
    if section.head:
        yield f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in section.head)}</tr>"
    for row in section.rows:
        first, *rest = row
        cells = "".join(f"<td{_kind(cell)}>{escape(cell)}</td>" for cell in rest)
        yield f"<tr><th>{escape(first)}</th>{cells}</tr>"
    yield "</table></div>"


def _kind(cell: str) -> str:
    return ' class="digest"' if len(cell) >= 40 and " " not in cell and "/" not in cell else ""


def markdown(card: Card) -> str:
    """For a repository or a review."""
    lines = [f"# {card.title}", "", f"**{card.phase}.** {' '.join(_plain(line) for line in card.lead)}", ""]
    for key, title in WORDS.items():
        if texts := card.words.said.get(key):
            lines += [f"## {title}", "", *(text for said in texts for text in (said, ""))]
    for section in card.sections:
        width = len(section.rows[0])
        head = section.head or ("",) * width
        lines += [f"## {section.title}", "", _row(head), _row(("---",) * width), *map(_row, section.rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    """Text that stands in a table's cell as it is.

    >>> _plain("a|b <i>*")
    'a\\\\|b &lt;i&gt;\\\\*'
    """
    escaped = escape(text, quote=False).replace("\n", " ")
    for mark in ("\\", "|", "*", "_", "`", "["):
        escaped = escaped.replace(mark, f"\\{mark}")
    return escaped
