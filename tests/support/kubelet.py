"""Plays scheduler, kubelet and gateway on a control plane that has none: writes the status that they would write.

The Job, Deployment, ReplicaSet and EndpointSlice controllers are the real ones. What a pod "does" is a function from
the pod to an ``Act``, by the pod's role; a test changes it to make a training fail, hang or never start.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from slipway import contract
from slipway.api.common import FIELD_MANAGER, Label
from slipway.kube.objects import GATEWAY_CLASSES, GATEWAYS, HTTP_ROUTES, PODS, TRAFFIC_POLICIES, Resource
from tests.support.api_server import Api, Object, Refusal

ACCURACY = "0.9733"
NODE = "node-1"
CONTROLLER = "gateway.envoyproxy.io/tests"
"""Whom the played gateway is taken for: the one that can do everything."""
_NODES = Resource("", "v1", "nodes", "Node", namespaced=False)


@dataclass(frozen=True)
class Act:
    """What becomes of a pod. With an ``exit_code`` it ends; without one it runs, ready or not.

    ``unschedulable`` are the scheduler's words and ``waiting`` the kubelet's reason and words: it does not start.
    """

    exit_code: int | None = None
    message: str = ""
    ready: bool = True
    unschedulable: str = ""
    waiting: tuple[str, str] | None = None


def environment(pod: Object) -> dict[str, str]:
    """The variables of the pod's container that have a value of their own."""
    (container,) = pod["spec"]["containers"]
    return {e["name"]: e["value"].replace("$$(", "$(") for e in container["env"] if "value" in e}


def trains_well(pod: Object) -> Act:
    """A training that ends at once with a model; its accuracy may stand in the run's parameter ``accuracy``."""
    spec = contract.loads(contract.TrainSpec, environment(pod)[contract.Env.SPEC])
    place = f"s3://models/{spec.model}/{spec.runUid}"
    result = contract.TrainResult(
        artifact=contract.Artifact(
            f"{place}/model.onnx", "sha256:" + spec.runUid.replace("-", "").ljust(64, "0"), 17432
        ),
        signature=contract.Signature(
            [contract.Tensor("x", "FP32", [-1, 64])], [contract.Tensor("y", "FP32", [-1, 10])]
        ),
        metrics=[contract.Metric("accuracy", spec.parameters.get("accuracy", ACCURACY))],
        data=[contract.DataResult(d.name, d.uri, d.digest or "sha256:" + "d" * 64, 2, 1024) for d in spec.data],
        environment=contract.Environment("3.13.5", torch="2.6.0", onnxruntime="1.21.0"),
        result=f"{place}/result.json",
        startedAt="2026-01-01T00:00:00Z",
        finishedAt="2026-01-01T00:00:10Z",
        reproduction=compared(spec),
    )
    return Act(contract.EXIT_OK, contract.dumps(result))


def compared(spec: contract.TrainSpec) -> contract.Reproduction | None:
    """What a trainer that makes a version once more says; the run's parameter ``verdict`` may name another."""
    if spec.reproduce is None:
        return None
    verdict = spec.parameters.get("verdict", "Identical")
    return contract.Reproduction(spec.reproduce.modelVersion, spec.reproduce.uid, verdict)


def checks_well(pod: Object) -> Act:
    """A check of data that pass; their content follows from the place that they lie at."""
    spec = contract.loads(contract.DatasetSpec, environment(pod)[contract.Env.SPEC])
    digest = hashlib.sha256(spec.uri.encode()).hexdigest()
    place = f"s3://models/datasets/{spec.dataset}"
    result = contract.DatasetResult(
        f"sha256:{digest}",
        files=2,
        bytes=1024,
        read=2,
        manifest=f"{place}/manifests/{digest}.txt",
        rows=None if spec.format == "Files" else 1797,
        columns=None if spec.format == "Files" else 65,
        profile=None if spec.format == "Files" else f"{place}/profiles/{digest}.json",
        checked=len(spec.schema) + len(spec.checks),
    )
    return Act(contract.EXIT_OK, contract.dumps(result))


def verifies_well(pod: Object) -> Act:
    """A verification that finds what it should."""
    spec = contract.loads(contract.ServeSpec, environment(pod)[contract.Env.SPEC])
    return Act(
        contract.EXIT_OK,
        contract.dumps(contract.VerifyResult(spec.artifact.digest, "CPUExecutionProvider", "1.23.0", 17)),
    )


def signs_well(pod: Object) -> Act:
    """A signing pod that does as it is asked."""
    spec = contract.loads(contract.EvidenceSpec, environment(pod)[contract.Env.SPEC])
    (container,) = pod["spec"]["containers"]
    has_key = contract.Env.SIGNING_KEY in {e["name"] for e in container["env"]}
    key = hashlib.sha256(spec.publicKey.encode()).hexdigest()
    digest, stem = f"sha256:{'c' * 64}", f"{spec.artifact.uri}.{key[:16]}"
    known = (f"{stem}.provenance.json", digest) if spec.statement else (None, None)
    made = contract.EvidenceResult(f"sha256:{key}", f"{stem}.sig", digest, has_key, *known)
    return Act(contract.EXIT_OK, contract.dumps(made))


