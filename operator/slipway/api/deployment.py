"""Deployment (``deployments.slipway.dev``, short ``mdeploy``): serves one version and moves traffic to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from slipway.api.common import (
    DURATION,
    LIST_ATOMIC,
    LIST_SET,
    AliasName,
    Allowance,
    BatchDelay,
    Column,
    Condition,
    Cpu,
    Deadline,
    Duration,
    Gpu,
    Kind,
    LastAction,
    Memory,
    Model,
    ModelName,
    ModelVersionName,
    Name,
    ObjectName,
    Rule,
    SomeTime,
    Threshold,
    Time,
    Tolerance,
    WholeSeconds,
    conditions,
    list_map,
    matching,
    rules,
)


class ServeResources(Model):
    """What one serving pod asks for. Memory and GPU are limits as well as requests; CPU is a request."""

    cpu: Cpu = "500m"
    """Cores, or thousandths of one. A request: a pod may use more where the node has it."""
    memory: Memory = "512Mi"
    """Request and limit: a pod that uses more is killed."""
    gpu: Gpu = Field(default=Gpu(), json_schema_extra={"default": {}})


class JobResources(Model):
    """What the pod of a test asks for. Memory is a limit as well as a request; CPU is a request."""

    cpu: Cpu = "100m"
    """Cores, or thousandths of one."""
    memory: Memory = "256Mi"
    """Request and limit: a pod that uses more is killed."""


class GatewayRef(Model):
    """A Gateway (gateway.networking.k8s.io). The only reference that may cross a namespace: its listener decides."""

    name: ObjectName
    """The Gateway's name."""
    namespace: Name | None = None
    """Where the Gateway lives; this namespace where absent."""
    section_name: ObjectName | None = None
    """One listener of the Gateway; all that admit the route where absent."""


_LABELS: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_NO_ADDRESS: Final = Rule("!isIP(self)", "write a host name, for example digits.example.com: a route takes no address")
_HOSTNAMES: Final = (
    Rule(
        rf"self.matches(r'^(\*\.)?{_LABELS}$')",
        "write a host name in lower case without scheme, port or path, for example digits.example.com",
    ),
    _NO_ADDRESS,
)
_HOSTNAME: Final = (
    Rule(
        rf"self.matches(r'^{_LABELS}$')",
        "write a host name in lower case without scheme, port, path or '*', for example preview.digits.example.com",
    ),
    _NO_ADDRESS,
)
_SCALE_DOWN_DELAY: Final = "30s"
_WORD: Final = "^[A-Za-z0-9_-]+$"
_WORD_SAYS: Final = "write a name of letters, digits, '-' and '_', for example x-user"


class Stickiness(Model):
    """A client stays with its version; when weights change, only the part that must move moves."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.cookie) != has(self.header)",
                "write either a cookie's name (the gateway sets it) or a header's name (the client sends it)",
            )
        )
    )

    cookie: Annotated[str, Field(max_length=64, json_schema_extra=matching(_WORD, _WORD_SAYS))] | None = None
    """A cookie's name. The gateway sets it where a client has none."""
    header: Annotated[str, Field(max_length=64, json_schema_extra=matching(_WORD, _WORD_SAYS))] | None = None
    """A header's name, for example of a user's id. Requests without it follow the weights one by one."""


class Route(Model):
    """How clients reach the model."""

    gateway: GatewayRef
    hostnames: list[Annotated[str, Field(max_length=253, json_schema_extra=rules(*_HOSTNAMES))]] = Field(
        max_length=16,
        json_schema_extra=rules(
            Rule("size(self) > 0", "write at least one host name, for example digits.example.com"), **LIST_SET
        ),
    )
    """Host names that this Deployment answers for."""
    stickiness: Stickiness | None = None
    """Keep a client with its version while weights change. Needs Envoy Gateway 1.9.1 or newer; that it is Envoy Gateway
    is checked, its version cannot be seen (docs/rollouts.md)."""


class Pause(Model):
    """Wait; without a duration, until a person says ``promote`` or ``resume``."""

    duration: Duration | None = None
    """How long."""


