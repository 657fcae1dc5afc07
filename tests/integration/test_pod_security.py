"""Every pod that Slipway makes is admitted where Pod Security enforces ``restricted``."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from slipway import contract
from slipway.api.dataset import Check, DatasetSpec
from slipway.api.deployment import DeploymentSpec, PromotionJob
from slipway.api.model_version import ModelVersionSpec
from slipway.api.training_run import TrainingRunSpec
from slipway.datasets import children as datasets
from slipway.registry import children as registry
from slipway.registry import evidence_job
from slipway.serving import children as serving
from slipway.serving.observed import Defaults as ServingDefaults
from slipway.serving.observed import Version
from slipway.training import children as training
from tests.integration.test_schema import blue_green, by_git, dataset, deployment, model_version, training_run
from tests.support.api_server import Api, Object, Refusal
from tests.support.chart import render


def _owner(manifest: Object) -> Object:
    made = copy.deepcopy(manifest)
    made["metadata"]["uid"] = "00000000-0000-0000-0000-000000000001"
    return made


def _train(**spec: Any) -> Object:
    run = _owner(training_run())
    run["spec"] = {"model": "digits", **(spec or training_run()["spec"])}
    parsed = TrainingRunSpec.model_validate(run["spec"])
    defaults = training.Defaults("registry.example/trainer:1")
    made = training.job(run, parsed, defaults, deadline=60, attempts_before=0, reread=0)
    template: Object = made["spec"]["template"]
    return template


def _read() -> Object:
    owner = _owner(dataset())
    spec = DatasetSpec.model_validate(owner["spec"])
    made = datasets.job(owner, spec, datasets.Defaults("registry.example/trainer:1"), Check(number=1, generation=1))
    template: Object = made["spec"]["template"]
    return template


def _verify() -> Object:
    version = _owner(model_version())
    spec = ModelVersionSpec.model_validate(version["spec"])
    template: Object = registry.job(version, spec, registry.Defaults("registry.example/server:1"), 0)["spec"][
        "template"
    ]
    return template


def _discard() -> Object:
    version = _owner(model_version())
    spec = ModelVersionSpec.model_validate(version["spec"])
    template: Object = registry.discard(version, spec, registry.Defaults("registry.example/server:1"))["spec"][
        "template"
    ]
    return template


def _sign() -> Object:
    version = _owner(model_version())
    spec = ModelVersionSpec.model_validate(version["spec"])
    asked = evidence_job.Signing("PEM", "signer", required=True)
    defaults = registry.Defaults("registry.example/server:1", "registry.example/trainer:1")
    template: Object = evidence_job.job(version, spec, asked, defaults, 0)["spec"]["template"]
    return template


def _serve(**spec: Any) -> Object:
    owner = _owner(deployment())
    parsed = DeploymentSpec.model_validate({**owner["spec"], **spec})
    version = Version(
        "digits-v3",
        "digits",
        3,
        contract.Artifact("s3://models/digits/v3/model.onnx", "sha256:" + "a" * 64, 17432),
        contract.Signature([contract.Tensor("x", "FP32", [-1, 64])], [contract.Tensor("y", "FP32", [-1, 10])]),
    )
    defaults = ServingDefaults(server_image="registry.example/server:1")
    template: Object = serving.workload(owner, parsed, version, 2, defaults)["spec"]["template"]
    return template


def _test(**job: Any) -> Object:
    owner = _owner(deployment())
    version = Version(
        "digits-v4",
        "digits",
        4,
        contract.Artifact("s3://m/x.onnx", "sha256:" + "a" * 64, 1),
        contract.Signature([], []),
    )
    given = PromotionJob.model_validate({"image": "registry.example/checks:1", **job})
    template: Object = serving.test(owner, "digits-digits-v4-test-1", given, version, "digits-v3")["spec"]["template"]
    return template


def _chart() -> dict[str, Object]:
    rendered = render()
    found = {}
    for manifest in rendered.manifests:
        if manifest["kind"] in ("Deployment", "Job"):
            found[f"the chart's {manifest['kind']} {manifest['metadata']['name']}"] = manifest["spec"]["template"]
        elif manifest["kind"] == "Pod":
            found[f"the chart's Pod {manifest['metadata']['name']}"] = manifest
    return found


PODS: dict[str, Object] = {
    "a training with code, data and a GPU": _train(),
    "a training that says no more than it must": _train(entrypoint="train:main"),
    "a training by any program": _train(command=["sh", "-c", "make model"], image="registry.example/any:1"),
    "a training from several places": _train(
        entrypoint="train:main", data=[{"name": "train", "uri": "s3://data/x", "store": "team-a"}]
    ),
    "a training with code by git": _train(entrypoint="train:main", code=by_git()),
    "a check of data": _read(),
    "a verification": _verify(),
    "the end of an archived version's file": _discard(),
    "a signature": _sign(),
    "a server": _serve(),
    "a server with a GPU": _serve(resources={"gpu": {"count": 1}}),
    "a person's test with files and variables": _test(
        **blue_green()["spec"]["strategy"]["blueGreen"]["prePromotion"]["job"]
    ),
    "a person's test that says no more than it must": _test(),
    **_chart(),
}


def _pod(template: Object, namespace: str) -> Object:
    spec = {"restartPolicy": "Always", **template["spec"]}
    # The chart's own account is not in this namespace, and no other has rights.
    spec.pop("serviceAccountName", None)
    meta = {"name": "probe", "namespace": namespace, "labels": template["metadata"].get("labels", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


@pytest.mark.parametrize("sentence", PODS)
def test_is_admitted(api: Api, namespace: str, sentence: str) -> None:
    made = api.create(_pod(PODS[sentence], namespace), dry_run=True)
    assert made["spec"]["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("sentence", PODS)
def test_goes_further_than_restricted(sentence: str) -> None:
    spec = PODS[sentence]["spec"]
    if not sentence.startswith("the chart's"):  # the operator itself needs its token
        assert spec["automountServiceAccountToken"] is False
        # What a pod says at its end is how its result reaches the operator.
        assert {c["terminationMessagePolicy"] for c in spec["containers"]} == {"FallbackToLogsOnError"}
    assert spec["enableServiceLinks"] is False
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    for volume in spec.get("volumes", ()):
        assert "hostPath" not in volume
        assert "secret" not in volume, "a Secret reaches a pod as variables, key by key"
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"], "an emptyDir without a limit fills the node"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"hostNetwork": True}, "host namespaces"),
        ({"securityContext": {"runAsNonRoot": False}}, "runAsNonRoot != true"),
        ({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "restricted volume types"),
    ],
)
def test_the_namespace_does_refuse(api: Api, namespace: str, edit: Object, words: str) -> None:
    """Otherwise the tests above would show nothing."""
    pod = _pod(PODS["a server"], namespace)
    pod["spec"] |= edit
    if "volumes" in edit:
        pod["spec"]["volumes"] = [*PODS["a server"]["spec"]["volumes"], *edit["volumes"]]
    with pytest.raises(Refusal, match="violates PodSecurity") as caught:
        api.create(pod, dry_run=True)
    assert words in caught.value.message
