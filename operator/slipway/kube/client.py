"""The API server as Slipway needs it: one small protocol, and its implementation on ``kubernetes.aio``.

Objects stay plain JSON types. The typed half of the client is not imported: it would add its models' memory for a
dozen kinds, and the dynamic half would spend requests on discovery of what ``objects.py`` already knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import aiohttp
from kubernetes.aio.client import ApiClient

from slipway.api.common import FIELD_MANAGER
from slipway.kube.fence import Fence
from slipway.kube.objects import Manifest, Resource, resource_of

REQUEST_TIMEOUT = 30.0
"""Seconds; a request that takes longer is given up and the pass is tried again."""
_PAGE = 500
Objects = list[dict[str, Any]]


class KubeError(Exception):
    """Any answer that is no success; the message is the API server's own sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(KubeError):
    """No answer, or half of one: the write may have been made all the same."""


class Conflict(KubeError):
    """Somebody wrote the object in the meantime: look again and decide anew."""


class Refused(KubeError):
    """The API server will not take it (400, 403, 422): the same request would be refused again."""


class NamespaceEnds(KubeError):
    """The namespace is being deleted: nothing can be made there any more, and what is there goes by itself."""


class NotInstalled(KubeError):
    """The API server does not know this kind."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(404, f"{resource.plural}.{resource.group} is not installed in this cluster")
        self.resource = resource


class Reader(Protocol):
    """What ``observe`` may do."""

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """One object; None where there is none of that name.

        Raises:
            NotInstalled: the kind itself is unknown.
        """

    async def list(
        self,
        resource: Resource,
        namespace: str | None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Objects:
        """The objects of a namespace (None: of all) that carry all these labels, in the server's order.

        Args:
            fields: paths of fields and what they must hold; each kind has a few that can be asked for.

        Raises:
            NotInstalled: the kind itself is unknown.
        """


class Kube(Reader, Protocol):
    """What ``act`` may do."""

    async def apply(self, manifest: Manifest, live: Manifest | None = None) -> dict[str, Any]:
        """Server-side apply with our field manager; with ``live`` only to that object, as it was observed.

        Raises:
            Conflict: it changed, or was deleted, or its namespace is gone.
            NotInstalled: the kind itself is unknown.
        """

    async def create(self, manifest: Manifest) -> dict[str, Any] | None:
        """POST; None where an object of that name exists.

        Raises:
            Conflict: its namespace is gone.
            NotInstalled: the kind itself is unknown.
        """

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Delete exactly this object, its dependents in the background. Gone already is fine."""

    async def write_status(self, resource: Resource, live: Manifest, status: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the whole status of an object that has not changed since it was observed.

        Raises:
            Conflict: it has, or it was deleted.
        """

    async def remove_annotation(self, resource: Resource, live: Manifest, key: str, value: str) -> None:
        """Remove one annotation of exactly this object if it still has this value; else do nothing.

        Raises:
            Refused: we may not.
        """

    async def post_event(self, event: Manifest) -> None:
        """POST an Event; one of the same name existing is fine.

        Raises:
            Conflict: its namespace is gone.
        """


class ApiServer:
    """``Kube`` on a real API server. Writes are held back by the fence, which is open while this replica leads."""

    def __init__(self, api: ApiClient, fence: Fence) -> None:
        self._api = api
        self._fence = fence

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        try:
            return await self._call("GET", resource.path(namespace, name))
        except KubeError as error:
            return self._absent(resource, error)

    async def list(
        self,
        resource: Resource,
        namespace: str | None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Objects:
        query = [("limit", str(_PAGE))]
        for selector, wanted in (("labelSelector", labels), ("fieldSelector", fields)):
            if wanted:
                query.append((selector, ",".join(f"{k}={v}" for k, v in sorted(wanted.items()))))
        items: Objects = []
        token = ""
        while True:
            page = [*query, ("continue", token)] if token else query
            try:
                answer = await self._call("GET", resource.path(namespace), query=page)
            except KubeError as error:
                self._absent(resource, error)
                raise
            # A list carries the type once, for all its items.
            items += [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in answer["items"]]
            token = answer["metadata"].get("continue", "")
            if not token:
                return items

    async def apply(self, manifest: Manifest, live: Manifest | None = None) -> dict[str, Any]:
        body, resource, meta = dict(manifest), resource_of(manifest), manifest["metadata"]
        if live is not None:
            # The uid, too: an apply to an object that is gone creates it, and a resourceVersion does not prevent that.
            body["metadata"] = {**meta, **{key: live["metadata"][key] for key in ("uid", "resourceVersion")}}
        # Forced: a field of a child of ours that somebody else set is drift, and the child follows the spec.
        query = [("fieldManager", FIELD_MANAGER), ("force", "true")]
        path = resource.path(meta.get("namespace"), meta["name"])
        try:
            return await self._call("PATCH", path, body, query, "application/apply-patch+yaml")
        except KubeError as error:
            raise self._gone(resource, error) from None

    async def create(self, manifest: Manifest) -> dict[str, Any] | None:
        resource = resource_of(manifest)
        path = resource.path(manifest["metadata"].get("namespace"))
        try:
            return await self._call("POST", path, manifest, [("fieldManager", FIELD_MANAGER)])
        except Conflict:
            return None
        except KubeError as error:
            raise self._gone(resource, error) from None

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._call("DELETE", resource.path(namespace, name), options)
        except Conflict:
            return  # another object of that name: the one that was meant is gone
        except KubeError as error:
            self._absent(resource, error)

    async def write_status(self, resource: Resource, live: Manifest, status: Mapping[str, Any]) -> dict[str, Any]:
        meta = live["metadata"]
        body = {**live, "status": status}
        path = resource.path(meta["namespace"], meta["name"], "status")
        try:
            return await self._call("PUT", path, body, [("fieldManager", FIELD_MANAGER)])
        except KubeError as error:
            raise self._gone(resource, error) from None

    async def remove_annotation(self, resource: Resource, live: Manifest, key: str, value: str) -> None:
        meta = live["metadata"]
        pointer = "/metadata/annotations/" + key.replace("~", "~0").replace("/", "~1")
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
            {"op": "test", "path": pointer, "value": value},
            {"op": "remove", "path": pointer},
        ]
        try:
            path = resource.path(meta["namespace"], meta["name"])
            await self._call("PATCH", path, patch, [("fieldManager", FIELD_MANAGER)], "application/json-patch+json")
        except Refused as error:
            if error.status == 403:
                raise
            return  # a test failed: the annotation is gone, or says something new that the next pass reads
        except KubeError as error:
            self._absent(resource, error)

    async def post_event(self, event: Manifest) -> None:
        await self.create(event)

    @staticmethod
    def _absent(resource: Resource, error: KubeError) -> None:
        if error.status != 404:
            raise error
        # An unknown path is answered in plain text, an unknown object by a Status that names it.
        if "page not found" in str(error):
            raise NotInstalled(resource) from None

    @classmethod
    def _gone(cls, resource: Resource, error: KubeError) -> Conflict:
        """A write to what is not there: it went, or its namespace did, and with it the object that was observed."""
        cls._absent(resource, error)
        return Conflict(error.status, str(error))

    async def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Sequence[tuple[str, str]] = (),
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        if method != "GET":
            self._fence.check()
        request = await self._api.param_serialize(
            method,
            path,
            query_params=list(query),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = await self._api.call_api(*request, _request_timeout=REQUEST_TIMEOUT)
            raw: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, OSError) as error:
            # (A time-out is an OSError, and has no words.)
            why = str(error) or f"{type(error).__name__} after {REQUEST_TIMEOUT:.0f} s"
            raise Unreachable(0, f"the API server gave no answer: {why}") from error
        if 200 <= response.status < 300:
            answer: dict[str, Any] = json.loads(raw)
            return answer
        raise _error(response.status, raw)


def _error(status: int, raw: bytes) -> KubeError:
    causes: set[str] = set()
    try:
        told = json.loads(raw)
        message = str(told["message"])
        causes = {cause.get("reason") for cause in (told.get("details") or {}).get("causes", ())}
    except (ValueError, KeyError, TypeError, AttributeError):
        message = raw.decode(errors="replace").strip() or f"HTTP status {status}"
    if "NamespaceTerminating" in causes:
        return NamespaceEnds(status, message)
    if status == 409:
        return Conflict(status, message)
    if status in (400, 403, 422):
        return Refused(status, message)
    return KubeError(status, message)
