"""Must somebody agree to the version that a run makes? The run says so, or its namespace does by the time that the
version is made: it may have begun to ask after the run was applied, which is when the admission policy looked. Pure.

The policy (charts/slipway/templates/policies.yaml) refuses a version that does not wait where the namespace asks for
it. A run cannot be changed any more, so without this its number would be claimed and its training lost.
"""

from __future__ import annotations

from typing import Final

from slipway.api.common import GROUP
from slipway.api.training_run import TrainingRunSpec
from slipway.kube.objects import Manifest

_ASKS: Final = {f"{GROUP}/approval": "required", f"{GROUP}/four-eyes": "true"}
"""Labels of a Namespace, each with the value by which it asks."""


def said(spec: TrainingRunSpec) -> bool:
    """Whether the run itself says it."""
    return spec.approval is not None and spec.approval.required


def required(spec: TrainingRunSpec, namespace: Manifest | None) -> bool:
    """Whether the version waits for approval.

    >>> run = TrainingRunSpec.model_construct(approval=None)
    >>> required(run, {"metadata": {"labels": {"slipway.dev/approval": "required"}}}), required(run, {"metadata": {}})
    (True, False)
    """
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    return said(spec) or any(labels.get(name) == value for name, value in _ASKS.items())
