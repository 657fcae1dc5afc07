"""The local cluster as the end-to-end tests see it: the cluster, a tenant's namespace, the operator's processes.

Waits ask the API with a deadline; what was seen instead is in the message. Nothing here knows how a cluster is made:
``make up images deploy`` makes it, ``make env`` says where it is.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import yaml
from minio import Minio, S3Error

from examples.quickstart.make_data import digits_csv
from slipway import contract
from slipway.api.common import ACTION_ANNOTATION, FIELD_MANAGER
from slipway.kube.act import REPORTER
from slipway.kube.objects import (
    BUDGETS,
    CONFIG_MAPS,
    DATASETS,
    DEPLOYMENTS,
    EVENTS,
    HTTP_ROUTES,
    JOBS,
    MODEL_VERSIONS,
    PODS,
    SERVICES,
    TRAFFIC_POLICIES,
    TRAINING_RUNS,
    WORKLOADS,
    Resource,
)
from tests.support import full_disk, onnx_models
from tests.support.api_server import LEASES, NAMESPACES, Api, Object, Refusal, eventually
from tests.support.load import Load

REPOSITORY: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = REPOSITORY / "examples"
OPERATOR_NAMESPACE: Final = "slipway-system"
RELEASE: Final = "slipway"
MODEL: Final = "digits"
QUICKSTART: Final = "digits"
"""The namespace that the quickstart makes and leaves."""
QUESTION: Final[dict[str, Any]] = json.loads((EXAMPLES / "quickstart" / "question.json").read_text())
IS_TRUE: Final = "True"


def condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """A condition of an object; empty where it has none of that type."""
    found: Mapping[str, Any] = next(
        (c for c in obj.get("status", {}).get("conditions", ()) if c["type"] == kind), {"status": "", "reason": ""}
    )
    return found


def weights(obj: Mapping[str, Any]) -> tuple[int, int, bool]:
    """Stable, candidate, verified."""
    found = obj.get("status", {}).get("weights", {})
    return found.get("stable", 0), found.get("candidate", 0), found.get("verified", False)


def candidate(obj: Mapping[str, Any]) -> str | None:
    """The version on its way."""
    name: str | None = obj.get("status", {}).get("candidate", {}).get("modelVersion")
    return name


def stable(obj: Mapping[str, Any]) -> str | None:
    """The version that serves."""
    name: str | None = obj.get("status", {}).get("stable", {}).get("modelVersion")
    return name


def aborted(obj: Mapping[str, Any]) -> bool:
    """Given up to the end: degraded, and no candidate is left, so its weight 0 was verified and another may begin."""
    status = obj.get("status", {})
    return status.get("phase") == "Degraded" and candidate(obj) is None and "abortedAt" in status.get("rollout", {})


def settled_on(version: str) -> Callable[[Object], bool]:
    """The version serves and nothing is on its way, not even a replaced version that keeps its replicas."""

    def holds(obj: Object) -> bool:
        status = obj.get("status", {})
        done = status.get("phase") == "Healthy" and candidate(obj) is None and not status.get("retiring")
        return bool(done and stable(obj) == version)

    return holds


@dataclass(frozen=True)
class Artifact:
    """A model file in the S3 server."""

    uri: str
    digest: str
    size: int


class World:
    """The running cluster. One for the whole test run."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.api = Api(Path(environment["KUBECONFIG"]))
        self.gateway = environment["SLIPWAY_GATEWAY_URL"].rstrip("/")
        endpoint = urlsplit(environment["SLIPWAY_S3_ENDPOINT"])
        keys = environment["SLIPWAY_S3_ACCESS_KEY"], environment["SLIPWAY_S3_SECRET_KEY"]
        self.store = Minio(endpoint.netloc, *keys, secure=endpoint.scheme == "https")
        self._artifacts: dict[int, Artifact] = {}

    # ---------------------------------------------------------------------------------------------- programs

    def run(self, *command: str, stdin: str | None = None, seconds: float = 180) -> str:
        """A program, as a user of this cluster would run it: kubectl, helm, make.

        Raises:
            AssertionError: it failed; with what it said.
        """
        done = subprocess.run(
            command, cwd=REPOSITORY, env=self.environment, input=stdin, text=True, capture_output=True, timeout=seconds,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, (
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
        return done.stdout

    # ------------------------------------------------------------------------------------------------ models

    def bucket(self, name: str) -> None:
        """Make a bucket if there is none."""
        if not self.store.bucket_exists(name):
            with suppress(S3Error):  # another worker of this test run was first
                self.store.make_bucket(name)

    def put(self, uri: str, data: bytes) -> None:
        """Write an object; its bucket is made if there is none."""
        where = urlsplit(uri)
        self.bucket(where.netloc)
        self.store.put_object(where.netloc, where.path.lstrip("/"), io.BytesIO(data), len(data))

    def artifact(self, number: int) -> Artifact:
        """The model file of a version: a random perceptron that answers like no other number's."""
        if number not in self._artifacts:
            self._artifacts[number] = self.copy(number, f"s3://models/e2e/digits-{number}.onnx")
        return self._artifacts[number]

    def copy(self, number: int, uri: str) -> Artifact:
        """A version's model file at another place too."""
        return self.upload(uri, onnx_models.digits(seed=number).SerializeToString())

    def upload(self, uri: str, data: bytes) -> Artifact:
        """A model file at its place."""
        self.put(uri, data)
        return Artifact(uri, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))

    def digits(self) -> None:
        """The quickstart's data at ``s3://data/digits/``, made by the quickstart's own script."""
        self.put("s3://data/digits/train.csv", digits_csv())

    # ----------------------------------------------------------------------------------------------- tenants

    @contextmanager
    def tenant(self, name: str) -> Iterator[Tenant]:
        """A namespace of its own under Pod Security ``restricted``, with an S3 place; deleted at the end."""
        tenant = Tenant(self, name)
        tenant.make()
        try:
            yield tenant
        finally:
            # Nobody waits: what drains there takes no part in other tests.
            self.api.delete(NAMESPACES, None, name)

    def ask(self, host: str, model: str = MODEL) -> Object:
        """One inference request through the gateway; its answer."""
        answer = httpx.post(
            f"{self.gateway}/v2/models/{model}/infer",
            json=QUESTION,
            headers={"Host": host},
            timeout=15,
            trust_env=False,
        )
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
        made: Object = answer.json()
        return made

    def python_image(self) -> str:
        """An image with Python that the cluster has: the operator's own."""
        image: str = OperatorProcesses(self).pods()[0]["spec"]["containers"][0]["image"]
        return image

    def load(
        self,
        host: str,
        model: str = MODEL,
        *,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]] = QUESTION,
        clients: Sequence[Mapping[str, str]] = ({},),
        rate: float = 52,
        max_seconds: float = 300,
    ) -> Load:
        """A constant load on one model through the gateway: ``rate`` of each of the two kinds of clients."""
        url = f"{self.gateway}/v2/models/{model}/infer"
        return Load(url, host, body, clients=clients, rate=rate, max_seconds=max_seconds)


