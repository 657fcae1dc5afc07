"""How an attempt ends: one document in the termination message, and never one of an older attempt over a newer."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from slipway.contract import (
    EXIT_OK,
    TERMINATION_MESSAGE_LIMIT,
    DatasetResult,
    EvidenceResult,
    Failure,
    TrainResult,
    dumps,
)

from . import failures
from .failures import TrainerError

log = logging.getLogger(__name__)

MESSAGE_LIMIT: Final = 2400
"""Letters of a failure's sentence: it is read in a condition, by people."""


def fit(result: TrainResult, limit: int = TERMINATION_MESSAGE_LIMIT) -> TrainResult:
    """The result with as many of its metrics, from the first on, as the termination message holds.

    Raises:
        TrainerError: it does not even fit without metrics.
    """

    def cut_to(kept: int) -> TrainResult:
        cut = result.metricsCut + len(result.metrics) - kept
        return replace(result, metrics=result.metrics[:kept], metricsCut=cut)

    def size(kept: int) -> int:
        return len(dumps(cut_to(kept)).encode())

    kept = bisect_right(range(len(result.metrics) + 1), limit, key=size) - 1
    if kept < 0:
        raise TrainerError(
            failures.RESULT_TOO_LARGE,
            f"the result has {size(0):,} bytes without its metrics, and Kubernetes passes on {limit:,}: "
            f"use fewer data sets or shorter addresses, and fewer inputs and outputs of the model",
        )
    return cut_to(kept)


class Outcome:
    """The termination message. The first end that is written stands; secrets are struck out of every sentence."""

    def __init__(self, path: Path, secrets: Iterable[str] = ()) -> None:
        self._path = path
        self._secrets = [secret for secret in secrets if len(secret) >= 4]
        self._lock = threading.Lock()
        self._exit_code: int | None = None

    def succeed(self, result: TrainResult | DatasetResult | EvidenceResult) -> int:
        """Write the result; returns the exit status."""
        return self._settle(dumps(result), EXIT_OK)

    def fail(self, error: TrainerError) -> int:
        """Write a failure; returns the exit status."""
        text = self.clean(str(error))
        log.error("gave up reason=%s again=%s message=%s", error.reason.name, error.reason.again, text)
        return self._settle(_fit_failure(error.reason.name, text), error.reason.exit_code)

    def clean(self, text: str) -> str:
        """The text without the credentials of any S3 place."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _settle(self, document: str, exit_code: int) -> int:
        with self._lock:
            if self._exit_code is None:
                self._exit_code = exit_code
                self._path.write_bytes(document.encode())
            return self._exit_code


def _fit_failure(reason: str, text: str) -> str:
    """A failure as JSON that fits; of a long sentence the middle goes, since a traceback tells most at its end.

    >>> len(_fit_failure("R", "\\x01" * 5000).encode()) <= TERMINATION_MESSAGE_LIMIT
    True
    """
    for letters in range(MESSAGE_LIMIT, 0, -100):
        short = text
        if len(text) > letters:
            short = f"{text[: letters // 4]} ... {text[-(letters * 3 // 4) :]}"
        document = dumps(Failure(reason, short))
        if len(document.encode()) <= TERMINATION_MESSAGE_LIMIT:
            return document
    raise AssertionError("100 letters always fit")
