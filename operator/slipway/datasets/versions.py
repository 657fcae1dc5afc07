"""The contents that a Dataset has had, from what its pods say. Pure.

What a pod says is held against the types of the API here, so that nothing is written which the API server would
refuse again and again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from slipway import contract, podfacts
from slipway.api.common import DIGEST, Label
from slipway.api.dataset import FAILURES, VERSIONS, Check, DatasetSpec, DatasetVersion, FailedCheck
from slipway.datasets.children import CONTAINER, output_store
from slipway.kube.objects import Manifest

_INT64: Final = 2**63 - 1


class Unusable(ValueError):
    """The result says what no status may hold; the message is part of a sentence."""


@dataclass(frozen=True)
class Ended:
    """A pod that ended well, and its word."""

    pod: Manifest
    result: contract.DatasetResult


def of_check(pods: Iterable[Manifest], check: Check) -> list[Manifest]:
    """The pods that carried out a check, in whichever try. What an earlier one found says nothing about this one."""
    return [p for p in pods if p["metadata"].get("labels", {}).get(Label.DATASET_CHECK) == str(check.number)]


def find(pods: Iterable[Manifest]) -> Ended | None:
    """The first pod that ended well and left a result that a status may hold."""
    for pod in pods:
        try:
            if (result := _read(pod)) is not None:
                return Ended(pod, result)
        except (contract.ContractError, Unusable):
            continue
    return None


def unreadable(pods: Iterable[Manifest]) -> str:
    """Why there is no result though the Job is complete, for a sentence."""
    for pod in pods:
        try:
            _read(pod)
        except (contract.ContractError, Unusable) as error:
            return f"the pod {pod['metadata']['name']} left a result that cannot be read ({error})"
    return "the pod that ended well is gone"


def with_newest(
    known: Sequence[DatasetVersion], spec: DatasetSpec, result: contract.DatasetResult, at: str
) -> tuple[list[DatasetVersion], int]:
    """The versions after a check, and how many were left out now. A content that was seen before moves up and keeps
    the time at which it was seen first.

    Args:
        known: the versions until now, the one that was seen last first.
        spec: what was checked.
        result: what the check found.
        at: when it ended.
    """
    before = next((v for v in known if v.digest == result.digest), None)
    newest = DatasetVersion(
        digest=result.digest,
        at=before.at if before else at,
        seen_at=at,
        uri=spec.uri,
        store=spec.store,
        files=result.files,
        bytes=result.bytes,
        rows=result.rows,
        manifest=result.manifest,
        profile=result.profile,
        output_store=output_store(spec),
        passed=result.passed,
    )
    made = [newest, *(v for v in known if v.digest != result.digest)]
    return made[:VERSIONS], len(made[VERSIONS:])


def failures(result: contract.DatasetResult) -> tuple[list[FailedCheck], int | None]:
    """What the data do not keep, as a status may hold it, and how much was left out."""
    shown = [FailedCheck(check=f.check[:253], message=f.message[:1024]) for f in result.failures[:FAILURES]]
    return shown, (result.failuresCut + len(result.failures) - len(shown)) or None


def _read(pod: Manifest) -> contract.DatasetResult | None:
    end = podfacts.terminated(pod, CONTAINER)
    if end.get("exitCode") != contract.EXIT_OK:
        return None
    result = contract.loads(contract.DatasetResult, str(end.get("message", "")))
    if not re.match(DIGEST, result.digest):
        raise Unusable(f"the digest {result.digest[:80]!r} is not sha256: and 64 digits of 0-9 and a-f")
    numbers = [result.files, result.bytes, result.read, result.checked, result.failuresCut]
    numbers += [n for n in (result.rows, result.columns) if n is not None]
    if not all(0 <= n <= _INT64 for n in numbers):
        raise Unusable("a count is below zero or too large")
    if len(result.manifest) > 2048 or len(result.profile or "") > 2048:
        raise Unusable("an address is longer than 2,048 characters")
    return result
