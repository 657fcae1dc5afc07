"""What a gateway is able to do, by what its GatewayClass says. Pure.

A class lists the names of Gateway API's conformance features in ``status.supportedFeatures``. Many list nothing, Envoy
Gateway 1.9.1 among them (on purpose: ``internal/gatewayapi/status/gatewayclass.go``), and an operator that serves some
namespaces only may not read classes at all. So there is a third answer, Unknown, and it never refuses: then the
conditions of what was written are the gateway's word.

Which version a gateway has can be read nowhere: Envoy Gateway writes it neither into its class nor into its CRDs, and
the image of its pods lies in a namespace that is none of the operator's business. docs/rollouts.md says how a person
looks.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from slipway.kube.objects import Manifest

ENVOY_GATEWAY: Final = "gateway.envoyproxy.io/"
"""How the controller names of Envoy Gateway begin. The rest can be configured."""


class Support(StrEnum):
    """Whether a gateway is able to do something."""

    SUPPORTED = "Supported"
    UNSUPPORTED = "Unsupported"
    UNKNOWN = "Unknown"


class Feature(StrEnum):
    """What a strategy may need. The value is Gateway API's name for it, but for stickiness, which has none: session
    persistence lies in the experimental channel, and pins a client to a pod, not to a version."""

    MIRROR = "HTTPRouteRequestMirror"
    PERCENT_MIRROR = "HTTPRouteRequestPercentageMirror"
    HEADER_MATCH = "HTTPRoute"
    STICKINESS = "Stickiness"


_ELSEWHERE: Final = "let spec.route.gateway name a Gateway whose class does"
_LACKS: Final = {
    Feature.MIRROR: f"to mirror requests to a shadow; use a canary or blue/green without a shadow, or {_ELSEWHERE}",
    Feature.PERCENT_MIRROR: f"to mirror a part of the requests; write percent: 100, or {_ELSEWHERE}",
    Feature.HEADER_MATCH: f"to route by a header; leave the headerRoute step out, or {_ELSEWHERE}",
}


def support(gateway_class: Manifest | None, feature: Feature, *, policies: bool | None = None) -> Support:
    """Whether the gateways of this class are able to.

    Args:
        gateway_class: as read; None where it could not be read or does not exist.
        policies: whether the kind BackendTrafficPolicy is installed; None where nobody has looked. Only stickiness
            needs it.
    """
    if feature is Feature.STICKINESS:
        return _stickiness(gateway_class, policies)
    names = listed(gateway_class)
    if not names:
        return Support.UNKNOWN
    return Support.SUPPORTED if feature in names else Support.UNSUPPORTED


def refusal(gateway_class: Manifest | None, feature: Feature, *, policies: bool | None = None) -> str | None:
    """Why a spec that needs the feature is refused, and what to write instead; None unless it surely cannot work.

    >>> refusal(None, Feature.MIRROR) is None
    True
    """
    if support(gateway_class, feature, policies=policies) is not Support.UNSUPPORTED:
        return None
    said = _who(gateway_class)
    if feature is not Feature.STICKINESS:
        return f"{said} does not list {feature} among its supported features, which it takes {_LACKS[feature]}"
    instead = (
        "leave spec.route.stickiness out, or let spec.route.gateway name a Gateway of Envoy Gateway 1.9.1 or newer"
    )
    if envoy_gateway(gateway_class) is False:
        return f"{said} cannot keep a client with its version while weights change; {instead}"
    return (
        "the kind BackendTrafficPolicy of Envoy Gateway, by which a client stays with its version, is not installed in "
        f"this cluster; {instead}"
    )


def listed(gateway_class: Manifest | None) -> frozenset[str]:
    """The feature names that the class lists; empty where it says nothing.

    Gateway API 1.2 and newer has objects with a name, the versions before it had plain strings.

    >>> sorted(listed({"status": {"supportedFeatures": [{"name": "HTTPRoute"}, "HTTPRouteRequestMirror"]}}))
    ['HTTPRoute', 'HTTPRouteRequestMirror']
    """
    found: list[Any] = (gateway_class or {}).get("status", {}).get("supportedFeatures") or []
    return frozenset(str(entry["name"]) if isinstance(entry, dict) else str(entry) for entry in found)


def envoy_gateway(gateway_class: Manifest | None) -> bool | None:
    """Whether the class belongs to Envoy Gateway; None where the class could not be read."""
    if gateway_class is None:
        return None
    return str(gateway_class.get("spec", {}).get("controllerName", "")).startswith(ENVOY_GATEWAY)


def _stickiness(gateway_class: Manifest | None, policies: bool | None) -> Support:
    """By the consistent hash of Envoy Gateway, which takes its policy kind and its controller."""
    envoy = envoy_gateway(gateway_class)
    if envoy is False or policies is False:
        return Support.UNSUPPORTED
    return Support.SUPPORTED if envoy and policies else Support.UNKNOWN


def _who(gateway_class: Manifest | None) -> str:
    if gateway_class is None:
        return "the GatewayClass"
    controller = gateway_class.get("spec", {}).get("controllerName", "an unknown controller")
    return f'the GatewayClass "{gateway_class["metadata"]["name"]}" ({controller})'
