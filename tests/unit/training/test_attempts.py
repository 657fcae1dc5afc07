"""The count of attempts only grows, whatever becomes of pods and Jobs."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.api.training_run import Attempt
from slipway.training.attempts import count
from slipway.training.children import ATTEMPTS_ANNOTATION, CODE_CONTAINER
from tests.support.builders import pod


def at(minute: int) -> str:
    return f"2026-01-01T00:{minute:02}:00Z"


def ran(name: str, minute: int, exit_code: int | None = None) -> dict[str, Any]:
    return pod(name, labels={}, started=at(minute), exit_code=exit_code)


def fetching(name: str, minute: int, exit_code: int | None = None, training: int | None = None) -> dict[str, Any]:
    began = {"startedAt": at(minute)}
    state = {"running": began} if exit_code is None else {"terminated": {**began, "exitCode": exit_code}}
    phase = {None: "Pending", 0: "Running", 64: "Failed"}[exit_code]
    statuses = [{"name": CODE_CONTAINER, "state": state}]
    return pod(name, labels={}, phase=phase, started=at(training) if training else None, initContainerStatuses=statuses)


def job(before: int = 0, **status: int) -> dict[str, Any]:
    return {"metadata": {"annotations": {ATTEMPTS_ANNOTATION: str(before)}}, "status": status}


def stopping(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "metadata": {**found["metadata"], "deletionTimestamp": at(9)}}


A, B = Attempt(pod="a", started_at=at(1)), Attempt(pod="b", started_at=at(2))

CASES: dict[str, tuple[int, Attempt | None, dict[str, Any] | None, list[dict[str, Any]], int, Attempt | None]] = {
    "nothing yet": (0, None, None, [], 0, None),
    "a pod that does not run yet": (0, None, job(), [pod("a", labels={})], 0, None),
    "the first pod runs": (0, None, job(), [ran("a", 1)], 1, A),
    "the same pod, seen again": (1, A, job(), [ran("a", 1)], 1, A),
    "it ended, and the next one runs": (1, A, job(failed=1), [ran("b", 2), ran("a", 1, 1)], 2, B),
    "all pods are gone": (2, B, job(failed=2), [], 2, B),
    "Job and pods are gone": (2, B, None, [], 2, B),
    "a new Job's first pod": (2, B, job(before=2), [ran("c", 3)], 3, Attempt(pod="c", started_at=at(3))),
    "three pods failed while the operator was down, and one is left": (
        0,
        None,
        job(failed=3),
        [ran("c", 3, 1)],
        3,
        Attempt(pod="c", started_at=at(3)),
    ),
    "the deadline is over: the Job counts a pod that is still stopping": (
        1,
        A,
        job(failed=1),
        [stopping(ran("a", 1))],
        1,
        A,
    ),
    "the code is being fetched": (0, None, job(), [fetching("a", 1)], 1, A),
    "the code could not be fetched": (1, A, job(failed=1), [fetching("a", 1, 64)], 1, A),
    "the code is there, and the training began": (1, A, job(), [fetching("a", 1, 0, training=2)], 1, A),
    "the same pod, said to have begun later": (1, A, job(), [ran("a", 2)], 1, Attempt(pod="a", started_at=at(2))),
    "only an old pod is left to see": (2, B, job(), [ran("a", 1, 1)], 2, B),
}


@pytest.mark.parametrize("case", CASES)
def test_attempts(case: str) -> None:
    attempts, last, found, pods, wanted, newest = CASES[case]
    assert count(attempts, last, found, pods) == (wanted, newest)
