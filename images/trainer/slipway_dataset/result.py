"""Makes a result fit the termination message."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

from slipway.contract import TERMINATION_MESSAGE_LIMIT, CheckFailure, DatasetResult, dumps
from slipway_trainer import failures
from slipway_trainer.failures import TrainerError

LETTERS = 400
"""Letters of a failed check's sentence."""


def fit(result: DatasetResult, limit: int = TERMINATION_MESSAGE_LIMIT) -> DatasetResult:
    """The result with as many failed checks, from the first on, as the termination message holds.

    Raises:
        TrainerError: it does not even fit without them.
    """
    short = [CheckFailure(each.check[:LETTERS], _cut(each.message)) for each in result.failures]

    def cut_to(kept: int) -> DatasetResult:
        return replace(result, failures=short[:kept], failuresCut=result.failuresCut + len(short) - kept)

    def size(kept: int) -> int:
        return len(dumps(cut_to(kept)).encode())

    kept = bisect_right(range(len(short) + 1), limit, key=size) - 1
    if kept < 0:
        raise TrainerError(
            failures.RESULT_TOO_LARGE,
            f"the result has {size(0):,} bytes, and Kubernetes passes on {limit:,}: use a shorter address",
        )
    return cut_to(kept)


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 3]}..."
