"""The generator of the CRDs: what comes out is structural, says what the types say, and is what stands in ``crds/``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from slipway.api.common import Duration, Gpu, Kind, Model, Rule, immutable, list_map, rules
from slipway.crdgen import KINDS, crd, files, structural, text

REPOSITORY = Path(__file__).parents[2]
by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)


def schema_of(kind: Kind) -> dict[str, Any]:
    found: dict[str, Any] = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def nodes(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema in a schema."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


# --------------------------------------------------------------------------------------------------- the real kinds


@by_kind
def test_the_files_in_crds_are_what_the_types_say(kind: Kind) -> None:
    assert (REPOSITORY / "crds" / f"{kind.crd_name}.yaml").read_text() == text(kind), "run `make generate`"


def test_crds_holds_nothing_else() -> None:
    assert {f.name for f in (REPOSITORY / "crds").iterdir()} == {f"{k.crd_name}.yaml" for k in KINDS}


@by_kind
def test_structural(kind: Kind) -> None:
    forbidden = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "const", "title", "nullable"}
    for path, node in nodes(schema_of(kind)):
        assert not forbidden & node.keys(), path
        assert "type" in node or node.get("x-kubernetes-int-or-string") is True, path
        # The API server refuses both at once.
        assert not ("properties" in node and "additionalProperties" in node), path


@by_kind
def test_no_float_anywhere(kind: Kind) -> None:
    assert not [path for path, node in nodes(schema_of(kind)) if node.get("type") == "number"]


@by_kind
def test_every_list_says_how_it_merges(kind: Kind) -> None:
    for path, node in nodes(schema_of(kind)):
        if node.get("type") == "array":
            merges = node.get("x-kubernetes-list-type")
            assert merges in ("map", "set", "atomic"), path
            if merges == "map":
                required = node["items"].get("required", [])
                defaulted = [n for n, c in node["items"]["properties"].items() if "default" in c]
                for key in node["x-kubernetes-list-map-keys"]:
                    assert key in required or key in defaulted, f"{path}: an item may lack its key {key}"


@by_kind
def test_every_text_and_list_of_the_spec_has_a_limit(kind: Kind) -> None:
    """Without one, a CEL rule costs more than the API server allows, and an object more than etcd does."""
    for path, node in nodes(schema_of(kind)["properties"]["spec"]):
        if node.get("type") == "string" and "enum" not in node:
            assert "maxLength" in node, path
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


@by_kind
def test_columns_show_fields_that_exist(kind: Kind) -> None:
    schema = schema_of(kind)
    schema["properties"]["metadata"]["properties"] = {"creationTimestamp": {"type": "string"}}
    for column in kind.columns:
        node = schema
        for part in column.json_path.lstrip(".").split("."):
            assert part in node["properties"], f"{column.name}: {column.json_path}"
            node = node["properties"][part]
        if column.type == "integer":
            assert node["type"] == "integer", column.name


@by_kind
def test_scale_points_at_fields_that_exist(kind: Kind) -> None:
    for path in (kind.scale or {}).values():
        node = schema_of(kind)
        for part in path.lstrip(".").split("."):
            node = node["properties"][part]


@by_kind
def test_every_message_is_a_sentence_for_a_person(kind: Kind) -> None:
    for path, node in nodes(schema_of(kind)):
        for rule in node.get("x-kubernetes-validations", ()):
            assert len(rule["message"].split()) >= 5, path
            assert not re.search(r"\[a-z|\\\\|self\.", rule["message"]), f"{path}: {rule['message']}"


def test_short_names_and_kinds_are_fixed() -> None:
    assert {k.kind: (k.plural, k.short) for k in KINDS} == {
        "Dataset": ("datasets", "dset"),
        "TrainingRun": ("trainingruns", "trun"),
        "ModelVersion": ("modelversions", "mver"),
        "Deployment": ("deployments", "mdeploy"),
    }


@by_kind
def test_every_kind_speaks_kstatus(kind: Kind) -> None:
    status = schema_of(kind)["properties"]["status"]["properties"]
    assert {"observedGeneration", "conditions", "phase", "message"} <= status.keys()
    assert status["conditions"]["x-kubernetes-list-map-keys"] == ["type"]
    assert crd(kind)["spec"]["versions"][0]["subresources"]["status"] == {}


def test_there_is_one_file_a_kind() -> None:
    made = files()
    assert list(made) == [f"{k.crd_name}.yaml" for k in KINDS]
    for written, kind in zip(made.values(), KINDS, strict=True):
        assert yaml.safe_load(written) == crd(kind)


# ------------------------------------------------------------------------------------------------- case by case


class Part(Model):
    """The type's own words."""

    size: int = 1


