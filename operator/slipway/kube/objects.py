"""The resources that Slipway reads or writes, and how one of their objects is named. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway.api.common import ACTION_ANNOTATION, GROUP, VERSION

Manifest = Mapping[str, Any]
"""A Kubernetes object as JSON types."""


@dataclass(frozen=True)
class Resource:
    """A kind on the API server. ``group`` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, of an object or of its subresource.

        >>> RESOURCES["Job"].path("team", "digits-1", "status")
        '/apis/batch/v1/namespaces/team/jobs/digits-1/status'
        """
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


TRAINING_RUNS: Final = Resource(GROUP, VERSION, "trainingruns", "TrainingRun")
DATASETS: Final = Resource(GROUP, VERSION, "datasets", "Dataset")
MODEL_VERSIONS: Final = Resource(GROUP, VERSION, "modelversions", "ModelVersion")
DEPLOYMENTS: Final = Resource(GROUP, VERSION, "deployments", "Deployment")
WORKLOADS: Final = Resource("apps", "v1", "deployments", "Deployment")
JOBS: Final = Resource("batch", "v1", "jobs", "Job")
PODS: Final = Resource("", "v1", "pods", "Pod")
SERVICES: Final = Resource("", "v1", "services", "Service")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
HTTP_ROUTES: Final = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
GATEWAYS: Final = Resource("gateway.networking.k8s.io", "v1", "gateways", "Gateway")
GATEWAY_CLASSES: Final = Resource("gateway.networking.k8s.io", "v1", "gatewayclasses", "GatewayClass", namespaced=False)
TRAFFIC_POLICIES: Final = Resource(
    "gateway.envoyproxy.io", "v1alpha1", "backendtrafficpolicies", "BackendTrafficPolicy"
)
BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
EVENTS: Final = Resource("events.k8s.io", "v1", "events", "Event")
CORE_EVENTS: Final = Resource("", "v1", "events", "Event")
"""The same Events by their older name, under which they can be asked for by the object that they are about: the newer
group takes no field selector but name and namespace."""

_ALL: Final = (
    DATASETS,
    TRAINING_RUNS,
    MODEL_VERSIONS,
    DEPLOYMENTS,
    WORKLOADS,
    JOBS,
    PODS,
    SERVICES,
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    HTTP_ROUTES,
    GATEWAYS,
    GATEWAY_CLASSES,
    TRAFFIC_POLICIES,
    BUDGETS,
    NAMESPACES,
    EVENTS,
    CORE_EVENTS,
)
BY_TYPE: Final = {(r.api_version, r.kind): r for r in _ALL}
RESOURCES: Final = {r.kind: r for r in _ALL if r not in (DEPLOYMENTS, CORE_EVENTS)}
"""By kind, for tests and doctests; ``Deployment`` here is the built-in one."""


def resource_of(manifest: Manifest) -> Resource:
    """The resource of a manifest.

    Raises:
        KeyError: a kind that Slipway has no business with.
    """
    return BY_TYPE[(manifest["apiVersion"], manifest["kind"])]


@dataclass(frozen=True, order=True)
class Key:
    """Names one object of one kind: what the work queue holds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def key_of(manifest: Manifest) -> Key:
    """The key of an object."""
    return Key(manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"])


def owner_reference(owner: Manifest) -> dict[str, Any]:
    """An ownerReference that makes ``owner`` the controller of a child, so that the child goes with it."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def child_of(
    owner: Manifest, resource: Resource, name: str, labels: Mapping[str, str], spec: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of an object that goes with its owner, in the owner's namespace."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": spec,
    }


def owned_by(child: Manifest, owner_uid: str) -> bool:
    """Whether the object's controller is the owner of that uid."""
    return any(
        ref.get("controller") and ref.get("uid") == owner_uid for ref in child["metadata"].get("ownerReferences", ())
    )


def action_of(live: Manifest) -> tuple[str | None, str | None]:
    """What a person asks of an object by annotation, and the field manager that wrote it, where known."""
    action = live["metadata"].get("annotations", {}).get(ACTION_ANNOTATION)
    if action is None:
        return None, None
    field = f"f:{ACTION_ANNOTATION}"
    for entry in live["metadata"].get("managedFields", ()):
        if field in entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:annotations", {}):
            return action, entry.get("manager")
    return action, None
