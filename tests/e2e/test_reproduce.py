"""A version is made once more on the cluster: the same file comes out, and what is not the same is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from examples.quickstart.make_data import digits_csv
from localcluster import images
from localcluster.cluster import Local
from localcluster.images import Image
from slipway.api.reproduce import run_manifest
from slipway.kube.objects import CONFIG_MAPS, JOBS, MODEL_VERSIONS, TRAINING_RUNS
from tests.support.api_server import Object
from tests.support.e2e import EXAMPLES, Tenant, World, condition

TAG: Final = "localhost/slipway/e2e-trainer:1"


def first(tenant: Tenant, **spec: Any) -> Object:
    """digits-v1 of the quickstart, or of what differs from it, Ready."""
    tenant.world.digits()
    tenant.code("digits-code", {"train.py": (EXAMPLES / "quickstart" / "train.py").read_text()})
    tenant.give("quickstart/run-1.yaml", **spec)
    tenant.trained("digits-1")
    return tenant.version_ready("digits-v1")


def reproduce(tenant: Tenant, version: Object, name: str, **spec: Any) -> Object:
    """What ``kubectl slipway reproduce`` applies, with or without an edit; returns the run's end."""
    manifest = run_manifest(
        version, name=name, run=tenant.get(TRAINING_RUNS, "digits-1"), code=tenant.get(CONFIG_MAPS, "digits-code")
    )
    manifest["spec"] |= spec
    tenant.api.apply(manifest)
    return ended(tenant, name)


def ended(tenant: Tenant, name: str) -> Object:
    return tenant.until(
        TRAINING_RUNS, name, lambda o: "completionTime" in o.get("status", {}), what="the end", seconds=240
    )


def told(tenant: Tenant, run: str) -> Object:
    """What the version's lineage says of a run."""

    def found(version: Object) -> list[Object]:
        said = version["status"]["lineage"].get("reproductions", ())
        return [r for r in said if r["trainingRun"] == run]

    return found(tenant.until(MODEL_VERSIONS, "digits-v1", lambda o: bool(found(o)), what=f"{run} in the lineage"))[0]


def whats(run: Object) -> dict[str, str]:
    return {d["what"]: d["message"] for d in run["status"]["reproduction"].get("differs", ())}


def test_the_quickstarts_version_comes_out_identical(tenant: Tenant) -> None:
    made = first(tenant)
    lineage = made["status"]["lineage"]
    # Given as many threads as the run asks for CPUs, though its container sees all cores of the node
    assert lineage["environment"]["threads"] == 1
    # When it is made once more, with the image and the data by their digests
    pinned = lineage["code"]["image"]["pinned"]
    run = reproduce(tenant, made, "digits-v1-pinned")
    # Then the node has run that very image, and the file has the same bytes
    (container,) = tenant.get(JOBS, "digits-v1-pinned")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == pinned
    assert pinned.endswith(lineage["code"]["image"]["digest"])
    assert run["status"]["reproduction"]["verdict"] == "Identical", run["status"]["message"]
    assert whats(run) == {}
    assert condition(run, "Succeeded")["reason"] == "Reproduced"
    assert told(tenant, "digits-v1-pinned")["verdict"] == "Identical"
    # And the example, by hand, says the same
    tenant.give("reproduce/run.yaml")
    assert ended(tenant, "digits-v1-again")["status"]["reproduction"]["verdict"] == "Identical"
    assert [v["metadata"]["name"] for v in tenant.api.list(MODEL_VERSIONS, tenant.name)] == ["digits-v1"]


def test_another_seed_and_other_data_come_out_different_and_are_named(world: World, tenant: Tenant) -> None:
    # Given data of its own, since they are changed below
    data = digits_csv()
    place = f"s3://data/{tenant.name}/"
    world.put(f"{place}train.csv", data)
    made = first(tenant, data=[{"name": "train", "uri": place}])
    run = reproduce(tenant, made, "digits-other-seed", seed=8)
    found = run["status"]["reproduction"]
    assert found["verdict"] == "Different", found
    assert whats(run)["seed"] == "the seed: 7 then, 8 now"
    assert {"artifact", "outputs"} <= set(whats(run))
    assert float(found["maxAbsDiff"]) > 1e-3
    assert found["rows"] == 16
    assert condition(run, "Succeeded")["reason"] == "NotReproduced"
    assert "the seed: 7 then, 8 now" in told(tenant, "digits-other-seed")["detail"]

    # a tolerance that allows it is the user's own word
    wide = reproduce(
        tenant,
        made,
        "digits-wide",
        seed=8,
        reproduceOf={"modelVersion": "digits-v1", "tolerance": {"absolute": "1e3", "relative": "1"}},
    )
    assert wide["status"]["reproduction"]["verdict"] == "WithinTolerance"

    # data that were tampered with are refused before the training
    world.put(f"{place}train.csv", data[:-2])
    changed = reproduce(tenant, made, "digits-other-data")
    assert condition(changed, "Succeeded")["status"] == "False"
    assert changed["status"]["reproduction"]["verdict"] == "Different"
    assert lineage_digest(made) in whats(changed)["data"]


def lineage_digest(version: Object) -> str:
    (data,) = version["status"]["lineage"]["data"]
    return str(data["digest"])


@pytest.fixture
def moving_tag() -> Iterator[Callable[[], None]]:
    """An image with the trainer under a tag of its own; a call moves the tag to another image, as somebody who pushes
    does. On the local cluster only, whose node this machine is."""
    cluster = Local()
    node = cluster._node()
    trainer, store = images.ensure(["trainer"])["trainer"], images.layout()
    manifest = json.loads(store.blob(trainer.digest).read_text())
    changed = json.loads(store.blob(manifest["config"]["digest"]).read_text())
    changed["config"]["Labels"] = {"pushed": "again"}
    other = f"{TAG}-pushed-again"

    def move() -> None:
        digest = store.adopt_image(json.dumps(changed, sort_keys=True).encode())
        with cluster.alone():
            node.load([Image(other, digest)])
        done = node.ctr("images", "tag", "--force", other, TAG)
        assert done.returncode == 0, done.stderr

    with cluster.alone():
        node.load([Image(TAG, trainer.digest)])
    yield move
    for name in (TAG, other):
        node.ctr("images", "remove", name)


def test_a_tag_that_was_moved_is_named_and_does_not_matter_to_who_asks_by_digest(
    tenant: Tenant, moving_tag: Callable[[], None]
) -> None:
    version = first(tenant, image=TAG)
    before = version["status"]["lineage"]["code"]["image"]
    moving_tag()
    # by its tag: another image, which is named; that it made the same file all the same is said too
    tenant.give("reproduce/run.yaml", image=TAG)
    by_tag = ended(tenant, "digits-v1-again")
    assert before["digest"] in whats(by_tag)["image"]
    assert by_tag["status"]["reproduction"]["verdict"] == "Identical"
    # by its digest: the image of then
    by_digest = reproduce(tenant, version, "digits-v1-pinned")
    assert whats(by_digest) == {}
    assert by_digest["status"]["reproduction"]["verdict"] == "Identical"
