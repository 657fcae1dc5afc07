"""Measures the operator on a real control plane that has no kubelet.

Pods are made by the real controllers and stay Pending. Only verifications are answered, as a kubelet would, since a
Deployment serves nothing but a verified version. So at ``n`` objects of each kind there are ``n`` TrainingRuns with a
Job each, ``n`` verified ModelVersions, and ``n`` Deployments with a workload, a Service and a pod that does not start.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from slipway import contract
from slipway.api.common import API_VERSION, Label
from slipway.kube.objects import JOBS, MODEL_VERSIONS, PODS, TRAINING_RUNS, WORKLOADS, Resource
from tests.support.api_server import Api, Object, Refusal, eventually
from tests.support.chart import ACCOUNT
from tests.support.control_plane import Cluster, make_namespace
from tests.support.kubelet import environment
from tests.support.operator_process import Operator, operator

NAMESPACE = "scale"
WRITERS = 4
PATIENCE = 900.0
"""Seconds before a level is given up."""


@dataclass(frozen=True)
class Level:
    """What was measured at one number of objects of each kind. Times in seconds, memory in MiB."""

    objects: int
    memory: float
    """Resident, after everything was reconciled."""
    peak: float
    """The highest so far in the life of that process."""
    restarted_memory: float
    """Resident after a new process has read and looked at everything."""
    restarted_peak: float
    restart_seconds: float
    """From the start of a new process until it has looked at every object."""
    jobs_seconds: float
    """From the first TrainingRun that was created to the last Job."""
    verified_seconds: float
    """From the first ModelVersion that was created to the last that is Ready."""
    workloads_seconds: float
    """From the first Deployment that was created to the last workload."""
    first_child_p50: float
    """From one TrainingRun to its Job, with everything else at rest: the median of 20."""
    idle_cpu_a_minute: float | None
    """Processor seconds in a minute in which nothing happens; this and the next two are None where it was left out."""
    idle_requests_a_minute: int | None
    """Requests in that minute, watches and the Lease left out."""
    idle_writes_a_minute: int | None
    load: float
    """Load average of the machine over the last minute: what else ran there."""


def levels(
    cluster: Cluster, sizes: tuple[int, ...], say: Callable[[str], None], *, idle: bool = True
) -> Iterator[Level]:
    """Measure at each size, growing; each answer comes as soon as it is known. ``idle``: the minute of nothing too."""
    make_namespace(cluster.api, NAMESPACE)
    store = {"name": contract.store_object_name("default"), "namespace": NAMESPACE}
    cluster.api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": store, "data": {}})
    have = 0
    for size in sizes:
        with operator(cluster) as process, _verifications(cluster.api):
            grown = _grow(cluster.api, have, size, say)
            have = size
            _settle(process)
            latency = _latency(cluster.api, size)
            _settle(process)
            memory, peak = process.memory(), process.highest_memory()
            say(f"{size} of each kind: {memory:.0f} MiB")
            rest = _rest(cluster, process, say) if idle else None
        with operator(cluster) as process:
            begun_at = time.monotonic()
            done = functools.partial(_looked_at_all, process, 3 * size)
            eventually(done, seconds=PATIENCE, what="every object being looked at")
            restart = time.monotonic() - begun_at
            _settle(process)
            yield Level(
                objects=size,
                memory=round(memory, 1),
                peak=round(peak, 1),
                restarted_memory=round(process.memory(), 1),
                restarted_peak=round(process.highest_memory(), 1),
                restart_seconds=round(restart, 1),
                jobs_seconds=round(grown[0], 1),
                verified_seconds=round(grown[1], 1),
                workloads_seconds=round(grown[2], 1),
                first_child_p50=round(latency, 3),
                idle_cpu_a_minute=None if rest is None else round(rest.cpu, 2),
                idle_requests_a_minute=None if rest is None else rest.requests,
                idle_writes_a_minute=None if rest is None else rest.writes,
                load=round(os.getloadavg()[0], 1),
            )


@dataclass(frozen=True)
class _Rest:
    """A minute in which nothing happens: processor seconds, and requests but for watches and the Lease."""

    cpu: float
    requests: int
    writes: int


def _rest(cluster: Cluster, process: Operator, say: Callable[[str], None]) -> _Rest:
    say("counting a minute of nothing")
    begun, processor = cluster.audit.position(), process.cpu_seconds()
    time.sleep(60)
    spent = process.cpu_seconds() - processor
    requests = [r for r in cluster.audit.since(begun, user=ACCOUNT) if r.resource != "leases" and r.verb != "watch"]
    return _Rest(spent, len(requests), sum(r.writes for r in requests))


def _grow(api: Api, have: int, want: int, say: Callable[[str], None]) -> tuple[float, float, float]:
    """Create what is missing of each kind, one kind after the other; returns how long each took."""
    took = []
    steps: tuple[tuple[str, Callable[[int], Object], Callable[[], int]], ...] = (
        ("TrainingRuns", _run, lambda: _count(api, JOBS, f"{Label.ROLE}=train")),
        ("ModelVersions", _version, lambda: _ready(api)),
        ("Deployments", _deployment, lambda: _count(api, WORKLOADS)),
    )
    for name, make, count in steps:
        begun = time.monotonic()
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda i, make=make: api.create(make(i)), range(have, want)))
        created = time.monotonic() - begun
        _until(count, want, f"{want} {name} having their children")
        took.append(time.monotonic() - begun)
        if want > have:
            say(f"{want - have} {name} created in {created:.1f} s, all with their children after {took[-1]:.1f} s")
    return took[0], took[1], took[2]


def _until(count: Callable[[], int], want: int, what: str) -> None:
    eventually(lambda: count() >= want, seconds=PATIENCE, interval=0.5, what=what)


def _object(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def _run(number: int) -> Object:
    return _object("TrainingRun", f"run-{number}", {"model": "digits", "entrypoint": "train:main"})


def _version(number: int) -> Object:
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 64]}
    artifact = {"uri": f"s3://models/m/{number}.onnx", "digest": f"sha256:{number:064x}", "size": 17432}
    spec = {
        "model": "m",
        "version": number + 1,
        "artifact": artifact,
        "signature": {"inputs": [tensor], "outputs": [tensor]},
    }
    return _object("ModelVersion", f"m-v{number + 1}", spec)


def _deployment(number: int) -> Object:
    # No pod ever gets ready here: a deadline that passes while nothing should happen would be told, once for each.
    return _object("Deployment", f"d-{number}", {"modelVersion": f"m-v{number + 1}", "progressDeadline": "10h"})


def _latency(api: Api, size: int) -> float:
    """The median time from one more TrainingRun to its Job."""
    times = []
    for i in range(20):
        manifest = _run(0)
        manifest["metadata"]["name"] = f"probe-{size}-{i}"
        begun = time.monotonic()
        api.create(manifest)
        job = functools.partial(api.get, JOBS, NAMESPACE, manifest["metadata"]["name"])
        eventually(job, interval=0.005, what="one more Job")
        times.append(time.monotonic() - begun)
        api.delete(TRAINING_RUNS, NAMESPACE, manifest["metadata"]["name"])
    return sorted(times)[len(times) // 2]


def _pages(api: Api, resource: Resource, selector: str = "") -> Iterator[Object]:
    token = ""
    while True:
        query = {
            "limit": "500",
            **({"labelSelector": selector} if selector else {}),
            **({"continue": token} if token else {}),
        }
        page: Any = api.call("GET", resource.path(NAMESPACE), **query)
        yield from page["items"]
        token = page["metadata"].get("continue", "")
        if not token:
            return


def _count(api: Api, resource: Resource, selector: str = "") -> int:
    """How many there are, without reading them."""
    query = {"limit": "1", **({"labelSelector": selector} if selector else {})}
    page: Any = api.call("GET", resource.path(NAMESPACE), **query)
    if selector and "remainingItemCount" not in page["metadata"] and "continue" in page["metadata"]:
        return sum(1 for _ in _pages(api, resource, selector))  # the server does not count what a selector leaves
    return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))


def _ready(api: Api) -> int:
    return Counter(v.get("status", {}).get("phase") for v in _pages(api, MODEL_VERSIONS))["Ready"]


def _settle(process: Operator) -> None:
    """Wait until nothing is written and nobody waits for three seconds."""
    quiet, before = 0, -1.0
    while quiet < 3:
        time.sleep(1)
        now = process.metric("slipway_writes_total")
        quiet = quiet + 1 if now == before and process.metric("slipway_queue_length") == 0 else 0
        before = now


def _looked_at_all(process: Operator, objects: int) -> bool:
    return process.metric("slipway_reconcile_total") >= objects and process.metric("slipway_queue_length") == 0


@contextmanager
def _verifications(api: Api) -> Iterator[None]:
    """Answers each verification pod once, as a kubelet on which it ran would."""
    over = threading.Event()

    def answer(pod: Object) -> None:
        spec = contract.loads(contract.ServeSpec, environment(pod)[contract.Env.SPEC])
        result = contract.VerifyResult(spec.artifact.digest, "CPUExecutionProvider", "1.23.0", 17)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ended = {
            "exitCode": 0,
            "reason": "Completed",
            "message": contract.dumps(result),
            "startedAt": now,
            "finishedAt": now,
        }
        container = {"name": pod["spec"]["containers"][0]["name"], "image": "i", "imageID": "i", "ready": False}
        status = {
            "phase": "Succeeded",
            "containerStatuses": [{**container, "restartCount": 0, "state": {"terminated": ended}}],
        }
        try:
            api.merge(PODS, NAMESPACE, pod["metadata"]["name"], {"status": status}, subresource="status")
        except Refusal as refusal:
            if refusal.code != 404:
                raise

    def loop() -> None:
        while not over.wait(0.5):
            waiting = api.call(
                "GET", PODS.path(NAMESPACE), labelSelector=f"{Label.ROLE}=verify", fieldSelector="status.phase=Pending"
            )
            with ThreadPoolExecutor(WRITERS) as pool:
                list(pool.map(answer, waiting["items"]))

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)
