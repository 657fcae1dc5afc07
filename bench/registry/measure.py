"""Everything in one run: ours, then MLflow on one database after the other. No two servers run beside each other."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.registry import ours, theirs
from bench.registry.content import VERSIONS
from bench.registry.questions import Question, held_against, questions
from bench.rest import come_to_rest
from tests.support.control_plane import Cluster, control_plane

Say = Callable[[str], None]
_STORES = ("kube-apiserver", "etcd")
SLIPWAY = "kubectl slipway"
SIDES = {"MLflow, SQLite": theirs.sqlite, "MLflow, PostgreSQL": theirs.postgres}


@dataclass(frozen=True)
class Middle:
    """Seconds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, seconds: list[float]) -> Middle:
        """
        >>> Middle.of([0.3, 0.1, 0.2004])
        Middle(median=0.2, least=0.1, most=0.3)
        """
        return cls(round(statistics.median(seconds), 3), round(min(seconds), 3), round(max(seconds), 3))


@dataclass(frozen=True)
class Times:
    """Of one question on one side."""

    first: float
    """Seconds of the very first process that asked it."""
    process: Middle
    """A whole process, after that."""
    again: Middle
    """Asked again by a process that has asked it before."""


@dataclass
class Figures:
    """What was measured."""

    models: int
    repeat: int
    found: dict[str, int] = field(default_factory=dict)
    """Question -> how much its answer names."""
    times: dict[str, dict[str, Times]] = field(default_factory=dict)
    """Side -> question -> seconds."""
    filled: dict[str, float] = field(default_factory=dict)
    """Side -> seconds of writing everything."""
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    """Side -> process -> MiB after all questions (PSS)."""
    busy: dict[str, float] = field(default_factory=dict)
    """Side -> share of the processors that was busy before it was asked, once the machine had come to rest."""
    starts: list[ours.Start] = field(default_factory=list)
    """Of the operator."""
    help: Middle | None = None
    """``kubectl slipway versions --help``: what a process costs that asks nothing."""
    kubectl_get: Middle | None = None
    """``kubectl get modelversions``: the same list as ``models``, as a table."""

    @property
    def versions(self) -> int:
        return self.models * VERSIONS


def measure(models: int, repeat: int, say: Say) -> Figures:
    """Measure everything; answers that differ end it.

    Raises:
        RuntimeError: a side did not start, did not answer, or answered otherwise than another.
    """
    figures = Figures(models, repeat)
    asked = questions(models)
    theirs.program("python")
    with control_plane() as cluster:
        answers = _slipway(cluster, asked, figures, say)
    for side, place in SIDES.items():
        with _scratch() as folder, place(folder) as database:
            _mlflow(side, database, folder, asked, answers, figures, say)
    return figures


def _slipway(cluster: Cluster, asked: list[Question], figures: Figures, say: Say) -> dict[str, list[str]]:
    objects = figures.versions + min(ours.DEPLOYMENTS, figures.models)
    _started(cluster, "nothing there", 0, figures, say)
    say(f"{figures.versions:,} ModelVersions are written")
    begun = time.monotonic()
    ours.fill(cluster.api, figures.models, say)
    figures.filled[SLIPWAY] = round(time.monotonic() - begun, 1)
    # Before the questions: so what is read is what the operator leaves, every condition and message in it.
    _started(cluster, "for the first time", objects, figures, say)
    _started(cluster, "again", objects, figures, say)
    answers: dict[str, list[str]] = {}

    def once(question: Question) -> float:
        answer = ours.ask(cluster.kubeconfig, *ours.in_json(*question.ours))
        answers[question.words] = question.answer(json.loads(answer.text))
        if not answers[question.words]:
            raise RuntimeError(f"{question.words}: kubectl slipway found nothing")
        return answer.seconds

    def again(question: Question, repeat: int) -> list[float]:
        return ours.ask_again(cluster.kubeconfig, repeat, *ours.in_json(*question.ours))

    _ask(SLIPWAY, asked, once, again, figures, say)
    figures.found = {words: len(answer) for words, answer in answers.items()}
    rounds = range(figures.repeat)
    figures.kubectl_get = Middle.of([ours.kubectl(cluster, "get", "modelversions").seconds for _ in rounds])
    figures.help = Middle.of([ours.ask(cluster.kubeconfig, "versions", "--help").seconds for _ in rounds])
    processes = {name: service.identity() for name, service in cluster.plane.services.items()}
    figures.memory[SLIPWAY] = {
        name: round(theirs.pss(found.pid)) for name, found in processes.items() if found and name in _STORES
    }
    return answers


def _started(cluster: Cluster, what: str, objects: int, figures: Figures, say: Say) -> None:
    say(f"the operator starts: {what}")
    figures.starts.append(ours.start(cluster, what, objects))
    say(json.dumps(asdict(figures.starts[-1])))


def _mlflow(
    side: str,
    database: theirs.Database,
    folder: Path,
    asked: list[Question],
    answers: dict[str, list[str]],
    figures: Figures,
    say: Say,
) -> None:
    say(f"{side}: {figures.versions:,} versions are written")
    figures.filled[side] = theirs.fill(database, folder, figures.models)
    with theirs.server(database, folder) as server:

        def once(question: Question) -> float:
            assert question.theirs is not None
            asked, answer = server.ask(*question.theirs)
            held_against(question, answers[question.words], answer, side)
            return asked.seconds

        def again(question: Question, repeat: int) -> list[float]:
            assert question.theirs is not None
            return server.ask_again(repeat, *question.theirs)

        _ask(side, [q for q in asked if q.theirs], once, again, figures, say)
        figures.memory[side] = {"server": round(server.memory()), "database": round(database.memory())}


def _ask(
    side: str,
    asked: list[Question],
    once: Callable[[Question], float],
    again: Callable[[Question, int], list[float]],
    figures: Figures,
    say: Say,
) -> None:
    """All questions in turns, so that a moment in which the machine was busy does not fall on one of them."""
    figures.busy[side] = come_to_rest()
    say(f"{side}: {len(asked)} questions are asked; the processors are {figures.busy[side]:.0%} busy")
    whole: dict[str, list[float]] = {question.words: [] for question in asked}
    for _ in range(figures.repeat + 1):
        for question in asked:
            whole[question.words].append(once(question))
    figures.times[side] = {}
    for question in asked:
        first, *rest = whole[question.words]
        made = Times(round(first, 3), Middle.of(rest), Middle.of(again(question, figures.repeat)))
        figures.times[side][question.words] = made
        say(f"{question.words}: {json.dumps(asdict(made))}")


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # PostgreSQL is another user
        yield folder
