"""placeholder until GATEWAY's file comes"""

from __future__ import annotations

from enum import StrEnum

from slipway.kube.objects import Manifest


class Feature(StrEnum):
    MIRROR = "m"
    PERCENT_MIRROR = "p"
    HEADER_MATCH = "h"


def refusal(gateway_class: Manifest | None, feature: Feature) -> str | None:
    return None
