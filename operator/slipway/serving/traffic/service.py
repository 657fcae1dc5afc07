"""Traffic by one plain Service: every ready pod behind it gets the same share, so weights are replica counts.

The selector names the stable version's pods, both versions' or the candidate's. Each move is one write of it.
"""

from __future__ import annotations

from typing import Any

from slipway.api.common import Label
from slipway.api.reasons import Reason
from slipway.kube.objects import Manifest
from slipway.serving import children
from slipway.serving.observed import Observed
from slipway.serving.traffic.seen import Seen, Trouble


def manifest(owner: Manifest, *, stable: str, candidate: str | None, weight: int) -> dict[str, Any]:
    """The Service for a candidate that is to get ``weight`` percent: nothing, its pods' share, or everything."""
    deployment = owner["metadata"]["name"]
    if candidate is None or weight == 0:
        return children.front(owner, children.selector(deployment, stable))
    if weight >= 100:
        return children.front(owner, children.selector(deployment, candidate))
    return children.front(owner, children.selector(deployment))


def seen(observed: Observed) -> Seen:
    """Who is behind the Service now, by the EndpointSlices that kube-proxy follows."""
    live = observed.front
    if live is None:
        return Seen()
    chosen = _selected(observed, live)
    behind = {version: count for version, count in observed.front_pods.items() if count}
    whole = sum(behind.values())
    ready = {version: observed.of(version).ready for version in chosen}
    accepted = behind == {version: count for version, count in ready.items() if count}
    return Seen(
        share={version: round(100 * count / whole) for version, count in behind.items()} if whole else {},
        holds=frozenset(chosen) | frozenset(behind),
        mark=" ".join(f"{version}={behind.get(version, 0)}" for version in sorted(chosen | set(behind))),
        accepted=accepted,
        served=bool(behind),
        trouble=None
        if accepted
        else Trouble(Reason.ROUTE_PENDING, "the Service's endpoints do not follow its selector yet", stalled=False),
    )


def url(observed: Observed, model: str) -> str:
    """Where a client inside the cluster sends an inference request."""
    return f"http://{observed.name}.{observed.namespace}.svc/v2/models/{model}/infer"


def _selected(observed: Observed, live: Manifest) -> set[str]:
    version = live["spec"].get("selector", {}).get(Label.MODEL_VERSION)
    return {version} if version else {name for name, running in observed.running.items() if running.workload}
