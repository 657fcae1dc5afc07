"""Is a version the copy of one in another namespace that it says it is? Pure.

Whether the two namespaces allow it is ``borders.py``'s question. Once the lineage is taken over the two have nothing to
do with each other any more: what becomes of the original is its namespace's business.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from slipway.api.common import rfc3339
from slipway.api.model_version import (
    CREATED_BY_ANNOTATION,
    PROMOTIONS,
    Lineage,
    ModelVersionSpec,
    ModelVersionStatus,
    PromotedFrom,
    Promotion,
)
from slipway.api.reasons import Reason
from slipway.kube.objects import Manifest
from slipway.registry.borders import not_allowed, taken_over
from slipway.registry.observe import Observed
from slipway.registry.verification import Verdict

LOOK_EVERY: Final = 15.0
"""Seconds between two looks at a Namespace, which nobody watches."""


def holds_back(seen: Observed) -> Verdict | None:
    """Why the version is not a promotion yet; None where it is one, or was never meant to be, or is out of use."""
    asked, status = seen.spec.promoted_from, seen.status
    if asked is None or seen.spec.archived or status.failure:
        return None
    if not taken_over(status):
        return _examine(asked, seen)
    assert status.lineage is not None
    if status.lineage.artifact.digest != seen.spec.artifact.digest:
        return Verdict(Reason.PROMOTION_DIFFERS, "its lineage is that of another file: make it anew", "stalled")
    return None


def lineage(seen: Observed, now: datetime) -> Lineage | None:
    """The original's lineage, and the step that was taken; None while something holds it back.

    A version that is out of use takes nothing over: it is examined when it is taken back.
    """
    asked = seen.spec.promoted_from
    if asked is None or seen.original is None or seen.spec.archived or seen.status.failure or _examine(asked, seen):
        return None
    found = ModelVersionStatus.model_validate(seen.original["status"]).lineage
    assert found is not None, "_examine waits for it"
    author = (seen.original["metadata"].get("annotations") or {}).get(CREATED_BY_ANNOTATION)
    step = Promotion(namespace=asked.namespace, model_version=asked.model_version, created_by=author, at=rfc3339(now))
    return found.model_copy(
        update={
            "origin": "Promoted",
            "promotions": _steps([*found.promotions, step]),
            # The runs that made it once more are the other namespace's: nobody can look them up here.
            "reproductions": [],
            "reproductions_cut": None,
        }
    )


def _steps(taken: list[Promotion]) -> list[Promotion]:
    """As many as a lineage lists. The first is never left out: there are the run, its code and the parents, and
    who made the original may not approve a copy."""
    return taken if len(taken) <= PROMOTIONS else [taken[0], *taken[1 - PROMOTIONS :]]


def _examine(asked: PromotedFrom, seen: Observed) -> Verdict | None:
    """Every question that must be answered before anything is taken over; None where all are."""
    if refused := not_allowed(asked, str(seen.version["metadata"]["namespace"]), seen.namespaces, seen.defaults):
        return Verdict(Reason.PROMOTION_REFUSED, refused, "stalled", again=LOOK_EVERY)
    name, there = asked.model_version, asked.namespace
    if seen.original is None:
        return Verdict(Reason.PROMOTION_WAITING, f"there is no ModelVersion {name} in {there}", "stalled", again=60.0)
    if differs := _differs(seen.spec, seen.original):
        words = f"{differs}: a promotion is a copy of {name} in {there}; make it anew with what stands there"
        return Verdict(Reason.PROMOTION_DIFFERS, words, "stalled")
    status = ModelVersionStatus.model_validate(seen.original.get("status") or {})
    if status.phase != "Ready" or status.lineage is None or seen.original["spec"].get("archived"):
        waits = f"it is promoted when {name} in {there} is Ready, and that is {status.phase} now"
        return Verdict(Reason.PROMOTION_WAITING, waits, again=60.0)
    return None


def _differs(spec: ModelVersionSpec, original: Manifest) -> str | None:
    theirs = ModelVersionSpec.model_validate(original["spec"])
    for field, mine, other in (
        ("model", spec.model, theirs.model),
        ("version", spec.version, theirs.version),
        ("artifact.digest", spec.artifact.digest, theirs.artifact.digest),
        ("artifact.size", spec.artifact.size, theirs.artifact.size),
    ):
        if mine != other:
            return f"spec.{field} is {mine}, and there it is {other}"
    return "spec.signature is another" if spec.signature != theirs.signature else None
