"""A constant load on one URL, to show that no request is lost: bounded in time and in count, each failure in detail.

Two kinds of clients at once, because they fail differently: a pool of keep-alive connections (which a server or a
gateway closes under them) and fresh connections (which are refused, or land on a pod that is going away).

The load is open: a request is sent when its time has come, whether or not earlier ones were answered. A closed loop
would send less exactly while the service is slow, and would hide it.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp

KEEP_ALIVE = "keep-alive"
FRESH = "fresh"
_POOL = 32
"""Keep-alive connections: so many that a slow moment of a small machine does not make requests wait for each other."""
_WAITING = 600
"""More requests than this under way at once is a service that does not answer: a failure, and no flood."""


@dataclass(frozen=True)
class Answer:
    """One request: when it was sent (``time.monotonic()``), how long it took in seconds, who answered or what went
    wrong. ``empty``: answered, but with a number that is none (JSON has no NaN: the server writes null). ``client``:
    the place in the load's list of whoever asked."""

    at: float
    seconds: float
    kind: str
    version: str | None
    failure: str | None
    empty: bool = False
    client: int = 0


@dataclass(frozen=True)
class Report:
    """What became of the requests between two moments."""

    answers: tuple[Answer, ...]
    seconds: float

    @property
    def failures(self) -> tuple[Answer, ...]:
        return tuple(a for a in self.answers if a.failure is not None)

    @property
    def empty(self) -> Counter[str]:
        """Answers without a number, by version."""
        return Counter(str(a.version) for a in self.answers if a.empty)

    @property
    def versions(self) -> Counter[str]:
        """Answers by version."""
        return Counter(a.version for a in self.answers if a.version is not None)

    def by_client(self) -> dict[int, list[Answer]]:
        """The answers that each client got, by its place in the load's list, in the order in which it asked."""
        made: dict[int, list[Answer]] = {}
        for answer in sorted(self.answers, key=lambda a: a.at):
            if answer.version is not None:
                made.setdefault(answer.client, []).append(answer)
        return made

    def share(self, version: str) -> float:
        """Percent of the answers that this version gave; 0 where nobody answered."""
        total = self.versions.total()
        return 100 * self.versions[version] / total if total else 0.0

    def rate(self, kind: str) -> float:
        """Requests a second of one kind of client."""
        return sum(a.kind == kind for a in self.answers) / self.seconds

    def seconds_at(self, quantile: float) -> float:
        """How long the slowest requests took: 0.5 is the median, 1 the longest of all."""
        times = sorted(a.seconds for a in self.answers)
        return times[min(len(times) - 1, int(quantile * len(times)))] if times else 0.0

    def __str__(self) -> str:
        first = "".join(
            f"\n  {a.kind} connection, {a.at - self.answers[0].at:.2f} s after the start, "
            f"took {a.seconds:.2f} s: {a.failure}"
            for a in self.failures[:10]
        )
        return (
            f"{len(self.answers)} requests in {self.seconds:.0f} s, {len(self.failures)} failed, "
            f"by version {dict(self.versions)}, median {1000 * self.seconds_at(0.5):.0f} ms, "
            f"99% {1000 * self.seconds_at(0.99):.0f} ms, longest {1000 * self.seconds_at(1):.0f} ms{first}"
        )


