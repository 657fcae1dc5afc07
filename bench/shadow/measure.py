"""Two Deployments of the same model behind one Envoy, asked in turn by one load: one has a shadow, the other has none.

Whatever else the machine does hits both alike, so that what is left between them is the shadow's. First the shadow
shares the processors with all that the clients wait for; then it has only what nobody else wants (``cores.py``). There
one request in ten is copied for a while, and in the end none, with everything else left as it is, so that what the
copying costs is told apart from the rest.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from bench.shadow import cores
from slipway.api.deployment import AnalysisMetric
from slipway.contract import METRICS_PORT
from slipway.kube.objects import DEPLOYMENTS, HTTP_ROUTES, PODS
from slipway.serving.analysis import counters
from tests.support import candidates
from tests.support.api_server import eventually
from tests.support.e2e import MODEL, OperatorProcesses, Tenant, World, settled_on

WITH, WITHOUT = "with a shadow", "without"
REQUESTS: Final = (("1 row (1 kB)", 1), ("256 rows (100 kB)", 256))
"""What is asked: in words, and in rows."""
RATE: Final = 40.0
"""Requests a second to each of the two."""
RESAMPLES: Final = 2000
FEW: Final = 10
"""Percent of the requests that the last runs copy."""
NOBODY, SHARED, EVERY, SOME, NOTHING = (
    "no shadow",
    "all copied, shared processors",
    "all copied",
    f"{FEW}% copied",
    "none copied",
)
"""What each run shows."""


@dataclass(frozen=True)
class Side:
    """What clients of one Deployment saw, in milliseconds."""

    requests: int
    failed: int
    p50: float
    p99: float


@dataclass(frozen=True)
class Difference:
    """How much larger one quantile is than another, in milliseconds, and what it came to in the bootstrap's draws."""

    value: float
    draws: Sequence[float]

    @property
    def interval(self) -> tuple[float, float]:
        """The bounds of the 95% interval."""
        cuts = statistics.quantiles(self.draws, n=40)
        return cuts[0], cuts[-1]

    def beyond(self, other: Difference) -> Difference:
        """How much larger this difference is than another, of other requests."""
        return Difference(self.value - other.value, [a - b for a, b in zip(self.draws, other.draws, strict=True)])


@dataclass(frozen=True)
class Phase:
    """One run: both sides, and the differences (with - without)."""

    kind: str
    asked: str
    load: tuple[float, float, float]
    sides: Mapping[str, Side]
    p50: Difference
    p99: Difference


def phases(world: World, seconds: float) -> list[Phase]:
    """Before there is a shadow; with one; with one that takes its processor from nobody, and then gets few
    copies, and then none."""
    with world.tenant("bench-shadow-with") as shadowed, world.tenant("bench-shadow-without") as plain:
        for tenant in (shadowed, plain):
            # Another file with the same answers to what is asked here: nothing is ever decided.
            tenant.pair(candidates.not_a_number(), candidates.healthy())
            tenant.serving("shadow/deployment.yaml", strategy=strategy())
        hosts = {WITH: shadowed.host, WITHOUT: plain.host}

        def both(kind: str) -> list[Phase]:
            return [_run(world, hosts, kind, asked, rows, seconds) for asked, rows in REQUESTS]

        made = both(NOBODY)
        shadowed.ask_for("digits-v2")
        _copied(shadowed, 100)
        made += both(SHARED)
        with cores.apart(world, shadowed, plain):
            made += both(EVERY)
            shadowed.api.merge(DEPLOYMENTS, shadowed.name, MODEL, {"spec": {"strategy": strategy(FEW)}})
            _copied(shadowed, FEW)
            made += both(SOME)
            with _copies_taken_out(world, shadowed):  # last: an operator that starts is busy for a while
                made += both(NOTHING)
        _end(shadowed)
        return made


def strategy(percent: int = 100) -> dict[str, Any]:
    """So many requests are copied, and the comparison comes to no verdict: it wants more than will ever come."""
    return {"type": "Shadow", "shadow": {"percent": percent, "minSamples": 10_000_000, "maxDisagreement": "0.999"}}


def _copied(tenant: Tenant, percent: int) -> None:
    def holds(obj: Mapping[str, Any]) -> bool:
        weights = obj["status"].get("weights", {})
        return bool(weights.get("mirror") == percent and weights.get("verified"))

    tenant.until(DEPLOYMENTS, MODEL, holds, what=f"{percent}% of the requests copied")


@contextmanager
def _copies_taken_out(world: World, tenant: Tenant) -> Iterator[None]:
    """No mirror in the route, which only the operator's absence allows; the shadow goes on asking for answers, and the
    requests stay buffered."""
    with OperatorProcesses(world).away():
        rules = tenant.get(HTTP_ROUTES, MODEL)["spec"]["rules"]
        for rule in rules:
            rule["filters"] = [f for f in rule.get("filters", ()) if f["type"] != "RequestMirror"]
        tenant.api.merge(HTTP_ROUTES, tenant.name, MODEL, {"spec": {"rules": rules}})

        def followed() -> bool:
            """Envoy says nothing of when it follows a route, so it is asked until no question is copied."""
            before = _taken(tenant)
            for _ in range(5):
                world.ask(tenant.host)
            return _taken(tenant) == before

        eventually(followed, what="Envoy copying nothing any more")
        before = _taken(tenant)
        yield
        assert _taken(tenant) == before, "requests were copied: the figures do not show what they say"


def _taken(tenant: Tenant) -> int:
    """Requests that the shadow has answered."""
    (pod,) = tenant.pods(role="serve", model_version="digits-v2")
    text = tenant.api.text(f"{PODS.path(tenant.name, pod['metadata']['name'])}:{METRICS_PORT}/proxy/metrics")
    return counters.read(text, [AnalysisMetric(name="errors")])["errors"].n


def _end(tenant: Tenant) -> None:
    copied = tenant.get(DEPLOYMENTS, MODEL)["status"]["analysis"][0]["candidate"]["n"]
    assert copied > 0, "nothing was compared: the figures show no shadow"
    tenant.ask_for("digits-v1")
    tenant.until(DEPLOYMENTS, MODEL, settled_on("digits-v1"), what="the shadow's end")


def _run(world: World, hosts: Mapping[str, str], kind: str, asked: str, rows: int, seconds: float) -> Phase:
    """One run."""
    row = candidates.questions(offending=0)[0]["inputs"][0]["data"]
    question = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 64], "data": row * rows}]}
    url = f"{world.gateway}/v2/models/{MODEL}/infer"
    times = asyncio.run(_ask(url, hosts, question, seconds, RATE if rows == 1 else RATE / 4))
    good = {side: [t for t in found if t is not None] for side, found in times.items()}
    return Phase(
        kind=kind,
        asked=asked,
        load=os.getloadavg(),
        sides={
            side: Side(len(times[side]), len(times[side]) - len(found), _at(found, 0.5), _at(found, 0.99))
            for side, found in good.items()
        },
        p50=_difference(good[WITH], good[WITHOUT], 0.5, f"{kind}, {asked}"),
        p99=_difference(good[WITH], good[WITHOUT], 0.99, f"{kind}, {asked}"),
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


def _difference(a: Sequence[float], b: Sequence[float], quantile: float, seed: str) -> Difference:
    """How much larger a's quantile is than b's. Each run has a seed of its own: ``beyond`` takes draws of two runs for
    independent ones."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    draws = [
        _at(draw.choices(a, k=len(a)), quantile) - _at(draw.choices(b, k=len(b)), quantile) for _ in range(RESAMPLES)
    ]
    return Difference(_at(a, quantile) - _at(b, quantile), draws)
