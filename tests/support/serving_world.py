"""The neighbours of the serving room in a story: kubelet, endpoints, gateway, a person, a clock; and the invariants.

Neighbours do not answer at once: replicas take ``START`` seconds to become ready, a gateway ``TAKE_OVER`` seconds to
take a route over. What must always hold is checked after every single write of the operator.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from slipway.api.common import ACTION_ANNOTATION, Label, parse_time, rfc3339
from slipway.api.deployment import AnalysisMetric, Tally
from slipway.kube.act import act
from slipway.kube.client import Conflict
from slipway.kube.fake import Crash, FakeKube
from slipway.kube.objects import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    GATEWAYS,
    HTTP_ROUTES,
    JOBS,
    PODS,
    SERVICES,
    TRAFFIC_POLICIES,
    WORKLOADS,
    Key,
    Manifest,
    Resource,
)
from slipway.serving.analysis.look import Look, Side
from slipway.serving.analysis.pods import Addresses, Answers
from slipway.serving.analysis.prometheus import Names
from slipway.serving.children import child_name
from slipway.serving.decide import decide
from slipway.serving.eyes import Counting
from slipway.serving.observe import SERVICE_OF_SLICE, observe
from slipway.serving.observed import Defaults, Observed
from tests.support.builders import NAMESPACE, T0
from tests.support.serving_builders import NAME

START: Final = 3
"""Seconds until a new replica is ready."""
TAKE_OVER: Final = 1
"""Seconds until the gateway has taken a route over."""
PASSES: Final = 30
"""Passes after which an operator that still writes never rests."""
RESYNC: Final = 600
"""Seconds between two looks at an object to which nothing happens."""
DEFAULTS: Final = Defaults(server_image="server:1")
POLICY_FRAME: Final = {"targetRefs", "mergeType"}
"""What every policy has."""
KEY: Final = Key(NAMESPACE, NAME)
NO_ROOM: Final = {
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        }
    ]
}


SCRAPE: Final = 5
"""Seconds between two scrapes of the Prometheus."""


class Blind:
    """``Eyes`` that see nothing."""

    async def look(self, seen: Observed) -> Look | None:
        return None


@dataclass
class Scraped:
    """``PrometheusCounters`` of a world."""

    world: World

    async def read(self, sides: Mapping[Side, Names], metrics: Sequence[AnalysisMetric]) -> Answers:
        return {
            side: {
                f"series of {pod}": {
                    metric.name: Tally(n=int(n), bad=int(bad))
                    for metric in metrics
                    for n, bad in [counted.get(metric.name, (0.0, 0.0))]
                }
                for pod, counted in self.world.scraped(names["modelVersion"]).items()
            }
            for side, names in sides.items()
        }, ""


@dataclass
class World:
    """FakeKube, a clock, the operator, its neighbours, and the log of what everybody did."""

    kube: FakeKube = field(default_factory=FakeKube)
    now: datetime = field(default_factory=lambda: parse_time(T0))
    log: list[str] = field(default_factory=list)
    troubles: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By version: the container status of pods that never become ready."""
    refusal: Mapping[str, str] | None = None
    """What the gateway says no with."""
    mute: bool = False
    """The gateway does not answer at all."""
    conflict: bool = False
    """The route has a policy already, of somebody else."""
    stale: set[str] = field(default_factory=set)
    """Versions whose pods do not follow a changed template."""
    test_ends: str | None = None
    """How a person's Job ends: Complete or Failed; None: it does not."""
    rate: float = 0.0
    """Requests a second."""
    previews: float = 0.0
    """Requests a second by the preview's host name, where there is a preview."""
    testers: float = 0.0
    """Requests a second with the header of a header route, where there is one."""
    astray: Mapping[str, int] | None = None
    """Percent by Service that the gateway really carries, whatever it says; None: what it says."""
    errors: dict[str, float] = field(default_factory=dict)
    """By version: the share of requests that fail."""
    slow: dict[str, float] = field(default_factory=dict)
    """By version: the share of requests that are slow."""
    strangers: bool = False
    """No stable pod knows the id of a copy."""
    silent: set[str] = field(default_factory=set)
    """Versions of which the first pod's counters cannot be read."""
    differs: float = 0.0
    """The share of mirrored answers that differ."""
    prometheus: bool = False
    """There is a Prometheus, which the operator was told of."""
    room: int | None = None
    """Pods that find a node; None: any number."""
    by_person: bool = False
    """A person just changed the number of replicas: scaling down is what was asked for."""

    def __post_init__(self) -> None:
        self._began = self.now
        self._seen: dict[str, int] = {}
        self._route_since: dict[int, datetime] = {}
        self._carried: dict[str, int] = {}
        self._placed: set[str] = set()
        self._jobs_since: dict[str, datetime] = {}
        self._mirrored: dict[str, int] = {}
        self._by_header: list[str] = []
        self._counted: dict[str, dict[str, tuple[float, float]]] = {}
        self._scraped: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
        self._scraped_at = self.now - timedelta(seconds=SCRAPE)
        self.eyes = Counting(self, Scraped(self) if self.prometheus else None, clock=lambda: self.now)
        self.defaults = replace(DEFAULTS, prometheus=self.prometheus)
        self._message = ""
        self._status: Manifest = {}
        self._looked_at = -1
        self._wake_at = self.now
        self._before = self.kube.snapshot()
        self.kube.on_write = self._wrote

    # ------------------------------------------------------------------------------------------------ the log

    def tell(self, who: str, what: str) -> None:
        """One line."""
        seconds = int((self.now - self._began).total_seconds())
        self.log.append(f"{seconds:>5}s  {who:<9} {what}")

    def _wrote(self) -> None:
        line = self.kube.log[-1]
        verb, kind, where = line.split()
        name = where.partition("/")[2]
        live = self.kube.snapshot()
        self._check(verb, live)
        self._before = live
        self.tell("operator", self._describe(verb, kind, name, live))

    def _describe(self, verb: str, kind: str, name: str, live: Mapping[tuple[str, str, str, str], Manifest]) -> str:
        if verb == "status":
            status = self.the(DEPLOYMENTS, NAME)["status"]
            told = f"{status['phase']}: {status['message']}"
            old, self._status = self._status, status
            if told == self._message:
                changed = sorted(k for k in {*status, *old} if k != "conditions" and status.get(k) != old.get(k))
                told = ", ".join(changed) or "conditions"
                return f"records {told}"
            self._message = told
            return f"says {told}"
        if verb == "apply" and kind == "HTTPRoute":
            return f"routes {self.weights_of(self.the(HTTP_ROUTES, name))}"
        if verb == "apply" and kind == "workload":
            return f"applies workload {name} with {self.the(WORKLOADS, name)['spec']['replicas']} replicas"
        if verb == "apply" and kind == "Service" and name == NAME:
            chosen = self.the(SERVICES, name)["spec"]["selector"].get(Label.MODEL_VERSION, "all versions")
            return f"selects {chosen}"
        return f"{verb} {kind} {name}"

    def weights_of(self, route: Manifest) -> str:
        """The weights of a route, to be read."""
        refs = route["spec"]["rules"][0]["backendRefs"]
        told = ", ".join(f"{ref['name'].removeprefix(NAME + '-')} {ref['weight']}" for ref in refs)
        copies = "".join(
            f", copies {percent}% to {n.removeprefix(NAME + '-')}" for n, percent in _mirror(route).items()
        )
        matches = [r["matches"][0]["headers"][0] for r in route["spec"]["rules"][1:]]
        headers = "".join(f", {h['name']}: {h['value']} to the candidate" for h in matches)
        at = "" if route["metadata"]["name"] == NAME else f" for {route['spec']['hostnames'][0]}"
        return told + copies + headers + at

    # --------------------------------------------------------------------------------------------- the operator

    async def look(self) -> bool:
        """One pass; whether it wrote anything."""
        observed = await observe(self.kube, KEY, self.defaults, self.eyes)
        return observed is not None and await self.carry_out(observed)

    async def carry_out(self, observed: Observed) -> bool:
        """Decide and act on what was observed, perhaps a while ago."""
        plan = decide(observed, self.now)
        self._wake_at = self.now + timedelta(seconds=RESYNC if plan.again is None else plan.again)
        told = len(self.kube.events)
        try:
            return await act(self.kube, observed.object, plan, self.now, "test") > 0
        except Conflict:
            return True
        finally:
            for event in self.kube.events[told:]:
                sign = "!" if event["type"] == "Warning" else "-"
                self.tell("event", f"{sign} {event['reason']}: {event['note']}")

    async def settle(self) -> None:
        """Passes until nothing is written; a crash is a new start without memory.

        As in the real one, a pass comes from a change or from the time that the last plan named: a plan that forgets
        to look again stands still here too.
        """
        if self.kube.version == self._looked_at and self.now < self._wake_at:
            return
        for _ in range(PASSES):
            try:
                if not await self.look():
                    self._looked_at = self.kube.version
                    return
            except Crash:
                self.tell("operator", "DIES and starts again")
        raise AssertionError("the operator never rests:\n" + "\n".join(self.log[-40:]))

    def advance(self, seconds: float) -> None:
        """Time passes, and nobody does anything but clients."""
        self.now += timedelta(seconds=seconds)
        self.clients(seconds)

    # --------------------------------------------------------------------------------------------------- clients

    def clients(self, seconds: float) -> None:
        """Requests come as the gateway carries them, and the ready pods of a version share its own.

        No dice: a share is a share, and what is left of a request is kept for the next second.
        """
        for name, weight in (self.astray or self._carried).items():
            self._serve(name, self.rate * seconds * weight / 100, mirrored=False)
        for name, percent in self._mirrored.items():
            self._serve(name, self.rate * seconds * percent / 100, mirrored=True)
        for name in self._by_header:
            self._serve(name, self.testers * seconds, mirrored=False)
        for route in self._all(HTTP_ROUTES):
            if route["metadata"]["name"] != NAME and "status" in route:
                self._serve(
                    route["spec"]["rules"][0]["backendRefs"][0]["name"], self.previews * seconds, mirrored=False
                )

    def _serve(self, service: str, requests: float, *, mirrored: bool) -> None:
        pods = [p for p in self._all(PODS) if p["metadata"]["annotations"]["workload"] == service and _is_ready(p)]
        if not pods or not requests:
            return
        version = pods[0]["metadata"]["labels"][Label.MODEL_VERSION]
        shares = {"requests": 0.0, "errors": self.errors.get(version, 0.0), "slow": self.slow.get(version, 0.0)}
        if mirrored:
            shares |= {"not_compared": 1.0} if self.strangers else {"disagreement": self.differs}
        requests /= len(pods)
        for pod in pods:
            mine = self._counted.setdefault(pod["metadata"]["name"], {})
            for metric, share in shares.items():
                n, bad = mine.get(metric, (0.0, 0.0))
                mine[metric] = (n + requests, bad + requests * share)

    async def read(self, pods: Addresses, metrics: Sequence[AnalysisMetric]) -> Answers:
        """``PodCounters``: what the pods have counted."""
        asked = {"requests", "errors", "disagreement", "not_compared", *(m.name for m in metrics)}
        of = {p["metadata"]["name"]: p["metadata"]["labels"].get(Label.MODEL_VERSION) for p in self._all(PODS)}
        mute = {name for those in pods.values() for name in sorted(those)[:1] if of.get(name) in self.silent}
        always = {"requests": (0.0, 0.0), "errors": (0.0, 0.0)}
        return {
            side: {
                name: {
                    metric: Tally(n=int(n), bad=int(bad))
                    for metric, (n, bad) in {**always, **self._counted.get(name, {})}.items()
                    if metric in asked
                }
                for name in those
                if name not in mute
            }
            for side, those in pods.items()
        }, "".join(f"{name}: the counters cannot be read" for name in sorted(mute))

    def scraped(self, version: str) -> dict[str, dict[str, tuple[float, float]]]:
        """What a Prometheus has of a version's pods: what they showed at its last scrape."""
        if self.now >= self._scraped_at + timedelta(seconds=SCRAPE):
            self._scraped_at, self._scraped = self.now, {}
            for pod in filter(_is_ready, self._all(PODS)):
                of = self._scraped.setdefault(pod["metadata"]["labels"][Label.MODEL_VERSION], {})
                of[pod["metadata"]["name"]] = dict(self._counted.get(pod["metadata"]["name"], {}))
        return self._scraped.get(version, {})

    # ------------------------------------------------------------------------------------------- the neighbours

    def kubelet(self) -> None:
        """Deployment controller, scheduler and kubelet: as many pods as asked for, ready after a while."""
        for pod in self._all(PODS):
            if self._find(WORKLOADS, NAMESPACE, pod["metadata"]["annotations"]["workload"]) is None:
                self.kube.remove(PODS, NAMESPACE, pod["metadata"]["name"])
        for workload in self._all(WORKLOADS):
            self._pods(workload)
        if self.room is not None:
            # Whoever came first has its place.
            came = sorted(self._all(PODS), key=lambda p: (p["metadata"]["creationTimestamp"], p["metadata"]["uid"]))
            self._placed = {p["metadata"]["name"] for p in came[: self.room]}
        for workload in self._all(WORKLOADS):
            self._report(workload)

    def _pods(self, workload: dict[str, Any]) -> None:
        name, wanted = workload["metadata"]["name"], workload["spec"]["replicas"]
        mine = [p for p in self._all(PODS) if p["metadata"]["annotations"]["workload"] == name]
        mine.sort(key=lambda p: int(p["metadata"]["name"].rsplit("-", 1)[1]))
        for pod in mine[wanted:]:
            self.kube.remove(PODS, NAMESPACE, pod["metadata"]["name"])
        for _ in range(wanted - len(mine)):
            number = self._seen[name] = self._seen.get(name, 0) + 1
            labels = workload["spec"]["template"]["metadata"]["labels"]
            self.kube.put(_pod(f"{name}-{number}", labels, name, rfc3339(self.now)))

    def _may_be_ready(self, pod: dict[str, Any]) -> bool:
        trouble = self.troubles.get(pod["metadata"]["labels"][Label.MODEL_VERSION])
        if self.room is not None and pod["metadata"]["name"] not in self._placed:
            trouble = NO_ROOM
        old_enough = self.now >= parse_time(pod["metadata"]["creationTimestamp"]) + timedelta(seconds=START)
        ready = trouble is None and old_enough
        status: dict[str, Any] = {"phase": "Running" if ready else "Pending", "conditions": []}
        if ready:
            status["podIP"] = "10.0.0.1"
        said = "True" if ready else "False"
        old: Manifest = next((c for c in pod["status"]["conditions"] if c["type"] == "Ready"), {})
        since = old.get("lastTransitionTime") if old.get("status") == said else rfc3339(self.now)
        status["conditions"] = [{"type": "Ready", "status": said, "lastTransitionTime": since}]
        if trouble is not None:
            status["conditions"] += trouble.get("conditions", [])
            status["containerStatuses"] = trouble.get("containerStatuses", [])
        if pod["status"] != status:
            self.kube.put({**pod, "status": status})
        return ready

    def _report(self, workload: dict[str, Any]) -> None:
        wanted = workload["spec"]["replicas"]
        pods = [p for p in self._all(PODS) if p["metadata"]["annotations"]["workload"] == workload["metadata"]["name"]]
        ready = sum(self._may_be_ready(pod) for pod in pods)
        old: Manifest = next(iter(workload.get("status", {}).get("conditions", ())), {})
        status = "True" if ready >= wanted else "False"
        since = old.get("lastTransitionTime") if old.get("status") == status else rfc3339(self.now)
        made = {
            "replicas": len(pods),
            "readyReplicas": ready,
            "conditions": [{"type": "Available", "status": status, "lastTransitionTime": since}],
        }
        if workload["metadata"]["labels"][Label.MODEL_VERSION] in self.stale:
            made["updatedReplicas"] = 0
        if workload.get("status") != made:
            if workload.get("status", {}).get("readyReplicas", 0) != ready:
                self.tell("kubelet", f"{workload['metadata']['name']}: {ready} of {wanted} ready")
            self.kube.put({**workload, "status": made})

    def endpoints(self) -> None:
        """EndpointSlice controller and kube-proxy: the ready pods that each Service selects."""
        services = {s["metadata"]["name"]: s for s in self._all(SERVICES)}
        for piece in self._all(ENDPOINT_SLICES):
            if piece["metadata"]["labels"][SERVICE_OF_SLICE] not in services:
                self.kube.remove(ENDPOINT_SLICES, NAMESPACE, piece["metadata"]["name"])
        for name, service in services.items():
            chosen = [
                p["metadata"]["name"]
                for p in self._all(PODS)
                if service["spec"]["selector"].items() <= p["metadata"]["labels"].items() and _is_ready(p)
            ]
            made = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": name,
                    "namespace": NAMESPACE,
                    "labels": {**service["metadata"]["labels"], SERVICE_OF_SLICE: name},
                },
                "endpoints": [
                    {
                        "addresses": ["10.0.0.1"],
                        "conditions": {"ready": True},
                        "targetRef": {"kind": "Pod", "name": pod},
                    }
                    for pod in chosen
                ],
            }
            old = self._find(ENDPOINT_SLICES, NAMESPACE, name)
            if old is None or old["endpoints"] != made["endpoints"]:
                self.kube.put(made)

    def gateway(self) -> None:
        """The gateway's controller: takes a route over, or refuses it."""
        for route in self._all(HTTP_ROUTES):
            generation = route["metadata"]["generation"]
            since = self._route_since.setdefault(generation, self.now)
            parent = route["spec"]["parentRefs"][0]
            there = self._find(GATEWAYS, parent["namespace"], parent["name"])
            if self.mute or there is None or self.now < since + timedelta(seconds=TAKE_OVER):
                continue
            no = self.refusal or {}
            conditions = [
                {
                    "type": kind,
                    "status": "False" if kind in no else "True",
                    "reason": no.get(kind, kind).split(":")[0],
                    "message": no.get(kind, "").partition(": ")[2],
                    "observedGeneration": generation,
                }
                for kind in ("Accepted", "ResolvedRefs")
            ]
            status = {"parents": [{"parentRef": parent, "controllerName": "example/gateway", "conditions": conditions}]}
            if route.get("status") != status:
                said = "refuses" if no else "follows"
                self.tell("gateway", f"{said} {self.weights_of(route)}")
                self.kube.put({**route, "status": status})
                if not no and route["metadata"]["name"] == NAME:
                    self._carried, self._mirrored = self._weights(route), _mirror(route)
                    self._by_header = [rule["backendRefs"][0]["name"] for rule in route["spec"]["rules"][1:]]

    def policies(self) -> None:
        """The gateway's controller: takes a policy over."""
        for policy in self._all(TRAFFIC_POLICIES):
            parent = {"name": "public", "namespace": "gateways"}
            generation = policy["metadata"]["generation"]
            condition = {"type": "Accepted", "status": "True", "observedGeneration": generation}
            if self.conflict:
                words = "another BackendTrafficPolicy has already attached to it"
                condition |= {"status": "False", "reason": "Conflicted", "message": words}
            status = {"ancestors": [{"ancestorRef": parent, "conditions": [condition]}]}
            if policy.get("status") != status:
                said = "refuses" if self.conflict else "accepts"
                self.tell("gateway", f"{said} the policy of {', '.join(sorted(set(policy['spec']) - POLICY_FRAME))}")
                self.kube.put({**policy, "status": status})

    def jobs(self) -> None:
        """Job controller and kubelet: a person's test ends as the story says, a while after it was made."""
        for job in self._all(JOBS):
            begun = self._jobs_since.setdefault(job["metadata"]["uid"], self.now)
            if self.test_ends is None or "status" in job or self.now < begun + timedelta(seconds=START):
                continue
            condition = {
                "type": self.test_ends,
                "status": "True",
                "message": "Job has reached the specified backoff limit",
            }
            self.tell("kubelet", f"{job['metadata']['name']}: {self.test_ends}")
            self.kube.put({**job, "status": {"conditions": [condition]}})

    def neighbours(self) -> None:
        """Everybody but the operator, once."""
        self.kubelet()
        self.jobs()
        self.endpoints()
        self.policies()
        self.gateway()

    # ----------------------------------------------------------------------------------------------- a person

    def applies(self, manifest: Manifest, what: str) -> None:
        """A person writes an object."""
        self.tell("person", what)
        old = self._find(DEPLOYMENTS, NAMESPACE, manifest["metadata"]["name"])
        made = dict(manifest)
        if manifest["kind"] == "Deployment" and old:
            made = {**old, "spec": manifest["spec"]}
        self.kube.put(made)
        self.looked()

    def changes(self, what: str, **spec: Any) -> None:
        """A person changes fields of the Deployment's spec; None takes a field away."""
        self.tell("person", what)
        if "replicas" in spec:
            self.by_person = True

        def change(obj: dict[str, Any]) -> None:
            merged = {**obj["spec"], **spec}
            obj["spec"] = {k: v for k, v in merged.items() if v is not None}

        self.kube.edit(DEPLOYMENTS, NAMESPACE, NAME, change)
        self.looked()

    def says(self, verb: str) -> None:
        """A person asks for an action."""
        self.tell("person", f"says {verb}")

        def change(obj: dict[str, Any]) -> None:
            meta = obj["metadata"]
            meta["annotations"] = {**meta.get("annotations", {}), ACTION_ANNOTATION: verb}
            field_: Manifest = {"f:metadata": {"f:annotations": {f"f:{ACTION_ANNOTATION}": {}}}}
            meta["managedFields"] = [{"manager": "kubectl-annotate", "fieldsV1": field_}]

        self.kube.edit(DEPLOYMENTS, NAMESPACE, NAME, change)
        self.looked()

    def version(self, manifest: Manifest, what: str) -> None:
        """The registry writes a ModelVersion."""
        self.tell("registry", what)
        self.kube.put(manifest)

    def ails(self, version: str, trouble: dict[str, Any], what: str) -> None:
        """Pods of a version stop being ready, or never become it."""
        self.tell("pods", what)
        self.troubles[version] = trouble

    def heals(self, version: str) -> None:
        """They are well again."""
        self.tell("pods", f"of {version} are well again")
        del self.troubles[version]

    # --------------------------------------------------------------------------------------------------- reading

    def the(self, resource: Resource, name: str) -> dict[str, Any]:
        """An object that must be there."""
        found = self._find(resource, NAMESPACE, name)
        assert found is not None, f"there is no {resource.kind} {name}"
        return found

    def _all(self, resource: Resource) -> list[dict[str, Any]]:
        """Every object of a kind, to be read only."""
        found, wanted = self.kube.snapshot(), (resource.api_version, resource.kind)
        return [found[at] for at in sorted(at for at in found if at[:2] == wanted)]

    def _find(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """One object, to be read only."""
        return self.kube.snapshot().get((resource.api_version, resource.kind, namespace, name))

    @property
    def status(self) -> dict[str, Any]:
        """The Deployment's status."""
        found: dict[str, Any] = self.the(DEPLOYMENTS, NAME).get("status", {})
        return found

    def condition(self, kind: str) -> dict[str, Any]:
        """One of its conditions."""
        return next((c for c in self.status.get("conditions", ()) if c["type"] == kind), {"status": "absent"})

    @property
    def front(self) -> dict[str, Any] | None:
        """The Service named after the Deployment."""
        return self._find(SERVICES, NAMESPACE, NAME)

    def looked(self) -> None:
        """What somebody else wrote is no write of the operator."""
        self._before = self.kube.snapshot()

    def running(self) -> list[str]:
        """The versions that have a workload."""
        return [w["metadata"]["labels"][Label.MODEL_VERSION] for w in self._all(WORKLOADS)]

    # ------------------------------------------------------------------------------------------------ invariants

    def _check(self, verb: str, live: Mapping[tuple[str, str, str, str], Manifest]) -> None:
        route = self._find(HTTP_ROUTES, NAMESPACE, NAME)
        try:
            if route is not None:
                self._check_route(route)
            self._check_workloads(live)
            self._check_room()
            self._check_status()
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + "\n".join(self.log[-40:])) from None

    def _weights(self, route: Manifest) -> dict[str, int]:
        refs = route["spec"]["rules"][0]["backendRefs"]
        made: dict[str, int] = {}
        for ref in refs:  # in slots a version may stand there twice
            made[ref["name"]] = made.get(ref["name"], 0) + ref["weight"]
        return made

    def _ready(self, service: str) -> int:
        piece = self._find(ENDPOINT_SLICES, NAMESPACE, service)
        return len(piece["endpoints"]) if piece else 0

    def _check_route(self, route: Manifest) -> None:
        now = self._weights(route)
        before_route = self._before.get((HTTP_ROUTES.api_version, HTTP_ROUTES.kind, NAMESPACE, NAME))
        before = self._weights(before_route) if before_route else {}
        assert sum(now.values()) == 100, f"weights do not sum to 100: {now}"
        for name in now:
            assert self._find(SERVICES, NAMESPACE, name), f"a backend without a Service: {name}"
        if now == before:
            return
        if before:
            for name in set(now) ^ set(before):
                moved = f"the set of backends changes at a weight that is not 0: {before} -> {now}"
                assert before.get(name, 0) == now.get(name, 0) == 0, moved
            if set(now) != set(before):
                assert all(now[n] == before[n] for n in set(now) & set(before)), (
                    f"set and weights change in one write: {before} -> {now}"
                )
            for name in set(before) - set(now):
                assert self._carried.get(name, 0) == 0, f"leaves before weight 0 was taken over: {name}"
        deployment = self.the(DEPLOYMENTS, NAME)
        replicas = deployment["spec"]["replicas"]
        stable = child_name(NAME, deployment["status"]["stable"]["modelVersion"])
        strategy = deployment["spec"]["strategy"]
        for name, weight in now.items():
            grew = weight > before.get(name, 0)
            if weight and name != stable and replicas:
                # In place the last replica changes its version when it has no traffic any more.
                more = 0 if strategy.get("surge", True) else 1
                carry = self._ready(stable) + (self._ready(name) if strategy.get("stableScale") == "Share" else 0)
                # While an autoscaler's new replicas start, the old ones carry everything.
                whole = min(replicas, carry) if carry and strategy.get("surge", True) else replicas
                able = 100 * (self._ready(name) + more) // whole
                assert weight <= able, f"{name} gets {weight}% but its ready replicas carry {able}%"
            if weight and grew and name != stable and replicas:
                assert self._ready(name), f"{name} gets {weight}% but has no ready endpoint"

    def _check_workloads(self, live: Mapping[tuple[str, str, str, str], Manifest]) -> None:
        route = self._find(HTTP_ROUTES, NAMESPACE, NAME)
        asked = self._weights(route) if route else {}
        front = self._find(SERVICES, NAMESPACE, NAME)
        for at, old in self._before.items():
            if at[0] != "apps/v1":
                continue
            name = at[3]
            new = live.get(at)
            smaller = new is None or new["spec"]["replicas"] < old["spec"]["replicas"]
            if not smaller:
                continue
            if new is not None and new["spec"]["replicas"] >= self._enough(name, asked):
                continue
            assert asked.get(name, 0) == 0, f"{name} shrinks although the route gives it {asked[name]}%"
            if new is None or not self.by_person:
                assert self._carried.get(name, 0) == 0, f"{name} shrinks before its weight 0 was taken over"
            if front is not None and new is None:
                behind = {
                    e["targetRef"]["name"]
                    for e in (self._find(ENDPOINT_SLICES, NAMESPACE, NAME) or {}).get("endpoints", ())
                }
                mine = {
                    p["metadata"]["name"] for p in self._all(PODS) if p["metadata"]["annotations"]["workload"] == name
                }
                assert not behind & mine, f"{name} is deleted while its pods are behind the Service"

    def _enough(self, name: str, asked: Mapping[str, int]) -> int:
        """Replicas that a version must keep for the traffic that it has, or had a moment ago."""
        spec = self.the(DEPLOYMENTS, NAME)["spec"]
        percent = max(asked.get(name, 0), self._carried.get(name, 0))
        needed: int = -(-spec["replicas"] * percent // 100)
        if not spec["replicas"]:
            return 0
        if not spec["strategy"].get("surge", True):
            # Somebody must give one up before the other can have it; the last one goes without traffic.
            return max(needed - 1, 1)
        return max(needed, 1)

    def _check_room(self) -> None:
        """In place there are never more pods than replicas."""
        spec = self.the(DEPLOYMENTS, NAME)["spec"]
        if spec["strategy"].get("surge", True) or self.by_person:
            return
        asked = {w["metadata"]["name"]: w["spec"]["replicas"] for w in self._all(WORKLOADS)}
        assert sum(asked.values()) <= spec["replicas"], f"more than {spec['replicas']} replicas are asked for: {asked}"
        pods = [p["metadata"]["name"] for p in self._all(PODS)]
        assert len(pods) <= spec["replicas"], f"more than {spec['replicas']} pods: {pods}"

    def _check_status(self) -> None:
        status = self.status
        if weights := status.get("weights"):
            assert weights["stable"] + weights["candidate"] == 100
        history, limit = status.get("history", ()), self.the(DEPLOYMENTS, NAME)["spec"]["historyLimit"]
        assert len(history) <= max(limit, 1)
        promoted = [entry["modelVersion"] for entry in history if entry["outcome"] == "Promoted"]
        assert promoted[:1] == ([status["stable"]["modelVersion"]] if status.get("stable") else [])


def _mirror(route: Manifest) -> dict[str, int]:
    copies = [f["requestMirror"] for f in route["spec"]["rules"][0].get("filters", ())]
    return {c["backendRef"]["name"]: c.get("percent", 100) for c in copies}


def _is_ready(pod: Manifest) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])


