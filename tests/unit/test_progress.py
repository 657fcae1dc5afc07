"""Asking a pod for its progress over HTTP: whatever answers, the operator goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from slipway import contract, progress
from slipway.progress import HttpProgress

SAID = contract.Progress(step=3, of=10, metrics=[contract.Metric("loss", "0.5")], message="")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def pod_that(answer: Answer) -> AsyncIterator[HttpProgress]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield HttpProgress(port=runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def test_what_the_pod_says_is_read() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.path == "/progress"
        return web.Response(text=contract.dumps(SAID))

    async with pod_that(answer) as source:
        assert await source.read("127.0.0.1") == SAID


@pytest.mark.parametrize(
    ("case", "response"),
    [
        ("an error", lambda: web.Response(status=500, text=contract.dumps(SAID))),
        ("no JSON", lambda: web.Response(text="hello")),
        ("another version", lambda: web.Response(text='{"v": 99}')),
        ("bytes that are no text", lambda: web.Response(body=b"\xff\xfe\x00")),
        ("more than anybody should say", lambda: web.Response(text=" " * (progress.LIMIT + 1) + contract.dumps(SAID))),
    ],
)
async def test_what_cannot_be_understood_is_no_error(case: str, response: Callable[[], web.Response]) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return response()

    async with pod_that(answer) as source:
        assert await source.read("127.0.0.1") is None, case


async def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/progress":
            raise web.HTTPFound("/elsewhere")
        return web.Response(text=contract.dumps(SAID))

    async with pod_that(answer) as source:
        assert await source.read("127.0.0.1") is None
    assert asked == ["/progress"]


async def test_a_pod_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TIMEOUT", 0.05)
    gone = asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    async with pod_that(answer) as source:
        assert await source.read("127.0.0.1") is None
        gone.set()


async def test_nobody_listening_is_no_error() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response()

    async with pod_that(answer) as source:
        pass
    assert await source.read("127.0.0.1") is None
