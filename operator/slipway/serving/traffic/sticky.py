"""A client stays with its version while weights change, and only the part that must move moves. Pure.

Envoy hashes the client's header or cookie to a point of the line 0..100 and gives it to the backendRef on whose piece
of the line the point lies. A weight moves the border between two pieces, so only clients between the old and the new
border move. With Envoy Gateway (1.9.1 or newer) that takes two things: a policy (``policy.py``) that names the hash,
and backendRefs that each carry a filter. Without the filter Envoy Gateway makes one cluster of all backendRefs, in
which the hash **ignores the weights**: 53 of 100 requests went to a candidate of 10 percent.

With the filter each backendRef becomes an Envoy cluster, named after its **place** in the list; one of weight 0 becomes
none, and a cluster that goes leaves the route pointing at nothing for some milliseconds (measured: 45 of 6,269
requests failed; 243 of 5,743 where a place moved). So there are always two slots, neither ever of weight 0: the
stable's and then the candidate's. Who has all the traffic stands in both; who has none follows behind, at weight 0.
Then only widths and endpoints change: 0 of 20,000 failed. The rejected choice, session persistence, pins a client to a
pod, so that no weight moves any client.

The changes of one write, the widths and who stands in a slot, reach Envoy in no fixed order. Therefore a slot is as
wide as its owner's share, but for the least width: whatever comes first, the candidate's share stays between the old
and the new one.

>>> slots({"v1": 100, "v2": 0}, stable="v1")
(('v1', 99), ('v1', 1), ('v2', 0))
>>> slots({"v1": 90, "v2": 10}, stable="v1")
(('v1', 90), ('v2', 10))
>>> slots({"v1": 0, "v2": 100}, stable="v1")
(('v2', 1), ('v2', 99), ('v1', 0))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from slipway import contract
from slipway.kube.objects import Manifest
from slipway.serving import children

HEADER: Final = "x-slipway-deployment"
"""What the filter of every backendRef sets: the Deployment's name. Any filter would do; one whose value is the same for
all versions does not change with them."""
LEAST: Final = 1
"""Percent: the least width of a slot."""
COOKIE_TTL: Final = "0s"
"""Without a time to live, Envoy sets no cookie; with 0 it sets one that ends with the browser's session."""


class Stickiness(Protocol):
    """``spec.route.stickiness``: by which of the two a client is told from another."""

    @property
    def cookie(self) -> str | None:
        """A cookie's name. Envoy sets it where a client has none."""

    @property
    def header(self) -> str | None:
        """A request header's name. Requests without it follow the weights, each by itself."""


def slots(weights: Mapping[str, int], *, stable: str | None) -> tuple[tuple[str, int], ...]:
    """(version, weight) in the order of the backendRefs.

    Args:
        weights: percent by version; they add up to 100.
        stable: whoever a rollout starts from and an abort returns to. The order must not change within a rollout.
    """
    some = sorted((version for version, weight in weights.items() if weight), key=lambda v: (v != stable, v))
    none = [(version, 0) for version in sorted(weights) if not weights[version]]
    if not some:
        return tuple(none)
    if len(some) > 1:
        return (*((version, weights[version]) for version in some), *none)
    wide = 100 - LEAST
    first = wide if some[0] == stable or stable not in weights else LEAST
    return ((some[0], first), (some[0], 100 - first), *none)


def backend_refs(owner: Manifest, weights: Mapping[str, int], *, stable: str | None) -> list[dict[str, Any]]:
    """The backendRefs of the route's first rule, instead of the plain ones, where ``spec.route.stickiness`` is set."""
    name = owner["metadata"]["name"]
    return [
        {
            "group": "",
            "kind": "Service",
            "name": children.child_name(name, version),
            "port": contract.SERVE_PORT,
            "weight": weight,
            "filters": [
                {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": HEADER, "value": name}]}}
            ],
        }
        for version, weight in slots(weights, stable=stable)
    ]


def weights_of(refs: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> dict[str, int]:
    """Weight by version of live backendRefs, in slots or plain. ``versions`` are ours by the name of their Service.

    A Service may stand there twice; one that is not ours is passed over.
    """
    found: dict[str, int] = {}
    for ref in refs:
        version = versions.get(ref["name"])
        if version is not None:
            found[version] = found.get(version, 0) + int(ref.get("weight", 1))
    return found


def in_slots(live: Manifest) -> bool:
    """Whether the live route's first rule is written for a hash. A hash over one that is not ignores its weights, so:
    when stickiness comes, first the route, believed, then the policy; when it goes, first the policy."""
    rules = live["spec"].get("rules") or [{}]
    refs = rules[0].get("backendRefs", ())
    return len(refs) > 1 and all(ref.get("filters") for ref in refs)


def consistent_hash(stickiness: Stickiness) -> dict[str, Any]:
    """The ``loadBalancer`` of a BackendTrafficPolicy.

    Raises:
        ValueError: neither a cookie nor a header; the schema refuses that before.
    """
    if stickiness.cookie:
        key: dict[str, Any] = {"type": "Cookie", "cookie": {"name": stickiness.cookie, "ttl": COOKIE_TTL}}
    elif stickiness.header:
        key = {"type": "Headers", "headers": [{"name": stickiness.header}]}
    else:
        raise ValueError("spec.route.stickiness names neither a cookie nor a header")
    return {"type": "ConsistentHash", "consistentHash": key}