class AnalysisStep(Model):
    """Wait until the evidence says that the candidate does no harm; ``spec.analysis`` says what is measured."""

    duration: Duration | None = None
    """The least time that it watches; without it, it passes as soon as the evidence is there."""


class HeaderRoute(Model):
    """Requests that carry this header go to the candidate, whatever its weight: for testers, before any client."""

    name: Annotated[
        str,
        Field(
            max_length=64,
            json_schema_extra=matching(
                "^[A-Za-z0-9-]+$", "write the name of an HTTP header of letters, digits and '-', for example X-Tester"
            ),
        ),
    ]
    """The header's name; upper and lower case are the same."""
    value: Annotated[
        str,
        Field(
            max_length=256,
            json_schema_extra=matching("^[!-~]([ -~]*[!-~])?$", "write the header's exact value in visible ASCII"),
        ),
    ]
    """The exact value."""


class ShadowTerms(Model):
    """Copies of clients' requests go to the candidate, its answers are compared with those that clients got."""

    percent: int = Field(default=100, ge=1, le=100)
    """Percent of the requests that are copied."""
    min_samples: int = Field(default=500, ge=1, le=10_000_000)
    """Compared requests before it may pass."""
    max_disagreement: Allowance = "0.01"
    """The share of answers that may differ. It passes when the evidence says that it is less, it aborts when the
    evidence says that it is more."""
    tolerance: Tolerance = Field(default=Tolerance(), json_schema_extra={"default": {}})
    """For numbers; where the signature tells a classifier, only its top class counts."""
    keep_examples: int = Field(default=0, ge=0, le=100)
    """Disagreeing requests that each shadow pod remembers with both answers, for ``kubectl exec``: see
    docs/serving.md. They hold clients' data, so none is kept unless asked for."""
    max_duration: Deadline | None = None
    """How long it may take to come to a verdict; where absent, ``spec.analysis.maxDuration``, or 30m without one."""
    on_inconclusive: Literal["Pause", "Promote", "Abort"] | None = None
    """What follows when it comes to none; where absent, ``spec.analysis.onInconclusive``, or Pause without one."""


class CanaryStep(Model):
    """One step: exactly one of its fields."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "[has(self.setWeight), has(self.pause), has(self.analysis), has(self.shadow), has(self.headerRoute)]"
                ".filter(given, given).size() == 1",
                "each step is exactly one of {setWeight: N}, {pause: {}}, {pause: {duration: 30s}}, "
                "{analysis: {}}, {analysis: {duration: 60s}}, {shadow: {percent: 100}} and "
                "{headerRoute: {name: X-Tester, value: anna}}",
            )
        )
    )

    set_weight: int | None = Field(default=None, ge=1, le=100)
    """Percent of the traffic that the candidate gets."""
    pause: Pause | None = None
    analysis: AnalysisStep | None = None
    shadow: ShadowTerms | None = None
    header_route: HeaderRoute | None = None


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
            Rule(
                "size(self) == 0 || !has(self[0].analysis)",
                "an analysis needs traffic: write {setWeight: N} or {headerRoute: ...} before it",
            ),
            Rule(
                # Field by field: of whole objects the API server does not know how large they may be, and it refuses.
                "self.all(a, !has(a.shadow) || self.all(b, !has(b.shadow) || "
                "(a.shadow.keepExamples == b.shadow.keepExamples && "
                "a.shadow.tolerance.absolute == b.shadow.tolerance.absolute && "
                "a.shadow.tolerance.relative == b.shadow.tolerance.relative)))",
                "all shadow steps of a rollout compare alike, because its pods are told once: give them the same "
                "tolerance and the same keepExamples",
            ),
            **LIST_ATOMIC,
        ),
    )
    """Taken one after the other; the candidate's weight stays until the next ``setWeight``."""
    scale_down_delay: WholeSeconds = "30s"
    """How long the replaced version keeps its replicas, so that going back is instant."""


class EnvVar(Model):
    """One environment variable. No references: a test that needs a Secret runs elsewhere."""

    name: Annotated[
        str,
        Field(
            max_length=128,
            json_schema_extra=rules(
                Rule(
                    "self.matches(r'^[A-Za-z_][A-Za-z0-9_]*$')",
                    "write a name of letters, digits and '_' that does not begin with a digit",
                ),
                Rule("!self.startsWith('SLIPWAY_')", "names that begin with SLIPWAY_ are Slipway's: write another one"),
            ),
        ),
    ]
    """The variable's name."""
    value: Annotated[str, Field(max_length=4096)] = ""
    """Its value, as it is."""


