"""Who holds an alias: of all versions of a model that list it, the highest number that is Ready. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from slipway.api.model_version import ModelVersionSpec, ModelVersionStatus
from slipway.kube.objects import Manifest
from slipway.registry import approval


def rivals(siblings: Iterable[Manifest], number: int, aliases: Iterable[str]) -> dict[str, str]:
    """The aliases that a version with a higher number holds, and the name of that version.

    A version of a lower number never takes an alias from this one, so only the higher ones are looked at.

    Args:
        siblings: the other versions of the model.
        number: this version's number.
        aliases: the aliases that it lists.
    """
    held: dict[str, str] = {}
    wanted = set(aliases)
    for version in sorted(siblings, key=lambda v: int(v["spec"]["version"])):
        if version["spec"]["version"] > number and _may_hold(version):
            held.update(
                dict.fromkeys(wanted.intersection(version["spec"].get("aliases", ())), version["metadata"]["name"])
            )
    return held


def _may_hold(version: Manifest) -> bool:
    spec = ModelVersionSpec.model_validate(version["spec"])
    status = ModelVersionStatus.model_validate(version.get("status") or {})
    agreed = approval.rule(version["metadata"]["name"], spec).lets_pass
    # Verified, but its namespace insists on a signature that it has not got: it is not Ready.
    unsigned = status.verification is not None and status.phase == "Verifying"
    return status.verification is not None and not unsigned and not spec.archived and agreed
