"""TrainingRun -> Job -> result -> ModelVersion."""

from __future__ import annotations

from functools import partial

from slipway.kube.controller import Room
from slipway.kube.objects import TRAINING_RUNS
from slipway.settings import Settings
from slipway.training.children import Defaults
from slipway.training.decide import decide
from slipway.training.observe import Observed, observe
from slipway.training.progress import HttpProgress


def room(options: Settings) -> Room[Observed]:
    """The doors of this room, with the operator's settings."""
    defaults = Defaults(trainer_image=options.trainer_image, image_pull_policy=options.image_pull_policy)
    return Room(
        TRAINING_RUNS, partial(observe, defaults=defaults, progress=HttpProgress()), decide, lambda seen: seen.run
    )
