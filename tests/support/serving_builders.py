"""Objects for the serving room's tests, as users and controllers write them. Every argument has a value that works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slipway.api.common import API_VERSION, Label
from tests.support.builders import NAMESPACE, T0, model_version

NAME = "digits"
GATEWAY = {"name": "public", "namespace": "gateways"}
HOST = "digits.example.com"


def ready_version(name: str = "digits-v1", *, aliases: Sequence[str] = (), **spec: Any) -> dict[str, Any]:
    """A ModelVersion that was verified and holds its aliases."""
    labels = {Label.MODEL: name.rpartition("-v")[0]}
    made = model_version(name, labels=labels, status=version_status("True", held=aliases), **spec)
    made["spec"]["aliases"] = list(aliases)
    return made


def version_status(ready: str, *, held: Sequence[str] = (), phase: str = "Ready", message: str = "") -> dict[str, Any]:
    """The status of a ModelVersion as the registry writes it."""
    return {
        "phase": phase,
        "message": message,
        "heldAliases": list(held),
        "conditions": [
            {"type": "Ready", "status": ready, "reason": phase, "message": message, "lastTransitionTime": T0}
        ],
    }


def weight(percent: int) -> dict[str, Any]:
    """A step that moves traffic."""
    return {"setWeight": percent}


def pause(duration: str | None = None) -> dict[str, Any]:
    """A step that waits, for a time or for a person."""
    return {"pause": {"duration": duration} if duration else {}}


def deployment(
    version: str | None = "digits-v1",
    *,
    replicas: int = 2,
    route: bool | Mapping[str, Any] = True,
    steps: Sequence[Mapping[str, Any]] = (weight(10), pause("5s"), weight(50), pause("5s")),
    delay: str = "10s",
    **spec: Any,
) -> dict[str, Any]:
    """A Deployment with the defaults that the API server writes; ``spec`` replaces or adds fields of the spec."""
    made: dict[str, Any] = {
        "replicas": replicas,
        "resources": {"cpu": "500m", "memory": "512Mi", "gpu": {"count": 0, "resourceName": "nvidia.com/gpu"}},
        "server": {"maxBatch": 32, "maxDelay": "0ms", "queueLimit": 128, "timeout": "30s"},
        "strategy": {"type": "Canary", "canary": {"steps": [dict(s) for s in steps], "scaleDownDelay": delay}},
        "progressDeadline": "30s",
        "historyLimit": 5,
    }
    if version is not None:
        made["modelVersion"] = version
    if route:
        made["route"] = {"gateway": dict(GATEWAY), "hostnames": [HOST]} if route is True else dict(route)
    return {
        "apiVersion": API_VERSION,
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {**made, **spec},
    }


def gateway() -> dict[str, Any]:
    """A Gateway that listens for plain HTTP."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": dict(GATEWAY),
        "spec": {"gatewayClassName": "any", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    }


def envoy_gateway() -> dict[str, Any]:
    """The class of the Gateway, where it is Envoy Gateway's."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "any"},
        "spec": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
    }


def analysis_step(duration: str | None = None) -> dict[str, Any]:
    """A step that waits for evidence."""
    return {"analysis": {"duration": duration} if duration else {}}


def shadow_step(percent: int = 100, **more: Any) -> dict[str, Any]:
    """A step that compares answers, with the defaults that the API server writes."""
    tolerance = {"absolute": "1e-4", "relative": "1e-3"}
    usual = {"percent": percent, "minSamples": 50, "maxDisagreement": "0.05", "tolerance": tolerance, "keepExamples": 0}
    return {"shadow": {**usual, **more}}


def header_step(name: str = "X-Tester", value: str = "yes") -> dict[str, Any]:
    """A step that lets testers in."""
    return {"headerRoute": {"name": name, "value": value}}


def errors(margin: str = "0.01", least: int = 50) -> dict[str, Any]:
    """The metric of failed requests."""
    return {"name": "errors", "maxIncrease": margin, "minSamples": least}


def analysis(*metrics: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """``spec.analysis`` with its defaults."""
    usual = {"source": "Pods", "background": True, "maxDuration": "2m", "onInconclusive": "Pause"}
    return {**usual, "metrics": [dict(m) for m in metrics or (errors(),)], **more}


def blue_green(*, delay: str = "10s", auto: bool = True, **more: Any) -> dict[str, Any]:
    """A ``spec.strategy`` of type BlueGreen."""
    return {"type": "BlueGreen", "blueGreen": {"autoPromote": auto, "scaleDownDelay": delay, **more}}


def shadow(*, on_pass: str = "Promote", delay: str = "10s", **more: Any) -> dict[str, Any]:
    """A ``spec.strategy`` of type Shadow."""
    return {"type": "Shadow", "shadow": {**shadow_step(**more)["shadow"], "onPass": on_pass, "scaleDownDelay": delay}}
