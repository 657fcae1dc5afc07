"""Approving, naming and archiving a version: what is written, in which order, and what a person is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slipway.cli import deciding, promoting
from slipway.cli.client import Object
from slipway.cli.errors import Missing, Stop
from slipway.cli.reading import version
from tests.support import registry_scene as scene
from tests.support.fake_api import FakeApi


@pytest.fixture
def api() -> FakeApi:
    """v1 and v3 list champion, so v3 holds it."""
    first = scene.version(number=1, aliases=["champion"])
    first["status"]["heldAliases"] = []
    return FakeApi(
        first,
        scene.version(number=2),
        scene.version(number=3, aliases=["champion", "newest"]),
        scene.version(number=4, phase="Verifying"),
        scene.version("fraud", number=9, aliases=["champion"]),
    )


def spec(api: FakeApi, name: str) -> Object:
    found: Object = next(o["spec"] for o in api.objects if o["metadata"]["name"] == name)
    return found


def listed(api: FakeApi, alias: str = "champion") -> list[str]:
    return [o["metadata"]["name"] for o in api.objects if alias in o["spec"]["aliases"]]


def test_a_decision_is_in_the_callers_name(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    deciding.decide(api, None, "digits-v2", "Rejected", "too slow")
    assert spec(api, "digits-v2")["approval"] == {"state": "Rejected", "by": "anna", "comment": "too slow"}
    deciding.decide(api, None, "digits-v2", "Approved", None)
    assert spec(api, "digits-v2")["approval"] == {"state": "Approved", "by": "anna"}
    assert capsys.readouterr().out.splitlines()[-1] == "digits-v2: Approved by anna"


def just_before_the_write(api: FakeApi, happens: Callable[[Object], None]) -> None:
    """Somebody else comes between our look at a version and our write."""
    call = api.call
    done: list[bool] = []

    def between(method: str, path: str, body: Any = None, **more: str) -> Object:
        if method == "PATCH" and not done:
            done.append(True)
            live = api._one(path)
            happens(live)
            live["metadata"]["resourceVersion"] = "17"
        return call(method, path, body, **more)

    api.call = between  # type: ignore[method-assign]


def test_another_version_that_took_the_name_is_not_approved(api: FakeApi) -> None:
    just_before_the_write(api, lambda live: live["metadata"].update(uid="another"))
    with pytest.raises(Stop, match="digits-v2 was deleted and registered anew in this moment: look at the new one"):
        deciding.decide(api, None, "digits-v2", "Approved", None)
    assert "approval" not in spec(api, "digits-v2")


def test_a_decision_of_the_same_moment_is_not_overwritten(api: FakeApi) -> None:
    rejected = {"state": "Rejected", "by": "jane"}
    just_before_the_write(api, lambda live: live["spec"].update(approval=rejected))
    with pytest.raises(Stop, match=r"somebody else decided about digits-v2 in this moment \(Rejected by jane\)"):
        deciding.decide(api, None, "digits-v2", "Approved", None)
    assert spec(api, "digits-v2")["approval"] == rejected


def test_what_the_operator_writes_meanwhile_is_no_reason_to_ask_again(api: FakeApi) -> None:
    just_before_the_write(api, lambda live: live["status"].update(message="it was verified"))
    deciding.decide(api, None, "digits-v2", "Approved", None)
    assert spec(api, "digits-v2")["approval"] == {"state": "Approved", "by": "anna"}


def test_the_approver_names_the_file(api: FakeApi) -> None:
    digest = spec(api, "digits-v2")["artifact"]["digest"]
    other = "sha256:" + "0" * 64
    with pytest.raises(Stop, match=f"digits-v2 is the file {digest}, and not {other}: nothing was decided"):
        deciding.decide(api, None, "digits-v2", "Approved", None, other)
    with pytest.raises(Stop, match="is no digest in full: write sha256: and 64 digits"):
        deciding.decide(api, None, "digits-v2", "Approved", None, digest[:19])
    assert "approval" not in spec(api, "digits-v2")
    deciding.decide(api, None, "digits-v2", "Approved", None, digest)
    assert spec(api, "digits-v2")["approval"] == {"state": "Approved", "by": "anna"}


def test_an_alias_moves_forward(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    deciding.alias(api, None, "digits-v4", "champion", False)
    assert listed(api) == ["digits-v1", "digits-v3", "digits-v4", "fraud-v9"]
    assert "it is Verifying, and holds the alias as soon as it is Ready" in capsys.readouterr().out


def test_an_alias_moves_back_and_nobody_is_without_it_meanwhile(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    writes: list[list[str]] = []
    call = api.call

    def watched(method: str, path: str, body: Any = None, **more: str) -> Object:
        made = call(method, path, body, **more)
        if method == "PATCH":
            writes.append(listed(api))
        return made

    api.call = watched  # type: ignore[method-assign]
    deciding.alias(api, None, "digits-v2", "champion", False)
    assert writes == [
        ["digits-v1", "digits-v2", "digits-v3", "fraud-v9"],
        ["digits-v1", "digits-v2", "fraud-v9"],
    ]
    assert spec(api, "digits-v3")["aliases"] == ["newest"]
    assert capsys.readouterr().out == "digits-v2 has the alias champion, taken from digits-v3\n"


def test_an_alias_that_is_taken_away_may_go_to_who_lists_it_too(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    deciding.alias(api, None, "digits@champion", "champion", True)
    assert listed(api) == ["digits-v1", "fraud-v9"]
    assert "digits-v1 lists it too" in capsys.readouterr().out


def test_a_list_that_others_write_too_loses_nothing(api: FakeApi) -> None:
    """Somebody gives v2 another alias between our look and our write."""
    found = api.call("GET", "/apis/slipway.dev/v1alpha1/namespaces/team/modelversions/digits-v2")
    live = next(o for o in api.objects if o["metadata"]["name"] == "digits-v2")
    live["spec"]["aliases"] = ["theirs"]
    live["metadata"]["resourceVersion"] = "17"
    deciding._list(api, found, "ours", True)
    assert spec(api, "digits-v2")["aliases"] == ["theirs", "ours"]


def test_archive_and_back(api: FakeApi) -> None:
    deciding.archive(api, None, "digits-v1", False)
    assert spec(api, "digits-v1")["archived"] is True
    deciding.archive(api, None, "digits-v1", True)
    assert spec(api, "digits-v1")["archived"] is False


def test_a_version_that_is_not_there(api: FakeApi) -> None:
    with pytest.raises(Missing, match="there is no ModelVersion digits-v8 in the namespace team"):
        deciding.archive(api, None, "digits-v8", False)
    with pytest.raises(Stop, match="no version of digits holds the alias nobody"):
        deciding.alias(api, None, "digits@nobody", "champion", False)


def taking_over(api: FakeApi, **status: Any) -> None:
    """The operator: what it says of a version that was just written."""
    create = api._create

    def plays(path: str, body: Object) -> Object:
        made = create(path, body)
        if made.get("kind") == "ModelVersion":
            made["status"] = status
        return made

    api._create = plays  # type: ignore[method-assign]


def test_a_promotion_is_a_copy_that_says_of_what(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    taking_over(api, phase="Verifying", message="a pod loads the file", lineage={"origin": "Promoted"})
    place = {"uri": "s3://prod/digits.onnx"}
    promoting.promote(api, None, "digits-v2", "prod", place, approval=True, timeout=0)
    copy, original = api.objects[-1], spec(api, "digits-v2")
    assert (copy["metadata"]["namespace"], copy["metadata"]["name"]) == ("prod", "digits-v2")
    assert copy["spec"]["promotedFrom"] == {"namespace": "team", "modelVersion": "digits-v2"}
    assert copy["spec"]["artifact"] == original["artifact"] | place
    assert copy["spec"]["signature"] == original["signature"]
    assert copy["spec"]["approval"] == {"required": True}
    assert copy["metadata"]["annotations"] == {"slipway.dev/created-by": "anna"}, "what a namespace of four eyes asks"
    assert "digits-v2 is in prod, with its lineage. Verifying: a pod loads the file" in capsys.readouterr().out


def test_a_promotion_that_is_not_allowed_says_so(api: FakeApi) -> None:
    taking_over(api, message="the namespace prod does not take versions from team")
    with pytest.raises(Stop, match="digits-v2 stands in prod, and waits: the namespace prod does not take"):
        promoting.promote(api, None, "digits-v2", "prod", {}, approval=False, timeout=0)
    with pytest.raises(Stop, match="prod has a digits-v2 already"):
        promoting.promote(api, None, "digits-v2", "prod", {}, approval=False, timeout=0)
    with pytest.raises(Stop, match="digits-v1 is in team already"):
        promoting.promote(api, None, "digits-v1", "team", {}, approval=False, timeout=0)


def test_while_an_alias_moves_the_one_that_is_about_to_hold_it_is_meant(api: FakeApi) -> None:
    for made in api.objects:
        made["status"]["heldAliases"] = []
    assert version(api, "team", "digits@champion")["metadata"]["name"] == "digits-v3"
