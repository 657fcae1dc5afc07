"""What is read of a ModelVersion, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from slipway.api.common import Label
from slipway.api.model_version import ModelVersionStatus
from slipway.kube.fake import FakeKube
from slipway.kube.objects import DEPLOYMENTS, JOBS, MODEL_VERSIONS, Key, owner_reference
from slipway.kube.recent import Recent
from slipway.registry.children import Defaults
from slipway.registry.decide import decide
from slipway.registry.observe import Observed, observe
from slipway.registry.reproductions import Runs
from tests.support.builders import T0, config_map, job_of, model_version, pod, store

KEY = Key("team", "digits-v1")
look = partial(observe, defaults=Defaults("server:1"), runs=Runs(), recent=Recent(0))


async def seen(kube: FakeKube) -> Observed:
    found = await look(kube, KEY)
    assert found is not None
    return found


def workload(name: str, deployment: str, version: str) -> dict[str, Any]:
    labels = {Label.DEPLOYMENT: deployment, Label.MODEL_VERSION: version}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "team", "labels": labels},
        "spec": {},
    }


def deployment(name: str) -> dict[str, Any]:
    return {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": {"name": name, "namespace": "team"},
        "spec": {},
    }


async def test_a_version_that_is_gone_or_going_is_left_alone() -> None:
    kube = FakeKube()
    assert await look(kube, KEY) is None
    kube.put(model_version())
    kube.edit(MODEL_VERSIONS, "team", "digits-v1", lambda v: v["metadata"].update(deletionTimestamp=T0))
    assert await look(kube, KEY) is None
    # While it still shows an alias, it has something to do.
    kube.edit(MODEL_VERSIONS, "team", "digits-v1", lambda v: v.update(status={"heldAliases": ["champion"]}))
    plan = decide(await seen(kube), datetime(2026, 1, 1, tzinfo=UTC))
    assert (plan.changes, plan.events, plan.remove_annotations) == ((), (), None)
    assert isinstance(plan.status, ModelVersionStatus)
    assert plan.status.held_aliases == []


async def test_the_s3_place_is_looked_for_and_only_its_own_pods_are_read() -> None:
    kube = FakeKube([model_version()])
    assert not (await seen(kube)).store
    kube.put(store())
    version = (await seen(kube)).version
    job = kube.put(job_of(version, "digits-v1-verify", "verify"))
    kube.put(pod("mine", labels=VERIFIES, owner=owner_reference(job)))
    kube.put(pod("serving", labels={Label.MODEL_VERSION: "digits-v1", Label.ROLE: "serve"}))
    found = await seen(kube)
    assert found.store
    assert [p["metadata"]["name"] for p in found.pods] == ["mine"]


VERIFIES = {Label.MODEL_VERSION: "digits-v1", Label.ROLE: "verify"}


@pytest.mark.parametrize("role", ["verify", "sign", "discard"])
async def test_what_somebody_else_made_says_nothing_whatever_its_labels(role: str) -> None:
    """Labels, names and ownerReferences are anybody's to write, and a pod's end is what makes a version Ready."""
    archived: dict[str, Any] = {"archived": True, "artifactPolicy": "Delete"} if role == "discard" else {}
    kube = FakeKube([model_version(**archived), config_map("slipway-signing", {"publicKey": "PEM"})])
    version = (await seen(kube)).version
    labels = {**VERIFIES, Label.ROLE: role}

    async def counted() -> list[str]:
        found = await seen(kube)
        pods = {"verify": found.pods, "sign": found.sign_pods, "discard": found.discard_pods}[role]
        return [p["metadata"]["name"] for p in pods]

    kube.put(pod("forged", labels=labels, owner=owner_reference(version), exit_code=0))
    assert await counted() == []
    job = kube.put(job_of(version, f"digits-v1-{role}", role))
    foreign = kube.put(job_of(version, "another", role))
    kube.put(pod("of-another-job", labels=labels, owner=owner_reference(foreign), exit_code=0))
    assert await counted() == []
    kube.put(pod("ours", labels=labels, owner=owner_reference(job), exit_code=0))
    assert await counted() == ["ours"]
    kube.edit(JOBS, "team", f"digits-v1-{role}", lambda j: j["metadata"].update(labels={}))
    assert await counted() == []


async def test_siblings_are_the_other_versions_of_the_model() -> None:
    kube = FakeKube([labelled("digits-v2", "digits"), labelled("digits-v3", "digits"), labelled("other-v1", "other")])
    kube.put(labelled("digits-v1", "digits"))
    assert (await seen(kube)).siblings == ()
    kube.edit(MODEL_VERSIONS, "team", "digits-v1", lambda v: v["spec"].update(aliases=["champion"]))
    assert [v["metadata"]["name"] for v in (await seen(kube)).siblings] == ["digits-v2", "digits-v3"]


def labelled(name: str, model: str) -> dict[str, Any]:
    return model_version(name, labels={Label.MODEL: model})


async def test_deployments_are_found_by_their_workloads() -> None:
    kube = FakeKube([model_version(), deployment("a"), deployment("b"), deployment("c")])
    kube.put(workload("a-v1", "a", "digits-v1"))
    kube.put(workload("b-v2", "b", "digits-v2"))
    kube.put(workload("gone-v1", "gone", "digits-v1"))
    assert [d["metadata"]["name"] for d in (await seen(kube)).deployments] == ["a"]


async def test_whether_signatures_are_wanted_is_asked_anew_only_of_what_is_not_ready() -> None:
    kube = FakeKube([model_version(status={"phase": "Ready"}), model_version("digits-v2")])
    asks = partial(observe, defaults=Defaults("server:1"), runs=Runs(), recent=Recent(10, lambda: 0.0))

    async def signing(name: str) -> bool:
        found = await asks(kube, Key("team", name))
        assert found is not None
        return found.signing is not None

    assert not await signing("digits-v1")
    kube.put(config_map("slipway-signing", {"publicKey": "PEM", "required": "true"}))
    assert not await signing("digits-v1"), "it learns of it a moment later"
    assert await signing("digits-v2"), "it must not become Ready unsigned meanwhile"
    rejected = {"state": "Rejected", "by": "joe"}
    kube.edit(MODEL_VERSIONS, "team", "digits-v2", lambda v: v["spec"].update(approval=rejected))
    assert not await signing("digits-v2"), "nobody wants to know"
