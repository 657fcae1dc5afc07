"""What a server answered of late, by request id: kept for a shadow that compares, and only while one asks.

A gateway that mirrors gives the copy the id of the request (``x-request-id``), so that a shadow finds what the client
got at one of the pods that answer clients. It asks them (``POST /answers`` on the metrics port); here is what they keep
and say. An answer is kept as a summary of its outputs, never of its inputs:

    at most SAMPLE elements        all of them
    more, in rows of at most that  whole rows, spread evenly
    more in one row                single elements, spread evenly

Which ones follows from the shape alone, so that two servers keep the same and can be compared. A difference that lies
in between is not seen; a model that differs so seldom is found on another request. Of a text its hash is kept.

``KEEP`` seconds after the last question, or after the start, the ring closes: nothing is kept and nothing is spent. A
shadow asks from its start on, long before it gets its first request; a pod that starts beside a shadow answers before
that shadow learns its address.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import orjson

from slipway_server.signature import BYTES, DTYPES, Array, TensorPlan

SAMPLE: Final = 1024
"""Elements kept of one output. Both sides must have the same; it is part of the protocol's version."""
MAX_ID: Final = 128
"""Bytes of a request id; a longer one is not kept. A gateway's are UUIDs of 36."""
MAX_IDS: Final = 256
"""Ids in one question, so that answering one takes a fraction of a millisecond of the loop that serves clients."""
MAX_QUESTION: Final = 64 * 1024
"""Bytes of one question."""
MAX_REPLY: Final = 256 * 1024
"""Bytes of numbers in one reply; what does not fit is asked for again. A larger answer is not kept."""
KEEP: Final = 60.0
"""Seconds that an answer is kept: longer than a request to the shadow may take after the client's was answered."""
MAX_ANSWERS: Final = 20_000
MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of all answers kept; ``MemoryPlan`` may give less. 500 requests a second of 1,000 numbers each fill it in
7 seconds, and a shadow asks each second."""
OVERHEAD: Final = 512
"""Bytes that an answer takes beside its numbers and its id, rounded up: it was measured to be about 450."""
VERSION: Final = 1
REPEATED: Final = 0
"""In place of a status: the id was answered with outputs more than once, so it says not which request is meant."""

Shape = tuple[int, ...]
Summary = tuple[int, tuple[Shape, ...], tuple[bytes, ...]]
"""Status of an answer; of each output its shape and the numbers kept. A plain tuple: the garbage collector then does
not follow twenty thousand of them."""

_MAX_RANK: Final = 16
_MAX_SIZE: Final = 1 << 53


class ReplyError(ValueError):
    """What came back is no reply to what was asked."""


def summarise(outputs: Sequence[Array]) -> tuple[tuple[Shape, ...], tuple[bytes, ...]]:
    """Shape and kept numbers of each output."""
    return tuple([a.shape for a in outputs]), tuple([_kept(a) for a in outputs])


def elements(shape: Shape) -> int:
    """How many elements are kept of an output of this shape.

    >>> elements((3, 10)), elements((500, 10)), elements((2, 3, 224, 224)), elements(())
    (30, 1020, 1024, 1)
    """
    size = math.prod(shape)
    if size <= SAMPLE:
        return size
    row = size // shape[0]
    return SAMPLE // row * row if row <= SAMPLE else SAMPLE


def _kept(array: Array) -> bytes:
    if array.size > SAMPLE:
        rows = len(array)
        row = array.size // rows
        whole = row <= SAMPLE
        array = array[_spread(rows, SAMPLE // row)] if whole else array.reshape(-1)[_spread(array.size, SAMPLE)]
    if array.dtype.hasobject:
        return b"".join([blake2b(str(text).encode(), digest_size=8).digest() for text in array.reshape(-1)])
    return array.tobytes()


@lru_cache(maxsize=64)
def _spread(size: int, count: int) -> Array:
    """``count`` places below ``size``, one in each of as many equal parts.

    Not every n-th: on an image that would be the same column of each line. The place within a part is Knuth's
    multiplicative hash of the part's number (The Art of Computer Programming, volume 3, 6.4), the same on any machine.

    >>> _spread(8, 8).tolist(), len(set(_spread(10_000, 1024).tolist()))
    ([0, 1, 2, 3, 4, 5, 6, 7], 1024)
    """
    part = np.arange(count + 1, dtype=np.int64) * size // count
    jitter = (np.arange(count, dtype=np.int64) * 2_654_435_761) % (1 << 32)
    places: Array = part[:-1] + (jitter * (part[1:] - part[:-1]) >> 32)
    places.setflags(write=False)
    return places


class Ring:
    """The answers of one server. Belongs to the event loop's thread.

    Attributes:
        open: whether answers are kept, because somebody asked of late or may yet.
        limit: bytes of all that is kept.
    """

    def __init__(self, outputs: tuple[TensorPlan, ...], now: float, limit: int = MAX_BYTES) -> None:
        self.open = True
        self.limit = limit
        self.bytes = 0
        self._outputs = [(t.name, t.datatype) for t in outputs]
        self._asked = now
        self._kept: OrderedDict[bytes, tuple[float, int, Summary]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def answered(
        self,
        request_id: bytes | None,
        code: int,
        outputs: list[Array] | None,
        inputs: list[Array] | None,
        now: float,
    ) -> None:
        """See ``oip.Listener``."""
        if request_id is None or len(request_id) > MAX_ID:
            return
        summary: Summary = (code, (), ()) if outputs is None else (code, *summarise(outputs))
        kept = self._kept
        if request_id in kept:
            before = kept[request_id][2][0]
            had_outputs = before < 300  # REPEATED is, too
            if had_outputs and outputs is None:
                return  # a gateway tried again: what its client got is the answer with outputs
            if had_outputs:
                summary = (REPEATED, (), ())
            self.bytes -= kept.pop(request_id)[1]
        size = OVERHEAD + len(request_id) + sum(map(len, summary[2]))
        if size > MAX_REPLY:
            return
        kept[request_id] = (now, size, summary)
        self.bytes += size
        while self.bytes > self.limit or len(kept) > MAX_ANSWERS:
            self.bytes -= kept.popitem(last=False)[1][1]

    def reply(self, ids: Sequence[str], now: float) -> bytes:
        """What is known of these, as ``read_reply`` reads it; from now on answers are kept."""
        self.open, self._asked = True, now
        found: list[tuple[int, int, tuple[Shape, ...]]] = []
        pieces: list[bytes] = []
        size, seen = 0, len(ids)
        for index, request_id in enumerate(ids):
            kept = self._kept.get(request_id.encode("latin-1", "replace"))
            if kept is None:
                continue
            size += kept[1]
            if found and size > MAX_REPLY:
                seen = index
                break
            status, shapes, numbers = kept[2]
            found.append((index, status, shapes))
            pieces += numbers
        head = orjson.dumps({"v": VERSION, "seen": seen, "outputs": self._outputs, "answers": found})
        return b"".join((len(head).to_bytes(4, "little"), head, *pieces))

    def sweep(self, now: float) -> None:
        """Forget what is too old, or all if nobody asked for so long. To be called every few seconds."""
        if now - self._asked > KEEP:
            self.open = False
            self._kept.clear()
            self.bytes = 0
        while self._kept and now - next(iter(self._kept.values()))[0] > KEEP:
            self.bytes -= self._kept.popitem(last=False)[1][1]


def question(ids: Sequence[bytes]) -> bytes:
    """The body that asks for these ids.

    >>> read_question(question([b"a", b"b"]))
    ['a', 'b']
    """
    return orjson.dumps({"v": VERSION, "ids": [i.decode("latin-1") for i in ids]})


def read_question(body: bytes | memoryview) -> list[str]:
    """The ids that are asked for.

    Raises:
        ValueError: it is no question; the message is for who asked.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("v") != VERSION:
        raise ValueError(f"an object with v: {VERSION} was expected")
    ids = document.get("ids")
    if not isinstance(ids, list) or len(ids) > MAX_IDS or not all(isinstance(i, str) for i in ids):
        raise ValueError(f"'ids' must be a list of at most {MAX_IDS} texts")
    return ids


