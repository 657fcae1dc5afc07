"""The work queue: one worker a key, no key lost, retries further and further apart."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from slipway.kube.objects import Key
from slipway.kube.workqueue import BACKOFF_FIRST, BACKOFF_MOST, WorkQueue

A, B = Key("team", "a"), Key("team", "b")


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue(random.Random(0))


async def test_a_key_that_is_added_often_is_worked_on_once(queue: WorkQueue) -> None:
    for _ in range(5):
        queue.add(A)
    assert await queue.take() == A
    queue.done(A)
    assert len(queue) == 0


async def test_a_key_that_is_added_while_it_is_worked_on_comes_again_and_only_afterwards(queue: WorkQueue) -> None:
    queue.add(A)
    await queue.take()
    queue.add(A)
    assert len(queue) == 0
    queue.done(A)
    assert await queue.take() == A


async def test_two_keys_do_not_wait_for_each_other(queue: WorkQueue) -> None:
    queue.add(A)
    queue.add(B)
    assert {await queue.take(), await queue.take()} == {A, B}


async def test_of_two_wishes_the_earlier_one_counts(queue: WorkQueue) -> None:
    queue.add_after(A, 3600)
    queue.add_after(A, 0.001)
    queue.add_after(A, 3600)
    assert await asyncio.wait_for(queue.take(), 5) == A
    queue.done(A)
    assert len(queue) == 0


async def test_an_event_does_not_wait_for_the_timer_and_takes_it_away(queue: WorkQueue) -> None:
    queue.add_after(A, 0.001)
    queue.add(A)
    await queue.take()
    queue.done(A)
    await asyncio.sleep(0.01)  # longer than the timer: were it alive, the key would be back
    assert len(queue) == 0


async def test_retries_come_further_and_further_apart_up_to_a_limit(queue: WorkQueue) -> None:
    delays = []
    for _ in range(14):
        queue.add(A)
        await queue.take()
        delays.append(queue.failed(A))
    assert 0.75 * BACKOFF_FIRST <= delays[0] <= 1.25 * BACKOFF_FIRST
    assert all(later > earlier for earlier, later in pairwise(delays[:9]))
    assert max(delays) <= 1.25 * BACKOFF_MOST


async def test_a_pass_that_went_well_forgets_the_failures_before_it(queue: WorkQueue) -> None:
    for _ in range(6):
        queue.add(A)
        await queue.take()
        queue.failed(A)
    queue.add(A)
    await queue.take()
    queue.done(A)
    queue.add(A)
    await queue.take()
    assert queue.failed(A) <= 1.25 * BACKOFF_FIRST


async def test_keys_of_one_group_are_worked_on_one_after_another() -> None:
    queue = WorkQueue(random.Random(0), group=lambda key: key.name[0])
    a1, a2, b1 = (Key("team", name) for name in ("a1", "a2", "b1"))
    for key in (a1, a2, b1):
        queue.add(key)
    assert (await queue.take(), await queue.take()) == (a1, b1)
    queue.add(a2)  # it waits already
    assert len(queue) == 1
    last = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not last.done()
    queue.done(b1)
    await asyncio.sleep(0)
    assert not last.done()
    queue.failed(a1)
    assert await last == a2
    queue.done(a2)
    assert len(queue) == 0
