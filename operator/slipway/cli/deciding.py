"""The commands that change a version: ``approve``, ``reject``, ``alias``, ``archive``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from slipway.api.common import DIGEST, Label
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


def decide(
    api: Api, namespace: str | None, name: str, state: str, comment: str | None, digest: str | None = None
) -> None:
    """Approve or reject a version, in the caller's name.

    Args:
        digest: the file that the caller means; a version of another one is left alone.
    """
    if digest is not None and not re.match(DIGEST, digest):
        raise Stop(f"--digest {digest} is no digest in full: write sha256: and 64 digits of 0-9 and a-f")
    found, by = version(api, namespace or api.namespace, name), who(api)
    shown, registered = found["metadata"]["name"], found["spec"]["artifact"]["digest"]
    if digest not in (None, registered):
        raise Stop(f"{shown} is the file {registered}, and not {digest}: nothing was decided")
    before = found["spec"].get("approval") or {}

    def said(live: Object) -> Mapping[str, Any]:
        now = live["spec"].get("approval") or {}
        if now != before:
            told = f"{now.get('state', 'Pending')} by {now.get('by', 'nobody')}"
            raise Stop(f"somebody else decided about {shown} in this moment ({told}): look at it and say it again")
        # A comment of an earlier decision does not belong to this one.
        return {"approval": {"state": state, "by": by, "comment": comment}}

    _change(api, found, said)
    show.say(f"{shown}: {state} by {by}")


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


def archive(api: Api, namespace: str | None, name: str, undo: bool) -> None:
    """Keep Deployments from taking a version, or let them again."""
    found = version(api, namespace or api.namespace, name)
    _change(api, found, lambda _: {"archived": not undo})
    what = "may be served again" if undo else "is archived: no Deployment may take it; its lineage stays"
    show.say(f"{found['metadata']['name']} {what}")


def _list(api: Api, found: Object, given: str, wanted: bool) -> None:
    """Write the alias into a version's list, or out of it, whatever else happens to the list meanwhile."""

    def changed(live: Object) -> Mapping[str, Any] | None:
        aliases = list(live["spec"].get("aliases") or ())
        if (given in aliases) == wanted:
            return None
        return {"aliases": [*aliases, given] if wanted else [a for a in aliases if a != given]}

    _change(api, found, changed)


def _change(api: Api, found: Object, changed: Callable[[Object], Mapping[str, Any] | None]) -> None:
    """Write what ``changed`` makes of the version's spec (None: nothing), as often as others write in between.

    Only into the object that was found: one that took its name since is another model file.
    """
    meta = found["metadata"]
    name, live = meta["name"], found
    for _ in range(_TRIES):
        spec = changed(live)
        if spec is None:
            return
        guard = {"uid": meta["uid"], "resourceVersion": live["metadata"]["resourceVersion"]}
        path = VERSIONS.path(meta["namespace"], name)
        try:
            api.call("PATCH", path, {"metadata": guard, "spec": spec}, kind=MERGE, fieldManager=FIELD_MANAGER)
            return
        except Missing:
            raise Stop(f"{name} was deleted") from None
        except Changed:
            live = version(api, meta["namespace"], name)
        if live["metadata"]["uid"] != meta["uid"]:
            raise Stop(f"{name} was deleted and registered anew in this moment: look at the new one first")
    raise Stop(f"{name} is changed by others all the time: try again")
