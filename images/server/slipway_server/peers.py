"""The pods that answer clients, as a shadow asks them: found by name, asked over HTTP, with a bound on everything.

One connection a peer, kept from question to question. Whatever is wrong with a peer (gone, slow, no sense in what it
says) is one ``PeerError`` and concerns that peer alone.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from slipway.contract import Comparison
from slipway_server import reasons
from slipway_server.answers import MAX_REPLY, Reply, ReplyError, question, read_reply
from slipway_server.reasons import LoadError
from slipway_server.threads import in_thread

PATH: Final = "/answers"
MAX_PEERS: Final = 64
"""Addresses asked; more pods than that are more than one shadow compares with."""
RESOLVE: Final = 2.0
"""Seconds to wait for a name; after that the addresses last known are asked."""
PATIENCE: Final = 2.0
"""Seconds for one question and its reply."""
_MAX_BODY: Final = 2 * MAX_REPLY
"""Bytes of a reply: its numbers, and the JSON before them."""
_MAX_HEAD: Final = 16 * 1024

Address = tuple[str, int]


class PeerError(Exception):
    """A peer could not be asked, or made no sense."""


class Peers(Protocol):
    """Who is asked. ``HttpPeers``, or a fake."""

    async def addresses(self) -> tuple[Address, ...]:
        """Who there is now; nobody, if this server is one of them itself."""

    async def ask(self, address: Address, ids: Sequence[bytes]) -> Reply:
        """Ask one for at most ``MAX_IDS`` ids; raises ``PeerError``."""

    def close(self) -> None:
        """Ask nobody any more."""


def split(peers: str) -> tuple[str, int]:
    """Host and port of ``Comparison.peers``.

    Raises:
        LoadError: it is no ``host:port``.

    >>> split("digits-answers.team.svc:9091"), split("[::1]:9091")
    (('digits-answers.team.svc', 9091), ('::1', 9091))
    """
    host, _, port = peers.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise LoadError(reasons.SPEC_INVALID, f"comparison.peers {peers!r} must be host:port")
    return host, int(port)


class HttpPeers:
    """The addresses behind a name, which Kubernetes' DNS gives for a headless Service: all pods that are ready.

    ``own_port`` is the port on which this server is asked. Once a shadow was promoted, the name leads to itself (or to
    nobody): then it has no peers, and compares nothing.
    """

    def __init__(self, comparison: Comparison, own_port: int) -> None:
        self._host, self._port = split(comparison.peers)
        self._own_port = own_port
        self._known: tuple[Address, ...] = ()
        self._looking: asyncio.Future[tuple[Address, ...]] | None = None
        self._connections: dict[Address, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def addresses(self) -> tuple[Address, ...]:
        """See ``Peers``. Never raises; a resolver that is slow or fails leaves what was known."""
        if self._looking is None:  # one at a time: each holds a thread for as long as it takes
            self._looking = in_thread("resolve", partial(_resolve, self._host, self._port, self._own_port))
        done, _ = await asyncio.wait({self._looking}, timeout=RESOLVE)
        if done:
            looked, self._looking = self._looking, None
            if looked.exception() is None:
                self._known = looked.result()
        for address in set(self._connections) - set(self._known):
            self._close(address)
        return self._known

    async def ask(self, address: Address, ids: Sequence[bytes]) -> Reply:
        """See ``Peers``."""
        body = question(ids)
        head = f"POST {PATH} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n"
        kept = address in self._connections
        try:
            async with asyncio.timeout(PATIENCE):
                try:
                    answer = await self._exchange(address, head.encode() + body)
                except (OSError, EOFError):
                    if not kept:
                        raise
                    self._close(address)  # a connection from before, which the peer has closed meanwhile
                    answer = await self._exchange(address, head.encode() + body)
            return read_reply(answer, len(ids))
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError) as error:
            self._close(address)
            raise PeerError(str(error) or type(error).__name__) from error
        except BaseException:
            self._close(address)  # half a reply may be on its way
            raise

    def close(self) -> None:
        """See ``Peers``."""
        for address in list(self._connections):
            self._close(address)

    async def _exchange(self, address: Address, data: bytes) -> bytes:
        if address not in self._connections:
            self._connections[address] = await asyncio.open_connection(*address, limit=_MAX_HEAD)
        reader, writer = self._connections[address]
        writer.write(data)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        status, _, headers = head.lower().partition(b"\r\n")
        if status.split(b" ")[1:2] != [b"200"]:
            raise ReplyError(f"it answered {status[:80]!r}")
        length = headers.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not length.isdigit() or len(length) > 9 or int(length) > _MAX_BODY:
            raise ReplyError(f"a reply of {length[:20]!r} bytes")
        body = await reader.readexactly(int(length))
        if b"connection: close" in headers:
            self._close(address)
        return body

    def _close(self, address: Address) -> None:
        connection = self._connections.pop(address, None)
        if connection is not None:
            connection[1].close()


def _resolve(host: str, port: int, own_port: int) -> tuple[Address, ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            return ()  # its addresses may be somebody else's by now
        raise
    addresses = sorted({(str(i[4][0]), int(i[4][1])) for i in found})
    if port == own_port and any(_is_ours(host) for host, _ in addresses):
        return ()
    return tuple(addresses[:MAX_PEERS])


def _is_ours(host: str) -> bool:
    """Whether an address is this pod's: what is sent to it would be sent from it. Nothing is sent."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:
            return False
        return bool(probe.getsockname()[0] == host)
