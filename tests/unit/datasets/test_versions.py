"""The list of contents: the newest first, none twice, none too many."""

from __future__ import annotations

from slipway.api.dataset import FAILURES, VERSIONS, DatasetSpec, DatasetVersion
from slipway.datasets.versions import failures, with_newest
from tests.support.builders import T0, dataset, dataset_result

SPEC = DatasetSpec.model_validate(dataset()["spec"])


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def after(*numbers: int) -> tuple[list[DatasetVersion], int]:
    """The versions after checks that found these contents, a day apart, and how many were left out."""
    known: list[DatasetVersion] = []
    cut = 0
    for day, number in enumerate(numbers, 1):
        known, now = with_newest(known, SPEC, dataset_result(digest(number)), f"2026-01-{day:02}T00:00:00Z")
        cut += now
    return known, cut


def test_the_newest_comes_first() -> None:
    known, cut = after(1, 2, 3)
    assert [v.digest for v in known] == [digest(n) for n in (3, 2, 1)]
    assert cut == 0


def test_a_content_that_comes_back_moves_up_and_keeps_its_first_day() -> None:
    known, _ = after(1, 2, 1)
    assert [v.digest for v in known] == [digest(1), digest(2)]
    assert (known[0].at, known[0].seen_at) == (T0, "2026-01-03T00:00:00Z")


def test_the_oldest_are_left_out_and_counted() -> None:
    known: list[DatasetVersion] = []
    cut = 0
    for number in range(VERSIONS + 7):
        known, now = with_newest(known, SPEC, dataset_result(digest(number)), T0)
        cut += now
    assert len(known) == VERSIONS
    assert cut == 7
    assert known[-1].digest == digest(7)


def test_the_verdict_is_the_last_one() -> None:
    known, _ = after(1)
    known, _ = with_newest(known, SPEC, dataset_result(digest(1), ("minRows", "too few")), T0)
    assert [v.passed for v in known] == [False]


def test_failures_are_cut_and_counted() -> None:
    many = [(f"c{i}.min", "x" * 2000) for i in range(FAILURES + 5)]
    shown, more = failures(dataset_result(digest(1), *many, failuresCut=3))
    assert len(shown) == FAILURES
    assert more == 8
    assert len(shown[0].message) == 1024
