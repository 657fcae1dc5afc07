"""The times that a version was made once more, from the runs that did it into the version's lineage. Pure, but for the
index of who did, which is rebuilt from the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from slipway.api.model_version import Lineage, ReproductionRecord
from slipway.api.training_run import TrainingRunStatus
from slipway.kube.objects import Key, Manifest, key_of

KEPT: Final = 20
"""Reproductions that a status lists."""
ASKED: Final = 2 * KEPT
"""Runs of one version that are read in a pass: somebody may make it once more every night for years."""
_DETAIL: Final = 1024


class Runs:
    """Which TrainingRuns have said something about which version: where to look, and never what to write.

    A version asks nobody where no run is known to have made it once more, so ten thousand versions cost nothing. It
    may be asked before the runs are known: each of them wakes its version when it is.
    """

    def __init__(self) -> None:
        self._answers: dict[Key, dict[Key, str]] = {}
        """By version: each of its runs and when it ended."""
        self._versions: dict[Key, Key] = {}

    def changed(self, run: Manifest, deleted: bool) -> Key | None:
        """Take note of a run; the version to look at, if there is one."""
        key, status = key_of(run), run.get("status") or {}
        answer, end = status.get("reproduction"), status.get("completionTime")
        before = self._versions.pop(key, None)
        if before is not None:
            runs = self._answers[before]
            del runs[key]
            if not runs:
                del self._answers[before]
        if deleted or not answer or not end:
            return None
        version = self._versions[key] = Key(key.namespace, answer["modelVersion"])
        self._answers.setdefault(version, {})[key] = end
        return version

    def of(self, version: Key) -> list[Key]:
        """The runs that made this version once more, the newest first; as many as can matter, since each is read."""
        runs = self._answers.get(version, {})
        return sorted(runs, key=lambda run: (runs[run], run), reverse=True)[:ASKED]


def record(run: Manifest) -> ReproductionRecord | None:
    """What a run says about the version that it made once more; None where it says nothing yet."""
    status = TrainingRunStatus.model_validate(run.get("status") or {})
    if status.reproduction is None or status.completion_time is None:
        return None
    return ReproductionRecord(
        training_run=run["metadata"]["name"],
        uid=run["metadata"]["uid"],
        verdict=status.reproduction.verdict,
        detail="; ".join(d.message for d in status.reproduction.differs)[:_DETAIL],
        at=status.completion_time,
    )


def added(lineage: Lineage, version: Manifest, runs: Iterable[Manifest]) -> Lineage:
    """The lineage with what these runs say, the newest first.

    What stands there already stays, though its run be gone: it is a fact that cannot be seen any more. A run that
    compared with an earlier version of the same name is passed over.
    """
    uid = version["metadata"]["uid"]
    about = [run for run in runs if ((run.get("status") or {}).get("reproduction") or {}).get("uid") == uid]
    known = {r.uid: r for r in lineage.reproductions}
    known |= {made.uid: made for run in about if (made := record(run)) and made.uid not in known}
    newest = sorted(known.values(), key=lambda r: (r.at, r.uid), reverse=True)
    cut = max(lineage.reproductions_cut or 0, len(newest) - KEPT)
    return lineage.model_copy(update={"reproductions": newest[:KEPT], "reproductions_cut": cut or None})