class PromotionJob(Model):
    """A program of yours that judges the candidate: it ends with 0, or the rollout is aborted.

    It finds the candidate at ``$SLIPWAY_URL`` (the base of the Open Inference Protocol) and knows ``$SLIPWAY_MODEL``,
    ``$SLIPWAY_MODEL_VERSION`` and, where there is one, ``$SLIPWAY_STABLE_URL`` of the version that serves.
    """

    image: Annotated[str, Field(max_length=512, min_length=1)]
    """The image of the test: smoke, load or acceptance."""
    command: list[Annotated[str, Field(max_length=4096)]] = Field(
        default=[], max_length=64, json_schema_extra=LIST_ATOMIC
    )
    """What to run; the image's own program where absent."""
    config_map: ObjectName | None = None
    """A ConfigMap of this namespace whose keys are files in the directory where the test starts."""
    env: list[EnvVar] = Field(default=[], max_length=64, json_schema_extra=list_map("name"))
    """More variables of the test."""
    resources: JobResources = Field(default=JobResources(), json_schema_extra={"default": {}})
    deadline: Deadline = "10m"
    """A test that takes longer has failed."""


class PrePromotion(Model):
    """What must hold before clients see the candidate. With both, the Job comes first."""

    job: PromotionJob | None = None
    analysis: AnalysisStep | None = None
    """Of the traffic of ``previewHostname``, against the stable version's traffic."""


class PostPromotion(Model):
    """What must hold after the switch; where it does not, traffic goes back in one write."""

    analysis: AnalysisStep
    """The candidate's traffic against what the stable version showed before the switch."""


class BlueGreen(Model):
    """The candidate at full size beside the stable version, then one switch."""

    preview_hostname: Annotated[str, Field(max_length=253, json_schema_extra=rules(*_HOSTNAME))] | None = None
    """A host name that reaches the candidate before any client does. Needs ``spec.route``."""
    auto_promote: bool = True
    """False: wait for a person's ``promote`` before the switch."""
    pre_promotion: PrePromotion | None = None
    post_promotion: PostPromotion | None = None
    scale_down_delay: WholeSeconds = "30s"
    """How long the replaced version keeps its replicas, so that going back is instant."""


class Shadow(ShadowTerms):
    """First only copies of requests, compared; then everything, or a person decides."""

    on_pass: Literal["Promote", "Hold"] = "Promote"  # noqa: S105 - no password
    """What follows when the answers agree: Promote gives it all traffic, Hold waits for a person."""
    scale_down_delay: WholeSeconds = "30s"
    """How long the replaced version keeps its replicas, so that going back is instant."""


