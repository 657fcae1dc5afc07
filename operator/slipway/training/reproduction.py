"""Making a version once more: whether there is something to compare with, and what is said of the outcome. Pure."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from slipway import contract
from slipway.api import reproduce
from slipway.api.model_version import LINEAGE_ANNOTATION, Lineage
from slipway.api.training_run import Difference, Reproduction
from slipway.kube.objects import Manifest
from slipway.training.record import Unusable

DIFFERENCES: Final = 64
"""Differences in a status."""
_DATA_CHANGED: Final = "DataDigestMismatch"
"""The trainer's reason when data are not those that ``spec.data[].digest`` names."""
_SHOWN: Final = 500


def is_coming(original: Manifest) -> bool:
    """Whether the registry has still to copy the lineage from the annotation into the status."""
    annotated = LINEAGE_ANNOTATION in (original["metadata"].get("annotations") or {})
    return annotated and not original.get("status")


def cannot(original: Manifest) -> str | None:
    """A sentence where the version has no lineage to compare with."""
    try:
        reproduce.lineage_of(original)
    except reproduce.NotReproducible as error:
        return str(error)
    return None


def answer(result: contract.TrainResult, original: Manifest | None, now: Lineage) -> Reproduction:
    """What the pod found about what came out, and what is seen here of what went in.

    Raises:
        Unusable: the pod's word holds no comparison, or one that no status may hold.
    """
    said = result.reproduction
    if said is None:
        raise Unusable("the trainer compared nothing: use a trainer image of the operator's release")
    differs = [*_went_in(said, original, now)]
    differs += [Difference(what=d.what[:63], message=d.message[:_SHOWN]) for d in said.differs]
    unique = {d.what: d for d in differs}
    try:
        return Reproduction(
            model_version=said.modelVersion,
            uid=said.uid,
            verdict=said.verdict,  # a pod's word: refused below where it is none of the three
            differs=list(unique.values())[:DIFFERENCES],
            max_abs_diff=said.maxAbsDiff,
            rows=said.rows,
        )
    except ValidationError:
        raise Unusable(f"the trainer's verdict is {said.verdict!r}") from None


def other_data(original: Manifest | None, reason: str, message: str) -> Reproduction | None:
    """The answer where the trainer refused to train because the data are not those of then; else None."""
    if original is None or reason != _DATA_CHANGED:
        return None
    return Reproduction(
        model_version=original["metadata"]["name"],
        uid=original["metadata"]["uid"],
        verdict="Different",
        differs=[Difference(what="data", message=message[:_SHOWN])],
    )


def sentence(found: Reproduction) -> str:
    """The verdict for people.

    >>> sentence(Reproduction(model_version="digits-v3", uid="u", verdict="Identical"))
    'digits-v3 was made once more: Identical, the file has the same digest'
    """
    words = {
        "Identical": "Identical, the file has the same digest",
        "WithinTolerance": "WithinTolerance, other bytes"
        + (f" whose answers differ by at most {found.max_abs_diff} over {found.rows} rows" if found.rows else ""),
        "Different": "Different",
    }[found.verdict]
    what = "; ".join(
        d.message for d in found.differs if not (found.verdict == "WithinTolerance" and d.what == "artifact")
    )
    return f"{found.model_version} was made once more: {words}" + (f". {what}" if what else "")


def _went_in(said: contract.Reproduction, original: Manifest | None, now: Lineage) -> list[Difference]:
    if original is not None and original["metadata"]["uid"] == said.uid and cannot(original) is None:
        return reproduce.differences(reproduce.lineage_of(original), now)
    gone = f"{said.modelVersion} was deleted meanwhile, so what went in could not be compared"
    return [Difference(what="lineage", message=gone)]
