"""Which of its aliases a version holds: of all versions of a model that are Ready and list one, the highest number
holds it. Pure.

An alias moves in two writes, to two objects, and is never seen at two versions: a version takes one only when no other
shows it, and lets go as soon as one with a higher number is Ready and lists it. That needs no lock in the cluster,
because the operator looks at one version of a model at a time (``handlers.room``): what a pass has read of the others
still holds when it writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from slipway import podfacts
from slipway.api.model_version import ModelVersionSpec, ModelVersionStatus
from slipway.kube.objects import Manifest
from slipway.registry import approval


@dataclass(frozen=True)
class Names:
    """What becomes of a version's aliases.

    Attributes:
        held: those that it holds.
        elsewhere: those that belong to a higher number, and the name of that version.
        coming: those that are its own but that another version has not let go yet, and the name of that version.
    """

    held: Sequence[str] = ()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    coming: Mapping[str, str] = field(default_factory=dict)


def settle(siblings: Iterable[Manifest], spec: ModelVersionSpec) -> Names:
    """The aliases of a version that is Ready.

    Args:
        siblings: the other versions of the model, also those that are on their way out.
        spec: this version's.
    """
    elsewhere: dict[str, str] = {}
    coming: dict[str, str] = {}
    wanted = set(spec.aliases)
    for version in sorted(siblings, key=lambda v: int(v["spec"]["version"])):
        name, status = version["metadata"]["name"], ModelVersionStatus.model_validate(version.get("status") or {})
        coming.update(dict.fromkeys(wanted.intersection(status.held_aliases), name))
        if version["spec"]["version"] > spec.version and _may_hold(version, status):
            elsewhere.update(dict.fromkeys(wanted.intersection(version["spec"].get("aliases", ())), name))
    coming = {alias: name for alias, name in coming.items() if alias not in elsewhere}
    return Names([a for a in spec.aliases if a not in elsewhere and a not in coming], elsewhere, coming)


def _may_hold(version: Manifest, status: ModelVersionStatus) -> bool:
    """By its status it is Ready, and nothing was written since that ends it.

    One that is on its way out takes nothing any more, but what it still shows is its own until it has let go.
    """
    spec = ModelVersionSpec.model_validate(version["spec"])
    agreed = approval.rule(version["metadata"]["name"], spec).lets_pass
    return status.phase == "Ready" and not spec.archived and agreed and not podfacts.leaving(version)
