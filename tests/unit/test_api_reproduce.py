"""From a lineage to the run that makes the version once more; and what two lineages do not share."""

from __future__ import annotations

import base64
import copy
import re
from pathlib import Path
from typing import Any

import pytest

from slipway.api.common import Tolerance
from slipway.api.model_version import Lineage
from slipway.api.reproduce import (
    REPRODUCES_LABEL,
    NotReproducible,
    config_map_digest,
    differences,
    run_manifest,
)
from slipway.api.training_run import TrainingRunSpec
from slipway_trainer.manifest import directory_digest
from tests.support.builders import DIGEST, IMAGE_DIGEST, model_version, training_run

CODE = {
    "data": {"train.py": "def train(context): ...\n"},
    "binaryData": {"table.bin": base64.b64encode(b"\0\1").decode()},
}
PINNED = f"registry.example/trainer@{IMAGE_DIGEST}"


def lineage(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "trainingRun": {"name": "digits-1", "uid": "run-uid", "attempts": 1},
        "code": {
            "configMap": {"name": "digits-code", "digest": config_map_digest(CODE)},
            "image": {"ref": "registry.example/trainer:1", "digest": IMAGE_DIGEST, "pinned": PINNED},
            "entrypoint": "train:train",
        },
        "data": [
            {"name": "train", "uri": "s3://data/digits/", "store": "lake", "digest": DIGEST, "files": 1, "bytes": 10}
        ],
        "parameters": {"epochs": "2"},
        "seed": 7,
        "environment": {"python": "3.13.5", "torch": "2.6.0", "packages": DIGEST},
        "metrics": [{"name": "accuracy", "value": "0.97"}],
        "artifact": {"uri": "s3://models/digits/model.onnx", "digest": DIGEST, "size": 10, "store": "models"},
        "result": "s3://models/digits/result.json",
    }
    return copy.deepcopy({**made, **changes})


def version(**changes: Any) -> dict[str, Any]:
    return model_version("digits-v3", uid="version-uid", status={"lineage": lineage(**changes)})


def code(**image: Any) -> dict[str, Any]:
    made: dict[str, Any] = lineage()["code"]
    return {**made, "image": {"ref": "registry.example/trainer:1", **image}}


def test_the_run_asks_for_all_that_the_lineage_names() -> None:
    made = run_manifest(version(), name="again", code=CODE)
    assert made["metadata"] == {"name": "again", "namespace": "team", "labels": {REPRODUCES_LABEL: "digits-v3"}}
    spec = made["spec"]
    assert spec["image"] == PINNED
    assert (spec["entrypoint"], spec["seed"], spec["parameters"]) == ("train:train", 7, {"epochs": "2"})
    assert spec["code"] == {"configMap": "digits-code"}
    assert spec["data"] == [{"name": "train", "uri": "s3://data/digits/", "store": "lake", "digest": DIGEST}]
    assert spec["output"] == {"store": "models"}
    assert spec["reproduceOf"] == {"modelVersion": "digits-v3", "tolerance": {"absolute": "1e-4", "relative": "1e-3"}}
    assert "gate" not in spec
    assert "command" not in spec
    assert TrainingRunSpec.model_validate(spec).wire() == spec


def test_what_was_asked_of_the_cluster_comes_from_the_run_while_it_exists() -> None:
    resources = {"cpu": "4", "memory": "8Gi", "gpu": {"count": 2, "resourceName": "nvidia.com/gpu"}}
    before = training_run(uid="run-uid", resources=resources, activeDeadline="2h", backoffLimit=5)
    spec = run_manifest(version(), name="again", code=CODE, run=before)["spec"]
    assert (spec["resources"], spec["activeDeadline"], spec["backoffLimit"]) == (resources, "2h", 5)
    # another run of the same name says nothing
    other = run_manifest(version(), name="again", code=CODE, run=training_run(uid="other", resources=resources))
    assert other["spec"]["resources"]["cpu"] == "1"
    gone = version(environment={"python": "3.13.5", "gpu": {"product": "NVIDIA H200", "count": 2}})
    assert run_manifest(gone, name="again", code=CODE)["spec"]["resources"]["gpu"]["count"] == 2


def test_where_the_run_is_gone_as_many_cpus_are_asked_for_as_there_were_threads() -> None:
    had = version(environment={"python": "3.13.5", "threads": 3})
    assert run_manifest(had, name="again", code=CODE)["spec"]["resources"]["cpu"] == "3"
    assert run_manifest(version(), name="again", code=CODE)["spec"]["resources"]["cpu"] == "1", "an older lineage"


