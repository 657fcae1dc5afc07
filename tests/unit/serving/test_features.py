"""What a GatewayClass says that its gateways are able to do, and the sentence where they are not."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.serving.traffic.features import Feature, Support, envoy_gateway, listed, refusal, support

ENVOY = "gateway.envoyproxy.io/gatewayclass-controller"


def gateway_class(*names: str, controller: str = "example.com/gateway", plain: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {
        "metadata": {"name": "edge"},
        "spec": {"controllerName": controller},
        "status": {"conditions": [{"type": "Accepted", "status": "True"}]},
    }
    if names:
        made["status"]["supportedFeatures"] = list(names) if plain else [{"name": name} for name in names]
    return made


MIRRORS = ("HTTPRoute", "HTTPRouteRequestMirror")


@pytest.mark.parametrize("plain", [True, False], ids=["plain strings", "objects"])
def test_what_is_listed_is_supported_and_what_is_not_is_not(plain: bool) -> None:
    told = gateway_class(*MIRRORS, plain=plain)
    assert listed(told) == frozenset(MIRRORS)
    assert support(told, Feature.MIRROR) is Support.SUPPORTED
    assert support(told, Feature.HEADER_MATCH) is Support.SUPPORTED
    assert support(told, Feature.PERCENT_MIRROR) is Support.UNSUPPORTED


@pytest.mark.parametrize(
    "told", [None, {}, gateway_class(), {"status": {"supportedFeatures": None}}], ids=["unread", "bare", "mute", "null"]
)
@pytest.mark.parametrize("feature", [Feature.MIRROR, Feature.PERCENT_MIRROR, Feature.HEADER_MATCH])
def test_a_class_that_says_nothing_refuses_nothing(told: dict[str, Any] | None, feature: Feature) -> None:
    assert support(told, feature) is Support.UNKNOWN
    assert refusal(told, feature) is None


def test_a_refusal_names_the_class_the_feature_and_what_to_write() -> None:
    assert refusal(gateway_class("HTTPRoute"), Feature.MIRROR) == (
        'the GatewayClass "edge" (example.com/gateway) does not list HTTPRouteRequestMirror among its supported '
        "features, which it takes to mirror requests to a shadow; use a canary or blue/green without a shadow, or let "
        "spec.route.gateway name a Gateway whose class does"
    )
    assert "write percent: 100" in str(refusal(gateway_class(*MIRRORS), Feature.PERCENT_MIRROR))
    assert "leave the headerRoute step out" in str(refusal(gateway_class("GRPCRoute"), Feature.HEADER_MATCH))
    assert refusal(gateway_class(*MIRRORS), Feature.MIRROR) is None


@pytest.mark.parametrize(
    ("controller", "policies", "expected"),
    [
        (ENVOY, True, Support.SUPPORTED),
        (ENVOY, None, Support.UNKNOWN),
        (ENVOY, False, Support.UNSUPPORTED),
        ("gateway.envoyproxy.io/second", True, Support.SUPPORTED),
        ("example.com/gateway", True, Support.UNSUPPORTED),
        ("example.com/gateway", None, Support.UNSUPPORTED),
        (None, True, Support.UNKNOWN),
        (None, None, Support.UNKNOWN),
        (None, False, Support.UNSUPPORTED),
    ],
)
def test_stickiness_takes_envoy_gateway_and_its_policies(
    controller: str | None, policies: bool | None, expected: Support
) -> None:
    told = gateway_class(controller=controller) if controller else None
    assert support(told, Feature.STICKINESS, policies=policies) is expected
    assert (refusal(told, Feature.STICKINESS, policies=policies) is not None) is (expected is Support.UNSUPPORTED)


def test_what_a_class_lists_says_nothing_about_stickiness() -> None:
    """Session persistence, whatever a gateway calls it, pins a client to a pod and not to a version."""
    assert support(gateway_class("Stickiness"), Feature.STICKINESS, policies=True) is Support.UNSUPPORTED


def test_why_stickiness_is_refused() -> None:
    instead = (
        "leave spec.route.stickiness out, or let spec.route.gateway name a Gateway of Envoy Gateway 1.9.1 or newer"
    )
    assert refusal(gateway_class(), Feature.STICKINESS) == (
        'the GatewayClass "edge" (example.com/gateway) cannot keep a client with its version while weights change; '
        + instead
    )
    assert refusal(None, Feature.STICKINESS, policies=False) == (
        "the kind BackendTrafficPolicy of Envoy Gateway, by which a client stays with its version, is not installed in "
        "this cluster; " + instead
    )


def test_whose_class_it_is() -> None:
    assert envoy_gateway(gateway_class(controller=ENVOY)) is True
    assert envoy_gateway(gateway_class()) is False
    assert envoy_gateway(None) is None
