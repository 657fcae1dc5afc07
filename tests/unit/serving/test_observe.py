"""What is read, and what is made of what cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.api.common import ACTION_ANNOTATION, Label
from slipway.api.reasons import Reason
from slipway.kube.client import Refused
from slipway.kube.fake import FakeKube
from slipway.kube.objects import DEPLOYMENTS, GATEWAYS, HTTP_ROUTES, MODEL_VERSIONS, Manifest, Resource
from slipway.serving import children
from slipway.serving.observe import observe
from slipway.serving.observed import Observed, Target
from tests.support.builders import NAMESPACE
from tests.support.serving_builders import NAME, deployment, gateway, ready_version, version_status
from tests.support.serving_world import DEFAULTS, KEY, Blind


async def seen(*objects: Manifest, kube: FakeKube | None = None) -> Observed:
    kube = kube or FakeKube()
    for each in objects:
        kube.put(each)
    found = await observe(kube, KEY, DEFAULTS, Blind())
    assert found is not None
    return found


async def target(*objects: Manifest) -> Target:
    return (await seen(*objects)).target


async def test_a_deployment_that_is_gone_or_going_is_left_alone() -> None:
    assert await observe(FakeKube(), KEY, DEFAULTS, Blind()) is None
    going = deployment()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert await observe(FakeKube([going]), KEY, DEFAULTS, Blind()) is None


# ------------------------------------------------------------------------------------------------------ the target


def verifying(name: str) -> dict[str, Any]:
    return {**ready_version(name), "status": version_status("False", phase="Verifying", message="a pod reads it")}


def failed(name: str) -> dict[str, Any]:
    return {**ready_version(name), "status": version_status("False", phase="Failed", message="the digest is another")}


def rejected(name: str) -> dict[str, Any]:
    return {**ready_version(name), "status": version_status("False", phase="Rejected", message="rejected by joe")}


@pytest.mark.parametrize(
    ("versions", "fit", "reason", "said", "stalled"),
    [
        pytest.param([ready_version()], True, Reason.READY, "", False, id="ready"),
        pytest.param([], False, Reason.MODEL_VERSION_MISSING, "there is no ModelVersion digits-v1", True, id="missing"),
        pytest.param(
            [verifying("digits-v1")], False, Reason.MODEL_VERSION_NOT_READY, "not Ready yet: a pod reads it", False,
            id="being verified",
        ),
        pytest.param(
            [failed("digits-v1")], False, Reason.MODEL_VERSION_NOT_READY, "has failed: the digest is another", True,
            id="failed",
        ),
        pytest.param(
            [rejected("digits-v1")], False, Reason.MODEL_VERSION_NOT_READY, "may not be used: rejected by joe", True,
            id="rejected",
        ),
        pytest.param(
            [ready_version(archived=True)], False, Reason.MODEL_VERSION_NOT_READY, "is archived", True, id="archived"
        ),
    ],
)  # fmt: skip
async def test_the_version_that_is_named(
    versions: list[dict[str, Any]], fit: bool, reason: Reason, said: str, stalled: bool
) -> None:
    found = await target(deployment(), *versions)
    assert (found.wanted, found.fit, found.reason, found.stalled) == ("digits-v1", fit, reason, stalled)
    assert said in found.message


def follower(**spec: Any) -> dict[str, Any]:
    return deployment(None, model="digits", alias="champion", **spec)


async def test_an_alias_leads_to_the_highest_number_that_holds_it() -> None:
    held = [ready_version(f"digits-v{n}", aliases=["champion"]) for n in (2, 10)]
    assert (await target(follower(), *held, ready_version("digits-v11"))).wanted == "digits-v10"


async def test_an_alias_of_another_model_or_one_that_is_only_asked_for_leads_nowhere() -> None:
    asked_for = {**verifying("digits-v3"), "spec": {**ready_version("digits-v3")["spec"], "aliases": ["champion"]}}
    found = await target(follower(), ready_version("letters-v1", aliases=["champion"]), asked_for)
    assert (found.wanted, found.fit, found.stalled) == (None, False, True)
    assert "no ModelVersion of digits holds the alias champion" in found.message


# ------------------------------------------------------------------------------------------------------- who spoke


async def test_a_verb_is_read_with_who_wrote_it() -> None:
    made = deployment()
    made["metadata"]["annotations"] = {ACTION_ANNOTATION: "promote", "else": "x"}
    mine: dict[str, Any] = {"f:metadata": {"f:annotations": {f"f:{ACTION_ANNOTATION}": {}}}}
    theirs: dict[str, Any] = {"f:metadata": {"f:annotations": {"f:else": {}}}}
    made["metadata"]["managedFields"] = [
        {"manager": "helm", "fieldsV1": theirs},
        {"manager": "argocd", "fieldsV1": mine},
    ]
    found = await seen(made)
    assert (found.action, found.action_by) == ("promote", "argocd")


async def test_no_verb_is_no_verb() -> None:
    made = deployment()
    made["metadata"]["annotations"] = {"else": "x"}
    assert (await seen(made)).action is None


# ---------------------------------------------------------------------------------------------- names of others


def theirs(kind: str, api: str, name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}}


@pytest.mark.parametrize(
    ("other", "route", "said"),
    [
        pytest.param(theirs("Service", "v1", "digits-digits-v1"), True, "Service digits-digits-v1", id="its Service"),
        pytest.param(
            theirs("Deployment", "apps/v1", "digits-digits-v1"), True, "Deployment) digits-digits-v1", id="its pods"
        ),
        pytest.param(
            theirs("HTTPRoute", "gateway.networking.k8s.io/v1", NAME), True, "HTTPRoute digits", id="its route"
        ),
        pytest.param(theirs("Service", "v1", NAME), False, "Service digits", id="its front Service"),
        pytest.param(
            theirs(
                "Service", "v1", "digits-digits-v1", **{Label.DEPLOYMENT: NAME, Label.MODEL_VERSION: "digits-v1"}
            ),
            True,
            "Service digits-digits-v1",
            id="one that only carries our labels",
        ),
    ],
)  # fmt: skip
async def test_a_name_that_somebody_else_has_is_said(other: dict[str, Any], route: bool, said: str) -> None:
    found = await seen(deployment(route=route), ready_version(), other)
    assert said in str(found.taken)


async def test_a_service_of_our_name_does_not_matter_where_there_is_a_route() -> None:
    found = await seen(deployment(), ready_version(), theirs("Service", "v1", NAME))
    assert not found.taken
    assert found.front is None


# ------------------------------------------------------------------------------------------------------ the gateway


class NoRight(FakeKube):
    """An operator that may not look into the Gateway's namespace."""

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        if resource is GATEWAYS:
            raise Refused(403, "gateways.gateway.networking.k8s.io is forbidden")
        return await super().get(resource, namespace, name)


