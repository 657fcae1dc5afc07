"""What the registry's bench says is the size of its answers, and when it calls two answers the same."""

from __future__ import annotations

import doctest
from collections import Counter

import pytest

from bench.registry import measure, page, questions
from bench.registry.content import COMMIT_OF, IMAGE_OF, SHARED_BY, versions
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


@pytest.mark.parametrize("module", [measure, page, questions])
def test_examples(module: object) -> None:
    done = doctest.testmod(module)  # type: ignore[arg-type]  # typed as ModuleType, which parametrize does not know
    assert done.attempted
    assert not done.failed
