"""What is asked of both, and our answers in the form of theirs: a bench of two different answers would compare nothing.

An answer is a list of words, in the order of the alphabet, as ``asks.py`` makes them of what MLflow says. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.registry.content import model, versions


@dataclass(frozen=True)
class Question:
    """A question with its words for both sides."""

    words: str
    ours: tuple[str, ...]
    """For ``kubectl slipway``."""
    theirs: tuple[str, ...] | None
    """For ``asks.py``. None: MLflow does not know what serves."""
    answer: Callable[[Any], list[str]]
    """Our JSON as an answer."""


def questions(models: int) -> list[Question]:
    """About things in the middle of the content."""
    everything = list(versions(models))
    one = everything[len(everything) // 2]
    first, second = f"{one.model}-v1", f"{one.model}-v2"
    return [
        Question("all models, each with its newest version and its aliases", ("models",), ("models",), _models),
        Question(
            "the versions of one model with their metrics", ("versions", one.model), ("versions", one.model), _metrics
        ),
        Question("what made one version", ("lineage", one.name), ("lineage", one.model, str(one.number)), what_made_it),
        Question(
            "which versions depend on a data set", ("lineage", "--data", one.data), ("tag", "data", one.data), _versions
        ),
        Question(
            "which versions depend on a commit",
            ("lineage", "--commit", one.commit),
            ("tag", "commit", one.commit),
            _versions,
        ),
        Question(
            "which versions were trained in an image",
            ("lineage", "--image", one.image),
            ("tag", "image", one.image),
            _versions,
        ),
        Question("what changed between two versions", ("diff", first, second), ("diff", one.model, "1", "2"), _changed),
        Question(
            "what made the model that answers at a host name",
            ("lineage", "--host", f"{model(0)}.example.com"),
            None,
            what_made_it,
        ),
    ]


def _models(answer: list[dict[str, Any]]) -> list[str]:
    return sorted(
        f"{line['model']} v{line['newest']['number']} "
        + " ".join(f"{alias}=v{held.rpartition('-v')[2]}" for alias, held in sorted(line["aliases"].items()))
        for line in answer
    )


def _metrics(answer: list[dict[str, Any]]) -> list[str]:
    return sorted(
        " ".join([f"v{each['number']}", *sorted(f"{m['name']}={float(m['value'])}" for m in each["metrics"])])
        for each in answer
    )


def what_made_it(answer: dict[str, Any]) -> list[str]:
    """The inputs, parameters and metrics in a lineage of one version.

    >>> what_made_it({"nodes": [{"kind": "TrainingRun", "name": "r", "parameters": {"epochs": "3"}, "seed": 7},
    ...                         {"kind": "Code", "name": "abc"},
    ...                         {"kind": "ModelVersion", "lineage": {"metrics": [{"name": "loss", "value": "0.10"}]}}]})
    ['commit abc', 'epochs=3', 'loss=0.1', 'seed 7']
    """
    kinds = {"Data": "data", "Code": "commit", "Image": "image"}
    found = []
    for node in answer["nodes"]:
        if node["kind"] in kinds:
            found.append(f"{kinds[node['kind']]} {node['name']}")
        elif node["kind"] == "TrainingRun":
            found += [f"{name}={value}" for name, value in node["parameters"].items()] + [f"seed {node['seed']}"]
        elif node["kind"] == "ModelVersion":
            found += [f"{m['name']}={float(m['value'])}" for m in node["lineage"]["metrics"]]
    return sorted(found)


def _versions(answer: dict[str, Any]) -> list[str]:
    return sorted(node["name"] for node in answer["nodes"] if node["kind"] == "ModelVersion")


def _changed(answer: list[dict[str, Any]]) -> list[str]:
    """Of what MLflow was told too."""
    named = {("data", "train"): "data", ("code", "commit"): "commit", ("image", "digest"): "image"}
    return sorted(
        named.get((d["what"], d["name"]), d["name"])
        for d in answer
        if not d["same"] and (d["what"] in ("parameter", "metric") or (d["what"], d["name"]) in named)
    )


def held_against(question: Question, ours: list[str], theirs: list[str], side: str) -> None:
    """Both must have answered the same.

    Raises:
        RuntimeError: they did not; it names what only one of them said.
    """
    if ours != theirs:
        only = sorted(set(ours) ^ set(theirs))
        raise RuntimeError(
            f"{question.words}: kubectl slipway names {len(ours)} things and MLflow on {side} {len(theirs)}; "
            f"only one of them says {only[:5]}"
        )
