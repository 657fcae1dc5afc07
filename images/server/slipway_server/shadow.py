"""What a shadow does beside answering: it looks up what the client got, compares, and counts.

    answered ──> pending ──asked at 0.5, 1.5, 3.5, 7.5 and 15.5 s──> found ──> judged: compared, disagreed, uncompared
                    │                                      └──never──> unmatched
                    └ no room: uncompared (overflow)

The copy may be answered before the client's own request, hence the tries. All of it is one task on the event loop that
yields every millisecond, so that the shadow's own latencies, which a rollout compares, are its model's. Nothing of it
is awaited by a request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from slipway_server import codec_json
from slipway_server.agreement import (
    AGREED,
    INCOMPARABLE,
    KINDS,
    OVERFLOW,
    REPEATED_ID,
    UNANSWERED,
    UNIDENTIFIED,
    Judge,
)
from slipway_server.answers import (
    MAX_ANSWERS,
    MAX_BYTES,
    MAX_ID,
    MAX_IDS,
    MAX_REPLY,
    OVERHEAD,
    Summary,
    elements,
    summarise,
)
from slipway_server.examples import Examples
from slipway_server.metrics import Counts
from slipway_server.peers import Address, PeerError, Peers
from slipway_server.signature import BYTES, DTYPES, Array, Plan
from slipway_server.threads import in_thread

log = logging.getLogger("slipway.server")

AGES: Final = (0.5, 1.5, 3.5, 7.5, 15.5)
"""Seconds after its answer at which a request is looked up; after the last one it is unmatched."""
UNMATCHED: Final = "unmatched"
TICK: Final = 1.0
"""Seconds between two rounds of questions."""
SLEEP: Final = 30.0
"""Seconds between two looks for peers, at most, while there are none: a shadow that was promoted keeps its spec."""
ROUNDS: Final = 16
"""Questions a tick and peer: so many times ``MAX_IDS`` requests a second can be compared; beyond it they overflow."""
MAX_ROUND: Final = 1024 * 1024
"""Bytes of this server's own answers in one question, so that what comes back is no more than a few times that."""
MAX_REPLIES: Final = 16
"""Replies of one peer to one question, each with as much as fits; what is left over is asked for another time."""
AT_ONCE: Final = 8
"""Peers asked at the same time."""
SLICE: Final = 0.001
"""Seconds of comparing before others on the event loop have their turn."""
MAX_INPUTS: Final = 1024 * 1024
"""Bytes of inputs kept for one example."""
MAX_HELD_INPUTS: Final = 4 * 1024 * 1024
"""Bytes of inputs held for requests that may yet become examples."""


@dataclass(eq=False, slots=True)
class Pending:
    """A request that was answered here and not compared yet.

    Attributes:
        size: bytes it takes.
        tries: how often it was looked up.
        inputs: for an example; None where none is wanted or there was no room.
        faulty: a peer knows it, as answered with a fault of its own; another peer may have answered it well.
    """

    summary: Summary
    since: float
    size: int
    inputs: list[Array] | None
    held: int
    tries: int = 0
    repeated: bool = False
    faulty: bool = False


@dataclass(frozen=True)
class _Found:
    """An answer at a peer."""

    address: Address
    summary: Summary
    outputs: tuple[tuple[str, str], ...]


