"""When to look at a Dataset: it changed, or the Job of its check or a pod of that Job did."""

from __future__ import annotations

import functools

import kopf

from slipway.api.common import Label
from slipway.datasets.children import ROLE, Defaults
from slipway.datasets.decide import decide, refused
from slipway.datasets.observe import Observed, observe
from slipway.kube.controller import Room
from slipway.kube.objects import DATASETS, JOBS, PODS, key_of
from slipway.kube.wake import Wake, wake_by_label, watch
from slipway.progress import HttpProgress
from slipway.settings import Settings
from slipway.telemetry import Datasets


def register(registry: kopf.OperatorRegistry, wake: Wake) -> None:
    """Tell Kopf."""
    watch(registry, DATASETS, lambda obj, _: wake(key_of(obj)), name="dataset")
    watch(registry, JOBS, wake_by_label(wake, Label.DATASET, **{Label.ROLE: ROLE}), name="dataset-job")
    watch(registry, PODS, wake_by_label(wake, Label.DATASET, **{Label.ROLE: ROLE}), name="dataset-pod")


def room(options: Settings, told: Datasets) -> Room[Observed]:
    """Observe, decide, act for Datasets; ``told`` is told what was decided."""
    defaults = Defaults(trainer_image=options.trainer_image, image_pull_policy=options.image_pull_policy)
    look = functools.partial(observe, defaults=defaults, progress=HttpProgress())
    return Room(DATASETS, look, decide, lambda observed: observed.dataset, refused, told.saw)
