"""The words of the command line that many commands share. Imported for ``--help`` too, so it loads nothing of ours."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer


class Output(StrEnum):
    """``-o`` of lists and views."""

    TEXT = "text"
    WIDE = "wide"
    JSON = "json"


class GraphOutput(StrEnum):
    """``-o`` of lineage."""

    TREE = "tree"
    JSON = "json"
    DOT = "dot"


class DataOutput(StrEnum):
    """``-o`` of answers that are no list."""

    TEXT = "text"
    JSON = "json"


class CardOutput(StrEnum):
    """``-o`` of a model card."""

    MD = "md"
    HTML = "html"
    JSON = "json"


def completer(of: str) -> Any:
    """Completes the names of models, versions, runs or Deployments, as the user's kubeconfig shows them."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from slipway.cli.complete import names

        return names(of, ctx.params, incomplete)

    return complete


Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help="The namespace; that of your kubeconfig's context where absent.",
        show_default=False,
    ),
]
Everywhere = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.", show_default=False)]
Context = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="A context of the kubeconfig.", show_default=False)
]
Kubeconfig = Annotated[
    str | None, typer.Option("--kubeconfig", metavar="FILE", help="Another kubeconfig.", show_default=False)
]
Format = Annotated[Output, typer.Option("--output", "-o", help="wide shows more columns, json is for programs.")]
Graph = Annotated[GraphOutput, typer.Option("--output", "-o", help="json and dot are for programs.")]
Data = Annotated[DataOutput, typer.Option("--output", "-o", help="json is for programs.")]
Limit = Annotated[int, typer.Option("--limit", "-L", min=0, help="The newest so many; 0 for all.")]
AModel = Annotated[str, typer.Argument(metavar="MODEL", autocompletion=completer("models"), show_default=False)]
AVersion = Annotated[
    str,
    typer.Argument(
        metavar="VERSION",
        help="A ModelVersion, or MODEL@ALIAS for the one that holds the alias.",
        autocompletion=completer("modelversions"),
        show_default=False,
    ),
]
ARun = Annotated[str, typer.Argument(metavar="RUN", autocompletion=completer("trainingruns"), show_default=False)]
ADeployment = Annotated[
    str, typer.Argument(metavar="DEPLOYMENT", autocompletion=completer("deployments"), show_default=False)
]
