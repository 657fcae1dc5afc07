"""The commands that change a version: ``approve``, ``reject``, ``alias``, ``archive``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slipway.api.common import Label
from slipway.cli import show
from slipway.cli.client import FIELD_MANAGER, VERSIONS, Api, Object, Resource
from slipway.cli.errors import Changed, Missing, Stop
from slipway.cli.reading import version

MERGE: Final = "application/merge-patch+json"
_ME: Final = Resource("selfsubjectreviews", group="authentication.k8s.io", version="v1")
_TRIES: Final = 5
"""How often a change is tried that somebody else's change came in between."""


def who(api: Api) -> str:
    """The user name that the API server knows the caller by."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    told = api.call("POST", _ME.path(None), body)
    name: str = told["status"]["userInfo"]["username"]
    return name


def decide(api: Api, namespace: str | None, name: str, state: str, comment: str | None) -> None:
    """Approve or reject a version, in the caller's name."""
    where = namespace or api.namespace
    found, by = version(api, where, name), who(api)
    # A comment of an earlier decision does not belong to this one.
    _patch(api, found, {"approval": {"state": state, "by": by, "comment": comment}})
    show.say(f"{found['metadata']['name']}: {state} by {by}")


def alias(api: Api, namespace: str | None, name: str, given: str, remove: bool) -> None:
    """Give an alias to a version, or take it from it.

    Of all versions that list an alias the highest number that is Ready holds it. So it is listed here first, and then
    no longer by those with a higher number: who has it lets go only where the other is there to take it.
    """
    where = namespace or api.namespace
    found = version(api, where, name)
    _list(api, found, given, not remove)
    shown, model, number = found["metadata"]["name"], found["spec"]["model"], found["spec"]["version"]
    others = [
        o
        for o in api.pages(VERSIONS, where, selector=f"{Label.MODEL}={model}")
        if given in (o["spec"].get("aliases") or ()) and o["metadata"]["name"] != shown
    ]
    if remove:
        rest = max(others, key=lambda o: int(o["spec"]["version"]), default=None)
        left = f"; {rest['metadata']['name']} lists it too, and holds it when it is Ready" if rest else ""
        show.say(f"{shown} no longer has the alias {given}{left}")
        return
    above = [o for o in others if o["spec"]["version"] > number]
    for other in above:
        _list(api, other, given, False)
    taken = f", taken from {', '.join(o['metadata']['name'] for o in above)}" if above else ""
    phase = (found.get("status") or {}).get("phase")
    waits = "" if phase == "Ready" else f"; it is {phase or 'new'}, and holds the alias as soon as it is Ready"
    show.say(f"{shown} has the alias {given}{taken}{waits}")


def _list(api: Api, found: Object, given: str, wanted: bool) -> None:
    """Write the alias into a version's list, or out of it, whatever else happens to the list meanwhile."""
    for _ in range(_TRIES):
        aliases = list(found["spec"].get("aliases") or ())
        if (given in aliases) == wanted:
            return
        changed = [*aliases, given] if wanted else [a for a in aliases if a != given]
        try:
            _patch(api, found, {"aliases": changed}, unchanged=True)
        except Changed:
            found = version(api, found["metadata"]["namespace"], found["metadata"]["name"])
        else:
            return
    raise Stop(f"{found['metadata']['name']} is changed by others all the time: try again")


def archive(api: Api, namespace: str | None, name: str, undo: bool) -> None:
    """Keep Deployments from taking a version, or let them again."""
    found = version(api, namespace or api.namespace, name)
    _patch(api, found, {"archived": not undo})
    what = "may be served again" if undo else "is archived: no Deployment may take it; its lineage stays"
    show.say(f"{found['metadata']['name']} {what}")


def _patch(api: Api, found: Object, spec: Mapping[str, Any], *, unchanged: bool = False) -> None:
    meta = found["metadata"]
    body: dict[str, Any] = {"spec": spec}
    if unchanged:
        body["metadata"] = {"resourceVersion": meta["resourceVersion"]}
    path = VERSIONS.path(meta["namespace"], meta["name"])
    try:
        api.call("PATCH", path, body, kind=MERGE, fieldManager=FIELD_MANAGER)
    except Missing:
        raise Stop(f"{meta['name']} was deleted") from None
