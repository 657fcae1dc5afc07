"""HTTP on a transport that only remembers: framing, limits, timeouts, pipelining, the drain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_server.http import Connection, HttpLimits, Phase, Request, Server

LIMITS = HttpLimits(body=100, bodies=250, head=1000, connections=3)
GET = b"GET /a?q=1 HTTP/1.1\r\nHost: h\r\n\r\n"


def post(body: bytes, *headers: str) -> bytes:
    lines = ["POST /p HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


CLOSE = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"


@dataclass
class Transport:
    written: bytes = b""
    closed: bool = False
    aborted: bool = False
    half_closed: bool = False
    reading: bool = True
    unread: int = 0
    extra: dict[str, Any] = field(default_factory=dict)

    def write(self, data: bytes) -> None:
        assert not self.closed, "written after close"
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def get_extra_info(self, name: str) -> Any:
        return self.extra.get(name)


@dataclass
class Site:
    """A server whose handler keeps the requests, or answers them at once with their path."""

    limits: HttpLimits = LIMITS
    at_once: bool = True
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = Server(self.handle, self.limits)

    def handle(self, request: Request) -> None:
        self.requests.append(request)
        if self.at_once:
            request.respond(200, request.path + b" " + bytes(request.body))

    def connect(self) -> Client:
        connection, transport = Connection(self.server), Transport()
        connection.connection_made(cast(asyncio.Transport, transport))
        return Client(self, connection, transport)

    def wait(self, seconds: float) -> None:
        """Let time go by in steps of the server's own clock."""
        self.server.now += seconds
        for connection in list(self.server.connections):
            connection.check(self.server.now)


@dataclass
class Client:
    site: Site
    connection: Connection
    transport: Transport
    most: int = 1 << 30

    def send(self, data: bytes) -> bytes:
        before = len(self.transport.written)
        while data:  # as the loop does: into what the connection offers, as much as there is place for
            place = self.connection.get_buffer(-1)
            taken = min(len(place), len(data), self.most)
            place[:taken] = data[:taken]
            data = data[taken:]
            self.connection.buffer_updated(taken)
        return self.transport.written[before:]

    def leave(self) -> None:
        self.connection.connection_lost(None)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def test_a_request_is_answered_and_the_connection_kept() -> None:
    client = Site().connect()
    answer = client.send(post(b"hello", "X-Request-Id: abc"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nx-request-id: abc" in head
    assert b"content-length: 8" in head
    assert body == b"/p hello"
    assert status(client.send(GET)) == 200
    assert not client.transport.closed
    assert client.site.server.bodies == 0


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_request_may_come_in_pieces(size: int) -> None:
    client = Site().connect()
    data = post(b"hello") + GET
    for start in range(0, len(data), size):
        client.send(data[start : start + size])
    assert client.transport.written.count(b"HTTP/1.1 200 OK") == 2
    assert [r.path for r in client.site.requests] == [b"/p", b"/a"]


def test_the_rest_of_a_body_is_read_straight_to_its_place() -> None:
    client = Site(at_once=False).connect()
    data = post(b"hello")
    client.send(data[:-3])
    place = client.connection.get_buffer(-1)
    assert len(place) == 3  # nothing that follows is read with it
    place[:] = b"lLo"
    client.connection.buffer_updated(3)
    (request,) = client.site.requests
    assert request.body == b"helLo"
    client.send(post(b"next") + GET)
    assert request.body == b"helLo"  # the memory that all connections share is another
    for answered in range(3):
        client.site.requests[answered].respond(200, b"")
    assert [r.body for r in client.site.requests] == [b"helLo", b"next", b""]


def test_a_body_whose_sender_left_gives_its_memory_back() -> None:
    site = Site()
    client = site.connect()
    client.send(post(b"hello")[:-3])
    assert site.server.bodies == 5
    client.leave()
    assert site.server.bodies == 0
    assert not site.requests


def test_a_chunked_body_is_joined() -> None:
    client = Site().connect()
    head = b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert client.send(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").endswith(b"/p abcde")


def test_head_has_the_headers_of_get_and_no_body() -> None:
    answer = Site().connect().send(GET.replace(b"GET", b"HEAD"))
    assert b"content-length: 3\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "kept"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", False),
    ],
)
def test_who_keeps_the_connection(request_bytes: bytes, kept: bool) -> None:
    client = Site().connect()
    answer = client.send(request_bytes)
    assert client.transport.closed is not kept
    assert (b"connection: close" in answer) is not kept


