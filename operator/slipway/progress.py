"""Asks a pod that trains or reads data how far it is (``contract``: live progress).

Not being answered is no error: a pod that begins or ends does not listen, and a NetworkPolicy of the user's may be in
the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import aiohttp

from slipway import contract

TIMEOUT: Final = 2.0
"""Seconds for the whole question; a slow pod must not hold a worker."""
LIMIT: Final = 64 * 1024
"""Bytes that are read: the answer is a user's program's."""


class ProgressSource(Protocol):
    """Where progress comes from."""

    async def read(self, pod_ip: str) -> contract.Progress | None:
        """What the pod says; None where it says nothing that can be understood."""


class HttpProgress:
    """``GET http://POD:9090/progress``. A connection a question: the next one comes seconds later, if at all, and so
    nothing is left open that somebody would have to close."""

    def __init__(self, port: int = contract.PROGRESS_PORT) -> None:
        self._port = port

    async def read(self, pod_ip: str) -> contract.Progress | None:
        host = f"[{pod_ip}]" if ":" in pod_ip else pod_ip
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session,
                # No redirects: a pod must not be able to send the operator somewhere else.
                session.get(f"http://{host}:{self._port}/progress", allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    return None
                body = bytearray()
                async for chunk in answer.content.iter_chunked(8192):
                    body += chunk
                    if len(body) > LIMIT:
                        return None
                return contract.loads(contract.Progress, bytes(body))
        except (aiohttp.ClientError, TimeoutError, OSError, contract.ContractError):
            return None


class FakeProgress:
    """``ProgressSource`` for tests: answers by pod IP."""

    def __init__(self, answers: Mapping[str, contract.Progress] | None = None) -> None:
        self.answers = dict(answers or {})

    async def read(self, pod_ip: str) -> contract.Progress | None:
        return self.answers.get(pod_ip)
