"""Spec -> the manifests of children: for each version a workload, its Service and a PodDisruptionBudget. Pure.

Labels lead back: every child carries ``slipway.dev/deployment`` and, but for route and front Service,
``slipway.dev/model-version``. Which events wake a Deployment follows from them.
"""

from __future__ import annotations

import math
from typing import Any, Final

from slipway import contract, pods
from slipway.api.common import Label, parse_time, seconds
from slipway.api.deployment import ComparisonTerms, DeploymentSpec, PromotionJob
from slipway.kube.objects import BUDGETS, HTTP_ROUTES, JOBS, SERVICES, WORKLOADS, Manifest, Resource, child_of
from slipway.serving.observed import Defaults, Version

CONTAINER: Final = "server"
ROLE: Final = "serve"
TEST: Final = "test"
"""Role of a Job that judges a candidate, and the name of its container."""
TEST_SCRATCH: Final = "/tmp"  # noqa: S108 - an emptyDir of the test's own pod
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
    return child_of(owner, resource, name, labels(owner["metadata"]["name"], **more), spec)


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


def peers(owner: Manifest, version: str) -> dict[str, Any]:
    """A headless Service of the stable version's pods, by which a shadow finds them to compare its answers."""
    deployment = owner["metadata"]["name"]
    spec = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "selector": selector(deployment, version),
        "ports": [
            {"name": "metrics", "port": contract.METRICS_PORT, "targetPort": contract.METRICS_PORT, "protocol": "TCP"}
        ],
    }
    return _child(owner, SERVICES, peers_name(deployment), spec)


def peers_name(deployment: str) -> str:
    """Its name: the same whatever version is the stable one, so that no pod must be replaced when that changes."""
    return f"{deployment}-peers"


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


def preview_name(deployment: str) -> str:
    """Name of the HTTPRoute of the preview host name."""
    return f"{deployment}-preview"


def preview(owner: Manifest, spec: dict[str, Any]) -> dict[str, Any]:
    """The HTTPRoute that leads to a candidate before any client sees it."""
    return _child(owner, HTTP_ROUTES, preview_name(owner["metadata"]["name"]), spec)


# ------------------------------------------------------------------------------------------- a person's test


def test_name(deployment: str, version: str, begun: str) -> str:
    """Name of the Job that judges a candidate: another one for each try.

    >>> test_name("digits", "digits-v4", "2026-01-02T03:04:05Z")
    'digits-digits-v4-test-1767323045'
    """
    return pods.child_name(f"{deployment}-{version}", f"-test-{int(parse_time(begun).timestamp())}")


def test(owner: Manifest, name: str, job: PromotionJob, version: Version, stable: str | None) -> dict[str, Any]:
    """The Job. It runs once: a test that fails now and then is a finding, not something to be tried again."""
    deployment, namespace = owner["metadata"]["name"], owner["metadata"]["namespace"]

    def base(name: str) -> str:
        return f"http://{child_name(deployment, name)}.{namespace}.svc:{contract.SERVE_PORT}"

    known = {"SLIPWAY_URL": base(version.name), "SLIPWAY_MODEL": version.model, "SLIPWAY_MODEL_VERSION": version.name}
    if stable is not None:
        known["SLIPWAY_STABLE_URL"] = base(stable)
    volume, mount = pods.scratch("scratch", TEST_SCRATCH, "64Mi")
    container: dict[str, Any] = {
        **pods.container_base(),
        "name": TEST,
        "image": job.image,
        "imagePullPolicy": "IfNotPresent",
        "env": [
            *(pods.env_var(key, value) for key, value in known.items()),
            *(pods.env_var(each.name, each.value) for each in job.env),
            *pods.scratch_env_vars(TEST_SCRATCH),
        ],
        "resources": pods.requirements(job.resources.cpu, job.resources.memory),
        "volumeMounts": [mount],
    }
    volumes = [volume]
    if job.command:
        container["command"] = [part.replace("$(", "$$(") for part in job.command]
    if job.config_map:
        container["workingDir"] = contract.CODE_DIR
        container["volumeMounts"].append({"name": "code", "mountPath": contract.CODE_DIR, "readOnly": True})
        volumes.append({"name": "code", "configMap": {"name": job.config_map}})
    template = {
        "metadata": {"labels": pods.managed(deployment=deployment, role=TEST, model_version=version.name)},
        "spec": {**pods.pod_base(), "restartPolicy": "Never", "containers": [container], "volumes": volumes},
    }
    spec = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": math.ceil(seconds(job.deadline)),
        "podFailurePolicy": pods.failure_policy(TEST),
        "template": template,
    }
    made = _child(owner, JOBS, name, spec)
    made["metadata"]["labels"] = pods.managed(deployment=deployment, role=TEST, model_version=version.name)
    return made


