"""Deployment (``deployments.slipway.dev``, short ``mdeploy``): serves one version and moves traffic to the next."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from slipway.api.common import (
    LIST_ATOMIC,
    LIST_SET,
    AliasName,
    Column,
    Condition,
    Cpu,
    Deadline,
    Duration,
    Gpu,
    Kind,
    Memory,
    Model,
    ModelName,
    ModelVersionName,
    Name,
    ObjectName,
    Rule,
    SomeTime,
    Time,
    WholeSeconds,
    conditions,
    list_map,
    rules,
)


class ServeResources(Model):
    """What one serving pod asks for. Memory and GPU are limits as well as requests; CPU is a request."""

    cpu: Cpu = "500m"
    """Cores, or thousandths of one. A request: a pod may use more where the node has it."""
    memory: Memory = "512Mi"
    """Request and limit: a pod that uses more is killed."""
    gpu: Gpu = Field(default=Gpu(), json_schema_extra={"default": {}})


class GatewayRef(Model):
    """A Gateway (gateway.networking.k8s.io). The only reference that may cross a namespace: its listener decides."""

    name: ObjectName
    """The Gateway's name."""
    namespace: Name | None = None
    """Where the Gateway lives; this namespace where absent."""
    section_name: ObjectName | None = None
    """One listener of the Gateway; all that admit the route where absent."""


class Route(Model):
    """How clients reach the model."""

    gateway: GatewayRef
    hostnames: list[
        Annotated[
            str,
            Field(
                max_length=253,
                json_schema_extra=rules(
                    Rule(
                        r"self.matches(r'^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
                        "write a host name in lower case without scheme, port or path, for example digits.example.com",
                    ),
                    Rule("!isIP(self)", "write a host name, for example digits.example.com: a route takes no address"),
                ),
            ),
        ]
    ] = Field(
        max_length=16,
        json_schema_extra=rules(
            Rule("size(self) > 0", "write at least one host name, for example digits.example.com"), **LIST_SET
        ),
    )
    """Host names that this Deployment answers for."""


class Pause(Model):
    """Wait; without a duration, until a person says ``promote`` or ``resume``."""

    duration: Duration | None = None
    """How long."""


class CanaryStep(Model):
    """One step: exactly one of its fields."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.setWeight) != has(self.pause)",
                "each step is either {setWeight: N} or {pause: {}} or {pause: {duration: 30s}}",
            )
        )
    )

    set_weight: int | None = Field(default=None, ge=1, le=100)
    """Percent of the traffic that the candidate gets."""
    pause: Pause | None = None


class Canary(Model):
    """Weights that go up step by step; after the last step the candidate gets everything."""

    steps: list[CanaryStep] = Field(
        max_length=50,
        json_schema_extra=rules(
            Rule(
                "size(self) > 0",
                "write at least one step, for example {setWeight: 10}; leave strategy out to switch at once",
            ),
            Rule(
                "self.filter(s, has(s.setWeight)).map(s, s.setWeight).isSorted()",
                "setWeight must not go backwards from step to step; to go back, abort the rollout",
            ),
            **LIST_ATOMIC,
        ),
    )
    """Taken one after the other; the candidate's weight stays until the next ``setWeight``."""
    scale_down_delay: WholeSeconds = "30s"
    """How long the replaced version keeps its replicas, so that going back is instant."""


_AT_ONCE: Final = Canary(steps=[CanaryStep(set_weight=100)])


class Strategy(Model):
    """How traffic moves to the next version."""

    type: Literal["Canary"] = "Canary"
    """Canary: some of the traffic first, then more."""
    canary: Canary = Field(default=_AT_ONCE, json_schema_extra={"default": {"steps": [{"setWeight": 100}]}})


class Server(Model):
    """Limits of one serving pod."""

    max_batch: int = Field(default=32, ge=1, le=4096)
    """Rows that are put together into one run of the model."""
    max_delay: Duration = "0ms"
    """How long a request may wait for others; 0ms batches only what waits while the model is busy."""
    queue_limit: int = Field(default=128, ge=1, le=65536)
    """Requests that may wait; the next one is answered 503 with Retry-After."""
    timeout: SomeTime = "30s"
    """The longest a request may wait and run; then it is answered 504."""


class DeploymentSpec(Model):
    """Which version to serve, how large, and how to change it."""

    model_version: ModelVersionName | None = None
    """The ModelVersion to serve. Setting another one starts a rollout."""
    alias: AliasName | None = None
    """Instead of modelVersion: follow whichever version of ``model`` holds this alias."""
    model: ModelName | None = None
    """The model whose alias is followed."""
    replicas: int = Field(default=1, ge=1, le=1000)
    """Pods of the version that serves everything; ``kubectl scale mdeploy`` and autoscalers write it."""
    resources: ServeResources = Field(default=ServeResources(), json_schema_extra={"default": {}})
    server: Server = Field(default=Server(), json_schema_extra={"default": {}})
    route: Route | None = None
    """Without it: one plain Service of this Deployment's name, and weights approximated by replica counts."""
    strategy: Strategy = Field(default=Strategy(), json_schema_extra={"default": {}})
    progress_deadline: Deadline = "10m"
    """How long a candidate may take to become ready before the rollout is aborted."""
    history_limit: int = Field(default=5, ge=0, le=50)
    """How many ended versions ``status.history`` remembers."""


