"""When to look at a Deployment: it changed, or one of its children did, or a ModelVersion that it names or follows."""

from __future__ import annotations

import functools
from collections.abc import Hashable

import kopf

from slipway.api.common import Label
from slipway.kube.controller import Room
from slipway.kube.objects import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    HTTP_ROUTES,
    JOBS,
    MODEL_VERSIONS,
    PODS,
    SERVICES,
    WORKLOADS,
    Manifest,
    key_of,
)
from slipway.kube.wake import References, Wake, wake_by_label, watch
from slipway.serving.analysis.pods import HttpCounters
from slipway.serving.analysis.prometheus import HttpPrometheus
from slipway.serving.decide import decide, refused
from slipway.serving.eyes import Counting
from slipway.serving.observe import observe
from slipway.serving.observed import Defaults, Observed
from slipway.settings import Settings
from slipway.telemetry import Rollouts


def register(registry: kopf.OperatorRegistry, wake: Wake, eyes: Counting) -> None:
    """Tell Kopf, and ``eyes`` whom to wake when somebody answers late."""
    follows = References()
    eyes.wake = wake

    def deployment_changed(obj: Manifest, deleted: bool) -> None:
        follows.update(key_of(obj), () if deleted else names_of(obj))
        wake(key_of(obj))

    def version_changed(obj: Manifest, _deleted: bool) -> None:
        key = key_of(obj)
        # By model, not by alias: a version that loses an alias does not say any more which one it was.
        for target in (("version", key), ("model", key.namespace, obj["spec"]["model"])):
            for deployment in follows.sources(target):
                wake(deployment)

    watch(registry, DEPLOYMENTS, deployment_changed, name="deployment")
    watch(registry, MODEL_VERSIONS, version_changed, name="served-version")
    for resource in (WORKLOADS, PODS, SERVICES, ENDPOINT_SLICES, HTTP_ROUTES, JOBS):
        name = f"served-{resource.plural}"
        watch(registry, resource, wake_by_label(wake, Label.DEPLOYMENT), name=name)


def names_of(deployment: Manifest) -> list[Hashable]:
    """The ModelVersion that a Deployment names, or the model whose alias it follows."""
    spec, key = deployment["spec"], key_of(deployment)
    if "modelVersion" in spec:
        return [("version", type(key)(key.namespace, spec["modelVersion"]))]
    return [("model", key.namespace, spec["model"])]


def eyes(options: Settings) -> Counting:
    """Who looks at counters, over HTTP."""
    named = HttpPrometheus(options.prometheus_address) if options.prometheus_address else None
    return Counting(HttpCounters(), named)


def room(options: Settings, rollouts: Rollouts, eyes: Counting) -> Room[Observed]:
    """Observe, decide, act for Deployments; ``rollouts`` is told what was decided."""
    defaults = Defaults(
        server_image=options.server_image,
        image_pull_policy=options.image_pull_policy,
        prometheus=bool(options.prometheus_address),
        gateway_classes=not options.watch_namespaces,
    )
    look = functools.partial(observe, defaults=defaults, eyes=eyes)
    return Room(DEPLOYMENTS, look, decide, lambda observed: observed.object, refused, rollouts.saw)
