"""The commands below ``rollout``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from slipway.api.common import ACTION_ANNOTATION
from slipway.cli import rollout, show, waiting
from slipway.cli.client import DEPLOYMENTS, FIELD_MANAGER, Api, Object
from slipway.cli.errors import Away, Missing, Stop
from slipway.cli.options import Output
from slipway.cli.reading import get as get_object

if TYPE_CHECKING:
    from rich.console import Group

_MERGE = "application/merge-patch+json"
_WATCH_SECONDS = 300
NOT_CARRIED_OUT = " was not carried out: "
"""The operator's words in ``status.lastAction.result`` where a verb has no meaning now."""


def get(api: Api, namespace: str | None, name: str, *, watch: bool, output: Output) -> None:
    """Show a Deployment once, or until Ctrl-C."""
    where = namespace or api.namespace
    deployment = get_object(api, DEPLOYMENTS, where, name)
    if output is Output.JSON:
        show.say_json(deployment)
    elif not watch:
        show.console().print(_page(deployment), soft_wrap=True)
    elif show.console().is_terminal:
        _live(api, where, deployment)
    else:
        _lines(api, where, deployment)


def _page(deployment: Object) -> Group:
    """The whole view, as rich prints it."""
    from rich.console import Group
    from rich.text import Text

    now = datetime.now(UTC)
    head, message = rollout.headline(deployment)
    lines = [_text(head)]
    if message:
        lines.append(Text(message))
    for section in rollout.view(deployment, now):
        for index, line in enumerate(section.lines):
            lines.append(_text((rollout.Piece(f"{section.title if index == 0 else '':<11}", "bold"), *line)))
    return Group(*lines)


def _text(line: rollout.Line) -> Any:
    from rich.text import Text

    made = Text()
    for piece in line:
        # A piece has a colour, or a word that judges and has one.
        made.append(piece.text, show.style(piece.style) or (piece.style if piece.style.islower() else ""))
    return made


def _live(api: Api, namespace: str, deployment: Object) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    away = Text(style="dim")

    def tell(line: str) -> None:
        away.plain = line

    # Made anew at each look: the times in it are counted from now.
    def drawn() -> Group:
        return Group(_page(deployment), away) if away.plain else _page(deployment)

    with Live(get_renderable=drawn, console=show.console(), refresh_per_second=2, transient=False):
        for changed in changes(api, namespace, deployment, tell=tell):
            deployment, away.plain = changed, ""


def _lines(api: Api, namespace: str, deployment: Object) -> None:
    """In a pipe: a line for each change of what the operator says."""
    before = _line(deployment, "")
    for changed in changes(api, namespace, deployment):
        before = _line(changed, before)


def _line(deployment: Object, before: str) -> str:
    status = deployment.get("status") or {}
    told = f"{status.get('phase', '')}  {status.get('message', '')}"
    if told != before:
        show.say(f"{datetime.now(UTC):%H:%M:%S}  {told}")
    return told


def changes(
    api: Api,
    namespace: str,
    deployment: Object,
    until: float | None = None,
    tell: Callable[[str], None] = show.note,
) -> Iterator[Object]:
    """The Deployment each time that it changes, until it is deleted. An API server that goes away is waited for.

    Args:
        until: a time of ``time.monotonic`` at which to end.
        tell: is told why nothing can be seen at present.
    """
    name, version = deployment["metadata"]["name"], deployment["metadata"]["resourceVersion"]
    path = DEPLOYMENTS.path(namespace)
    while (left := _WATCH_SECONDS if until is None else until - time.monotonic()) > 0:
        query = {"watch": "true", "fieldSelector": f"metadata.name={name}", "resourceVersion": version}
        try:
            for line in api.lines(path, **query, timeoutSeconds=str(max(1, round(left)))):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    break  # the version is too old to go on from
                if event["type"] == "DELETED":
                    raise Missing(name)
                version = event["object"]["metadata"]["resourceVersion"]
                yield event["object"]
            else:
                continue
        except Missing:
            raise Stop(f"{name} was deleted") from None
        except Away:
            time.sleep(min(waiting.AGAIN_SECONDS, left))
        try:
            fresh = waiting.ask(lambda: get_object(api, DEPLOYMENTS, namespace, name), until, tell)
        except Missing:
            raise Stop(f"{name} was deleted") from None
        except Away:
            return  # the time is over
        version = fresh["metadata"]["resourceVersion"]
        yield fresh


def say(api: Api, namespace: str | None, name: str, verb: str, timeout: float) -> None:
    """Ask for a verb, and tell what the operator answers.

    Raises:
        Stop: it was refused, or nobody answered in time.
    """
    where = namespace or api.namespace
    before = get_object(api, DEPLOYMENTS, where, name)
    # The operator names the field manager in its answer, as who asked.
    asked = api.call(
        "PATCH",
        DEPLOYMENTS.path(where, name),
        {"metadata": {"annotations": {ACTION_ANNOTATION: verb}}},
        kind=_MERGE,
        fieldManager=FIELD_MANAGER,
    )
    if timeout == 0:
        return
    old = (before.get("status") or {}).get("lastAction")
    for now in changes(api, where, asked, time.monotonic() + timeout):
        last = (now.get("status") or {}).get("lastAction")
        if last and last != old and last["action"] == verb and ACTION_ANNOTATION not in _annotations(now):
            if NOT_CARRIED_OUT in last["result"]:
                raise Stop(last["result"])
            show.say(last["result"])
            return
    raise Stop(
        f"the operator has not answered within {timeout:g} s: is it running? The wish stands in the annotation "
        f"{ACTION_ANNOTATION} of {name}, and is carried out as soon as it runs"
    )


def _annotations(obj: Object) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("annotations") or {}
    return found