class Strategy(Model):
    """How traffic moves to the next version."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule("!has(self.canary) || self.type == 'Canary'", "canary belongs to type: Canary: change one of them"),
            Rule(
                "!has(self.blueGreen) || self.type == 'BlueGreen'",
                "blueGreen belongs to type: BlueGreen: change one of them",
            ),
            Rule(
                "!has(self.shadow) || self.type == 'Shadow'",
                "shadow belongs to type: Shadow; to shadow before a canary, write {shadow: {...}} as one of its steps",
            ),
            Rule(
                "!has(self.surge) || self.surge || (self.type == 'Canary' && (!has(self.canary) || "
                "!self.canary.steps.exists(s, has(s.shadow))))",
                "BlueGreen and shadows need room for another version beside the stable one: leave surge out, or write "
                "type: Canary without a shadow",
            ),
            Rule(
                "!has(self.stableScale) || self.stableScale == 'Keep' || (self.type == 'Canary' && self.surge)",
                "stableScale: Share belongs to type: Canary with surge: BlueGreen and Shadow keep the stable version "
                "whole, and surge: false shares the replicas in any case",
            ),
        )
    )

    type: Literal["Canary", "BlueGreen", "Shadow"] = "Canary"
    """Canary: some of the traffic first, then more. BlueGreen: tests beside the stable version, then one switch.
    Shadow: copies of requests first."""
    canary: Canary | None = None
    """For type Canary; without it the candidate gets everything as soon as it is ready."""
    blue_green: BlueGreen | None = None
    """For type BlueGreen; without it: one switch as soon as the candidate is ready."""
    shadow: Shadow | None = None
    """For type Shadow; without it: every request is copied, and 1% of the answers may differ."""
    surge: bool = True
    """False, where there is no room for more than ``replicas`` pods, for example of GPUs: the versions change in place,
    replica by replica, and the weights follow those that are ready. Needs type Canary and two replicas or more;
    ``scaleDownDelay`` does not apply then."""
    stable_scale: Literal["Keep", "Share"] = "Keep"
    """Keep: the stable version keeps all its replicas until it has no traffic, so an abort finds it whole. Share: it
    gives up what its share of the traffic does not need; an abort moves the traffic first, then it grows again."""
    rollback_window: int = Field(default=0, ge=0, le=49)
    """Going back to one of the last N versions that served (``Promoted`` in ``status.history``) skips the steps, as
    ``promote-full`` does. 0: all steps are run. While its replicas still run, going back is at once in any case."""

    @property
    def scale_down_delay(self) -> str:
        """How long a version that lost its traffic keeps its replicas."""
        chosen = {"Canary": self.canary, "BlueGreen": self.blue_green, "Shadow": self.shadow}[self.type]
        return chosen.scale_down_delay if chosen else _SCALE_DOWN_DELAY


class AnalysisMetric(Model):
    """A share of bad requests, which may be larger for the candidate by at most ``maxIncrease``."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "(self.name == 'slow') == has(self.threshold)",
                "threshold belongs to the metric slow, and slow needs one: {name: slow, threshold: 50ms}",
            ),
            Rule("has(self.total) == has(self.bad)", "total and bad belong together: two PromQL counters"),
            Rule(
                "!(self.name in ['requests', 'disagreement'])",
                "requests and disagreement are counted by Slipway itself: give your metric another name",
            ),
            Rule(
                "self.name in ['errors', 'slow'] ? !has(self.total) : has(self.total)",
                "errors and slow are measured by Slipway; any other metric needs total and bad, two PromQL counters",
            ),
        )
    )

    name: Annotated[
        str,
        Field(
            max_length=40,
            json_schema_extra=matching(
                "^[a-z]([-a-z0-9]*[a-z0-9])?$",
                "write errors, slow, or a name of your own of a-z, 0-9 and '-' with total and bad",
            ),
        ),
    ]
    """``errors``: answered with a status of 5xx, or with a NaN or an infinite number. ``slow``: not answered within
    ``threshold``. Any other: two PromQL counters."""
    threshold: Threshold | None = None
    """For ``slow``. Counted at the edge of the server's latency histogram at or next above it (docs/analysis.md)."""
    total: Annotated[str, Field(max_length=2048, min_length=1)] | None = None
    """PromQL of a counter of requests (docs/rollouts.md); ``$(namespace)``, ``$(deployment)``, ``$(modelVersion)`` and
    ``$(workload)`` are those of the side that is asked about."""
    bad: Annotated[str, Field(max_length=2048, min_length=1)] | None = None
    """PromQL of a counter of the bad ones among them."""
    max_increase: Allowance = "0.01"
    """How much larger the candidate's share of bad requests may be than the stable version's: "0.01" is one in a
    hundred."""
    min_samples: int = Field(default=50, ge=1, le=10_000_000)
    """Requests of each side before it may pass. Harm is acted on as soon as the evidence is there."""

    @property
    def question(self) -> str:
        """What is counted, apart from the name: ``50ms``, or a digest of the two queries. Where it changes, what was
        counted before belongs to another question."""
        if self.total is None or self.bad is None:
            return self.threshold or ""
        return hashlib.sha256(f"{self.total}\0{self.bad}".encode()).hexdigest()[:12]


