"""Work in a daemon thread, for what may take longer than the server lives: the loop's own executor is waited for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


def in_thread(name: str, work: Callable[[], T]) -> asyncio.Future[T]:
    """Start it; its result, or what it raised, comes to the running loop unless that was closed meanwhile."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(act: Callable[[], None]) -> None:
        if not future.done():  # it was cancelled
            act()

    def target() -> None:
        try:
            result = work()
        except BaseException as error:
            act = partial(future.set_exception, error)
        else:
            act = partial(future.set_result, result)
        with suppress(RuntimeError):  # the loop is closed: the server was stopped meanwhile
            loop.call_soon_threadsafe(settle, act)

    threading.Thread(target=target, name=name, daemon=True).start()
    return future
