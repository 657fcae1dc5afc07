"""The content as ModelVersions on a real control plane, and the questions as people ask them.

The statuses are written directly, as the operator would have written them: what is measured is reading. Nothing runs
on this control plane but what is asked, and in its own part of the run the operator.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bench.registry.content import VERSIONS, Made, digest, model, versions
from localcluster.paths import REPOSITORY
from slipway.api import wayback
from slipway.api.common import API_VERSION
from slipway.api.model_version import Lineage, ModelVersionSpec
from tests.support.api_server import Api, Object, eventually
from tests.support.control_plane import Cluster, make_namespace
from tests.support.operator_process import Operator, operator

NAMESPACE = "registry"
DEPLOYMENTS = 100
"""Deployments, each of which serves the champion of a model."""
WRITERS = 4
PATIENCE = 1500.0
"""Seconds before a start of the operator is given up."""
ANSWER = 300.0
"""Seconds before a question is given up, by either side."""
WITH_THE_BENCH = ("setpriv", "--pdeathsig", "KILL")
"""Before each command, so that a bench that is killed leaves none behind."""


def fill(api: Api, models: int, say: Callable[[str], None]) -> None:
    """Write everything."""
    make_namespace(api, NAMESPACE)
    begun, done = time.monotonic(), 0
    everything = _objects(models)
    with ThreadPoolExecutor(WRITERS) as pool:
        # In parts, so that a bench that is told to end does not write all the rest first.
        while part := list(islice(everything, 500)):
            list(pool.map(functools.partial(_write, api), part))
            done += len(part)
            say(f"{done:,} objects after {time.monotonic() - begun:.0f} s")


def _objects(models: int) -> Iterator[Object]:
    yield from (version(made) for made in versions(models))
    yield from (_deployment(index) for index in range(min(DEPLOYMENTS, models)))


def _write(api: Api, wanted: Object) -> None:
    status = wanted.pop("status")
    made = api.create(wanted)
    path = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{made['kind'].lower()}s/{made['metadata']['name']}/status"
    api.call("PATCH", path, {"status": status}, content_type="application/merge-patch+json")


def version(made: Made) -> Object:
    """A ModelVersion with its labels and its status."""
    artifact = {
        "uri": f"s3://models/{made.model}/{made.number}/model.onnx",
        "digest": digest(made.name),
        "size": 19703,
        "store": "default",
    }
    lineage = {
        "trainingRun": {
            "name": made.name,
            "uid": f"00000000-0000-4000-8000-{made.number:012}",
            "startedAt": "2026-11-22T02:58:24Z",
            "finishedAt": "2026-11-22T02:58:42Z",
            "attempts": 1,
        },
        "code": {
            "git": {"url": "https://git.example/models.git", "revision": "main", "commit": made.commit},
            "image": {"ref": "registry.example/trainer:1", "digest": made.image},
            "entrypoint": "train:train",
        },
        "data": [{"name": "train", "uri": "s3://data/train/", "digest": made.data, "files": 12, "bytes": 123456789}],
        "parameters": dict(made.parameters),
        "seed": 7,
        "environment": {"python": "3.13.5", "torch": "2.6.0", "onnxruntime": "1.21", "packages": made.image},
        "metrics": [{"name": name, "value": value} for name, value in made.metrics],
        "artifact": artifact,
        "parity": {"maxAbsDiff": "1.2e-07", "rows": 16},
        "result": f"s3://models/{made.model}/{made.number}/result.json",
    }
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 64]}
    aliases = [made.alias] if made.alias else []
    spec = {
        "model": made.model,
        "version": made.number,
        "artifact": artifact,
        "signature": {"inputs": [tensor], "outputs": [{**tensor, "name": "y"}]},
        "trainingRun": made.name,
        "aliases": aliases,
    }
    labels = wayback.labels(ModelVersionSpec.model_validate(spec), Lineage.model_validate(lineage))
    status = {
        "phase": "Ready",
        "message": "verified",
        "numbered": True,
        "heldAliases": aliases,
        "lineage": lineage,
        "verification": {
            "digest": artifact["digest"],
            "provider": "CPUExecutionProvider",
            "onnxruntime": "1.21",
            "verifiedAt": "2026-11-22T02:59:00Z",
        },
    }
    meta = {"name": made.name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": API_VERSION, "kind": "ModelVersion", "metadata": meta, "spec": spec, "status": status}


def _deployment(index: int) -> Object:
    """One that serves a champion. Its workload is not there: that is what the operator would make."""
    name = f"{model(index)}-v{VERSIONS - 1}"
    serving = {"modelVersion": name, "workload": name, "service": name, "replicas": 2, "readyReplicas": 2}
    return {
        "apiVersion": API_VERSION,
        "kind": "Deployment",
        "metadata": {"name": model(index), "namespace": NAMESPACE},
        "spec": {
            "modelVersion": name,
            "replicas": 0,
            "route": {"gateway": {"name": "public"}, "hostnames": [f"{model(index)}.example.com"]},
        },
        "status": {
            "phase": "Healthy",
            "message": f"{name} serves",
            "stable": serving,
            "weights": {"stable": 100, "candidate": 0, "verified": True},
        },
    }


# ------------------------------------------------------------------------------------------------------- questions


@dataclass(frozen=True)
class Asked:
    """One question as a person or a script asks it: a whole process from start to end."""

    seconds: float
    text: str
    """Standard output."""


def ask(kubeconfig: Path, *words: str) -> Asked:
    """``kubectl slipway ...``, without the few hundredths of a second that kubectl takes to find its plugin."""
    return run([sys.executable, "-m", "slipway.cli", *words], _env(kubeconfig))


def ask_again(kubeconfig: Path, repeat: int, *words: str) -> list[float]:
    """Seconds of the same question, asked ``repeat`` times by one process that has asked it before."""
    command = [sys.executable, "-m", "bench.registry.warm", str(repeat), *words]
    seconds: list[float] = json.loads(run(command, _env(kubeconfig)).text)
    return seconds[1:]


def in_json(*words: str) -> tuple[str, ...]:
    """A question as a program asks it."""
    return (*words, "--namespace", NAMESPACE, "-o", "json")


def kubectl(cluster: Cluster, *words: str) -> Asked:
    """kubectl itself."""
    return run([str(cluster.kubectl), *words, "--namespace", NAMESPACE], _env(cluster.kubeconfig))


def _env(kubeconfig: Path) -> dict[str, str]:
    path = os.pathsep.join(str(REPOSITORY / part) for part in (".", "operator"))
    return {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": path}


def run(command: list[str], env: dict[str, str]) -> Asked:
    """A command to its end.

    Raises:
        RuntimeError: it failed.
        subprocess.TimeoutExpired: it took longer than ``ANSWER``.
    """
    begun = time.perf_counter()
    done = subprocess.run(
        [*WITH_THE_BENCH, *command], env=env, capture_output=True, text=True, check=False, timeout=ANSWER
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-3000:]}")
    return Asked(seconds, done.stdout)


# -------------------------------------------------------------------------------------------------------- operator


@dataclass(frozen=True)
class Start:
    """A start of the operator with everything there. Seconds from the start of its process; memory in MiB."""

    what: str
    ready: float
    """Until it says that it is (``/readyz``)."""
    looked: float
    """Until it has looked at every object once."""
    memory: float
    """Resident, at rest after that."""
    peak: float
    cpu: float
    """Processor seconds until it was at rest."""
    writes: int


def start(cluster: Cluster, what: str, objects: int) -> Start:
    """Start a process, wait until it has looked at every object, and look at it at rest."""
    with operator(cluster, start=False) as process:
        begun = time.monotonic()
        process.start(ready=False)
        eventually(process.is_ready, seconds=PATIENCE, what="the operator being ready", show=process.tail)
        ready = time.monotonic() - begun
        looked = functools.partial(_looked_at, process, objects)
        eventually(looked, seconds=PATIENCE, interval=0.2, what="every object being looked at", show=process.tail)
        seconds = time.monotonic() - begun
        _rest(process)
        return Start(
            what=what,
            ready=round(ready, 1),
            looked=round(seconds, 1),
            memory=round(process.memory()),
            peak=round(process.highest_memory()),
            cpu=round(process.cpu_seconds(), 1),
            writes=int(_metric(process, "slipway_writes_total")),
        )


def _looked_at(process: Operator, objects: int) -> bool:
    return _metric(process, "slipway_reconcile_total") >= objects and _metric(process, "slipway_queue_length") == 0


def _metric(process: Operator, name: str) -> float:
    """A metric; not a number while the operator is too busy to say."""
    try:
        return process.metric(name)
    except OSError:
        return float("nan")


def _rest(process: Operator) -> None:
    """Wait until nothing is written for five seconds."""
    end, before = time.monotonic() + PATIENCE, -1.0
    while (now := _metric(process, "slipway_writes_total")) != before:
        if time.monotonic() > end:
            raise RuntimeError(f"the operator did not come to rest: {now:.0f} writes")
        before = now
        time.sleep(5)
