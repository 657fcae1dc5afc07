"""Data that are registered, trained from, written over, and stopped: the pods read real files from a real S3 server."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import urlsplit

import pytest

from slipway.api.common import ACTION_ANNOTATION, Label
from slipway.kube.objects import DATASETS, JOBS, MODEL_VERSIONS, PODS, TRAINING_RUNS
from tests.support.api_server import Object
from tests.support.e2e import EXAMPLES, IS_TRUE, Tenant, World, condition

RELEASE = "s3://data/e2e-release/"
"""A prefix of these tests' own: the quickstart's data are other tests' too."""


@pytest.fixture
def lab(world: World, tenant: Tenant) -> Tenant:
    """Given the digits at a place of their own, and the quickstart's training code."""
    world.digits()
    csv = world.store.get_object("data", "digits/train.csv").read()
    world.put(f"{RELEASE}train.csv", csv)
    tenant.code("digits-code", {"train.py": (EXAMPLES / "quickstart" / "train.py").read_text()})
    return tenant


def ready(obj: Object) -> bool:
    """The newest check has ended well."""
    return bool(obj.get("status", {}).get("phase") == "Ready")


def has_failed(obj: Object) -> bool:
    return bool(obj.get("status", {}).get("phase") == "Failed")


def checked(number: int) -> str:
    return f"the check number {number} has ended"


def refresh(tenant: Tenant) -> None:
    tenant.api.merge(DATASETS, tenant.name, "digits", {"metadata": {"annotations": {ACTION_ANNOTATION: "refresh"}}})


def read(world: World, uri: str) -> bytes:
    where = urlsplit(uri)
    content: bytes = world.store.get_object(where.netloc, where.path.lstrip("/")).read()
    return content


def test_data_are_registered_trained_from_and_stopped_when_they_are_bad(world: World, lab: Tenant) -> None:
    # When the Dataset is applied, and a run that names it in the same moment
    lab.give("dataset/dataset.yaml", uri=RELEASE)
    lab.give("dataset/run.yaml", resources={"cpu": "200m", "memory": "1Gi"})
    dataset = lab.until(DATASETS, "digits", ready, what=checked(1))

    # Then its digest is that of the files, by the manifest that the store holds
    status = dataset["status"]
    content = read(world, f"{RELEASE}train.csv")
    line = f"train.csv {len(content)} {hashlib.sha256(content).hexdigest()}\n".encode()
    assert status["digest"] == f"sha256:{hashlib.sha256(line).hexdigest()}"
    assert read(world, status["manifest"]) == line
    assert (status["files"], status["bytes"], status["rows"], status["columns"]) == (1, len(content), 1797, 65)
    json.loads(read(world, status["profile"]))
    # What the pod found is recorded, so its Job is not needed any more
    Tenant._until(lambda: lab.api.get(JOBS, lab.name, "digits-dataset") is None, 60, "the end of the Job", str)

    # And the run trains from that version, which its lineage names
    run = lab.trained("digits-3")
    (pin,) = run["status"]["data"]
    assert (pin["dataset"], pin["version"], pin["uri"]) == ("digits", status["digest"], RELEASE)
    (data,) = lab.version_ready(run["status"]["modelVersion"])["status"]["lineage"]["data"]
    assert (data["dataset"], data["version"], data["digest"]) == ("digits", status["digest"], status["digest"])
    assert data["profile"] == status["profile"]

    # When somebody releases data with a label that does not exist, and says so
    rows = content.decode().splitlines()
    rows[7] = rows[7].rsplit(",", 1)[0] + ",77"
    world.put(f"{RELEASE}train.csv", "\n".join([*rows, ""]).encode())
    refresh(lab)
    bad = lab.until(DATASETS, "digits", has_failed, what=checked(2))

    # Then the Dataset says what is wrong, and a run fails before any pod is made
    assert bad["status"]["failures"][0]["check"] == "label.max"
    assert [v["passed"] for v in bad["status"]["versions"]] == [False, True]
    (manifest,) = lab.example("dataset/run.yaml")
    manifest["metadata"]["name"] = "digits-4"
    lab.api.create(manifest)
    stopped = lab.until(TRAINING_RUNS, "digits-4", has_failed, what="stopped")
    assert condition(stopped, "Succeeded")["reason"] == "DatasetFailed"
    assert "label.max" in stopped["status"]["message"]
    assert lab.api.get(JOBS, lab.name, "digits-4") is None
    assert not lab.api.list(PODS, lab.name, f"{Label.TRAINING_RUN}=digits-4")

    # And the version that passed may be asked for, but its content is gone: the pod says so with both digests
    manifest["metadata"]["name"] = "digits-5"
    manifest["spec"]["data"][0]["digest"] = status["digest"]
    manifest["spec"]["resources"] = {"cpu": "200m", "memory": "1Gi"}
    lab.api.create(manifest)
    refused = lab.until(TRAINING_RUNS, "digits-5", has_failed, what="refused")
    assert condition(refused, "Succeeded")["reason"] == "DataDigestMismatch"
    assert status["digest"] in refused["status"]["message"]
    assert bad["status"]["digest"] in refused["status"]["message"]
    assert "(train.csv has " in refused["status"]["message"]

    # When the old files are put back
    world.put(f"{RELEASE}train.csv", content)
    refresh(lab)
    again = lab.until(DATASETS, "digits", ready, what=checked(3))

    # Then they are the version that they were, listed once
    assert again["status"]["digest"] == status["digest"]
    assert [v["passed"] for v in again["status"]["versions"]] == [True, False]
    assert [v["metadata"]["name"] for v in lab.api.list(MODEL_VERSIONS, lab.name)] == ["digits-v1"]