@dataclass(frozen=True)
class Reply:
    """What a server said.

    Attributes:
        seen: how many of the ids, from the first on, it looked for; the others are to be asked for again.
        outputs: name and datatype of each output of its model.
        answers: by place in the question; what is absent it does not know.
    """

    seen: int
    outputs: tuple[tuple[str, str], ...]
    answers: dict[int, Summary]


def read_reply(body: bytes, asked: int) -> Reply:
    """Read what a server said to a question for so many ids. It may be anything: nothing in it is trusted.

    Raises:
        ReplyError: it is no such reply.
    """
    end = 4 + int.from_bytes(body[:4], "little")
    try:
        document = orjson.loads(body[4:end])
    except orjson.JSONDecodeError as error:
        raise ReplyError(f"no JSON at its head: {error}") from None
    try:
        if document["v"] != VERSION:
            raise ReplyError(f"version {document['v']!r}, not {VERSION}")
        outputs = tuple((_text(name), _text(datatype)) for name, datatype in document["outputs"])
        seen = _whole(document["seen"], asked)
        sizes = [8 if datatype == BYTES else DTYPES[datatype].itemsize for _, datatype in outputs]
        answers: dict[int, Summary] = {}
        position = end
        for index, status, shapes in document["answers"]:
            if len(shapes) not in (0, len(sizes)):
                raise ReplyError(f"{len(shapes)} outputs instead of {len(sizes)}")
            pieces: list[bytes] = []
            read: list[Shape] = []
            for size, shape in zip(sizes[: len(shapes)], shapes, strict=True):
                read.append(_shape(shape))
                position, start = position + size * elements(read[-1]), position
                pieces.append(body[start:position])
            if position > len(body):
                raise ReplyError("it ends within an answer")
            answers[_whole(index, asked - 1)] = (_whole(status, 999), tuple(read), tuple(pieces))
    except (KeyError, TypeError, ValueError) as error:
        raise ReplyError(str(error) or type(error).__name__) from None
    if position != len(body):
        raise ReplyError("there is more behind its end")
    if asked and not seen:
        raise ReplyError("it looked for none of them")
    return Reply(seen, outputs, answers)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ReplyError("a text was expected")
    return value


def _whole(value: Any, limit: int) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise ReplyError(f"a whole number of at most {limit} was expected")
    return value


def _shape(value: Any) -> Shape:
    if not isinstance(value, list) or len(value) > _MAX_RANK:
        raise ReplyError("a shape was expected")
    shape = tuple(_whole(d, _MAX_SIZE) for d in value)
    if math.prod(shape) > _MAX_SIZE:
        raise ReplyError("a shape that no tensor has")
    return shape
