"""What a person sees of models, versions and runs, and what that costs the API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slipway.cli import listing
from slipway.cli.errors import Stop
from slipway.cli.options import Output
from tests.support import registry_scene as scene
from tests.support.fake_api import FakeApi
from tests.support.stories import compare

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def api() -> FakeApi:
    """Two models; digits is in the middle of a canary."""
    return FakeApi(
        scene.version(),
        scene.version(number=2, aliases=["champion"]),
        scene.version(number=10, phase="Verifying"),
        scene.version("fraud", phase="Failed"),
        scene.version("other", namespace="elsewhere"),
        scene.run(modelVersion="digits-v1"),
        scene.run("digits-9", phase="Running", progress={"percent": 35}, message="step 7 of 20"),
        scene.run("fraud-1", model="fraud", phase="Failed", message="accuracy is 0.71 and must be 0.9 at least"),
        scene.deployment(candidate="digits-v2", weight=10),
    )


def test_models(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    listing.models(api, None, False, Output.TEXT)
    listing.models(api, None, True, Output.TEXT)
    compare(capsys.readouterr().out.splitlines(), GOLDEN / "models.txt")


def test_versions(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    listing.versions(api, None, "digits", 0, Output.TEXT)
    listing.versions(api, None, "digits", 0, Output.WIDE)
    compare(capsys.readouterr().out.splitlines(), GOLDEN / "versions.txt")


def test_a_shadow_has_no_share_and_is_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    copies = scene.deployment(candidate="digits-v2", candidateRole="shadow")
    api = FakeApi(scene.version(), scene.version(number=2), copies)
    listing.models(api, None, False, Output.TEXT)
    listing.versions(api, None, "digits", 0, Output.TEXT)
    shown = capsys.readouterr().out
    assert "digits: v1 100%, v2 shadow" in shown
    assert "digits shadow" in shown
    listing.models(api, None, False, Output.JSON)
    (one,) = json.loads(capsys.readouterr().out)
    assert {s["version"]: s["role"] for s in one["servers"]} == {"digits-v1": "stable", "digits-v2": "shadow"}


def test_runs(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    listing.runs(api, None, False, None, 0, Output.TEXT)
    listing.runs(api, None, False, "fraud", 0, Output.WIDE)
    compare(capsys.readouterr().out.splitlines(), GOLDEN / "runs.txt")


def test_json_has_what_the_table_has(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    listing.models(api, None, False, Output.JSON)
    digits, fraud = json.loads(capsys.readouterr().out)
    assert (digits["model"], digits["versions"], digits["newest"]["name"]) == ("digits", 3, "digits-v10")
    assert digits["aliases"] == {"champion": "digits-v2"}
    assert {(s["version"], s["percent"]) for s in digits["servers"]} == {("digits-v1", 90), ("digits-v2", 10)}
    assert (fraud["model"], fraud["newest"]["phase"]) == ("fraud", "Failed")


def test_a_list_reads_no_whole_object(api: FakeApi) -> None:
    listing.models(api, None, False, Output.TEXT)
    listing.runs(api, None, False, None, 0, Output.TEXT)
    assert {verb for verb, _ in api.asked} == {"TABLE"}


def test_of_many_versions_only_those_that_are_shown_are_read_whole(capsys: pytest.CaptureFixture[str]) -> None:
    api = FakeApi(*(scene.version(number=n) for n in range(1, 31)))
    listing.versions(api, None, "digits", 3, Output.TEXT)
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()[1:]] == ["digits-v30", "digits-v29", "digits-v28"]
    assert "3 of 30 versions" in shown.err
    assert [path for verb, path in api.asked if verb == "GET"] == [
        f"/apis/slipway.dev/v1alpha1/namespaces/team/modelversions/digits-v{n}" for n in (30, 29, 28)
    ]


def test_who_may_not_read_deployments_still_sees_models(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.forbidden = {"deployments"}
    listing.models(api, None, False, Output.TEXT)
    shown = capsys.readouterr()
    assert "champion: v2" in shown.out
    assert "SERVED BY" not in shown.out
    assert "what serves is not shown: anna may not list deployments" in shown.err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            lambda api: listing.versions(api, None, "nope", 0, Output.TEXT),
            "no version of a model nope in the namespace",
        ),
        (lambda api: listing.models(api, "team", True, Output.TEXT), "either --namespace or --all-namespaces"),
    ],
    ids=["an unknown model", "two places at once"],
)
def test_what_cannot_be_answered_is_a_sentence(api: FakeApi, command: Any, words: str) -> None:
    with pytest.raises(Stop, match=words):
        command(api)
