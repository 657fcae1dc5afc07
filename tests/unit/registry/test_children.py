"""The Job that verifies a version."""

from __future__ import annotations

from typing import Any

from slipway import contract
from slipway.api.model_version import ModelVersionSpec
from slipway.registry import children
from slipway.registry.children import Defaults
from tests.support.builders import DIGEST, model_version


def job(name: str = "digits-v1", **spec: Any) -> dict[str, Any]:
    version = model_version(name, uid="version-uid", **spec)
    return children.job(version, ModelVersionSpec.model_validate(version["spec"]), Defaults("server:1"), 0)


def test_the_pod_keeps_every_rule_of_restricted_and_ours() -> None:
    pod = job()["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["args"] == ["verify"]
    assert all("sizeLimit" in v["emptyDir"] for v in pod["volumes"])


def test_the_server_is_told_what_was_registered() -> None:
    (container,) = job()["spec"]["template"]["spec"]["containers"]
    env = {e["name"]: e.get("value") for e in container["env"]}
    told = contract.loads(contract.ServeSpec, env[contract.Env.SPEC] or "")
    assert told.artifact == contract.Artifact("s3://models/digits/digits-v1.onnx", DIGEST, 17432)
    assert told.signature.inputs == [contract.Tensor("x", "FP32", [-1, 64])]
    assert (told.model, told.modelVersion, told.version) == ("digits", "digits-v1", 1)
    assert env["HOME"] == contract.MODEL_DIR


def test_a_large_file_gets_room_and_memory() -> None:
    artifact = {"uri": "s3://models/m.onnx", "digest": DIGEST, "size": 1024**3}
    pod = job(artifact=artifact)["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["memory"] == "3584Mi"
    assert pod["volumes"][0]["emptyDir"]["sizeLimit"] == "2112Mi"


def test_the_job_is_found_by_the_version_s_name_and_goes_with_it() -> None:
    made = job()
    assert made["metadata"]["name"] == "digits-v1-verify"
    assert made["metadata"]["labels"]["slipway.dev/model-version"] == "digits-v1"
    assert made["metadata"]["ownerReferences"][0]["uid"] == "version-uid"
    longest = job("m" * 40 + "-v999999999")
    assert len(longest["metadata"]["name"]) <= 63
