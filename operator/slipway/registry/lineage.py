"""Where a version comes from, on its way into status: the lineage that it was created with, or what its spec says of
a model that was trained elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from slipway.api.model_version import LINEAGE_ANNOTATION, Lineage, ModelVersionSpec
from slipway.kube.drift import differs
from slipway.kube.objects import Manifest

_INT64: Final = 2**63 - 1
_OF_A_TRAINING: Final = ("trainingRun", "code", "seed", "environment", "result")
"""What every training leaves."""


class Broken(ValueError):
    """The annotation is not a lineage; the message says where."""


def imported(spec: ModelVersionSpec) -> Lineage:
    """All that is known of a model that was trained elsewhere."""
    return Lineage(origin="Imported", source=spec.source, artifact=spec.artifact)


def read(version: Manifest) -> Lineage | None:
    """The lineage in the annotation; None where there is none (a model that was trained elsewhere).

    Whoever may create a ModelVersion may write anything there, so it is held against everything that the API server
    would hold against the status.

    Raises:
        Broken: it is not a lineage that a status may hold.
    """
    text = version["metadata"].get("annotations", {}).get(LINEAGE_ANNOTATION)
    if text is None:
        return None
    try:
        made = Lineage.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Broken(f"{where}: {first['msg']}" if where else first["msg"]) from None
    wire = made.wire()
    if made.origin != "Trained":
        raise Broken(f"its origin {made.origin} is not for an annotation to say")
    if missing := [name for name in _OF_A_TRAINING if name not in wire]:
        raise Broken(f"{missing[0]}: Field required")
    if made.training_run is None or made.training_run.name != version["spec"].get("trainingRun"):
        raise Broken("it is the lineage of another run than spec.trainingRun")
    if made.artifact.digest != version["spec"]["artifact"]["digest"]:
        raise Broken("it is the lineage of another file")
    _unique("data", [d.name for d in made.data])
    _unique("metrics", [m.name for m in made.metrics])
    if fault := made.artifact.fault():
        raise Broken(fault)
    _small(wire)
    # Nobody can have made it once more before it was there: such a word would be somebody's own.
    return made.model_copy(update={"reproductions": [], "reproductions_cut": None})


def copied(version: Manifest) -> str | None:
    """The annotation's text where the stored status says all of it, so that nobody needs it any more; else None.

    Held against the status as the API server gave it back: one that forgets fields (CRDs of an older release) must not
    cost the record.
    """
    text = version["metadata"].get("annotations", {}).get(LINEAGE_ANNOTATION)
    recorded = (version.get("status") or {}).get("lineage")
    if text is None or recorded is None:
        return None
    try:
        told = read(version)
    except Broken:
        return None
    return text if told is not None and not differs(told.wire(), recorded) else None


def _unique(what: str, names: Sequence[str]) -> None:
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise Broken(f"{what}: {twice[0]!r} stands there twice")


def _small(value: Any) -> None:
    """The API server keeps 64 bits of a whole number."""
    if isinstance(value, int) and abs(value) > _INT64:
        raise Broken("a number is too large")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _small(item)
