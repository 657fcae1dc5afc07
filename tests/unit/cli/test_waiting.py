"""Patience with an API server that goes away."""

from __future__ import annotations

import time

import pytest

from slipway.cli import waiting
from slipway.cli.errors import Away, Forbidden, Missing, Stop

NOBODY, BUSY = Away("nobody answers"), Away("too much to do")
UNKNOWN = Forbidden("anna may not get pods")


class Question:
    """Ends in an error as often as there are any."""

    def __init__(self, *errors: Stop) -> None:
        self.errors = list(errors)

    def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "the answer"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AGAIN_SECONDS", 0.001)


def test_each_reason_is_told_once_in_a_row() -> None:
    told: list[str] = []
    question = Question(NOBODY, NOBODY, UNKNOWN, BUSY, BUSY, NOBODY)
    assert waiting.ask(question, tell=told.append) == "the answer"
    assert told == [f"{each}; trying again" for each in (NOBODY, UNKNOWN, BUSY, NOBODY)]


@pytest.mark.parametrize("error", [UNKNOWN, Missing("there is none"), Stop("the API server does not know you")])
def test_what_waiting_does_not_help_is_said_at_once(error: Stop) -> None:
    with pytest.raises(type(error), match=str(error)):
        waiting.ask(Question(error))


def test_time_is_up() -> None:
    with pytest.raises(Away, match="nobody answers"):
        waiting.ask(Question(*[NOBODY] * 1000), until=time.monotonic() + 0.02)