def _pod(name: str, labels: Mapping[str, str], workload: str, created: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": dict(labels),
            "annotations": {"workload": workload},
            "creationTimestamp": created,
        },
        "spec": {"containers": [{"name": "server", "image": "server:1"}]},
        "status": {"phase": "Pending", "conditions": []},
    }


Until = Callable[[World], bool]


async def run_until(world: World, holds: Until, *, seconds: int = 400, dice: random.Random | None = None) -> None:
    """Let time pass, second by second, until something holds.

    With ``dice`` whoever may act next is drawn, and a pass may act on what it observed some turns ago.
    """
    for _ in range(seconds):
        if dice is None:
            await world.settle()
            world.neighbours()
            await world.settle()
        else:
            before = world.kube.version
            await _stumble(world, dice)
            if world.kube.version == before:
                world.advance(dice.randrange(3))
        if holds(world):
            return
        world.advance(1)
    raise AssertionError("it never came to that:\n" + "\n".join(world.log[-60:]))


async def _stumble(world: World, dice: random.Random) -> None:
    """Some turns of whoever is drawn. What a pass observed may be old when it acts."""
    turns = [world.kubelet, world.jobs, world.endpoints, world.policies, world.gateway]
    for _ in range(dice.randrange(2, 9)):
        if dice.random() < 0.6:
            dice.choice(turns)()
            continue
        observed = await observe(world.kube, KEY, world.defaults, world.eyes)
        if dice.random() < 0.3:
            dice.choice(turns)()
        try:
            if observed is not None:
                await world.carry_out(observed)
        except Crash:
            world.tell("operator", "DIES and starts again")
