"""Why a version does not become ready: the most telling words of its pods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slipway.api.deployment import DeploymentSpec, DeploymentStatus
from slipway.api.reasons import Reason
from slipway.contract import EXIT_ERROR, EXIT_USER_ERROR
from slipway.serving.decide import decide
from slipway.serving.observed import Running
from slipway.serving.words import crash, summary, words
from tests.support.builders import T0, failure
from tests.support.serving_builders import deployment
from tests.unit.serving.test_counting import NOW, V1, V2, world

LATER = "2026-01-01T00:30:00Z"
SPEC = DeploymentSpec.model_validate(deployment()["spec"])


def pod(name: str = "a", *, ready: bool = False, leaving: bool = False, **container: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    if leaving:
        meta["deletionTimestamp"] = "2026-01-01T00:00:01Z"
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}, *container.pop("conditions", [])]
    return {
        "metadata": meta,
        "spec": {"containers": [{"name": "server", "image": "server:1"}]},
        "status": {
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": [{"name": "server", **container}] if container else [],
        },
    }


def ended(code: int, message: str = "", reason: str = "Error", *, where: str = "lastState") -> dict[str, Any]:
    """A container that ended, and by default waits to be started again."""
    end = {"terminated": {"exitCode": code, "message": message, "reason": reason}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}}
    return {"state": end} if where == "state" else {"lastState": end, "state": waiting}


def waiting(reason: str, message: str) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


UNSCHEDULABLE: dict[str, Any] = {
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes: 3 Insufficient gpu",
        }
    ]
}


@pytest.mark.parametrize(
    ("pods", "reason", "said", "hopeless"),
    [
        pytest.param(
            [pod(**ended(EXIT_USER_ERROR, failure("DigestMismatch", "it is sha256:b, not sha256:a")))],
            Reason.ARTIFACT_TAMPERED,
            "it is sha256:b, not sha256:a",
            True,
            id="the file is another one",
        ),
        pytest.param(
            [pod(**ended(EXIT_USER_ERROR, failure("SignatureMismatch", "input x is FP64")))],
            Reason.CANDIDATE_FAILED,
            "SignatureMismatch: input x is FP64",
            True,
            id="the server says that trying again cannot help",
        ),
        pytest.param(
            [pod(**ended(EXIT_ERROR, failure("StoreUnreachable", "s3 does not answer")))],
            Reason.NOT_SERVING,
            "StoreUnreachable: s3 does not answer",
            False,
            id="the server says that it may pass",
        ),
        pytest.param(
            [pod(**ended(139, "Segmentation fault"))],
            Reason.NOT_SERVING,
            "exit code 139, last words: Segmentation fault",
            False,
            id="the server left only its log",
        ),
        pytest.param(
            [pod(**ended(137, "", "OOMKilled", where="state"))],
            Reason.OUT_OF_MEMORY,
            "more memory than the 512Mi",
            False,
            id="out of memory",
        ),
        pytest.param(
            [pod(**waiting("ImagePullBackOff", 'Back-off pulling image "server:1": ErrImagePull: not found'))],
            Reason.IMAGE_NOT_PULLED,
            "the image server:1 cannot be had: not found",
            False,
            id="no image",
        ),
        pytest.param(
            [pod(**waiting("CreateContainerConfigError", 'secret "slipway-store-default" not found'))],
            Reason.CONFIG_MISSING,
            "slipway-store-default",
            False,
            id="no S3 place",
        ),
        pytest.param([pod(**UNSCHEDULABLE)], Reason.UNSCHEDULABLE, "3 Insufficient gpu", False, id="no node"),
        pytest.param(
            [pod("a", **UNSCHEDULABLE), pod("b", **ended(137, "", "OOMKilled"))],
            Reason.OUT_OF_MEMORY,
            "more memory",
            False,
            id="what a person can mend comes before what the cluster may",
        ),
    ],
)
def test_the_words_of_pods(pods: list[dict[str, Any]], reason: Reason, said: str, hopeless: bool) -> None:
    found = words(Running(pods=tuple(pods)), SPEC)
    assert found is not None
    assert (found.reason, found.hopeless) == (reason, hopeless)
    assert said in found.message


@pytest.mark.parametrize(
    "quiet",
    [
        pytest.param(pod(ready=True, **ended(137, "", "OOMKilled")), id="a pod that is ready again"),
        pytest.param(pod(leaving=True, **ended(137, "", "OOMKilled")), id="a pod that leaves"),
        pytest.param(pod(**waiting("ContainerCreating", "")), id="a pod that is being made"),
        pytest.param(pod(), id="a pod of which nothing is known"),
        pytest.param(pod(**ended(0, where="state")), id="a server that ended well because it was told to"),
    ],
)
def test_pods_without_trouble_say_nothing(quiet: dict[str, Any]) -> None:
    assert words(Running(pods=(quiet,)), SPEC) is None


def test_pods_that_cannot_even_be_made() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: cpu"}
    found = words(Running(workload={"status": {"conditions": [condition]}}), SPEC)
    assert found is not None
    assert "a pod cannot be made: exceeded quota: cpu" in found.message


def test_the_words_do_not_change_while_the_kubelet_waits_longer_and_longer() -> None:
    """The message would otherwise be rewritten at every turn of the back-off."""
    first = pod(**ended(1, "no"))
    later = pod(**ended(1, "no"))
    later["status"]["containerStatuses"][0]["state"]["waiting"]["message"] = "back-off 5m0s restarting"
    assert words(Running(pods=(first,)), SPEC) == words(Running(pods=(later,)), SPEC)


@pytest.mark.parametrize(
    ("finished", "noticed"),
    [("2026-01-01T10:00:06Z", True), ("2026-01-01T10:00:05Z", True), ("2026-01-01T10:00:04Z", False)],
)
def test_a_crash_counts_from_the_second_on_in_which_the_steps_began(finished: str, noticed: bool) -> None:
    said = ended(137)
    said["lastState"]["terminated"] |= {"startedAt": "2026-01-01T10:00:00Z", "finishedAt": finished}
    running = Running(pods=(pod(ready=True, **said),))
    assert (crash(running, "2026-01-01T10:00:05Z") is not None) is noticed


def crashed(finished: str | None, node: str | None = "n1", name: str = "a") -> dict[str, Any]:
    """A pod whose server ended then, on that node."""
    said = ended(137, reason="OOMKilled")
    said["lastState"]["terminated"] |= {"startedAt": T0, "finishedAt": finished}
    made = pod(name, ready=True, **said)
    if node:
        made["spec"]["nodeName"] = node
    return made


@pytest.mark.parametrize(
    ("candidate", "stable", "counts"),
    [
        pytest.param([crashed("2026-01-01T10:10:00Z")], [], True, id="the candidate alone"),
        pytest.param([], [crashed("2026-01-01T10:10:00Z")], False, id="the stable version alone"),
        pytest.param(
            [crashed("2026-01-01T10:10:00Z")], [crashed("2026-01-01T10:10:20Z")], False, id="a node that took both"
        ),
        pytest.param(
            [crashed("2026-01-01T10:10:00Z")], [crashed("2026-01-01T10:09:10Z")], False, id="and told of it one by one"
        ),
        pytest.param(
            [crashed("2026-01-01T10:10:00Z")],
            [crashed("2026-01-01T10:10:00Z", "n2")],
            True,
            id="two nodes at the same moment",
        ),
        pytest.param(
            [crashed("2026-01-01T10:10:00Z")],
            [crashed("2026-01-01T10:00:30Z")],
            True,
            id="the stable version crashed once, as the steps began",
        ),
        pytest.param(
            [crashed("2026-01-01T10:10:00Z"), crashed("2026-01-01T10:20:00Z", name="b")],
            [crashed("2026-01-01T10:10:00Z")],
            True,
            id="one crash with the node and one without",
        ),
        pytest.param(
            [crashed("2026-01-01T10:10:00Z", None)],
            [crashed("2026-01-01T10:10:00Z", None)],
            False,
            id="no node is known",
        ),
        pytest.param([crashed(None)], [], False, id="the kubelet lost sight of it"),
        pytest.param([crashed("2026-01-01T10:10:00Z")], [crashed(None)], True, id="or of the stable version's"),
    ],
)
def test_only_a_node_that_took_both_excuses_a_crash(
    candidate: list[dict[str, Any]], stable: list[dict[str, Any]], counts: bool
) -> None:
    found = crash(Running(pods=tuple(candidate)), "2026-01-01T10:00:00Z", Running(pods=tuple(stable)))
    assert (found is not None) is counts


def test_a_candidate_that_crashes_is_given_up_although_the_stable_version_crashed_once() -> None:
    seen = world(pods={V1: Running(pods=(crashed("2026-01-01T00:00:10Z"),)), V2: Running(pods=(crashed(LATER),))})
    assert seen.status.rollout is not None
    rollout = seen.status.rollout.model_copy(update={"whole_at": T0})
    plan = decide(replace(seen, status=seen.status.model_copy(update={"rollout": rollout})), NOW)
    assert [event.reason for event in plan.events] == [Reason.CANDIDATE_CRASHED]
    assert "it crashed: the server used more memory" in plan.events[0].message


def shadowed(copies: str, *, compared: int = 0) -> DeploymentStatus:
    """A shadow whose pods have counted so many copies, and of them so many that no stable pod knew."""
    rows = [{"source": name, "side": side, "counts": [text]} for name, side, text in (
        ("c0", "Candidate", copies), ("c1", "Candidate", "0/0"), ("s0", "Stable", "999/999"),
    )]  # fmt: skip
    disagreement = {
        "metric": "disagreement",
        "candidate": {"n": compared},
        "verdict": "NoTraffic",
        "message": "disagreement -, 5% allowed",
    }
    errors = {"metric": "errors", "candidate": {"n": 9}, "verdict": "Undecided", "message": "errors 0% against 0%"}
    looked = {"at": T0, "metrics": ["not_compared"], "counters": rows}
    return DeploymentStatus.model_validate({"looked": looked, "analysis": [errors, disagreement]})


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (shadowed("0/0"), "disagreement -, 5% allowed (no traffic)"),
        (shadowed("-"), "disagreement -, 5% allowed (no traffic)"),
        (shadowed("40/40", compared=3), "disagreement -, 5% allowed (no traffic)"),
        (shadowed("1/1"), "; 1 copy came, none could be matched with an answer of the stable pods: see whether a Netw"),
        (shadowed("1200/700"), "; 1,200 copies came, none could be matched"),
        (
            shadowed("1200/500"),
            "; 1,200 copies came, none could be compared with an answer of the stable pods: slip",
        ),
    ],
)
def test_copies_that_came_are_no_lack_of_traffic(facts: DeploymentStatus, said: str) -> None:
    told = summary(facts)
    assert said in told
    assert told.startswith("9 requests, errors 0% against 0% (more samples needed)")
    assert ("(no traffic)" in told) is said.endswith("(no traffic)")
