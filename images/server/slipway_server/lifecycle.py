"""From a ``ServeSpec`` to an exit status: ``verify`` once, or ``serve`` until the pod is told to stop.

    serve:  listen (live) ──> fetch, check, load, warm up ──> ready ──SIGTERM──> not ready, answering for
            drainSeconds with "Connection: close" ──> no new connections, requests under way end ──> exit 0

The gateway needs a while to see that a stopping pod is out of its list; until then it sends requests, and each is
answered. Kubernetes: terminationGracePeriodSeconds must be above drainSeconds + timeoutMs + ``SPARE`` seconds.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from slipway.contract import (
    EXIT_OK,
    MAX_DELAY_MS,
    METRICS_PORT,
    MODEL_DIR,
    SERVE_PORT,
    TERMINATION_MESSAGE_LIMIT,
    TERMINATION_MESSAGE_PATH,
    ContractError,
    DiscardResult,
    Env,
    Failure,
    ServeSpec,
    VerifyResult,
    dumps,
    loads,
)
from slipway_server import model as models
from slipway_server import reasons, resources, store
from slipway_server.agreement import Judge, Tolerance
from slipway_server.answers import MAX_BYTES, Ring
from slipway_server.batching import Batcher, Limits
from slipway_server.examples import Examples
from slipway_server.http import HttpLimits, Server
from slipway_server.inside import LIMITS, Inside
from slipway_server.metrics import Predictions, ServerMetrics
from slipway_server.model import GPU, Model, Profile
from slipway_server.oip import App
from slipway_server.peers import HttpPeers, split
from slipway_server.reasons import LoadError
from slipway_server.resources import MemoryPlan
from slipway_server.shadow import Shadow
from slipway_server.signature import Plan
from slipway_server.threads import in_thread

log = logging.getLogger("slipway.server")

SPARE: Final = 3.0
"""Seconds beyond a request's own timeout that a stopping server waits for it."""
SWEEP: Final = 5.0
"""Seconds between two looks for answers that were kept long enough."""


@dataclass(frozen=True)
class Options:
    """Where things are; the defaults are those of the pod (``slipway.contract``).

    ``memory``: bytes that the process may use; None for the limit of its container, if it has one.
    """

    host: str | None = None
    port: int = SERVE_PORT
    metrics_port: int = METRICS_PORT
    model_dir: Path = Path(MODEL_DIR)
    termination_message: Path = Path(TERMINATION_MESSAGE_PATH)
    memory: int | None = None


def run(action: Callable[[ServeSpec, Options], int], options: Options) -> int:
    """Read the spec, act, and turn whatever goes wrong into a termination message and an exit status."""
    try:
        return action(_spec(), options)
    except LoadError as error:
        log.error("model is not served", extra={"reason": error.reason, "error": error.message})
        _write(options.termination_message, error.failure)
        return error.exit_code
    except Exception as error:
        log.exception("server failed")
        failure = LoadError(reasons.INTERNAL, f"{type(error).__name__}: {error}; the container's log says more")
        _write(options.termination_message, failure.failure)
        return failure.exit_code


def verify(spec: ServeSpec, options: Options) -> int:
    """Load the model as a server would, and write what was found to the termination message.

    Raises:
        LoadError: it cannot be served.
    """
    loaded = prepare(spec, options)
    model = loaded.model
    _log_ready("model is verified", spec, loaded)
    result = VerifyResult(
        digest=spec.artifact.digest, provider=model.provider, onnxruntime=ort.__version__, opset=model.opset
    )
    _write(options.termination_message, result)
    return EXIT_OK


def discard(spec: ServeSpec, options: Options) -> int:
    """Delete the model's file, if it is the one that was registered, and say so in the termination message.

    Raises:
        LoadError: it could not be done, or other bytes lie there.
    """
    place = store.Place.from_environment(spec.artifact.store, os.environ)
    was = store.discard(spec.artifact, store.S3Source(place))
    log.info("the file is gone", extra={"uri": spec.artifact.uri, "was": was})
    _write(options.termination_message, DiscardResult(spec.artifact.digest, was))
    return EXIT_OK


