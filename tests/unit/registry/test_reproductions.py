"""The times that a version was made once more: who is asked, what stays, and how many."""

from __future__ import annotations

from typing import Any

from slipway.api.model_version import Lineage
from slipway.kube.objects import Key
from slipway.registry.reproductions import ASKED, KEPT, Runs, added
from tests.support.builders import model_version, training_run
from tests.unit.registry.test_lineage import GOOD

VERSION = model_version(uid="version-uid")
KEY = Key("team", "digits-v1")
LINEAGE = Lineage.model_validate(GOOD)


def run(number: int, *, version: str = "version-uid", ended: bool = True) -> dict[str, Any]:
    made = training_run(f"again-{number}", uid=f"run-{number:03}")
    answer = {"modelVersion": "digits-v1", "uid": version, "verdict": "Identical"}
    end = {"completionTime": f"2026-01-01T{number // 60:02}:{number % 60:02}:00Z"} if ended else {}
    return {**made, "status": {"reproduction": answer, **end}}


def test_only_versions_that_were_made_once_more_have_anybody_to_ask() -> None:
    runs = Runs()
    assert runs.changed(training_run(uid="u"), False) is None
    assert runs.of(KEY) == []
    assert runs.changed(run(2), False) == KEY
    assert runs.changed(run(1), False) == KEY
    assert runs.of(KEY) == [Key("team", "again-2"), Key("team", "again-1")], "the newest first"
    # what was recorded stays, so nobody has to look again
    assert runs.changed(run(1), True) is None
    assert runs.of(KEY) == [Key("team", "again-2")]
    assert runs.changed(run(2), True) is None
    assert runs.of(KEY) == []
    # one that has not ended has nothing to say yet
    assert runs.changed(run(3, ended=False), False) is None
    assert runs.of(KEY) == []


def test_however_many_there_are_only_the_newest_are_read() -> None:
    runs = Runs()
    for number in range(3 * ASKED):
        runs.changed(run(number), False)
    assert [key.name for key in runs.of(KEY)][:2] == [f"again-{3 * ASKED - 1}", f"again-{3 * ASKED - 2}"]
    assert len(runs.of(KEY)) == ASKED


def test_the_newest_are_kept_and_the_rest_is_counted() -> None:
    made = added(LINEAGE, VERSION, [run(i) for i in range(KEPT + 3)])
    assert [r.training_run for r in made.reproductions][:2] == [f"again-{KEPT + 2}", f"again-{KEPT + 1}"]
    assert (len(made.reproductions), made.reproductions_cut) == (KEPT, 3)
    # the same runs again say nothing new
    assert added(made, VERSION, [run(i) for i in range(KEPT + 3)]) == made
    # the count does not go down when runs are deleted
    assert added(made, VERSION, []).reproductions_cut == 3


def test_a_run_that_has_not_ended_or_speaks_of_another_version_says_nothing() -> None:
    assert added(LINEAGE, VERSION, [run(1, ended=False), run(2, version="an earlier one")]) == LINEAGE
