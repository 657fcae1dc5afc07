"""What a shadow asks whom and when, and what it counts: with peers that are a few lines, and a clock that is moved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.contract import Signature, Tensor
from slipway_server import shadow as module
from slipway_server.agreement import Judge, Tolerance
from slipway_server.answers import MAX_ANSWERS, MAX_ID, MAX_IDS, Reply, Ring, read_reply
from slipway_server.examples import Examples
from slipway_server.peers import Address, PeerError
from slipway_server.shadow import AGES, MAX_INPUTS, ROUNDS, Shadow
from slipway_server.signature import Array, Plan

PLAN = Plan.of(Signature([Tensor("x", "FP32", [-1, 1])], [Tensor("y", "FP32", [-1])]))
LAST = AGES[-1]


def numbers(*values: float) -> list[Array]:
    return [np.array(values, dtype=np.float32)]


@dataclass
class Peer:
    """A server that keeps what it answered; ``broken``: it cannot be asked."""

    ring: Ring = field(default_factory=lambda: Ring(PLAN.outputs, 0.0))
    broken: bool = False
    questions: list[list[bytes]] = field(default_factory=list)

    def answered(self, request_id: bytes, code: int, *values: float) -> None:
        self.ring.answered(request_id, code, numbers(*values) if values else None, None, 0.0)


@dataclass
class World:
    """A shadow and its peers."""

    directory: Path
    peers: dict[Address, Peer] = field(default_factory=lambda: {("10.0.0.1", 9091): Peer()})
    now: float = 100.0
    examples: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        judge = Judge(PLAN.outputs, Tolerance(0.1, 0.0))
        kept = Examples(self.directory, self.examples)
        self.shadow = Shadow(PLAN, judge, kept, lambda: self.now)

    @property
    def peer(self) -> Peer:
        return next(iter(self.peers.values()))

    async def addresses(self) -> tuple[Address, ...]:
        return tuple(self.peers)

    async def ask(self, address: Address, ids: Sequence[bytes]) -> Reply:
        peer = self.peers[address]
        peer.questions.append(list(ids))
        if peer.broken:
            raise PeerError("it is gone")
        return read_reply(peer.ring.reply([i.decode() for i in ids], self.now), len(ids))

    def close(self) -> None:
        self.closed = True

    def answered(self, request_id: bytes | None, code: int, *values: float, inputs: list[Array] | None = None) -> None:
        self.shadow.answered(request_id, code, numbers(*values) if values else None, inputs, self.now)

    async def after(self, *ages: float) -> None:
        """A round at each of these ages of what was answered at 100."""
        for age in ages:
            self.now = 100.0 + age
            await self.shadow.tick(self)

    @property
    def counts(self) -> dict[str, int]:
        """Zeros left out."""
        counts = self.shadow.counts
        every = {"compared": counts.compared, "unmatched": counts.unmatched, **counts.disagreed, **counts.uncompared}
        return {name: count for name, count in every.items() if count}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_peers_are_asked_even_if_nothing_is_due_so_that_they_keep_their_answers(world: World) -> None:
    world.peer.ring.sweep(100.0)
    assert not world.peer.ring.open
    await world.after(0)
    assert world.peer.ring.open
    assert world.peer.questions == [[]]


async def test_an_answer_is_compared_once_it_had_time_to_be_given_on_both_sides(world: World) -> None:
    world.answered(b"a", 200, 1.0)
    world.peer.answered(b"a", 200, 1.05)
    await world.after(0.4)
    assert world.counts == {}
    await world.after(0.6)
    assert world.counts == {"compared": 1}
    assert len(world.shadow) == 0
    await world.after(2, LAST)
    assert world.counts == {"compared": 1}


async def test_a_primary_that_is_slower_than_its_copy_is_found_later(world: World) -> None:
    world.answered(b"a", 200, 1.0)
    await world.after(0.5, 1.5, 3.5)
    world.peer.answered(b"a", 200, 2.0)
    await world.after(5)
    assert world.counts == {}
    await world.after(7.5)
    assert world.counts == {"compared": 1, "numeric": 1}


async def test_what_nobody_knows_is_unmatched_after_the_last_try(world: World) -> None:
    world.answered(b"a", 200, 1.0)
    await world.after(*AGES[:-1], LAST - 0.1)
    assert world.counts == {}
    await world.after(LAST)
    assert world.counts == {"unmatched": 1}
    assert len(world.shadow) == 0
    assert [q for q in world.peer.questions if q] == [[b"a"]] * len(AGES)


async def test_without_peers_it_closes_and_opens_again_with_them(world: World) -> None:
    world.answered(b"a", 200, 1.0)
    before = dict(world.peers)
    world.peers.clear()
    await world.after(*AGES)
    assert world.counts == {"unmatched": 1}
    assert not world.shadow.open
    world.peers.update(before)
    await world.after(LAST + 1)
    assert world.shadow.open


async def test_each_peer_is_asked_and_one_that_is_gone_harms_nobody(world: World) -> None:
    world.peers[("10.0.0.0", 9091)] = gone = Peer(broken=True)
    world.peers[("10.0.0.2", 9091)] = third = Peer()
    world.answered(b"a", 200, 1.0)
    world.answered(b"b", 200, 1.0)
    world.peer.answered(b"a", 200, 1.0)
    third.answered(b"b", 200, 2.0)
    await world.after(0.5)
    assert world.counts == {"compared": 2, "numeric": 1}
    assert len(gone.questions) == 1


async def test_a_peer_without_an_answer_is_left_alone_for_the_rest_of_the_round(world: World) -> None:
    world.peer.broken = True
    for number in range(3 * MAX_IDS):
        world.answered(b"%d" % number, 200, 1.0)
    await world.after(1)
    assert len(world.peer.questions) == 1
    await world.after(2)
    assert len(world.peer.questions) == 2


Answers = list[tuple[int, tuple[float, ...]]]
TWO_PEERS: dict[str, tuple[Answers, dict[str, int]]] = {
    "a retry that went well is what the client got": ([(503, ()), (200, (1.0,))], {"compared": 1}),
    "and in the other order": ([(200, (1.0,)), (500, ())], {"compared": 1}),
    "a request that failed twice says nothing": ([(503, ()), (500, ())], {"unanswered": 1}),
    "one id and two answers are two requests": ([(200, (1.0,)), (200, (1.0,))], {"repeated": 1}),
    "a refusal is an answer": ([(422, ()), (503, ())], {"compared": 1, "error": 1}),
}


@pytest.mark.parametrize("sentence", TWO_PEERS)
async def test_an_id_at_two_peers(sentence: str, world: World) -> None:
    answers, counted = TWO_PEERS[sentence]
    world.peers[("10.0.0.2", 9091)] = Peer()
    for peer, (code, values) in zip(world.peers.values(), answers, strict=True):
        peer.answered(b"a", code, *values)
    world.answered(b"a", 200, 1.0)
    await world.after(*AGES)
    assert world.counts == counted


async def test_a_good_answer_that_comes_after_a_peers_fault_is_waited_for(world: World) -> None:
    world.answered(b"a", 200, 1.0)
    world.peer.answered(b"a", 503)
    await world.after(0.5)
    assert world.counts == {}
    world.peer.answered(b"a", 200, 1.0)
    await world.after(1.5)
    assert world.counts == {"compared": 1}


async def test_a_request_counts_once_whatever_it_is(world: World) -> None:
    world.answered(None, 200, 1.0)
    world.answered(b"x" * (MAX_ID + 1), 200, 1.0)
    world.answered(b"twice", 200, 1.0)
    world.answered(b"twice", 200, 1.0)
    world.answered(b"mine", 503)
    world.answered(b"theirs", 200, 1.0)
    for name in (b"twice", b"mine"):
        world.peer.answered(name, 200, 1.0)
    world.peer.answered(b"theirs", 503)
    await world.after(*AGES)
    assert world.counts == {"unidentified": 2, "repeated": 2, "compared": 1, "error": 1, "unanswered": 1}


async def test_what_waits_is_bounded_in_number_and_in_bytes(world: World) -> None:
    for number in range(MAX_ANSWERS + 7):
        world.answered(b"%d" % number, 422)
    assert len(world.shadow) == MAX_ANSWERS
    assert world.counts == {"overflow": 7}
    world.shadow.limit = 1
    world.answered(b"more", 200, 1.0)
    assert world.counts == {"overflow": 8}


async def test_what_a_round_asks_is_bounded_and_the_rest_comes_next(world: World) -> None:
    for number in range(MAX_IDS * ROUNDS + 3):
        world.answered(b"%d" % number, 200, 1.0)
        world.peer.answered(b"%d" % number, 200, 1.0)
    await world.after(1)
    assert world.counts == {"compared": MAX_IDS * ROUNDS}
    await world.after(2)
    assert world.counts == {"compared": MAX_IDS * ROUNDS + 3}
    assert max(map(len, world.peer.questions)) == MAX_IDS


async def test_comparing_lets_others_have_their_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", -1.0)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    for number in range(100):
        world.answered(b"%d" % number, 200, 1.0)
        world.peer.answered(b"%d" % number, 200, 1.0)
    task = asyncio.create_task(others())
    await world.after(1)
    task.cancel()
    assert world.counts == {"compared": 100}
    assert turns > 100


async def test_a_fault_while_asking_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(address: Address, ids: Sequence[bytes]) -> Reply:
        raise ZeroDivisionError

    world.answered(b"a", 200, 1.0)
    world.peer.answered(b"a", 200, 1.0)
    with monkeypatch.context() as patched:
        patched.setattr(world, "ask", fails)
        with pytest.raises(ExceptionGroup):
            await world.after(0.5)
    await world.after(1.5)
    assert world.counts == {"compared": 1}


async def test_an_answer_that_cannot_be_judged_is_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(world.shadow._judge, "judge", fails)
    world.answered(b"a", 200, 1.0)
    world.peer.answered(b"a", 200, 1.0)
    await world.after(0.5)
    assert world.counts == {"incomparable": 1}


async def test_it_goes_on_after_a_round_that_failed_and_ends_with_its_peers_closed(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = 0
    pauses: list[float] = []
    done = asyncio.Event()

    async def tick(peers: World) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise ZeroDivisionError
        if rounds == 10:
            done.set()
        world.shadow.open = rounds < 4

    async def at_once(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    real = asyncio.sleep
    monkeypatch.setattr(world.shadow, "tick", tick)
    monkeypatch.setattr(asyncio, "sleep", at_once)
    task = asyncio.create_task(world.shadow.run(world))
    async with asyncio.timeout(10):
        await done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "a round of comparisons failed" in caplog.text
    assert world.closed
    assert pauses[:9] == [1, 1, 1, 2, 4, 8, 16, 30, 30]


# ------------------------------------------------------------------------------------------------------ examples


async def disagreeing(world: World, *ids: bytes, inputs: list[Array] | None = None) -> None:
    """Requests that disagree, one round each."""
    for request_id in ids:
        world.shadow.answered(request_id, 200, numbers(1.0), inputs or numbers(3.0), world.now)
        world.peer.answered(request_id, 200, 2.0)
        world.now += 1
        await world.shadow.tick(world)
        if world.shadow._writing is not None:
            await world.shadow._writing


def examples(world: World) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted((world.directory / "examples").glob("*"))]


async def test_no_example_is_kept_where_none_is_asked_for(world: World) -> None:
    await disagreeing(world, b"a")
    assert world.counts == {"compared": 1, "numeric": 1}
    assert examples(world) == []
    assert world.shadow._held == 0


async def test_an_example_has_both_answers_and_the_inputs(tmp_path: Path) -> None:
    world = World(tmp_path, examples=2)
    await disagreeing(world, b"a", b"b", b"c")
    first, second = examples(world)
    assert (first["requestId"], second["requestId"]) == ("a", "b")
    del first["time"]
    assert first == {
        "requestId": "a",
        "kind": "numeric",
        "own": {"status": 200, "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [1.0]}]},
        "peer": {
            "address": "10.0.0.1",
            "status": 200,
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [2.0]}],
        },
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [3.0]}],
    }
    assert world.shadow._held == 0


async def test_inputs_are_held_within_a_bound_and_large_ones_are_left_out(tmp_path: Path) -> None:
    world = World(tmp_path, examples=5)
    large = [np.zeros(MAX_INPUTS // 4 + 1, dtype=np.float32)]
    await disagreeing(world, b"large", inputs=large)
    [kept] = examples(world)
    assert "inputs" not in kept
    assert str(MAX_INPUTS) in kept["inputsLeftOut"]
    full = [np.zeros(MAX_INPUTS // 4, dtype=np.float32)]
    for number in range(20):
        world.shadow.answered(b"%d" % number, 200, numbers(1.0), full, world.now)
    assert world.shadow._held == module.MAX_HELD_INPUTS
    world.now += LAST
    for _ in AGES:
        await world.shadow.tick(world)
    assert world.shadow._held == 0


async def test_a_full_disk_is_said_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, examples=5)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Examples, "keep", full)
    await disagreeing(world, b"a", b"b")
    assert world.counts == {"compared": 2, "numeric": 2}
    assert "an example could not be kept" in caplog.text
