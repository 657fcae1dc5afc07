"""HTTP/1.1 on asyncio: connections, their limits and timeouts, and the drain. Knows nothing of models.

Parsing is llhttp's (Node.js' parser) through httptools, the loop is uvloop's; both are what uvicorn stands on. The few
hundred lines between them are ours because a server that must not lose a request at a rollout needs what neither
uvicorn nor granian gives: a timeout for headers and bodies that trickle in, a bound on connections that closes idle
ones first, answers with ``Connection: close`` while it drains, and the end of a connection told to whoever waits in a
queue. Measured against raw ASGI on uvicorn in docs/benchmarks.md.

One connection:

    NEW ──first byte──> HEAD ──> BODY ──> BUSY ──answered──> IDLE ──first byte──> HEAD ...
     │                    │        │        │                  │
     │                    └─ too slow: 408  │ close asked for  │
     │                                      └─> FLUSH: closed once written
     └─────────────────────────────────────────────────────────┴─ too long, drained, or place needed: closed
    anything refused before its end (413, 431, 400): LINGER: answered, the rest of what comes is thrown away

What comes is read into one piece of memory that all connections share, and parsed there. A body whose length is known
and that is not all there after a read has its rest read straight to where it will lie: it is copied once, by the
kernel. (As pieces that the loop makes, the parser cuts and a join puts together, it was copied four times, which beside
a large model costs more than the copies: they push the model's weights out of the cache.)
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final, cast

import httptools
import numpy as np
import orjson

log = logging.getLogger("slipway.server")

JSON: Final = b"application/json"

_WANTED: Final = frozenset(
    {
        b"accept",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"inference-header-content-length",
        b"transfer-encoding",
        b"x-request-id",
    }
)
"""Headers that somebody here reads; others are counted and forgotten."""
_READ: Final = 64 * 1024
"""Bytes read at once while it is not known whose they are."""
_MAX_PIPELINED: Final = 16
"""Requests that one connection may send ahead before reading from it stops."""


@dataclass(frozen=True)
class HttpLimits:
    """Bounds of the HTTP side. Times in seconds, sizes in bytes.

    Attributes:
        body: one request's body.
        bodies: bodies held at once, over all connections; a request that would exceed it gets 503.
        head: request line and headers of one request.
        head_time: from a request's first byte to the end of its headers. A connection that has said nothing for so
            long makes room for others where place is needed.
        body_grace: a body may take so long, and one second more for each ``rate`` bytes that came.
        rate: bytes a second, below which a client is too slow.
        idle: between two requests, and before the first: a gateway opens a connection for a request that another one
            then takes, and keeps it for later. Above Envoy's own idle timeout of one hour, because whoever closes an
            idle connection first must be the client: a server that does may meet a request on its way.
        write: an answer may take so long to be read, and one second more for each ``rate`` bytes of it.
        connections: open at once. Beyond it the one that was idle longest is closed.
        linger: a refused request's rest is read and thrown away for so long, so that the client sees the answer.
    """

    body: int
    bodies: int
    head: int = 32 * 1024
    head_time: float = 10.0
    body_grace: float = 10.0
    rate: int = 64 * 1024
    idle: float = 3900.0
    write: float = 30.0
    connections: int = 2048
    linger: float = 2.0


class Phase(Enum):
    """Where a connection stands; see the drawing above."""

    NEW = auto()
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    BUSY = auto()
    FLUSH = auto()
    LINGER = auto()


_OVER: Final = (Phase.FLUSH, Phase.LINGER)
"""Nothing that comes on such a connection is read any more."""


class Request:
    """One request. Its handler calls ``respond`` exactly once, at once or later; after ``on_gone`` was called, nobody
    reads the answer any more.

    Attributes:
        method: ``GET``...
        path: raw path, without the query.
        headers: those of ``_WANTED`` that were sent, lower case.
        body: its bytes.
        ended: ``time.perf_counter`` when the last byte had come.
        on_gone: called when the client closes the connection before the answer.
    """

    __slots__ = ("_connection", "body", "ended", "headers", "keep_alive", "method", "on_gone", "path", "reserved")

    def __init__(self, connection: Connection, method: bytes, target: bytes) -> None:
        self._connection = connection
        self.method = method
        self.path = target.partition(b"?")[0]
        self.headers: dict[bytes, bytes] = {}
        self.body: bytes | memoryview = b""
        self.keep_alive = True
        self.reserved = 0
        self.ended = 0.0
        self.on_gone: Callable[[], None] | None = None

    def respond(
        self, status: int, body: bytes, content_type: bytes = JSON, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        """Answer."""
        self._connection.respond(self, status, body, content_type, headers)


Handler = Callable[[Request], None]


class Server:
    """A listening port and its connections. ``handler`` gets each complete request.

    ``error`` makes the body of an answer that this module gives itself, from a sentence.
    """

    def __init__(self, handler: Handler, limits: HttpLimits, error: Callable[[str], bytes] | None = None) -> None:
        self.handler = handler
        self.limits = limits
        self.error = error or (lambda sentence: orjson.dumps({"error": sentence}))
        self.connections: set[Connection] = set()
        self.bodies = 0
        self.draining = False
        self.now = 0.0
        self.date = b""
        self.scratch = memoryview(bytearray(_READ))
        self._listener: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """The port that listens."""
        assert self._listener is not None
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def start(self, host: str | None, port: int) -> None:
        """Listen. Port 0 takes a free one (then give a host)."""
        self._tick()
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), host, port, backlog=1024, reuse_port=False
        )

    def begin_drain(self) -> None:
        """From now on every answer ends its connection; new connections are still taken."""
        self.draining = True

    async def close(self, patience: float) -> None:
        """Stop listening, wait up to ``patience`` seconds for answers that are under way, close everything."""
        self.begin_drain()
        if self._listener is not None:
            self._listener.close()
        end = time.monotonic() + patience
        # A connection that was just opened may have its request on the way.
        fresh_until = time.monotonic() + min(patience, 1.0)
        while self.connections and time.monotonic() < end:
            for connection in list(self.connections):
                if connection.phase is Phase.IDLE or (connection.phase is Phase.NEW and time.monotonic() > fresh_until):
                    connection.close()
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()
        if self._ticker is not None:
            self._ticker.cancel()

    def make_room(self) -> bool:
        """Close the connection that was idle longest; False if none is idle."""
        silent_since = self.now - self.limits.head_time
        idle = [
            c for c in self.connections if c.phase is Phase.IDLE or (c.phase is Phase.NEW and c.since <= silent_since)
        ]
        if not idle:
            return False
        min(idle, key=lambda c: c.since).close()
        return True

    def _tick(self) -> None:
        """Four times a second: the clock for timeouts and for the Date header, and a look for who is too slow."""
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        self.date = formatdate(usegmt=True).encode()
        for connection in list(self.connections):
            connection.check(self.now)
        self._ticker = loop.call_later(0.25, self._tick)


class Connection(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limits = server.limits
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[Request] = deque()  # complete, waiting for the one before them
        self._current: Request | None = None
        self._request: Request | None = None  # being received
        self._method = b""
        self._target = b""
        self._head = 0
        self._parts: list[bytes] = []
        self._place: memoryview | None = None  # of a body that is read straight to where it lies
        self._received = 0
        self._length = 0  # of the body, where the headers say it
        self._blocked = False
        self._unread = 0
        self._paused = False
        self._early: list[tuple[bytes, bytes]] = []
        self.phase = Phase.NEW
        self.since = server.now

    # ---------------------------------------------------------------------------------------- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = self._server
        full = len(server.connections) >= self._limits.connections and not server.make_room()
        server.connections.add(self)
        if full:
            self._refuse(503, "too many connections: try again later, or use fewer connections", b"1")

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.scratch if self._place is None else self._place[self._received :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._place is not None:
            self._received += nbytes
            if self._received == len(self._place):
                self._placed(self._place)
            return
        phase = self.phase
        if phase in _OVER:
            return
        data = self._server.scratch[:nbytes]
        if phase is Phase.NEW or phase is Phase.IDLE:
            self.phase = Phase.HEAD
            self.since = self._server.now
            self._head = 0
        self._feed(data)
        if self.phase is Phase.HEAD:
            self._head += nbytes  # of headers that have not ended; ended ones are counted one by one
            if self._head > 2 * self._limits.head:
                self._refuse(431, f"request line and headers are longer than {self._limits.head} bytes")
        elif self._request is not None and self._received < self._length:
            self._make_place()

    def eof_received(self) -> bool:
        """A client that closes its side is gone (as nginx sees it): what waits for it is dropped."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        requests = [self._current, self._request, *self._queue]
        self._current = self._request = None
        self._queue.clear()
        for request in requests:
            if request is not None:
                self._server.bodies -= request.reserved
                request.reserved = 0
                if request.on_gone is not None:
                    request.on_gone()
                    request.on_gone = None
        self._transport = None

    def pause_writing(self) -> None:
        self._blocked = True
        self.since = self._server.now
        if self._transport is not None:
            self._unread = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        self._blocked = False
        self._next()

    # -------------------------------------------------------------------------------------- called by the server

    def check(self, now: float) -> None:
        """Close if it is too slow, or idle for too long."""
        waited, limits = now - self.since, self._limits
        if self._blocked:
            if waited > limits.write + self._unread / limits.rate:
                self.abort()
        elif self.phase is Phase.HEAD:
            if waited > limits.head_time:
                self._refuse(408, f"the headers did not come within {limits.head_time:g} seconds")
        elif self.phase is Phase.BODY:
            if waited > limits.body_grace + self._received / limits.rate:
                self._refuse(408, f"the body came slower than {limits.rate} bytes a second")
        elif self.phase is Phase.IDLE or self.phase is Phase.NEW:
            if waited > limits.idle:
                self.close()
        elif self.phase in _OVER and waited > (limits.write if self.phase is Phase.FLUSH else limits.linger):
            self.abort()

    def close(self) -> None:
        """Close once what was written has left."""
        if self._transport is not None:
            self.phase, self.since = Phase.FLUSH, self._server.now
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def respond(
        self,
        request: Request,
        status: int,
        body: bytes,
        content_type: bytes,
        headers: tuple[tuple[bytes, bytes], ...],
    ) -> None:
        """Write the answer to the request that is being handled."""
        if self._current is not request or self._transport is None:
            return  # the client is gone
        self._current = None
        self._server.bodies -= request.reserved
        request.reserved = 0
        # What was sent ahead is answered before a drain ends the connection; the last answer says so.
        keep = request.keep_alive and (not self._server.draining or bool(self._queue))
        self._write(status, body, content_type, headers, request, keep=keep)
        if not keep:
            self.close()
            return
        self.phase = Phase.IDLE if self._request is None else Phase.BODY
        self.since = self._server.now
        if self._queue or self._paused:
            self._next()

    # ----------------------------------------------------------------------------------------- called by llhttp

    def on_message_begin(self) -> None:
        self._request = None
        self._target = b""
        self._parts = []
        self._received = self._length = 0
        self._head = 0
        self._early = []
        if self.phase in (Phase.IDLE, Phase.BODY) and self._current is None:
            self.phase, self.since = Phase.HEAD, self._server.now

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        name = name.lower()
        if name in _WANTED:
            self._early.append((name, value))

    def on_headers_complete(self) -> None:
        self._method = self._parser.get_method()
        if self.phase in _OVER or self._parser.should_upgrade():  # see _feed
            return
        request = Request(self, self._method, self._target)
        request.headers.update(self._early)
        request.keep_alive = self._parser.should_keep_alive()
        self._request = request
        if self._current is None:
            self.phase = Phase.BODY
        length = request.headers.get(b"content-length")
        if length is not None:
            size = int(length)  # llhttp lets only digits through
            if size and not self._reserve(request, size):
                return
            self._length = size
            if size and request.headers.get(b"expect", b"").lower() == b"100-continue" and self._current is None:
                assert self._transport is not None
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        request = self._request
        if request is None:
            return
        self._received += len(body)
        if self._received > request.reserved and not self._reserve(request, self._received):
            return
        self._parts.append(body)

    def on_message_complete(self) -> None:
        request = self._request
        if request is None:  # refused on the way
            return
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._complete(request, body)

    # ------------------------------------------------------------------------------------------------- internals

    def _make_place(self) -> None:
        """The rest of this body goes past the parser, straight to its place; nothing behind it is read with it."""
        place = np.empty(self._length, dtype=np.uint8).data  # a bytearray would be filled with zeros first
        start = 0
        for part in self._parts:
            place[start : start + len(part)] = part
            start += len(part)
        self._parts, self._place = [], place

    def _placed(self, body: memoryview) -> None:
        request, self._place = self._request, None
        assert request is not None  # one that is refused on the way loses its place
        self._parser = httptools.HttpRequestParser(self)  # the one before still waits for this body
        self._complete(request, body)

    def _complete(self, request: Request, body: bytes | memoryview) -> None:
        self._request, self._parts = None, []
        request.body = body
        request.ended = time.perf_counter()
        if self._current is None and not self._queue and not self._blocked:
            self._handle(request)
            return
        self._queue.append(request)
        if len(self._queue) >= _MAX_PIPELINED and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _feed(self, data: bytes | memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # An offer such as "Upgrade: h2c" (Java's client makes it) is not taken up, which HTTP allows; llhttp then
            # stops before the body. So a new parser gets the same request without the offer, and what follows.
            self._parser = httptools.HttpRequestParser(self)
            if self._method == b"CONNECT":
                self._refuse(405, "this is not a proxy: CONNECT is not allowed")
            elif self.phase not in _OVER:
                self._feed(self._head_again() + data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:
            log.exception("a callback of the HTTP parser failed")
            self._refuse(500, "the server failed on this request; its log says why")
        except httptools.HttpParserError as error:
            if self.phase not in _OVER:
                self._refuse(400, f"this is not HTTP/1.1: {error}")

    def _head_again(self) -> bytes:
        headers = b"".join(b"%s: %s\r\n" % header for header in self._early)
        return b"%s %s HTTP/1.1\r\n%s\r\n" % (self._method, self._target, headers)

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > self._limits.head:
            self._refuse(431, f"request line and headers are longer than {self._limits.head} bytes")

    def _reserve(self, request: Request, size: int) -> bool:
        server = self._server
        limits = server.limits  # not those of when the connection was made: they are known better after the load
        if size > limits.body:
            self._refuse(413, f"the body is larger than the {limits.body} bytes this server takes")
            return False
        if server.bodies + size - request.reserved > limits.bodies:
            self._refuse(503, "too many large requests at once: try again later", b"1")
            return False
        server.bodies += size - request.reserved
        request.reserved = size
        return True

    def _handle(self, request: Request) -> None:
        self._current = request
        self.phase = Phase.BUSY
        try:
            self._server.handler(request)
        except Exception:
            log.exception("the handler of a request failed")
            request.respond(500, self._server.error("the server failed on this request; its log says why"))

    def _next(self) -> None:
        """Handle what was sent ahead, as long as answers are read."""
        while self._queue and self._current is None and not self._blocked:
            self._handle(self._queue.popleft())
        if self._paused and len(self._queue) < _MAX_PIPELINED and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _refuse(self, status: int, sentence: str, retry_after: bytes | None = None) -> None:
        """Answer a request before its end, throw away the rest of it, and close."""
        if self._transport is None or self.phase in _OVER:
            return
        request, self._request, self._parts, self._place = self._request, None, [], None
        if request is not None:
            self._server.bodies -= request.reserved
            request.reserved = 0
        if self._current is not None or self._queue:
            # Requests sent ahead of the refused one are still being answered: an answer now would be taken for theirs.
            self.abort()
            return
        headers = ((b"retry-after", retry_after),) if retry_after else ()
        self._write(status, self._server.error(sentence), JSON, headers, None, keep=False)
        self.phase, self.since = Phase.LINGER, self._server.now
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _write(
        self,
        status: int,
        body: bytes,
        content_type: bytes,
        headers: tuple[tuple[bytes, bytes], ...],
        request: Request | None,
        *,
        keep: bool,
    ) -> None:
        pieces = [
            _status_line(status),
            b"date: ",
            self._server.date,
            b"\r\ncontent-type: ",
            content_type,
            b"\r\ncontent-length: ",
            b"%d" % len(body),
        ]
        for name, value in headers:
            pieces += (b"\r\n", name, b": ", value)
        head_only = False
        if request is not None:
            head_only = request.method == b"HEAD"
            request_id = request.headers.get(b"x-request-id")
            if request_id is not None:
                pieces += (b"\r\nx-request-id: ", request_id)
        pieces.append(b"\r\n\r\n" if keep else b"\r\nconnection: close\r\n\r\n")
        if not head_only:
            pieces.append(body)
        assert self._transport is not None
        self._transport.write(b"".join(pieces))


_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\nserver: slipway\r\n".encode() for s in HTTPStatus}


def _status_line(status: int) -> bytes:
    return _STATUS_LINES[status]
