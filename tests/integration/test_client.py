"""The operator's client on a real API server: what was observed is gone by the time of the write, or something else has
its name. Each write must see that by itself: it is a conflict, on which the pass begins anew, or nothing to be done."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_kube_config

from slipway.kube.act import event_manifest
from slipway.kube.client import ApiServer, Conflict, Unreachable
from slipway.kube.fence import Fence
from slipway.kube.objects import CONFIG_MAPS, JOBS, MODEL_VERSIONS, Manifest, resource_of
from slipway.kube.plan import Event
from slipway.training.children import job_suspend
from tests.support.api_server import Api, eventually
from tests.support.control_plane import Cluster

Object = dict[str, Any]


@pytest.fixture
async def kube(cluster: Cluster) -> AsyncIterator[ApiServer]:
    config = Configuration()
    await load_kube_config(str(cluster.kubeconfig), client_configuration=config)  # type: ignore[no-untyped-call]
    fence = Fence()
    fence.renewed(fence.now())
    async with ApiClient(config) as api:
        yield ApiServer(api, fence)


def settings(namespace: str) -> Object:
    meta = {"name": "settings", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1"}}


def version(namespace: str) -> Object:
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 64]}
    return {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": "digits-v1", "namespace": namespace, "annotations": {"a": "1"}},
        "spec": {
            "model": "digits",
            "version": 1,
            "artifact": {"uri": "s3://models/x.onnx", "digest": "sha256:" + "1" * 64, "size": 1},
            "signature": {"inputs": [tensor], "outputs": [tensor]},
        },
    }


def job(namespace: str) -> Object:
    restricted = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "train", "image": "train:1", "securityContext": restricted}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "digits-1", "namespace": namespace},
        "spec": {
            "suspend": True,
            "template": {"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }


def full(live: Manifest) -> Object:
    """All of an object, as the ledger of a model is written."""
    return settings(live["metadata"]["namespace"]) | {"data": {"a": "2"}}


def labels(live: Manifest) -> Object:
    """A few labels of somebody else's object: the marks of a version."""
    meta = {"name": live["metadata"]["name"], "namespace": live["metadata"]["namespace"]}
    return {**{key: live[key] for key in ("apiVersion", "kind")}, "metadata": {**meta, "labels": {"a": "1"}}}


def suspend(live: Manifest) -> Object:
    """A few fields of a Job."""
    return job_suspend(live, False, None)


WRITES = [
    pytest.param(settings, full, id="the whole object"),
    pytest.param(version, labels, id="labels of a version"),
    pytest.param(job, suspend, id="a field of a Job"),
]


@pytest.mark.parametrize(("make", "change"), WRITES)
async def test_a_guarded_apply_to_what_has_gone(
    cluster: Cluster,
    namespace: str,
    kube: ApiServer,
    make: Callable[[str], Object],
    change: Callable[[Manifest], Object],
) -> None:
    """It makes nothing anew, and is no error: without more, the API server takes such a write for a creation."""
    live = cluster.api.create(make(namespace))
    gone(cluster.api, live)
    with pytest.raises(Conflict):
        await kube.apply(change(live), live)
    assert cluster.api.get(resource_of(live), namespace, live["metadata"]["name"]) is None


@pytest.mark.parametrize(("make", "change"), WRITES)
async def test_a_guarded_apply_to_what_has_its_name(
    cluster: Cluster,
    namespace: str,
    kube: ApiServer,
    make: Callable[[str], Object],
    change: Callable[[Manifest], Object],
) -> None:
    live = cluster.api.create(make(namespace))
    gone(cluster.api, live)
    anew = settled(cluster.api, cluster.api.create(make(namespace)))
    with pytest.raises(Conflict):
        await kube.apply(change(live), live)
    assert cluster.api.get(resource_of(live), namespace, live["metadata"]["name"]) == anew


