"""The rules of our CRDs as a set, and which of them a refusal of the API server was about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.api_server import Cause

_BOUNDS = ("enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "pattern")
_WORDS = {
    "enum": "Unsupported value",
    "minimum": "should be greater than or equal to",
    "maximum": "should be less than or equal to",
    "minLength": "should be at least",
    "maxLength": "Too long",
    "minItems": "should have at least",
    "maxItems": "Too many",
    "maxProperties": "Too many",
    "pattern": "should match",
    "required": "Required value",
    "unique": "Duplicate value",
}
"""How the API server speaks of each."""


@dataclass(frozen=True, order=True)
class SchemaRule:
    """One thing that a schema demands. ``path`` has ``[]`` for any item of a list and ``{}`` for any value of a map."""

    path: str
    what: str
    """A keyword of OpenAPI, ``required``, ``unique``, or the message of a CEL rule."""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def rules(schema: Mapping[str, Any], path: str = "") -> Iterator[SchemaRule]:
    """Every rule of a structural schema, from the top."""
    for name in schema.get("required", ()):
        yield SchemaRule(_join(path, name), "required")
    for keyword in _BOUNDS:
        if keyword in schema:
            yield SchemaRule(path, keyword)
    if schema.get("x-kubernetes-list-type") in ("map", "set"):
        yield SchemaRule(f"{path}[]", "unique")
    for rule in schema.get("x-kubernetes-validations", ()):
        yield SchemaRule((path + rule.get("fieldPath", "")).lstrip("."), rule["message"])
    for name, child in schema.get("properties", {}).items():
        yield from rules(child, _join(path, name))
    if "items" in schema:
        yield from rules(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from rules(schema["additionalProperties"], f"{path}{{}}")


def broken(cause: Cause, schema: Mapping[str, Any]) -> SchemaRule | None:
    """The rule that a cause is about; None where it is none of the schema's."""
    path = canonical(cause.field, schema)
    for rule in rules(schema):
        if rule.path == path and _WORDS.get(rule.what, rule.what) in cause.message:
            return rule
    return None


def canonical(field: str, schema: Mapping[str, Any]) -> str:
    """The path of a field in a schema: ``spec.data[3].uri`` is ``spec.data[].uri``.

    The API server names a value of a map as it names a field (``spec.parameters.epochs``); only the schema tells them
    apart.
    """
    made, node = "", schema
    for part in re.findall(r"[^.\[\]]+|\[\d+\]", "" if field == "<nil>" else field):
        if part.startswith("["):
            made, node = f"{made}[]", node.get("items", {})
        elif part in node.get("properties", {}):
            made, node = _join(made, part), node["properties"][part]
        elif isinstance(node.get("additionalProperties"), Mapping):
            made, node = f"{made}{{}}", node["additionalProperties"]
        else:
            made, node = _join(made, part), {}
    return made


def paths(value: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The canonical paths that an object fills."""
    yield path
    if isinstance(value, Mapping):
        for name, child in value.items():
            if name in schema.get("properties", {}):
                yield from paths(child, schema["properties"][name], _join(path, name))
            elif isinstance(schema.get("additionalProperties"), Mapping):
                yield from paths(child, schema["additionalProperties"], f"{path}{{}}")
    elif isinstance(value, list):
        for child in value:
            yield from paths(child, schema.get("items", {}), f"{path}[]")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
