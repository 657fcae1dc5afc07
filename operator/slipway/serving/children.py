"""Spec -> the manifests of children: for each version a workload, its Service and a PodDisruptionBudget. Pure.

Labels lead back: every child carries ``slipway.dev/deployment`` and, but for route and front Service,
``slipway.dev/model-version``. Which events wake a Deployment follows from them.
"""

from __future__ import annotations

import math
from typing import Any, Final

from slipway import contract, pods
from slipway.api.common import Label, seconds
from slipway.api.deployment import DeploymentSpec
from slipway.kube.objects import BUDGETS, HTTP_ROUTES, SERVICES, WORKLOADS, Manifest, Resource, owner_reference
from slipway.serving.observed import Defaults, Version

CONTAINER: Final = "server"
ROLE: Final = "serve"
SCRATCH_SPARE: Final = 64 * 1024 * 1024
"""Bytes of the pod's scratch beside the model file: HOME and TMPDIR lie there."""
STOP_SPARE: Final = 5
"""Seconds for the process to end after the last request was answered."""
START_SECONDS: Final = 1800
"""How long a server may take to load a model of 2 GB over a slow line before the kubelet tries another time;
``spec.progressDeadline`` is what a person sets."""


def child_name(deployment: str, version: str) -> str:
    """Name of the workload, the Service and the budget of one version.

    >>> child_name("digits", "digits-v3")
    'digits-digits-v3'
    """
    return pods.child_name(f"{deployment}-{version}", "")


def labels(deployment: str, **more: str) -> dict[str, str]:
    """Labels of a child."""
    return pods.managed(deployment=deployment, role=ROLE, **more)


def selector(deployment: str, version: str | None = None) -> dict[str, str]:
    """Which pods: those of a version, or all that serve."""
    found = {Label.DEPLOYMENT: deployment, Label.ROLE: ROLE}
    return found if version is None else {**found, Label.MODEL_VERSION: version}


def _child(owner: Manifest, resource: Resource, name: str, spec: dict[str, Any], **more: str) -> dict[str, Any]:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "labels": labels(owner["metadata"]["name"], **more),
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": spec,
    }


def service(owner: Manifest, version: str) -> dict[str, Any]:
    """The Service of one version: what the route names."""
    deployment = owner["metadata"]["name"]
    spec = {
        "type": "ClusterIP",
        "selector": selector(deployment, version),
        "ports": [
            {"name": "http", "port": contract.SERVE_PORT, "targetPort": contract.SERVE_PORT, "protocol": "TCP"},
            {"name": "metrics", "port": contract.METRICS_PORT, "targetPort": contract.METRICS_PORT, "protocol": "TCP"},
        ],
    }
    return _child(owner, SERVICES, child_name(deployment, version), spec, model_version=version)


def front(owner: Manifest, select: dict[str, str]) -> dict[str, Any]:
    """The Service that clients use where there is no route."""
    spec = {
        "type": "ClusterIP",
        "selector": select,
        "ports": [{"name": "http", "port": 80, "targetPort": contract.SERVE_PORT, "protocol": "TCP"}],
    }
    return _child(owner, SERVICES, owner["metadata"]["name"], spec)


def route(owner: Manifest, spec: dict[str, Any]) -> dict[str, Any]:
    """The HTTPRoute that clients come by."""
    return _child(owner, HTTP_ROUTES, owner["metadata"]["name"], spec)


def budget(owner: Manifest, version: str) -> dict[str, Any]:
    """Evictions (a node that is drained) take one pod of a version at a time. For more than one replica only: with one
    it would either say nothing or hold the node's drain up for ever."""
    deployment = owner["metadata"]["name"]
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": selector(deployment, version)}}
    return _child(owner, BUDGETS, child_name(deployment, version), spec, model_version=version)


def serve_spec(owner: Manifest, spec: DeploymentSpec, version: Version, defaults: Defaults) -> contract.ServeSpec:
    """What the server is asked to load."""
    return contract.ServeSpec(
        namespace=owner["metadata"]["namespace"],
        model=version.model,
        modelVersion=version.name,
        version=version.number,
        artifact=version.artifact,
        signature=version.signature,
        deployment=owner["metadata"]["name"],
        maxBatch=spec.server.max_batch,
        maxDelayMs=round(1000 * seconds(spec.server.max_delay)),
        queueLimit=spec.server.queue_limit,
        timeoutMs=round(1000 * seconds(spec.server.timeout)),
        maxBodyBytes=defaults.max_body_bytes,
        drainSeconds=defaults.drain_seconds,
    )


def workload(
    owner: Manifest, spec: DeploymentSpec, version: Version, replicas: int, defaults: Defaults
) -> dict[str, Any]:
    """The workload of one version. A changed ``resources`` or ``server`` replaces its pods one by one, the new one
    ready before the old one goes."""
    deployment = owner["metadata"]["name"]
    match = selector(deployment, version.name)
    made = {
        "replicas": replicas,
        "revisionHistoryLimit": 1,
        "selector": {"matchLabels": match},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            "metadata": {"labels": labels(deployment, model=version.model, model_version=version.name)},
            "spec": _pod(owner, spec, version, defaults, match),
        },
    }
    return _child(
        owner, WORKLOADS, child_name(deployment, version.name), made, model=version.model, model_version=version.name
    )


def _pod(
    owner: Manifest, spec: DeploymentSpec, version: Version, defaults: Defaults, match: dict[str, str]
) -> dict[str, Any]:
    size = math.ceil((version.artifact.size + SCRATCH_SPARE) / 2**20)
    volume, mount = pods.scratch("model", contract.MODEL_DIR, f"{size}Mi")
    wanted = spec.resources
    return {
        **pods.pod_base(),
        # Longer than the server's own drain and the longest request, so that the kubelet never cuts one off.
        "terminationGracePeriodSeconds": defaults.drain_seconds + math.ceil(seconds(spec.server.timeout)) + STOP_SPARE,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": match},
            }
        ],
        "containers": [
            {
                **pods.container_base(),
                "name": CONTAINER,
                "image": defaults.server_image,
                "imagePullPolicy": defaults.image_pull_policy,
                "args": ["serve"],
                "env": [
                    pods.env_var(contract.Env.SPEC, contract.dumps(serve_spec(owner, spec, version, defaults))),
                    *pods.identity_env_vars(),
                    *pods.store_env_vars([version.artifact.store]),
                    *pods.scratch_env_vars(contract.MODEL_DIR),
                ],
                "ports": [
                    {"name": "http", "containerPort": contract.SERVE_PORT, "protocol": "TCP"},
                    {"name": "metrics", "containerPort": contract.METRICS_PORT, "protocol": "TCP"},
                ],
                "resources": pods.requirements(wanted.cpu, wanted.memory, wanted.gpu.count, wanted.gpu.resource_name),
                # Until the model is loaded and warm only the start is watched; a full queue must not look like death,
                # so liveness is patient.
                "startupProbe": _probe("/v2/health/ready", period=1, failures=START_SECONDS),
                "readinessProbe": _probe("/v2/health/ready", period=2, failures=2),
                "livenessProbe": _probe("/v2/health/live", period=10, failures=6),
                "volumeMounts": [mount],
            }
        ],
        "volumes": [volume],
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": contract.SERVE_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
