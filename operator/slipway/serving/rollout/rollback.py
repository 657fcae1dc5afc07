"""Which versions served before, what is remembered of it, and whether going back to one needs the steps again. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.api.deployment import DeploymentStatus, HistoryEntry


def kept(history: Sequence[HistoryEntry], limit: int, window: int) -> list[HistoryEntry]:
    """As much of the history as is remembered, the newest first.

    The newest promotion is that of the version that serves, and the ``window`` promotions before it are those that one
    may go back to: rollouts that came to nothing, however many, must not make them forgotten. Promotions stay without
    a gap between them, so that between any two the version that served is known.
    """
    promoted = [number for number, entry in enumerate(history) if entry.outcome == "Promoted"][: window + 1]
    room = max(limit - len(promoted), 0)
    others = [number for number in range(len(history)) if number not in promoted][:room]
    return [history[number] for number in sorted({*promoted, *others})]


def served(facts: DeploymentStatus) -> list[str]:
    """The versions that served before the stable one, the latest first, each once.

    A version that was only a candidate never served: nobody knows that it is good.
    """
    stable = facts.stable.model_version if facts.stable else None
    promoted = (entry.model_version for entry in facts.history if entry.outcome == "Promoted")
    return [version for version in dict.fromkeys(promoted) if version != stable]


def in_window(version: str | None, facts: DeploymentStatus, window: int) -> bool:
    """Whether a version is among the last ``window`` ones that served: then the steps are skipped."""
    return version in served(facts)[:window]


def is_back(facts: DeploymentStatus, number: int, stable_number: int) -> bool:
    """Whether the candidate's way is a way back: it served before, and its number is lower than the stable one's."""
    candidate = facts.candidate.model_version if facts.candidate else None
    return candidate in served(facts) and number < stable_number