class Shadow:
    """Compares the answers of this server with those of its peers.

    Attributes:
        open: whether there are peers to compare with; see ``oip.Listener``.
        counts: what came of it.
        limit: bytes that pending requests may take.
    """

    def __init__(
        self,
        plan: Plan,
        judge: Judge,
        examples: Examples,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.open = True
        self.counts = Counts()
        self.limit = MAX_BYTES
        self._plan = plan
        self._judge = judge
        self._examples = examples
        self._clock = clock
        self._pending: OrderedDict[bytes, Pending] = OrderedDict()
        self._bytes = 0
        self._held = 0
        self._due: tuple[deque[bytes], ...] = tuple(deque() for _ in AGES)
        self._silent: frozenset[Address] = frozenset()
        self._writing: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._pending)

    def answered(
        self,
        request_id: bytes | None,
        code: int,
        outputs: list[Array] | None,
        inputs: list[Array] | None,
        now: float,
    ) -> None:
        """See ``oip.Listener``."""
        uncompared = self.counts.uncompared
        if request_id is None or len(request_id) > MAX_ID:
            uncompared[UNIDENTIFIED] += 1
            return
        twin = self._pending.get(request_id)
        if twin is not None:
            twin.repeated = True
            uncompared[REPEATED_ID] += 1
            return
        summary: Summary = (code, (), ()) if outputs is None else (code, *summarise(outputs))
        size = OVERHEAD + len(request_id) + sum(map(len, summary[2]))
        if size > MAX_REPLY or self._bytes + size > self.limit or len(self._pending) >= MAX_ANSWERS:
            uncompared[OVERFLOW] += 1
            return
        entry = Pending(summary, now, size, None, 0)
        if inputs is not None and self._examples.wanted:
            self._hold(entry, inputs)
        self._pending[request_id] = entry
        self._bytes += size
        self._due[0].append(request_id)

    async def run(self, peers: Peers) -> None:
        """Until cancelled. Whatever goes wrong is logged, and tried again; without peers, less and less often."""
        pause = TICK
        try:
            while True:
                begun = self._clock()
                try:
                    await self.tick(peers)
                except Exception:
                    log.exception("a round of comparisons failed")
                pause = TICK if self.open or self._pending else min(2 * pause, SLEEP)
                await asyncio.sleep(max(0.05, pause - (self._clock() - begun)))
        finally:
            peers.close()

    async def tick(self, peers: Peers) -> None:
        """Look up, at every peer, what is due. Peers are asked even if nothing is, so that they keep their answers."""
        addresses = await peers.addresses()
        if self.open != bool(addresses):
            self.open = bool(addresses)
            log.info("comparing begins" if self.open else "comparing ends: there are no peers")
        silent: set[Address] = set()
        for number in range(ROUNDS):
            ids = self._take()
            if number and not ids:
                break
            found: dict[bytes, list[_Found]] = {}
            try:
                await self._look_up(peers, ids, [a for a in addresses if a not in silent], silent, found)
            finally:  # whatever happened, what was taken is looked up again or counted
                await self._settle(ids, found)
        if silent != self._silent:
            self._silent = frozenset(silent)
            log.info("peers that a shadow asks", extra={"known": len(addresses), "without_answer": len(silent)})

    # ------------------------------------------------------------------------------------------------- asking

    def _take(self) -> list[bytes]:
        """Ids that are due, the oldest first."""
        now, size = self._clock(), 0
        ids: list[bytes] = []
        for age, due in zip(reversed(AGES), reversed(self._due), strict=True):
            while due and len(ids) < MAX_IDS and size < MAX_ROUND and self._pending[due[0]].since + age <= now:
                size += self._pending[due[0]].size
                ids.append(due.popleft())
        return ids

    async def _look_up(
        self,
        peers: Peers,
        ids: list[bytes],
        addresses: Sequence[Address],
        silent: set[Address],
        found: dict[bytes, list[_Found]],
    ) -> None:
        """Add to ``found`` what the peers know, and to ``silent`` those that did not answer."""
        places = asyncio.Semaphore(AT_ONCE)

        async def ask(address: Address) -> None:
            async with places:
                left = ids
                try:
                    for _ in range(MAX_REPLIES):
                        reply = await peers.ask(address, left)
                        for index, summary in reply.answers.items():
                            found.setdefault(left[index], []).append(_Found(address, summary, reply.outputs))
                        left = left[reply.seen :]
                        if not left:
                            return
                except PeerError as error:
                    silent.add(address)
                    log.debug("a peer gave no answer", extra={"peer": address[0], "error": str(error)})

        async with asyncio.TaskGroup() as group:
            for address in addresses:
                group.create_task(ask(address))

    # ---------------------------------------------------------------------------------------------- comparing

    async def _settle(self, ids: list[bytes], found: dict[bytes, list[_Found]]) -> None:
        begun = self._clock()
        for request_id in ids:
            if self._clock() - begun > SLICE:
                await asyncio.sleep(0)
                begun = self._clock()
            kind, other = self._conclude(request_id, found.get(request_id, []))
            if kind in KINDS and other is not None:
                self._keep_example(request_id, kind, self._pending[request_id], other)
            if kind:
                self._forget(request_id)

    def _conclude(self, request_id: bytes, found: list[_Found]) -> tuple[str, _Found | None]:
        """Count what became of one request; an empty text if it is to be looked up again."""
        entry, counts = self._pending[request_id], self.counts
        entry.tries += 1
        # Where a gateway tried again at another pod, the client got the answer with outputs.
        good = [f for f in found if f.summary[0] < 300]
        refused = [f for f in found if 300 <= f.summary[0] < 499]
        other = next(iter(good or refused), None)
        if other is None:
            entry.faulty = entry.faulty or bool(found)
            if entry.tries < len(AGES):
                self._due[entry.tries].append(request_id)
                return "", None
            if entry.faulty:
                counts.uncompared[UNANSWERED] += 1
                return UNANSWERED, None
            counts.unmatched += 1
            return UNMATCHED, None
        twins = entry.repeated or len(good) > 1
        outcome = REPEATED_ID if twins else self._compare(entry, other)
        if outcome in counts.uncompared:
            counts.uncompared[outcome] += 1
        else:
            counts.compared += 1
            if outcome != AGREED:
                counts.disagreed[outcome] += 1
        return outcome, other

    def _compare(self, entry: Pending, other: _Found) -> str:
        try:
            return self._judge.judge(entry.summary, other.summary, other.outputs)
        except Exception:  # what a peer of another release says must not end the comparing
            log.exception("two answers could not be compared")
            return INCOMPARABLE

    def _forget(self, request_id: bytes) -> None:
        entry = self._pending.pop(request_id)
        self._bytes -= entry.size
        self._held -= entry.held

    # ----------------------------------------------------------------------------------------------- examples

    def _hold(self, entry: Pending, inputs: list[Array]) -> None:
        size = sum(_weight(a) for a in inputs)
        if size > MAX_INPUTS:
            entry.inputs = []  # an example without them is better than none
        elif self._held + size <= MAX_HELD_INPUTS:
            entry.inputs, entry.held = inputs, size
            self._held += size

    def _keep_example(self, request_id: bytes, kind: str, entry: Pending, other: _Found) -> None:
        """Write it in a thread, unless one is being written: nothing waits for a disk."""
        examples = self._examples
        if entry.inputs is None or not examples.wanted:
            return
        if self._writing is not None and not self._writing.done():
            return
        document = self._example(request_id, kind, entry, other)

        def write() -> None:
            try:
                examples.keep(codec_json.dumps(document))
            except Exception as error:
                log.warning("an example could not be kept", extra={"error": str(error)})

        self._writing = in_thread("example", write)

    def _example(self, request_id: bytes, kind: str, entry: Pending, other: _Found) -> dict[str, Any]:
        plan = self._plan
        document: dict[str, Any] = {
            "requestId": request_id.decode("latin-1"),
            "kind": kind,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "own": _readable(entry.summary, [(t.name, t.datatype) for t in plan.outputs]),
            "peer": {"address": other.address[0], **_readable(other.summary, other.outputs)},
        }
        if entry.inputs:
            document["inputs"] = [
                {"name": t.name, "datatype": t.datatype, "shape": a.shape, "data": codec_json.write(a)}
                for t, a in zip(plan.inputs, entry.inputs, strict=True)
            ]
        else:
            document["inputsLeftOut"] = f"they have more than {MAX_INPUTS} bytes"
        return document


def _weight(array: Array) -> int:
    if array.dtype.hasobject:
        return sum(64 + 4 * len(text) for text in array.reshape(-1))
    return int(array.nbytes)


def _readable(summary: Summary, outputs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """An answer as a person reads it. ``kept`` says how many of an output's elements there are, if not all."""
    shown: list[dict[str, Any]] = []
    for (name, datatype), shape, piece in zip(outputs, summary[1], summary[2], strict=False):
        dtype = np.dtype("<u8") if datatype == BYTES else DTYPES[datatype]
        document: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        document["hashes" if datatype == BYTES else "data"] = np.frombuffer(piece, dtype)
        if elements(shape) < int(np.prod(shape, dtype=np.int64)):
            document["kept"] = elements(shape)
        shown.append(document)
    return {"status": summary[0], "outputs": shown}
