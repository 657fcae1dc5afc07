"""What kubectl asks when a person presses Tab behind ``kubectl slipway``: the program ``kubectl_complete-slipway``.

It answers as kubectl's own completion does (cobra): one word a line with its help behind a tab, and at last a
directive; 4 means that file names are no answer.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

_NO_FILES: Final = ":4"
_MOST: Final = 500
"""Names that are read for one Tab: a person does not choose among more."""


def names(of: str, given: Mapping[str, Any], begun: str) -> list[str]:
    """Names of objects that begin so; none where they cannot be read: a Tab is no place for a complaint."""
    from slipway.cli.client import RUNS, VERSIONS, Cluster, Resource
    from slipway.cli.errors import Stop

    try:
        api = Cluster(given.get("kubeconfig"), given.get("context"))
        resource = {"trainingruns": RUNS, "modelversions": VERSIONS, "models": VERSIONS}.get(of, Resource(of))
        rows = api.table(resource, given.get("namespace") or api.namespace, most=_MOST)
    except Stop:
        return []
    found = {row.text("Model") if of == "models" else row.name for row in rows}
    return sorted(name for name in found if name.startswith(begun))


def words(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """What may stand in the place of the last of these words, each with its help."""
    import typer.main

    # typer has its own copy of click, and no public way to ask for completions but by a shell's script.
    from typer._completion_classes import BashComplete

    from slipway.cli.app import app

    *before, begun = arguments or [""]
    asked = BashComplete(typer.main.get_command(app), {}, "kubectl slipway", "")
    return [(item.value, item.help or "") for item in asked.get_completions(before, begun)]


def main() -> None:
    """Answer kubectl."""
    for word, help_ in words(sys.argv[1:]):
        sys.stdout.write(f"{word}\t{help_.splitlines()[0]}\n" if help_ else f"{word}\n")
    sys.stdout.write(f"{_NO_FILES}\n")


if __name__ == "__main__":
    main()
