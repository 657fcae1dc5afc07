"""Making a version once more: the run that is written, the names that are free, and the verdict that is told."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from slipway.api.reproduce import config_map_digest
from slipway.cli import again
from slipway.cli.client import Object
from slipway.cli.errors import Stop
from tests.support import registry_scene as scene
from tests.support.fake_api import FakeApi

CODE = {"kind": "ConfigMap", "metadata": {"name": "digits-code", "namespace": "team"}, "data": {"train.py": "1"}}


@pytest.fixture
def api() -> FakeApi:
    """digits-v1, whose code and run are still there."""
    made = scene.version()
    made["status"]["lineage"]["code"]["configMap"]["digest"] = config_map_digest(CODE)
    return FakeApi(made, scene.run(), CODE)


def reproduce(api: FakeApi, name: str = "digits-v1", **more: Any) -> None:
    options = {"called": None, "wait": False, "dry_run": False, **more}
    again.reproduce(api, None, name, options.pop("tolerance", (None, None)), **options)


def made(api: FakeApi) -> list[Object]:
    return [o for o in api.objects if o["kind"] == "TrainingRun" and "reproduceOf" in o["spec"]]


def test_the_run_is_written_under_a_free_name_and_says_who(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    reproduce(api)
    reproduce(api, tolerance=(None, "1e-2"))
    first, second = made(api)
    assert capsys.readouterr().out.split() == ["digits-v1-again", "digits-v1-again-2"]
    assert first["metadata"]["annotations"] == {"slipway.dev/created-by": "anna"}
    assert first["spec"]["reproduceOf"]["modelVersion"] == "digits-v1"
    assert second["spec"]["reproduceOf"]["tolerance"] == {"absolute": "1e-4", "relative": "1e-2"}


def test_a_name_that_is_asked_for_is_taken_or_refused(api: FakeApi) -> None:
    reproduce(api, called="mine")
    assert [run["metadata"]["name"] for run in made(api)] == ["mine"]
    with pytest.raises(Stop, match="there is a TrainingRun mine already"):
        reproduce(api, called="mine")


def test_a_dry_run_makes_none(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    reproduce(api, dry_run=True)
    assert json.loads(capsys.readouterr().out)["kind"] == "TrainingRun"
    assert not made(api)


def test_what_cannot_be_made_again_is_said(api: FakeApi) -> None:
    api.objects.remove(CODE)
    with pytest.raises(Stop, match=r"digits-v1 cannot be made again: the ConfigMap digits-code .* is gone"):
        reproduce(api)
    api.forbidden = {"configmaps"}
    with pytest.raises(Stop, match="to make it again its configmaps must be read: anna may not get configmaps"):
        reproduce(api)


VERDICTS: dict[str, tuple[Object, str | None]] = {
    "the same": ({"verdict": "Identical"}, "Identical  digits-v1 by the run digits-v1-again\n"),
    "another": ({"verdict": "Different", "differs": [{"what": "seed", "message": "the seed: 7 then, 8 now"}]}, None),
}


def answered(api: FakeApi, status: Object) -> None:
    """What stands in the status of each run that is made."""
    create = api._create

    def plays(path: str, body: Object) -> Object:
        run = create(path, body)
        if not path.endswith("/selfsubjectreviews"):
            run["status"] = status
        return run

    api._create = plays  # type: ignore[method-assign]


def test_a_run_that_does_not_go_on_is_not_waited_for(api: FakeApi) -> None:
    """Nobody would ever answer: a run that is stalled has no end."""
    stalled = [{"type": "Stalled", "status": "True"}]
    answered(api, {"phase": "Pending", "message": "there is no ConfigMap slipway-store-lake", "conditions": stalled})
    words = "the run digits-v1-again does not go on by itself. Pending: there is no ConfigMap slipway-store-lake"
    with pytest.raises(Stop, match=words):
        reproduce(api, wait=True)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, "Pending: the operator has not looked at it yet"),
        (
            {"phase": "Running", "message": "step 1", "conditions": [{"type": "Stalled", "status": "False"}]},
            "Running: step 1",
        ),
    ],
)
def test_the_verdict_is_not_waited_for_longer_than_asked(api: FakeApi, status: Object, words: str) -> None:
    answered(api, status)
    expected = f"there is no verdict within 0 s; the run digits-v1-again goes on. {words}"
    with pytest.raises(Stop, match=re.escape(expected)):
        reproduce(api, wait=True, timeout=0)


def test_what_it_began_from_must_be_there(api: FakeApi) -> None:
    tuned = scene.version(number=2, parent="digits-v1")
    tuned["status"]["lineage"]["code"]["configMap"]["digest"] = config_map_digest(CODE)
    api.objects.append(tuned)
    reproduce(api, "digits-v2")
    assert [run["spec"]["from"] for run in made(api)] == [{"modelVersion": "digits-v1"}]
    api.objects = [o for o in api.objects if o["metadata"]["name"] != "digits-v1"]
    with pytest.raises(Stop, match="digits-v2 cannot be made again: digits-v1, which it was fine-tuned from, is gone"):
        reproduce(api, "digits-v2")


def test_the_code_of_a_copy_is_where_it_was_trained(api: FakeApi) -> None:
    copy = scene.promoted(api.objects[0], "prod")
    elsewhere = FakeApi(copy, namespace="prod")
    with pytest.raises(Stop, match="held the training code is in the namespace team, where the version was trained"):
        reproduce(elsewhere)


@pytest.mark.parametrize(("verdict", "told"), VERDICTS.values(), ids=VERDICTS)
def test_the_verdict_is_waited_for(
    api: FakeApi, capsys: pytest.CaptureFixture[str], verdict: Object, told: str | None
) -> None:
    answered(api, {"phase": "Succeeded", "message": "done", "reproduction": verdict})
    if told is None:
        with pytest.raises(Stop, match="Different: digits-v1 by the run digits-v1-again: the seed: 7 then, 8 now"):
            reproduce(api, wait=True)
    else:
        reproduce(api, wait=True)
        assert capsys.readouterr().out == told


def test_provenance_is_a_statement_about_the_file(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    again.provenance(api, None, "digits-v1")
    (subject,) = json.loads(capsys.readouterr().out)["subject"]
    digest = scene.artifact("digits", 1)["digest"].removeprefix("sha256:")
    assert subject["digest"] == {"sha256": digest}
