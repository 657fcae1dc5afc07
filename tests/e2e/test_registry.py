"""The life of a version, on a real cluster with real files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pytest

from slipway.kube.objects import MODEL_VERSIONS, NAMESPACES, TRAINING_RUNS
from tests.support import onnx_models
from tests.support.api_server import Refusal
from tests.support.e2e import EXAMPLES, Tenant, World, condition


def test_a_model_that_was_trained_elsewhere(world: World, tenant: Tenant) -> None:
    # Given a file that nobody here trained
    uri = f"s3://models/elsewhere/{tenant.name}.onnx"
    file = world.upload(uri, onnx_models.digits(seed=101).SerializeToString())
    # When it is registered as the example does
    made = tenant.give("registry/imported.yaml", artifact=asdict(file))
    # Then it is verified, says where it comes from, and is found by its file
    version = tenant.version_ready("digits-v1")
    lineage = version["status"]["lineage"]
    assert (lineage["origin"], lineage["source"]) == ("Imported", made["spec"]["source"])
    assert lineage["artifact"] == version["spec"]["artifact"]
    held = f"slipway.dev/artifact={file.digest.removeprefix('sha256:')[:40]}"
    assert [v["metadata"]["name"] for v in world.api.list(MODEL_VERSIONS, tenant.name, held)] == ["digits-v1"]


def test_a_version_that_somebody_has_to_agree_to(world: World, tenant: Tenant) -> None:
    # Given a training of which the model waits for approval
    world.digits()
    tenant.code("digits-code", {"train.py": (EXAMPLES / "quickstart" / "train.py").read_text()})
    tenant.give("registry/run.yaml")
    tenant.trained("digits-approved")
    waiting = tenant.until(
        MODEL_VERSIONS, "digits-v1", lambda v: v.get("status", {}).get("phase") == "AwaitingApproval", what="waiting"
    )
    assert condition(waiting, "Ready")["status"] == "False"
    # When somebody speaks for another, the API server refuses; when he speaks for himself, it is Ready
    decision = {"state": "Approved", "comment": "good on the holdout"}
    with pytest.raises(Refusal, match=r"spec\.approval\.by must be the user name of who decides"):
        tenant.api.merge(MODEL_VERSIONS, tenant.name, "digits-v1", {"spec": {"approval": {**decision, "by": "ann"}}})
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    me = tenant.api.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    name = me["status"]["userInfo"]["username"]
    tenant.api.merge(MODEL_VERSIONS, tenant.name, "digits-v1", {"spec": {"approval": {**decision, "by": name}}})
    ready = tenant.version_ready("digits-v1")
    assert ready["status"]["approval"]["by"] == name


def test_a_training_that_must_not_fall_behind_the_champion(world: World, tenant: Tenant) -> None:
    # Given a first version that had nobody to be compared with, and is the champion now
    world.digits()
    tenant.code("digits-code", {"train.py": (EXAMPLES / "quickstart" / "train.py").read_text()})
    tenant.give("registry/gated.yaml")
    first = tenant.trained("digits-gated")
    assert "no version holds champion" in first["status"]["message"]
    tenant.version_ready("digits-v1")
    tenant.api.merge(MODEL_VERSIONS, tenant.name, "digits-v1", {"spec": {"aliases": ["champion"]}})
    tenant.until(MODEL_VERSIONS, "digits-v1", lambda v: v["status"].get("heldAliases") == ["champion"], what="champion")
    # When another one trains for less long, and one for as long
    tenant.give("registry/gated.yaml", name="digits-short", parameters={"epochs": "1", "learningRate": "0.0005"})
    tenant.give("registry/gated.yaml", name="digits-again")
    # Then the first of them is stopped at the gate with both numbers, and the other is a version
    short = tenant.until(
        TRAINING_RUNS,
        "digits-short",
        lambda r: r.get("status", {}).get("phase") == "Failed",
        what="stopped",
        seconds=240,
    )
    assert condition(short, "Stalled")["reason"] == "GateMissed"
    assert "worse than the" in short["status"]["message"] or "below the gate's min" in short["status"]["message"]
    again = tenant.trained("digits-again")
    assert again["status"]["modelVersion"] == "digits-v2"
    lineage = tenant.version_ready("digits-v2")["status"]["lineage"]
    (told,) = lineage["gates"]
    before = tenant.get(MODEL_VERSIONS, "digits-v1")["status"]["lineage"]["metrics"]
    (value,) = [m["value"] for m in before if m["name"] == told["metric"]]
    assert told["against"] == {"alias": "champion", "modelVersion": "digits-v1", "value": value}
    # And what it was let through with is what its run was judged by
    assert again["status"]["gates"] == [told]


def test_a_version_goes_to_another_namespace(world: World, new_tenant: Callable[[], Tenant]) -> None:
    # Given a version that is Ready in one namespace
    staging, prod = new_tenant(), new_tenant()
    staging.versions(1)
    file = asdict(world.copy(1, f"s3://models/{prod.name}/digits.onnx"))
    origin = {"namespace": staging.name, "modelVersion": "digits-v1"}
    # When it is promoted to one that nobody allowed it to go to
    prod.give("registry/promoted.yaml", artifact=file, promotedFrom=origin)
    # Then it waits, with a sentence; and when both namespaces allow it, it is a version like any other
    prod.until(
        MODEL_VERSIONS,
        "digits-v1",
        lambda v: "takes no versions from" in v.get("status", {}).get("message", ""),
        what="refused",
    )
    for tenant, key, other in ((staging, "to", prod), (prod, "from", staging)):
        annotation = {f"slipway.dev/promote-{key}": other.name}
        world.api.merge(NAMESPACES, None, tenant.name, {"metadata": {"annotations": annotation}})
    lineage = prod.version_ready("digits-v1")["status"]["lineage"]
    assert (lineage["origin"], lineage["promotions"][0]["namespace"]) == ("Promoted", staging.name)
    assert lineage["artifact"]["uri"] == world.artifact(1).uri
    # When the next one is promoted by command, and its file stays where it is
    staging.versions(2)
    command = ("kubectl", "slipway", "promote", "digits-v2", "--to", prod.name, "--namespace", staging.name)
    said = world.run(*command, "--timeout", "120")
    # Then it tells what became of it, and it is a version like the other
    assert said.startswith(f"digits-v2 is in {prod.name}, with its lineage.")
    copy = prod.version_ready("digits-v2")
    assert copy["spec"]["artifact"] == staging.get(MODEL_VERSIONS, "digits-v2")["spec"]["artifact"]
    assert copy["status"]["lineage"]["promotions"][0]["namespace"] == staging.name


def test_the_end_of_a_version(world: World, tenant: Tenant) -> None:
    # Given a version that nobody serves
    uri = f"s3://models/{tenant.name}/old.onnx"
    file = world.upload(uri, onnx_models.digits(seed=102).SerializeToString())
    tenant.register(1, file)
    tenant.version_ready("digits-v1")
    # When it is decommissioned
    tenant.give("registry/decommissioned.yaml", artifact=asdict(file))
    # Then its file is gone, and what is known of it stays
    gone = tenant.until(
        MODEL_VERSIONS,
        "digits-v1",
        lambda v: "at" in v["status"].get("artifactDeletion", {}),
        what="the file's end",
    )
    assert gone["status"]["lineage"]["artifact"]["digest"] == file.digest
    key = uri.removeprefix("s3://models/")
    assert key not in {o.object_name for o in world.store.list_objects("models", prefix=tenant.name, recursive=True)}