def test_another_number_of_threads_is_a_difference_where_both_are_known() -> None:
    def told(then: int | None, now: int | None) -> list[str]:
        sides = [Lineage.model_validate(lineage(environment={"python": "3.13.5", "threads": n})) for n in (then, now)]
        return [d.message for d in differences(*sides)]

    assert told(1, 4) == ["the machine: threads 1 then, threads 4 now"]
    assert told(None, 4) == told(4, 4) == []


def test_a_program_and_a_tolerance_are_taken_over() -> None:
    made = {**code(digest=IMAGE_DIGEST, pinned=PINNED), "configMap": None, "entrypoint": None, "command": ["fit", "-v"]}
    spec = run_manifest(version(code=made), name="again", tolerance=Tolerance(absolute="0", relative="0.01"))["spec"]
    assert (spec["command"], "entrypoint" in spec, "code" in spec) == (["fit", "-v"], False, False)
    assert spec["reproduceOf"]["tolerance"] == {"absolute": "0", "relative": "0.01"}


GIT = {"url": "https://git.example/digits.git", "revision": "main", "commit": "c" * 40, "path": "train"}


def test_code_by_git_is_asked_for_by_its_commit() -> None:
    made = {**code(digest=IMAGE_DIGEST, pinned=PINNED), "configMap": None, "git": GIT}
    wanted = {"url": GIT["url"], "revision": "c" * 40, "path": "train"}
    assert run_manifest(version(code=made), name="again")["spec"]["code"] == {"git": wanted}
    # the Secret that opens it is known to the run alone
    before = training_run(uid="run-uid", code={"git": {"url": GIT["url"], "revision": "main", "secret": "reader"}})
    again = run_manifest(version(code=made), name="again", run=before)
    assert again["spec"]["code"] == {"git": {**wanted, "secret": "reader"}}
    by_ssh = version(code={**made, "git": {**GIT, "url": "git@git.example:digits.git"}})
    with pytest.raises(NotReproducible, match="the run that named the Secret for it is gone"):
        run_manifest(by_ssh, name="again")
    other = lineage(code={**made, "git": {**GIT, "commit": "d" * 40}})
    (told,) = differences(Lineage.model_validate(lineage(code=made)), Lineage.model_validate(other))
    assert told.message == f"the code: commit {'c' * 40} of train then, commit {'d' * 40} of train now"


def test_a_version_that_was_fine_tuned_begins_with_the_same_weights() -> None:
    parent = {"modelVersion": "digits-v2", "digest": DIGEST}
    made = run_manifest(version(parent=parent), name="again", code=CODE, parent=began(DIGEST))
    assert made["spec"]["from"] == {"modelVersion": "digits-v2"}
    other = lineage(parent={"modelVersion": "digits-v2", "digest": IMAGE_DIGEST})
    (told,) = differences(Lineage.model_validate(lineage(parent=parent)), Lineage.model_validate(other))
    assert told.message == (
        f"the weights that it began with: {DIGEST} of digits-v2 then, {IMAGE_DIGEST} of digits-v2 now"
    )


def began(weights: str | None, phase: str = "Ready", message: str = "") -> dict[str, Any]:
    """digits-v2, with weights of this digest."""
    kept = {"uri": "s3://models/w.safetensors", "digest": weights, "size": 9} if weights else None
    status = {"phase": phase, "message": message, "lineage": lineage(weights=kept)}
    return model_version("digits-v2", status=status)


PROMOTED = {
    "origin": "Promoted",
    "promotions": [{"namespace": "dev", "modelVersion": "digits-v3", "at": "2026-01-02T00:00:00Z"}],
}
NO_PARENT: dict[str, tuple[dict[str, Any] | None, dict[str, Any], str]] = {
    "it is gone": (None, {}, "digits-v2, which it was fine-tuned from, is gone: only a backup of it"),
    "it is archived": (
        began(DIGEST, "Archived", "archived: no new Deployment may take it"),
        {},
        "is Archived (archived: no new Deployment may take it): a training begins from a version that is Ready",
    ),
    "it was rejected": (began(DIGEST, "Rejected", "no"), {}, "is Rejected (no)"),
    "it has no weights": (began(None), {}, "has no weights on record"),
    "it has no status": (model_version("digits-v2"), {}, "has no weights on record"),
    "it was registered anew": (
        began(IMAGE_DIGEST),
        {},
        f"is another version now: its weights are {IMAGE_DIGEST}, and those were {DIGEST}",
    ),
    "it stayed behind": (
        None,
        PROMOTED,
        "is in the namespace dev: make it again in dev, or promote digits-v2 from there too",
    ),
    "it stayed behind, and another has its name": (
        began(IMAGE_DIGEST),
        PROMOTED,
        f"and those were {DIGEST}: make it again in dev, or promote digits-v2 from there too",
    ),
}


