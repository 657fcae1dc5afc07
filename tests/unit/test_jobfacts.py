"""What is known of a Job that has no pod."""

from __future__ import annotations

from typing import Any

import pytest

from slipway import jobfacts
from slipway.api.reasons import Reason
from slipway.kube.fake import FakeKube
from slipway.kube.objects import JOBS
from slipway.kube.told import failed_creates
from tests.support.builders import T0, pod

QUOTA = "exceeded quota: small, requested: limits.memory=1Gi, used: limits.memory=0, limited: limits.memory=512Mi"
EARLIER, LATER, LAST = "2025-12-31T23:59:59Z", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"


def job(*conditions: str, suspend: bool = False, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "digits-1", "namespace": "team", "uid": "job-uid"},
        "spec": {"suspend": suspend},
        "status": {"startTime": T0, "conditions": [{"type": c, "status": "True"} for c in conditions], **status},
    }


def event(at: str, words: str = f'Error creating: pods "digits-1-x7k2p" is forbidden: {QUOTA}', **more: Any) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"digits-1.{at}", "namespace": "team"},
        "involvedObject": {"kind": "Job", "name": "digits-1", "uid": "job-uid"},
        "reason": "FailedCreate",
        "message": words,
        "lastTimestamp": at,
        **more,
    }


def ran(exit_code: int, finished: str = LATER) -> Any:
    return pod("digits-1-a", labels={}, exit_code=exit_code, finished=finished)


LACKS: dict[str, tuple[dict[str, Any], list[Any], bool]] = {
    "no pod": (job(), [], True),
    "the Job controller has not seen it yet": (job(startTime=None), [], False),
    "a pod that waits": (job(), [pod("a", labels={})], False),
    "a pod that runs": (job(), [pod("a", labels={}, started=T0)], False),
    "a pod that failed": (job(), [ran(1)], True),
    "a pod that ended well": (job(), [ran(0)], False),
    "a Job that is suspended": (job(suspend=True), [], False),
    "a Job that is complete": (job("Complete"), [], False),
    "a Job that has failed": (job("Failed"), [], False),
    "a Job that is about to fail": (job("FailureTarget"), [], False),
}


@pytest.mark.parametrize("case", LACKS)
def test_a_job_that_lacks_its_pod(case: str) -> None:
    found, pods, lacks = LACKS[case]
    if found["status"]["startTime"] is None:
        del found["status"]["startTime"]
    assert jobfacts.lacks_pod(found, pods) is lacks
    # whoever has its pod is not said to lack it, whatever was told before
    if not lacks:
        assert jobfacts.not_made(found, pods, [event(LAST)]) is None


def test_a_job_that_goes_or_is_gone_lacks_nothing() -> None:
    going = job()
    going["metadata"]["deletionTimestamp"] = T0
    assert not jobfacts.lacks_pod(going, [])
    assert not jobfacts.lacks_pod(None, [])
    assert jobfacts.not_made(None, [], [event(LAST)]) is None


SAID = (
    f"the pod of the Job digits-1 cannot be made: {QUOTA}. It is tried again by itself: ask for less, or have what "
    "refuses it changed"
)


@pytest.mark.parametrize("name", ["digits-1-x7k2p", "digits-1-aaaaa", "digits-1-"])
def test_the_sentence_is_the_same_though_the_pods_name_is_another(name: str) -> None:
    told = event(LATER, f'Error creating: pods "{name}" is forbidden: {QUOTA}')
    found = jobfacts.not_made(job(), [], [told])
    assert found is not None
    assert (found.reason, found.message, found.stalled) == (Reason.POD_REFUSED, SAID, True)


def test_another_sentence_of_the_api_server_is_kept_whole() -> None:
    found = jobfacts.not_made(job(), [], [event(LATER, "Error creating: Internal error occurred: no webhook")])
    assert found is not None
    assert "cannot be made: Internal error occurred: no webhook. It is" in found.message


def test_the_newest_word_counts_and_only_while_it_is_newer_than_the_newest_pod() -> None:
    older = event(EARLIER)
    assert jobfacts.not_made(job(), [], []) is None
    assert jobfacts.not_made(job(), [], [older]) is None, "from before the run was resumed"
    assert jobfacts.not_made(job(), [ran(1, finished=LAST)], [event(LATER)]) is None, "a pod was made since"
    assert jobfacts.not_made(job(), [ran(1, finished=LATER)], [event(LAST)]) is not None
    again = event(EARLIER, series={"count": 9, "lastObservedTime": "2026-01-01T00:00:30.123456Z"})
    assert jobfacts.not_made(job(), [], [again]) is not None, "told again"
    newest = event(LAST, "Error creating: another reason")
    found = jobfacts.not_made(job(), [], [event(LATER), newest, older])
    assert found is not None
    assert "another reason" in found.message


async def test_only_the_events_about_this_very_job_are_asked_for() -> None:
    kube = FakeKube([job(), event(T0), event(LAST, reason="SuccessfulCreate")])
    kube.put({**event(LATER), "involvedObject": {"kind": "Job", "name": "digits-1", "uid": "an earlier one"}})
    live = kube.find(JOBS, "team", "digits-1")
    assert live is not None
    assert [e["lastTimestamp"] for e in await failed_creates(kube, live)] == [T0]
