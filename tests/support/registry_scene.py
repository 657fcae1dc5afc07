"""A registry as people have it: models with their whole lineage, runs, Deployments in a rollout. Plain objects."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from slipway.api import wayback
from slipway.api.common import API_VERSION
from slipway.api.model_version import Lineage, ModelVersionSpec
from tests.support.api_server import Api, Object, resource_of

NAMESPACE = "team"
CREATED = "2026-11-22T02:58:00Z"


def digest(of: str) -> str:
    """A digest that a person can make again."""
    return f"sha256:{hashlib.sha256(of.encode()).hexdigest()}"


def lineage(
    model: str,
    number: int,
    *,
    data: Mapping[str, str],
    commit: str | None = None,
    image: str = "trainer-1",
    parameters: Mapping[str, str] | None = None,
    metrics: Mapping[str, str] | None = None,
    parent: str | None = None,
    run: str | None = None,
    weights: str | None = None,
    parent_weights: str | None = None,
    ancestry: Object | None = None,
) -> Object:
    """The record of one training.

    Args:
        data: name of each data set -> what its digest is of.
        weights: what the digest of its weights is of; absent: of its name.
        parent_weights: what the digest of the weights is of that it began from; absent: of the parent's name.
    """
    code: Object = {
        "image": {"ref": "registry.example/trainer:1", "digest": digest(image)},
        "entrypoint": "train:train",
    }
    if commit:
        code["git"] = {"url": "https://git.example/digits.git", "revision": "main", "commit": commit}
    else:
        code["configMap"] = {"name": f"{model}-code", "digest": digest(f"{model} code")}
    made: Object = {
        "origin": "Trained",
        "trainingRun": {
            "name": run or f"{model}-{number}",
            "uid": f"00000000-0000-4000-8000-{number:012}",
            "startedAt": "2026-11-22T02:58:24Z",
            "finishedAt": "2026-11-22T02:58:42Z",
            "attempts": 1,
        },
        "code": code,
        "data": [
            {"name": name, "uri": f"s3://data/{model}/{name}.csv", "digest": digest(of), "files": 1, "bytes": 265284}
            for name, of in data.items()
        ],
        "parameters": dict(parameters or {"epochs": "20", "learningRate": "0.01"}),
        "seed": 7,
        "environment": {"python": "3.13.5", "torch": "2.6.0", "onnxruntime": "1.21", "packages": digest("packages")},
        "metrics": [{"name": n, "value": v} for n, v in (metrics or {"accuracy": f"0.9{number % 10}"}).items()],
        "artifact": artifact(model, number),
        "parity": {"maxAbsDiff": "1.2e-07", "rows": 16},
        "weights": {
            "uri": f"s3://models/{model}/runs/{number}/model.safetensors",
            "digest": digest(weights or f"weights of {model}-v{number}"),
            "size": 19000,
            "store": "default",
        },
        "result": f"s3://models/{model}/runs/{number}/result.json",
    }
    if parent:
        made["parent"] = {"modelVersion": parent, "digest": digest(parent_weights or f"weights of {parent}")}
    if ancestry is not None:
        made["ancestry"] = ancestry
    return made


def artifact(model: str, number: int) -> Object:
    return {
        "uri": f"s3://models/{model}/runs/{number}/model.onnx",
        "digest": digest(f"{model} {number}"),
        "size": 19703,
        "store": "default",
    }


def version(
    model: str = "digits",
    number: int = 1,
    *,
    namespace: str = NAMESPACE,
    phase: str = "Ready",
    aliases: Sequence[str] = (),
    **made_of: Any,
) -> Object:
    """A ModelVersion with its status and the labels for the way back."""
    made_of.setdefault("data", {"train": f"{model} data"})
    origin = lineage(model, number, **made_of)
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 64]}
    logits = {"name": "logits", "datatype": "FP32", "shape": [-1, 10]}
    made: Object = {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {"name": f"{model}-v{number}", "namespace": namespace, "creationTimestamp": CREATED},
        "spec": {
            "model": model,
            "version": number,
            "artifact": artifact(model, number),
            "signature": {"inputs": [tensor], "outputs": [logits]},
            "trainingRun": origin["trainingRun"]["name"],
            "aliases": list(aliases),
        },
        "status": {
            "phase": phase,
            "message": f"the file is what was registered (onnxruntime {1.21})",
            "heldAliases": list(aliases),
            "lineage": origin,
        },
    }
    return labelled(made)


def labelled(version: Object) -> Object:
    """With the labels of the way back, as the registry sets them."""
    spec = ModelVersionSpec.model_validate(version["spec"])
    labels = wayback.labels(spec, Lineage.model_validate(version["status"]["lineage"]))
    return version | {"metadata": version["metadata"] | {"labels": labels}}


def ancestry(parent: Object) -> Object:
    """What a version that begins from this one descends from, as the operator writes it down."""
    return wayback.ancestry(Lineage.model_validate(parent["status"]["lineage"])).wire()


def promoted(version: Object, to: str) -> Object:
    """The copy of a version in another namespace, as the operator leaves it."""
    made, meta = copy.deepcopy(version), version["metadata"]
    step = {"namespace": meta["namespace"], "modelVersion": meta["name"], "at": "2026-11-22T04:00:00Z"}
    origin = made["status"]["lineage"]
    origin |= {"origin": "Promoted", "promotions": [*origin.get("promotions", ()), step]}
    origin.pop("reproductions", None)
    made["metadata"] = {"name": meta["name"], "namespace": to, "creationTimestamp": CREATED}
    made["spec"].pop("trainingRun", None)
    made["spec"]["promotedFrom"] = {"namespace": meta["namespace"], "modelVersion": meta["name"]}
    return labelled(made)


def run(name: str = "digits-1", *, model: str = "digits", namespace: str = NAMESPACE, **status: Any) -> Object:
    """A TrainingRun, Succeeded unless said otherwise."""
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": CREATED},
        "spec": {"model": model, "entrypoint": "train:train", "code": {"configMap": f"{model}-code"}},
        "status": {"phase": "Succeeded", "attempts": 1, "progress": {"percent": 100}, **status},
    }


def serving(version: str, replicas: int = 2) -> Object:
    name = f"digits-{version}"
    return {
        "modelVersion": version,
        "workload": name,
        "service": name,
        "replicas": replicas,
        "readyReplicas": replicas,
    }


def deployment(
    name: str = "digits",
    stable: str = "digits-v1",
    candidate: str | None = None,
    weight: int = 0,
    *,
    namespace: str = NAMESPACE,
    host: str = "digits.example.com",
    spec: Mapping[str, Any] | None = None,
    **status: Any,
) -> Object:
    """A Deployment; with a candidate, in the middle of a canary."""
    model = stable.rpartition("-v")[0]
    found: Object = {
        "phase": "Progressing" if candidate else "Healthy",
        "message": f"canary {candidate} at {weight}%: step 2 of 4, pauses 10m"
        if candidate
        else f"{stable} serves: 2 of 2 replicas ready",
        "stable": serving(stable),
        "weights": {"stable": 100 - weight, "candidate": weight, "verified": True, "verifiedBy": "Traffic"},
        "replicas": 2,
        "url": f"http://{host}/v2/models/{model}/infer",
        "history": [
            {
                "modelVersion": stable,
                "from": "2026-11-22T03:00:00Z",
                "to": "2026-11-22T03:00:09Z",
                "outcome": "Promoted",
                "reason": "first version",
            }
        ],
    }
    if candidate:
        found |= {
            "candidate": serving(candidate, 1),
            "step": {"index": 1, "of": 4, "startedAt": "2026-11-22T04:00:10Z"},
            "rollout": {"target": candidate, "startedAt": "2026-11-22T04:00:00Z"},
        }
        found["weights"]["counted"] = {"stable": 900, "candidate": 100}
    return {
        "apiVersion": API_VERSION,
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": CREATED},
        "spec": {
            "modelVersion": candidate or stable,
            "replicas": 2,
            "route": {"gateway": {"name": "public"}, "hostnames": [host]},
            "strategy": {
                "type": "Canary",
                "canary": {
                    "steps": [
                        {"setWeight": 10},
                        {"pause": {"duration": "10m"}},
                        {"setWeight": 50},
                        {"pause": {}},
                    ]
                },
            },
            **(spec or {}),
        },
        "status": {**found, **status},
    }


def write(api: Api, *objects: Object) -> None:
    """Make objects on a real API server as they are, their status included."""
    for wanted in objects:
        made = copy.deepcopy(wanted)
        made["metadata"].pop("creationTimestamp", None)
        status = made.pop("status", None)
        api.create(made)
        if status:
            meta = made["metadata"]
            api.merge(resource_of(made), meta["namespace"], meta["name"], {"status": status}, subresource="status")