@pytest.mark.parametrize("case", NO_PARENT)
def test_without_the_weights_that_it_began_with_it_cannot_be_made_once_more(case: str) -> None:
    parent, more, words = NO_PARENT[case]
    made_of = {"parent": {"modelVersion": "digits-v2", "digest": DIGEST}, **more}
    with pytest.raises(NotReproducible, match=re.escape(words)):
        run_manifest(version(**made_of), name="again", code=CODE, parent=parent)


def test_the_code_of_a_copy_is_in_the_namespace_where_it_was_trained() -> None:
    with pytest.raises(NotReproducible, match="digits-code that held the training code is in the namespace dev"):
        run_manifest(version(**PROMOTED), name="again")
    with pytest.raises(NotReproducible, match=r"of this namespace holds other code .* than that of the namespace dev"):
        run_manifest(version(**PROMOTED), name="again", code={"data": {"train.py": "other"}})
    assert run_manifest(version(**PROMOTED), name="again", code=CODE)["metadata"]["namespace"] == "team"
    by_ssh = {**code(digest=IMAGE_DIGEST), "configMap": None, "git": {**GIT, "url": "git@git.example:digits.git"}}
    with pytest.raises(NotReproducible, match="the run that named the Secret for it is in the namespace dev"):
        run_manifest(version(code=by_ssh, **PROMOTED), name="again")


def test_an_image_without_a_registry_is_asked_for_by_its_name() -> None:
    spec = run_manifest(version(code=code(digest=IMAGE_DIGEST)), name="again", code=CODE)["spec"]
    assert spec["image"] == "registry.example/trainer:1"


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str]] = {
    "trained elsewhere": (model_version("digits-v3", status={"phase": "Ready"}), CODE, "was trained elsewhere"),
    "an image of which no digest is known": (
        version(code=code()),
        CODE,
        "the digest of the image registry.example/trainer:1 that trained digits-v3 is not known",
    ),
    "the code is gone": (version(), None, "the ConfigMap digits-code that held the training code is gone"),
    "the code was changed": (
        version(),
        {"data": {"train.py": "def train(context): pass\n"}},
        "the ConfigMap digits-code holds other code now",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_made_once_more_is_said_in_a_sentence(case: str) -> None:
    found, config_map, words = REFUSED[case]
    with pytest.raises(NotReproducible, match=words):
        run_manifest(found, name="again", code=config_map)


def test_the_digest_of_a_config_map_is_that_of_the_mounted_files(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(CODE["data"]["train.py"])
    (tmp_path / "table.bin").write_bytes(b"\0\1")
    assert config_map_digest(CODE) == directory_digest(tmp_path)


def test_two_lineages_are_compared_by_what_went_in() -> None:
    then = Lineage.model_validate(lineage())
    assert differences(then, Lineage.model_validate(lineage(metrics=[], parity={"maxAbsDiff": "1", "rows": 1}))) == []
    other = lineage(
        code={**code(digest=DIGEST), "configMap": {"name": "digits-code", "digest": DIGEST}, "entrypoint": "fit:main"},
        data=[{"name": "test", "uri": "s3://data/t", "digest": DIGEST, "files": 1, "bytes": 1}],
        parameters={"epochs": "3", "width": "64"},
        seed=8,
        environment={"python": "3.13.5", "torch": "2.9.0", "packages": IMAGE_DIGEST},
    )
    told = {d.what: d.message for d in differences(then, Lineage.model_validate(other))}
    assert list(told) == [
        "code", "entrypoint", "image", "data.test", "data.train", "parameters", "seed", "packages", "environment",
    ]  # fmt: skip
    assert told["seed"] == "the seed: 7 then, 8 now"
    assert told["parameters"] == "the parameters: epochs 2 then, epochs 3, width 64 now"
    assert told["image"] == f"the image: {IMAGE_DIGEST} then, {DIGEST} now"
    assert told["data.train"] == f"the data train: {DIGEST} then, none now"
    assert told["environment"] == "the machine: torch 2.6.0 then, torch 2.9.0 now"
