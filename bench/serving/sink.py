"""Reads the bytes of a request and answers: the least that any server must do for them. No HTTP stack of anybody's.

It knows of HTTP what wrk and urllib send: the head comes whole in the first piece, and no request before the answer.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import uvloop

from bench.serving.echo import ANSWER

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)


class Sink(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 18)
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without being derived from it

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer  # the same one again: nobody looks at a body

    def buffer_updated(self, nbytes: int) -> None:
        if self._left == 0:
            end = self._buffer.index(b"\r\n\r\n", 0, nbytes)
            length = _LENGTH.search(self._buffer, 0, end)
            self._left = end + 4 + (int(length[1]) if length else 0)
        self._left -= nbytes
        if self._left == 0:
            self._transport.write(_HEAD + ANSWER)


async def main(port: int) -> None:
    await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
