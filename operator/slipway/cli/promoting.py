"""The command ``promote``: a copy of a version in another namespace."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from slipway.api.common import API_VERSION
from slipway.api.model_version import CREATED_BY_ANNOTATION
from slipway.cli import show, waiting
from slipway.cli.client import FIELD_MANAGER, VERSIONS, Api, Object
from slipway.cli.deciding import who
from slipway.cli.errors import Changed, Stop
from slipway.cli.reading import get, lineage_of, version

_PATIENCE: Final = 1.0
"""Seconds between two looks at the copy."""


def promote(
    api: Api,
    namespace: str | None,
    name: str,
    to: str,
    place: Mapping[str, str],
    *,
    approval: bool,
    timeout: float,
) -> None:
    """Write the copy, and tell what the operator says of it.

    Args:
        place: ``uri`` and ``store`` of the copy's own file, where it does not stay at the original's.

    Raises:
        Stop: it exists already, or one of the two namespaces does not allow it.
    """
    where = namespace or api.namespace
    if to == where:
        raise Stop(f"{name} is in {to} already: name another namespace")
    found = version(api, where, name)
    shown = found["metadata"]["name"]
    try:
        made = copy(found, to, place, approval)
        # Where four eyes are asked for, a version must say who applies it; everywhere else it may.
        made["metadata"]["annotations"] = {CREATED_BY_ANNOTATION: who(api)}
        api.call("POST", VERSIONS.path(to), made, fieldManager=FIELD_MANAGER)
    except Changed:
        raise Stop(f"{to} has a {shown} already") from None
    until = time.monotonic() + timeout
    made = waiting.ask(lambda: get(api, VERSIONS, to, shown), until)
    while not lineage_of(made) and time.monotonic() < until:
        time.sleep(min(_PATIENCE, timeout))
        made = waiting.ask(lambda: get(api, VERSIONS, to, shown), until)
    status = made.get("status") or {}
    message = status.get("message") or "the operator has not looked at it yet"
    if not lineage_of(made):
        raise Stop(f"{shown} stands in {to}, and waits: {message}")
    show.say(f"{shown} is in {to}, with its lineage. {status.get('phase', 'Verifying')}: {message}")


def copy(found: Object, to: str, place: Mapping[str, str], approval: bool) -> Object:
    """The manifest of the copy."""
    spec, meta = found["spec"], found["metadata"]
    made: dict[str, Any] = {
        "model": spec["model"],
        "version": spec["version"],
        "artifact": {**spec["artifact"], **place},
        "signature": spec["signature"],
        "promotedFrom": {"namespace": meta["namespace"], "modelVersion": meta["name"]},
    }
    if approval:
        made["approval"] = {"required": True}
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {"name": meta["name"], "namespace": to},
        "spec": made,
    }
