"""The commands ``models``, ``versions`` and ``runs``."""

from __future__ import annotations

from dataclasses import asdict

from slipway.api.common import Label
from slipway.cli import lists, show
from slipway.cli.client import DEPLOYMENTS, RUNS, VERSIONS, Api, Row
from slipway.cli.errors import Forbidden, Stop
from slipway.cli.options import Output
from slipway.cli.reading import get, lineage_of, place


def models(api: Api, namespace: str | None, everywhere: bool, output: Output) -> None:
    """The models of a namespace, or of all."""
    where = place(api, namespace, everywhere)
    rows = api.table(VERSIONS, where, meta=everywhere)
    served = lists.servers(deployments(api, where), where)
    found = lists.models(lists.version(row, served, where) for row in rows)
    if output is Output.JSON:
        show.say_json([asdict(line) for line in found])
        return
    if not found:
        show.note(f"no model in {'any namespace' if where is None else f'the namespace {where}'}")
        return
    wide = output is Output.WIDE
    show.say_table(
        [
            "NAMESPACE",
            "MODEL",
            "VERSIONS",
            "NEWEST",
            "PHASE",
            "ALIASES",
            "SERVED BY",
            "AGE",
            *(["DIGEST"] if wide else []),
        ],
        [
            [
                line.namespace if everywhere else "",
                line.model,
                str(line.versions),
                line.newest.name,
                line.newest.phase,
                ", ".join(f"{alias}: v{lists.number(version)}" for alias, version in sorted(line.aliases.items())),
                lists.serving(line.servers),
                line.newest.age,
                *([line.newest.digest] if wide else []),
            ]
            for line in found
        ],
        cut=not wide,
    )


def versions(api: Api, namespace: str | None, model: str, limit: int, output: Output) -> None:
    """The versions of a model."""
    where = namespace or api.namespace
    selector = f"{Label.MODEL}={model}"
    served = lists.servers(deployments(api, where), where)
    rows = api.table(VERSIONS, where, selector=selector)
    found = lists.newest_first(lists.version(row, served, where) for row in rows)
    if not found:
        raise Stop(f"there is no version of a model {model} in the namespace {where}")
    shown = found[: limit or None]
    if limit and len(found) > limit:
        show.note(f"{limit} of {len(found)} versions: --limit 0 shows all")
        whole = [get(api, VERSIONS, where, v.name) for v in shown]
    else:
        whole = list(api.pages(VERSIONS, where, selector=selector))
    metrics = {o["metadata"]["name"]: lineage_of(o) for o in whole}
    if output is Output.JSON:
        show.say_json([asdict(v) | {"metrics": metrics.get(v.name, {}).get("metrics", [])} for v in shown])
        return
    wide = output is Output.WIDE
    show.say_table(
        ["VERSION", "PHASE", "ALIASES", "METRICS", "SERVED BY", "RUN", "AGE", *(["DIGEST", "MESSAGE"] if wide else [])],
        [
            [
                v.name,
                v.phase,
                ", ".join(v.aliases),
                lists.metrics(metrics.get(v.name, {}), None if wide else 2),
                lists.served_by(v.servers),
                v.run,
                v.age,
                *([v.digest, v.message] if wide else []),
            ]
            for v in shown
        ],
        cut=not wide,
    )


def runs(api: Api, namespace: str | None, everywhere: bool, model: str | None, limit: int, output: Output) -> None:
    """The training runs of a namespace, or of all."""
    where = place(api, namespace, everywhere)
    # Not by label: a run is a person's own object, and carries none of ours.
    rows = [r for r in api.table(RUNS, where, meta=everywhere) if model in (None, r.text("Model"))]
    found = lists.runs(rows)
    shown = found[: limit or None]
    if output is Output.JSON:
        show.say_json([_run(row) for row in shown])
        return
    if not shown:
        show.note(f"no run in {'any namespace' if where is None else f'the namespace {where}'}")
        return
    wide = output is Output.WIDE
    show.say_table(
        [
            "NAMESPACE",
            "RUN",
            "PHASE",
            "MODEL",
            "PROGRESS",
            "VERSION",
            "AGE",
            *(["ATTEMPTS"] if wide else []),
            "MESSAGE",
        ],
        [
            [
                row.meta.get("namespace", "") if everywhere else "",
                row.name,
                row.text("Phase") or "Pending",
                row.text("Model"),
                f"{row.text('Progress')}%" if row.text("Progress") else "",
                row.text("Version"),
                row.text("Age"),
                *([row.text("Attempts")] if wide else []),
                # What went well needs no words.
                row.text("Message") if wide or row.text("Phase") != "Succeeded" else "",
            ]
            for row in shown
        ],
        cut=not wide,
    )
    if len(shown) < len(found):
        show.note(f"{len(shown)} of {len(found)} runs")


def _run(row: Row) -> dict[str, object]:
    cells = {name[0].lower() + name[1:].replace(" ", ""): value for name, value in row.cells.items()}
    return ({"namespace": row.meta["namespace"]} if row.meta else {}) | cells


def deployments(api: Api, namespace: str | None) -> list[Row]:
    """The Deployments' rows; none, and a word about it, where the user may not read them."""
    try:
        return api.table(DEPLOYMENTS, namespace, meta=namespace is None)
    except Forbidden as stop:
        show.note(f"what serves is not shown: {stop}")
        return []