class Tenant:
    """One namespace and what a user does in it."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.api = world.api
        self.name = name
        self.host = f"{name}.example.com"

    def make(self) -> None:
        """The namespace and its S3 place, from the quickstart's own files; a namespace that was left is replaced."""
        if self.api.get(NAMESPACES, None, self.name) is not None:
            self.api.delete(NAMESPACES, None, self.name)
            self._until(lambda: self.api.get(NAMESPACES, None, self.name) is None, 120, "the old namespace's end", str)
        (namespace,) = self.example("quickstart/00-namespace.yaml")
        namespace["metadata"]["name"] = self.name
        self.api.create(namespace)
        for manifest in self.example("quickstart/store.yaml"):
            self.api.create(manifest)

    # ------------------------------------------------------------------------------------------------ giving

    def example(self, path: str, **spec: Any) -> list[Object]:
        """The manifests of an example, for this namespace and its own host name; ``spec`` replaces fields of it."""
        made = []
        for manifest in yaml.safe_load_all((EXAMPLES / path).read_text()):
            if manifest["kind"] != "Namespace":
                manifest["metadata"]["namespace"] = self.name
            if "route" in manifest.get("spec", {}):
                manifest["spec"]["route"]["hostnames"] = [self.host]
            if spec:
                manifest["spec"].update(copy.deepcopy(spec))
            made.append(manifest)
        return made

    def give(self, path: str, *, name: str | None = None, **spec: Any) -> Object:
        """Apply an example of one manifest."""
        (manifest,) = self.example(path, **spec)
        if name is not None:
            manifest["metadata"]["name"] = name
        return self.api.apply(manifest)

    def code(self, name: str, files: Mapping[str, str]) -> None:
        """A ConfigMap of training code."""
        meta = {"name": name, "namespace": self.name}
        self.api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": dict(files)})

    def store_place(self, place: str, *, secret_key: str | None = None) -> None:
        """A further S3 place, with another key where one is given."""
        config, secret = self.example("quickstart/store.yaml")
        for manifest in (config, secret):
            manifest["metadata"]["name"] = f"slipway-store-{place}"
        secret["stringData"]["secretKey"] = secret_key or secret["stringData"]["secretKey"]
        self.api.create(config)
        self.api.create(secret)

    def register(self, number: int, artifact: Artifact | None = None, *, place: str = "default", **spec: Any) -> str:
        """A ModelVersion of a model that was trained elsewhere; its name."""
        artifact = artifact or self.world.artifact(number)
        name = f"{MODEL}-v{number}"
        tensor = {"datatype": "FP32"}
        manifest = {
            "apiVersion": "slipway.dev/v1alpha1",
            "kind": "ModelVersion",
            "metadata": {"name": name, "namespace": self.name},
            "spec": {
                "model": MODEL,
                "version": number,
                "artifact": {
                    "uri": artifact.uri,
                    "digest": artifact.digest,
                    "size": artifact.size,
                    "store": place,
                },
                "signature": {
                    "inputs": [{"name": "x", "shape": [-1, 64], **tensor}],
                    "outputs": [{"name": "logits", "shape": [-1, 10], **tensor}],
                },
                **spec,
            },
        }
        self.api.create(manifest)
        return name

    def versions(self, *numbers: int) -> list[str]:
        """ModelVersions that are Ready."""
        names = [self.register(number) for number in numbers]
        for name in names:
            self.version_ready(name)
        return names

    def pair(self, candidate: bytes, stable: bytes) -> None:
        """digits-v1 and digits-v2 of these files, both Ready."""
        for number, data in ((1, stable), (2, candidate)):
            self.register(number, self.world.upload(f"s3://models/e2e/{self.name}-{number}.onnx", data))
        for number in (1, 2):
            self.version_ready(f"{MODEL}-v{number}")

    def version_ready(self, name: str) -> Object:
        """Wait until a ModelVersion is Ready."""
        return self.until(MODEL_VERSIONS, name, lambda o: condition(o, "Ready")["status"] == IS_TRUE, what="Ready")

    def serving(self, path: str, version: str = "digits-v1", **spec: Any) -> Object:
        """A Deployment of an example, with all its replicas."""
        self.give(path, modelVersion=version, **spec)
        return self.until(DEPLOYMENTS, MODEL, settled_on(version), what=f"serving {version}")

    # -------------------------------------------------------------------------------------------------- when

    def ask_for(self, version: str) -> None:
        """``kubectl patch``: another version."""
        self.api.merge(DEPLOYMENTS, self.name, MODEL, {"spec": {"modelVersion": version}})

    def say(self, action: str) -> Object:
        """``kubectl annotate mdeploy digits slipway.dev/action=...``, and wait until it was carried out."""
        before = self.get(DEPLOYMENTS, MODEL).get("status", {}).get("lastAction")
        self.api.merge(DEPLOYMENTS, self.name, MODEL, {"metadata": {"annotations": {ACTION_ANNOTATION: action}}})

        def carried_out(obj: Object) -> bool:
            last = obj.get("status", {}).get("lastAction")
            gone = ACTION_ANNOTATION not in obj["metadata"].get("annotations", {})
            return gone and last is not None and last != before and last["action"] == action

        return self.until(DEPLOYMENTS, MODEL, carried_out, what=f"the action {action}", seconds=30)

    # -------------------------------------------------------------------------------------------------- then

    def get(self, resource: Resource, name: str) -> Object:
        """One object, which must be there."""
        found = self.api.get(resource, self.name, name)
        assert found is not None, f"there is no {resource.kind} {self.name}/{name}"
        return found

    def until(
        self, resource: Resource, name: str, holds: Callable[[Object], bool], *, what: str, seconds: float = 120
    ) -> Object:
        """Wait until an object is there and something holds of it.

        Raises:
            AssertionError: not within the time; with the object's status, the events and the logs of the namespace.
        """
        seen: list[Object | None] = [None]

        def look() -> bool:
            seen[0] = self.api.get(resource, self.name, name)
            return seen[0] is not None and holds(seen[0])

        def show() -> str:
            status = json.dumps((seen[0] or {}).get("status"), indent=1)
            return f"{resource.kind} {name} is {status if seen[0] else 'not there'}\n{self.explain()}"

        self._until(look, seconds, what, show)
        assert seen[0] is not None
        return seen[0]

    @staticmethod
    def _until(holds: Callable[[], bool], seconds: float, what: str, show: Callable[[], str]) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s: {show()}"
            time.sleep(0.25)

    def trained(self, name: str, *, seconds: float = 240) -> Object:
        """Wait until a TrainingRun has succeeded; a failure ends the wait at once."""

        def over(obj: Object) -> bool:
            assert condition(obj, "Stalled")["status"] != IS_TRUE, f"{name}: {obj['status']}\n{self.explain()}"
            return bool(condition(obj, "Succeeded")["status"] == IS_TRUE)

        return self.until(TRAINING_RUNS, name, over, what="Succeeded", seconds=seconds)

    def explain(self) -> str:
        """What a person would look at: objects, events, the last lines of the pods."""
        said = []
        for title, arguments in (
            ("objects", ("get", "slipway,jobs,pods,httproutes", "-o", "wide")),
            ("events", ("get", "events", "--sort-by", ".metadata.creationTimestamp")),
            ("logs", ("logs", "--selector", "app.kubernetes.io/managed-by=slipway", "--prefix", "--tail", "15")),
        ):
            done = subprocess.run(
                ["kubectl", *arguments, "--namespace", self.name], env=self.world.environment, text=True,
                capture_output=True, timeout=60, check=False,
            )  # fmt: skip
            said.append(f"-- {title} of {self.name}\n{done.stdout[-6000:]}")
        return "\n".join(said)

    def pods(self, **labels: str) -> Sequence[Object]:
        """Pods by label, the keys without our prefix: ``role="train"``."""
        selector = ",".join(f"slipway.dev/{k.replace('_', '-')}={v}" for k, v in labels.items())
        return self.api.list(PODS, self.name, selector)

    def signal(self, number: signal.Signals, **labels: str) -> int:
        """Send a signal to the servers of this tenant's pods, and say to how many.

        Raises:
            AssertionError: there is none on this machine.
        """
        found = self._servers(**labels)
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
        return len(found)

    def fill_scratch(self, **labels: str) -> int:
        """Make the only directory that these servers may write to full, and say of how many pods.

        Raises:
            AssertionError: there is none on this machine.
        """
        one_of_each = {Path(f"/proc/{p.pid}/ns/mnt").stat().st_ino: p for p in self._servers(**labels)}
        for process in one_of_each.values():
            full_disk.fill(process.pid, contract.MODEL_DIR)
        return len(one_of_each)

    def _servers(self, **labels: str) -> list[Process]:
        found = [p for p in processes_of(self.pods(role="serve", **labels)) if "slipway_server" in p.command]
        assert found, "these pods run no server at present"
        return found

    def events(self, reason: str) -> list[str]:
        """Messages of the Events of one reason about Deployments, once there is one: an Event follows the status in
        which a test saw that it was time for it."""
        told: list[str] = []

        def look() -> bool:
            found = self.api.call("GET", f"/apis/events.k8s.io/v1/namespaces/{self.name}/events")["items"]
            told[:] = [e["note"] for e in found if e["reason"] == reason and e["regarding"]["kind"] == "Deployment"]
            return bool(told)

        self._until(look, 20, f"an Event {reason}", self.explain)
        return told

    def written(self) -> dict[str, str]:
        """All that the operator has written here, by kind, name and uid, so that two moments can be compared: any write
        of its to an object of ours shows, status included, any that made, changed or deleted a child, and any Event;
        of what others write nothing does."""
        made: dict[str, str] = {}
        for resource in (DATASETS, TRAINING_RUNS, MODEL_VERSIONS, DEPLOYMENTS):
            made |= {_named(obj, resource): obj["metadata"]["resourceVersion"] for obj in self._all(resource)}
        for resource in (JOBS, WORKLOADS, SERVICES, BUDGETS, CONFIG_MAPS, HTTP_ROUTES, TRAFFIC_POLICIES):
            for obj in self._all(resource):
                share = [e for e in obj["metadata"].get("managedFields", ()) if e.get("manager") == FIELD_MANAGER]
                if share:
                    made[_named(obj, resource)] = json.dumps(share, sort_keys=True) + json.dumps(obj.get("spec"))
        events = [e for e in self._all(EVENTS) if e.get("reportingController") == REPORTER]
        return made | {_named(event, EVENTS): event["note"] for event in events}

    def _all(self, resource: Resource) -> Sequence[Object]:
        return self.api.list(resource, self.name)

    def refused(self, manifest: Mapping[str, Any]) -> str:
        """The API server's sentence for a manifest that it does not take."""
        try:
            self.api.create(manifest, dry_run=True)
        except Refusal as refusal:
            return refusal.message
        raise AssertionError(f"the API server took {manifest}")


