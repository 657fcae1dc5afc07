"""The lineage annotation: taken over as it is, or refused with a sentence; never an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.api.model_version import LINEAGE_ANNOTATION
from slipway.registry import lineage
from slipway.registry.lineage import Broken
from tests.support.builders import DIGEST, model_version

GOOD: dict[str, Any] = {
    "origin": "Trained",
    "trainingRun": {"name": "digits-1", "uid": "u", "attempts": 1},
    "code": {"image": {"ref": "trainer:1"}, "entrypoint": "train:train"},
    "data": [
        {"name": "train", "uri": "s3://data/digits/", "store": "default", "digest": DIGEST, "files": 1, "bytes": 2}
    ],
    "parameters": {"epochs": "20"},
    "seed": 7,
    "environment": {"python": "3.12"},
    "metrics": [{"name": "accuracy", "value": "0.97"}],
    "artifact": {"uri": "s3://models/m.onnx", "digest": DIGEST, "size": 1, "store": "default"},
    "result": "s3://models/result.json",
}


def annotated(text: str) -> dict[str, Any]:
    return model_version(trainingRun="digits-1", annotations={LINEAGE_ANNOTATION: text})


def test_a_good_one_is_taken_over_word_for_word() -> None:
    made = lineage.read(annotated(json.dumps(GOOD)))
    assert made is not None
    assert made.wire() == GOOD


def test_nobody_brings_reproductions_along() -> None:
    told = {"trainingRun": "digits-again", "uid": "u", "verdict": "Identical", "at": "2026-01-01T00:00:00Z"}
    made = lineage.read(annotated(json.dumps({**GOOD, "reproductions": [told], "reproductionsCut": 3})))
    assert made is not None
    assert made.wire() == GOOD


def test_one_of_an_older_operator_does_not_say_its_origin() -> None:
    made = lineage.read(annotated(json.dumps({k: v for k, v in GOOD.items() if k != "origin"})))
    assert made is not None
    assert made.origin == "Trained"


def test_an_imported_model_has_none() -> None:
    assert lineage.read(model_version()) is None


def test_the_annotation_goes_when_the_stored_status_says_all_of_it() -> None:
    text = json.dumps(GOOD)
    version = annotated(text)
    assert lineage.copied(version) is None, "nothing is stored yet"
    again = {"trainingRun": "digits-again", "uid": "u", "verdict": "Identical", "at": "2026-01-01T00:00:00Z"}
    assert lineage.copied({**version, "status": {"lineage": {**GOOD, "reproductions": [again]}}}) == text
    forgetful = {k: v for k, v in GOOD.items() if k != "result"}
    assert lineage.copied({**version, "status": {"lineage": forgetful}}) is None, "CRDs of another release"
    assert lineage.copied({**annotated("{}"), "status": {"lineage": GOOD}}) is None, "somebody's own words"
    assert lineage.copied({**model_version(), "status": {"lineage": GOOD}}) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": "seven"}, "seed: Input should be a valid integer"),
        ({"seed": None}, "seed: Field required"),
        ({"trainingRun": None}, "trainingRun: Field required"),
        ({"trainingRun": {"name": "digits-2", "uid": "u"}}, "the lineage of another run than spec.trainingRun"),
        ({"origin": "Imported"}, "its origin Imported is not for an annotation to say"),
        ({"artifact": {**GOOD["artifact"], "digest": "sha256:" + "b" * 64}}, "the lineage of another file"),
        ({"seed": 2**63}, "a number is too large"),
        ({"data": GOOD["data"] * 2}, "data: 'train' stands there twice"),
        ({"metrics": GOOD["metrics"] * 2}, "metrics: 'accuracy' stands there twice"),
        ({"metrics": [{"name": f"m{i}", "value": "1"} for i in range(65)]}, "metrics: List should have at most 64"),
        ({"artifact": {**GOOD["artifact"], "digest": "md5:1"}}, "the lineage of another file"),
        ({"artifact": {**GOOD["artifact"], "uri": "http://x/"}}, "is no s3://bucket/key"),
    ],
)
def test_what_a_status_may_not_hold_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Broken, match=words):
        lineage.read(annotated(json.dumps({**GOOD, **change})))


@given(st.text(max_size=50) | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists).map(json.dumps))
def test_whatever_somebody_writes_there_is_no_crash(text: str) -> None:
    with pytest.raises(Broken):
        lineage.read(annotated(text))