async def test_the_gateway_may_be_there_missing_unknown_or_of_no_known_kind() -> None:
    there = await seen(deployment(), gateway())
    assert there.gateway is not None
    assert (there.gateway_known, there.gateway_api) == (True, True)
    missing = await seen(deployment())
    assert (missing.gateway, missing.gateway_known, missing.gateway_api) == (None, True, True)
    unknown = await seen(deployment(), kube=NoRight())
    assert (unknown.gateway, unknown.gateway_known, unknown.gateway_api) == (None, False, True)
    none = await seen(deployment(), kube=FakeKube(not_installed=[GATEWAYS, HTTP_ROUTES]))
    assert (none.gateway, none.gateway_known, none.gateway_api) == (None, True, False)


async def test_nothing_is_asked_about_gateways_without_a_route() -> None:
    found = await seen(deployment(route=False), kube=NoRight())
    assert found.gateway_api
    assert found.route is None


# ------------------------------------------------------------------------------------------------ what it takes


async def test_a_version_whose_modelversion_is_gone_is_read_off_its_workload() -> None:
    registered = ready_version()
    registered["spec"]["artifact"]["uri"] = "s3://models/costs $$(much) $.onnx"
    kube = FakeKube([deployment(), registered])
    before = await seen(kube=kube)
    owner = kube.all(DEPLOYMENTS)[0]
    kube.put(children.workload(owner, before.spec, before.versions["digits-v1"], 2, DEFAULTS))
    kube.remove(MODEL_VERSIONS, NAMESPACE, "digits-v1")
    after = await seen(kube=kube)
    assert not after.target.fit
    assert after.versions == before.versions


async def test_a_version_that_neither_is_nor_runs_cannot_be_written() -> None:
    assert (await seen(deployment())).versions == {}


# ----------------------------------------------------------------------------------------------------- endpoints


async def test_only_ready_endpoints_count_and_each_pod_once() -> None:
    labels = {Label.DEPLOYMENT: NAME, Label.MODEL_VERSION: "digits-v1"}
    kube = FakeKube([deployment(), ready_version()])
    uid = kube.all(DEPLOYMENTS)[0]["metadata"]["uid"]
    mine = {"ownerReferences": [{"uid": uid, "controller": True}]}
    workload = theirs("Deployment", "apps/v1", "digits-digits-v1", **labels)
    workload["metadata"] |= mine
    workload |= {"spec": {"replicas": 3}, "status": {"readyReplicas": 3}}
    endpoints = [
        {"addresses": ["10.0.0.1"], "targetRef": {"name": "a"}, "conditions": {"ready": True}},
        {"addresses": ["10.0.0.2"], "targetRef": {"name": "b"}, "conditions": {}},
        {"addresses": ["10.0.0.3"], "targetRef": {"name": "c"}, "conditions": {"ready": False}},
    ]
    for number, some in enumerate((endpoints, endpoints[:1], None)):
        piece = theirs(
            "EndpointSlice", "discovery.k8s.io/v1", f"s{number}", **labels,
            **{"kubernetes.io/service-name": "digits-digits-v1"},
        )  # fmt: skip
        kube.put({**piece, "endpoints": some})
    found = await seen(workload, kube=kube)
    assert found.of("digits-v1").endpoints == 2
    assert found.of("digits-v1").ready == 2
    assert found.of("digits-v2").ready == 0
