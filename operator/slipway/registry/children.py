"""What a ModelVersion makes: the Job that verifies its file, and its own labels. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway import contract, pods
from slipway.api import wayback
from slipway.api.common import API_VERSION, GROUP
from slipway.api.model_version import Lineage, ModelVersionSpec
from slipway.kube.objects import MODEL_VERSIONS, Manifest

CONTAINER: Final = "verify"
TRY_ANNOTATION: Final = f"{GROUP}/verify-try"
"""On the Job: which try it is, counted from 0."""
BACKOFF_LIMIT: Final = 3
DEADLINE: Final = 1800
"""Seconds for one Job; 2 GiB take that long at 10 Mbit/s."""
_MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class Defaults:
    """What the operator's settings give to the pods that verify and sign."""

    server_image: str
    trainer_image: str = ""
    image_pull_policy: str = "IfNotPresent"
    cpu: str = "100m"
    whole_cluster: bool = True
    """False: the operator serves some namespaces only, and may look at no other."""


def job_name(version: str) -> str:
    """The Job of a version.

    >>> job_name("digits-v3")
    'digits-v3-verify'
    """
    return pods.child_name(version, "-verify")


def labelled(version: Manifest, spec: ModelVersionSpec, lineage: Lineage | None) -> dict[str, Any]:
    """The version itself, with the labels of the way back and nothing else: what is left out stays as it is."""
    meta = version["metadata"]
    return {
        "apiVersion": API_VERSION,
        "kind": MODEL_VERSIONS.kind,
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": wayback.labels(spec, lineage),
        },
    }


def serve_spec(version: Manifest, spec: ModelVersionSpec) -> contract.ServeSpec:
    """What the server is asked to load."""
    meta = version["metadata"]
    signature = contract.Signature(
        inputs=[contract.Tensor(t.name, t.datatype, list(t.shape)) for t in spec.signature.inputs],
        outputs=[contract.Tensor(t.name, t.datatype, list(t.shape)) for t in spec.signature.outputs],
    )
    artifact = spec.artifact
    return contract.ServeSpec(
        namespace=meta["namespace"],
        model=spec.model,
        modelVersion=meta["name"],
        version=spec.version,
        artifact=contract.Artifact(uri=artifact.uri, digest=artifact.digest, size=artifact.size, store=artifact.store),
        signature=signature,
    )


def memory(size: int) -> str:
    """Memory for loading a file of ``size`` bytes: onnxruntime holds the file's weights, and a second time while it
    prepares them; 512 MiB are for Python, the runtime and the warm-up.

    >>> memory(17432), memory(200 * 1024 * 1024)
    ('512Mi', '1112Mi')
    """
    return f"{512 + 3 * (size // _MIB)}Mi"


def job(version: Manifest, spec: ModelVersionSpec, defaults: Defaults, number: int) -> dict[str, Any]:
    """The Job that verifies a version; ``number`` counts the tries from 0."""
    size, tried = spec.artifact.size, {TRY_ANNOTATION: str(number)}
    return _job(version, spec, defaults, "verify", memory(size), 64 + 2 * (size // _MIB), tried)


def discard_name(version: str) -> str:
    """The Job that deletes a version's file.

    >>> discard_name("digits-v3")
    'digits-v3-discard'
    """
    return pods.child_name(version, "-discard")


def discard(version: Manifest, spec: ModelVersionSpec, defaults: Defaults) -> dict[str, Any]:
    """The Job that deletes a version's file: read in pieces, so it needs little."""
    return _job(version, spec, defaults, "discard", "256Mi", 64)


def _job(
    version: Manifest,
    spec: ModelVersionSpec,
    defaults: Defaults,
    action: str,
    memory: str,
    scratch: int,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A Job that runs the server image once.

    Args:
        action: what it does, which is its role too.
        scratch: MiB on the node.
    """
    meta = version["metadata"]
    volume, mount = pods.scratch("model", contract.MODEL_DIR, f"{scratch}Mi")
    container = pods.program(
        CONTAINER,
        defaults.server_image,
        defaults.image_pull_policy,
        contract.dumps(serve_spec(version, spec)),
        contract.MODEL_DIR,
        [spec.artifact.store],
        args=[action],
        resources=pods.requirements(defaults.cpu, memory),
        volumeMounts=[mount],
    )
    return pods.job(
        version,
        pods.child_name(meta["name"], f"-{action}"),
        pods.managed(model=spec.model, model_version=meta["name"], role=action),
        {"containers": [container], "volumes": [volume]},
        annotations=annotations,
        backoffLimit=BACKOFF_LIMIT,
        activeDeadlineSeconds=DEADLINE,
    )
