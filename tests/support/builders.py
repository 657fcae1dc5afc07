"""Objects for tests, as users, controllers and kubelets write them. Every argument has a value that works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slipway import contract
from slipway.api.common import API_VERSION, Label
from slipway.contract import dumps
from slipway.kube.objects import owner_reference

NAMESPACE = "team"
DIGEST = "sha256:" + "a" * 64
IMAGE_DIGEST = "sha256:" + "1" * 64
T0 = "2026-01-01T00:00:00Z"
PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEvrMXqTsGchTx6schpf3vGVMXRMzS
RuGqH2srMPsjnIRg2nevgV0vHR/FPBC+Piv7RCdHWcrQJhSSXWYCbkFANw==
-----END PUBLIC KEY-----
"""
KEY = "sha256:81688a992602b1640244272e2eefca4340068cc949ee1775db56253b69cc17e9"
"""Its fingerprint."""


def training_run(name: str = "digits-1", *, uid: str | None = None, **spec: Any) -> dict[str, Any]:
    """A TrainingRun with the defaults that the API server writes; ``spec`` replaces or adds fields of the spec."""
    meta: dict[str, Any] = {"name": name, "namespace": NAMESPACE}
    if uid:
        meta |= {"uid": uid, "generation": 1, "creationTimestamp": T0}
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": meta,
        "spec": {
            "model": "digits",
            "entrypoint": "train:train",
            "seed": 7,
            "suspend": False,
            "backoffLimit": 2,
            "output": {"store": "default"},
            "resources": {"cpu": "1", "memory": "1Gi", "gpu": {"count": 0, "resourceName": "nvidia.com/gpu"}},
            **spec,
        },
    }


def model_version(
    name: str = "digits-v1",
    *,
    uid: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A ModelVersion as somebody registers it by hand."""
    model, number = name.rsplit("-v", 1)
    meta: dict[str, Any] = {"name": name, "namespace": NAMESPACE}
    if uid:
        meta |= {"uid": uid, "generation": 1}
    if labels:
        meta["labels"] = dict(labels)
    if annotations:
        meta["annotations"] = dict(annotations)
    made: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": meta,
        "spec": {
            "model": model,
            "version": int(number),
            "artifact": {
                "uri": f"s3://models/{model}/{name}.onnx",
                "digest": DIGEST,
                "size": 17432,
                "store": "default",
            },
            "signature": {
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}],
                "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}],
            },
            "archived": False,
            **spec,
        },
    }
    if status is not None:
        made["status"] = dict(status)
    return made


def dataset(
    name: str = "digits",
    *,
    uid: str | None = None,
    annotations: Mapping[str, str] | None = None,
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A Dataset with the defaults that the API server writes."""
    meta: dict[str, Any] = {"name": name, "namespace": NAMESPACE}
    if uid:
        meta |= {"uid": uid, "generation": 1}
    if annotations:
        meta["annotations"] = dict(annotations)
    made: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "Dataset",
        "metadata": meta,
        "spec": {
            "uri": "s3://data/digits/",
            "store": "default",
            "format": "Csv",
            "schema": [{"name": "label", "type": "Integer", "nullable": False}],
            "checks": [{"notNull": False, "unique": False, "minRows": 100}],
            "resources": {"cpu": "1", "memory": "1Gi"},
            "activeDeadline": "1h",
            **spec,
        },
    }
    if status is not None:
        made["status"] = dict(status)
    return made