class Load:
    """A load in the background, for a ``with`` block.

    Args:
        url: where to POST.
        host: the Host header, by which a gateway finds the route.
        body: the inference request, or several that are sent in turn.
        clients: request headers by which clients are told apart; they ask in turn. By default nobody is.
        rate: requests a second for each of the two kinds of clients.
        max_seconds: the load ends by itself after that.
        timeout: seconds until an unanswered request counts as failed.
    """

    def __init__(
        self,
        url: str,
        host: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        clients: Sequence[Mapping[str, str]] = ({},),
        rate: float = 52,
        max_seconds: float = 300,
        timeout: float = 15,
    ) -> None:
        self._clients = tuple(clients)
        self._url, self._host = url, host
        self._bodies = [json.dumps(b).encode() for b in ([body] if isinstance(body, Mapping) else body)]
        self._rate, self._max_seconds, self._timeout = rate, max_seconds, timeout
        self._answers: list[Answer] = []
        self._stop = threading.Event()
        self._begun = self._ended = 0.0
        self._broken: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Load:
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(self._timeout + 30)
        if self._broken is not None and value is None:
            raise self._broken

    def go_on(self, seconds: float) -> None:
        """Ask for so long. That something does not happen can be seen in no other way than by time that passes."""
        time.sleep(seconds)

    def report(self, since: float = 0, until: float = float("inf")) -> Report:
        """What was sent between two moments of ``time.monotonic()``; by default since the start and until now."""
        since = max(since, self._begun)
        # The last requests may be sent a moment after the load has ended: they count, and that moment does not.
        ended = min(until, self._ended or time.monotonic())
        return Report(tuple(a for a in list(self._answers) if since <= a.at <= until), max(ended - since, 0.001))

    def check(self, *, at_least: float = 50) -> Report:
        """The whole load's report.

        Raises:
            AssertionError: a request failed, or fewer were sent each second than promised.
        """
        report = self.report()
        print(f"load: {report}")  # pytest shows it with -rA
        assert report.answers, "the load sent nothing"
        assert not report.failures, f"requests were lost: {report}"
        for kind in (KEEP_ALIVE, FRESH):
            assert report.rate(kind) >= at_least, f"only {report.rate(kind):.1f} {kind} requests a second: {report}"
        return report

    # ------------------------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        try:
            asyncio.run(self._both())
        except BaseException as error:
            self._broken = error
        finally:
            self._ended = self._ended or time.monotonic()

    async def _both(self) -> None:
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_POOL), timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
            ) as pool,
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as fresh,
        ):
            self._begun = time.monotonic()  # a thread and its sessions take a while on a busy machine
            await asyncio.gather(self._pace(pool, KEEP_ALIVE), self._pace(fresh, FRESH))

    async def _pace(self, session: aiohttp.ClientSession, kind: str) -> None:
        under_way: set[asyncio.Task[None]] = set()
        begun = time.monotonic()
        for number in range(int(self._rate * self._max_seconds)):
            due = begun + number / self._rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self._stop.is_set():
                break
            if len(under_way) >= _WAITING:
                self._answers.append(Answer(time.monotonic(), 0, kind, None, f"{_WAITING} requests are waiting"))
                continue
            body = self._bodies[number % len(self._bodies)]
            task = asyncio.create_task(self._one(session, kind, body, number % len(self._clients)))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        self._ended = time.monotonic()
        await asyncio.gather(*under_way)

    async def _one(self, session: aiohttp.ClientSession, kind: str, body: bytes, client: int) -> None:
        sent = time.monotonic()
        version, failure, empty = None, None, False
        try:
            headers = {"Host": self._host, "Content-Type": "application/json", **self._clients[client]}
            async with session.post(self._url, data=io.BytesIO(body), headers=headers) as answer:
                text = await answer.read()
                if answer.status == 200:
                    version = str(json.loads(text)["model_version"])
                    empty = b"null" in text
                else:
                    failure = f"status {answer.status}: {text[:300].decode(errors='replace')}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError) as error:
            failure = f"{type(error).__name__}: {error}"
        self._answers.append(Answer(sent, time.monotonic() - sent, kind, version, failure, empty, client))


def until(load: Load, happened: Callable[[Report], bool], *, seconds: float, what: str) -> Report:
    """Wait until the answers of the last second show something, and return their report.

    Raises:
        AssertionError: they did not within the time.
    """
    deadline = time.monotonic() + seconds
    while True:
        last = load.report(since=time.monotonic() - 1)
        if last.answers and happened(last):
            return last
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s; the last second: {last}"
        time.sleep(0.2)
