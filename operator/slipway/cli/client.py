"""The API server as a person with a kubeconfig reaches it: whatever they may do there is all that the plugin may do.

``kubernetes`` reads the kubeconfig (tokens, certificates, exec plugins, proxies) and keeps the connection; objects stay
JSON types. It is imported when the first question is asked, so that ``--help`` and completion do not wait for it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from slipway.api.common import API_VERSION, GROUP, VERSION
from slipway.cli.errors import Away, Changed, Forbidden, Missing, Stop

Object = dict[str, Any]
"""A Kubernetes object as JSON types."""
PAGE: Final = 500
"""Objects that are read in one request; kubectl reads as many."""
FIELD_MANAGER: Final = "kubectl-slipway"
_TIMEOUT: Final = 60.0
_TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io"
_JSON: Final = "application/json"


@dataclass(frozen=True)
class Resource:
    """A kind on the API server, by the name that its URL has."""

    plural: str
    group: str = GROUP
    version: str = VERSION

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection (``namespace`` None: of all namespaces), an object or its subresource.

        >>> VERSIONS.path("team", "digits-v1")
        '/apis/slipway.dev/v1alpha1/namespaces/team/modelversions/digits-v1'
        """
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        middle = f"/namespaces/{namespace}" if namespace else ""
        return root + middle + "".join(f"/{part}" for part in (self.plural, name, subresource) if part)


RUNS: Final = Resource("trainingruns")
VERSIONS: Final = Resource("modelversions")
DEPLOYMENTS: Final = Resource("deployments")
DATASETS: Final = Resource("datasets")
CONFIG_MAPS: Final = Resource("configmaps", group="", version="v1")
PODS: Final = Resource("pods", group="", version="v1")


@dataclass(frozen=True)
class Row:
    """One row of a table that the API server made: cells by the name of their column.

    Attributes:
        meta: the object's metadata; empty where they were not asked for.
    """

    cells: Mapping[str, Any]
    meta: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.cells["Name"])

    def text(self, column: str) -> str:
        """A cell as text; empty where the column is unknown to the server or empty for this object."""
        value = self.cells.get(column)
        return "" if value is None else str(value)


class Api(Protocol):
    """What the commands need of an API server."""

    @property
    def namespace(self) -> str:
        """The namespace that the kubeconfig's context names, or ``default``."""

    def call(self, method: str, path: str, body: Any = None, *, kind: str = _JSON, **query: str) -> Object:
        """One request; ``kind`` is the body's content type.

        Raises:
            Stop: an answer that is no success, as a sentence.
        """

    def table(
        self, resource: Resource, namespace: str | None, *, selector: str = "", meta: bool = False, most: int = 0
    ) -> list[Row]:
        """All objects (or the first ``most``) as the rows that ``kubectl get`` would print, page by page; with their
        metadata if asked."""

    def pages(self, resource: Resource, namespace: str | None, *, selector: str = "") -> Iterator[Object]:
        """All whole objects, page by page."""

    def lines(self, path: str, **query: str) -> Iterator[str]:
        """An answer that goes on: a log that is followed, a watch. Ends when the server ends it."""


class Cluster:
    """``Api`` by a kubeconfig."""

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        from kubernetes.client import ApiClient, Configuration

        configuration: Any = Configuration()
        self._namespace = _load(configuration, kubeconfig, context)
        # A question is asked once: a server that does not answer is said at once, not after three tries.
        configuration.retries = False
        self._client: Any = ApiClient(configuration)
        self._client.user_agent = FIELD_MANAGER
        self._server = str(configuration.host)

    @property
    def namespace(self) -> str:
        return self._namespace

    def call(self, method: str, path: str, body: Any = None, *, kind: str = _JSON, **query: str) -> Object:
        return self._json(method, path, body, kind, _JSON, query)

    def table(
        self, resource: Resource, namespace: str | None, *, selector: str = "", meta: bool = False, most: int = 0
    ) -> list[Row]:
        query = {"includeObject": "Metadata" if meta else "None"}
        rows: list[Row] = []
        for page in self._pages(resource, namespace, selector, f"{_TABLE},{_JSON}", query):
            heads = [column["name"] for column in page["columnDefinitions"]]
            for row in page["rows"] or ():
                about = row.get("object") or {}
                rows.append(Row(dict(zip(heads, row["cells"], strict=True)), about.get("metadata", {})))
            if most and len(rows) >= most:
                break
        return rows

    def pages(self, resource: Resource, namespace: str | None, *, selector: str = "") -> Iterator[Object]:
        for page in self._pages(resource, namespace, selector, _JSON, {}):
            yield from page["items"]

    def lines(self, path: str, **query: str) -> Iterator[str]:
        from urllib3.exceptions import HTTPError

        response = self._send("GET", path, None, _JSON, _JSON, query, endless=True)
        rest = b""
        try:
            for part in response.response.stream():
                *whole, rest = (rest + part).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
            if rest:
                yield rest.decode(errors="replace")
        except (HTTPError, OSError) as error:
            raise Away(f"the answer of the API server at {self._server} broke off: {_plain(error)}") from None
        finally:
            response.response.close()

    def _pages(
        self, resource: Resource, namespace: str | None, selector: str, accept: str, more: Mapping[str, str]
    ) -> Iterator[Object]:
        query = {"limit": str(PAGE), **more, **({"labelSelector": selector} if selector else {})}
        path, token = resource.path(namespace), ""
        while True:
            page = self._json("GET", path, None, _JSON, accept, {**query, **({"continue": token} if token else {})})
            yield page
            token = page["metadata"].get("continue", "")
            if not token:
                return

    def _json(self, method: str, path: str, body: Any, kind: str, accept: str, query: Mapping[str, str]) -> Object:
        response = self._send(method, path, body, kind, accept, query)
        answer: Object = json.loads(response.read())
        return answer

    def _send(
        self,
        method: str,
        path: str,
        body: Any,
        kind: str,
        accept: str,
        query: Mapping[str, str],
        endless: bool = False,
    ) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        request = self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": accept, "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._client.call_api(*request, _request_timeout=(_TIMEOUT, None) if endless else _TIMEOUT)
            if not endless or response.status >= 300:
                response.read()
        except (HTTPError, ApiException, OSError) as error:
            raise Away(f"no API server answers at {self._server}: {_plain(error)}") from None
        if response.status >= 300:
            raise _refused(path, response.status, response.read())
        return response


