"""The API server as the plugin sees it, in memory: tables by the CRDs' own columns, selectors, patches."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from slipway.api.deployment import DEPLOYMENT
from slipway.api.model_version import MODEL_VERSION
from slipway.api.training_run import TRAINING_RUN
from slipway.cli.client import Object, Resource, Row
from slipway.cli.errors import Changed, Forbidden, Missing

_KINDS = {kind.plural: kind for kind in (TRAINING_RUN, MODEL_VERSION, DEPLOYMENT)}


class FakeApi:
    """``slipway.cli.client.Api`` on a list of objects.

    Attributes:
        asked: what was asked for, in order: the verb and the path.
        answers: called after each PATCH or POST with the object: the operator's part.
        forbidden: plurals that the user may not read.
        unreadable: names of objects that the user may not read.
        strange: namespaces in which the user may read nothing.
    """

    def __init__(self, *objects: Object, namespace: str = "team") -> None:
        self.objects = list(objects)
        for number, made in enumerate(objects):
            made["metadata"].setdefault("resourceVersion", "1")
            made["metadata"].setdefault("uid", f"uid-{number}")
        self.namespace = namespace
        self.asked: list[tuple[str, str]] = []
        self.forbidden: set[str] = set()
        self.strange: set[str] = set()
        self.unreadable: set[str] = set()
        self.answers: Callable[[Object], Iterator[Object]] = lambda _: iter(())
        self.log: list[str] = []

    def call(self, method: str, path: str, body: Any = None, *, kind: str = "", **query: str) -> Object:
        self.asked.append((method, path))
        if method == "POST":
            return self._create(path, body)
        found = self._one(path)
        if method == "PATCH":
            version = found["metadata"]["resourceVersion"]
            if body.get("metadata", {}).get("resourceVersion", version) != version:
                raise Changed("the object has been modified")
            _merge(found, body)
            found["metadata"]["resourceVersion"] = str(int(version) + 1)
        return copy.deepcopy(found)

    def _create(self, path: str, body: Object) -> Object:
        if path.endswith("/selfsubjectreviews"):
            return {"status": {"userInfo": {"username": "anna"}}}
        made = copy.deepcopy(body)
        key = (made["kind"], made["metadata"]["namespace"], made["metadata"]["name"])
        if any((o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]) == key for o in self.objects):
            raise Changed("it exists already")
        made["metadata"] |= {"resourceVersion": "1", "uid": f"uid-{len(self.objects)}"}
        self.objects.append(made)
        return made

    def table(
        self, resource: Resource, namespace: str | None, *, selector: str = "", meta: bool = False, most: int = 0
    ) -> list[Row]:
        self.asked.append(("TABLE", resource.path(namespace)))
        kind = _KINDS[resource.plural]
        rows = []
        for found in self._many(resource, namespace, selector):
            cells: dict[str, Any] = {"Name": found["metadata"]["name"]}
            for column in kind.columns:
                value = _at(found, column.json_path)
                value = "5m" if column.type == "date" else value
                cells[column.name] = json.dumps(value) if isinstance(value, list) else value
            rows.append(Row(cells, found["metadata"] if meta else {}))
        return rows[: most or None]

    def pages(self, resource: Resource, namespace: str | None, *, selector: str = "") -> Iterator[Object]:
        self.asked.append(("LIST", resource.path(namespace)))
        yield from self._many(resource, namespace, selector)

    def lines(self, path: str, **query: str) -> Iterator[str]:
        self.asked.append(("STREAM", path))
        if "watch" not in query:
            yield from self.log
            return
        name = query["fieldSelector"].removeprefix("metadata.name=")
        try:
            watched = self._one(f"{path}/{name}")
        except Missing:
            yield json.dumps({"type": "DELETED", "object": {}})
            return
        for changed in self.answers(watched):
            yield json.dumps({"type": "MODIFIED", "object": changed})

    def _many(self, resource: Resource, namespace: str | None, selector: str) -> list[Object]:
        if resource.plural in self.forbidden:
            raise Forbidden(f"anna may not list {resource.plural} in the namespace {namespace}")
        return [
            o
            for o in self.objects
            if f"{o['kind'].lower()}s" == resource.plural
            and namespace in (None, o["metadata"]["namespace"])
            and _selected(o["metadata"].get("labels") or {}, selector)
        ]

    def _one(self, path: str) -> Object:
        *_, namespace, plural, name = path.split("/")
        if plural in self.forbidden or namespace in self.strange or name in self.unreadable:
            raise Forbidden(f"anna may not get {plural} in the namespace {namespace}")
        for found in self.objects:
            meta = found["metadata"]
            same_kind = f"{found['kind'].lower()}s" == plural
            if same_kind and (meta.get("namespace"), meta["name"]) == (namespace, name):
                return found
        raise Missing(f"{plural} {name} not found")


def _selected(labels: Mapping[str, str], selector: str) -> bool:
    for term in re.split(r",(?![^(]*\))", selector) if selector else ():
        if among := re.fullmatch(r"(\S+) in \((.*)\)", term):
            if labels.get(among[1]) not in among[2].split(","):
                return False
        elif "=" in term:
            key, _, value = term.partition("=")
            if labels.get(key) != value:
                return False
        elif term not in labels:
            return False
    return True


def _at(found: Object, path: str) -> Any:
    value: Any = found
    for part in path.strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _merge(target: Object, patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = value
