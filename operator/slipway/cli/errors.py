"""How a command ends when it cannot do what it was asked for."""

from __future__ import annotations


class Stop(Exception):
    """The command ends with this sentence: it says what is wrong and what to write instead.

    Attributes:
        status: the exit status of the program.
    """

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


class Away(Stop):
    """Nobody answered, or the answer broke off: whoever waits for something may ask again in a moment."""


class Forbidden(Stop):
    """The user has not got the right."""


class Missing(Stop):
    """There is no object of that name."""


class Changed(Stop):
    """Somebody wrote the object in the meantime, or one of that name exists already."""
