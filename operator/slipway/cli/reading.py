"""Objects by the names that people write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slipway.api.aliases import holder
from slipway.api.common import Label
from slipway.cli.client import CONFIG_MAPS, DATASETS, DEPLOYMENTS, RUNS, VERSIONS, Api, Object, Resource
from slipway.cli.errors import Missing, Stop

_KINDS: Final = {
    VERSIONS: "ModelVersion",
    RUNS: "TrainingRun",
    DEPLOYMENTS: "Deployment",
    DATASETS: "Dataset",
    CONFIG_MAPS: "ConfigMap",
}


def get(api: Api, resource: Resource, namespace: str, name: str) -> Object:
    """One object.

    Raises:
        Missing: there is none of that name, in words that name the namespace.
    """
    try:
        return api.call("GET", resource.path(namespace, name))
    except Missing:
        raise Missing(f"there is no {_KINDS[resource]} {name} in the namespace {namespace}") from None


def version(api: Api, namespace: str, name: str) -> Object:
    """A ModelVersion by its name, or by ``model@alias``.

    Raises:
        Missing: there is none, or nobody holds the alias.
    """
    model, at, alias = name.partition("@")
    if not at:
        return get(api, VERSIONS, namespace, name)
    selector = f"{Label.MODEL}={model}"
    for row in api.table(VERSIONS, namespace, selector=selector):
        if f'"{alias}"' in row.text("Aliases"):
            return get(api, VERSIONS, namespace, row.name)
    # Nobody shows it: it is nobody's, or it moves right now.
    found = holder(api.pages(VERSIONS, namespace, selector=selector), alias)
    if found is None:
        raise Missing(f"no version of {model} holds the alias {alias} in the namespace {namespace}")
    return dict(found)


def place(api: Api, namespace: str | None, everywhere: bool) -> str | None:
    """The namespace that is meant; None for all."""
    if everywhere and namespace:
        raise Stop("write either --namespace or --all-namespaces, not both")
    return None if everywhere else namespace or api.namespace


def home(version: Object) -> str:
    """The namespace in which it was made: there are its run, its code and the version that it was fine-tuned from."""
    promotions = lineage_of(version).get("promotions") or ()
    return str(promotions[0]["namespace"] if promotions else version["metadata"].get("namespace", ""))


def weights_of(version: Object) -> str | None:
    """The digest of the weights that another training may begin from; None where it has none on record."""
    digest: str | None = (lineage_of(version).get("weights") or {}).get("digest")
    return digest


def lineage_of(version: Object) -> Mapping[str, Any]:
    """The recorded lineage of a ModelVersion; empty where there is none yet."""
    found: Mapping[str, Any] = (version.get("status") or {}).get("lineage") or {}
    return found
