"""A version's model card: the page that a person reads, and the ML-BOM that a program reads, hold the same."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion

from slipway.cli import carding
from slipway.cli.client import Object
from slipway.cli.errors import Stop
from slipway.cli.options import CardOutput
from tests.support import registry_scene as scene
from tests.support.fake_api import FakeApi
from tests.support.stories import compare

GOLDEN = Path(__file__).parent / "golden"
ABOUT = """
description: Reads a handwritten digit.
users: [The post office]
technicalLimitations:
- Digits only; a letter is read as some digit.
- "Scans of 8 x 8 pixels: <script>alert(1)</script> | a pipe"
"""


def everything() -> Object:
    """A version with all that may be known of one."""
    made = scene.version(number=2, aliases=["champion"], parent="digits-v1", data={"train": "t", "test": "e"})
    made["metadata"]["uid"] = "00000000-0000-4000-8000-000000000002"
    made["status"] |= {
        "approval": {"state": "Approved", "by": "jane", "at": "2026-11-22T04:00:00Z", "comment": "seen"},
        "verification": {
            "digest": made["spec"]["artifact"]["digest"],
            "provider": "CPUExecutionProvider",
            "onnxruntime": "1.21",
            "verifiedAt": "2026-11-22T03:00:00Z",
        },
    }
    made["status"]["evidence"] = {
        "key": scene.digest("key"),
        "signature": {"uri": "s3://models/digits/runs/2/model.sig", "digest": scene.digest("signature")},
        "verifiedAt": "2026-11-22T03:01:00Z",
    }
    made["status"]["lineage"]["gates"] = [{"metric": "accuracy", "message": "accuracy is 0.92 and must be 0.9"}]
    made["status"]["lineage"]["reproductions"] = [{"trainingRun": "digits-v2-again", "verdict": "Identical"}]
    made["status"]["lineage"]["trainingRun"]["createdBy"] = "ann"
    return made


def imported() -> Object:
    """One of which nobody knows anything."""
    made = scene.version(number=3)
    made["status"]["lineage"] = {"origin": "Imported", "source": {"description": "bought"}, "artifact": {}}
    return made


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(everything(), imported(), scene.deployment(candidate="digits-v2", weight=10))


@pytest.fixture
def about(tmp_path: Path) -> Path:
    path = tmp_path / "about.yaml"
    path.write_text(ABOUT)
    return path


def test_as_markdown(api: FakeApi, about: Path, capsys: pytest.CaptureFixture[str]) -> None:
    carding.write(api, None, "digits@champion", about, CardOutput.MD)
    compare(capsys.readouterr().out.splitlines(), GOLDEN / "card.md.txt")


class Seen(HTMLParser):
    """The text of a page, and whether its tags are closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_says_what_the_markdown_says(api: FakeApi, about: Path, capsys: pytest.CaptureFixture[str]) -> None:
    carding.write(api, None, "digits-v2", about, CardOutput.HTML)
    page = Seen(capsys.readouterr().out)
    assert not page.open
    # what people wrote is text, and nothing is fetched from elsewhere
    assert not page.tags & {"script", "link", "img", "iframe"}
    words = " ".join(page.text)
    for told in (
        "digits, version 2",
        "It is the champion.",
        "It was fine-tuned from digits-v1.",
        "<script>alert(1)</script> | a pipe",
        scene.digest("t"),
        "by jane, 2026-11-22 04:00:00 UTC: seen",
        "Identical by the run digits-v2-again",
        "candidate, 10% of the traffic",
    ):
        assert told in words


@pytest.mark.parametrize("name", ["digits-v2", "digits-v3"], ids=["all is known", "nothing is known"])
def test_the_bom_is_cyclonedx(api: FakeApi, about: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    from cyclonedx.validation.json import JsonStrictValidator  # takes a second, which other tests need not wait for

    carding.write(api, None, name, about if name == "digits-v2" else None, CardOutput.JSON)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(capsys.readouterr().out) is None


def test_the_bom_holds_what_it_was_made_of(api: FakeApi, about: Path, capsys: pytest.CaptureFixture[str]) -> None:
    carding.write(api, None, "digits-v2", about, CardOutput.JSON)
    bom = json.loads(capsys.readouterr().out)
    model = bom["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "digits", "2")
    digest = scene.artifact("digits", 2)["digest"].removeprefix("sha256:")
    assert model["hashes"] == [{"alg": "SHA-256", "content": digest}]
    card = model["modelCard"]
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [{"type": "accuracy", "value": "0.92"}]
    assert card["considerations"]["users"] == ["The post office"]
    refs = {c["bom-ref"] for c in bom["components"]}
    assert {d["ref"] for d in card["modelParameters"]["datasets"]} == {"data:train", "data:test"} & refs
    (depends,) = (d["dependsOn"] for d in bom["dependencies"] if d["ref"] == model["bom-ref"])
    assert set(depends) == refs >= {"code", "image", "framework:torch", "model:digits-v1"}
    carding.write(api, None, "digits-v2", about, CardOutput.JSON)
    assert json.loads(capsys.readouterr().out)["serialNumber"] == bom["serialNumber"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "write a map with one or more of description, users"),
        ("purpose: x", "purpose is none of description"),
        ("users: {a: b}", "users is a text or a list of texts"),
        ("users: [", "is no YAML"),
    ],
)
def test_words_that_are_no_words(api: FakeApi, tmp_path: Path, text: str, words: str) -> None:
    about = tmp_path / "about.yaml"
    about.write_text(text)
    with pytest.raises(Stop, match=words):
        carding.write(api, None, "digits-v2", about, CardOutput.MD)
    with pytest.raises(Stop, match="cannot be read"):
        carding.write(api, None, "digits-v2", tmp_path / "nothing", CardOutput.MD)


def test_a_copy_says_where_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    copy = scene.promoted(scene.promoted(everything(), "staging"), "prod")
    api = FakeApi(copy, namespace="prod")
    carding.write(api, None, "digits-v2", None, CardOutput.MD)
    told = capsys.readouterr().out
    assert "It was promoted from staging/digits-v2, which was promoted from team/digits-v2." in told
    assert "It was fine-tuned from digits-v1 in the namespace team." in told
    assert "digits-2 in the namespace team, 1 attempt" in told
    carding.write(api, None, "digits-v2", None, CardOutput.JSON)
    properties = json.loads(capsys.readouterr().out)["metadata"]["component"]["properties"]
    said = {p["name"]: p["value"] for p in properties}
    assert (said["slipway:namespace"], said["slipway:madeIn"]) == ("prod", "team")
    assert said["slipway:promotedFrom"] == "team/digits-v2, staging/digits-v2"
