"""A version on its way to another namespace, and at its end, on a real API server."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from slipway import contract
from slipway.api.common import Label
from slipway.cli import tracing
from slipway.cli.client import Cluster
from slipway.cli.options import GraphOutput
from slipway.kube.objects import DEPLOYMENTS, JOBS, MODEL_VERSIONS, NAMESPACES
from tests.support.api_server import Object, Refusal
from tests.support.kubelet import Act, trains_well
from tests.support.world import Team, World, condition


def annotate(team: Team, **annotations: str | None) -> None:
    named = {f"slipway.dev/promote-{key}": value for key, value in annotations.items()}
    team.api.merge(NAMESPACES, None, team.namespace, {"metadata": {"annotations": named}})


def promote(world: World, there: Team, here: Team, name: str = "digits-v1") -> None:
    """What ``kubectl slipway promote`` does: the same spec, and where it comes from."""
    source = there.get(MODEL_VERSIONS, name)
    assert source is not None
    kept = {k: source["spec"][k] for k in ("model", "version", "artifact", "signature")}
    origin = {"promotedFrom": {"namespace": there.namespace, "modelVersion": name}}
    meta = {"name": name, "namespace": here.namespace}
    world.api.create(
        {"apiVersion": source["apiVersion"], "kind": "ModelVersion", "metadata": meta, "spec": kept | origin}
    )


def test_from_development_to_production(world: World) -> None:
    dev, staging, prod = world.team(), world.team(), world.team()
    dev.run(data=[{"name": "train", "uri": "s3://data/digits/"}])
    dev.run_until("Succeeded")
    trained = dev.version_until("Ready")["status"]["lineage"]

    # Nobody allows anything at first, and each side has to.
    promote(world, dev, staging)
    refused = staging.until(MODEL_VERSIONS, "digits-v1", reason="PromotionRefused")
    assert f"the namespace {staging.namespace} takes no versions from {dev.namespace}" in refused["status"]["message"]
    assert condition(refused, "Stalled")["status"] == "True"
    annotate(staging, **{"from": dev.namespace})
    words = f"the namespace {dev.namespace} gives no versions to {staging.namespace}"
    staging.until(MODEL_VERSIONS, "digits-v1", lambda v: words in v["status"]["message"])
    annotate(dev, to=f"{staging.namespace}, {prod.namespace}")
    first = staging.version_until("Ready")

    # A copy of the copy keeps where it all began.
    annotate(staging, to=prod.namespace)
    annotate(prod, **{"from": staging.namespace})
    promote(world, staging, prod)
    lineage = prod.version_until("Ready")["status"]["lineage"]
    assert lineage["origin"] == "Promoted"
    assert [p["namespace"] for p in lineage["promotions"]] == [dev.namespace, staging.namespace]
    for part in ("trainingRun", "code", "data", "artifact", "metrics"):
        assert lineage[part] == trained[part]
    data = "data.slipway.dev/" + "d" * 40
    everywhere = world.api.list(MODEL_VERSIONS, None, data)
    mine = {v["metadata"]["namespace"] for v in everywhere} & {t.namespace for t in (dev, staging, prod)}
    assert len(mine) == 3, "a bad release of data is found wherever it was promoted to"

    # What becomes of the original is its own namespace's business.
    world.api.delete(MODEL_VERSIONS, staging.namespace, "digits-v1")
    prod.deploy(routed=False)
    prod.deployment_until("Healthy")
    assert first["status"]["lineage"]["origin"] == "Promoted"


def trains_torch(pod: Object) -> Act:
    """A training that keeps its weights: others may begin from them."""
    act = trains_well(pod)
    result = contract.loads(contract.TrainResult, act.message)
    weights = contract.WeightsResult("sha256:" + hashlib.sha256(act.message.encode()).hexdigest(), 19000)
    return replace(act, message=contract.dumps(replace(result, weights=weights)))


def test_a_copy_is_found_by_the_data_of_a_parent_that_stayed_behind(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    dev, prod = world.team(), world.team()
    dev.play("train", trains_torch)
    dev.run(data=[{"name": "train", "uri": "s3://data/bad/", "digest": "sha256:" + "b" * 64}])
    dev.version_until("Ready")
    dev.run(
        "digits-2",
        data=[{"name": "train", "uri": "s3://data/good/", "digest": "sha256:" + "f" * 64}],
        **{"from": {"modelVersion": "digits-v1"}},
    )
    dev.version_until("Ready", "digits-v2")
    annotate(dev, to=prod.namespace)
    annotate(prod, **{"from": dev.namespace})
    promote(world, dev, prod, "digits-v2")
    prod.version_until("Ready", "digits-v2")
    plugin = Cluster(str(world.cluster.kubeconfig), None)

    def edges(namespace: str | None, **asked: str) -> set[tuple[str, str, str]]:
        tracing.trace(lambda: plugin, tracing.Asked(**asked), namespace, namespace is None, GraphOutput.JSON)
        told = json.loads(capsys.readouterr().out)["edges"]
        return {(e["from"], e["relation"], e["to"]) for e in told}

    bad = "sha256:" + "b" * 64
    data = f"Data/{bad}"
    first, child = (f"ModelVersion/{dev.namespace}/digits-v{n}" for n in (1, 2))
    copy = f"ModelVersion/{prod.namespace}/digits-v2"
    here = {(data, "went into", first), (first, "parent of", child)}
    assert edges(dev.namespace, data=bad) == here
    assert edges(prod.namespace, data=bad) == {(data, "went into an ancestor of", copy)}
    assert edges(None, data=bad) == {*here, (child, "promoted to", copy)}
    # And up again, with another version of the parent's name beside the copy.
    prod.register(number=1)
    above = edges(prod.namespace, what="digits-v2")
    assert {(child, "promoted to", copy), (first, "parent of", copy), (data, "read by", made_by(dev, 1))} <= above
    assert not any(f"ModelVersion/{prod.namespace}/digits-v1" in edge for edge in above)
    # The copy does not lose it when the parent is deleted.
    world.api.delete(MODEL_VERSIONS, dev.namespace, "digits-v1")
    dev.gone(MODEL_VERSIONS, "digits-v1")
    assert edges(prod.namespace, data=bad) == {(data, "went into an ancestor of", copy)}


def made_by(team: Team, number: int) -> str:
    return f"TrainingRun/{team.namespace}/digits-{number}"


def test_what_is_no_copy_is_no_promotion(world: World) -> None:
    there, here = world.team(), world.team()
    annotate(there, to=here.namespace)
    annotate(here, **{"from": there.namespace})
    there.ready_version(1)
    digest = "sha256:" + "e" * 64
    here.register(
        artifact={"uri": "s3://models/x.onnx", "digest": digest, "size": 17432},
        promotedFrom={"namespace": there.namespace, "modelVersion": "digits-v1"},
    )
    differs = here.until(MODEL_VERSIONS, "digits-v1", reason="PromotionDiffers")
    assert f"spec.artifact.digest is {digest}, and there it is" in differs["status"]["message"]
    assert condition(differs, "Stalled")["status"] == "True"


def test_a_version_that_serves_is_not_archived(world: World) -> None:
    team = world.team()
    team.ready_version(1)
    team.ready_version(2)
    team.deploy(routed=False)
    team.version_until("Ready", check=lambda v: v["status"].get("deployments"))
    with pytest.raises(Refusal, match="archived cannot be set while Deployments run this version"):
        team.api.merge(MODEL_VERSIONS, team.namespace, "digits-v1", {"spec": {"archived": True}})
    # The other one is nobody's, and no Deployment takes it from then on.
    team.api.merge(MODEL_VERSIONS, team.namespace, "digits-v2", {"spec": {"archived": True}})
    archived = team.version_until("Archived", "digits-v2")
    assert archived["status"]["lineage"]["origin"] == "Imported"
    team.api.delete(DEPLOYMENTS, team.namespace, "digits")
    team.version_until("Ready", check=lambda v: not v["status"].get("deployments"))
    team.api.merge(MODEL_VERSIONS, team.namespace, "digits-v1", {"spec": {"archived": True}})
    team.version_until("Archived")


def test_the_file_of_an_archived_version_is_deleted_where_its_policy_says_so(world: World) -> None:
    team = world.team()
    made = team.register(archived=False, artifactPolicy="Delete")
    world.team().ready_version(1)  # the same file by name, but no namespace has a say in another's
    team.version_until("Ready")
    assert not team.all(JOBS, f"{Label.ROLE}=discard")
    team.api.merge(MODEL_VERSIONS, team.namespace, "digits-v1", {"spec": {"archived": True}})
    gone = team.version_until("Archived", check=lambda v: "at" in v["status"].get("artifactDeletion", {}))
    assert "its file was deleted at" in gone["status"]["message"]
    assert gone["status"]["lineage"]["artifact"]["digest"] == made["spec"]["artifact"]["digest"]
    with pytest.raises(Refusal, match="archived cannot be taken back: the file was deleted"):
        team.api.merge(MODEL_VERSIONS, team.namespace, "digits-v1", {"spec": {"archived": False}})
    team.gone(JOBS, "digits-v1-discard")