def job_ended(job: Manifest) -> str | None:
    """``Complete`` or ``Failed``; None while it runs."""
    found = (c["type"] for c in job.get("status", {}).get("conditions", ()) if c["status"] == "True")
    return next((kind for kind in found if kind in ("Complete", "Failed")), None)


def job_message(job: Manifest | None) -> str:
    """What the Job controller says about a Job that failed."""
    conditions = job.get("status", {}).get("conditions", ()) if job else ()
    said: Manifest = next((c for c in conditions if c["type"] == "Failed"), {})
    return str(said.get("message") or said.get("reason") or "nobody says why")


def of_job(pod: Manifest, name: str) -> bool:
    """Whether a pod belongs to the Job of that name."""
    return any(
        ref.get("kind") == "Job" and ref.get("name") == name for ref in pod["metadata"].get("ownerReferences", ())
    )


def budget(owner: Manifest, version: str) -> dict[str, Any]:
    """Evictions (a node that is drained) take one pod of a version at a time. For more than one replica only: with one
    it would either say nothing or hold the node's drain up for ever."""
    deployment = owner["metadata"]["name"]
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": selector(deployment, version)}}
    return _child(owner, BUDGETS, child_name(deployment, version), spec, model_version=version)


def serve_spec(
    owner: Manifest,
    spec: DeploymentSpec,
    version: Version,
    defaults: Defaults,
    compares: ComparisonTerms | None = None,
) -> contract.ServeSpec:
    """What the server is asked to load, and with whom it compares its answers."""
    namespace, deployment = owner["metadata"]["namespace"], owner["metadata"]["name"]
    return contract.ServeSpec(
        namespace=namespace,
        model=version.model,
        modelVersion=version.name,
        version=version.number,
        artifact=version.artifact,
        signature=version.signature,
        deployment=deployment,
        maxBatch=spec.server.max_batch,
        maxDelayMs=round(1000 * seconds(spec.server.max_delay)),
        queueLimit=spec.server.queue_limit,
        timeoutMs=round(1000 * seconds(spec.server.timeout)),
        maxBodyBytes=defaults.max_body_bytes,
        drainSeconds=defaults.drain_seconds,
        comparison=contract.Comparison(
            peers=f"{peers_name(deployment)}.{namespace}.svc:{contract.METRICS_PORT}",
            absolute=compares.absolute,
            relative=compares.relative,
            examples=compares.examples,
        )
        if compares
        else None,
    )


def workload(
    owner: Manifest,
    spec: DeploymentSpec,
    version: Version,
    replicas: int,
    defaults: Defaults,
    compares: ComparisonTerms | None = None,
) -> dict[str, Any]:
    """The workload of one version. A changed ``resources`` or ``server`` replaces its pods one by one, the new one
    ready before the old one goes; without room for that (``surge: false``) the old one goes first."""
    deployment = owner["metadata"]["name"]
    match = selector(deployment, version.name)
    made = {
        "replicas": replicas,
        "revisionHistoryLimit": 1,
        "selector": {"matchLabels": match},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": _ONE_MORE if spec.strategy.surge else _ONE_LESS},
        "template": {
            "metadata": {"labels": labels(deployment, model=version.model, model_version=version.name)},
            "spec": _pod(owner, spec, version, defaults, match, compares),
        },
    }
    return _child(
        owner, WORKLOADS, child_name(deployment, version.name), made, model=version.model, model_version=version.name
    )


_ONE_MORE: Final = {"maxUnavailable": 0, "maxSurge": 1}
_ONE_LESS: Final = {"maxUnavailable": 1, "maxSurge": 0}


def _pod(
    owner: Manifest,
    spec: DeploymentSpec,
    version: Version,
    defaults: Defaults,
    match: dict[str, str],
    compares: ComparisonTerms | None,
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
                    pods.env_var(
                        contract.Env.SPEC, contract.dumps(serve_spec(owner, spec, version, defaults, compares))
                    ),
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
