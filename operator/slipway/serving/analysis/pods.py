"""Counters from the pods themselves: ``GET pod:9091/metrics`` of both sides at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import aiohttp

from slipway import contract
from slipway.api.deployment import AnalysisMetric
from slipway.serving.analysis import counters
from slipway.serving.analysis.look import Counts, Side

TIMEOUT: Final = 0.8
"""Seconds for the whole question: a pod that hangs must not hold the verdict about the others up."""
LIMIT: Final = 1024 * 1024
"""Bytes of one pod's answer; a server's is about 20 kB."""

Addresses = Mapping[Side, Mapping[str, str]]
"""By side: the pod's IP by its name."""
Answers = tuple[dict[Side, dict[str, Counts]], str]
"""Counts by side and pod, and why somebody could not be asked."""


class PodCounters(Protocol):
    """Where counters of pods come from."""

    async def read(self, pods: Addresses, metrics: Sequence[AnalysisMetric]) -> Answers:
        """What each pod has counted; who does not answer, or with something else, is left out."""


class HttpCounters:
    """Over HTTP, a connection a question: nothing is left open that somebody would have to close."""

    def __init__(self, port: int = contract.METRICS_PORT) -> None:
        self._port = port

    async def read(self, pods: Addresses, metrics: Sequence[AnalysisMetric]) -> Answers:
        asked = [(side, name, ip) for side, those in pods.items() for name, ip in those.items()]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:
            texts = await asyncio.gather(*(self._text(session, ip) for _, _, ip in asked))
        made: dict[Side, dict[str, Counts]] = {side: {} for side in pods}
        silent = []
        for (side, name, _), text in zip(asked, texts, strict=True):
            try:
                made[side][name] = counters.read(text or "", metrics)
            except ValueError:
                silent.append(name)
        return made, f"{', '.join(silent)}: the counters cannot be read" if silent else ""

    async def _text(self, session: aiohttp.ClientSession, ip: str) -> str | None:
        host = f"[{ip}]" if ":" in ip else ip
        try:
            # No redirects: a pod must not be able to send the operator somewhere else.
            async with session.get(f"http://{host}:{self._port}/metrics", allow_redirects=False) as answer:
                return (await whole(answer, LIMIT)).decode() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None


async def whole(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """All of a body: half of one would show smaller counts, as if a pod had begun anew.

    Raises:
        ValueError: it is longer than ``limit`` bytes.
    """
    made = bytearray()
    async for piece in answer.content.iter_any():
        made += piece
        if len(made) > limit:
            raise ValueError(f"the answer is longer than {limit} bytes")
    return bytes(made)