def test_a_body_that_waits_to_be_asked_for_is_asked_for() -> None:
    client = Site().connect()
    head, body = post(b"hello", "Expect: 100-continue").split(b"\r\n\r\n")
    assert client.send(head + b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert status(client.send(body)) == 200


def test_an_offer_to_upgrade_is_not_taken_up() -> None:
    """Java's HttpClient sends it with the first request of every connection."""
    client = Site().connect()
    upgrade = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB"]
    assert client.send(post(b"one", *upgrade)).endswith(b"/p one")
    assert client.send(post(b"two")).endswith(b"/p two")
    answers = client.send(post(b"three", *upgrade) + post(b"four"))
    assert answers.count(b"200 OK") == 2
    assert answers.endswith(b"/p four")


REFUSED: dict[str, tuple[bytes, int]] = {
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
    "HTTP/2 without asking": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a header without a name": (b"GET / HTTP/1.1\r\n: x\r\n\r\n", 400),
    "a length that is no number": (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
    "a length twice": (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "a length and chunks (smuggling)": (
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "a length beyond all numbers": (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
    "a request to be a proxy": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "a body too large by its length": (b"POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n", 413),
    "a body too large as it comes": (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101 + b"\r\n",
        413,
    ),
    "a header too long": (b"GET / HTTP/1.1\r\nX: " + b"x" * 1001 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 600 + b"\r\n", 431),
    "a header without an end": (b"GET / HTTP/1.1\r\nX: " + b"x" * 3000, 431),
    "a path too long": (b"GET /" + b"x" * 1001 + b" HTTP/1.1\r\n\r\n", 431),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_its_end(case: str) -> None:
    data, code = REFUSED[case]
    site = Site()
    client = site.connect()
    answer = client.send(data)
    assert status(answer) == code
    assert b'{"error":"' in answer
    assert b"connection: close" in answer
    assert client.transport.half_closed
    assert site.requests == []
    assert client.send(b"the rest of it" * 100) == b""  # thrown away, so that the client can read the answer
    assert not client.transport.closed
    site.wait(LIMITS.linger + 0.1)
    assert client.transport.aborted
    client.leave()
    assert (site.server.connections, site.server.bodies) == (set(), 0)


SLOW: dict[str, tuple[bytes, float, int]] = {
    "headers that trickle in": (b"GET / HTTP/1.1\r\nX: y", LIMITS.head_time, 408),
    "a body that trickles in": (post(b"x" * 50)[:-10], LIMITS.body_grace, 408),
}


@pytest.mark.parametrize("case", SLOW)
def test_too_slow(case: str) -> None:
    data, limit, code = SLOW[case]
    site = Site()
    client = site.connect()
    client.send(data)
    site.wait(limit - 0.1)
    assert client.transport.written == b""
    site.wait(0.2)
    assert status(client.transport.written) == code
    assert client.transport.half_closed or client.transport.closed
    assert site.server.bodies == 0


def test_a_byte_now_and_then_does_not_buy_time() -> None:
    site = Site()
    client = site.connect()
    for _ in range(12):
        client.send(b"G" if not client.site.requests and client.connection.phase is Phase.NEW else b"E")
        site.wait(1.0)
    assert client.transport.written != b"" or client.transport.closed


@pytest.mark.parametrize("before", [GET, b""], ids=["after a request", "opened ahead, and not used yet"])
def test_an_idle_connection_lives_longer_than_a_gateway_keeps_it(before: bytes) -> None:
    site = Site()
    client = site.connect()
    if before:
        client.send(before)
    site.wait(3601)
    assert not client.transport.closed
    site.wait(400)
    assert client.transport.closed


def test_requests_sent_ahead_are_answered_in_order() -> None:
    site = Site(at_once=False)
    client = site.connect()
    client.send(post(b"1") + post(b"2") + post(b"3"))
    assert [r.body for r in site.requests] == [b"1"]
    site.requests[0].respond(200, b"one")
    site.requests[1].respond(200, b"two")
    site.requests[2].respond(200, b"three")
    bodies = [part.split(b"\r\n\r\n")[1] for part in client.transport.written.split(b"HTTP/1.1 ")[1:]]
    assert bodies == [b"one", b"two", b"three"]


def test_who_sends_too_much_ahead_is_not_read_for_a_while() -> None:
    site = Site(at_once=False)
    client = site.connect()
    client.send(GET * 20)
    assert not client.transport.reading
    for index in range(20):
        site.requests[index].respond(200, b"")
    assert client.transport.reading
    assert client.transport.written.count(b"200 OK") == 20


def test_a_client_that_does_not_read_gets_no_more_and_is_closed() -> None:
    site = Site()
    client = site.connect()
    client.connection.pause_writing()
    client.send(GET)
    assert site.requests == []
    client.connection.resume_writing()
    assert len(site.requests) == 1
    client.connection.pause_writing()
    site.wait(LIMITS.write + 0.1)
    assert client.transport.aborted


def test_a_large_answer_may_take_longer_to_be_read() -> None:
    site = Site()
    client = site.connect()
    client.transport.unread = 60 * LIMITS.rate
    client.connection.pause_writing()
    site.wait(LIMITS.write + 59)
    assert not client.transport.aborted
    site.wait(2)
    assert client.transport.aborted


@pytest.mark.parametrize(
    "last",
    [
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n",
    ],
    ids=["asked to close", "refused"],
)
def test_what_follows_the_last_request_of_a_connection_is_not_read(last: bytes) -> None:
    site = Site()
    client = site.connect()
    client.send(last + GET)
    client.send(GET)
    assert client.transport.written.count(b"HTTP/1.1 ") == 1
    assert [r.path for r in site.requests] in ([], [b"/"])


def test_a_client_that_leaves_is_told_to_the_handler_once() -> None:
    site = Site(at_once=False)
    client = site.connect()
    client.send(post(b"x" * 90))
    gone: list[int] = []
    site.requests[0].on_gone = lambda: gone.append(1)
    assert site.server.bodies == 90
    assert client.connection.eof_received() is False
    client.leave()
    site.requests[0].respond(200, b"too late")
    assert gone == [1]
    assert client.transport.written == b""
    assert site.server.bodies == 0


def test_bodies_held_at_once_are_bounded() -> None:
    site = Site(at_once=False)
    clients = [site.connect() for _ in range(3)]
    assert clients[0].send(post(b"x" * 100)) == b""
    assert clients[1].send(post(b"x" * 100)) == b""
    refused = clients[2].send(post(b"x" * 100))
    assert status(refused) == 503
    assert b"retry-after: 1" in refused
    site.requests[0].respond(200, b"")
    assert site.server.bodies == 100


def test_one_connection_too_many_takes_the_place_of_the_one_idle_longest() -> None:
    site = Site()
    clients = []
    for _ in range(3):
        clients.append(site.connect())
        clients[-1].send(GET)
        site.wait(1)
    fourth = site.connect()
    assert [c.transport.closed for c in clients] == [True, False, False]
    assert status(fourth.send(GET)) == 200


def test_one_that_was_opened_and_says_nothing_makes_room_too() -> None:
    site = Site()
    silent = site.connect()
    site.wait(LIMITS.head_time + 0.5)
    others = [site.connect() for _ in range(3)]
    assert [silent.transport.closed, *(c.transport.closed for c in others)] == [True, False, False, False]
    # those may have a request on their way
    assert status(site.connect().transport.written) == 503


def test_one_connection_too_many_is_refused_where_none_is_idle() -> None:
    site = Site(at_once=False)
    for _ in range(3):
        site.connect().send(GET)
    assert status(site.connect().transport.written) == 503


def test_a_handler_that_fails_costs_one_answer(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    handle: Callable[[Request], None] = site.server.handler

    def fail(request: Request) -> None:
        raise ZeroDivisionError

    site.server.handler = fail
    client = site.connect()
    assert status(client.send(GET)) == 500
    site.server.handler = handle
    assert status(client.send(GET)) == 200
    assert "ZeroDivisionError" in caplog.text


def test_while_it_drains_every_answer_ends_its_connection() -> None:
    site = Site(at_once=False)
    busy, idle = site.connect(), site.connect()
    busy.send(GET)
    site.server.begin_drain()
    site.requests[0].respond(200, b"")
    assert b"connection: close" in busy.transport.written
    assert busy.transport.closed
    assert not idle.transport.closed  # its next request is answered, not lost
    idle.send(GET)
    site.requests[1].respond(200, b"")
    assert b"connection: close" in idle.transport.written
    fresh = site.connect()
    fresh.send(GET)
    site.requests[2].respond(200, b"")
    assert b"200 OK" in fresh.transport.written


def test_what_was_sent_ahead_is_answered_in_the_drain() -> None:
    site = Site(at_once=False)
    client = site.connect()
    client.send(GET * 2)
    site.server.begin_drain()
    site.requests[0].respond(200, b"")
    assert not client.transport.closed
    site.requests[1].respond(200, b"")
    assert client.transport.closed
    assert client.transport.written.count(b"connection: close") == 1


async def test_the_end_waits_for_what_is_under_way_and_closes_the_rest() -> None:
    site = Site(at_once=False)
    idle, busy = site.connect(), site.connect()
    idle.send(GET)
    site.requests[0].respond(200, b"")
    busy.send(GET)
    end = asyncio.create_task(site.server.close(patience=10))
    async with asyncio.timeout(5):
        while not idle.transport.closed:
            await asyncio.sleep(0)
    idle.leave()
    assert not busy.transport.closed
    site.requests[1].respond(200, b"late")
    busy.leave()
    async with asyncio.timeout(5):
        await end
    assert b"late" in busy.transport.written


@settings(max_examples=300)
@given(
    data=st.lists(
        st.binary(max_size=30)
        | st.sampled_from(
            [GET, post(b"hello"), b"GET / HTTP/1.1\r\n", b"\r\n\r\n", b"Content-Length: 5\r\n", UPGRADE, CLOSE]
        ),
        max_size=8,
    )
)
def test_whatever_is_sent_nothing_is_raised_and_all_is_given_back(data: list[bytes]) -> None:
    site = Site(limits=replace(LIMITS, connections=100))
    client = site.connect()
    for piece in data:
        if not client.transport.closed:
            client.send(piece)
    for part in client.transport.written.split(b"HTTP/1.1 ")[1:]:
        assert part[:3] in (b"200", b"400", b"405", b"413", b"431", b"503")
    client.leave()
    assert (site.server.connections, site.server.bodies) == (set(), 0)