def discards(pod: Object) -> Act:
    """A file that is there and goes."""
    spec = contract.loads(contract.ServeSpec, environment(pod)[contract.Env.SPEC])
    return Act(contract.EXIT_OK, contract.dumps(contract.DiscardResult(spec.artifact.digest)))


def serves(_pod: Object) -> Act:
    """A server that is ready."""
    return Act()


def passes(_pod: Object) -> Act:
    """A person's test that finds nothing wrong."""
    return Act(contract.EXIT_OK)


Program = Callable[[Object], Act | None]
"""None: nothing happens to this pod yet."""
_USUAL: Final[Mapping[str, Program]] = {
    "train": trains_well,
    "dataset": checks_well,
    "verify": verifies_well,
    "discard": discards,
    "sign": signs_well,
    "serve": serves,
    "test": passes,
}


def hangs(_pod: Object) -> None:
    """A pod that nobody starts."""


def fails(exit_code: int, reason: str, message: str) -> Program:
    """A program that gives up with a document of the contract."""
    return lambda _pod: Act(exit_code, contract.dumps(contract.Failure(reason, message)))


@dataclass
class Kubelet:
    """Gives each pod of ours its fate, once; a running pod is looked at again, so that it may become ready or end."""

    api: Api
    gateway_api: bool = True
    interval: float = 0.05
    _programs: dict[tuple[str, str], Program] = field(default_factory=dict)
    _done: dict[str, Act] = field(default_factory=dict)
    _pulse: float = float("-inf")
    _addresses: Iterator[int] = field(default_factory=itertools.count)

    def play(self, namespace: str, role: str, program: Program) -> None:
        """From now on, do this with pods of a role in a namespace."""
        self._programs[namespace, role] = program

    def turn(self) -> None:
        """Look at everything once."""
        if time.monotonic() > self._pulse + 5:
            self._beat()
            self._pulse = time.monotonic()
        for pod in self.api.list(PODS, selector=f"{Label.MANAGED_BY}={FIELD_MANAGER}"):
            uid = pod["metadata"]["uid"]
            if "deletionTimestamp" in pod["metadata"]:
                self._tolerate(partial(self._end, pod))
                continue
            before = self._done.get(uid)
            if before is not None and before.exit_code is not None:
                continue
            role = pod["metadata"]["labels"][Label.ROLE]
            act = self._programs.get((pod["metadata"]["namespace"], role), _USUAL[role])(pod)
            if act is not None and act != before:
                self._tolerate(partial(self._become, pod, act))
                self._done[uid] = act
        if self.gateway_api:
            self._answer_routes()
            self._answer_policies()

    def _beat(self) -> None:
        """The one node, and its heartbeat: without a node, no pod is behind a Service; without a heartbeat, no pod is
        ready for long."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        lease = {"holderIdentity": NODE, "leaseDurationSeconds": 40, "renewTime": now}
        self.api.apply(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": NODE, "namespace": "kube-node-lease"},
                "spec": lease,
            }
        )
        node = self.api.get(_NODES, None, NODE) or self.api.call(
            "POST", _NODES.path(None), {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        )
        told = {c["type"]: c["status"] for c in node.get("status", {}).get("conditions", ())}
        if told.get("Ready") != "True":
            # Also after a file of tests without a kubelet, in which the controllers have given the node up: they take
            # its pods for lost from then on, one by one and at any time, until the node itself says otherwise.
            ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
            condition = {**ready, "lastTransitionTime": now, "lastHeartbeatTime": now}
            status = {"status": {"conditions": [condition]}}
            self.api.merge(_NODES, None, NODE, status, subresource="status")
        if node["spec"].get("taints") or told.get("Ready") != "True":
            # Nobody schedules here, so nobody is to be kept away either.
            self.api.merge(_NODES, None, NODE, {"spec": {"taints": []}})

    def _end(self, pod: Object) -> None:
        meta = pod["metadata"]
        path = PODS.path(meta["namespace"], meta["name"])
        self.api.call("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}})

    def _bind(self, pod: Object) -> None:
        meta = pod["metadata"]
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}, "target": target}
        self.api.call("POST", PODS.path(meta["namespace"], meta["name"], "binding"), binding)

    def _become(self, pod: Object, act: Act) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        (container,) = pod["spec"]["containers"]
        meta = pod["metadata"]
        if act.unschedulable:
            told = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": act.unschedulable}
            conditions = {"status": {"conditions": [{**told, "lastTransitionTime": now}]}}
            self.api.merge(PODS, meta["namespace"], meta["name"], conditions, subresource="status")
            return
        if "nodeName" not in pod["spec"]:
            self._bind(pod)
        state: dict[str, dict[str, object]]
        if act.waiting:
            phase, state = "Pending", {"waiting": {"reason": act.waiting[0], "message": act.waiting[1]}}
        elif act.exit_code is None:
            phase, state = "Running", {"running": {"startedAt": now}}
        else:
            phase = "Failed" if act.exit_code else "Succeeded"
            told = pod.get("status", {}).get("containerStatuses")
            began = told[0]["state"].get("running", {}).get("startedAt", now) if told else now
            ended = {"exitCode": act.exit_code, "message": act.message, "startedAt": began, "finishedAt": now}
            state = {"terminated": {**ended, "reason": "Error" if act.exit_code else "Completed"}}
        ready = phase == "Running" and act.ready
        number = next(self._addresses)
        status: dict[str, Any] = {
            "phase": phase,
            "startTime": pod.get("status", {}).get("startTime", now),
            "conditions": [
                {"type": kind, "status": "True" if ready else "False", "lastTransitionTime": now}
                for kind in ("Ready", "ContainersReady")
            ],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": f"{container['image'].partition('@')[0]}@sha256:{'1' * 64}",
                    "ready": ready,
                    "started": ready,
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }
        if pod["metadata"]["labels"][Label.ROLE] == "serve" and "podIP" not in pod.get("status", {}):
            # A group's address: an EndpointSlice takes it, and no packet ever leaves for it, because the kernel refuses
            # to connect to one. The operator asks serving pods for their counters.
            status["podIP"] = f"239.19.{number // 250 % 250}.{number % 250 + 1}"
            status["podIPs"] = [{"ip": status["podIP"]}]
        self.api.merge(PODS, meta["namespace"], meta["name"], {"status": status}, subresource="status")

    def _answer_routes(self) -> None:
        """Every Gateway that a route names takes it over."""
        for route in self.api.list(HTTP_ROUTES):
            generation = route["metadata"]["generation"]
            if all(
                c["observedGeneration"] == generation
                for p in route.get("status", {}).get("parents", ())
                for c in p["conditions"]
            ) and route.get("status", {}).get("parents"):
                continue
            parents = [self._parent(ref, generation) for ref in route["spec"]["parentRefs"]]
            meta = route["metadata"]
            status = {"status": {"parents": parents}}
            merge = partial(self.api.merge, HTTP_ROUTES, meta["namespace"], meta["name"], status, subresource="status")
            self._tolerate(merge)

    def _answer_policies(self) -> None:
        """Every Gateway accepts a policy of its routes, as Envoy Gateway does."""
        for policy in self.api.list(TRAFFIC_POLICIES):
            generation, meta = policy["metadata"]["generation"], policy["metadata"]
            told = [c for a in policy.get("status", {}).get("ancestors", ()) for c in a["conditions"]]
            if told and told[0]["observedGeneration"] == generation:
                continue
            route = self.api.get(HTTP_ROUTES, meta["namespace"], policy["spec"]["targetRefs"][0]["name"])
            if route is None:
                continue
            ancestors = [
                {
                    "ancestorRef": {
                        k: v for k, v in parent["parentRef"].items() if k in ("group", "kind", "name", "namespace")
                    },
                    "controllerName": CONTROLLER,
                    "conditions": parent["conditions"][:1],
                }
                for parent in (self._parent(ref, generation) for ref in route["spec"]["parentRefs"])
            ]
            status, where = {"status": {"ancestors": ancestors}}, (meta["namespace"], meta["name"])
            self._tolerate(partial(self.api.merge, TRAFFIC_POLICIES, *where, status, subresource="status"))

    @staticmethod
    def _parent(ref: Object, generation: int) -> Object:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        conditions = [
            {
                "type": kind,
                "status": "True",
                "reason": kind,
                "message": "",
                "lastTransitionTime": now,
                "observedGeneration": generation,
            }
            for kind in ("Accepted", "ResolvedRefs")
        ]
        return {"parentRef": ref, "controllerName": CONTROLLER, "conditions": conditions}

    @staticmethod
    def _tolerate(write: Callable[[], object]) -> None:
        """An object that went in the meantime, or whose namespace goes, is the next turn's business."""
        try:
            write()
        except Refusal as refusal:
            if refusal.code not in (404, 409) and "is being terminated" not in refusal.message:
                raise


@contextmanager
def kubelet(api: Api, *, gateway_api: bool = True) -> Iterator[Kubelet]:
    """One that turns in a thread until the end of the block; what went wrong in it is raised there."""
    made, over, failures = Kubelet(api, gateway_api), threading.Event(), []

    def loop() -> None:
        while not over.wait(made.interval):
            try:
                made.turn()
            except Exception:
                failures.append(traceback.format_exc())

    thread = threading.Thread(target=loop, name="kubelet", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        over.set()
        thread.join(10)
    assert not failures, failures[0]


def gateway(api: Api, namespace: str, name: str = "public") -> None:
    """A Gateway of Envoy Gateway's with one listener on port 80."""
    api.apply(
        {
            "apiVersion": GATEWAY_CLASSES.api_version,
            "kind": GATEWAY_CLASSES.kind,
            "metadata": {"name": "tests"},
            "spec": {"controllerName": CONTROLLER},
        }
    )
    listener = {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}
    api.apply(
        {
            "apiVersion": GATEWAYS.api_version,
            "kind": GATEWAYS.kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"gatewayClassName": "tests", "listeners": [listener]},
        }
    )
