"""Which weights a run begins from. Pure.

They are settled once, before the Job is made, and written down (``status.parent``): whatever becomes of the
ModelVersion afterwards, every attempt of the run begins from the same bytes or not at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from slipway.api import wayback
from slipway.api.common import DIGEST, S3_FILE
from slipway.api.model_version import ModelVersionStatus
from slipway.api.reasons import Reason
from slipway.api.training_run import ParentPin, TrainingRunSpec, TrainingRunStatus
from slipway.kube.objects import Key, Manifest, key_of


@dataclass(frozen=True)
class Trouble:
    """Why there is nothing to begin from. ``moving``: it comes by itself; ``stalled``: a person must do something and
    the run goes on then; ``failed``: this run cannot start any more."""

    reason: str
    message: str
    outlook: Literal["moving", "stalled", "failed"]


def is_open(spec: TrainingRunSpec, status: TrainingRunStatus) -> bool:
    """Whether the weights have still to be settled."""
    return spec.from_ is not None and status.parent is None


def awaited(run: Manifest) -> list[Key]:
    """The ModelVersion that a run may be waiting for."""
    spec = TrainingRunSpec.model_validate(run["spec"])
    status = TrainingRunStatus.model_validate(run.get("status") or {})
    if spec.from_ is None or status.parent is not None or status.completion_time is not None:
        return []
    return [Key(key_of(run).namespace, spec.from_.model_version)]


def settle(name: str, version: Manifest | None) -> ParentPin | Trouble:
    """The weights of a ModelVersion, or why they cannot be had.

    Any model's will do: whether the tensors fit the module is seen when they are loaded. A version that was not
    approved, or that is archived, is not Ready, and nothing new is made of it.
    """
    if version is None:
        return Trouble(
            Reason.MODEL_VERSION_MISSING,
            f"there is no ModelVersion {name} in this namespace: register it, and the run goes on; or delete the run "
            "and apply one that names another in spec.from.modelVersion",
            "stalled",
        )
    status = ModelVersionStatus.model_validate(version.get("status") or {})
    if status.failure is not None:
        return Trouble(
            Reason.MODEL_VERSION_NOT_READY,
            f"{name} of spec.from failed its verification and never becomes Ready ({status.failure.message}): apply a "
            "new run that begins from another version",
            "failed",
        )
    ready = next((c for c in status.conditions if c.type == "Ready"), None)
    if ready is None or status.phase == "Verifying":
        return Trouble(Reason.MODEL_VERSION_NOT_READY, f"{name} of spec.from is being verified", "moving")
    if ready.status != "True":
        return Trouble(
            Reason.MODEL_VERSION_NOT_READY,
            f"{name} of spec.from is not Ready ({ready.message}): the run goes on when it is; or delete the run and "
            "apply one that begins from another version",
            "stalled",
        )
    weights = status.lineage.weights if status.lineage else None
    if (
        status.lineage is None
        or weights is None
        or not re.match(S3_FILE, weights.uri)
        or not re.match(DIGEST, weights.digest)
    ):
        return Trouble(
            Reason.PARENT_WITHOUT_WEIGHTS,
            f"{name} of spec.from has no weights to begin from: they are kept of torch models that a training "
            "function returned here, not of what a program wrote or what was trained elsewhere. Apply a new run that "
            "begins from such a version",
            "failed",
        )
    return ParentPin(
        model_version=name,
        uri=weights.uri,
        digest=weights.digest,
        size=weights.size,
        store=weights.store,
        ancestry=wayback.ancestry(status.lineage),
    )