def serve(spec: ServeSpec, options: Options) -> int:
    """Serve until SIGTERM or SIGINT.

    Raises:
        LoadError: the model cannot be served.
    """
    import uvloop  # here, because `verify` has no use for it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(spec, options))


@dataclass(frozen=True)
class Loaded:
    """A model that may be served, and the memory it may be served with (None: no limit is known)."""

    model: Model
    profile: Profile
    memory: MemoryPlan | None


def prepare(spec: ServeSpec, options: Options) -> Loaded:
    """Fetch, check, load, compare, warm up.

    Raises:
        LoadError: one of these failed.
    """
    plan = Plan.of(spec.signature)
    options.model_dir.mkdir(parents=True, exist_ok=True)
    place = spec.artifact.store
    path = store.fetch(
        spec.artifact, options.model_dir, lambda: store.S3Source(store.Place.from_environment(place, os.environ))
    )
    limit = options.memory or resources.memory_limit()
    memory = MemoryPlan.of(limit, resources.memory_used(), spec.artifact.size) if limit else None
    model = models.load(path, plan, memory.arena if memory else None)
    return Loaded(model, models.warm_up(model, spec.maxBatch), memory)


async def _serve(spec: ServeSpec, options: Options) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    metrics = ServerMetrics(model=spec.model, version=str(spec.version))
    plan = Plan.of(spec.signature)
    ring = Ring(plan.outputs, time.perf_counter())
    shadow = _shadow(spec, plan, options)
    if shadow is not None:
        metrics.comparison = shadow.counts
    app = App(spec, metrics, [ring] if shadow is None else [ring, shadow])
    server = Server(app, HttpLimits(body=spec.maxBodyBytes, bodies=2 * spec.maxBodyBytes), app.error)
    shown = Server(Inside(metrics, ring), LIMITS)
    await server.start(options.host, options.port)
    await shown.start(options.host, options.metrics_port)
    log.info("server listens", extra={"port": server.port, "metrics_port": shown.port})

    # From the start, so that peers keep their answers before the first copy of a request comes here.
    beside = [loop.create_task(_sweep(ring))]
    if shadow is not None and spec.comparison is not None:
        beside.append(loop.create_task(shadow.run(HttpPeers(spec.comparison, shown.port))))

    # Not the loop's executor: a pod that is stopped while it downloads must not wait for it.
    loading = in_thread("load", lambda: prepare(spec, options))
    stopping = loop.create_task(stop.wait())
    both: set[asyncio.Future[Any]] = {loading, stopping}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        log.info("server stops before the model was loaded")
        return EXIT_OK
    loaded = loading.result()
    model, profile, memory = loaded.model, loaded.profile, loaded.memory
    if memory is not None:
        server.limits = replace(
            server.limits,
            body=min(spec.maxBodyBytes, memory.bodies),
            bodies=min(2 * spec.maxBodyBytes, memory.bodies),
        )

    ring.limit = memory.answers if memory else MAX_BYTES
    if shadow is not None:
        ring.limit = shadow.limit = ring.limit // 2
    batcher = Batcher(
        runner=model,
        profile=profile,
        limits=Limits(
            batch=profile.batch,
            delay=batching_delay(spec),
            queue=spec.queueLimit,
            timeout=spec.timeoutMs / 1000,
            rows=spec.maxBatch,
            workers=1 if model.provider == GPU or profile.on_loop else resources.usable_cores(),
        ),
        observer=metrics,
    )
    metrics.predictions = Predictions(model.plan)
    metrics.info = {
        "digest": spec.artifact.digest,
        "provider": model.provider,
        "deployment": spec.deployment,
        "model_version": spec.modelVersion,
        "onnxruntime": ort.__version__,
    }
    metrics.gauges |= {
        "in_flight": ("Inference requests received and not answered yet.", lambda: app.in_flight),
        "queue_length": ("Requests that wait for the model.", lambda: batcher.waiting),
        "queue_limit": ("Requests that may wait; beyond it they get 503.", lambda: spec.queueLimit),
        "max_batch_rows": ("Rows up to which joining requests pays, as measured.", lambda: profile.batch),
        "model_run_seconds": ("Seconds of a run with one row, as measured at start.", lambda: profile.seconds),
        "ready": ("1 if the server is ready.", lambda: float(not app.not_ready)),
        "connections": ("Open connections.", lambda: len(server.connections)),
    }
    app.serve(model, batcher, memory.json if memory else None)
    resources.keep_memory()
    gc.collect()
    gc.freeze()  # what is there now stays: later collections need not look at it
    _log_ready("model is ready", spec, loaded)

    await stop.wait()
    app.drain()
    server.begin_drain()
    log.info("server drains", extra={"seconds": spec.drainSeconds, "in_flight": app.in_flight})
    await asyncio.sleep(spec.drainSeconds)
    await server.close(spec.timeoutMs / 1000 + SPARE)
    for task in beside:
        task.cancel()
    await shown.close(1.0)
    batcher.close()
    log.info("server stops", extra={"answered": sum(metrics.requests.values())})
    return EXIT_OK


