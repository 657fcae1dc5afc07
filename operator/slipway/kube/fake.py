"""An API server in memory, for stories and crash tests. It keeps the rules that decisions depend on, no others:

resourceVersion and optimistic locking, uid, generation (only a changed spec raises it), server-side apply by merging
maps, status apart from the rest, garbage collection by ownerReference, and a log of every write. It validates
nothing: schema rules are tested on a real API server.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from slipway.kube.client import Conflict, NotInstalled, Objects
from slipway.kube.objects import Manifest, Resource, resource_of

T = TypeVar("T")


class Crash(BaseException):
    """The process dies. Not an Exception, so that nothing in the operator can catch it and go on."""


class FakeKube:
    """``Kube`` in memory.

    Attributes:
        log: one line a write, in order: ``apply Job team/digits-1``.
    """

    def __init__(self, objects: Iterable[Manifest] = (), *, not_installed: Iterable[Resource] = ()) -> None:
        self.log: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._objects: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        self._applied: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        self._not_installed = frozenset(not_installed)
        self._version = 0
        self._uid = 0
        self._crash_in: int | None = None
        self.on_write: Callable[[], None] = lambda: None
        """Called after every write, before a crash: the place for invariants."""
        for manifest in objects:
            self.put(manifest)

    # ------------------------------------------------------------------------------------------- for tests

    def crash_after(self, writes: int) -> None:
        """Raise ``Crash`` right after so many more writes have taken effect."""
        self._crash_in = writes

    def never_crash(self) -> None:
        """Forget ``crash_after``."""
        self._crash_in = None

    def put(self, manifest: Manifest) -> dict[str, Any]:
        """What a user or another controller writes: creates the object or replaces it, status included. Not logged."""
        old = self._objects.get(self._at(manifest))
        made = _copy(dict(manifest))
        meta = made["metadata"]
        meta.setdefault("namespace", "")
        self._uid += 1
        meta["uid"] = old["metadata"]["uid"] if old else meta.get("uid", f"uid-{self._uid}")
        meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        changed = old is None or old.get("spec") != made.get("spec")
        meta["generation"] = (old["metadata"]["generation"] if old else 0) + (1 if changed else 0)
        if old is None and "generation" in manifest["metadata"]:
            meta["generation"] = manifest["metadata"]["generation"]
        return self._store(made)

    def edit(self, resource: Resource, namespace: str, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change an object in place as a user or another controller would. Not logged."""
        made = _again(self._objects[(resource.api_version, resource.kind, namespace, name)])
        change(made)
        self.put(made)

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object, and what it owns. Not logged."""
        gone = self._objects.pop((resource.api_version, resource.kind, namespace, name))
        self._version += 1
        self._collect(gone["metadata"]["uid"])

    def find(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """``get`` for tests."""
        found = self._objects.get((resource.api_version, resource.kind, namespace, name))
        return _again(found) if found else None

    def all(self, resource: Resource) -> list[dict[str, Any]]:
        """Every object of a kind, by namespace and name."""
        wanted = (resource.api_version, resource.kind)
        return [_again(self._objects[k]) for k in sorted(k for k in self._objects if k[:2] == wanted)]

    @property
    def version(self) -> int:
        """Changes with every change of any object."""
        return self._version

    def snapshot(self) -> dict[tuple[str, str, str, str], dict[str, Any]]:
        """Everything there is, as it is stored: to be read, not to be changed."""
        return dict(self._objects)

    # ------------------------------------------------------------------------------------------- the protocol

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        self._known(resource)
        return self.find(resource, namespace, name)

    async def list(self, resource: Resource, namespace: str | None, labels: Mapping[str, str] | None = None) -> Objects:
        self._known(resource)
        return [
            o
            for o in self.all(resource)
            if namespace in (None, o["metadata"]["namespace"])
            and (labels or {}).items() <= o["metadata"].get("labels", {}).items()
        ]

    async def apply(self, manifest: Manifest, resource_version: str | None = None) -> dict[str, Any]:
        self._known(resource_of(manifest))
        old = self._objects.get(self._at(manifest))
        if resource_version is not None and (old is None or old["metadata"]["resourceVersion"] != resource_version):
            raise Conflict(409, "the object has been modified")
        before = self._applied.get(self._at(manifest), {})
        made = self.put(_merge(_without(old, before, manifest), manifest) if old else manifest)
        self._applied[self._at(manifest)] = _copy(dict(manifest))
        self._wrote("apply", made)
        return made

    async def create(self, manifest: Manifest) -> dict[str, Any] | None:
        self._known(resource_of(manifest))
        if self._at(manifest) in self._objects:
            return None
        made = self.put(manifest)
        self._wrote("create", made)
        return made

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        found = self.find(resource, namespace, name)
        if found and found["metadata"]["uid"] == uid:
            self.remove(resource, namespace, name)
            self._wrote("delete", found)

    async def write_status(self, resource: Resource, live: Manifest, status: Mapping[str, Any]) -> dict[str, Any]:
        old = self._objects.get(self._at(live))
        if old is None or old["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]:
            raise Conflict(409, "the object has been modified")
        made = self._store({**_copy(old), "status": _copy(dict(status))})
        self._wrote("status", made)
        return made

    async def remove_annotation(self, resource: Resource, live: Manifest, key: str, value: str) -> None:
        old = self._objects.get(self._at(live))
        if old is None or old["metadata"]["uid"] != live["metadata"]["uid"]:
            return
        if old["metadata"].get("annotations", {}).get(key) != value:
            return
        made = _again(old)
        del made["metadata"]["annotations"][key]
        self._wrote("remove-annotation", self._store(made))

    async def post_event(self, event: Manifest) -> None:
        if all(e["metadata"]["name"] != event["metadata"]["name"] for e in self.events):
            self.events.append(_copy(dict(event)))

    # ------------------------------------------------------------------------------------------------- inside

    def _known(self, resource: Resource) -> None:
        if resource in self._not_installed:
            raise NotInstalled(resource)

    @staticmethod
    def _at(manifest: Manifest) -> tuple[str, str, str, str]:
        meta = manifest["metadata"]
        return (manifest["apiVersion"], manifest["kind"], meta.get("namespace", ""), meta["name"])

    def _store(self, made: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        made["metadata"]["resourceVersion"] = str(self._version)
        self._objects[self._at(made)] = made
        return _again(made)

    def _collect(self, uid: str) -> None:
        for at, obj in list(self._objects.items()):
            if at in self._objects and any(r["uid"] == uid for r in obj["metadata"].get("ownerReferences", ())):
                del self._objects[at]
                self._collect(obj["metadata"]["uid"])

    def _wrote(self, verb: str, obj: Manifest) -> None:
        kind = "workload" if obj["apiVersion"] == "apps/v1" else obj["kind"]
        self.log.append(f"{verb} {kind} {obj['metadata']['namespace']}/{obj['metadata']['name']}")
        self.on_write()
        if self._crash_in is not None:
            self._crash_in -= 1
            if self._crash_in <= 0:
                self._crash_in = None
                raise Crash


def _merge(old: Any, new: Any) -> Any:
    """Server-side apply as far as our children need it: maps are merged, everything else is replaced."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        merged = {k: _copy(v) for k, v in old.items()}
        for key, value in new.items():
            merged[key] = _merge(old.get(key), value)
        return merged
    return _copy(new)


def _without(old: Any, before: Any, new: Any) -> Any:
    """The old object without the keys that our last apply set and this one leaves out: giving up a field removes it."""
    if not (isinstance(old, Mapping) and isinstance(before, Mapping) and isinstance(new, Mapping)):
        return old
    return {
        key: _without(value, before.get(key), new.get(key))
        for key, value in old.items()
        if key in new or key not in before
    }


def _again(stored: T) -> T:
    """A copy of what is stored, which is JSON types already: faster still."""
    return cast(T, marshal.loads(marshal.dumps(cast(Any, stored))))  # noqa: S302 - our own bytes, made a moment ago


def _copy(value: T) -> T:
    """The same as it comes out of the wire: JSON types and nothing shared. Five times faster than ``deepcopy``."""
    return cast(T, json.loads(json.dumps(value)))
