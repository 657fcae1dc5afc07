"""Who runs when: requests wait in a bounded queue, are joined into batches, and run on the event loop or in threads.

    submit ──> waiting ──> batch ──> run ──────────> done(outputs)
      │           │                   │ fails
      │           │ timeout, client   └─> each request of it alone: its own answer for each
      │           │ gone: dropped
      └ queue full: refused at once

A thread that has run one batch has the next one beside it already, where joining gains nothing: it need not wait until
the loop has woken up, written the answer and sent another. Beside a model of 25 ms that wait was 0.6 ms on two cores.

All methods belong to the event loop's thread; only ``Model.run`` is called elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from slipway_server.model import ModelRunError, Profile
from slipway_server.signature import Array

log = logging.getLogger("slipway.server")

Done = Callable[["Work", "list[Array] | Exception"], None]
"""Called once with the request, and with the outputs of its own rows or why there are none."""


class Runner(Protocol):
    """What runs: ``Model``, or a fake."""

    def run(self, arrays: list[Array]) -> list[Array]:
        """Outputs for inputs; raises ``ModelRunError``."""

    def zeros(self, rows: int, free: int) -> list[Array]:
        """Inputs that are known to work."""


class Observer(Protocol):
    """What is counted about batches."""

    def batch(self, rows: int, waited: list[float]) -> None:
        """A batch of so many rows ran, or is about to; ``waited`` holds each request's seconds in the queue."""

    def outputs(self, outputs: list[Array]) -> Array | None:
        """A batch came out; which of its rows are no answer (NaN, infinite), None if all are. Called in any thread."""


class QueueFullError(Exception):
    """More requests wait than the limit allows.

    Attributes:
        retry_after: seconds after which the queue should have run.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class RunTimeoutError(Exception):
    """The request waited, or ran, longer than it may."""


class BadInputError(Exception):
    """The model cannot compute on this request, though it can compute; the message is onnxruntime's."""


class BrokenModelError(Exception):
    """The model can compute no more, not even on the zeros it was warmed up with."""


@dataclass(eq=False, slots=True)
class Work:
    """One request on its way through the queue."""

    arrays: list[Array]
    rows: int
    tails: tuple[tuple[int, ...], ...] | None
    done: Done
    since: float
    over: bool = False
    """Answered, or its client is gone: nothing is to be called any more."""
    invalid: bool = False
    """One of its rows came out as a NaN or an infinity."""

    def finish(self, result: list[Array] | Exception) -> None:
        """Answer, unless somebody already did."""
        if not self.over:
            self.over = True
            self.done(self, result)


@dataclass(frozen=True)
class Limits:
    """How requests are joined and how long they may wait.

    Attributes:
        batch: rows in one run.
        delay: seconds the first request of a batch may wait for others while the model is idle; at 0 only what
            waits already is joined.
        queue: requests waiting.
        timeout: seconds a request may wait and run.
        workers: runs at once.
        rows: rows in one run of a single request; a larger request runs in pieces, so that its activations need no
            more memory than a batch's (only where ``profile.joins``).
    """

    batch: int
    delay: float
    queue: int
    timeout: float
    workers: int
    rows: int = 1 << 62


TICK: Final = 0.05
"""Seconds, at least, between two looks for requests that waited too long, while any wait; or 1% of what they may."""