def batching_delay(spec: ServeSpec) -> float:
    """Seconds that a request waits for others, at most. The API server holds new Deployments to these bounds; one that
    is older may say more, and a request that waits as long as it may take in all would never be answered.
    """
    delay = min(spec.maxDelayMs, MAX_DELAY_MS)
    return (delay if delay < spec.timeoutMs else spec.timeoutMs / 2) / 1000


def _shadow(spec: ServeSpec, plan: Plan, options: Options) -> Shadow | None:
    """Who compares, if that is asked for.

    Raises:
        LoadError: it is asked for in a way that makes no sense.
    """
    if spec.comparison is None:
        return None
    split(spec.comparison.peers)
    judge = Judge(plan.outputs, Tolerance.of(spec.comparison))
    return Shadow(plan, judge, Examples(options.model_dir, spec.comparison.examples))


async def _sweep(ring: Ring) -> None:
    while True:
        await asyncio.sleep(SWEEP)
        ring.sweep(time.perf_counter())


def _spec() -> ServeSpec:
    text = os.environ.get(Env.SPEC)
    if not text:
        raise LoadError(reasons.SPEC_INVALID, f"the environment variable {Env.SPEC} is not set")
    try:
        return loads(ServeSpec, text)
    except ContractError as error:
        raise LoadError(reasons.SPEC_INVALID, f"{Env.SPEC}: {error}") from None


def _log_ready(message: str, spec: ServeSpec, loaded: Loaded) -> None:
    model, profile, memory = loaded.model, loaded.profile, loaded.memory
    log.info(
        message,
        extra={
            "model": spec.model,
            "version": spec.version,
            "digest": spec.artifact.digest,
            "provider": model.provider,
            "onnxruntime": ort.__version__,
            "run_ms": round(profile.seconds * 1000, 3),
            "batch_rows": profile.batch,
            "runs": "on the event loop" if profile.on_loop else "in threads",
            "memory_mib": {k: v >> 20 for k, v in asdict(memory).items()} if memory else "no limit",
        },
    )


def _write(path: Path, document: Failure | VerifyResult | DiscardResult) -> None:
    """Write the termination message, which the kubelet cuts at ``TERMINATION_MESSAGE_LIMIT`` bytes."""
    text = dumps(document)
    while isinstance(document, Failure) and len(text.encode()) > TERMINATION_MESSAGE_LIMIT:
        document = Failure(document.reason, document.message[: len(document.message) * 3 // 4])
        text = dumps(document)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        log.error("termination message was not written", extra={"path": str(path), "error": str(error), "text": text})