def test_what_has_not_changed_is_not_read_again(world: World, lab: Tenant) -> None:
    place = "s3://data/e2e-parts/"
    for part in range(20):
        rows = "".join(f"{part * 10 + row},{row % 3}\n" for row in range(10))
        world.put(f"{place}part-{part:02}.csv", f"id,label\n{rows}".encode())
    checks = [{"column": "id", "unique": True}, {"minFiles": 20}, {"minRows": 200}]
    lab.give("dataset/dataset.yaml", uri=place, schema=[{"name": "id", "type": "Integer"}], checks=checks)
    first = lab.until(DATASETS, "digits", ready, what=checked(1))["status"]
    assert (first["files"], first["rows"], first["checked"]["read"]) == (20, 200, 20)
    world.put(f"{place}part-07.csv", b"id,label\n1000,1\n" + b"".join(b"%d,2\n" % n for n in range(2000, 2009)))
    refresh(lab)
    second = lab.until(
        DATASETS, "digits", lambda d: ready(d) and d["status"]["checked"]["number"] == 2, what=checked(2)
    )["status"]
    assert second["checked"]["read"] == 1
    assert (second["files"], second["rows"]) == (20, 200)
    assert second["digest"] != first["digest"]

    # When a value must not be shown, and is not what it must be
    value = "anna@example.com"
    world.put(f"{place}part-03.csv", f"id,label\n3000,1\n{value},2\n".encode())
    schema = [{"name": "id", "type": "Integer"}]
    lab.give("dataset/dataset.yaml", uri=place, schema=schema, checks=[{"minFiles": 20}], quoteValues=False)
    bad = lab.until(DATASETS, "digits", has_failed, what="the check of what was changed")
    # Then it says where the value is, and nobody who may not read the data learns it
    said = next(f["message"] for f in bad["status"]["failures"] if f["check"] == "id.type")
    assert "the first in part-03.csv row 2" in said
    told = json.dumps(bad) + lab.explain()
    assert value not in told


def test_a_bucket_that_does_not_exist_is_named(lab: Tenant) -> None:
    lab.give("dataset/dataset.yaml", uri="s3://nobodys-bucket/digits/")
    stalled = lab.until(
        DATASETS,
        "digits",
        lambda d: (
            condition(d, "Stalled")["status"] == IS_TRUE and condition(d, "Stalled")["reason"] == "BucketNotFound"
        ),
        what="BucketNotFound",
    )
    assert "nobodys-bucket" in stalled["status"]["message"]
