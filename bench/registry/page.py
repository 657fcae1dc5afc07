"""The figures as a document."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.registry import ours, theirs
from bench.table import markdown


def page(figures: dict[str, Any], when: datetime) -> str:
    """The document."""
    many, models, help_ = figures["versions"], figures["models"], figures["help"]["median"]
    memory = ", ".join(f"{mib:.0f} MiB on {name}" for name, mib in figures["memory"].items())
    filled = ", ".join(f"{seconds:.0f} s on {name}" for name, seconds in figures["filled"].items())
    return f"""# The registry at {many:,} versions

Made by `python -m bench.registry --models {models}` on {when:%Y-%m-%d} ({os.cpu_count()} cores, {_processor()}, Python
{platform.python_version()}): {many:,} ModelVersions of {models:,} models on a real etcd and kube-apiserver, and the
same content in MLflow {theirs.MLFLOW}'s tracking server ({theirs.WORKERS} workers) on SQLite and on PostgreSQL, one
after the other on the same machine. How the content is made is in `bench/registry/content.py`.

## Questions

Seconds of a whole process from start to end, as a person or a script sees it: median of {figures["repeat"]} (least to
most), after one to warm up. MLflow's side is a Python script with its public client; "requests" is the part of it that
is neither Python starting nor MLflow being imported. `kubectl slipway` needs {help_:.2f} s to start at all, and
`kubectl get modelversions` takes {figures["kubectl get"]["median"]:.2f} s for the same {many:,}.

{_questions(figures["times"])}

In MLflow a run knows its data, but a registry search does not look into runs; so data, commit and image are tags of
each version there, as one would do who needs these questions answered. MLflow does not know what serves. A version
that was fine-tuned from one of those found is found by `kubectl slipway lineage` too, and would be a search of its own
for each in MLflow.

Memory: MLflow's server {memory}, without the database's own. Slipway has no server beside the operator (below); the
API server and etcd are the cluster's. Filling MLflow took {filled}.

## The operator

A process that starts with all of it there: until it has looked at every object, and its memory at rest after that. Its
rights and settings are those of the chart; {min(ours.DEPLOYMENTS, models)} Deployments are there too.

{_operator(figures.get("operator", []))}

Writes of the first start are what the statuses lacked that this bench wrote by hand; of the second they are to be 0.
"""


def _questions(times: dict[str, Any]) -> str:
    head = ["question", "found", "`kubectl slipway`"]
    for name in ("SQLite", "PostgreSQL"):
        head += [f"MLflow, {name}", "requests"]
    rows = []
    for words, answer in times["slipway"].items():
        row = [words, str(answer["found"]), _cell(answer["whole"])]
        for name in ("SQLite", "PostgreSQL"):
            other = times[name].get(words)
            row += [_cell(other["whole"]), f"{other['requests']['median']:.2f}"] if other else ["-", "-"]
        rows.append(row)
    return markdown(head, rows)


def _operator(starts: list[dict[str, Any]]) -> str:
    head = ["start", "all looked at after (s)", "resident (MiB)", "highest (MiB)", "writes"]
    rows = [
        [name, str(start["seconds"]), str(start["memory"]), str(start["peak"]), str(start["writes"])]
        for name, start in zip(("first", "second"), starts, strict=False)
    ]
    return markdown(head, rows)


def _cell(middle: dict[str, float]) -> str:
    return f"{middle['median']:.2f} ({middle['least']:.2f} to {middle['most']:.2f})"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