DeploymentSpec.model_config["json_schema_extra"] = rules(
    Rule(
        "has(self.modelVersion) != has(self.alias)",
        "write either modelVersion (one version) or model and alias (whichever version holds the alias)",
    ),
    Rule("has(self.alias) == has(self.model)", "alias and model belong together: an alias is held per model"),
)


class VersionStatus(Model):
    """A version that this Deployment runs, and the objects that run it."""

    model_version: str
    workload: str
    service: str
    replicas: int = 0
    """Replicas asked for."""
    ready_replicas: int = 0


class Retiring(VersionStatus):
    """A version whose weight 0 was verified, and that keeps its replicas until ``scaleDownAt``."""

    scale_down_at: Time
    """When its backendRef leaves the route; its pods go once the gateway is seen to follow."""
    was_stable: bool = False
    """It served before: going back to it while its replicas run skips the steps."""


class Weights(Model):
    """Percent of the traffic by version."""

    stable: int = Field(ge=0, le=100)
    candidate: int = Field(ge=0, le=100)
    verified: bool = False
    """The gateway was seen to follow: its conditions hold at this generation, and the settle time passed."""
    mark: str = ""
    """What ``verified`` speaks of: the generation of the route, or the ready replicas behind the Service."""
    written_at: Time | None = None
    """When this mark was first seen."""
    accepted_at: Time | None = None
    """When the gateway was first seen to have taken over this mark: the settle time counts from here."""


class Step(Model):
    """Where the rollout is: ``index`` counts from 0; ``index`` = ``of`` is the end."""

    index: int
    of: int
    started_at: Time


class HistoryEntry(Model):
    """What became of a rollout of a version: it ran ``from`` .. ``to``."""

    model_version: str
    from_: Time = Field(alias="from")
    to: Time
    outcome: Literal["Promoted", "Aborted", "Superseded"]
    reason: Annotated[str, Field(max_length=1024)] = ""


class LastAction(Model):
    """The last verb that was carried out, or refused."""

    action: str
    at: Time
    by: str | None = None
    """Who asked, where known: the field manager that wrote the annotation."""
    result: Annotated[str, Field(max_length=1024)]
    """One sentence."""
    pending: bool = False
    """Carried out, but the annotation is still to be removed: what stands there now is not another wish. Without
    this fact an operator that dies between the two writes would carry the action out twice."""


class Rollout(Model):
    """The facts of a rollout that cannot be seen in the cluster."""

    target: str
    """The version that the spec asks for."""
    started_at: Time
    paused_at: Time | None = None
    """A person said ``pause``."""
    aborted_at: Time | None = None
    """This target was given up; ``retry`` or another version starts anew."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """Why it was given up, for machines."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """Why it was given up, for people."""
    full: bool = False
    """``promote-full`` was said: the steps are skipped."""


class DeploymentStatus(Model):
    """What serves, what is on its way, and why."""

    observed_generation: int = 0
    phase: Literal["Progressing", "Paused", "Healthy", "Degraded"] = "Progressing"
    message: Annotated[str, Field(max_length=4096)] = ""
    stable: VersionStatus | None = None
    candidate: VersionStatus | None = None
    retiring: list[Retiring] = Field(default=[], max_length=8, json_schema_extra=list_map("modelVersion"))
    weights: Weights | None = None
    step: Step | None = None
    rollout: Rollout | None = None
    history: list[HistoryEntry] = Field(default=[], max_length=50, json_schema_extra=LIST_ATOMIC)
    """The newest first, at most ``spec.historyLimit``."""
    last_action: LastAction | None = None
    replicas: int = 0
    """Pods of all versions, for the scale subresource."""
    selector: str | None = None
    """Label selector of those pods, for the scale subresource."""
    url: str | None = None
    """Where to send an inference request."""
    conditions: list[Condition] = conditions()


DEPLOYMENT: Final = Kind(
    kind="Deployment",
    plural="deployments",
    singular="deployment",
    short="mdeploy",
    spec=DeploymentSpec,
    status=DeploymentStatus,
    description="Serves one ModelVersion and moves traffic to the next without losing a request.",
    rules=(
        Rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40",
            "metadata.name must be at most 40 characters of a-z, 0-9 and '-' and begin with a letter: "
            "Services are named after it",
        ),
    ),
    scale={
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    },
    columns=(
        Column("Phase", ".status.phase"),
        Column("Stable", ".status.stable.modelVersion"),
        Column("Candidate", ".status.candidate.modelVersion"),
        Column("Weight", ".status.weights.candidate", "integer", description="percent of the candidate"),
        Column("Ready", ".status.stable.readyReplicas", "integer"),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Message", ".status.message", priority=1),
    ),
)
