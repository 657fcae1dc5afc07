"""Traffic by Gateway API: one HTTPRoute with one rule, whose backendRefs carry the weights.

The route is written whole, with every default of the API server spelled out: ``rules`` and ``backendRefs`` are atomic
lists, so half of one cannot be owned. During a rollout only weights change; a change in the set of backends is what
makes gateways fail, so a backend joins and leaves at weight 0 only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway import contract
from slipway.api.common import seconds
from slipway.api.deployment import DeploymentSpec, GatewayRef, HeaderRoute, Route
from slipway.api.reasons import Reason
from slipway.kube.objects import GATEWAYS, Manifest
from slipway.serving import children
from slipway.serving.observed import Observed
from slipway.serving.traffic import sticky
from slipway.serving.traffic.seen import Seen, Trouble

TIMEOUT_SPARE: Final = 5
"""Seconds that the gateway waits longer than the server, so that the server's own 504 with its sentence arrives."""

LONGEST_SECONDS: Final = 99_999
"""Gateway API takes five digits for each unit of a duration (GEP-2257)."""


@dataclass(frozen=True)
class Extras:
    """Who else reaches the candidate: copies of ``mirror`` percent of the requests, and requests with ``header``."""

    candidate: str = ""
    mirror: int = 0
    header: HeaderRoute | None = None


def manifest(
    owner: Manifest,
    spec: DeploymentSpec,
    route: Route,
    weights: Mapping[str, int],
    extras: Extras = Extras(),
    *,
    slotted: str | None = None,
) -> dict[str, Any]:
    """The HTTPRoute with these weights by version. Sorted by name, so that a promotion alone rewrites nothing.

    Args:
        slotted: the stable version, where the backends stand in the slots of ``sticky.py``: Envoy Gateway then makes
            one cluster of each, so that a version that loses its pods takes nobody else's requests with it.

    The rule with the weights is always the first one, and one that matches a header is appended: Gateway API gives
    precedence to the match with more headers, wherever it stands, but Envoy Gateway names its clusters by the rule's
    index, so one that moves the others costs requests (measured: 40 of 4,700 failed).
    """
    namespace, name = owner["metadata"]["namespace"], owner["metadata"]["name"]
    plain = [_backend(name, version, weight) for version, weight in sorted(weights.items())]
    main = _rule(spec, sticky.backend_refs(owner, weights, stable=slotted) if slotted else plain)
    if extras.mirror:
        copies: dict[str, Any] = {"backendRef": _reference(name, extras.candidate)}
        if extras.mirror < 100:
            copies["percent"] = extras.mirror
        main["filters"] = [{"type": "RequestMirror", "requestMirror": copies}]
    rules = [main]
    if extras.header:
        aside = _rule(spec, [_backend(name, extras.candidate, 1)])
        aside["matches"][0]["headers"] = [{"type": "Exact", "name": extras.header.name, "value": extras.header.value}]
        rules.append(aside)
    return children.route(
        owner,
        {
            "parentRefs": [parent_ref(route.gateway, namespace)],
            "hostnames": list(route.hostnames),
            "rules": rules,
        },
    )


def preview(owner: Manifest, spec: DeploymentSpec, route: Route, hostname: str, version: str) -> dict[str, Any]:
    """The HTTPRoute by which the candidate is reached before any client sees it."""
    namespace, name = owner["metadata"]["namespace"], owner["metadata"]["name"]
    return children.preview(
        owner,
        {
            "parentRefs": [parent_ref(route.gateway, namespace)],
            "hostnames": [hostname],
            "rules": [_rule(spec, [_backend(name, version, 1)])],
        },
    )


def taken_over(live: Manifest, route: Route, namespace: str) -> bool:
    """Whether the Gateway has accepted this generation of a route."""
    return _answer(live, parent_ref(route.gateway, namespace))[0]


def _rule(spec: DeploymentSpec, backends: list[dict[str, Any]]) -> dict[str, Any]:
    wait = math.ceil(seconds(spec.server.timeout)) + TIMEOUT_SPARE
    return {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": backends,
        "timeouts": {"request": _duration(wait)},
    }


