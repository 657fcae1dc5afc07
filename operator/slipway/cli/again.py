"""The commands ``reproduce`` and ``provenance``."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from slipway.api.common import Tolerance
from slipway.api.model_version import CREATED_BY_ANNOTATION
from slipway.api.provenance import statement
from slipway.api.reproduce import NotReproducible, run_manifest
from slipway.cli import show, waiting
from slipway.cli.client import CONFIG_MAPS, FIELD_MANAGER, RUNS, VERSIONS, Api, Object, Resource
from slipway.cli.deciding import who
from slipway.cli.errors import Changed, Forbidden, Missing, Stop
from slipway.cli.reading import get, lineage_of, version

_LONGEST: Final = 52 - len("-again-999")
"""Of the version's name in the run's; a TrainingRun's name has at most 52 characters."""
_ENDED: Final = frozenset({"Succeeded", "Failed"})
_PATIENCE: Final = 2.0
"""Seconds between two looks at a run."""


def reproduce(
    api: Api,
    namespace: str | None,
    name: str,
    tolerance: tuple[str | None, str | None],
    *,
    called: str | None,
    wait: bool,
    dry_run: bool,
    timeout: float | None = None,
) -> None:
    """Train a version once more, and say what came of it.

    Args:
        timeout: seconds to wait for the verdict; None: as long as the run goes on by itself.

    Raises:
        Stop: it cannot be made again, what came out differs, or there is no verdict to wait for.
    """
    where = namespace or api.namespace
    found = version(api, where, name)
    given = {k: v for k, v in zip(("absolute", "relative"), tolerance, strict=True) if v is not None}
    lineage = lineage_of(found)
    run = _maybe(api, RUNS, where, (lineage.get("trainingRun") or {}).get("name"))
    code = _maybe(api, CONFIG_MAPS, where, ((lineage.get("code") or {}).get("configMap") or {}).get("name"))
    parent = _maybe(api, VERSIONS, where, (lineage.get("parent") or {}).get("modelVersion"))
    shown = found["metadata"]["name"]
    try:
        made = run_manifest(
            found,
            name=called or f"{shown[:_LONGEST]}-again",
            run=run,
            code=code,
            parent=parent,
            tolerance=Tolerance.model_validate(given) if given else None,
        )
    except NotReproducible as refusal:
        raise Stop(f"{shown} cannot be made again: {refusal}") from None
    # Where four eyes are asked for, a run must say who applies it; everywhere else it may.
    made["metadata"].setdefault("annotations", {})[CREATED_BY_ANNOTATION] = who(api)
    if dry_run:
        show.say_json(made)
        return
    created = _create(api, where, made, only=called is not None)
    show.note(f"the run {created} trains {shown} once more")
    if wait:
        _tell(api, where, created, shown, timeout)
    else:
        show.say(created)


def _maybe(api: Api, resource: Resource, namespace: str, name: str | None) -> Object | None:
    """What is not there is none; what may not be read is said, because it would be asked for in vain."""
    if not name:
        return None
    try:
        return get(api, resource, namespace, name)
    except Missing:
        return None
    except Forbidden as stop:
        raise Stop(f"to make it again its {resource.plural} must be read: {stop}") from None


def _create(api: Api, namespace: str, made: dict[str, Any], *, only: bool) -> str:
    """POST under the first free name, or under this one only."""
    base = made["metadata"]["name"]
    for number in range(1, 1000):
        made["metadata"]["name"] = base if number == 1 else f"{base}-{number}"
        try:
            api.call("POST", RUNS.path(namespace), made, fieldManager=FIELD_MANAGER)
        except Changed:
            if only:
                raise Stop(f"there is a TrainingRun {base} already: write another --name") from None
            continue
        name: str = made["metadata"]["name"]
        return name
    raise Stop(f"999 runs are named {base}: delete some")


def _tell(api: Api, namespace: str, run: str, shown: str, timeout: float | None) -> None:
    told, until = "", None if timeout is None else time.monotonic() + timeout
    while True:
        status = waiting.ask(lambda: get(api, RUNS, namespace, run), until).get("status") or {}
        if (message := str(status.get("message", ""))) not in ("", told):
            show.note(message)
            told = message
        if status.get("phase") in _ENDED:
            break
        said = f"{status.get('phase') or 'Pending'}: {message or 'the operator has not looked at it yet'}"
        if any(c["type"] == "Stalled" and c["status"] == "True" for c in status.get("conditions") or ()):
            raise Stop(f"the run {run} does not go on by itself. {said}")
        left = _PATIENCE if until is None else until - time.monotonic()
        if left <= 0:
            raise Stop(f"there is no verdict within {timeout:g} s; the run {run} goes on. {said}")
        time.sleep(min(_PATIENCE, left))
    verdict = status.get("reproduction")
    if not verdict:
        raise Stop(f"the run {run} ended without a verdict: {status.get('message', '')}")
    differs = "; ".join(d["message"] for d in verdict.get("differs") or ())
    words = f"{shown} by the run {run}" + (f": {differs}" if differs else "")
    if verdict["verdict"] == "Different":
        raise Stop(f"Different: {words}")
    show.say_words(verdict["verdict"], words)


def provenance(api: Api, namespace: str | None, name: str) -> None:
    """Print the SLSA provenance of a version as an in-toto statement."""
    found = version(api, namespace or api.namespace, name)
    try:
        print(json.dumps(statement(found), indent=2, ensure_ascii=False))
    except NotReproducible as refusal:
        raise Stop(f"{found['metadata']['name']} has no provenance: {refusal}") from None
