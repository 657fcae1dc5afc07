"""What the registry's bench says is the size of its answers, and when it calls two answers the same."""

from __future__ import annotations

import doctest
from collections import Counter
from datetime import UTC, datetime

import pytest

from bench import rest
from bench.registry import measure, page, questions
from bench.registry.content import COMMIT_OF, IMAGE_OF, SHARED_BY, versions
from bench.registry.measure import SIDES, SLIPWAY, Figures, Middle, Times
from bench.registry.ours import Start
from bench.registry.questions import held_against


def test_at_the_promised_size_every_answer_has_the_size_that_is_written_down() -> None:
    content = list(versions(1000))
    assert len({made.name for made in content}) == 10_000
    assert sum(made.alias == "champion" for made in content) == 1000
    for what, size in (("data", SHARED_BY), ("commit", COMMIT_OF), ("image", IMAGE_OF)):
        assert set(Counter(getattr(made, what) for made in content).values()) == {size}, what


def test_an_answer_that_differs_ends_the_bench_and_is_named() -> None:
    question = next(q for q in questions.questions(4) if q.words == "which versions depend on a commit")
    held_against(question, ["a-v1", "a-v2"], ["a-v1", "a-v2"], "SQLite")
    with pytest.raises(RuntimeError, match=r"depend on a commit.* 2 things and .* SQLite 1; .*\['a-v2'\]"):
        held_against(question, ["a-v1", "a-v2"], ["a-v1"], "SQLite")


def test_the_page_sets_each_question_side_by_side_with_its_ratio() -> None:
    asked = questions.questions(1000)
    figures = Figures(
        models=1000,
        repeat=7,
        found={q.words: 40 for q in asked},
        memory={SLIPWAY: {"etcd": 812}, "MLflow, SQLite": {"server": 1234, "database": 0}},
        starts=[Start("again", 2.0, 31.4, 212, 260, 28.9, 0)],
        help=Middle(0.2, 0.2, 0.2),
        kubectl_get=Middle(1.5, 1.4, 1.6),
    )
    for side, factor, known in ((SLIPWAY, 1, asked), *((side, 3, [q for q in asked if q.theirs]) for side in SIDES)):
        took = Middle(0.5 * factor, 0.4 * factor, 0.6 * factor)
        figures.times[side] = {q.words: Times(factor, took, took) for q in known}
        figures.busy[side] = 0.04
        figures.filled[side] = 100.0
    text = page.page(figures, datetime(2026, 11, 22, tzinfo=UTC))
    cells = [" ".join(line.split()) for line in text.splitlines()]
    commit = "| which versions depend on a commit | 40 | 0.500 (0.400 to 0.600) | 1.500 (1.200 to 1.800) |"
    assert f"{commit} 1.500 (1.200 to 1.800) | 3.0 | 3.0 |" in cells
    assert "| what made the model that answers at a host name | 40 | 1.000 | - | - | - | - |" in cells
    assert "busy then: 4% before kubectl slipway, 4% before MLflow, SQLite" in " ".join(text.split())
    assert "| again | 2.0 | 31.4 | 28.9 | 212 | 260 | 0 |" in cells
    assert "| MLflow, SQLite | server | 1,234 |" in cells
    assert "| MLflow, SQLite | database | 0 |" not in cells


@pytest.mark.parametrize("module", [measure, page, questions, rest])
def test_examples(module: object) -> None:
    done = doctest.testmod(module)  # type: ignore[arg-type]  # typed as ModuleType, which parametrize does not know
    assert done.attempted
    assert not done.failed
