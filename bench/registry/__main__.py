"""``python -m bench.registry``: ``kubectl slipway`` beside MLflow's registry, with the same content, in one run.

Writes ``docs/benchmarks-registry.md``. ``--models 1000`` (10,000 versions) is the size that is promised; smaller ones
are for trying. Needs root only for PostgreSQL, which will not run as root itself (``apt-get install postgresql``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.registry import ours, theirs
from bench.registry.content import VERSIONS, Made, model, versions
from bench.registry.page import page
from localcluster.paths import REPOSITORY
from tests.support.control_plane import control_plane

PAGE = REPOSITORY / "docs" / "benchmarks-registry.md"


@dataclass(frozen=True)
class Question:
    """A question with its words for both sides."""

    words: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...] | None
    """None: MLflow does not know what serves."""
    found: Callable[[str], int]
    """How many things our answer names."""


@dataclass
class Times:
    """Seconds of each repetition."""

    whole: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    found: int = 0


def questions(models: int) -> list[Question]:
    """What is asked, about things in the middle of the content."""
    everything = list(versions(models))
    one: Made = everything[len(everything) // 2]
    first, second = f"{one.model}-v1", f"{one.model}-v2"

    def versions_in(text: str) -> int:
        return sum(1 for node in json.loads(text)["nodes"] if node["kind"] == "ModelVersion")

    def items(text: str) -> int:
        return len(json.loads(text))

    def changed(text: str) -> int:
        return sum(1 for d in json.loads(text) if not d["same"] and d["what"] not in ("file", "signature"))

    return [
        Question("all models, each with its newest version and aliases", ("models", "-o", "json"), ("models",), items),
        Question(
            "the versions of one model with their metrics",
            ("versions", one.model, "-o", "json"),
            ("versions", one.model),
            items,
        ),
        Question(
            "what made one version",
            ("lineage", one.name, "-o", "json"),
            ("lineage", one.model, str(one.number)),
            versions_in,
        ),
        Question(
            "which versions depend on a data set",
            ("lineage", "--data", one.data, "-o", "json"),
            ("tag", "data", one.data),
            versions_in,
        ),
        Question(
            "which versions depend on a commit",
            ("lineage", "--commit", one.commit, "-o", "json"),
            ("tag", "commit", one.commit),
            versions_in,
        ),
        Question(
            "which versions were trained in an image",
            ("lineage", "--image", one.image, "-o", "json"),
            ("tag", "image", one.image),
            versions_in,
        ),
        Question(
            "what changed between two versions",
            ("diff", first, second, "-o", "json"),
            ("diff", one.model, "1", "2"),
            changed,
        ),
        Question(
            "what made the model that answers at a host name",
            ("lineage", "--host", f"{model(0)}.example.com", "-o", "json"),
            None,
            versions_in,
        ),
    ]


def measure(models: int, repeat: int, with_operator: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything, in one run; the servers never run beside each other."""
    asked = questions(models)
    figures: dict[str, Any] = {"models": models, "versions": models * VERSIONS, "repeat": repeat, "times": {}}
    with control_plane() as cluster:
        say(f"{models * VERSIONS} ModelVersions are written")
        ours.fill(cluster.api, models, say)
        times = {q.words: Times() for q in asked}
        for _ in range(repeat + 1):
            for question in asked:
                answer = ours.ask(cluster.kubeconfig, *question.ours)
                times[question.words].whole.append(answer.seconds)
                times[question.words].found = question.found(answer.answer)
        baseline = [ours.kubectl(cluster, "get", "modelversions").seconds for _ in range(repeat + 1)]
        bare = [ours.ask(cluster.kubeconfig, "versions", "--help").seconds for _ in range(repeat + 1)]
        figures["times"]["slipway"] = _figures(times)
        figures["kubectl get"], figures["help"] = _middle(baseline), _middle(bare)
        if with_operator:
            objects = models * VERSIONS + min(ours.DEPLOYMENTS, models)
            say("the operator starts for the first time, and again")
            figures["operator"] = [vars(ours.start(cluster, objects)) for _ in range(2)]
    for name, place in (("SQLite", _sqlite), ("PostgreSQL", theirs.postgres)):
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch)
            directory.chmod(0o755)
            with place(directory / "db") as uri:
                say(f"MLflow's {name} is filled")
                figures.setdefault("filled", {})[name] = theirs.fill(uri, models, 1 if name == "SQLite" else 4)
                with theirs.server(uri, directory) as server:
                    say(f"MLflow on {name} is asked")
                    figures["times"][name] = _figures(_ask_mlflow(server, asked, repeat))
                    figures.setdefault("memory", {})[name] = server.memory()
    return figures


@contextlib.contextmanager
def _sqlite(directory: Path) -> Iterator[str]:
    directory.mkdir()
    yield f"sqlite:///{directory}/mlflow.db"
    shutil.rmtree(directory)


def _ask_mlflow(server: theirs.Server, asked: list[Question], repeat: int) -> dict[str, Times]:
    times = {q.words: Times() for q in asked if q.theirs}
    for _ in range(repeat + 1):
        for question in asked:
            if question.theirs:
                answer, requests = theirs.ask(server, *question.theirs)
                times[question.words].whole.append(answer.seconds)
                times[question.words].requests.append(requests)
                times[question.words].found = json.loads(answer.answer)["found"]
    return times


def _middle(seconds: list[float]) -> dict[str, float]:
    """Of all but the first, which warms caches up."""
    kept = seconds[1:]
    return {"median": round(statistics.median(kept), 3), "least": round(min(kept), 3), "most": round(max(kept), 3)}


def _figures(times: dict[str, Times]) -> dict[str, Any]:
    return {
        words: {"found": t.found, "whole": _middle(t.whole)} | ({"requests": _middle(t.requests)} if t.requests else {})
        for words, t in times.items()
    }


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.registry", description=__doc__)
    parser.add_argument("--models", type=int, default=1000, help=f"each has {VERSIONS} versions (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=7, help="of each question (default: %(default)s)")
    parser.add_argument("--without-operator", action="store_true", help="ask the questions only")
    parser.add_argument("--json", action="store_true", help="print the figures and leave the page as it is")
    chosen = parser.parse_args()

    def say(words: str) -> None:
        print(f"  {words}", file=sys.stderr, flush=True)

    figures = measure(chosen.models, chosen.repeat, not chosen.without_operator, say)
    if chosen.json:
        print(json.dumps(figures, indent=1))
    else:
        PAGE.write_text(page(figures, datetime.now(UTC)), encoding="utf-8")
        print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
