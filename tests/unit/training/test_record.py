"""From the trainer's last word to a ModelVersion: what is taken over, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slipway import contract
from slipway.api.common import Label
from slipway.api.model_version import LINEAGE_ANNOTATION
from slipway.api.training_run import Ancestry, DataPin, ParentPin, TrainingRunSpec
from slipway.training import children, record
from slipway.training.record import Ended, Unusable
from tests.support.builders import DIGEST, IMAGE_DIGEST, model_version, pod, train_result, training_run

RUN = training_run(uid="run-uid", code={"configMap": "digits-code"}, parameters={"epochs": "20"})
SPEC = TrainingRunSpec.model_validate(RUN["spec"])


def ended(**changes: Any) -> Ended:
    return Ended(pod("digits-1-a", labels={}, exit_code=0), train_result(**changes))


def test_the_lineage_is_whole() -> None:
    assert record.lineage(RUN, SPEC, "trainer:1", ended(metricsCut=2), 3).wire() == {
        "origin": "Trained",
        "trainingRun": {
            "name": "digits-1",
            "uid": "run-uid",
            "startedAt": "2026-01-01T00:00:00Z",
            "finishedAt": "2026-01-01T00:01:00Z",
            "attempts": 3,
        },
        "code": {
            "configMap": {"name": "digits-code", "digest": DIGEST},
            "image": {
                "ref": "trainer:1",
                "digest": IMAGE_DIGEST,
                "pinned": f"registry/trainer:1@{IMAGE_DIGEST}",
            },
            "entrypoint": "train:train",
        },
        "data": [
            {
                "name": "train",
                "uri": "s3://data/digits/",
                "store": "default",
                "digest": DIGEST,
                "files": 2,
                "bytes": 1000,
            }
        ],
        "parameters": {"epochs": "20"},
        "seed": 7,
        "environment": {
            "python": "3.12.1",
            "torch": "2.9.0",
            "packages": DIGEST,
            "packagesUri": "s3://models/digits/runs/1/packages.txt",
        },
        "metrics": [{"name": "accuracy", "value": "0.9733", "best": "0.98"}],
        "metricsCut": 2,
        "artifact": {
            "uri": "s3://models/digits/runs/1/model.onnx",
            "digest": DIGEST,
            "size": 17432,
            "store": "default",
        },
        "parity": {"maxAbsDiff": "1e-06", "rows": 16},
        "result": "s3://models/digits/runs/1/result.json",
    }


PIN = DataPin(
    name="train",
    dataset="digits",
    version=DIGEST,
    uri="s3://data/digits/",
    store="default",
    profile="s3://models/datasets/digits/profiles/a.json",
)


def test_the_lineage_names_the_dataset_and_its_version() -> None:
    (data,) = record.lineage(RUN, SPEC, "trainer:1", ended(), 1, [PIN]).data
    assert (data.dataset, data.version, data.profile) == ("digits", DIGEST, PIN.profile)
    (other,) = record.lineage(RUN, SPEC, "trainer:1", ended(), 1, [PIN.model_copy(update={"name": "test"})]).data
    assert other.dataset is None


def test_other_data_than_the_version_that_was_settled_make_no_lineage() -> None:
    other = PIN.model_copy(update={"version": "sha256:" + "b" * 64})
    with pytest.raises(Unusable, match=f"digest {DIGEST}, but the run was to take the version sha256:bbb"):
        record.lineage(RUN, SPEC, "trainer:1", ended(), 1, [other])


def test_the_parent_and_the_weights_are_named() -> None:
    ancestry = Ancestry(data=[DIGEST])
    pin = ParentPin(
        model_version="digits-v1", uri="s3://m/w", digest=DIGEST, size=9, store="default", ancestry=ancestry
    )
    kept = contract.WeightsResult(DIGEST, 12)
    made = record.lineage(RUN, SPEC, "trainer:1", ended(weights=kept), 1, parent=pin).wire()
    assert made["parent"] == {"modelVersion": "digits-v1", "digest": DIGEST}
    assert made["ancestry"] == {"data": [DIGEST]}
    assert made["weights"] == {
        "uri": "s3://models/digits/runs/1/model.safetensors",
        "digest": DIGEST,
        "size": 12,
        "store": "default",
    }
    with pytest.raises(Unusable, match="are no file of S3"):
        record.lineage(RUN, SPEC, "trainer:1", ended(weights=contract.WeightsResult("md5:1", 12)), 1)


def test_code_by_git_is_a_commit_and_what_named_it() -> None:
    git = {"url": "https://git.example.com/digits", "revision": "main", "path": "training", "secret": "digits-git"}
    run = training_run(uid="run-uid", code={"git": git})
    spec = TrainingRunSpec.model_validate(run["spec"])
    made = record.lineage(run, spec, "trainer:1", ended(code=contract.CodeResult("c" * 40), codeDigest=None), 1)
    code = made.wire()["code"]
    assert code["git"] == {
        "url": "https://git.example.com/digits",
        "revision": "main",
        "commit": "c" * 40,
        "path": "training",
    }
    assert "configMap" not in code
    for unknown in (None, contract.CodeResult("main")):
        with pytest.raises(Unusable, match="does not name the commit that trained"):
            record.lineage(run, spec, "trainer:1", ended(code=unknown), 1)


def tensor(name: str = "x", datatype: str = "FP32", shape: list[int] | None = None) -> contract.Tensor:
    return contract.Tensor(name, datatype, shape or [-1])


def test_who_made_it_and_whether_it_waits_for_approval_are_handed_on() -> None:
    run = training_run(uid="run-uid", approval={"required": True})
    run["metadata"]["annotations"] = {"slipway.dev/created-by": "ann"}
    spec = TrainingRunSpec.model_validate(run["spec"])
    made = record.lineage(run, spec, "trainer:1", ended(), 1)
    assert made.training_run is not None
    assert made.training_run.created_by == "ann"
    registered = record.version_spec(run, spec, train_result(), 3, waits=True)
    assert registered.wire()["approval"] == {"required": True, "state": "Pending"}
    manifest = children.model_version(run, spec, registered, made)
    assert manifest["metadata"]["annotations"]["slipway.dev/created-by"] == "ann"
    unasked = record.version_spec(RUN, SPEC, train_result(), 3, waits=False)
    assert unasked.approval is None


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an artifact outside of S3": (
        {"artifact": contract.Artifact("http://169.254.169.254/", DIGEST, 1)},
        "is no s3://bucket/key",
    ),
    "a digest that is none": (
        {"artifact": contract.Artifact("s3://models/a", "md5:1", 1)},
        "the artifact's digest 'md5:1' is not sha256:",
    ),
    "an empty file": (
        {"artifact": contract.Artifact("s3://models/a", DIGEST, 0)},
        "size: Input should be greater than or equal to 1",
    ),
    "no outputs": (
        {"signature": contract.Signature([tensor()], [])},
        "outputs: List should have at least 1 item",
    ),
    "an input that is named twice": (
        {"signature": contract.Signature([tensor(), tensor()], [tensor()])},
        "the tensor 'x' is named twice",
    ),
    "a shape without sizes": (
        {"signature": contract.Signature([contract.Tensor("x", "FP32", [])], [tensor()])},
        "each size is -1 or above 0",
    ),
    "a shape with an empty size": (
        {"signature": contract.Signature([tensor(shape=[-1, 0])], [tensor()])},
        "each size is -1 or above 0",
    ),
    "a shape that no number holds": (
        {"signature": contract.Signature([tensor(shape=[10**20])], [tensor()])},
        "each size is -1 or above 0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_api_server_would_refuse_is_refused_with_a_sentence(case: str) -> None:
    changes, words = REFUSED[case]
    with pytest.raises(Unusable, match=words):
        record.version_spec(RUN, SPEC, train_result(**changes), 1, waits=False)


def test_a_time_that_is_none_and_data_that_is_named_twice_make_no_lineage() -> None:
    with pytest.raises(Unusable, match="started_at"):
        record.lineage(RUN, SPEC, "trainer:1", ended(startedAt="yesterday"), 1)
    twice = [contract.DataResult("train", "s3://data/a", DIGEST, 1, 1)] * 2
    with pytest.raises(Unusable, match="the data set 'train' is named twice"):
        record.lineage(RUN, SPEC, "trainer:1", ended(data=twice), 1)


def test_the_first_readable_result_counts_and_a_failed_pod_has_none() -> None:
    good = contract.dumps(train_result())
    pods = [
        pod("failed", labels={}, exit_code=1, message=good),
        pod("unreadable", labels={}, exit_code=0, message="{}"),
        pod("good", labels={}, exit_code=0, message=good),
    ]
    found = record.find(pods)
    assert found is not None
    assert found.pod["metadata"]["name"] == "good"
    assert record.find(pods[:2]) is None
    assert record.unreadable(pods[:2]).startswith("the pod unreadable left a result that cannot be read")
    assert record.unreadable([]) == "the pod that ended well is gone"


def test_metrics_that_do_not_fit_are_counted() -> None:
    many = [contract.Metric(f"m{i}", "1") for i in range(70)]
    made = record.lineage(RUN, SPEC, "trainer:1", ended(metrics=many, metricsCut=5), 1)
    assert (len(made.metrics), made.metrics_cut) == (64, 11)


def test_who_made_a_version_is_in_its_record_and_not_in_a_label() -> None:
    said = {"origin": "Trained", "trainingRun": {"name": "digits-1", "uid": "u"}}
    labelled = model_version(labels={Label.TRAINING_RUN_UID: "u"})
    assert record.made_by(labelled) is None
    assert record.made_by({**labelled, "status": {"lineage": said}}) == "u"
    assert record.made_by({**labelled, "status": {"lineage": {**said, "origin": "Promoted"}}}) is None
    annotated = model_version(annotations={LINEAGE_ANNOTATION: json.dumps(said)})
    assert record.made_by(annotated) == "u", "the registry has not copied it yet"
    for text in ("", "[]", '{"trainingRun": 1}'):
        assert record.made_by(model_version(annotations={LINEAGE_ANNOTATION: text})) is None
