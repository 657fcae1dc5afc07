"""What a server keeps of its answers, for how long, and how it tells them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from slipway.contract import Tensor
from slipway_server.answers import (
    KEEP,
    MAX_ANSWERS,
    MAX_ID,
    MAX_IDS,
    MAX_REPLY,
    OVERHEAD,
    REPEATED,
    SAMPLE,
    Reply,
    ReplyError,
    Ring,
    elements,
    question,
    read_question,
    read_reply,
    summarise,
)
from slipway_server.signature import Array, TensorPlan

OUTPUTS = (TensorPlan.of(Tensor("y", "FP32", [-1, 2])),)


def row(*values: float) -> Array:
    return np.array([values], dtype=np.float32)


def ring(limit: int = 1 << 20) -> Ring:
    """A ring that was made at 0 s."""
    return Ring(OUTPUTS, 0.0, limit)


def asked(made: Ring, *ids: str, now: float = 1.0) -> Reply:
    return read_reply(made.reply(ids, now), len(ids))


def test_what_was_answered_is_told_by_id() -> None:
    made = ring()
    made.answered(b"a", 200, [row(1, 2)], None, 0.0)
    made.answered(b"b", 422, None, None, 0.0)
    reply = asked(made, "x", "b", "a")
    assert reply.outputs == (("y", "FP32"),)
    assert reply.seen == 3
    assert reply.answers == {1: (422, (), ()), 2: (200, ((1, 2),), (row(1, 2).tobytes(),))}


def test_it_closes_after_nobody_asked_for_long() -> None:
    made = ring()
    made.reply([], 10.0)
    made.answered(b"a", 200, [row(1, 2)], None, 10.0 + KEEP)
    made.sweep(10.0 + KEEP)
    assert (made.open, len(made)) == (True, 1)
    made.sweep(10.1 + KEEP)
    assert (made.open, len(made), made.bytes) == (False, 0, 0)
    made.reply([], 200.0)
    assert made.open


def test_it_is_open_from_the_start_for_a_shadow_that_has_not_found_it_yet() -> None:
    made = ring()
    made.sweep(KEEP)
    assert made.open
    made.sweep(KEEP + 1)
    assert not made.open


def test_an_answer_is_kept_for_a_time() -> None:
    made = ring()
    for second in (0.0, 1.0, 2.0):
        made.answered(b"%d" % second, 200, [row(1, 2)], None, second)
    made.reply([], KEEP)
    made.sweep(KEEP + 1.5)
    assert set(asked(made, "0", "1", "2").answers) == {2}


def test_the_oldest_leave_when_there_are_too_many_bytes() -> None:
    size = OVERHEAD + 1 + 8
    made = ring(limit=3 * size)
    for name in (b"a", b"b", b"c", b"d"):
        made.answered(name, 200, [row(1, 2)], None, 0.0)
    assert made.bytes == 3 * size
    assert set(asked(made, "a", "b", "c", "d").answers) == {1, 2, 3}


def test_the_oldest_leave_when_there_are_too_many() -> None:
    made = ring(limit=1 << 40)
    for number in range(MAX_ANSWERS + 5):
        made.answered(b"%d" % number, 422, None, None, 0.0)
    assert len(made) == MAX_ANSWERS
    assert set(asked(made, "4", "5").answers) == {1}


def test_what_is_not_kept() -> None:
    made = ring(limit=1 << 40)
    many = [np.zeros((1, SAMPLE), dtype=np.float64)] * (MAX_REPLY // 8 // SAMPLE)
    made.answered(None, 200, [row(1, 2)], None, 0.0)
    made.answered(b"x" * (MAX_ID + 1), 200, [row(1, 2)], None, 0.0)
    made.answered(b"large", 200, many, None, 0.0)
    assert (len(made), made.bytes) == (0, 0)


@pytest.mark.parametrize(
    ("codes", "kept"),
    [
        ((503, 200), 200),
        ((200, 503), 200),
        ((503, 504), 504),
        ((200, 200), REPEATED),
        ((200, 200, 503), REPEATED),
        ((200, 503, 200), REPEATED),
        ((422, 422), 422),
    ],
    ids=str,
)
def test_an_id_that_comes_again_is_a_gateways_retry_or_says_nothing(codes: tuple[int, ...], kept: int) -> None:
    made = ring()
    for code in codes:
        made.answered(b"a", code, [row(1, 2)] if code == 200 else None, None, 0.0)
    assert asked(made, "a").answers[0][0] == kept
    assert len(made) == 1
    assert made.bytes == OVERHEAD + 1 + (8 if kept == 200 else 0)


def test_a_reply_has_a_bound_and_says_how_far_it_came() -> None:
    made = ring(limit=1 << 40)
    wide = np.zeros((1, SAMPLE), dtype=np.float32)
    ids = [f"{n}" for n in range(200)]
    for name in ids:
        made.answered(name.encode(), 200, [wide], None, 0.0)
    body = made.reply(ids, 0.0)
    first = read_reply(body, len(ids))
    assert len(body) < MAX_REPLY + 20_000
    assert 0 < first.seen < 200
    seen, rounds = 0, 0
    while seen < 200:
        seen += asked(made, *ids[seen:]).seen
        rounds += 1
    assert rounds == math.ceil(200 / first.seen)


KEPT: dict[str, tuple[tuple[int, ...], int]] = {
    "a scalar": ((), 1),
    "nothing": ((0, 10), 0),
    "few": ((8, 10), 80),
    "as many as are kept": ((1, SAMPLE), SAMPLE),
    "many rows: whole ones": ((5000, 10), 1020),
    "an image: single elements": ((1, 3, 224, 224), SAMPLE),
    "one long row": ((100_000,), SAMPLE),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_is_kept_of_an_output_is_bounded_and_follows_from_its_shape(case: str) -> None:
    shape, kept = KEPT[case]
    array = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    [found_shape], [piece] = summarise([array])
    assert (found_shape, elements(shape), len(piece)) == (shape, kept, 8 * kept)
    again = summarise([array + 1])[1][0]
    assert (np.frombuffer(again, np.int64) - np.frombuffer(piece, np.int64) == 1).all()


def test_whole_rows_are_kept_in_order_from_everywhere() -> None:
    rows = np.arange(5000)
    array = np.stack([rows, rows], axis=1)
    kept = np.frombuffer(summarise([array])[1][0], np.int64).reshape(-1, 2)
    assert (kept[:, 0] == kept[:, 1]).all()
    assert (np.diff(kept[:, 0]) > 0).all()
    assert kept[0, 0] < 20
    assert kept[-1, 0] > 4980


def test_of_texts_hashes_are_kept() -> None:
    one, same, other = (summarise([np.array([[t]], dtype=object)])[1][0] for t in ("cat", "cat", "dog"))
    assert len(one) == 8
    assert one == same != other
    assert b"cat" not in one


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=12)))
def test_what_is_told_is_what_was_kept(array: Array) -> None:
    made = ring()
    made.answered(b"a", 200, [array], None, 0.0)
    shapes, pieces = summarise([array])
    assert asked(made, "a").answers[0] == (200, shapes, pieces)


WRONG: dict[str, bytes] = {
    "no JSON": b"x",
    "a list": b"[]",
    "another version": orjson.dumps({"v": 2, "ids": []}),
    "no ids": orjson.dumps({"v": 1}),
    "numbers": orjson.dumps({"v": 1, "ids": [1]}),
    "too many": orjson.dumps({"v": 1, "ids": ["a"] * (MAX_IDS + 1)}),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_question_is_refused(case: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|expected|must be"):
        read_question(WRONG[case])


def test_any_bytes_may_be_an_id() -> None:
    every = bytes(range(1, 256))[:MAX_ID]
    made = ring()
    made.answered(every, 422, None, None, 0.0)
    assert 0 in read_reply(made.reply(read_question(question([every])), 0.0), 1).answers
    assert made.reply(["\u4e2d"], 0.0)  # no header can hold it


def told(**changes: Any) -> bytes:
    document = {"v": 1, "seen": 1, "outputs": [["y", "FP32"]], "answers": [[0, 200, [[1, 2]]]], **changes}
    head = orjson.dumps(document)
    return len(head).to_bytes(4, "little") + head


GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "a length and nothing": b"\xff\xff\xff\xff",
    "too short": told() + bytes(7),
    "too long": told() + bytes(9),
    "another version": told(v=2) + bytes(8),
    "none looked for": told(seen=0, answers=[]),
    "more looked for than asked": told(seen=2) + bytes(8),
    "an unknown datatype": told(outputs=[["y", "BF16"]]) + bytes(8),
    "a name that is a number": told(outputs=[[1, "FP32"]]) + bytes(8),
    "a place that was not asked for": told(answers=[[1, 200, [[1, 2]]]]) + bytes(8),
    "a negative dimension": told(answers=[[0, 200, [[-1, 2]]]]) + bytes(8),
    "a shape that no tensor has": told(answers=[[0, 200, [[1 << 40, 1 << 40]]]]) + bytes(8),
    "a rank that no tensor has": told(answers=[[0, 200, [[1] * 100]]]) + bytes(8),
    "outputs that are missing": told(outputs=[["y", "FP32"], ["z", "FP32"]]) + bytes(8),
    "a status that is none": told(answers=[[0, "200", [[1, 2]]]]) + bytes(8),
    "no answers": told(answers=None) + bytes(8),
    "a list": b"\x02\0\0\0[]",
}


def test_the_garbage_is_made_from_something_good() -> None:
    assert read_reply(told() + bytes(8), 1).answers == {0: (200, ((1, 2),), (bytes(8),))}


@pytest.mark.parametrize("case", GARBAGE)
def test_a_reply_is_not_trusted(case: str) -> None:
    with pytest.raises(ReplyError):
        read_reply(GARBAGE[case], 1)


@given(st.binary(max_size=300), st.integers(0, 200))
def test_no_bytes_do_more_than_make_no_sense(noise: bytes, place: int) -> None:
    body = bytearray(told() + bytes(8))
    body[place % len(body) : place % len(body) + len(noise)] = noise
    try:
        reply = read_reply(bytes(body), 1)
    except ReplyError:
        return
    assert set(reply.answers) <= {0}
