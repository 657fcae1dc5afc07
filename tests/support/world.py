"""An operator on a real control plane with played neighbours, and the words in which tests speak of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from slipway import contract
from slipway.api.common import ACTION_ANNOTATION, API_VERSION
from slipway.kube.objects import DATASETS, DEPLOYMENTS, EVENTS, MODEL_VERSIONS, TRAINING_RUNS, Resource
from tests.support.api_server import Api, Object, eventually
from tests.support.chart import ACCOUNT
from tests.support.control_plane import AuditLog, Cluster, make_namespace
from tests.support.kubelet import Kubelet, gateway, kubelet
from tests.support.operator_process import Operator, operator

GATEWAYS_NAMESPACE: Final = "gateways"
PATIENCE: Final = 60.0
"""Seconds before a test gives up: a passing one never waits so long, and the machine may be busy with other things."""
_numbers = itertools.count(1)


@dataclass
class World:
    """What a test of the operator needs."""

    cluster: Cluster
    operator: Operator
    kubelet: Kubelet

    @property
    def api(self) -> Api:
        return self.cluster.api

    @property
    def audit(self) -> AuditLog:
        return self.cluster.audit

    # ------------------------------------------------------------------------------------------------- given

    def team(self, *, store: bool = True) -> Team:
        """A namespace of a team, in which Pod Security enforces ``restricted``, with or without an S3 place."""
        name = f"team-{next(_numbers)}"
        make_namespace(self.api, name)
        made = Team(self, name)
        if store:
            made.config_map(contract.store_object_name("default"))
        return made


@dataclass(frozen=True)
class Team:
    """One namespace, and what its people do."""

    world: World
    namespace: str

    @property
    def api(self) -> Api:
        return self.world.api

    def config_map(self, name: str, **data: str) -> Object:
        meta = {"name": name, "namespace": self.namespace}
        return self.api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})

    def run(self, name: str = "digits-1", **spec: Any) -> Object:
        """Apply a TrainingRun."""
        usual = {"model": "digits", "entrypoint": "train:main"}
        return self._apply("TrainingRun", name, {**usual, **spec})

    def dataset(self, name: str = "digits", **spec: Any) -> Object:
        """Apply a Dataset."""
        return self._apply("Dataset", name, {"uri": "s3://data/digits/", "format": "Csv", **spec})

    def register(self, model: str = "digits", number: int = 1, **spec: Any) -> Object:
        """Apply a ModelVersion by hand."""
        tensor = {"datatype": "FP32", "shape": [-1, 64]}
        digest = "sha256:" + f"{number:064x}"
        usual = {
            "model": model,
            "version": number,
            "artifact": {"uri": f"s3://models/{model}/{number}.onnx", "digest": digest, "size": 17432},
            "signature": {"inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}]},
        }
        return self._apply("ModelVersion", f"{model}-v{number}", {**usual, **spec})

    def ready_version(self, number: int = 1, **spec: Any) -> Object:
        """Register a version and wait until it is verified."""
        made = self.register(number=number, **spec)
        return self.until(MODEL_VERSIONS, made["metadata"]["name"], phase="Ready")

    def deploy(self, name: str = "digits", version: str = "digits-v1", *, routed: bool = True, **spec: Any) -> Object:
        """Apply a Deployment, with a route by the Gateway that everybody has, or without one."""
        usual: dict[str, Any] = {"modelVersion": version}
        if routed:
            parent = {"name": "public", "namespace": GATEWAYS_NAMESPACE}
            usual["route"] = {"gateway": parent, "hostnames": [f"{name}.{self.namespace}.example.com"]}
        wanted = {field: value for field, value in {**usual, **spec}.items() if value is not None}
        return self._apply("Deployment", name, wanted)

    def say(self, action: str, name: str = "digits", resource: Resource = DEPLOYMENTS) -> None:
        """``kubectl annotate mdeploy NAME slipway.dev/action=...``"""
        self.api.merge(resource, self.namespace, name, {"metadata": {"annotations": {ACTION_ANNOTATION: action}}})

    def quota(self, **hard: str) -> None:
        """Hold the namespace to a ResourceQuota (``_`` for ``/`` and ``.``), and wait until it counts."""
        names = {"jobs": "count/jobs.batch", "memory": "requests.memory"}
        wanted = {names[name]: amount for name, amount in hard.items()}
        path = f"/api/v1/namespaces/{self.namespace}/resourcequotas/small"
        made: Object = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "small", "namespace": self.namespace},
            "spec": {"hard": wanted},
        }
        query = {"fieldManager": "tests", "force": "true"}
        self.api.call("PATCH", path, made, content_type="application/apply-patch+yaml", **query)
        eventually(
            lambda: self.api.call("GET", path).get("status", {}).get("hard") == wanted, what="the quota being counted"
        )

    def play(self, role: str, program: Callable[[Object], Any]) -> None:
        """What pods of a role do in this namespace from now on."""
        self.world.kubelet.play(self.namespace, role, program)

    def _apply(self, kind: str, name: str, spec: Object) -> Object:
        meta = {"name": name, "namespace": self.namespace}
        return self.api.apply({"apiVersion": API_VERSION, "kind": kind, "metadata": meta, "spec": spec})

    # -------------------------------------------------------------------------------------------------- then

    def get(self, resource: Resource, name: str) -> Object | None:
        return self.api.get(resource, self.namespace, name)

    def all(self, resource: Resource, selector: str = "") -> list[Object]:
        return list(self.api.list(resource, self.namespace, selector))

    def until(
        self,
        resource: Resource,
        name: str,
        check: Callable[[Object], Any] = lambda _: True,
        *,
        phase: str | None = None,
        reason: str | None = None,
        seconds: float = PATIENCE,
    ) -> Object:
        """Wait for an object with a phase, a reason in one of its conditions, and whatever ``check`` asks."""

        def found() -> Object | None:
            live = self.get(resource, name)
            status = (live or {}).get("status", {})
            fits = (
                live is not None
                and phase in (None, status.get("phase"))
                and (reason is None or reason in {c["reason"] for c in status.get("conditions", ())})
                and check(live)
            )
            return live if fits else None

        def show() -> object:
            return (self.get(resource, name) or {}).get("status"), self.world.operator.tail()

        return eventually(found, seconds=seconds, what=f"{name} {phase or ''} {reason or ''}", show=show)

    def run_until(self, phase: str, name: str = "digits-1", **wanted: Any) -> Object:
        return self.until(TRAINING_RUNS, name, phase=phase, **wanted)

    def dataset_until(self, phase: str, name: str = "digits", **wanted: Any) -> Object:
        return self.until(DATASETS, name, phase=phase, **wanted)

    def version_until(self, phase: str, name: str = "digits-v1", **wanted: Any) -> Object:
        return self.until(MODEL_VERSIONS, name, phase=phase, **wanted)

    def deployment_until(self, phase: str, name: str = "digits", **wanted: Any) -> Object:
        return self.until(DEPLOYMENTS, name, phase=phase, **wanted)

    def gone(
        self, resource: Resource, name: str | None = None, *, selector: str = "", seconds: float = PATIENCE
    ) -> None:
        """Wait until an object, or all of a selector, are gone."""

        def left() -> list[Object]:
            if name is None:
                return self.all(resource, selector)
            live = self.get(resource, name)
            return [live] if live else []

        eventually(
            lambda: not left(), seconds=seconds, what=f"{resource.plural} {name or selector} being gone", show=left
        )

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and words of our Events about an object, in the order in which they were told."""
        told = [
            e
            for e in self.all(EVENTS)
            if e["regarding"]["name"] == name and e.get("reportingController") == "slipway.dev/operator"
        ]
        return [(e["reason"], e["note"]) for e in sorted(told, key=lambda e: e["eventTime"])]


def condition(obj: Object, kind: str) -> Object:
    """One condition of an object."""
    made: Object = next(c for c in obj["status"]["conditions"] if c["type"] == kind)
    return made


def states(obj: Object) -> dict[str, str]:
    """The conditions of an object, by type."""
    return {c["type"]: c["status"] for c in obj["status"]["conditions"]}


@contextmanager
def neighbours(cluster: Cluster) -> Iterator[Kubelet]:
    """A played kubelet and a played Gateway."""
    make_namespace(cluster.api, GATEWAYS_NAMESPACE)
    if cluster.gateway_api:
        gateway(cluster.api, GATEWAYS_NAMESPACE)
    with kubelet(cluster.api, gateway_api=cluster.gateway_api) as made:
        yield made


@contextmanager
def world_on(cluster: Cluster, *, user: str = ACCOUNT, **settings: str) -> Iterator[World]:
    """One operator that leads, and its neighbours."""
    with neighbours(cluster) as played, operator(cluster, user=user, settings=settings) as process:
        yield World(cluster, process, played)