def _load(configuration: Any, kubeconfig: str | None, context: str | None) -> str:
    """Fill the configuration; return the namespace that the context names."""
    from kubernetes import config
    from kubernetes.config import kube_config

    # The package has no types for these.
    untyped: Any = config
    reader: Any = kube_config
    place = kubeconfig or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    there = any(os.path.exists(os.path.expanduser(path)) for path in place.split(os.pathsep))  # noqa: PTH110, PTH111
    try:
        if not there and not kubeconfig and "KUBERNETES_SERVICE_HOST" in os.environ:
            untyped.load_incluster_config(client_configuration=configuration)
            return "default"
        if not there:
            raise Stop(f"there is no kubeconfig at {place}: write --kubeconfig FILE, or set KUBECONFIG")
        merged = reader.KubeConfigMerger(place).config
        if context and context not in [c.value["name"] for c in merged["contexts"]]:
            known = ", ".join(c.value["name"] for c in merged["contexts"])
            raise Stop(f"the kubeconfig {place} has no context {context}: write one of {known}")
        loader = reader.KubeConfigLoader(merged, active_context=context)
        loader.load_and_set(configuration)
    except config.ConfigException as error:
        raise Stop(f"the kubeconfig {place} cannot be used: {error}") from None
    return str(loader.current_context["context"].get("namespace") or "default")


def _plain(error: BaseException) -> str:
    """The innermost cause of a transport's error: the wrappings tell a person nothing."""
    inner = getattr(error, "reason", None)
    while isinstance(cause := inner if isinstance(inner, BaseException) else error.__cause__, BaseException):
        error, inner = cause, getattr(cause, "reason", None)
    return str(getattr(error, "strerror", None) or error).strip()


_BUSY: Final = frozenset({429, 502, 503, 504})
_DENIED: Final = " denied request: "
"""What an admission policy says stands behind these words of the API server."""


def _refused(path: str, status: int, raw: bytes) -> Stop:
    """What an answer that is no success means, as a sentence."""
    try:
        message = str(json.loads(raw)["message"])
    except (ValueError, KeyError, TypeError):
        message = raw.decode(errors="replace").strip() or f"HTTP status {status}"
    if _DENIED in message:
        return Stop(message.partition(_DENIED)[2])
    if status == 409:
        return Changed(message)
    if status in _BUSY:
        return Away(f"the API server is not ready, or has too much to do: {message}")
    if status == 401:
        return Stop("the API server does not know you: your kubeconfig's credentials are missing or no longer good")
    if status == 403:
        return Forbidden(_forbidden(message))
    if status == 404 and "page not found" in message:
        return Stop(
            f"the cluster does not know {urlsplit(path).path.split('/')[-1]} of {API_VERSION}: is Slipway there?"
        )
    if status == 404:
        return Missing(f"there is no such object: {message}")
    return Stop(message)


_RIGHT: Final = re.compile(
    r'User "(?P<who>[^"]+)" cannot (?P<verb>\w+) resource "(?P<what>[^"]+)"'
    r'(?:.* in the namespace "(?P<where>[^"]+)")?'
)


def _forbidden(message: str) -> str:
    """The API server's words for a missing right, as one sentence of ours; its own words where they are others.

    >>> _forbidden('x is forbidden: User "anna" cannot list resource "modelversions" in API group "slipway.dev" '
    ...            'in the namespace "team-b"')
    'anna may not list modelversions in the namespace team-b: ask for the right, or name another namespace with -n'
    """
    right = _RIGHT.search(message)
    if right is None:
        return message
    lacks = f"{right['who']} may not {right['verb']} {right['what']}"
    if right["where"]:
        return f"{lacks} in the namespace {right['where']}: ask for the right, or name another namespace with -n"
    return f"{lacks} in all namespaces: name one with -n, without -A"
