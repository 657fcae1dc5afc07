"""The loop: a pass that fails is tried again, a pass that wrote is followed by another look."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from slipway.api.training_run import TrainingRunStatus
from slipway.kube.client import Conflict, KubeError, NamespaceEnds, Reader, Refused, Unreachable
from slipway.kube.controller import RETRY_MOST, Controller, Room
from slipway.kube.fake import FakeKube
from slipway.kube.objects import JOBS, TRAINING_RUNS, Key, Manifest, Resource
from slipway.kube.plan import Create, Event, Plan
from slipway.kube.workqueue import WorkQueue

KEY = Key("team", "digits-1")
RUN = {
    "apiVersion": "slipway.dev/v1alpha1",
    "kind": "TrainingRun",
    "metadata": {"namespace": "team", "name": "digits-1"},
    "spec": {"model": "digits"},
}


@dataclass
class Seen:
    """A watcher that remembers."""

    outcomes: list[tuple[str, int]] = field(default_factory=list)

    def passed(self, resource: Resource, outcome: str, seconds: float, writes: int) -> None:
        self.outcomes.append((outcome, writes))


async def observe(kube: Reader, key: Key) -> Manifest | None:
    return await kube.get(TRAINING_RUNS, key.namespace, key.name)


def nothing_to_tell(_observed: Manifest, _sentence: str, _now: datetime) -> Plan | None:
    return None


def controller(kube: FakeKube, decide: Any, seen: Seen) -> Controller[Any]:
    room = Room(TRAINING_RUNS, observe, decide, lambda o: o, nothing_to_tell)
    queue = WorkQueue()
    return Controller(room, kube, queue, instance="me", workers=2, resync=600, watcher=seen)


def running(_observed: Manifest, _now: datetime) -> Plan:
    return Plan(status=TrainingRunStatus(phase="Running"), again=60)


async def one(subject: Controller[Any]) -> None:
    subject.queue.add(KEY)
    await subject.one(await subject.queue.take())


async def test_a_pass_that_wrote_is_followed_by_another_look_and_that_one_by_none() -> None:
    seen = Seen()
    subject = controller(FakeKube([RUN]), running, seen)
    await one(subject)
    assert len(subject.queue) == 1
    await subject.one(await subject.queue.take())
    assert len(subject.queue) == 0
    assert seen.outcomes == [("ok", 1), ("ok", 0)]


async def test_an_object_that_is_gone_needs_nothing() -> None:
    seen = Seen()
    await one(controller(FakeKube(), running, seen))
    assert seen.outcomes == [("gone", 0)]


@pytest.mark.parametrize(
    ("error", "outcome", "at_once"),
    [
        (Conflict(409, "modified"), "conflict", True),
        (NamespaceEnds(403, "it is being terminated"), "ending", False),
        (Refused(422, "spec.x: invalid"), "refused", False),
        (RuntimeError("a bug"), "error", False),
    ],
)
async def test_an_error_ends_the_pass_and_not_the_worker(error: Exception, outcome: str, at_once: bool) -> None:
    def fails(_observed: Manifest, _now: datetime) -> Plan:
        raise error

    seen = Seen()
    subject = controller(FakeKube([RUN]), fails, seen)
    await one(subject)
    assert seen.outcomes == [(outcome, 0)]
    assert len(subject.queue) == (1 if at_once else 0)
    assert await asyncio.wait_for(subject.queue.take(), 5) == KEY, "it is tried again"


@pytest.mark.parametrize(
    ("error", "level", "traceback"),
    [
        pytest.param(Unreachable(0, "no answer"), logging.WARNING, False, id="away"),
        pytest.param(KubeError(503, "starting"), logging.WARNING, False, id="starting"),
        pytest.param(KubeError(429, "too much"), logging.WARNING, False, id="busy"),
        pytest.param(KubeError(500, "field not declared in schema"), logging.ERROR, False, id="what we sent is wrong"),
        pytest.param(RuntimeError("a bug"), logging.ERROR, True, id="a bug"),
    ],
)
async def test_only_a_bug_has_a_traceback(
    caplog: pytest.LogCaptureFixture, error: Exception, level: int, traceback: bool
) -> None:
    def fails(_observed: Manifest, _now: datetime) -> Plan:
        raise error

    await one(controller(FakeKube([RUN]), fails, Seen()))
    (record,) = caplog.records
    assert record.levelno == level
    assert bool(record.exc_info) == traceback
    assert traceback or str(error) in record.getMessage()


async def test_workers_share_the_keys_and_end_together() -> None:
    seen = Seen()
    runs = [{**RUN, "metadata": {"namespace": "team", "name": f"run-{i}"}} for i in range(10)]
    subject = controller(FakeKube(runs), running, seen)
    for i in range(10):
        subject.queue.add(Key("team", f"run-{i}"))
    task = asyncio.create_task(subject.run())
    async with asyncio.timeout(10):
        while len(seen.outcomes) < 20:
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen.outcomes.count(("ok", 1)) == 10


def test_the_clock_is_utc() -> None:
    subject = controller(FakeKube(), running, Seen())
    assert subject._clock().tzinfo is UTC


async def test_a_write_that_the_api_server_refuses_is_told_to_the_user_once() -> None:
    class Quota(FakeKube):
        async def write_status(self, *_: Any) -> dict[str, Any]:
            raise Refused(403, "exceeded quota: small")

    kube = Quota([RUN])
    subject = controller(kube, running, Seen())
    await one(subject)
    await one(subject)
    assert [(e["type"], e["reason"], e["note"]) for e in kube.events] == [
        ("Warning", "WriteRefused", "the API server refused a write: exceeded quota: small")
    ]


async def test_a_refused_child_is_told_in_the_status_once_and_tried_again_within_a_minute() -> None:
    sentences = iter(f"exceeded quota: small, request {n}" for n in range(100))

    def wants_a_job(_observed: Manifest, _now: datetime) -> Plan:
        return Plan(changes=(Create({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "digits-1"}}),))

    def told(_observed: Manifest, sentence: str, _now: datetime) -> Plan:
        event = Event("Warning", "WriteRefused", sentence)
        return Plan(status=TrainingRunStatus(message=sentence), events=(event,))

    kube, seen = FakeKube([RUN]), Seen()
    room = Room(TRAINING_RUNS, observe, wants_a_job, lambda o: o, told)
    subject = Controller(room, kube, WorkQueue(), instance="me", workers=1, resync=600, watcher=seen)
    for _ in range(12):
        kube.refusing = {JOBS: next(sentences)}
        await one(subject)
    # a sentence that is another one each time is told once in a while: each write wakes this very key
    assert kube.log == ["status TrainingRun team/digits-1"]
    assert [e["note"] for e in kube.events] == ["the API server refused a write: exceeded quota: small, request 0"]
    assert seen.outcomes == [("refused", 0)] * 12
    assert subject.queue.failed(KEY, RETRY_MOST) <= 1.25 * RETRY_MOST
    # it goes on by itself, and a later refusal is news again
    kube.refusing = {}
    await one(subject)
    assert kube.log[1:] == ["create Job /digits-1"]
    kube.remove(JOBS, "", "digits-1")
    kube.refusing = {JOBS: "again"}
    await one(subject)
    assert kube.log[2:] == ["status TrainingRun team/digits-1"]


async def test_the_metrics_are_told_what_a_pass_wanted_and_that_the_object_is_gone() -> None:
    told: list[tuple[Key, Plan | None]] = []
    room = Room(
        TRAINING_RUNS, observe, running, lambda o: o, nothing_to_tell, lambda key, plan: told.append((key, plan))
    )
    for kube in (FakeKube([RUN]), FakeKube()):
        subject = Controller(room, kube, WorkQueue(), instance="me", workers=1, resync=600, watcher=Seen())
        await one(subject)
    assert told == [(KEY, running(RUN, datetime.now(UTC))), (KEY, None)]


async def test_the_metrics_are_not_told_of_what_was_not_done() -> None:
    told: list[Key] = []

    def refused(_observed: Manifest, _now: datetime) -> Plan:
        raise Conflict(409, "modified")

    room = Room(TRAINING_RUNS, observe, refused, lambda o: o, nothing_to_tell, lambda key, _plan: told.append(key))
    await one(Controller(room, FakeKube([RUN]), WorkQueue(), instance="me", workers=1, resync=600, watcher=Seen()))
    assert not told
