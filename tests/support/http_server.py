"""Small HTTP servers on loopback that answer what a test tells them to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def free_port() -> int:
    """A port that nobody has, on all addresses of loopback."""
    with socket.create_server(("", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@asynccontextmanager
async def serving(by_address: Mapping[str, Answer]) -> AsyncIterator[int]:
    """A server at each address, all at one port, as pods are; the port."""
    port = free_port()
    async with AsyncExitStack() as stack:
        for address, answer in by_address.items():
            app = web.Application()
            app.add_routes([web.route("*", "/{path:.*}", answer)])
            # What hangs is told to end at once.
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, address, port).start()
        yield port


def says(text: str, status: int = 200, content_type: str = "text/plain") -> Answer:
    """Always this."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status, content_type=content_type)

    return answer


async def hangs(_: web.Request) -> web.StreamResponse:
    """Takes a question and never answers."""
    await asyncio.Event().wait()
    raise AssertionError


def in_pieces(*pieces: str) -> Answer:
    """A body that comes in pieces, each in a packet of its own."""

    async def answer(request: web.Request) -> web.StreamResponse:
        made = web.StreamResponse()
        await made.prepare(request)
        for piece in pieces:
            await made.write(piece.encode())
            for _ in range(20):  # so that the reader has the first piece before the next one is sent
                await asyncio.sleep(0)
        await made.write_eof()
        return made

    return answer


def breaks_off(text: str) -> Answer:
    """A body that ends before its time."""

    async def answer(request: web.Request) -> web.StreamResponse:
        made = web.StreamResponse(headers={"Content-Length": str(len(text) + 1000)})
        await made.prepare(request)
        await made.write(text.encode())
        assert request.transport is not None
        request.transport.abort()
        return made

    return answer


def redirects(to: str) -> Answer:
    """To another place."""

    async def answer(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(to)

    return answer
