"""Do two namespaces allow that a version goes from the one to the other? Pure.

It is the only reference that crosses a namespace, so both sides must allow it: the Namespace that it comes from names
the other in ``slipway.dev/promote-to``, and that one names it in ``slipway.dev/promote-from``. Who may annotate a
Namespace decides that, and that is no tenant. Until both do, nothing of the other namespace is read, and no sentence
tells whether anything is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slipway.api.common import GROUP
from slipway.api.model_version import ModelVersionStatus, PromotedFrom
from slipway.kube.objects import Manifest
from slipway.registry.children import Defaults

TO: Final = f"{GROUP}/promote-to"
"""On a Namespace: those that may take its versions, separated by commas."""
FROM: Final = f"{GROUP}/promote-from"
"""On a Namespace: those that it takes versions from, separated by commas."""


def taken_over(status: ModelVersionStatus) -> bool:
    """Whether the lineage is the original's already."""
    return status.lineage is not None and status.lineage.origin == "Promoted"


def not_allowed(asked: PromotedFrom, here: str, known: Mapping[str, Manifest], defaults: Defaults) -> str | None:
    """A sentence where one of the two namespaces does not allow it; ``known`` are the Namespaces, by name."""
    there = asked.namespace
    if there == here:
        return f"spec.promotedFrom names this namespace, {here}: a version is promoted from another one"
    if not defaults.whole_cluster:
        return (
            "this installation of Slipway serves some namespaces only (watchNamespaces) and looks at no other: "
            "promotion takes one for the whole cluster"
        )
    if not names(known.get(here), FROM, there):
        return f"the namespace {here} takes no versions from {there}: {_how(here, FROM, there)}"
    if not names(known.get(there), TO, here):
        return f"the namespace {there} gives no versions to {here}: {_how(there, TO, here)}"
    return None


def names(namespace: Manifest | None, annotation: str, other: str) -> bool:
    """Whether a Namespace names another in one of the two annotations.

    >>> names({"metadata": {"annotations": {TO: "staging, prod"}}}, TO, "prod")
    True
    >>> names({"metadata": {"annotations": {TO: "production"}}}, TO, "prod"), names({"metadata": {}}, TO, "prod")
    (False, False)
    """
    text = ((namespace or {"metadata": {}})["metadata"].get("annotations") or {}).get(annotation, "")
    return other in [name.strip() for name in text.split(",")]


def _how(namespace: str, annotation: str, other: str) -> str:
    return f"whoever may, says kubectl annotate namespace {namespace} {annotation}={other} (several: with commas)"
