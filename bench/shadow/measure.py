"""Two Deployments of the same model behind one Envoy, asked in turn by one load: one has a shadow, the other has none.

Whatever else the machine does hits both alike, so that what is left between them is the shadow's. First the shadow
shares the processors with all that the clients wait for; then it has only what nobody else wants (``cores.py``).
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from bench.shadow import cores
from slipway.kube.objects import DEPLOYMENTS
from tests.support import candidates
from tests.support.e2e import MODEL, Tenant, World, settled_on

WITH, WITHOUT = "with a shadow", "without"
REQUESTS: Final = (("1 row (1 kB)", 1), ("256 rows (100 kB)", 256))
"""What is asked: in words, and in rows."""
RATE: Final = 40.0
"""Requests a second to each of the two."""
RESAMPLES: Final = 2000


@dataclass(frozen=True)
class Side:
    """What clients of one Deployment saw, in milliseconds."""

    requests: int
    failed: int
    p50: float
    p99: float


@dataclass(frozen=True)
class Phase:
    """One run: both sides, and the differences (with - without) with the bounds of their 95% intervals."""

    name: str
    load: tuple[float, float, float]
    sides: Mapping[str, Side]
    p50: tuple[float, float, float]
    p99: tuple[float, float, float]


def phases(world: World, seconds: float) -> list[Phase]:
    """Before there is a shadow, with one, and with one that takes its processor from nobody."""
    with world.tenant("bench-shadow-with") as shadowed, world.tenant("bench-shadow-without") as plain:
        for tenant in (shadowed, plain):
            tenant.pair(candidates.healthy(2), candidates.healthy())
            tenant.serving("shadow/deployment.yaml", strategy=strategy())
        hosts = {WITH: shadowed.host, WITHOUT: plain.host}

        def both(words: str) -> list[Phase]:
            return [_run(world, hosts, f"{name}, {words}", rows, seconds) for name, rows in REQUESTS]

        made = both("no shadow on either")
        shadowed.ask_for("digits-v2")
        shadowed.until(DEPLOYMENTS, MODEL, _copies, what="copies")
        made += both("a shadow on shared processors")
        with cores.apart(world, shadowed, plain):
            made += both("a shadow on spare processor")
        _end(shadowed)
        return made


def strategy() -> dict[str, Any]:
    """All requests are copied, and the comparison comes to no verdict within the run."""
    return {"type": "Shadow", "shadow": {"percent": 100, "minSamples": 10_000_000, "maxDisagreement": "0.999"}}


def _copies(obj: Mapping[str, Any]) -> bool:
    return bool(obj["status"].get("weights", {}).get("mirror") == 100 and obj["status"]["weights"].get("verified"))


def _end(tenant: Tenant) -> None:
    copied = tenant.get(DEPLOYMENTS, MODEL)["status"]["analysis"][0]["candidate"]["n"]
    assert copied > 0, "nothing was compared: the figures show no shadow"
    tenant.ask_for("digits-v1")
    tenant.until(DEPLOYMENTS, MODEL, settled_on("digits-v1"), what="the shadow's end")


def _run(world: World, hosts: Mapping[str, str], name: str, rows: int, seconds: float) -> Phase:
    """One run."""
    row = candidates.questions(offending=0)[0]["inputs"][0]["data"]
    question = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 64], "data": row * rows}]}
    url = f"{world.gateway}/v2/models/{MODEL}/infer"
    times = asyncio.run(_ask(url, hosts, question, seconds, RATE if rows == 1 else RATE / 4))
    good = {side: [t for t in found if t is not None] for side, found in times.items()}
    return Phase(
        name=name,
        load=os.getloadavg(),
        sides={
            side: Side(len(times[side]), len(times[side]) - len(found), _at(found, 0.5), _at(found, 0.99))
            for side, found in good.items()
        },
        p50=_difference(good[WITH], good[WITHOUT], 0.5),
        p99=_difference(good[WITH], good[WITHOUT], 0.99),
    )


async def _ask(
    url: str, hosts: Mapping[str, str], question: Mapping[str, Any], seconds: float, rate: float
) -> dict[str, list[float | None]]:
    """Milliseconds by side; None for a request that failed. Open: each is sent when its time has come."""
    times: dict[str, list[float | None]] = {side: [] for side in hosts}
    shuffle = random.Random(7)  # noqa: S311 - no secret
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:

        async def one(side: str, host: str) -> None:
            begun = time.perf_counter()
            try:
                async with session.post(url, json=question, headers={"Host": host}) as answer:
                    await answer.read()
                    good = answer.status == 200
            except (aiohttp.ClientError, TimeoutError):
                good = False
            times[side].append(1000 * (time.perf_counter() - begun) if good else None)

        begun, under_way = time.perf_counter(), set()
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            # Both within one turn, in random order, half a turn apart.
            for place, (side, host) in enumerate(shuffle.sample(sorted(hosts.items()), 2)):
                if place:
                    await asyncio.sleep(0.5 / rate)
                task = asyncio.create_task(one(side, host))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
    return times


def _at(times: Sequence[float], quantile: float) -> float:
    found = sorted(times)
    return found[min(len(found) - 1, int(quantile * len(found)))]


def _difference(a: Sequence[float], b: Sequence[float], quantile: float) -> tuple[float, float, float]:
    """How much larger a's quantile is than b's, and the bounds of the bootstrap's 95% interval."""
    draw = random.Random(11)  # noqa: S311 - no secret
    made = sorted(
        _at(draw.choices(a, k=len(a)), quantile) - _at(draw.choices(b, k=len(b)), quantile) for _ in range(RESAMPLES)
    )
    cuts = statistics.quantiles(made, n=40)
    return _at(a, quantile) - _at(b, quantile), cuts[0], cuts[-1]
