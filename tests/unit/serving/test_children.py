"""The manifests that a Deployment makes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from slipway import contract
from slipway.api.common import Label
from slipway.api.deployment import DeploymentSpec
from slipway.kube.objects import owned_by
from slipway.serving import children
from slipway.serving.observed import Defaults, Version
from tests.support.builders import DIGEST
from tests.support.serving_builders import deployment

V1 = Version(
    name="digits-v1",
    model="digits",
    number=1,
    artifact=contract.Artifact("s3://models/digits.onnx", DIGEST, 300 * 2**20, "team-a"),
    signature=contract.Signature([contract.Tensor("x", "FP32", [-1, 64])], [contract.Tensor("y", "FP32", [-1, 10])]),
)


def owner(**spec: Any) -> dict[str, Any]:
    made = deployment(**spec)
    made["metadata"] |= {"uid": "dep-uid", "generation": 1}
    return made


def workload(*, drain: int = 10, **spec: Any) -> dict[str, Any]:
    made = owner(**spec)
    asked = DeploymentSpec.model_validate(made["spec"])
    return children.workload(made, asked, V1, 3, Defaults("server:1", drain_seconds=drain))


def pod(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = workload(**more)["spec"]["template"]["spec"]
    return found


def container(**more: Any) -> dict[str, Any]:
    (found,) = pod(**more)["containers"]
    return dict(found)


def env(**more: Any) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container(**more)["env"]}


def test_the_pod_keeps_every_rule_of_restricted_and_ours() -> None:
    made = pod()
    assert made["automountServiceAccountToken"] is False
    assert made["enableServiceLinks"] is False
    assert made["securityContext"]["runAsNonRoot"] is True
    assert made["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert container()["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert all("sizeLimit" in v["emptyDir"] for v in made["volumes"])


def test_the_server_is_told_everything_in_one_document() -> None:
    told = contract.loads(
        contract.ServeSpec,
        env(server={"maxBatch": 8, "maxDelay": "5ms", "queueLimit": 9, "timeout": "2s"})[contract.Env.SPEC],
    )
    assert told == contract.ServeSpec(
        namespace="team",
        model="digits",
        modelVersion="digits-v1",
        version=1,
        artifact=V1.artifact,
        signature=V1.signature,
        deployment="digits",
        maxBatch=8,
        maxDelayMs=5,
        queueLimit=9,
        timeoutMs=2000,
        maxBodyBytes=64 * 1024 * 1024,
        drainSeconds=10,
    )
    assert container()["args"] == ["serve"]


def test_the_server_gets_the_place_of_the_artifact_and_no_other() -> None:
    holders = {
        (ref["name"], ref["key"])
        for value in env().values()
        if isinstance(value, dict)
        for kind, ref in value.items()
        if kind in ("configMapKeyRef", "secretKeyRef")
    }
    assert holders == {
        ("slipway-store-team-a", key) for key in (*contract.StoreKeys.CONFIG, *contract.StoreKeys.SECRET)
    }


def test_the_kubelet_waits_longer_than_the_server_drains_and_the_longest_request_takes() -> None:
    assert pod(drain=20, server={"timeout": "90s"})["terminationGracePeriodSeconds"] > 20 + 90


def test_the_scratch_holds_the_model_and_something_beside_it() -> None:
    (volume,) = pod()["volumes"]
    size = re.fullmatch(r"([0-9]+)Mi", volume["emptyDir"]["sizeLimit"])
    assert size is not None
    assert 300 < int(size.group(1)) < 400
    assert container()["volumeMounts"] == [{"name": volume["name"], "mountPath": contract.MODEL_DIR}]


def test_a_gpu_is_asked_for_and_limited() -> None:
    made = container(resources={"cpu": "2", "memory": "1Gi", "gpu": {"count": 2, "resourceName": "example.com/gpu"}})
    assert made["resources"]["limits"] == {"memory": "1Gi", "example.com/gpu": "2"}
    assert made["resources"]["requests"]["example.com/gpu"] == "2"


def test_a_new_pod_is_ready_before_an_old_one_goes() -> None:
    assert workload()["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    in_place = workload(strategy={"type": "Canary", "surge": False})
    assert in_place["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}


def test_probes_ask_the_port_that_serves() -> None:
    made = container()
    asked = {kind: made[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in asked.values()} == {contract.SERVE_PORT}
    assert asked["readinessProbe"]["path"] == "/v2/health/ready"
    assert asked["livenessProbe"]["path"] == "/v2/health/live"


def test_every_child_goes_with_its_deployment_and_leads_back_to_it() -> None:
    made = owner()
    some = [
        workload(),
        children.service(made, "digits-v1"),
        children.budget(made, "digits-v1"),
        children.front(made, {}),
    ]
    for child in some:
        assert owned_by(child, "dep-uid"), child["kind"]
        assert child["metadata"]["labels"][Label.DEPLOYMENT] == "digits"
        assert child["metadata"]["namespace"] == "team"


def test_selectors_find_the_pods_of_their_version_only() -> None:
    labels = workload()["spec"]["template"]["metadata"]["labels"]
    for chosen in (
        workload()["spec"]["selector"]["matchLabels"],
        children.service(owner(), "digits-v1")["spec"]["selector"],
        children.budget(owner(), "digits-v1")["spec"]["selector"]["matchLabels"],
        children.selector("digits"),
    ):
        assert chosen.items() <= labels.items()
    assert not children.selector("digits", "digits-v2").items() <= labels.items()
    assert not children.selector("other").items() <= labels.items()


@pytest.mark.parametrize(
    ("deployment_name", "version"), [("digits", "digits-v1"), ("d" * 40, "m" * 40 + "-v123456"), ("d" * 40, "m" * 63)]
)
def test_a_childs_name_is_a_dns_label_and_its_own(deployment_name: str, version: str) -> None:
    name = children.child_name(deployment_name, version)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 63
    assert name != children.child_name(deployment_name, version[:-1] + "x")
