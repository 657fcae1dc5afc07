"""The gate, as a table: what the run and the champion have to show, whether it is passed, and the sentence."""

from __future__ import annotations

from typing import Any

import pytest

from slipway import contract
from slipway.api.training_run import Gate
from slipway.training import gate
from slipway.training.gate import Measured
from tests.support.builders import DIGEST, model_version, train_result

OTHER = "sha256:" + "b" * 64


def champion(value: str | None = "0.97", data: dict[str, str] | None = None, **status: Any) -> dict[str, Any]:
    read = {"train": DIGEST, "test": DIGEST} if data is None else data
    lineage = {
        "artifact": model_version()["spec"]["artifact"],
        "metrics": [{"name": "accuracy", "value": value}] if value else [],
        "data": [{"name": n, "uri": "s3://data/x", "digest": d, "files": 1, "bytes": 1} for n, d in read.items()],
    }
    return model_version("digits-v2", status={"heldAliases": ["champion"], "lineage": lineage, **status})


def asked(**more: Any) -> Gate:
    terms = {"alias": "champion", "by": "0.01", "better": "Higher", **more.pop("terms", {})}
    return Gate.model_validate({"metric": "accuracy", "notWorseThan": terms, **more})


ONLY_SOME = ". Where the metric is measured on some of the data only, name those in notWorseThan.data"
NO_TEST = f"it read no data set of that name, and this run read {DIGEST} as test"
WHO = "digits-v2, which holds champion"
ON_ALL = "on the same test, train"
GOOD = f"accuracy 0.90 is no more than 0.01 worse than the 0.97 of {WHO}, {ON_ALL}"
CASES: dict[str, tuple[Gate, str, list[dict[str, Any]], bool, str]] = {
    "better than the champion": (
        asked(), "0.98", [champion()], True,
        f"accuracy 0.98 is no more than 0.01 worse than the 0.97 of {WHO}, {ON_ALL}",
    ),
    "worse by no more than is put up with": (
        asked(), "0.96", [champion()], True,
        f"accuracy 0.96 is no more than 0.01 worse than the 0.97 of {WHO}, {ON_ALL}",
    ),
    "worse by more": (
        asked(), "0.9599", [champion()], False,
        f"accuracy 0.9599 is more than 0.01 worse than the 0.97 of {WHO}, {ON_ALL}",
    ),
    "a loss is better where it is lower": (
        asked(terms={"better": "Lower"}), "0.985", [champion()], False,
        f"accuracy 0.985 is more than 0.01 worse than the 0.97 of {WHO}, {ON_ALL}",
    ),
    "a max says that lower is better": (
        asked(max="1", terms={"better": None}), "0.90", [champion()], True,
        f"accuracy 0.90 is at most the gate's max 1; {GOOD}",
    ),
    "a min says that higher is better, and is kept for itself": (
        asked(min="0.99", terms={"better": None}), "0.98", [champion()], False,
        "accuracy 0.98 is below the gate's min 0.99",
    ),
    "nobody holds the alias": (
        asked(), "0.5", [champion(heldAliases=[])], True,
        "no version holds champion: accuracy 0.5 was compared with none",
    ),
    "the champion learned from other data": (
        asked(), "0.99", [champion(data={"train": OTHER, "test": DIGEST})], False,
        f"accuracy cannot be compared with {WHO}: it read {OTHER}, and this run read {DIGEST} as train{ONLY_SOME}",
    ),
    "the champion was measured on data that this run leaves out": (
        asked(), "0.99", [champion(data={"train": DIGEST, "test": DIGEST, "holdout": OTHER})], False,
        f"accuracy cannot be compared with {WHO}: it read {OTHER} as holdout, and this run read none{ONLY_SOME}",
    ),
    "the run reads data that the champion was not measured on": (
        asked(), "0.99", [champion(data={"train": DIGEST})], False,
        f"accuracy cannot be compared with {WHO}: {NO_TEST}{ONLY_SOME}",
    ),
    "but the data that were named are the same": (
        asked(terms={"data": ["test", "train"]}), "0.99",
        [champion(data={"train": DIGEST, "test": DIGEST, "holdout": OTHER})], True,
        f"accuracy 0.99 is no more than 0.01 worse than the 0.97 of {WHO}, {ON_ALL}",
    ),
    "data that the trainer reported no digest of": (
        asked(terms={"data": ["holdout"]}), "0.99", [champion()], False,
        f"accuracy cannot be compared with {WHO}: neither read a holdout",
    ),
    "but was measured on the same": (
        asked(terms={"data": ["test"]}), "0.99", [champion(data={"train": OTHER, "test": DIGEST})], True,
        f"accuracy 0.99 is no more than 0.01 worse than the 0.97 of {WHO}, on the same test",
    ),
    "the champion had no such data set": (
        asked(terms={"data": ["test"]}), "0.99", [champion(data={"train": DIGEST})], False,
        f"accuracy cannot be compared with {WHO}: it read no data set of that name, and this run read {DIGEST} as test",
    ),
    "the champion was measured by something else": (
        asked(), "0.99", [champion(None)], False,
        f"accuracy cannot be compared with {WHO}: its lineage has no number for accuracy",
    ),
    "the champion was imported and has no lineage": (
        asked(), "0.99", [champion(lineage=None)], False,
        f"accuracy cannot be compared with {WHO}: it read no data set of that name, and this run read {DIGEST} as test",
    ),
    "two that have no difference": (
        asked(), "inf", [champion("Infinity")], False,
        f"accuracy inf cannot be compared with {WHO}: nobody can say how far it is from Infinity",
    ),
    "two whose difference no number holds": (
        asked(), "9e999999", [champion("-9e999999")], False,
        f"accuracy 9e999999 cannot be compared with {WHO}: nobody can say how far it is from -9e999999",
    ),
    "no number": (asked(), "nan", [champion()], False, "accuracy nan is no number"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_a_gate_says(case: str) -> None:
    given, value, versions, passed, message = CASES[case]
    run = Measured({"accuracy": value}, {"train": DIGEST, "test": DIGEST})
    (judged,) = gate.judge([given], run, versions)
    assert (judged.passed, judged.message) == (passed, message)
    assert (gate.missed([judged]) is None) == passed


def test_a_sentence_for_each_that_was_missed() -> None:
    gates = [Gate(metric="accuracy", min="0.99"), Gate(metric="f1", min="0.1"), Gate(metric="accuracy", max="1")]
    said = gate.missed(gate.judge(gates, Measured.of(train_result()), ()))
    assert said == "accuracy 0.9733 is below the gate's min 0.99; the training reported no f1 (it reported accuracy)"


def test_what_was_compared_is_kept_for_the_lineage() -> None:
    (judged,) = gate.judge([asked()], Measured({"accuracy": "0.98"}, {"train": DIGEST, "test": DIGEST}), [champion()])
    assert judged.lineage.wire() == {
        "metric": "accuracy",
        "message": judged.message,
        "against": {"alias": "champion", "modelVersion": "digits-v2", "value": "0.97"},
    }


def test_an_alias_between_two_versions_means_the_one_that_is_about_to_take_it() -> None:
    letting_go, taking = champion(heldAliases=[]), model_version("digits-v3", aliases=["champion"])
    taking["status"] = {"phase": "Ready", "lineage": champion("0.5")["status"]["lineage"]}
    (judged,) = gate.judge([asked()], Measured({"accuracy": "0.6"}, {}), [letting_go, taking])
    assert judged.lineage.against is not None
    assert judged.lineage.against.model_version == "digits-v3"


def test_a_metric_is_taken_from_what_the_trainer_reported() -> None:
    result = train_result(metrics=[contract.Metric("loss", "0.1"), contract.Metric("loss", "0.2")])
    assert Measured.of(result) == Measured({"loss": "0.2"}, {"train": DIGEST})