class Analysis(Model):
    """What is measured while a candidate gets traffic, and what follows from it (docs/analysis.md)."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.source == 'Prometheus' || self.metrics.all(m, !has(m.total))",
                "a metric with total and bad needs source: Prometheus",
            ),
        )
    )

    source: Literal["Pods", "Prometheus"] = "Pods"
    """Pods: the operator reads the servers' own counters, nothing else is needed. Prometheus: the server that the
    chart was told of (value ``prometheus.address``)."""
    metrics: list[AnalysisMetric] = Field(
        max_length=8,
        json_schema_extra=rules(
            Rule("size(self) > 0", "write at least one metric, for example {name: errors}"), **list_map("name")
        ),
    )
    """What is measured, each judged for itself; together they may err once in twenty rollouts."""
    background: bool = True
    """Abort on harm at any time of the rollout, not only in an analysis step."""
    max_duration: Deadline = "30m"
    """How long an analysis step may take to come to a verdict."""
    on_inconclusive: Literal["Pause", "Promote", "Abort"] = "Pause"
    """What follows when it comes to none."""


# CEL knows no day: what stands before it is looked at by itself.
_TIMEOUT_WITHOUT_DAYS: Final = "self.timeout.substring(self.timeout.indexOf('d') + 1)"


class Server(Model):
    """Limits of one serving pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                # What is no duration, or longer than a delay may be, is refused by its own field, in its own words.
                # (The default of `server` is looked at before its own fields have theirs.)
                "!has(self.maxDelay) || !has(self.timeout) || "
                f"size(self.maxDelay) == 0 || !self.maxDelay.matches(r'{DURATION}') || self.maxDelay.contains('d') || "
                f"!self.timeout.matches(r'{DURATION}') || !self.timeout.matches('[1-9]') || "
                "self.timeout.matches('^0*[1-9][0-9]*d') || "
                f"duration(self.maxDelay) < duration({_TIMEOUT_WITHOUT_DAYS})",
                "maxDelay must be shorter than timeout: a request that waits for others as long as it may take in all "
                "is never answered",
                field_path=".maxDelay",
            )
        )
    )

    max_batch: int = Field(default=32, ge=1, le=4096)
    """Rows that are put together into one run of the model."""
    max_delay: BatchDelay = "0ms"
    """How long a request may wait for others, at most 1s and less than timeout; 0ms batches only what waits while the
    model is busy."""
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
    replicas: int = Field(default=1, ge=0, le=1000)
    """Pods of the version that serves everything; ``kubectl scale mdeploy`` and autoscalers write it. During a rollout
    each version has its share of them (docs/rollouts.md). 0: nothing runs and nobody is answered."""
    resources: ServeResources = Field(default=ServeResources(), json_schema_extra={"default": {}})
    server: Server = Field(default=Server(), json_schema_extra={"default": {}})
    route: Route | None = None
    """Without it: one plain Service of this Deployment's name, and weights approximated by replica counts."""
    strategy: Strategy = Field(default=Strategy(), json_schema_extra={"default": {}})
    analysis: Analysis | None = None
    """Evidence that decides about a candidate; without it only replicas, time and people do."""
    progress_deadline: Deadline = "10m"
    """How long a candidate may take to become ready before the rollout is aborted."""
    history_limit: int = Field(default=5, ge=0, le=50)
    """How many ended rollouts ``status.history`` remembers. What served is remembered first: the newest promotion, and
    as many before it as ``rollbackWindow`` reaches back, stay where rollouts that were aborted since would push them
    out. 0: the newest promotion and nothing else."""


