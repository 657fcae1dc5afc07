"""The BackendTrafficPolicy of a route: what only Envoy Gateway is able to do beyond Gateway API. Pure.

Two things need it, and a route can have one policy only, so they share it:

* **Stickiness**: the consistent hash of ``sticky.py``.
* **A mirror that holds nobody up.** Envoy streams the copies, and a shadow that stops reading (a frozen process, a lost
  node) stops the client's own request too: all requests with bodies of 1 MB and more ran into their timeout, with a
  process that was stopped. With the request buffered before it is sent on, none did, at no cost that could be
  measured. So the policy stands, accepted, before the mirror and until after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway.api.reasons import Reason
from slipway.kube.objects import HTTP_ROUTES, TRAFFIC_POLICIES, Manifest, child_of
from slipway.serving import children
from slipway.serving.traffic.seen import Trouble
from slipway.serving.traffic.sticky import Stickiness, consistent_hash

MERGE: Final = "StrategicMerge"
"""Ours adds to the policy that the platform may have on the Gateway. Without it, ours would replace that one."""


def manifest(owner: Manifest, *, stickiness: Stickiness | None, buffer: int | None) -> dict[str, Any] | None:
    """The policy of the route named after the Deployment; None where none is needed and a live one is to be deleted.

    Args:
        owner: our Deployment.
        stickiness: ``spec.route.stickiness``.
        buffer: bytes of the largest request, while the route mirrors or is about to; a larger one is answered 413 by
            the gateway, so it is what the server itself accepts.
    """
    if stickiness is None and buffer is None:
        return None
    name = owner["metadata"]["name"]
    spec: dict[str, Any] = {
        "targetRefs": [{"group": HTTP_ROUTES.group, "kind": HTTP_ROUTES.kind, "name": name}],
        "mergeType": MERGE,
    }
    if stickiness is not None:
        spec["loadBalancer"] = consistent_hash(stickiness)
    if buffer is not None:
        spec["requestBuffer"] = {"limit": str(buffer)}
    return child_of(owner, TRAFFIC_POLICIES, name, children.labels(name), spec)


@dataclass(frozen=True)
class Taken:
    """What the gateway says to the live policy.

    Attributes:
        accepted: it has taken over this generation of it.
        trouble: its own words where it refuses; None while it has said nothing.
    """

    accepted: bool = False
    trouble: Trouble | None = None


def taken(live: Manifest | None, parent: Mapping[str, Any]) -> Taken:
    """Read the status of the live policy. ``parent`` is the route's parentRef: a policy answers for each Gateway.

    Accepted, like a route's, is the controller's word and comes some milliseconds before or after the proxies follow:
    the settle time of ``seen.py`` holds for it too.
    """
    if live is None:
        return Taken()
    generation = live["metadata"].get("generation", 0)
    namespace = live["metadata"]["namespace"]
    for entry in live.get("status", {}).get("ancestors", ()):
        ref = entry["ancestorRef"]
        if (ref.get("name"), ref.get("namespace", namespace)) != (parent["name"], parent["namespace"]):
            continue
        for condition in entry.get("conditions", ()):
            if condition["type"] != "Accepted" or int(condition.get("observedGeneration", 0)) < generation:
                continue
            if condition["status"] == "True":
                return Taken(accepted=True)
            return Taken(trouble=_refused(live, parent, condition))
    return Taken()


def _refused(live: Manifest, parent: Mapping[str, Any], condition: Mapping[str, Any]) -> Trouble:
    words = f"{condition.get('reason', '')}: {condition.get('message', '')}".rstrip(": ")
    message = (
        f"the Gateway {parent['namespace']}/{parent['name']} does not accept the BackendTrafficPolicy "
        f"{live['metadata']['namespace']}/{live['metadata']['name']}: {words}"
    )
    if condition.get("reason") == "Conflicted":
        message += "; a route can have one such policy: delete the other one, or leave stickiness and shadow out"
    return Trouble(Reason.ROUTE_REFUSED, message, stalled=True)