def _duration(length: int) -> str:
    """Seconds as Gateway API takes them. In seconds alone as long as they fit, so that no route that is there already
    is written anew.

    >>> _duration(35), _duration(100_805), _duration(10**9)
    ('35s', '28h5s', '99999h')
    """
    if length <= LONGEST_SECONDS:
        return f"{length}s"
    hours, rest = divmod(length, 3600)
    if hours > LONGEST_SECONDS:
        return f"{LONGEST_SECONDS}h"
    parts = ((hours, "h"), (rest // 60, "m"), (rest % 60, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count)


def _backend(deployment: str, version: str, weight: int) -> dict[str, Any]:
    return {**_reference(deployment, version), "weight": weight}


def _reference(deployment: str, version: str) -> dict[str, Any]:
    name = children.child_name(deployment, version)
    return {"group": "", "kind": "Service", "name": name, "port": contract.SERVE_PORT}


def parent_ref(gateway: GatewayRef, namespace: str) -> dict[str, Any]:
    """The route's parentRef, with all defaults."""
    made = {
        "group": GATEWAYS.group,
        "kind": GATEWAYS.kind,
        "namespace": gateway.namespace or namespace,
        "name": gateway.name,
    }
    return {**made, "sectionName": gateway.section_name} if gateway.section_name else made


def seen(observed: Observed, route: Route) -> Seen:
    """What the live route asks for, and whether its Gateway has taken it over."""
    trouble = _missing(observed, route)
    live = observed.route
    if live is None:
        return Seen(trouble=trouble)
    weights = _weights(observed, live)
    whole = sum(weights.values())
    parent = parent_ref(route.gateway, observed.namespace)
    accepted, refused = _answer(live, parent)
    return Seen(
        share={version: round(100 * weight / whole) for version, weight in weights.items()} if whole else {},
        mirror=_mirror(live),
        aside=len(live["spec"].get("rules", ())) > 1,
        holds=frozenset(weights),
        mark=f"generation {live['metadata'].get('generation', 0)}",
        accepted=accepted and trouble is None,
        served=_served(live, parent),
        trouble=trouble or refused or (None if accepted else _pending(observed, parent)),
    )


def _weights(observed: Observed, live: Manifest) -> dict[str, int]:
    """Weights of the live route by version. A backend that is not ours is passed over: the next write removes it."""
    known = {children.child_name(observed.name, version): version for version in _versions(observed)}
    refs = [ref for rule in live["spec"].get("rules", ())[:1] for ref in rule.get("backendRefs", ())]
    return sticky.weights_of(refs, known)


def _mirror(live: Manifest) -> int:
    """Percent of the requests that are copied."""
    filters = [each for rule in live["spec"].get("rules", ())[:1] for each in rule.get("filters", ())]
    return max(
        (int(f["requestMirror"].get("percent", 100)) for f in filters if f["type"] == "RequestMirror"), default=0
    )


def _versions(observed: Observed) -> set[str]:
    status = observed.status
    named = {v.model_version for v in (status.stable, status.candidate, *status.retiring) if v is not None}
    return named | set(observed.running)


def _missing(observed: Observed, route: Route) -> Trouble | None:
    if not observed.gateway_api:
        return Trouble(
            Reason.GATEWAY_MISSING,
            "Gateway API is not installed in this cluster: install it with a gateway, or leave spec.route out "
            "to get a plain Service",
            stalled=True,
        )
    if observed.gateway is None and observed.gateway_known:
        namespace = route.gateway.namespace or observed.namespace
        return Trouble(
            Reason.GATEWAY_MISSING,
            f"the Gateway {namespace}/{route.gateway.name} does not exist: create it or correct spec.route.gateway",
            stalled=True,
        )
    return None


def _answer(live: Manifest, parent: Mapping[str, Any]) -> tuple[bool, Trouble | None]:
    """Whether the Gateway took this generation over; if it said no, its own words."""
    generation = live["metadata"].get("generation", 0)
    namespace = live["metadata"]["namespace"]
    entries = [p for p in live.get("status", {}).get("parents", ()) if _same_parent(p["parentRef"], parent, namespace)]
    for entry in entries:
        now = {c["type"]: c for c in entry.get("conditions", ()) if int(c.get("observedGeneration", 0)) >= generation}
        for kind in ("Accepted", "ResolvedRefs"):
            condition = now.get(kind)
            if condition and condition["status"] == "False":
                words = f"{condition.get('reason', '')}: {condition.get('message', '')}".rstrip(": ")
                said = "refuses the route" if kind == "Accepted" else "cannot resolve the route's references"
                gateway = f"{parent['namespace']}/{parent['name']}"
                return False, Trouble(Reason.ROUTE_REFUSED, f"the Gateway {gateway} {said}: {words}", stalled=True)
        if all(kind in now and now[kind]["status"] == "True" for kind in ("Accepted", "ResolvedRefs")):
            return True, None
    return False, None


def _pending(observed: Observed, parent: Mapping[str, Any]) -> Trouble:
    """Nobody said yes or no yet. A Gateway that is not up itself says why."""
    conditions = observed.gateway.get("status", {}).get("conditions", ()) if observed.gateway else ()
    down = next((c for c in conditions if c["type"] in ("Accepted", "Programmed") and c["status"] != "True"), None)
    message = f"the Gateway {parent['namespace']}/{parent['name']} has not taken the route over yet"
    if down:
        words = f"{down.get('reason', '')}: {down.get('message', '')}".rstrip(": ")
        message = f"{message}; it says {down['type']}={down['status']}, {words}"
    return Trouble(Reason.ROUTE_PENDING, message, stalled=False)


def _served(live: Manifest, parent: Mapping[str, Any]) -> bool:
    """Whether the Gateway had accepted the route before its newest write. Its first generation was never before."""
    namespace = live["metadata"]["namespace"]
    return live["metadata"].get("generation", 0) > 1 and any(
        condition["type"] == "Accepted" and condition["status"] == "True"
        for entry in live.get("status", {}).get("parents", ())
        if _same_parent(entry["parentRef"], parent, namespace)
        for condition in entry.get("conditions", ())
    )


def url(observed: Observed, route: Route, model: str) -> str | None:
    """Where a client sends an inference request: the first host name, by the listener that the route attaches to.

    None where every host name is a wildcard: then only the client knows.
    """
    host = next((h for h in route.hostnames if not h.startswith("*")), None)
    if host is None:
        return None
    listeners = observed.gateway["spec"].get("listeners", ()) if observed.gateway else ()
    wanted = route.gateway.section_name
    listener: Manifest = next((x for x in listeners if wanted in (None, x.get("name"))), {})
    scheme = "https" if listener.get("protocol") in ("HTTPS", "TLS") else "http"
    port = int(listener.get("port", 0))
    suffix = "" if port in (0, 443 if scheme == "https" else 80) else f":{port}"
    return f"{scheme}://{host}{suffix}/v2/models/{model}/infer"


def _same_parent(ref: Mapping[str, Any], wanted: Mapping[str, Any], namespace: str) -> bool:
    return (
        ref.get("name") == wanted["name"]
        and ref.get("namespace", namespace) == wanted["namespace"]
        and ref.get("sectionName") == wanted.get("sectionName")
        and ref.get("kind", GATEWAYS.kind) == GATEWAYS.kind
    )