DeploymentSpec.model_config["json_schema_extra"] = rules(
    Rule(
        "has(self.modelVersion) != has(self.alias)",
        "write either modelVersion (one version) or model and alias (whichever version holds the alias)",
    ),
    Rule("has(self.alias) == has(self.model)", "alias and model belong together: an alias is held per model"),
    Rule(
        "has(self.route) || !(self.strategy.type == 'Shadow' || (has(self.strategy.canary) && "
        "self.strategy.canary.steps.exists(s, has(s.shadow) || has(s.headerRoute))))",
        "shadow and headerRoute need a gateway: write spec.route",
    ),
    Rule(
        "has(self.route) || !(has(self.strategy.blueGreen) && has(self.strategy.blueGreen.previewHostname))",
        "previewHostname needs a gateway: write spec.route, or leave it out",
    ),
    Rule(
        "has(self.analysis) || !((has(self.strategy.canary) && "
        "self.strategy.canary.steps.exists(s, has(s.analysis))) || (has(self.strategy.blueGreen) && "
        "((has(self.strategy.blueGreen.prePromotion) && has(self.strategy.blueGreen.prePromotion.analysis)) || "
        "has(self.strategy.blueGreen.postPromotion))))",
        "an analysis needs to know what to measure: write spec.analysis, for example {metrics: [{name: errors}]}",
    ),
    Rule(
        "!(has(self.strategy.blueGreen) && has(self.strategy.blueGreen.prePromotion) && "
        "has(self.strategy.blueGreen.prePromotion.analysis)) || has(self.strategy.blueGreen.previewHostname)",
        "prePromotion.analysis looks at preview traffic: write blueGreen.previewHostname, or use a Job",
    ),
    Rule(
        "self.strategy.surge || self.replicas != 1",
        "with one replica and surge: false there is no way without a gap: write replicas: 2 or more, or leave surge "
        "out",
    ),
    Rule(
        "self.strategy.stableScale == 'Keep' || has(self.route)",
        "stableScale: Share needs a gateway, because a plain Service splits traffic by pods: write spec.route, or "
        "leave it out",
    ),
    Rule(
        "self.strategy.rollbackWindow == 0 || self.strategy.rollbackWindow < self.historyLimit",
        "rollbackWindow looks into status.history, whose newest entry is the version that serves: write a historyLimit "
        "that is larger than it",
    ),
)


class ComparisonTerms(Model):
    """How a shadow compares its answers, as it was when the rollout began: a change must not replace its pods."""

    absolute: str
    relative: str
    examples: int = 0


class VersionStatus(Model):
    """A version that this Deployment runs, and the objects that run it."""

    model_version: str
    workload: str
    service: str
    comparison: ComparisonTerms | None = None
    replicas: int = 0
    """Replicas asked for."""
    ready_replicas: int = 0


class Retiring(VersionStatus):
    """A version whose weight 0 was verified, and that keeps its replicas until ``scaleDownAt``."""

    scale_down_at: Time
    """When its backendRef leaves the route; its pods go once the gateway is seen to follow."""
    was_stable: bool = False
    """It served before: going back to it while its replicas run skips the steps."""


class Counted(Model):
    """Requests by side."""

    stable: int = 0
    candidate: int = 0


class Weights(Model):
    """Percent of the traffic by version."""

    stable: int = Field(ge=0, le=100)
    candidate: int = Field(ge=0, le=100)
    mirror: int = Field(default=0, ge=0, le=100)
    """Percent of the requests that are copied to the candidate."""
    verified: bool = False
    """The data plane was seen to follow; ``verifiedBy`` says how."""
    verified_by: Literal["Traffic", "Conditions"] | None = None
    """Traffic: the servers counted requests in the asked proportion. Conditions: the gateway's conditions hold at this
    generation, and the settle time passed; there was too little traffic to tell more, or the servers' counts say
    nothing about the weights (weight 0, a plain Service, copies, a header route, a preview, a test, stickiness, more
    than 16 pods of a version)."""
    counted: Counted | None = None
    """Requests that the servers answered lately, since the gateway took this over, where their proportion tells."""
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


class Tally(Model):
    """Requests, and the bad ones among them."""

    n: int = 0
    bad: int = 0


class Evidence(Model):
    """E-values as text: how many times better the data fit the one than the other (docs/analysis.md)."""

    harm: str = "1"
    """Against "the candidate does no harm"."""
    no_harm: str = "1"
    """Against "the candidate does harm"."""


class MetricAnalysis(Model):
    """What is known about one metric since the present step began."""

    metric: str
    stable: Tally = Tally()
    candidate: Tally = Tally()
    evidence: Evidence = Evidence()
    verdict: Literal["NoTraffic", "Undecided", "NoHarm", "Harm"] = "NoTraffic"
    needed: str = "20"
    """The e-value at which a verdict is given."""
    message: Annotated[str, Field(max_length=512)] = ""
    reference: Tally | None = None
    """What the stable version showed before it lost its traffic."""
    question: Annotated[str, Field(max_length=64)] = ""
    """What was counted: the threshold of ``slow``, a digest of two queries."""
    test: Annotated[str, Field(max_length=1024)] = ""
    """The state of the test: what it needs to go on after a restart."""