class Thing(Model):
    """A thing."""

    must: str
    maybe: str | None = None
    """Perhaps."""
    part: Part = Field(default=Part(), json_schema_extra={"default": {}})
    """The field's words."""
    parts: list[Part] = Field(default=[], json_schema_extra=list_map("size"))
    labels: dict[str, str] = Field(default={})
    wait: Duration = "30s"
    one: Annotated[str, Field(max_length=3)] = "a"
    flag: bool = False


def test_optional_is_a_field_that_may_be_absent_and_has_no_default() -> None:
    made = structural(Thing, defaults=True)
    assert made["properties"]["maybe"] == {"type": "string", "description": "Perhaps."}
    assert made["required"] == ["must"]


def test_the_fields_words_win_over_the_types() -> None:
    part = structural(Thing, defaults=True)["properties"]["part"]
    assert part["description"] == "The field's words."
    assert part["properties"]["size"] == {"type": "integer", "format": "int64", "default": 1}
    assert part["default"] == {}


def test_an_empty_list_or_map_is_not_written_into_every_object() -> None:
    properties = structural(Thing, defaults=True)["properties"]
    assert "default" not in properties["parts"]
    assert "default" not in properties["labels"]
    assert properties["flag"]["default"] is False


def test_a_status_has_no_defaults() -> None:
    assert not [p for p, n in nodes(structural(Thing, defaults=False)) if "default" in n]


def test_rules_and_keys_come_through() -> None:
    properties = structural(Thing, defaults=True)["properties"]
    assert properties["parts"]["x-kubernetes-list-map-keys"] == ["size"]
    assert properties["wait"]["x-kubernetes-validations"][0]["message"].startswith("write a duration")
    assert properties["wait"]["maxLength"] == 32


def test_a_union_is_refused() -> None:
    class Either(Model):
        what: str | int

    with pytest.raises(TypeError, match="a union has no structural schema"):
        structural(Either, defaults=True)


def test_a_rule_says_where_and_why() -> None:
    rule = Rule("self.a == oldSelf.a", "a stays", field_path=".a", reason="FieldValueForbidden")
    assert rules(rule) == {
        "x-kubernetes-validations": [
            {"rule": "self.a == oldSelf.a", "message": "a stays", "fieldPath": ".a", "reason": "FieldValueForbidden"}
        ]
    }


def test_immutable_sees_a_field_appear_and_vanish() -> None:
    made = {r.field_path: r.rule for r in immutable(Thing, but=("flag",), why="because")}
    assert made[".must"] == "self.must == oldSelf.must"
    assert made[".one"] == "self.one == oldSelf.one"  # a default is always there
    assert made[".maybe"] == (
        "has(self.maybe) == has(oldSelf.maybe) && (!has(self.maybe) || self.maybe == oldSelf.maybe)"
    )
    assert made[".parts"].startswith("has(self.parts) == has(oldSelf.parts)")
    assert ".flag" not in made
    assert len(made) == len(Thing.model_fields) - 1


def test_a_shared_type_is_written_out_in_full() -> None:
    assert structural(Gpu, defaults=True)["properties"]["resourceName"]["default"] == "nvidia.com/gpu"
    for kind in KINDS:
        assert "&id" not in text(kind), "a YAML alias is one more thing to read"


@by_kind
def test_what_helm_would_read_otherwise_is_quoted(kind: Kind) -> None:
    numbers = re.findall(r"^.*: [-+]?[0-9.]+[eE][-+]?[0-9]+$", text(kind), re.MULTILINE)
    assert not numbers, "a number for Helm: the API server refuses the whole CRD"
    truths = re.findall(r"^.*\b[yYnN]:? *$", text(kind), re.MULTILINE)
    assert not truths, "true or false for Helm: a field n becomes a field false, and what is written as n is dropped"


def test_the_chart_carries_the_same_files() -> None:
    carried = REPOSITORY / "charts" / "slipway" / "files" / "crds"
    for kind in KINDS:
        assert (carried / f"{kind.crd_name}.yaml").read_text() == text(kind), "run `make generate`"
