"""What a pod's status says, in the words of the kubelet and of the scheduler. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from slipway import contract
from slipway.api.reasons import Reason
from slipway.kube.objects import Manifest

LAST_WORDS: Final = 1500
"""Characters of a message from a pod that go into a status: the end of a traceback, not all of a log."""

_REASON: Final = re.compile(r"^[A-Z][A-Za-z0-9]{0,62}$")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}$")
_IMAGE_REASONS: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CONTAINER_REASONS: Final = {
    "CreateContainerConfigError": Reason.CONFIG_MISSING,
    "CreateContainerError": Reason.CONTAINER_NOT_CREATED,
}
_BACK_OFF: Final = re.compile(r'^Back-off pulling image "[^"]*"(: )?(ErrImagePull: )?')


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not start, or why it ended. ``stalled``: waiting alone does not help."""

    reason: str
    message: str
    stalled: bool = False


def phase(pod: Manifest) -> str:
    """``Pending``, ``Running``, ``Succeeded`` or ``Failed``."""
    return str(pod.get("status", {}).get("phase", "Pending"))


def leaving(pod: Manifest) -> bool:
    """Whether the pod was told to stop."""
    return "deletionTimestamp" in pod["metadata"]


def container(pod: Manifest, name: str) -> dict[str, Any]:
    """The status of one container, an init container too; empty where the kubelet has not written it yet."""
    status = pod.get("status", {})
    statuses = (*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ()))
    found: dict[str, Any] = next((s for s in statuses if s.get("name") == name), {})
    return found


def terminated(pod: Manifest, name: str) -> dict[str, Any]:
    """How a container ended (``exitCode``, ``reason``, ``message``, ``finishedAt``); empty where it did not."""
    state: dict[str, Any] = container(pod, name).get("state", {}).get("terminated", {})
    return state


def started_at(pod: Manifest, name: str) -> str | None:
    """When a container began to run; None where it never did."""
    state = container(pod, name).get("state", {})
    began = state.get("running", {}).get("startedAt") or state.get("terminated", {}).get("startedAt")
    return str(began) if began else None


def image_digest(pod: Manifest, name: str) -> str | None:
    """The digest of the image that really ran, as the kubelet reported it.

    The kubelet writes ``name@sha256:...`` for an image from a registry and a bare ``sha256:...`` for one that was
    loaded into the node; anything else has no digest.
    """
    found = _DIGEST.search(str(container(pod, name).get("imageID", "")))
    return found.group() if found else None


def image_pinned(pod: Manifest, name: str) -> str | None:
    """The name by digest of the image that really ran, ``name@sha256:...``; None where the kubelet knows none.

    An image that was loaded into the node without a registry has an ID and no such name. Older runtimes put a scheme
    before it (``docker-pullable://``).
    """
    reported = str(container(pod, name).get("imageID", "")).rpartition("://")[2]
    return reported if re.fullmatch(r"[^\s@]+@sha256:[0-9a-f]{64}", reported) else None


def waiting(pod: Manifest, name: str) -> Trouble | None:
    """Why a container does not start; None while nothing is wrong (it runs, or it is on its way)."""
    state = container(pod, name).get("state", {}).get("waiting", {})
    reason, words = str(state.get("reason", "")), str(state.get("message", ""))
    if reason in _IMAGE_REASONS:
        containers = (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ()))
        image = next((c.get("image", "") for c in containers if c["name"] == name), "")
        # The kubelet alternates between the error and "Back-off pulling image ...: the error"; one sentence for both.
        cause = _BACK_OFF.sub("", words).removesuffix(".") or reason
        return Trouble(
            Reason.IMAGE_NOT_PULLED,
            f"the image {image} cannot be had: {cause}. Check its name and tag, and that the node may pull it",
            stalled=True,
        )
    if reason in _CONTAINER_REASONS:
        return Trouble(
            _CONTAINER_REASONS[reason],
            f"the container cannot be started: {words or reason}{_config_hint(words)}",
            stalled=True,
        )
    for condition in pod.get("status", {}).get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Trouble(Reason.UNSCHEDULABLE, f"no node can take the pod: {condition.get('message', '')}")
    return None


def disruption(pod: Manifest) -> str | None:
    """Why the cluster took a pod away (preemption, drain, lost node), in its own words; None where it did not."""
    for condition in pod.get("status", {}).get("conditions", ()):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return str(condition.get("message") or condition.get("reason") or "for no stated reason")
    return None


def ended(pod: Manifest, name: str, memory: str) -> Trouble | None:
    """Why a pod failed; None where it did not.

    The container's own ``Failure`` document is taken first, then what the kubelet knows, then the last log lines.

    Args:
        memory: the container's limit and where it comes from, for the sentence about it.
    """
    if phase(pod) != "Failed":
        return None
    end = terminated(pod, name)
    words = str(end.get("message", "")).strip()
    if end.get("reason") == "OOMKilled":
        return Trouble(
            Reason.OUT_OF_MEMORY,
            f"it used more memory than {memory} and was killed: give it more",
        )
    if cause := disruption(pod):
        return Trouble(Reason.EVICTED, f"the node took the pod away: {cause}")
    try:
        failure = contract.loads(contract.Failure, words)
    except contract.ContractError:
        pass
    else:
        reason = failure.reason if _REASON.match(failure.reason) else Reason.TRAINING_FAILED
        return Trouble(str(reason), tail(failure.message))
    status = pod.get("status", {})
    if status.get("reason") or not end:
        cause = status.get("message") or status.get("reason") or "the kubelet says nothing more"
        reason = Reason.EVICTED if status.get("reason") == "Evicted" else Reason.TRAINING_FAILED
        return Trouble(reason, f"the node ended the pod: {tail(str(cause))}")
    code = end.get("exitCode")
    return Trouble(
        Reason.TRAINING_FAILED,
        f"exit code {code}" + (f", last words: {tail(words)}" if words else " and no last words"),
    )


def tail(words: str) -> str:
    """The end of a text, cut at ``LAST_WORDS``.

    >>> tail("short"), len(tail("x" * 9000)) <= LAST_WORDS + 2
    ('short', True)
    """
    return words if len(words) <= LAST_WORDS else "… " + words[-LAST_WORDS:]


def newest_first(pods: Iterable[Manifest]) -> list[Manifest]:
    """Pods by creation, the newest first; the name decides between equals, so that the order never flaps."""
    return sorted(pods, key=lambda p: (p["metadata"].get("creationTimestamp", ""), p["metadata"]["name"]), reverse=True)


def _config_hint(words: str) -> str:
    store = re.search(r"slipway-store-([-a-z0-9]+)", words)
    if not store:
        return ""
    keys = contract.StoreKeys
    return (
        f". An S3 place is a ConfigMap and a Secret, both named {store.group()}: the ConfigMap holds "
        f"{keys.ENDPOINT} and {keys.BUCKET}, the Secret holds {keys.ACCESS_KEY} and {keys.SECRET_KEY}"
    )
