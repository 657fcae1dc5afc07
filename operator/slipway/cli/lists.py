"""The lists: models, the versions of one, runs. Pure: from rows that the API server made to tables and JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slipway.cli.client import Row
from slipway.cli.show import age_seconds


@dataclass(frozen=True)
class Server:
    """A Deployment that runs a version, and how much of its traffic that version has."""

    deployment: str
    version: str
    role: str
    percent: int


@dataclass(frozen=True)
class Version:
    """A ModelVersion as a list knows it."""

    name: str
    model: str
    number: int
    phase: str
    aliases: tuple[str, ...]
    run: str
    age: str
    digest: str
    message: str
    namespace: str
    servers: tuple[Server, ...] = ()
    promoted_from: str = ""
    """The namespace of the version of this name that it is a copy of; empty where it is none."""


@dataclass(frozen=True)
class ModelLine:
    """A model: what it has and what of it serves."""

    model: str
    versions: int
    newest: Version
    aliases: Mapping[str, str] = field(default_factory=dict)
    """alias -> version."""
    servers: tuple[Server, ...] = ()
    namespace: str = ""


def servers(rows: Iterable[Row], namespace: str | None) -> dict[tuple[str, str], tuple[Server, ...]]:
    """(namespace, version) -> who runs it, from the rows of the Deployments.

    Args:
        namespace: where the rows are from; None: their metadata say so.
    """
    found: dict[tuple[str, str], list[Server]] = defaultdict(list)
    for row in rows:
        candidate, weight = row.text("Candidate"), int(row.cells.get("Weight") or 0)
        where = namespace or row.meta["namespace"]
        # An operator of an earlier release wrote no role.
        sides = (("stable", row.text("Stable"), 100 - weight), (row.text("Role") or "candidate", candidate, weight))
        for role, version, percent in sides:
            if version:
                found[where, version].append(Server(row.name, version, role, percent))
    return {version: tuple(named) for version, named in found.items()}


def version(row: Row, served: Mapping[tuple[str, str], tuple[Server, ...]], namespace: str | None) -> Version:
    """A row of ``modelversions``, of a namespace or with its metadata."""
    where = namespace or row.meta["namespace"]
    return Version(
        name=row.name,
        model=row.text("Model"),
        number=int(row.cells.get("Version") or 0),
        phase=row.text("Phase"),
        aliases=tuple(json.loads(row.text("Aliases") or "[]")),
        run=row.text("Run"),
        age=row.text("Age"),
        digest=row.text("Digest"),
        message=row.text("Message"),
        namespace=where,
        servers=served.get((where, row.name), ()),
        promoted_from=row.text("From"),
    )


def models(versions: Iterable[Version]) -> list[ModelLine]:
    """The models of these versions, by name."""
    by_model: dict[tuple[str, str], list[Version]] = defaultdict(list)
    for one in versions:
        by_model[one.namespace, one.model].append(one)
    return [
        ModelLine(
            model=model,
            versions=len(found),
            newest=max(found, key=lambda v: v.number),
            aliases={alias: v.name for v in found for alias in v.aliases},
            servers=tuple(server for v in newest_first(found) for server in v.servers),
            namespace=namespace,
        )
        for (namespace, model), found in sorted(by_model.items())
    ]


def newest_first(versions: Iterable[Version]) -> list[Version]:
    """By number, the highest first."""
    return sorted(versions, key=lambda v: (v.namespace, v.model, -v.number))


def served_by(named: Sequence[Server]) -> str:
    """Who runs one version, in one cell.

    >>> served_by([Server("digits", "digits-v1", "stable", 90), Server("probe", "digits-v1", "candidate", 0)])
    'digits 90%, probe 0%'
    >>> served_by([Server("digits", "digits-v2", "shadow", 0)])
    'digits shadow'
    """
    return ", ".join(f"{s.deployment} {share(s)}" for s in named)


def share(server: Server) -> str:
    """What a version has of the traffic, in a cell: a shadow has none, and is not on its way to it."""
    return server.role if server.role == "shadow" else f"{server.percent}%"


def serving(named: Sequence[Server]) -> str:
    """What each Deployment runs, in one cell.

    >>> serving([Server("digits", "digits-v2", "candidate", 10), Server("digits", "digits-v1", "stable", 90)])
    'digits: v1 90%, v2 10%'
    >>> serving([Server("digits", "digits-v2", "shadow", 0), Server("digits", "digits-v1", "stable", 100)])
    'digits: v1 100%, v2 shadow'
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for s in sorted(named, key=lambda s: (s.deployment, -s.percent)):
        by_name[s.deployment].append(f"v{number(s.version)} {share(s)}")
    return "; ".join(f"{name}: {', '.join(versions)}" for name, versions in by_name.items())


def number(version: str) -> str:
    """
    >>> number("digits-v12")
    '12'
    """
    return version.rpartition("-v")[2]


def metrics(lineage: Mapping[str, Any], most: int | None = None) -> str:
    """The metrics of a lineage in one cell.

    >>> metrics({"metrics": [{"name": "accuracy", "value": "0.98"}, {"name": "loss", "value": "0.1"}]}, 1)
    'accuracy 0.98'
    """
    found = lineage.get("metrics") or []
    return ", ".join(f"{m['name']} {m['value']}" for m in found[:most])


def runs(rows: Iterable[Row]) -> list[Row]:
    """The newest first. By the age that the server wrote: it costs nothing, and nobody counts a run's seconds."""
    return sorted(sorted(rows, key=lambda r: r.name, reverse=True), key=lambda r: age_seconds(r.text("Age")))
