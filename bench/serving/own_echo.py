"""The same bytes back by the server's own HTTP stack, without any of its inference."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from bench.serving.echo import ANSWER
from slipway_server import resources
from slipway_server.http import HttpLimits, Request, Server


def handle(request: Request) -> None:
    request.respond(200, ANSWER)


async def main(port: int) -> None:
    resources.keep_memory()
    server = Server(handle, HttpLimits(body=10**7, bodies=10**8))
    await server.start("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
