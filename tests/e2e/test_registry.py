"""The life of a version, on a real cluster with real files."""

from __future__ import annotations

from dataclasses import asdict

from slipway.kube.objects import MODEL_VERSIONS
from tests.support import onnx_models
from tests.support.e2e import Tenant, World


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
