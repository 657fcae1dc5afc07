"""When to look at a TrainingRun: it changed, or its Job, a pod, the version it made, or a Dataset or a ModelVersion
that it waits for did. Then the three words."""

from __future__ import annotations

import functools

import kopf

from slipway.api.common import Label
from slipway.kube.controller import Room
from slipway.kube.objects import DATASETS, JOBS, MODEL_VERSIONS, PODS, TRAINING_RUNS, Manifest, key_of
from slipway.kube.wake import References, Wake, wake_by_label, watch
from slipway.progress import HttpProgress
from slipway.settings import Settings
from slipway.training import data, parent
from slipway.training.children import Defaults
from slipway.training.decide import decide, refused
from slipway.training.observe import Observed, observe


def register(registry: kopf.OperatorRegistry, wake: Wake) -> None:
    """Tell Kopf."""
    waiting, beginning = References(), References()

    def run_changed(obj: Manifest, deleted: bool) -> None:
        waiting.update(key_of(obj), () if deleted else data.awaited(obj))
        beginning.update(key_of(obj), () if deleted else parent.awaited(obj))
        wake(key_of(obj))

    def dataset_changed(obj: Manifest, _deleted: bool) -> None:
        for run in waiting.sources(key_of(obj)):
            wake(run)

    by_label = wake_by_label(wake, Label.TRAINING_RUN)

    def version_changed(obj: Manifest, deleted: bool) -> None:
        by_label(obj, deleted)
        for run in beginning.sources(key_of(obj)):
            wake(run)

    watch(registry, TRAINING_RUNS, run_changed, name="training-run")
    watch(registry, DATASETS, dataset_changed, name="training-data")
    watch(registry, JOBS, wake_by_label(wake, Label.TRAINING_RUN), name="training-job")
    watch(registry, PODS, wake_by_label(wake, Label.TRAINING_RUN), name="training-pod")
    watch(registry, MODEL_VERSIONS, version_changed, name="training-result")


def room(options: Settings) -> Room[Observed]:
    """Observe, decide, act for TrainingRuns."""
    defaults = Defaults(
        trainer_image=options.trainer_image,
        image_pull_policy=options.image_pull_policy,
        openlineage_url=options.openlineage_url,
        openlineage_file=options.openlineage_file,
    )
    look = functools.partial(observe, defaults=defaults, progress=HttpProgress())
    return Room(TRAINING_RUNS, look, decide, lambda observed: observed.run, refused)
