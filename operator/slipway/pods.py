"""Parts that every pod we make shares. Pure.

Every such pod is admitted in a namespace that enforces Pod Security ``restricted``
(https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted) and goes a little further: a
read-only root, no service account token, no environment variables of neighbouring Services.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from slipway import contract
from slipway.api.common import FIELD_MANAGER, Label
from slipway.kube.objects import JOBS, Manifest, child_of

USER: Final = 65532
"""User and group of our images: the ``nonroot`` of the distroless images, which owns nothing on a node."""

PROGRESS: Final = {"name": "progress", "containerPort": contract.PROGRESS_PORT, "protocol": "TCP"}
"""The port at which a program tells how far it is."""


def restricted_pod_security() -> dict[str, Any]:
    """``securityContext`` of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def restricted_container_security() -> dict[str, Any]:
    """``securityContext`` of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def pod_base() -> dict[str, Any]:
    """Fields of a pod's spec that are the same in every pod of ours."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": restricted_pod_security(),
    }


def container_base() -> dict[str, Any]:
    """Fields of a container that are the same in every pod of ours.

    A container that ends without having written its termination message leaves its last log lines there.
    """
    return {
        "securityContext": restricted_container_security(),
        "terminationMessagePath": contract.TERMINATION_MESSAGE_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def env_var(name: str, value: str) -> dict[str, Any]:
    """A variable whose value reaches the container as it is: the kubelet reads ``$(X)`` as a reference and ``$$`` as
    ``$``.

    >>> env_var("A", "costs $(money)")
    {'name': 'A', 'value': 'costs $$(money)'}
    """
    return {"name": name, "value": value.replace("$", "$$")}


def identity_env_vars() -> list[dict[str, Any]]:
    """Variables that tell a container which pod it is."""
    return [
        {"name": contract.Env.POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": contract.Env.ATTEMPT_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
    ]


def store_env_vars(places: Iterable[str]) -> list[dict[str, Any]]:
    """Variables that give a container the S3 places it needs, each place once, sorted by name.

    Only the kubelet reads the Secret. A missing ConfigMap, Secret or key keeps the container from starting, with the
    kubelet's own words (``CreateContainerConfigError``); the keys in ``StoreKeys.OPTIONAL`` may be absent.
    """
    made: list[dict[str, Any]] = []
    for place in sorted(set(places)):
        holder = contract.store_object_name(place)
        for key in contract.StoreKeys.CONFIG:
            reference: dict[str, Any] = {"name": holder, "key": key}
            if key in contract.StoreKeys.OPTIONAL:
                reference["optional"] = True
            made.append({"name": contract.store_env(place, key), "valueFrom": {"configMapKeyRef": reference}})
        made += [
            {"name": contract.store_env(place, key), "valueFrom": {"secretKeyRef": {"name": holder, "key": key}}}
            for key in contract.StoreKeys.SECRET
        ]
    return made


def git_env_vars(url: str, secret: str) -> list[dict[str, Any]]:
    """Variables that give a container the credentials of a git repository: the keys that its address asks for."""
    keys = contract.GitKeys.SSH if contract.is_ssh(url) else contract.GitKeys.HTTP
    made: list[dict[str, Any]] = []
    for key in keys:
        reference: dict[str, Any] = {"name": secret, "key": key}
        if key in contract.GitKeys.OPTIONAL:
            reference["optional"] = True
        made.append({"name": contract.git_env(key), "valueFrom": {"secretKeyRef": reference}})
    return made


def scratch(name: str, path: str, size: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A volume and its mount: an emptyDir of at most ``size`` (a quantity); the kubelet evicts a pod that goes over."""
    return {"name": name, "emptyDir": {"sizeLimit": size}}, {"name": name, "mountPath": path}


def scratch_env_vars(path: str) -> list[dict[str, Any]]:
    """Variables that lead a program's home and temporary files into scratch, because the root is read-only."""
    return [{"name": "HOME", "value": path}, {"name": "TMPDIR", "value": path}]


def requirements(cpu: str, memory: str, gpus: int = 0, gpu_resource: str = "nvidia.com/gpu") -> dict[str, Any]:
    """``resources`` of a container: memory and GPUs are limits too, CPU is a request (idle CPU may be used).

    >>> requirements("1", "1Gi", 1)["limits"]
    {'memory': '1Gi', 'nvidia.com/gpu': '1'}
    """
    limits = {"memory": memory}
    if gpus:
        limits[gpu_resource] = str(gpus)
    return {"requests": {"cpu": cpu, **limits}, "limits": limits}


def program(
    name: str, image: str, image_pull_policy: str, asked: str, scratch: str, places: Iterable[str], **more: Any
) -> dict[str, Any]:
    """A container that does what a spec of ours says.

    Args:
        asked: that spec, as JSON.
        scratch: the directory in which it may write.
        places: the S3 places that it needs.
        more: other fields of the container.
    """
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": image_pull_policy,
        "env": [
            env_var(contract.Env.SPEC, asked),
            *identity_env_vars(),
            *scratch_env_vars(scratch),
            *store_env_vars(places),
        ],
        **container_base(),
        **more,
    }


def job(
    owner: Manifest,
    name: str,
    labels: dict[str, str],
    pod: Mapping[str, Any],
    *,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A Job that runs one pod to its end.

    Args:
        labels: of the Job and of its pods.
        pod: the pod's containers and volumes.
        spec: other fields of the Job's spec.
    """
    names = [c["name"] for c in (*pod.get("initContainers", ()), *pod["containers"])]
    whole = {
        "completions": 1,
        "parallelism": 1,
        # A new pod only when the old one has really ended: two never write the same files.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": failure_policy(*names),
        **spec,
        "template": {
            "metadata": {"labels": labels},
            "spec": {**pod_base(), "restartPolicy": "Never", **pod},
        },
    }
    made = child_of(owner, JOBS, name, labels, whole)
    if annotations:
        made["metadata"]["annotations"] = dict(annotations)
    return made


def failure_policy(*containers: str) -> dict[str, Any]:
    """``podFailurePolicy`` of a Job: what another attempt cannot help is not tried again, and what the node did does
    not count as an attempt."""
    return {
        "rules": [
            # First: a pod that the node took away says nothing about its program, whatever the exit code.
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            *(
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": container,
                        "operator": "In",
                        "values": [contract.EXIT_USER_ERROR],
                    },
                }
                for container in containers
            ),
        ]
    }


def managed(**labels: str) -> dict[str, str]:
    """Labels of an object that we made: ours and the standard one.

    Keys are names of ``Label``'s members in lower case.

    >>> managed(role="train")
    {'app.kubernetes.io/managed-by': 'slipway', 'slipway.dev/role': 'train'}
    """
    return {Label.MANAGED_BY: FIELD_MANAGER, **{getattr(Label, key.upper()): value for key, value in labels.items()}}


def child_name(name: str, suffix: str, limit: int = 63) -> str:
    """``name`` + ``suffix``; a name that would be longer than ``limit`` is cut and made unique by a hash.

    >>> child_name("digits-v3", "-verify")
    'digits-v3-verify'
    >>> child_name("a" * 60, "-verify")
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-11ee3912-verify'
    """
    if len(name) + len(suffix) <= limit:
        return name + suffix
    mark = "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return name[: limit - len(mark) - len(suffix)] + mark + suffix
