"""When to look at a ModelVersion: it changed, or its verification did, or a sibling that shares an alias, or a
Deployment began or ended to run it, or a TrainingRun made it once more."""

from __future__ import annotations

import functools
from collections.abc import Hashable

import kopf

from slipway.api.common import Label
from slipway.api.deployment import runs as run_by
from slipway.kube.controller import Room
from slipway.kube.objects import (
    DEPLOYMENTS,
    JOBS,
    MODEL_VERSIONS,
    PODS,
    TRAINING_RUNS,
    WORKLOADS,
    Key,
    Manifest,
    key_of,
)
from slipway.kube.recent import Recent
from slipway.kube.wake import References, Wake, wake_by_label, watch
from slipway.registry.children import Defaults
from slipway.registry.decide import decide, refused
from slipway.registry.observe import ASKED_AGE, Observed, observe
from slipway.registry.reproductions import Runs
from slipway.settings import Settings


def register(registry: kopf.OperatorRegistry, wake: Wake, runs: Runs) -> None:
    """Tell Kopf."""
    models, runners, workloads, originals = References(), References(), References(), References()

    def version_changed(obj: Manifest, deleted: bool) -> None:
        key = key_of(obj)
        model: Hashable = (key.namespace, obj["spec"]["model"])
        # An alias moves between the versions of one model: whoever lists any must look again.
        models.update(key, [model] if obj["spec"].get("aliases") and not deleted else [])
        asked = obj["spec"].get("promotedFrom")
        originals.update(key, [Key(asked["namespace"], asked["modelVersion"])] if asked and not deleted else [])
        for other in models.sources(model) | originals.sources(key) | {key}:
            wake(other)

    def deployment_changed(obj: Manifest, deleted: bool) -> None:
        key, before = key_of(obj), runners.targets(key_of(obj))
        runners.update(key, [] if deleted else versions_run_by(obj))
        for run in before ^ runners.targets(key):
            assert isinstance(run, tuple)
            wake(run[0])

    def workload_changed(obj: Manifest, deleted: bool) -> None:
        # A Deployment names its candidate before the workload exists by which ``observe`` finds the Deployment. Only
        # its coming and going matter, not every change of its status.
        key, before = key_of(obj), workloads.targets(key_of(obj))
        version = (obj["metadata"].get("labels") or {}).get(Label.MODEL_VERSION)
        workloads.update(key, [Key(key.namespace, version)] if version and not deleted else [])
        for run in before ^ workloads.targets(key):
            assert isinstance(run, Key)
            wake(run)

    def run_changed(obj: Manifest, deleted: bool) -> None:
        if version := runs.changed(obj, deleted):
            wake(version)

    watch(registry, MODEL_VERSIONS, version_changed, name="model-version")
    watch(registry, TRAINING_RUNS, run_changed, name="version-reproduction")
    watch(registry, JOBS, wake_by_label(wake, Label.MODEL_VERSION, **{Label.ROLE: "verify"}), name="verify-job")
    watch(registry, PODS, wake_by_label(wake, Label.MODEL_VERSION, **{Label.ROLE: "verify"}), name="verify-pod")
    watch(registry, JOBS, wake_by_label(wake, Label.MODEL_VERSION, **{Label.ROLE: "sign"}), name="sign-job")
    watch(registry, PODS, wake_by_label(wake, Label.MODEL_VERSION, **{Label.ROLE: "sign"}), name="sign-pod")
    watch(registry, JOBS, wake_by_label(wake, Label.MODEL_VERSION, **{Label.ROLE: "discard"}), name="discard-job")
    watch(registry, PODS, wake_by_label(wake, Label.MODEL_VERSION, **{Label.ROLE: "discard"}), name="discard-pod")
    watch(registry, DEPLOYMENTS, deployment_changed, name="version-runner")
    watch(registry, WORKLOADS, workload_changed, name="version-workload")


def versions_run_by(deployment: Manifest) -> frozenset[tuple[Key, str]]:
    """The ModelVersions that a Deployment runs and in which role, by its status. With the role, because a shadow
    that becomes a candidate, and a candidate that becomes stable, must look again too."""
    namespace = deployment["metadata"]["namespace"]
    return frozenset((Key(namespace, version), role) for version, role in run_by(deployment))


def room(options: Settings, runs: Runs) -> Room[Observed]:
    """Observe, decide, act for ModelVersions. ``runs`` is what ``register`` keeps up to date."""
    defaults = Defaults(
        server_image=options.server_image,
        trainer_image=options.trainer_image,
        image_pull_policy=options.image_pull_policy,
        whole_cluster=not options.watch_namespaces,
    )
    look = functools.partial(observe, defaults=defaults, runs=runs, recent=Recent(ASKED_AGE))
    return Room(MODEL_VERSIONS, look, decide, lambda observed: observed.version, refused, group=model_of)


def model_of(key: Key) -> Hashable:
    """The model of a version, by the version's name: an alias never moves while another version of it is looked at.

    >>> model_of(Key("team", "llama-v2-v3"))
    ('team', 'llama-v2')
    """
    return key.namespace, key.name.rpartition("-v")[0]
