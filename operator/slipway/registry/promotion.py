"""Is a version the copy of one in another namespace that it says it is? Pure.

Whether the two namespaces allow it is ``borders.py``'s question. Once the lineage is taken over the two have nothing to
do with each other any more: what becomes of the original is its namespace's business.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from slipway.api.common import rfc3339
from slipway.api.model_version import Lineage, ModelVersionSpec, ModelVersionStatus, Promotion
from slipway.api.reasons import Reason
from slipway.kube.objects import Manifest
from slipway.registry.borders import not_allowed, taken_over
from slipway.registry.observe import Observed
from slipway.registry.verification import Verdict

LOOK_EVERY: Final = 15.0
"""Seconds between two looks at a Namespace, which nobody watches."""


def holds_back(seen: Observed) -> Verdict | None:
    """Why the version is not a promotion yet; None where it is one, or was never meant to be."""
    asked = seen.spec.promoted_from
    if asked is None or taken_over(seen.status) or seen.spec.archived or seen.status.failure:
        return None
    here = str(seen.version["metadata"]["namespace"])
    if refused := not_allowed(asked, here, seen.namespaces, seen.defaults):
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


def lineage(seen: Observed, now: datetime) -> Lineage | None:
    """The original's lineage, and the step that was taken; None while something holds it back."""
    asked = seen.spec.promoted_from
    if asked is None or seen.original is None or holds_back(seen) is not None:
        return None
    found = ModelVersionStatus.model_validate(seen.original["status"]).lineage
    assert found is not None, "holds_back waits for it"
    step = Promotion(namespace=asked.namespace, model_version=asked.model_version, at=rfc3339(now))
    return found.model_copy(update={"origin": "Promoted", "promotions": [*found.promotions, step]})


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
