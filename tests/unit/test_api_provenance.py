"""The provenance of a version: read back by in-toto's own library, and worked out by hand once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from slipway.api.provenance import BUILD_TYPE, PREDICATE, statement
from slipway.api.reproduce import NotReproducible
from tests.support.builders import model_version
from tests.unit.test_api_reproduce import GIT, code, lineage, version

PAGE = Path(__file__).parents[2] / "docs" / "evidence.md"

WORKED: dict[str, Any] = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "digits-v3", "digest": {"sha256": "a" * 64}}],
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "model": "digits",
                "image": "registry.example/trainer:1",
                "entrypoint": "train:train",
                "code": {"configMap": "digits-code"},
                "data": [{"name": "train", "uri": "s3://data/digits/", "store": "lake"}],
                "parameters": {"epochs": "2"},
                "seed": 7,
            },
            "internalParameters": {
                "namespace": "team",
                "trainingRun": "digits-1",
                "environment": {"python": "3.13.5", "torch": "2.6.0", "packages": f"sha256:{'a' * 64}"},
            },
            "resolvedDependencies": [
                {
                    "name": "image",
                    "uri": f"oci://registry.example/trainer@sha256:{'1' * 64}",
                    "digest": {"sha256": "1" * 64},
                },
                {
                    "name": "code",
                    "uri": "configmap:digits-code",
                    "digest": {
                        "slipwayManifest1": lineage()["code"]["configMap"]["digest"].removeprefix("sha256:"),
                    },
                },
                {"name": "data.train", "uri": "s3://data/digits/", "digest": {"slipwayManifest1": "a" * 64}},
                {"name": "packages", "digest": {"sha256": "a" * 64}},
            ],
        },
        "runDetails": {
            "builder": {"id": "https://slipway.dev/operator/v1alpha1"},
            "metadata": {"invocationId": "run-uid", "startedOn": "2026-01-01T00:00:00Z"},
            "byproducts": [
                {"name": "result.json", "uri": "s3://models/digits/result.json", "mediaType": "application/json"}
            ],
        },
    },
}


def begun(**changes: Any) -> dict[str, Any]:
    run = {"name": "digits-1", "uid": "run-uid", "startedAt": "2026-01-01T00:00:00Z", "attempts": 1}
    return version(trainingRun=run, **changes)


def test_the_worked_example() -> None:
    assert statement(begun()) == WORKED


def test_in_totos_own_library_reads_it() -> None:
    """Parsing is strict: a field that the published schemas do not have, or of another type, is refused."""
    made = json.loads(json.dumps(statement(begun())))
    read = json_format.ParseDict(made, statement_pb2.Statement())
    Statement.copy_from_pb(read).validate()
    predicate = json_format.ParseDict(made["predicate"], provenance_pb2.Provenance())
    assert read.predicate_type == PREDICATE
    assert predicate.build_definition.build_type == BUILD_TYPE
    assert len(predicate.build_definition.resolved_dependencies) == 4
    assert predicate.run_details.builder.id
    assert predicate.run_details.metadata.started_on.ToJsonString() == "2026-01-01T00:00:00Z"
    with pytest.raises(json_format.ParseError, match="noSuchField"):
        json_format.ParseDict({**made["predicate"], "noSuchField": 1}, provenance_pb2.Provenance())


def test_what_is_not_known_is_left_out() -> None:
    made = statement(begun(code={**code(), "configMap": None}, environment={"python": "3.13.5"}))
    build = made["predicate"]["buildDefinition"]
    assert "code" not in build["externalParameters"]
    assert [d["name"] for d in build["resolvedDependencies"]] == ["image", "data.train"]
    assert build["resolvedDependencies"][0] == {"name": "image", "uri": "oci://registry.example/trainer:1"}
    json_format.ParseDict(made["predicate"], provenance_pb2.Provenance())


def test_code_by_git_is_named_by_its_commit() -> None:
    made = statement(begun(code={**code(), "configMap": None, "git": GIT}))
    build = made["predicate"]["buildDefinition"]
    asked = {"url": GIT["url"], "revision": "main", "path": "train"}
    assert build["externalParameters"]["code"] == {"git": asked}
    assert build["resolvedDependencies"][1] == {
        "name": "code", "uri": f"git+{GIT['url']}", "digest": {"gitCommit": "c" * 40},
    }  # fmt: skip
    json_format.ParseDict(made["predicate"], provenance_pb2.Provenance())


def test_the_weights_that_it_began_with_are_named() -> None:
    made = statement(begun(parent={"modelVersion": "digits-v2", "digest": f"sha256:{'b' * 64}"}))
    build = made["predicate"]["buildDefinition"]
    assert build["externalParameters"]["from"] == {"modelVersion": "digits-v2"}
    assert {"name": "parent", "uri": "modelversion:digits-v2", "digest": {"sha256": "b" * 64}} in build[
        "resolvedDependencies"
    ]
    json_format.ParseDict(made["predicate"], provenance_pb2.Provenance())


def test_a_copy_names_the_namespace_of_its_run_and_the_way_from_there() -> None:
    steps = [
        {"namespace": namespace, "modelVersion": "digits-v3", "at": f"2026-01-0{day}T00:00:00Z"}
        for day, namespace in ((2, "dev"), (3, "staging"))
    ]
    made = statement(begun(origin="Promoted", promotions=steps))
    inside = made["predicate"]["buildDefinition"]["internalParameters"]
    assert (inside["namespace"], inside["trainingRun"]) == ("dev", "digits-1")
    assert inside["promotions"] == steps
    json_format.ParseDict(made["predicate"], provenance_pb2.Provenance())


def test_a_model_that_was_trained_elsewhere_has_none() -> None:
    with pytest.raises(NotReproducible, match="was trained elsewhere"):
        statement(model_version("digits-v3"))


def test_the_page_names_what_a_reader_must_know() -> None:
    said = PAGE.read_text()
    assert BUILD_TYPE in said
    assert "slipwayManifest1" in said
