"""The world as one pass sees it: one frozen value, and what can be read off it without choosing anything. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slipway import contract
from slipway.api.deployment import DeploymentSpec, DeploymentStatus
from slipway.api.reasons import Reason
from slipway.kube.objects import Manifest
from slipway.serving.analysis.look import Look


@dataclass(frozen=True)
class Defaults:
    """What the chart decides for every serving pod. ``drain_seconds`` is how long a pod that was told to stop goes
    on answering, ``max_body_bytes`` the largest request it reads. ``prometheus``: a Prometheus server was named.
    ``gateway_classes``: they may be read, which takes a right on the whole cluster."""

    server_image: str
    image_pull_policy: str = "IfNotPresent"
    drain_seconds: int = 10
    max_body_bytes: int = 64 * 1024 * 1024
    prometheus: bool = False
    gateway_classes: bool = True


@dataclass(frozen=True)
class Version:
    """What it takes to run a ModelVersion."""

    name: str
    model: str
    number: int
    artifact: contract.Artifact
    signature: contract.Signature


@dataclass(frozen=True)
class Target:
    """The version that the spec asks for.

    ``wanted`` is its name (None: nobody holds the alias); ``fit`` says that it may be served now. Where it may not,
    ``reason`` and ``message`` say why, and ``stalled`` that waiting alone does not help.
    """

    wanted: str | None
    fit: bool
    reason: Reason = Reason.READY
    message: str = ""
    stalled: bool = False


@dataclass(frozen=True)
class Running:
    """The objects of one version as they are. ``endpoints`` counts the ready ones in its Service's EndpointSlices."""

    workload: Manifest | None = None
    service: Manifest | None = None
    budget: Manifest | None = None
    pods: tuple[Manifest, ...] = ()
    endpoints: int = 0

    @property
    def replicas(self) -> int:
        """Replicas asked for."""
        return int(self.workload["spec"].get("replicas", 1)) if self.workload else 0

    @property
    def outdated(self) -> int:
        """Replicas that do not run the newest pod template yet."""
        if not self.workload:
            return 0
        status, generation = self.workload.get("status", {}), self.workload["metadata"].get("generation", 0)
        if int(status.get("observedGeneration", generation)) < generation:
            return self.replicas
        return max(0, self.replicas - int(status.get("updatedReplicas", self.replicas)))

    @property
    def pods_made(self) -> int:
        """Pods that the workload has, ready or not."""
        return int(self.workload.get("status", {}).get("replicas", 0)) if self.workload else 0

    @property
    def ready(self) -> int:
        """Replicas that are ready **and** known to their Service: only those can be sent requests."""
        if not self.workload:
            return 0
        return min(int(self.workload.get("status", {}).get("readyReplicas", 0)), self.endpoints)

    @property
    def answering(self) -> frozenset[str]:
        """Names of its pods that are ready: those that requests are sent to."""
        return frozenset(
            str(pod["metadata"]["name"])
            for pod in self.pods
            for c in pod.get("status", {}).get("conditions", ())
            if c.get("type") == "Ready" and c.get("status") == "True"
        )

    @property
    def living(self) -> int:
        """Pods that hold what they were given: those that run, that wait for a node, and that are on their way out."""
        return sum(pod.get("status", {}).get("phase") not in ("Succeeded", "Failed") for pod in self.pods)

    @property
    def moved_at(self) -> str | None:
        """When one of its pods last became ready, or stopped being it."""
        times = (
            str(c["lastTransitionTime"])
            for pod in self.pods
            for c in pod.get("status", {}).get("conditions", ())
            if c.get("type") == "Ready" and c.get("lastTransitionTime")
        )
        return max(times, default=None)

    @property
    def short_since(self) -> str | None:
        """Since when fewer replicas are available than asked for, in the words of the workload's own condition."""
        conditions = self.workload.get("status", {}).get("conditions", ()) if self.workload else ()
        found = next((c for c in conditions if c["type"] == "Available" and c["status"] == "False"), None)
        return str(found["lastTransitionTime"]) if found else None


@dataclass(frozen=True)
class Taken:
    """Names that we need and that somebody else has, each with a sentence: of a version's objects, and of the route or
    front Service. Nothing of that name is written or deleted."""

    versions: Mapping[str, str] = field(default_factory=dict)
    traffic: str | None = None

    def __bool__(self) -> bool:
        return bool(self.versions) or self.traffic is not None

    def __str__(self) -> str:
        return "; ".join([*self.versions.values(), *([self.traffic] if self.traffic else [])])


@dataclass(frozen=True)
class Observed:
    """Everything that ``decide`` may know.

    Attributes:
        object: our Deployment as read.
        action: the verb in its annotation, and who wrote it.
        versions: what it takes to run them, for the versions that may have to be written.
        running: by version, every version of which an object exists that is ours.
        front: the Service named after the Deployment (without a route); ``front_pods`` its ready pods by version.
        route: the HTTPRoute named after the Deployment.
        gateway: the Gateway that the spec names; ``gateway_known`` is False where it could not be asked for.
        gateway_class: its class, where it may be read.
        policy: the BackendTrafficPolicy named after the Deployment; ``policies`` says that its kind is installed.
        preview: the HTTPRoute of the preview host name.
        peers: the headless Service of the stable version's pods, for a shadow that compares.
        tests: Jobs that judge a candidate, and their pods.
        look: what the servers' counters say, where it was time to ask.
        taken: names that we need and that somebody else has.
    """

    object: Manifest
    spec: DeploymentSpec
    status: DeploymentStatus
    target: Target
    defaults: Defaults
    action: str | None = None
    action_by: str | None = None
    versions: Mapping[str, Version] = field(default_factory=dict)
    running: Mapping[str, Running] = field(default_factory=dict)
    front: Manifest | None = None
    front_pods: Mapping[str, int] = field(default_factory=dict)
    route: Manifest | None = None
    gateway: Manifest | None = None
    gateway_known: bool = True
    gateway_api: bool = True
    gateway_class: Manifest | None = None
    policy: Manifest | None = None
    policies: bool = False
    preview: Manifest | None = None
    peers: Manifest | None = None
    tests: tuple[Manifest, ...] = ()
    test_pods: tuple[Manifest, ...] = ()
    look: Look | None = None
    taken: Taken = field(default_factory=Taken)

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.object["metadata"]["namespace"])

    @property
    def generation(self) -> int:
        return int(self.object["metadata"].get("generation", 0))

    def of(self, version: str | None) -> Running:
        """The objects of a version; an empty ``Running`` where there are none."""
        return self.running.get(version or "", _NOTHING)


_NOTHING = Running()
