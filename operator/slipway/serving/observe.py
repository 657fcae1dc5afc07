"""Reads the world into one frozen ``Observed``. Chooses nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from slipway import contract, jobfacts
from slipway.api import aliases
from slipway.api.common import Label
from slipway.api.deployment import DeploymentSpec, DeploymentStatus, Route
from slipway.api.model_version import ModelVersionSpec, ModelVersionStatus
from slipway.api.reasons import Reason
from slipway.kube.client import NotInstalled, Reader, Refused
from slipway.kube.objects import (
    BUDGETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    GATEWAY_CLASSES,
    GATEWAYS,
    HTTP_ROUTES,
    JOBS,
    MODEL_VERSIONS,
    PODS,
    SERVICES,
    TRAFFIC_POLICIES,
    WORKLOADS,
    Key,
    Manifest,
    Resource,
    action_of,
    owned_by,
)
from slipway.serving.children import CONTAINER, ROLE, TEST, child_name, peers_name, preview_name
from slipway.serving.eyes import Eyes
from slipway.serving.observed import Defaults, Observed, Running, Taken, Target, Version

SERVICE_OF_SLICE = "kubernetes.io/service-name"


async def observe(kube: Reader, key: Key, defaults: Defaults, eyes: Eyes) -> Observed | None:
    """One Deployment and all that concerns it; None where it is gone or on its way out."""
    live = await kube.get(DEPLOYMENTS, key.namespace, key.name)
    if live is None or "deletionTimestamp" in live["metadata"]:
        return None
    spec = DeploymentSpec.model_validate(live["spec"])
    status = DeploymentStatus.model_validate(live.get("status") or {})
    target, registered = await _target(kube, key.namespace, spec)
    uid = live["metadata"]["uid"]
    children, gate, (route, preview), (policy, policies), front = await asyncio.gather(
        _children(kube, key, uid),
        _gateway(kube, key.namespace, spec.route),
        _routes(kube, key, spec),
        _policy(kube, key, spec),
        kube.get(SERVICES, key.namespace, key.name),
    )
    gateway, known, installed = gate
    running = _running(children, key.name)
    wanted = {v for v in (_name(status.stable), _name(status.candidate), target.wanted) if v}
    versions = {v: found for v in sorted(wanted) if (found := await _version(kube, key, v, registered, running))}
    action, by = action_of(live)
    taken = Taken(
        await _foreign_children(kube, key, sorted(wanted), running, uid),
        _foreign(route if spec.route else front, uid)
        or _foreign(preview, uid)
        or (_foreign(policy, uid) if _needs_policy(spec) else None),
    )
    seen = Observed(
        object=live,
        spec=spec,
        status=status,
        target=target,
        defaults=defaults,
        action=action,
        action_by=by,
        versions=versions,
        running=running,
        front=front if front and _is_front(front, uid) else None,
        front_pods=_behind(children, key.name),
        route=route if route and owned_by(route, uid) else None,
        gateway=gateway,
        gateway_known=known,
        gateway_api=installed,
        gateway_class=await _class(kube, gateway) if defaults.gateway_classes else None,
        policy=policy if policy and owned_by(policy, uid) else None,
        policies=policies,
        preview=preview if preview and owned_by(preview, uid) else None,
        peers=next((s for s in children.services if s["metadata"]["name"] == peers_name(key.name)), None),
        tests=tuple(children.tests),
        test_pods=tuple(p for p in children.pods if any(owned_by(p, job["metadata"]["uid"]) for job in children.tests)),
        taken=taken,
    )
    return replace(seen, look=await eyes.look(seen))


# ----------------------------------------------------------------------------------------------- the target


async def _target(kube: Reader, namespace: str, spec: DeploymentSpec) -> tuple[Target, dict[str, Manifest]]:
    """The version that the spec asks for, and the ModelVersions that were read on the way."""
    if spec.model_version is not None:
        found = await kube.get(MODEL_VERSIONS, namespace, spec.model_version)
        return _judge(spec.model_version, found), {spec.model_version: found} if found else {}
    assert spec.alias is not None, "the schema wants modelVersion or alias"
    assert spec.model is not None, "the schema wants model beside alias"
    # By label: a version that a person made has it before it is Ready (the registry sees to that).
    of_model = await kube.list(MODEL_VERSIONS, namespace, {Label.MODEL: spec.model})
    held = aliases.holder((v for v in of_model if v["spec"]["model"] == spec.model), spec.alias)
    if held is None:
        message = (
            f"no ModelVersion of {spec.model} holds the alias {spec.alias}: list it in spec.aliases of one that is "
            "Ready"
        )
        return Target(None, False, Reason.MODEL_VERSION_MISSING, message, stalled=True), {}
    name = held["metadata"]["name"]
    return _judge(name, held), {name: held}


def _judge(name: str, found: Manifest | None) -> Target:
    """Whether a version may be served by somebody who does not serve it yet."""
    if found is None:
        message = f"there is no ModelVersion {name} in this namespace: correct spec.modelVersion or register it"
        return Target(name, False, Reason.MODEL_VERSION_MISSING, message, stalled=True)
    status = _status(found)
    if found["spec"].get("archived"):
        message = f"ModelVersion {name} is archived: set its spec.archived to false, or choose another version"
        return Target(name, False, Reason.MODEL_VERSION_NOT_READY, message, stalled=True)
    if any(c.type == "Ready" and c.status == "True" for c in status.conditions):
        return Target(name, True)
    ends = {"Failed": "has failed", "Rejected": "may not be used"}
    said = f": {status.message}" if status.message else ""
    message = f"ModelVersion {name} {ends.get(status.phase, 'is not Ready yet')}{said}"
    return Target(name, False, Reason.MODEL_VERSION_NOT_READY, message, stalled=status.phase in ends)


def _status(version: Manifest) -> ModelVersionStatus:
    return ModelVersionStatus.model_validate(version.get("status") or {})


# --------------------------------------------------------------------------------------------- what it takes


async def _version(
    kube: Reader, key: Key, name: str, registered: Mapping[str, Manifest], running: Mapping[str, Running]
) -> Version | None:
    found = registered.get(name) or await kube.get(MODEL_VERSIONS, key.namespace, name)
    if found is not None:
        return _registered(found)
    # A ModelVersion that was deleted while it serves: its workload still says what it takes.
    workload = running[name].workload if name in running else None
    return _as_it_runs(workload) if workload else None


def _registered(found: Manifest) -> Version:
    spec = ModelVersionSpec.model_validate(found["spec"])
    signature = contract.Signature(
        inputs=[contract.Tensor(t.name, t.datatype, list(t.shape)) for t in spec.signature.inputs],
        outputs=[contract.Tensor(t.name, t.datatype, list(t.shape)) for t in spec.signature.outputs],
    )
    artifact = contract.Artifact(spec.artifact.uri, spec.artifact.digest, spec.artifact.size, spec.artifact.store)
    return Version(found["metadata"]["name"], spec.model, spec.version, artifact, signature)


def _as_it_runs(workload: Manifest) -> Version | None:
    containers = workload["spec"]["template"]["spec"]["containers"]
    variables = [e for c in containers if c["name"] == CONTAINER for e in c.get("env", ())]
    text = next((e.get("value", "") for e in variables if e["name"] == contract.Env.SPEC), "")
    try:
        spec = contract.loads(contract.ServeSpec, text.replace("$$", "$"))
    except contract.ContractError:
        return None
    return Version(spec.modelVersion, spec.model, spec.version, spec.artifact, spec.signature)


# ----------------------------------------------------------------------------------------------- the children


@dataclass(frozen=True)
class _Children:
    workloads: list[dict[str, Any]]
    services: list[dict[str, Any]]
    budgets: list[dict[str, Any]]
    pods: list[dict[str, Any]]
    slices: list[dict[str, Any]]
    tests: list[dict[str, Any]]


async def _children(kube: Reader, key: Key, uid: str) -> _Children:
    """Objects with our label that are ours; pods and EndpointSlices belong to those."""
    labels = {Label.DEPLOYMENT: key.name}
    kinds = (WORKLOADS, SERVICES, BUDGETS, PODS, ENDPOINT_SLICES, JOBS)
    workloads, services, budgets, pods, slices, tests = await asyncio.gather(
        *(kube.list(kind, key.namespace, labels) for kind in kinds)
    )

    def ours(some: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [o for o in some if owned_by(o, uid)]

    return _Children(
        ours(workloads),
        ours(services),
        ours(budgets),
        pods,
        slices,
        [job for job in tests if jobfacts.is_ours(job, uid, TEST)],
    )


def _running(children: _Children, deployment: str) -> dict[str, Running]:
    """By version. The front Service and the route belong to no version."""

    def by_version(objects: Iterable[Manifest]) -> dict[str, Manifest]:
        return {v: o for o in objects if (v := o["metadata"]["labels"].get(Label.MODEL_VERSION))}

    workloads, services = by_version(children.workloads), by_version(children.services)
    budgets = by_version(children.budgets)
    made = {}
    for version in sorted({*workloads, *services, *budgets}):
        match = {Label.MODEL_VERSION: version, Label.ROLE: ROLE}
        pods = (p for p in children.pods if match.items() <= p["metadata"]["labels"].items())
        behind = _ready_endpoints(children.slices, child_name(deployment, version))
        made[version] = Running(
            workload=workloads.get(version),
            service=services.get(version),
            budget=budgets.get(version),
            pods=tuple(sorted(pods, key=lambda p: str(p["metadata"]["name"]))),
            endpoints=len(behind),
        )
    return made


def _ready_endpoints(slices: Iterable[Manifest], service: str) -> set[str]:
    """Pods that a Service sends requests to: ready in an EndpointSlice. A pod may stand in more than one."""
    return {
        str(endpoint.get("targetRef", {}).get("name") or endpoint["addresses"][0])
        for piece in slices
        if piece["metadata"]["labels"].get(SERVICE_OF_SLICE) == service
        for endpoint in piece.get("endpoints") or ()
        # Absent means ready (discovery.k8s.io/v1, EndpointConditions).
        if endpoint.get("conditions", {}).get("ready", True)
    }


def _behind(children: _Children, front: str) -> dict[str, int]:
    """How many ready pods of each version are behind the front Service."""
    versions = {p["metadata"]["name"]: p["metadata"]["labels"].get(Label.MODEL_VERSION, "") for p in children.pods}
    return dict(Counter(versions.get(pod, "") for pod in _ready_endpoints(children.slices, front)))


# ------------------------------------------------------------------------------------------ names of others


async def _foreign_children(
    kube: Reader, key: Key, wanted: Iterable[str], running: Mapping[str, Running], uid: str
) -> dict[str, str]:
    """The versions whose names somebody else has: an object that is not among ours is looked for by its name."""
    found = {}
    for version in wanted:
        have = running.get(version, Running())
        needs: tuple[tuple[Resource, Manifest | None], ...] = (
            (WORKLOADS, have.workload),
            (SERVICES, have.service),
            (BUDGETS, have.budget),
        )
        for resource, live in needs:
            other = await kube.get(resource, key.namespace, child_name(key.name, version)) if live is None else None
            if said := _foreign(other, uid):
                found[version] = said
    return found


def _foreign(live: Manifest | None, uid: str) -> str | None:
    if live is None or owned_by(live, uid):
        return None
    kind = "workload (apps/v1 Deployment)" if live["apiVersion"] == "apps/v1" else live["kind"]
    return (
        f"the {kind} {live['metadata']['name']} exists and does not belong to this Deployment: delete or rename it, "
        "or give this Deployment another name"
    )


def _is_front(live: Manifest, uid: str) -> bool:
    return owned_by(live, uid) and Label.MODEL_VERSION not in live["metadata"].get("labels", {})


# ------------------------------------------------------------------------------------------------- the gateway


async def _gateway(kube: Reader, namespace: str, route: Route | None) -> tuple[Manifest | None, bool, bool]:
    """The Gateway, whether it could be asked for, and whether its kind is installed."""
    if route is None:
        return None, False, True
    try:
        return await kube.get(GATEWAYS, route.gateway.namespace or namespace, route.gateway.name), True, True
    except NotInstalled:
        return None, True, False
    except Refused:
        # An operator that serves some namespaces only may not read the Gateway's; the route's status will tell.
        return None, False, True


async def _routes(kube: Reader, key: Key, spec: DeploymentSpec) -> tuple[Manifest | None, Manifest | None]:
    """The HTTPRoute of the Deployment's name and that of the preview, whoever made them."""
    plan = spec.strategy.blue_green
    names = (key.name, preview_name(key.name))
    needed = (spec.route is not None, bool(plan and plan.preview_hostname))
    try:
        ours = {
            r["metadata"]["name"]: r for r in await kube.list(HTTP_ROUTES, key.namespace, {Label.DEPLOYMENT: key.name})
        }
        # One that is not among ours may be somebody else's, or not be there.
        found = [
            ours.get(name) or (await kube.get(HTTP_ROUTES, key.namespace, name) if wanted else None)
            for name, wanted in zip(names, needed, strict=True)
        ]
    except NotInstalled:
        return None, None
    return found[0], found[1]


def _needs_policy(spec: DeploymentSpec) -> bool:
    """Whether a policy of somebody else's by that name is in the way."""
    canary = spec.strategy.canary
    copies = spec.strategy.type == "Shadow" or any(step.shadow for step in (canary.steps if canary else ()))
    return copies or (spec.route is not None and spec.route.stickiness is not None)


async def _policy(kube: Reader, key: Key, spec: DeploymentSpec) -> tuple[Manifest | None, bool]:
    """The policy of Envoy Gateway named after the Deployment, whoever made it, and whether that kind is installed."""
    if spec.route is None:
        return None, False
    try:
        return await kube.get(TRAFFIC_POLICIES, key.namespace, key.name), True
    except NotInstalled:
        return None, False


async def _class(kube: Reader, gateway: Manifest | None) -> Manifest | None:
    """The Gateway's class."""
    if gateway is None:
        return None
    return await kube.get(GATEWAY_CLASSES, "", str(gateway["spec"].get("gatewayClassName", "")))


# ----------------------------------------------------------------------------------------------------- the verb


def _name(version: Any) -> str | None:
    return version.model_version if version else None