def _named(obj: Object, resource: Resource) -> str:
    return f"{resource.kind}.{resource.group} {obj['metadata']['name']} {obj['metadata']['uid']}"


class OperatorProcesses:
    """The operator's own processes on this machine, to be killed without a word."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._api = world.api

    def pods(self) -> list[Object]:
        """The operator's pods."""
        selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=operator"
        return list(self._api.list(PODS, OPERATOR_NAMESPACE, selector))

    def kill(self) -> int:
        """SIGKILL to every process of every replica, the leader and those that stand by; how many there were.

        Between two lives of a container only its sandbox is there, so nobody may be killed at all. A test whose point
        is that the operator died says so of the number.

        Raises:
            AssertionError: not even a sandbox is on this machine.
        """
        killed = 0
        for process in processes_of(self.pods()):
            if "slipway" in process.command:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                    killed += 1
        return killed

    def replace(self) -> int:
        """Kill them, and let others begin at once: without the kubelet's growing delay between two lives of a
        container, and without the quarter of a minute that a dead leader's Lease still lasts. How many were killed."""
        pods = self.pods()
        killed = self.kill()
        for pod in pods:
            with suppress(Refusal):  # gone already
                path = PODS.path(OPERATOR_NAMESPACE, pod["metadata"]["name"])
                self._api.call("DELETE", path, {"gracePeriodSeconds": 0})
        for lease in self._api.list(LEASES, OPERATOR_NAMESPACE):
            self._api.delete(LEASES, OPERATOR_NAMESPACE, lease["metadata"]["name"])
        return killed

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody operates within this block; all are ready again at its end."""
        where = (OPERATOR_NAMESPACE, RELEASE)
        workload = self._api.get(WORKLOADS, *where)
        assert workload is not None, "the operator is not installed"

        def scale(count: int, holds: Callable[[], bool]) -> None:
            self._api.merge(WORKLOADS, *where, {"spec": {"replicas": count}})
            eventually(holds, seconds=120, what=f"{count} pods of the operator")

        scale(0, lambda: not self.pods())
        try:
            yield
        finally:
            scale(workload["spec"]["replicas"], self.ready)

    def ready(self) -> bool:
        """Whether all replicas are ready."""
        pods = self.pods()
        return bool(pods) and all(condition(pod, "Ready")["status"] == IS_TRUE for pod in pods)


@dataclass(frozen=True)
class Process:
    """One process of this machine: its id, the paths of its control groups, its command line."""

    pid: int
    cgroup: str
    command: str


def processes_of(pods: Iterable[Object]) -> list[Process]:
    """What runs in these pods, their sandboxes included.

    Raises:
        AssertionError: nothing of them is on this machine.
    """
    uids = [pod["metadata"]["uid"] for pod in pods]
    found = [process for process in _processes() if any(uid in process.cgroup for uid in uids)]
    assert found, "no process of these pods is on this machine: is the cluster the local one?"
    return found


def _processes() -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield Process(
                    int(entry.name),
                    (entry / "cgroup").read_text().replace("_", "-"),
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"),
                )
            except OSError:
                continue  # ended meanwhile


def environment() -> dict[str, str]:
    """This process's environment and what ``make env`` adds to it, unless it is there already.

    Raises:
        LookupError: there is no cluster; with what make said.
    """
    if os.environ.get("SLIPWAY_GATEWAY_URL"):
        return dict(os.environ)
    done = subprocess.run(["make", "-s", "env"], cwd=REPOSITORY, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise LookupError(done.stderr.strip())
    given = dict(os.environ)
    for name, value in re.findall(r'^export (\w+)="(.*)"$', done.stdout, re.MULTILINE):
        given[name] = value.replace("$PATH", os.environ["PATH"])
    return given