class Counters(Model):
    """What one pod (or one series) had counted, cumulative: ``n/bad`` for each metric, ``-`` where it has none."""

    source: str
    side: Literal["Stable", "Candidate"]
    counts: list[str] = Field(default=[], max_length=16, json_schema_extra=LIST_ATOMIC)
    silent: bool | None = None
    """It did not answer this time, and this is what it showed before."""


class Looked(Model):
    """The last look at the counters: the next one is compared with it."""

    questions: Annotated[str, Field(max_length=64)] = ""
    """A digest of what was counted under each name: where it changes, nothing can be compared."""
    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    metrics: list[str] = Field(default=[], max_length=16, json_schema_extra=LIST_ATOMIC)
    """The order of ``counts``."""
    counters: list[Counters] = Field(default=[], max_length=128, json_schema_extra=LIST_ATOMIC)
    trouble: Annotated[str, Field(max_length=1024)] = ""
    """Who could not be asked, and why."""


FIRST_VERSION: Final = "first version"
"""The reason of the promotion before which the Deployment served nothing: a history that ends with it is whole."""


class HistoryEntry(Model):
    """What became of a rollout of a version: it ran ``from`` .. ``to``."""

    model_version: str
    from_: Time = Field(alias="from")
    to: Time
    outcome: Literal["Promoted", "Aborted", "Superseded"]
    reason: Annotated[str, Field(max_length=1024)] = ""


class Rollout(Model):
    """The facts of a rollout that cannot be seen in the cluster."""

    target: str
    """The version that the spec asks for."""
    started_at: Time
    paused_at: Time | None = None
    """A person said ``pause``, or an analysis came to no verdict."""
    aborted_at: Time | None = None
    """This target was given up; ``retry`` or another version starts anew."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """Why it was given up, for machines."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """Why it was given up or is held, for people."""
    full: bool = False
    """The steps are skipped: ``promote-full`` was said, or it goes back to a version that served before."""
    whole_at: Time | None = None
    """The candidate was whole for the first time, and the steps began: a crash from here on is its own."""


CandidateRole = Literal["candidate", "shadow"]
Role = Literal["stable", "candidate", "shadow"]


class DeploymentStatus(Model):
    """What serves, what is on its way, and why."""

    observed_generation: int = 0
    phase: Literal["Progressing", "Paused", "Healthy", "Degraded"] = "Progressing"
    message: Annotated[str, Field(max_length=4096)] = ""
    stable: VersionStatus | None = None
    candidate: VersionStatus | None = None
    candidate_role: CandidateRole | None = None
    """``shadow``: it gets copies of requests and no client its answers. ``candidate``: it has a share of the traffic,
    or is on its way to one."""
    retiring: list[Retiring] = Field(default=[], max_length=8, json_schema_extra=list_map("modelVersion"))
    weights: Weights | None = None
    step: Step | None = None
    rollout: Rollout | None = None
    analysis: list[MetricAnalysis] = Field(default=[], max_length=16, json_schema_extra=list_map("metric"))
    looked: Looked | None = None
    history: list[HistoryEntry] = Field(default=[], max_length=50, json_schema_extra=LIST_ATOMIC)
    """The newest first: at most ``spec.historyLimit``, and always the newest promotion."""
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
        Column("Role", ".status.candidateRole", description="of the candidate", priority=1),
        Column("Message", ".status.message", priority=1),
    ),
)


def runs(deployment: Mapping[str, Any]) -> list[tuple[str, Role]]:
    """The versions that a Deployment runs, each in its role, by its status.

    >>> runs({"status": {"stable": {"modelVersion": "v1"}, "candidate": {"modelVersion": "v2"}}})
    [('v1', 'stable'), ('v2', 'candidate')]
    """
    status = deployment.get("status") or {}
    # An operator of an earlier release wrote no role.
    roles: tuple[tuple[str, Role], ...] = (
        ("stable", "stable"),
        ("candidate", status.get("candidateRole", "candidate")),
    )
    return [(status[where]["modelVersion"], role) for where, role in roles if status.get(where)]