@pytest.mark.parametrize(("make", "change"), WRITES)
async def test_a_guarded_apply_to_what_changed_and_to_what_did_not(
    cluster: Cluster,
    namespace: str,
    kube: ApiServer,
    make: Callable[[str], Object],
    change: Callable[[Manifest], Object],
) -> None:
    before = settled(cluster.api, cluster.api.create(make(namespace)))
    name = before["metadata"]["name"]
    live = cluster.api.merge(resource_of(before), namespace, name, {"metadata": {"labels": {"b": "2"}}})
    with pytest.raises(Conflict):
        await kube.apply(change(before), before)
    written = await kube.apply(change(live), live)
    assert written["metadata"]["uid"] == live["metadata"]["uid"]
    assert written["metadata"]["labels"]["b"] == "2"
    assert int(written["metadata"]["resourceVersion"]) > int(live["metadata"]["resourceVersion"])


async def test_an_apply_without_a_guard_makes_what_has_gone(cluster: Cluster, namespace: str, kube: ApiServer) -> None:
    """A child that somebody deletes comes back: it follows the spec."""
    live = cluster.api.create(settings(namespace))
    gone(cluster.api, live)
    assert (await kube.apply(full(live)))["metadata"]["uid"] != live["metadata"]["uid"]


async def test_other_writes_to_what_has_gone(cluster: Cluster, namespace: str, kube: ApiServer) -> None:
    live = cluster.api.create(version(namespace))
    gone(cluster.api, live)
    with pytest.raises(Conflict):
        await kube.write_status(MODEL_VERSIONS, live, {"phase": "Verifying"})
    await kube.remove_annotation(MODEL_VERSIONS, live, "a", "1")
    await kube.delete(MODEL_VERSIONS, namespace, "digits-v1", live["metadata"]["uid"])
    assert cluster.api.get(MODEL_VERSIONS, namespace, "digits-v1") is None


async def test_other_writes_to_what_has_its_name(cluster: Cluster, namespace: str, kube: ApiServer) -> None:
    live = cluster.api.create(version(namespace))
    gone(cluster.api, live)
    anew = cluster.api.create(version(namespace))
    with pytest.raises(Conflict):
        await kube.write_status(MODEL_VERSIONS, live, {"phase": "Verifying"})
    await kube.remove_annotation(MODEL_VERSIONS, live, "a", "1")
    await kube.delete(MODEL_VERSIONS, namespace, "digits-v1", live["metadata"]["uid"])
    assert cluster.api.get(MODEL_VERSIONS, namespace, "digits-v1") == anew


async def test_writes_where_the_namespace_has_gone(kube: ApiServer) -> None:
    live = version("no-such") | {"metadata": {"name": "digits-v1", "namespace": "no-such", "uid": "1"}}
    event = event_manifest(MODEL_VERSIONS, live, Event("Normal", "Ready", "it is"), datetime.now(UTC), "test")
    for write in (
        kube.create(settings("no-such")),
        kube.apply(settings("no-such")),
        kube.write_status(MODEL_VERSIONS, live, {"phase": "Verifying"}),
        kube.post_event(event),
    ):
        with pytest.raises(Conflict):
            await write


async def test_nobody_answers() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        config = Configuration(host=f"http://127.0.0.1:{nobody.getsockname()[1]}")
        async with ApiClient(config) as api:
            with pytest.raises(Unreachable, match="the API server gave no answer: Cannot connect to host"):
                await ApiServer(api, Fence()).get(CONFIG_MAPS, "team", "settings")


def settled(api: Api, made: Object) -> Object:
    """The object once nobody else writes it any more: the Job controller says once that a Job is suspended."""
    resource, meta = resource_of(made), made["metadata"]

    def now() -> Object | None:
        found = api.get(resource, meta["namespace"], meta["name"])
        return found if found and (resource != JOBS or found["status"].get("conditions")) else None

    return eventually(now, what=f"{meta['name']} at rest")


def gone(api: Api, live: Manifest) -> None:
    resource, meta = resource_of(live), live["metadata"]
    options = {"propagationPolicy": "Background", "preconditions": {"uid": meta["uid"]}}
    api.call("DELETE", resource.path(meta["namespace"], meta["name"]), options)
    assert api.get(resource, meta["namespace"], meta["name"]) is None