def config_map(name: str, data: Mapping[str, str] | None = None, **labels: str) -> dict[str, Any]:
    """A ConfigMap."""
    meta: dict[str, Any] = {"name": name, "namespace": NAMESPACE}
    if labels:
        meta["labels"] = {getattr(Label, k.upper()): v for k, v in labels.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": dict(data or {})}


def store(place: str = "default") -> dict[str, Any]:
    """The ConfigMap of an S3 place."""
    return config_map(contract.store_object_name(place), {"endpoint": "http://s3:9000", "bucket": "models"})


# ------------------------------------------------------------------------------------------- what pods leave behind


def train_result(**changes: Any) -> contract.TrainResult:
    """What a trainer reports at the end."""
    given: dict[str, Any] = {
        "artifact": contract.Artifact("s3://models/digits/runs/1/model.onnx", DIGEST, 17432),
        "signature": contract.Signature(
            inputs=[contract.Tensor("x", "FP32", [-1, 64])], outputs=[contract.Tensor("logits", "FP32", [-1, 10])]
        ),
        "metrics": [contract.Metric("accuracy", "0.9733", "0.98")],
        "data": [contract.DataResult("train", "s3://data/digits/", DIGEST, 2, 1000)],
        "environment": contract.Environment(python="3.12.1", torch="2.9.0", packages=DIGEST),
        "result": "s3://models/digits/runs/1/result.json",
        "startedAt": T0,
        "finishedAt": "2026-01-01T00:01:00Z",
        "parity": contract.Parity("1e-06", 16),
        "codeDigest": DIGEST,
    }
    return contract.TrainResult(**{**given, **changes})


def verify_result(digest: str = DIGEST) -> contract.VerifyResult:
    """What a verification reports."""
    return contract.VerifyResult(digest, "CPUExecutionProvider", "1.23.2", 17)


def dataset_result(digest: str = DIGEST, *failures: tuple[str, str], **changes: Any) -> contract.DatasetResult:
    """What a check reports at the end; each failure is a check and a sentence."""
    given: dict[str, Any] = {
        "files": 2,
        "bytes": 1000,
        "read": 2,
        "rows": 1797,
        "columns": 65,
        "manifest": f"s3://models/datasets/digits/manifests/{digest[7:]}.txt",
        "profile": f"s3://models/datasets/digits/profiles/{digest[7:]}.json",
        "checked": 3,
        "failures": [contract.CheckFailure(*f) for f in failures],
    }
    return contract.DatasetResult(digest, **{**given, **changes})


def failure(reason: str, message: str) -> str:
    """A termination message of a pod that gave up."""
    return dumps(contract.Failure(reason, message))


def job_of(owner: Mapping[str, Any], name: str, role: str, *conditions: str, **more: Any) -> dict[str, Any]:
    """The Job that a room made for one of its objects, with these conditions."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "labels": {Label.ROLE: role},
            "ownerReferences": [owner_reference(owner)],
            **more,
        },
        "spec": {},
        "status": {"conditions": [{"type": c, "status": "True", "lastTransitionTime": T0} for c in conditions]},
    }


def pod(
    name: str,
    *,
    labels: Mapping[str, str],
    container: str = "trainer",
    image: str = "trainer:1",
    phase: str = "Pending",
    waiting: Mapping[str, str] | None = None,
    started: str | None = None,
    exit_code: int | None = None,
    message: str = "",
    reason: str = "",
    finished: str | None = None,
    conditions: Sequence[Mapping[str, str]] = (),
    owner: Mapping[str, Any] | None = None,
    created: str = T0,
    **status: Any,
) -> dict[str, Any]:
    """A pod with one container, as the kubelet reports it."""
    state: dict[str, Any] = {}
    if waiting:
        state = {"waiting": dict(waiting)}
    elif exit_code is not None:
        state = {
            "terminated": {
                "exitCode": exit_code,
                "message": message,
                "reason": reason or ("Completed" if exit_code == 0 else "Error"),
                "startedAt": started or created,
                "finishedAt": finished or created,
            }
        }
        phase = "Succeeded" if exit_code == 0 else "Failed"
    elif started:
        state, phase = {"running": {"startedAt": started}}, "Running"
    meta: dict[str, Any] = {
        "name": name,
        "namespace": NAMESPACE,
        "labels": dict(labels),
        "creationTimestamp": created,
    }
    if owner:
        meta["ownerReferences"] = [dict(owner)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [{"name": container, "image": image}]},
        "status": {
            "phase": phase,
            "conditions": [dict(c) for c in conditions],
            **({"podIP": "10.0.0.1"} if phase == "Running" else {}),
            "containerStatuses": [
                {"name": container, "image": image, "imageID": f"registry/{image}@{IMAGE_DIGEST}", "state": state}
            ]
            if state
            else [],
            **status,
        },
    }
