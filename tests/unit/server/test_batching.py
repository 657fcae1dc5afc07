"""Who runs when: the queue with a fake model and a fake clock, on the loop and in threads that wait for a gate."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from slipway_server.batching import (
    BadInputError,
    Batcher,
    BrokenModelError,
    Limits,
    QueueFullError,
    RunTimeoutError,
    Work,
)
from slipway_server.model import ModelRunError, Profile
from slipway_server.signature import Array

TINY = Profile(seconds=0.00001, batch=4, batch_seconds=0.00002)
HEAVY = Profile(seconds=0.05, batch=4, batch_seconds=0.1)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Doubler:
    """Doubles; refuses any batch that holds a 13; waits at the gate if there is one."""

    gate: threading.Semaphore | None = None
    runs: list[list[float]] = field(default_factory=list)
    broken: bool = False
    started: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def run(self, arrays: list[Array]) -> list[Array]:
        values = arrays[0].reshape(-1).tolist()
        self.runs.append(values)
        self.started.release()
        if self.gate is not None:
            assert self.gate.acquire(timeout=10)
        if self.broken or 13 in values:
            raise ModelRunError("I do not like 13")
        return [arrays[0] * 2]

    def zeros(self, rows: int, free: int) -> list[Array]:
        return [np.zeros((rows, 1), dtype=np.float32)]


@dataclass
class Seen:
    batches: list[tuple[int, list[float]]] = field(default_factory=list)
    rows: int = 0

    def batch(self, rows: int, waited: list[float]) -> None:
        self.batches.append((rows, waited))

    def outputs(self, outputs: list[Array]) -> Array | None:
        """A value of 666 is taken for no answer."""
        self.rows += len(outputs[0])
        bad = (outputs[0] == 666).any(axis=1)
        return bad if bad.any() else None


Result = list[Array] | Exception


@dataclass
class Bench:
    batcher: Batcher
    clock: Clock
    seen: Seen
    answers: dict[float, Result] = field(default_factory=dict)
    invalid: set[float] = field(default_factory=set)

    def ask(self, *values: float, tails: tuple[tuple[int, ...], ...] | None = None) -> Work:
        array = np.array(values, dtype=np.float32).reshape(-1, 1)

        def done(work: Work, result: Result) -> None:
            assert values[0] not in self.answers, "answered twice"
            self.answers[values[0]] = result
            if work.invalid:
                self.invalid.add(values[0])

        return self.batcher.submit([array], len(values), tails, done)

    def answer(self, value: float) -> list[float]:
        result = self.answers[value]
        assert isinstance(result, list), result
        return [float(v) for v in result[0].reshape(-1)]

    async def settle(self, answers: int) -> None:
        async with asyncio.timeout(10):
            while len(self.answers) < answers:
                await asyncio.sleep(0)


@asynccontextmanager
async def bench(
    runner: Doubler,
    profile: Profile = TINY,
    *,
    workers: int = 1,
    delay: float = 0.0,
    queue: int = 8,
    rows: int = 1000,
) -> AsyncIterator[Bench]:
    clock, seen = Clock(), Seen()
    limits = Limits(batch=profile.batch, delay=delay, queue=queue, timeout=5.0, workers=workers, rows=rows)
    batcher = Batcher(runner, profile, limits, seen, clock)
    try:
        yield Bench(batcher, clock, seen)
    finally:
        if runner.gate is not None:
            runner.gate.release(100)
        batcher.close()


async def started(runner: Doubler) -> None:
    """Wait until one more run has begun in a thread."""
    async with asyncio.timeout(10):
        while not runner.started.acquire(blocking=False):
            await asyncio.sleep(0)


async def test_what_came_in_one_turn_of_the_loop_runs_together() -> None:
    runner = Doubler()
    async with bench(runner) as b:
        for value in (1, 2, 3):
            b.ask(value)
        assert runner.runs == []  # never from within submit
        await b.settle(3)
        assert runner.runs == [[1, 2, 3]]
        assert [b.answer(v) for v in (1, 2, 3)] == [[2], [4], [6]]
        assert b.seen.batches == [(3, [0, 0, 0])]
        assert b.seen.rows == 3


async def test_a_batch_holds_no_more_rows_than_it_may_and_splits_by_request() -> None:
    runner = Doubler()
    async with bench(runner) as b:
        b.ask(1, 2)
        b.ask(3)
        b.ask(4, 5)
        await b.settle(3)
        assert runner.runs == [[1, 2, 3], [4, 5]]
        assert b.answer(4) == [8, 10]


async def test_of_requests_that_run_together_only_those_with_a_row_that_is_no_answer_are_invalid() -> None:
    async with bench(Doubler()) as b:
        b.ask(1, 2)
        b.ask(3, 333)
        b.ask(4)
        await b.settle(3)
        assert b.seen.batches == [(4, [0, 0]), (1, [0])]
        assert b.invalid == {3}
        b.ask(333)
        await b.settle(4)
        assert b.invalid == {3, 333}


async def test_requests_of_other_tails_are_not_joined() -> None:
    runner = Doubler()
    async with bench(runner) as b:
        b.ask(1, tails=((1,),))
        b.ask(2, tails=((2,),))
        b.ask(3, tails=((2,),))
        await b.settle(3)
        assert runner.runs == [[1], [2, 3]]


async def test_a_request_too_large_for_the_loop_runs_alone_and_off_it() -> None:
    runner = Doubler(gate=threading.Semaphore(0))
    async with bench(runner, Profile(seconds=0.001, batch=4, batch_seconds=0.0019)) as b:
        b.ask(1, 2, 3, 4, 5)
        await started(runner)  # the loop is free while it runs
        assert runner.gate is not None
        runner.gate.release()
        await b.settle(1)
        assert b.answer(1) == [2, 4, 6, 8, 10]


SPLITS = Profile(seconds=0.001, batch=4, batch_seconds=0.0019, joins=True)


async def test_a_request_of_very_many_rows_runs_in_pieces() -> None:
    runner = Doubler()
    async with bench(runner, SPLITS, rows=4) as b:
        b.ask(*range(1, 11))
        await b.settle(1)
        assert runner.runs == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
        assert b.answer(1) == [2 * v for v in range(1, 11)]
        assert b.seen.rows == 10


async def test_pieces_are_not_run_where_rows_are_not_independent() -> None:
    runner = Doubler()
    async with bench(runner, TINY, rows=4) as b:
        b.ask(*range(1, 11))
        await b.settle(1)
        assert len(runner.runs) == 1


async def test_the_pieces_of_a_client_that_left_are_not_run() -> None:
    runner = Doubler(gate=threading.Semaphore(0))
    async with bench(runner, SPLITS, rows=4) as b:
        assert runner.gate is not None
        gone = b.ask(*range(1, 101))
        await started(runner)
        b.batcher.cancel(gone)
        b.ask(200)
        runner.gate.release(2)
        await b.settle(1)
        assert runner.runs == [[1, 2, 3, 4], [200]]


async def test_a_bad_piece_is_the_requests_own_fault() -> None:
    async with bench(Doubler(), SPLITS, rows=4) as b:
        b.ask(1, 2, 3, 4, 5, 13)
        await b.settle(1)
        assert isinstance(b.answers[1], BadInputError)


async def test_one_bad_request_does_not_spoil_the_others() -> None:
    runner = Doubler()
    async with bench(runner) as b:
        for value in (1, 13, 3):
            b.ask(value)
        await b.settle(3)
        assert (b.answer(1), b.answer(3)) == ([2], [6])
        assert isinstance(b.answers[13], BadInputError)
        assert "I do not like 13" in str(b.answers[13])
        assert runner.runs == [[1, 13, 3], [1], [13], [0], [3]]  # the zeros tell that the model still runs


async def test_a_model_that_runs_no_more_is_told_from_a_bad_request() -> None:
    async with bench(Doubler(broken=True)) as b:
        b.ask(1)
        await b.settle(1)
        assert isinstance(b.answers[1], BrokenModelError)


async def test_a_run_that_fails_in_an_unexpected_way_answers_all(caplog: pytest.LogCaptureFixture) -> None:
    runner = Doubler()
    runner.run = lambda arrays: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    async with bench(runner) as b:
        b.ask(1)
        b.ask(2)
        await b.settle(2)
        assert all(isinstance(a, ZeroDivisionError) for a in b.answers.values())
    assert "unexpected" in caplog.text


async def test_rows_that_do_not_come_out_again_run_one_by_one() -> None:
    runner = Doubler()
    run = runner.run
    runner.run = lambda arrays: [run(arrays)[0][:1]]  # type: ignore[method-assign]
    async with bench(runner) as b:
        b.ask(1)
        b.ask(2)
        await b.settle(2)
        assert (b.answer(1), b.answer(2)) == ([2], [4])


async def test_a_heavy_model_takes_what_waits_when_a_worker_is_free() -> None:
    runner = Doubler(gate=threading.Semaphore(0))
    async with bench(runner, HEAVY) as b:
        assert runner.gate is not None
        b.ask(1)
        await started(runner)
        for value in (2, 3, 4, 5, 6):
            b.ask(value)
        assert (b.batcher.waiting, b.batcher.idle) == (5, False)
        runner.gate.release(3)
        await b.settle(6)
        assert runner.runs == [[1], [2, 3, 4, 5], [6]]
        assert b.batcher.idle


async def test_as_many_runs_at_once_as_workers() -> None:
    runner = Doubler(gate=threading.Semaphore(0))
    async with bench(runner, Profile(0.05, 1, 0.05), workers=2) as b:
        assert runner.gate is not None
        for value in (1, 2, 3):
            b.ask(value)
        await started(runner)
        await started(runner)
        assert b.batcher.waiting == 1
        runner.gate.release(3)
        await b.settle(3)


ALONE = Profile(seconds=0.05, batch=1, batch_seconds=0.05)
"""Nothing is gained by joining requests."""


async def test_a_thread_goes_on_with_the_next_request_before_the_loop_has_answered_the_one_before() -> None:
    runner = Doubler(gate=threading.Semaphore(0))
    async with bench(runner, ALONE) as b:
        assert runner.gate is not None
        for value in (1, 2, 3):
            b.ask(value)
        await started(runner)
        runner.gate.release()
        assert runner.started.acquire(timeout=10), "the thread waits for the loop, which is here"
        assert b.answers == {}
        runner.gate.release(2)
        await b.settle(3)
        assert runner.runs == [[1], [2], [3]]
        assert b.seen.batches == [(1, [0]), (1, [0]), (1, [0])]


async def test_one_that_was_given_up_beside_a_thread_does_not_run() -> None:
    runner = Doubler(gate=threading.Semaphore(0))
    async with bench(runner, ALONE) as b:
        assert runner.gate is not None
        b.ask(1)
        gone = b.ask(2)
        b.ask(3)
        await started(runner)
        assert b.batcher.waiting == 2
        b.batcher.cancel(gone)
        runner.gate.release(2)
        await b.settle(2)
        assert runner.runs == [[1], [3]]
        assert len(b.seen.batches) == 2


async def test_the_time_in_the_queue_lasts_until_the_run_begins() -> None:
    runner = Doubler(gate=threading.Semaphore(0))
    async with bench(runner, ALONE) as b:
        assert runner.gate is not None
        b.ask(1)
        b.ask(2)
        await started(runner)
        b.clock.now += 2
        runner.gate.release(2)
        await b.settle(2)
        assert b.seen.batches == [(1, [0]), (1, [2])]


async def test_beyond_its_limit_the_queue_refuses_and_says_when_to_come_back() -> None:
    runner = Doubler(gate=threading.Semaphore(0))
    async with bench(runner, Profile(2.0, 1, 2.0), queue=3) as b:
        b.ask(1)
        await started(runner)
        for value in (2, 3, 4):
            b.ask(value)
        with pytest.raises(QueueFullError) as full:
            b.ask(5)
        assert full.value.retry_after == 6  # three runs of two seconds
        with pytest.raises(QueueFullError):
            b.batcher.check()


@pytest.mark.parametrize("profile", [TINY, HEAVY, ALONE])
async def test_what_comes_in_one_turn_finds_the_free_threads_beside_the_queue(profile: Profile) -> None:
    runner = Doubler()
    async with bench(runner, profile, workers=2, queue=3) as b:
        for value in (1, 2, 3, 4, 5):
            b.ask(value)
        with pytest.raises(QueueFullError):
            b.ask(6)
        await b.settle(5)


async def test_with_a_delay_the_first_waits_for_others() -> None:
    runner = Doubler()
    async with bench(runner, delay=3600.0) as b:
        for value in (1, 2, 3):
            b.ask(value)
            await asyncio.sleep(0)
        assert runner.runs == []
        b.ask(4)  # the batch is full: no reason to wait
        await b.settle(4)
        assert runner.runs == [[1, 2, 3, 4]]


async def test_after_the_delay_a_batch_runs_that_is_not_full() -> None:
    runner = Doubler()
    async with bench(runner, delay=0.001) as b:
        b.ask(1)
        await b.settle(1)
        assert runner.runs == [[1]]


async def test_a_request_whose_client_left_does_not_run() -> None:
    runner = Doubler()
    async with bench(runner) as b:
        gone = b.ask(1)
        b.ask(2)
        b.batcher.cancel(gone)
        await b.settle(1)
        assert runner.runs == [[2]]
        assert 1 not in b.answers


async def test_a_request_whose_client_leaves_while_it_runs_is_not_answered() -> None:
    runner = Doubler(gate=threading.Semaphore(0))
    async with bench(runner, HEAVY) as b:
        assert runner.gate is not None
        gone = b.ask(1)
        await started(runner)
        b.batcher.cancel(gone)
        b.ask(2)
        runner.gate.release(2)
        await b.settle(1)
        assert list(b.answers) == [2]


async def test_waiting_and_running_requests_time_out() -> None:
    runner = Doubler(gate=threading.Semaphore(0))
    async with bench(runner, HEAVY) as b:
        assert runner.gate is not None
        b.ask(1)
        await started(runner)
        b.ask(2)
        b.clock.now += 5.1
        await b.settle(2)
        assert all(isinstance(a, RunTimeoutError) for a in b.answers.values())
        b.ask(3)
        runner.gate.release(2)
        await b.settle(3)
        assert runner.runs == [[1], [3]]


async def test_a_request_that_waited_too_long_is_not_run_any_more() -> None:
    runner = Doubler()
    async with bench(runner) as b:
        b.ask(1)
        b.clock.now += 5.1
        b.ask(2)
        await b.settle(2)
        assert isinstance(b.answers[1], RunTimeoutError)
        assert runner.runs == [[2]]


async def test_counting_that_fails_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    def fail(outputs: list[Array]) -> Array | None:
        raise ZeroDivisionError

    async with bench(Doubler()) as b:
        b.seen.outputs = fail  # type: ignore[method-assign]
        b.ask(1)
        await b.settle(1)
        assert b.answer(1) == [2]
    assert "could not be counted" in caplog.text
