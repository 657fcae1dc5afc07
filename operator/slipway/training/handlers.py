"""When to look at a TrainingRun: it changed, or its Job, a pod or the ModelVersion it made did."""

from __future__ import annotations

import kopf

from slipway.api.common import Label
from slipway.kube.objects import JOBS, MODEL_VERSIONS, PODS, TRAINING_RUNS, key_of
from slipway.kube.wake import Wake, wake_by_label, watch


def register(registry: kopf.OperatorRegistry, wake: Wake) -> None:
    """Tell Kopf."""
    watch(registry, TRAINING_RUNS, lambda obj, _: wake(key_of(obj)), name="training-run")
    watch(registry, JOBS, wake_by_label(wake, Label.TRAINING_RUN), name="training-job")
    watch(registry, PODS, wake_by_label(wake, Label.TRAINING_RUN), name="training-pod")
    watch(registry, MODEL_VERSIONS, wake_by_label(wake, Label.TRAINING_RUN), name="training-result")
