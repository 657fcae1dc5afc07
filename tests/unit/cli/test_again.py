"""Making a version once more: the run that is written, the names that are free, and the verdict that is told."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize(("verdict", "told"), VERDICTS.values(), ids=VERDICTS)
def test_the_verdict_is_waited_for(
    api: FakeApi, capsys: pytest.CaptureFixture[str], verdict: Object, told: str | None
) -> None:
    create = api._create

    def plays(path: str, body: Object) -> Object:
        run = create(path, body)
        if path.endswith("/selfsubjectreviews"):
            return run
        run["status"] = {"phase": "Succeeded", "message": "done", "reproduction": verdict}
        return run

    api._create = plays  # type: ignore[method-assign]
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
