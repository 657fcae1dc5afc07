"""Which version of a Dataset a run takes, as a table: what the Dataset says, and what becomes of the run."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.api.common import ACTION_ANNOTATION
from slipway.api.reasons import Reason
from slipway.api.training_run import DataPin, TrainingRunSpec
from slipway.kube.objects import Key
from slipway.training.data import Trouble, awaited, resolved, settle
from tests.support.builders import T0, dataset, training_run

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


def version(digest: str, *, passed: bool = True, uri: str = "s3://data/digits/") -> dict[str, Any]:
    return {
        "digest": digest,
        "at": T0,
        "seenAt": T0,
        "uri": uri,
        "store": "lake",
        "files": 2,
        "bytes": 1000,
        "manifest": f"s3://models/manifests/{digest[7:]}.txt",
        "outputStore": "kept",
        "profile": f"s3://models/profiles/{digest[7:]}.json",
        "passed": passed,
    }


def checked(*versions: dict[str, Any], number: int = 1, generation: int = 1) -> dict[str, Any]:
    """The status after a check that found the first of the versions."""
    return {
        "message": "two rows lack a label",
        "digest": versions[0]["digest"],
        "check": {"number": number, "generation": generation},
        "checked": {
            "number": 1,
            "generation": 1,
            "at": T0,
            "passed": versions[0]["passed"],
            "rules": 3,
            "read": 2,
        },
        "versions": list(versions),
    }


def stalled(reason: str) -> dict[str, Any]:
    condition = {"type": "Stalled", "status": "True", "reason": reason, "message": "no such bucket"}
    return {"conditions": [{**condition, "lastTransitionTime": T0, "observedGeneration": 1}]}


def of(status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return dataset(uid="dataset-uid", status=status, **meta)


ASKED = {ACTION_ANNOTATION: "refresh"}
PIN = {"name": "train", "dataset": "digits", "uri": "s3://data/digits/", "store": "lake"}
UNDER_WAY = "the check of the Dataset digits has not ended yet"

TAKEN: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "the newest": (of(checked(version(A))), None, A),
    "the one that is asked for": (of(checked(version(B), version(A))), A, A),
    "one that passed, though the newest did not": (of(checked(version(B, passed=False), version(A))), A, A),
    "one that passed, though the next check is under way": (of(checked(version(A), number=2)), A, A),
}


@pytest.mark.parametrize("sentence", TAKEN)
def test_is_taken(sentence: str) -> None:
    found, asked, taken = TAKEN[sentence]
    got = settle(spec(asked), {"digits": found})
    kept = {
        "manifest": f"s3://models/manifests/{taken[7:]}.txt",
        "profile": f"s3://models/profiles/{taken[7:]}.json",
        "outputStore": "kept",
    }
    assert got == [DataPin.model_validate({**PIN, "version": taken, **kept})]


REFUSED: dict[str, tuple[dict[str, Any] | None, str | None, str, str, str]] = {
    "it does not exist": (
        None,
        None,
        Reason.DATASET_MISSING,
        "stalled",
        "the Dataset digits of spec.data does not exist: apply it, and the run goes on",
    ),
    "it was never looked at": (of({}), None, Reason.DATASET_CHECKING, "moving", UNDER_WAY),
    "its spec changed": (of(checked(version(A), generation=0)), None, Reason.DATASET_CHECKING, "moving", UNDER_WAY),
    "its next check is under way": (
        of(checked(version(A), number=2)),
        None,
        Reason.DATASET_CHECKING,
        "moving",
        UNDER_WAY,
    ),
    "somebody asks for a check": (
        of({**checked(version(A)), **stalled("ChecksFailed")}, annotations=ASKED),
        None,
        Reason.DATASET_CHECKING,
        "moving",
        UNDER_WAY,
    ),
    "its check cannot go on": (
        of({**checked(version(A), number=2), **stalled("BucketNotFound")}),
        None,
        "BucketNotFound",
        "stalled",
        "the Dataset digits cannot be checked: no such bucket",
    ),
    "its data do not pass": (
        of(checked(version(B, passed=False), version(A))),
        None,
        Reason.DATASET_FAILED,
        "failed",
        "the data of the Dataset digits do not pass their checks, so no pod was made: two rows lack a label",
    ),
    "the version that is asked for does not pass": (
        of(checked(version(A), version(B, passed=False))),
        B,
        Reason.DATASET_FAILED,
        "failed",
        (
            "the data of the Dataset digits do not pass their checks, so no pod was made: "
            f"the version {B} did not when it was checked last"
        ),
    ),
    "nobody has seen the version that is asked for": (
        of(checked(version(A))),
        C,
        Reason.DATASET_VERSION_MISSING,
        "stalled",
        (
            f"the Dataset digits has no version {C}: its newest is {A}. Where the data are those again, say kubectl "
            "annotate dset digits slipway.dev/action=refresh, and the run goes on; or delete the run and apply one "
            "without digest, for the newest, or with one of status.versions"
        ),
    ),
    "the version that is asked for may be what is read now": (
        of(checked(version(A), number=2)),
        C,
        Reason.DATASET_CHECKING,
        "moving",
        UNDER_WAY,
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_is_not_taken(sentence: str) -> None:
    found, asked, reason, outlook, message = REFUSED[sentence]
    got = settle(spec(asked), {"digits": found} if found else {})
    assert isinstance(got, Trouble)
    assert (got.reason, got.outlook, got.message) == (reason, outlook, message)


def spec(digest: str | None = None) -> TrainingRunSpec:
    data = [{"name": "train", "dataset": "digits", **({"digest": digest} if digest else {})}]
    return TrainingRunSpec.model_validate(training_run(data=data)["spec"])


def test_whatever_a_version_may_hold_can_be_taken() -> None:
    """A pin that the types refuse would end every pass over the run, for ever."""
    longest = {field: f"s3://{'a' * (most - 5)}" for field, most in (("uri", 1024), ("profile", 2048))}
    got = settle(spec(None), {"digits": of(checked({**version(A), **longest}))})
    assert isinstance(got, list)
    assert {"uri": got[0].uri, "profile": got[0].profile} == longest


def test_what_can_never_be_is_told_first() -> None:
    data = [{"name": name, "dataset": name} for name in ("absent", "checking", "bad")]
    many = TrainingRunSpec.model_validate(training_run(data=data)["spec"])
    bad = of(checked(version(B, passed=False)), name="bad")
    got = settle(many, {"checking": of({}, name="checking"), "bad": bad})
    assert isinstance(got, Trouble)
    assert got.reason == Reason.DATASET_FAILED


def test_an_address_stands_beside_a_dataset() -> None:
    data = [{"name": "test", "uri": "s3://data/test.csv"}, {"name": "train", "dataset": "digits"}]
    both = TrainingRunSpec.model_validate(training_run(data=data)["spec"])
    pins = settle(both, {"digits": of(checked(version(A)))})
    assert not isinstance(pins, Trouble)
    assert [(d.name, pin.version if pin else None) for d, pin in resolved(both, pins)] == [("test", None), ("train", A)]


def test_who_waits_for_whom() -> None:
    waiting = training_run(data=[{"name": "train", "dataset": "digits"}])
    assert awaited(waiting) == [Key("team", "digits")]
    settled = {"data": [{**PIN, "version": A}]}
    assert awaited({**waiting, "status": settled}) == []
    assert awaited({**waiting, "status": {"phase": "Failed", "completionTime": T0}}) == []
