"""An answer about lineage as a tree of nodes; the same for people, as JSON and as DOT. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slipway.cli.show import style

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree


@dataclass(frozen=True)
class Node:
    """A thing in the lineage.

    Attributes:
        name: its name in the cluster, or its digest.
        title: what a person calls it; its name where empty.
        words: what a person is told behind the title; words that judge (a phase) are coloured.
        facts: what a machine is told.
        details: lines below it that are no nodes: (what, text).
    """

    kind: str
    name: str
    namespace: str = ""
    title: str = ""
    words: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    details: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """Unlike that of any other node.

        >>> Node("ModelVersion", "digits-v1", "team").key
        'ModelVersion/team/digits-v1'
        """
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


@dataclass(frozen=True)
class Branch:
    """A node with what hangs on it.

    Attributes:
        label: how a person reads the link to the node above.
        relation: how the one that comes first in the flow of data relates to the other.
        upstream: this node comes before the node above it; else after it.
    """

    node: Node
    label: str = ""
    relation: str = ""
    upstream: bool = True
    branches: tuple[Branch, ...] = ()


@dataclass(frozen=True)
class Edge:
    """From what comes first to what came of it."""

    source: str
    target: str
    relation: str


def walk(roots: tuple[Branch, ...]) -> Iterator[tuple[Branch | None, Branch]]:
    """Every branch with the one above it."""
    todo: list[tuple[Branch | None, Branch]] = [(None, root) for root in reversed(roots)]
    while todo:
        above, branch = todo.pop()
        yield above, branch
        todo += [(branch, below) for below in reversed(branch.branches)]


def nodes(roots: tuple[Branch, ...]) -> list[Node]:
    """Each once, in the order of the tree; of two accounts of one thing the one that says more."""
    found: dict[str, Node] = {}
    for _, branch in walk(roots):
        old = found.get(branch.node.key)
        if old is None or len(branch.node.facts) > len(old.facts):
            found[branch.node.key] = branch.node
    return list(found.values())


def edges(roots: tuple[Branch, ...]) -> list[Edge]:
    """Each once, in the direction in which data flow."""
    found: dict[Edge, None] = {}
    for above, branch in walk(roots):
        if above is not None:
            ends = (branch.node.key, above.node.key) if branch.upstream else (above.node.key, branch.node.key)
            found[Edge(*ends, branch.relation)] = None
    return list(found)


def as_json(roots: tuple[Branch, ...]) -> dict[str, Any]:
    """Nodes and edges."""
    return {
        "nodes": [
            {"id": n.key, "kind": n.kind, "name": n.name}
            | ({"namespace": n.namespace} if n.namespace else {})
            | dict(n.facts)
            for n in nodes(roots)
        ],
        "edges": [{"from": e.source, "to": e.target, "relation": e.relation} for e in edges(roots)],
    }


_SHAPES = {
    "ModelVersion": "box",
    "Deployment": "component",
    "TrainingRun": "ellipse",
    "Data": "cylinder",
    "Code": "note",
}


def as_dot(roots: tuple[Branch, ...]) -> str:
    """A digraph in the DOT language, for example for ``dot -Tsvg``."""
    lines = ["digraph lineage {", '  graph [rankdir="LR"];', '  node [fontname="sans-serif"];']
    for node in nodes(roots):
        label = "\n".join([node.kind, node.title or node.name, *node.words])
        lines.append(f"  {_quoted(node.key)} [label={_quoted(label)}, shape={_SHAPES.get(node.kind, 'box')}];")
    lines += [
        f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [label={_quoted(edge.relation)}];" for edge in edges(roots)
    ]
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    r"""A quoted ID of DOT, in which only the quote is escaped; a backslash is doubled for labels.

    >>> print(_quoted('a "b"\nc'))
    "a \"b\"\nc"
    """
    return json.dumps(text, ensure_ascii=False)


def as_tree(root: Branch) -> Tree:
    """For people. What hangs on a node is drawn once."""
    from rich.tree import Tree

    made = Tree(_line(root), guide_style="dim")
    _grow(made, root, set())
    return made


def _grow(tree: Tree, branch: Branch, drawn: set[str]) -> None:
    drawn.add(branch.node.key)
    for what, text in branch.node.details:
        tree.add(_detail(what, text))
    for below in branch.branches:
        again = below.node.key in drawn and bool(below.branches)
        line = _line(below)
        if again:
            line.append("  (see above)", "dim")
            tree.add(line)
        else:
            _grow(tree.add(line), below, drawn)


def _line(branch: Branch) -> Text:
    from rich.text import Text

    line = Text(overflow="fold")
    if branch.label:
        line.append(f"{branch.label} ", "dim")
    line.append(branch.node.title or branch.node.name, "bold")
    for word in branch.node.words:
        line.append("  ")
        line.append(word, style(word))
    return line


def _detail(what: str, text: str) -> Text:
    from rich.text import Text

    return Text.assemble((f"{what} ", "dim"), text, overflow="fold")
