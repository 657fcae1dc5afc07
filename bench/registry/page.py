"""The figures as a document. Pure, but for what the machine is called."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from bench.registry import ours, theirs
from bench.registry.content import VERSIONS
from bench.registry.measure import SIDES, SLIPWAY, Figures, Middle, Times
from bench.table import markdown


def page(figures: Figures, when: datetime) -> str:
    """The document."""
    assert figures.help is not None
    assert figures.kubectl_get is not None
    many, models = figures.versions, figures.models
    busy = ", ".join(f"{share:.0%} before {side}" for side, share in figures.busy.items())
    filled = ", ".join(f"{seconds:,.0f} s for {side}" for side, seconds in figures.filled.items())
    return f"""# The registry at {many:,} versions, beside MLflow's

Made by `make bench-registry ARGS="--models {models} --repeat {figures.repeat}"` on {when:%Y-%m-%d}: {models:,} models
with {VERSIONS} versions each as ModelVersions on a real etcd and kube-apiserver, and the same in MLflow
{theirs.MLFLOW}'s tracking server (from PyPI, {theirs.WORKERS} workers) on SQLite and on PostgreSQL; one after the other
on the same {os.cpu_count()} cores ({_processor()}), Python {platform.python_version()}. The content is made by
`bench/registry/content.py`, and the bench ends with an error where two sides answer a question differently. Before a
side is asked, the machine comes to rest, for two minutes at most. Its processors were busy then: {busy};
above 10%, other work slowed what came next.

## A question, from nothing

A whole process from start to end, as a person or a script sees it; the servers have answered before. Seconds, median of
{figures.repeat} (least to most). `kubectl slipway` is the plugin's own process with `-o json`; MLflow's is a Python
script with its public client, most of whose time is Python importing MLflow. Without any question a process of
`kubectl slipway` takes {figures.help.median:.2f} s; `kubectl get modelversions`, which reads all {many:,} too,
takes {figures.kubectl_get.median:.2f} s.

{_table(figures, lambda t: t.process)}

## The same question again

In a process that has asked it before: no start, no import. This is what a notebook or a service sees that stays.
`kubectl slipway` reads its kubeconfig and connects each time even so; MLflow's client keeps its connection.

{_table(figures, lambda t: t.again)}

## The first time

The very first process that asks, of a server that has been written to (the API server), or has just started on what was
written before (MLflow). Once each, so these figures are rough.

{_table(figures, lambda t: t.first)}

In MLflow a run knows its data, but a registry search does not look into runs: data, commit and image are tags of each
version there, as one would do who needs these questions answered. The metrics of a model's versions take a second
request, for their runs. What serves is not in MLflow. `kubectl slipway` also says who serves each version it names, and
follows what was fine-tuned from it; here nothing was.

## Memory

MiB after all questions, what processes share counted once (PSS).

{markdown(["", "process", "MiB"], _memory(figures))}

The API server and etcd are the cluster's, and hold all else that is in it. MLflow's server has {theirs.WORKERS} workers
here; its own default is 4. Writing everything took {filled}: each by other means, so this compares nothing.

## The operator

A process that starts with all of it there, and {min(ours.DEPLOYMENTS, models)} Deployments; its rights and settings are
the chart's. Seconds from the start of its process; memory in MiB (resident), at rest and at its highest.

{_operator(figures)}

It writes at the first start what the statuses lacked, which this bench had written in its stead. Writes at any later
start are a defect.
"""


def _table(figures: Figures, pick: Callable[[Times], Middle | float]) -> str:
    head = ["question", "answers", SLIPWAY, *SIDES, *(f"{side} / ours" for side in SIDES)]
    rows = []
    for words, own in figures.times[SLIPWAY].items():
        others = [figures.times[side].get(words) for side in SIDES]
        rows.append(
            [
                words,
                f"{figures.found[words]:,}",
                _cell(pick(own)),
                *(_cell(pick(other)) if other else "-" for other in others),
                *(ratio(pick(other), pick(own)) if other else "-" for other in others),
            ]
        )
    return markdown(head, rows)


def _seconds(of: Middle | float) -> float:
    return of.median if isinstance(of, Middle) else of


def ratio(theirs: Middle | float, ours: Middle | float) -> str:
    """How many times as long theirs took.

    >>> ratio(3.0, 0.4), ratio(Middle(0.01, 0, 0), Middle(0.04, 0, 0))
    ('7.5', '0.25')
    """
    times = _seconds(theirs) / _seconds(ours)
    return f"{times:.1f}" if times >= 1 else f"{times:.2f}"


def _cell(of: Middle | float) -> str:
    return f"{of.median:.3f} ({of.least:.3f} to {of.most:.3f})" if isinstance(of, Middle) else f"{of:.3f}"


def _memory(figures: Figures) -> list[list[str]]:
    return [
        [side, process, f"{mib:,}"]
        for side, processes in figures.memory.items()
        for process, mib in processes.items()
        if mib
    ]


def _operator(figures: Figures) -> str:
    head = ["start", "ready (s)", "everything looked at (s)", "processor (s)", "at rest", "highest", "writes"]
    rows = [
        [s.what, f"{s.ready}", f"{s.looked}", f"{s.cpu}", f"{s.memory:,}", f"{s.peak:,}", f"{s.writes:,}"]
        for s in figures.starts
    ]
    return markdown(head, rows)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
