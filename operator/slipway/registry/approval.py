"""Has somebody who may agreed to the version? Pure.

Whether he may is not asked here: the chart's admission policy refuses the write of who may not, so what stands in the
spec was written by one who could.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from slipway.api.common import rfc3339
from slipway.api.model_version import Approval, ApprovalStatus, ModelVersionSpec
from slipway.api.reasons import Reason


@dataclass(frozen=True)
class Ruling:
    """What is known of a version's approval.

    Attributes:
        state: ``Free`` where nobody has to be asked, and nobody has spoken.
        words: a part of a sentence; empty where there is nothing to say.
    """

    state: Literal["Free", "Approved", "Waiting", "Rejected"]
    reason: Reason
    words: str = ""

    @property
    def lets_pass(self) -> bool:
        """Whether the version may be used, as far as approval goes."""
        return self.state in ("Free", "Approved")


def rule(name: str, spec: ModelVersionSpec) -> Ruling:
    """What the spec says.

    >>> from slipway.api.model_version import Approval, ModelVersionSpec
    >>> def said(**given): return rule("digits-v3", ModelVersionSpec.model_construct(approval=Approval(**given))).words
    >>> said(required=True, state="Approved", by="jane", comment="good on the holdout")
    'approved by jane: good on the holdout'
    >>> said(state="Rejected", by="jane")
    'rejected by jane'
    """
    asked = spec.approval or Approval()
    told = f"by {asked.by or 'nobody'}" + (f": {asked.comment}" if asked.comment else "")
    if asked.state == "Rejected":
        return Ruling("Rejected", Reason.REJECTED, f"rejected {told}")
    if asked.state == "Approved":
        return Ruling("Approved", Reason.APPROVED, f"approved {told}")
    if not asked.required:
        return Ruling("Free", Reason.READY)
    return Ruling(
        "Waiting",
        Reason.AWAITING_APPROVAL,
        f"it waits for approval: somebody who may approve says kubectl slipway approve {name}, or reject",
    )


def record(spec: ModelVersionSpec, before: ApprovalStatus | None, now: datetime) -> ApprovalStatus | None:
    """The decision that stands, with the time at which it was first seen; None where there is none."""
    asked = spec.approval
    if asked is None or asked.state == "Pending":
        return None
    at = before.at if before and (before.state, before.by) == (asked.state, asked.by) else rfc3339(now)
    return ApprovalStatus(state=asked.state, by=asked.by or "nobody", at=at, comment=asked.comment)