@dataclass(eq=False)
class Batcher:
    """The queue of one model. ``profile.on_loop`` decides where it runs."""

    runner: Runner
    profile: Profile
    limits: Limits
    observer: Observer
    clock: Callable[[], float] = time.perf_counter
    _waiting: deque[Work] = field(default_factory=deque)
    _running: set[Work] = field(default_factory=set)
    _busy: int = 0
    _scheduled: asyncio.Handle | None = None
    _sweeping: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Batches that the threads may have. One that would be joined with others is not sent ahead of its time.
        ahead = self.limits.workers if self.limits.batch == 1 and not self.profile.on_loop else 0
        self._room = self.limits.workers + ahead
        # Not oftener than it matters: beside a model that fills the caches each look costs 50 µs.
        self._tick = max(TICK, self.limits.timeout / 100)
        self._threads = ThreadPoolExecutor(self.limits.workers, thread_name_prefix="run")

    @property
    def waiting(self) -> int:
        """Requests in the queue, and those (of a batch of their own) that a thread has beside it."""
        return len(self._waiting) + max(0, self._busy - self.limits.workers)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self._waiting and not self._busy

    def check(self) -> None:
        """Refuse early, before a body is parsed.

        What a free thread is about to take does not wait: however many requests come within one turn of the loop, it
        takes as many as it would one after the other.

        Raises:
            QueueFullError: the queue is full.
        """
        waiting = len(self._waiting) + self._busy - self.limits.workers
        if waiting >= self.limits.queue:
            runs = math.ceil(waiting / max(1, self.limits.workers * self.limits.batch))
            raise QueueFullError(max(1, math.ceil(runs * self.profile.batch_seconds)))

    def submit(self, arrays: list[Array], rows: int, tails: tuple[tuple[int, ...], ...] | None, done: Done) -> Work:
        """Queue a request; ``done`` is called later, never from within this call.

        Raises:
            QueueFullError: the queue is full.
        """
        self.check()
        work = Work(arrays, rows, tails, done, self.clock())
        self._waiting.append(work)
        if self._busy < self._room:
            if self._scheduled is None:
                # Not at once: the loop first reads what other connections sent meanwhile, and they share the run.
                self._schedule(self.limits.delay)
            elif self.limits.delay > 0 and len(self._waiting) >= self.limits.batch:
                self._scheduled.cancel()
                self._schedule(0)
        if self._sweeping is None and (self._busy or not self.profile.on_loop):
            self._sweeping = self._loop.call_later(self._tick, self._sweep)
        return work

    def cancel(self, work: Work) -> None:
        """The client is gone: a waiting request will not run; a running one's outputs are thrown away."""
        work.over = True
        with suppress(ValueError):
            self._waiting.remove(work)

    def close(self) -> None:
        """Stop the threads; runs that began are waited for."""
        for handle in (self._scheduled, self._sweeping):
            if handle is not None:
                handle.cancel()
        self._threads.shutdown(wait=True)

    def _schedule(self, delay: float) -> None:
        if delay > 0:
            self._scheduled = self._loop.call_later(delay, self._dispatch)
        else:
            self._scheduled = self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = None
        while self._waiting and self._busy < self._room:
            now = self.clock()
            works = self._take(now)
            if not works:
                return
            if self.profile.fits_loop(sum(w.rows for w in works)):
                self._begun(works, now)
                self._settle(works, self._run(works))
            else:
                self._busy += 1
                self._running.update(works)
                self._threads.submit(self._run_in_thread, works)

    def _take(self, now: float) -> list[Work]:
        """The next batch from the front of the queue: requests of equal tails, up to the largest batch."""
        works: list[Work] = []
        rows = 0
        while self._waiting:
            work = self._waiting[0]
            if works and (rows + work.rows > self.limits.batch or work.tails != works[0].tails):
                break
            self._waiting.popleft()
            if work.over:
                continue
            if now - work.since > self.limits.timeout:
                work.finish(RunTimeoutError())
                continue
            works.append(work)
            rows += work.rows
        return works

    def _begun(self, works: list[Work], when: float) -> None:
        self.observer.batch(sum(w.rows for w in works), [when - w.since for w in works])

    def _run_in_thread(self, works: list[Work]) -> None:
        begun: float | None = self.clock()
        results: list[list[Array] | Exception]
        if all(w.over for w in works):  # their clients left, or got a timeout, while they lay beside the thread
            begun, results = None, [RunTimeoutError()] * len(works)
        else:
            results = self._run(works)
        self._loop.call_soon_threadsafe(self._back, works, begun, results)

    def _back(self, works: list[Work], begun: float | None, results: list[list[Array] | Exception]) -> None:
        self._busy -= 1
        if begun is not None:
            self._begun(works, begun)
        self._running.difference_update(works)
        self._settle(works, results)
        if self._waiting and self._scheduled is None:
            self._dispatch()

    def _settle(self, works: list[Work], results: list[list[Array] | Exception]) -> None:
        for work, result in zip(works, results, strict=True):
            work.finish(result)

    def _run(self, works: list[Work]) -> list[list[Array] | Exception]:
        """One result a request. Any thread. Never raises."""
        try:
            if len(works) == 1:
                outputs = self._run_single(works[0])
                works[0].invalid = self._observe(outputs) is not None
                return [outputs]
            return list(self._run_joined(works))
        except ModelRunError as error:
            if len(works) > 1:  # one request must not spoil the others' answers
                return [result for work in works for result in self._run([work])]
            return [self._blame(error)]
        except RunTimeoutError as error:
            return [error] * len(works)
        except Exception as error:
            log.exception("a run failed in an unexpected way")
            return [error] * len(works)

    def _run_single(self, work: Work) -> list[Array]:
        step = self.limits.rows
        if work.rows <= step or not self.profile.joins:
            return self.runner.run(work.arrays)
        pieces: list[list[Array]] = []
        for start in range(0, work.rows, step):
            if work.over:  # its client is gone, or got a timeout
                raise RunTimeoutError
            piece = self.runner.run([a[start : start + step] for a in work.arrays])
            if any(len(o) != min(step, work.rows - start) for o in piece):
                raise ModelRunError(f"{min(step, work.rows - start)} rows went in and {len(piece[0])} came out")
            pieces.append(piece)
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]

    def _run_joined(self, works: list[Work]) -> list[list[Array]]:
        joined = [np.concatenate(parts) for parts in zip(*(w.arrays for w in works), strict=True)]
        outputs = self.runner.run(joined)
        total = joined[0].shape[0]
        for output in outputs:
            if output.shape[0] != total:
                raise ModelRunError(f"{total} rows went in and {output.shape[0]} came out")
        invalid = self._observe(outputs)
        results: list[list[Array]] = []
        start = 0
        for work in works:
            end = start + work.rows
            results.append([o[start:end] for o in outputs])
            work.invalid = invalid is not None and bool(invalid[start:end].any())
            start = end
        return results

    def _observe(self, outputs: list[Array]) -> Array | None:
        try:
            return self.observer.outputs(outputs)
        except Exception:
            log.exception("outputs could not be counted")
            return None

    def _blame(self, error: ModelRunError) -> Exception:
        """The input's fault, if the model still runs on what it was warmed up with; else the model's."""
        try:
            self.runner.run(self.runner.zeros(1, self.profile.free))
        except ModelRunError as own:
            return BrokenModelError(str(own))
        return BadInputError(str(error))

    def _sweep(self) -> None:
        """Answer those that waited or ran too long. The queue is in order of arrival, so its front is the oldest."""
        self._sweeping = None
        border = self.clock() - self.limits.timeout
        while self._waiting and self._waiting[0].since < border:
            self._waiting.popleft().finish(RunTimeoutError())
        for work in [w for w in self._running if w.since < border]:
            work.finish(RunTimeoutError())
        if self._waiting or self._running:
            self._sweeping = self._loop.call_later(self._tick, self._sweep)
