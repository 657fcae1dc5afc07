"""What a pod's status says becomes a reason and a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from slipway import podfacts
from slipway.api.reasons import Reason
from slipway.contract import EXIT_USER_ERROR
from slipway.podfacts import Trouble
from tests.support.builders import IMAGE_DIGEST, failure, pod

LABELS = {"a": "b"}
PULL_ERROR = 'rpc error: code = NotFound desc = failed to resolve reference "trainer:1": not found'

WAITING: dict[str, tuple[dict[str, Any], Trouble | None]] = {
    "a pod that is on its way": ({}, None),
    "a container that is being made": ({"waiting": {"reason": "ContainerCreating"}}, None),
    "an image that does not exist, at the first try": (
        {"waiting": {"reason": "ErrImagePull", "message": PULL_ERROR}},
        Trouble(
            Reason.IMAGE_NOT_PULLED,
            f"the image trainer:1 cannot be had: {PULL_ERROR}. Check its name and tag, and that the node may pull it",
            stalled=True,
        ),
    ),
    "the same while the kubelet waits: the very same words, so that the status does not flap": (
        {
            "waiting": {
                "reason": "ImagePullBackOff",
                "message": f'Back-off pulling image "trainer:1": ErrImagePull: {PULL_ERROR}',
            }
        },
        Trouble(
            Reason.IMAGE_NOT_PULLED,
            f"the image trainer:1 cannot be had: {PULL_ERROR}. Check its name and tag, and that the node may pull it",
            stalled=True,
        ),
    ),
    "an image name that is none": (
        {"waiting": {"reason": "InvalidImageName", "message": ""}},
        Trouble(
            Reason.IMAGE_NOT_PULLED,
            "the image trainer:1 cannot be had: InvalidImageName. "
            "Check its name and tag, and that the node may pull it",
            stalled=True,
        ),
    ),
    "the Secret of an S3 place is missing": (
        {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "slipway-store-default" not found'}},
        Trouble(
            Reason.CONFIG_MISSING,
            'the container cannot be started: secret "slipway-store-default" not found. An S3 place is a ConfigMap '
            "and a Secret, both named slipway-store-default: the ConfigMap holds endpoint and bucket, the Secret "
            "holds accessKey and secretKey",
            stalled=True,
        ),
    ),
    "the runtime refuses the container": (
        {"waiting": {"reason": "CreateContainerError", "message": "no such device"}},
        Trouble(Reason.CONTAINER_NOT_CREATED, "the container cannot be started: no such device", stalled=True),
    ),
    "no node has the GPU": (
        {
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
                }
            ]
        },
        Trouble(
            Reason.UNSCHEDULABLE,
            "no node can take the pod: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        ),
    ),
}


@pytest.mark.parametrize("case", WAITING)
def test_why_a_pod_does_not_start(case: str) -> None:
    given, wanted = WAITING[case]
    assert podfacts.waiting(pod("p", labels=LABELS, **given), "trainer") == wanted


ENDED: dict[str, tuple[dict[str, Any], Trouble | None]] = {
    "a pod that ended well": ({"exit_code": 0}, None),
    "a pod that runs": ({"started": "2026-01-01T00:00:00Z"}, None),
    "it said why": (
        {"exit_code": EXIT_USER_ERROR, "message": failure("BucketNotFound", "there is no bucket data")},
        Trouble("BucketNotFound", "there is no bucket data"),
    ),
    "it said why, with a reason that no condition may have": (
        {"exit_code": 1, "message": failure("not a reason!", "words")},
        Trouble(Reason.TRAINING_FAILED, "words"),
    ),
    "it left only its log": (
        {"exit_code": 1, "message": "Traceback (most recent call last):\nImportError: no torch"},
        Trouble(
            Reason.TRAINING_FAILED,
            "exit code 1, last words: Traceback (most recent call last):\nImportError: no torch",
        ),
    ),
    "it left nothing": ({"exit_code": 139}, Trouble(Reason.TRAINING_FAILED, "exit code 139 and no last words")),
    "it was killed for its memory": (
        {"exit_code": 137, "reason": "OOMKilled"},
        Trouble(Reason.OUT_OF_MEMORY, "it used more memory than the 1Gi and was killed: give it more"),
    ),
    "it was preempted, whatever it said": (
        {
            "exit_code": EXIT_USER_ERROR,
            "message": failure("Interrupted", "told to stop"),
            "conditions": [{"type": "DisruptionTarget", "status": "True", "message": "preempted by team/big"}],
        },
        Trouble(Reason.EVICTED, "the node took the pod away: preempted by team/big"),
    ),
    "its scratch volume was full": (
        {"phase": "Failed", "reason": "", "message": ""},
        Trouble(Reason.TRAINING_FAILED, "the node ended the pod: the kubelet says nothing more"),
    ),
}


@pytest.mark.parametrize("case", ENDED)
def test_why_a_pod_ended(case: str) -> None:
    given, wanted = ENDED[case]
    assert podfacts.ended(pod("p", labels=LABELS, **given), "trainer", "the 1Gi") == wanted


def test_an_evicted_pod_has_the_words_in_its_status() -> None:
    gone = pod("p", labels=LABELS, phase="Failed")
    gone["status"] |= {"reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."}
    found = podfacts.ended(gone, "trainer", "the 1Gi")
    assert found == Trouble(Reason.EVICTED, "the node ended the pod: The node was low on resource: ephemeral-storage.")


def test_a_long_log_is_cut_to_its_end() -> None:
    found = podfacts.ended(pod("p", labels=LABELS, exit_code=1, message="x" * 4000 + "the end"), "trainer", "")
    assert found is not None
    assert found.message.endswith("xthe end")
    assert len(found.message) < podfacts.LAST_WORDS + 60


@pytest.mark.parametrize(
    ("image_id", "wanted"),
    [
        (f"registry.example/trainer@{IMAGE_DIGEST}", IMAGE_DIGEST),
        (f"docker-pullable://registry.example/trainer@{IMAGE_DIGEST}", IMAGE_DIGEST),
        (IMAGE_DIGEST, IMAGE_DIGEST),
        ("trainer:1", None),
        ("", None),
    ],
)
def test_the_image_digest_is_what_the_kubelet_reports(image_id: str, wanted: str | None) -> None:
    ran = pod("p", labels=LABELS, exit_code=0)
    ran["status"]["containerStatuses"][0]["imageID"] = image_id
    assert podfacts.image_digest(ran, "trainer") == wanted


@pytest.mark.parametrize(
    ("image_id", "wanted"),
    [
        (f"registry.example/a/trainer@sha256:{'1' * 64}", f"registry.example/a/trainer@sha256:{'1' * 64}"),
        (f"docker-pullable://trainer@sha256:{'1' * 64}", f"trainer@sha256:{'1' * 64}"),
        (f"sha256:{'1' * 64}", None),  # loaded into the node without a registry
        ("", None),
    ],
)
def test_an_image_from_a_registry_has_a_name_by_digest(image_id: str, wanted: str | None) -> None:
    ran = pod("p", labels=LABELS, exit_code=0)
    ran["status"]["containerStatuses"][0]["imageID"] = image_id
    assert podfacts.image_pinned(ran, "trainer") == wanted


def test_the_newest_pod_comes_first_and_the_name_decides_between_equals() -> None:
    pods = [
        pod("b", labels=LABELS),
        pod("a", labels=LABELS, created="2026-01-02T00:00:00Z"),
        pod("c", labels=LABELS),
    ]
    assert [p["metadata"]["name"] for p in podfacts.newest_first(pods)] == ["a", "c", "b"]
