"""ModelVersion -> verified, aliased; lineage."""

from __future__ import annotations

from functools import partial

from slipway.kube.controller import Room
from slipway.kube.objects import MODEL_VERSIONS
from slipway.registry.children import Defaults
from slipway.registry.decide import decide
from slipway.registry.observe import Observed, observe
from slipway.settings import Settings


def room(options: Settings) -> Room[Observed]:
    """The doors of this room, with the operator's settings."""
    defaults = Defaults(server_image=options.server_image, image_pull_policy=options.image_pull_policy)
    return Room(MODEL_VERSIONS, partial(observe, defaults=defaults), decide, lambda seen: seen.version)
