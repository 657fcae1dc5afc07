"""Datasets, and the runs that train from them, on a real API server and real controllers; pods are played."""

from __future__ import annotations

from dataclasses import replace

from slipway import contract
from slipway.kube.objects import DATASETS, JOBS, MODEL_VERSIONS, PODS, TRAINING_RUNS
from tests.support.api_server import Object
from tests.support.kubelet import Act, Program, checks_well, environment, fails, hangs
from tests.support.world import World, condition, states

TRAIN = [{"name": "train", "dataset": "digits"}]
FAILURE = contract.CheckFailure("label.min", "3 of 1,797 values are below 0, the first in row 7 of train.csv")


def finds(digest: str, *failures: contract.CheckFailure) -> Program:
    """A check that finds this content."""

    def program(pod: Object) -> Act:
        result = contract.loads(contract.DatasetResult, checks_well(pod).message)
        return Act(contract.EXIT_OK, contract.dumps(replace(result, digest=digest, failures=list(failures))))

    return program


def test_a_run_trains_from_the_version_that_passed(world: World) -> None:
    team = world.team()
    team.dataset(schema=[{"name": "label", "type": "Integer"}], checks=[{"minRows": 100}])
    ready = team.dataset_until("Ready")
    assert states(ready) == {"Ready": "True", "Checked": "True", "Reconciling": "False", "Stalled": "False"}
    status = ready["status"]
    assert [v["digest"] for v in status["versions"]] == [status["digest"]]
    assert status["checked"]["rules"] == 2
    assert "1,797 rows" in status["message"]
    team.gone(JOBS, "digits-dataset")

    team.run(data=[*TRAIN, {"name": "test", "uri": "s3://data/test.csv"}])
    done = team.run_until("Succeeded")
    assert done["status"]["data"] == [
        {
            "name": "train",
            "dataset": "digits",
            "version": status["digest"],
            "uri": "s3://data/digits/",
            "store": "default",
            "manifest": status["manifest"],
            "profile": status["profile"],
            "outputStore": "default",
        }
    ]
    train, test = team.version_until("Ready")["status"]["lineage"]["data"]
    assert (train["dataset"], train["version"], train["profile"]) == ("digits", status["digest"], status["profile"])
    assert train["digest"] == status["digest"]
    assert "dataset" not in test


def test_a_run_waits_for_its_data(world: World) -> None:
    team = world.team()
    team.play("dataset", hangs)
    team.run(data=TRAIN)
    waiting = team.run_until("Pending", reason="DatasetMissing")
    assert states(waiting)["Stalled"] == "True"
    team.dataset()
    waiting = team.run_until("Pending", reason="DatasetChecking")
    assert states(waiting)["Stalled"] == "False"
    assert not team.get(JOBS, "digits-1")
    team.play("dataset", checks_well)
    team.run_until("Succeeded")


def test_bad_data_stop_a_run_before_any_pod(world: World) -> None:
    team = world.team()
    team.play("dataset", finds("sha256:" + "b" * 64, FAILURE))
    team.dataset()
    failed = team.dataset_until("Failed", reason="ChecksFailed")
    assert failed["status"]["failures"] == [{"check": FAILURE.check, "message": FAILURE.message}]
    assert not failed["status"]["versions"][0]["passed"]
    team.run(data=TRAIN, resources={"gpu": {"count": 1}})
    stopped = team.run_until("Failed")
    assert condition(stopped, "Succeeded")["reason"] == "DatasetFailed"
    assert f"{FAILURE.check}: {FAILURE.message}" in stopped["status"]["message"]
    assert "data" not in stopped["status"]
    assert not team.get(JOBS, "digits-1")
    assert not team.all(PODS, "slipway.dev/role=train")
    assert not team.all(MODEL_VERSIONS)


def test_the_version_that_passed_can_be_asked_for(world: World) -> None:
    team = world.team()
    team.dataset()
    good = team.dataset_until("Ready")["status"]["digest"]
    team.play("dataset", finds("sha256:" + "b" * 64, FAILURE))
    team.say("refresh", resource=DATASETS)
    bad = team.dataset_until("Failed")
    assert good in bad["status"]["message"]
    assert [(v["digest"], v["passed"]) for v in bad["status"]["versions"]] == [
        ("sha256:" + "b" * 64, False),
        (good, True),
    ]
    team.run(data=[{**TRAIN[0], "digest": good}])
    assert team.run_until("Succeeded")["status"]["data"][0]["version"] == good
    team.run("digits-2", data=[{**TRAIN[0], "digest": "sha256:" + "c" * 64}])
    waiting = team.run_until("Pending", "digits-2", reason="DatasetVersionMissing")
    assert "kubectl annotate dset digits slipway.dev/action=refresh" in waiting["status"]["message"]


def test_a_refresh_is_carried_out_once(world: World) -> None:
    team = world.team()
    team.dataset()
    first = team.dataset_until("Ready")
    team.play("dataset", finds("sha256:" + "b" * 64))
    team.say("refresh", resource=DATASETS)
    live = team.dataset_until("Ready", check=lambda d: d["status"]["checked"]["number"] == 2)
    assert [v["digest"] for v in live["status"]["versions"]] == ["sha256:" + "b" * 64, first["status"]["digest"]]
    live = team.until(DATASETS, "digits", lambda d: d["status"].get("lastAction"))
    assert live["status"]["lastAction"]["action"] == "refresh"
    team.until(DATASETS, "digits", lambda d: not d["status"]["lastAction"]["pending"])
    settled = team.get(DATASETS, "digits")
    assert settled is not None
    assert "annotations" not in settled["metadata"]
    assert settled["status"]["check"]["number"] == 2
    team.say("promote", resource=DATASETS)
    refused = team.until(DATASETS, "digits", lambda d: d["status"]["lastAction"]["action"] == "promote")
    assert "write refresh" in refused["status"]["lastAction"]["result"]


def test_data_that_move_are_checked_again_and_the_run_keeps_its_own(world: World) -> None:
    team = world.team()
    team.dataset()
    first = team.dataset_until("Ready")["status"]["digest"]
    team.play("train", hangs)
    team.run(data=TRAIN)
    pinned = team.until(TRAINING_RUNS, "digits-1", lambda r: r.get("status", {}).get("data"))["status"]["data"]
    team.dataset(uri="s3://data/digits-2026/")
    moved = team.dataset_until("Ready", check=lambda d: d["status"]["digest"] != first)
    assert [v["uri"] for v in moved["status"]["versions"]] == ["s3://data/digits-2026/", "s3://data/digits/"]
    job = team.until(JOBS, "digits-1")
    (asked,) = contract.loads(contract.TrainSpec, environment(job["spec"]["template"])[contract.Env.SPEC]).data
    assert (asked.uri, asked.digest) == ("s3://data/digits/", first)
    live = team.get(TRAINING_RUNS, "digits-1")
    assert live is not None
    assert live["status"]["data"] == pinned


def test_a_bucket_that_does_not_exist(world: World) -> None:
    team = world.team()
    words = "the S3 server has no bucket 'data': create it, or correct the address"
    team.play("dataset", fails(contract.EXIT_USER_ERROR, "BucketNotFound", words))
    team.dataset()
    stalled = team.dataset_until("Checking", reason="BucketNotFound")
    assert words in stalled["status"]["message"]
    assert states(stalled) == {"Ready": "False", "Checked": "Unknown", "Reconciling": "False", "Stalled": "True"}
    team.run(data=TRAIN)
    waiting = team.run_until("Pending", reason="BucketNotFound")
    assert words in waiting["status"]["message"]
    team.play("dataset", checks_well)
    team.say("refresh", resource=DATASETS)
    team.run_until("Succeeded")


def test_a_place_that_the_namespace_was_not_given(world: World) -> None:
    team = world.team()
    team.dataset(outputStore="kept")
    stalled = team.dataset_until("Checking", reason="StoreMissing")
    assert "slipway-store-kept" in stalled["status"]["message"]
    assert not team.all(JOBS)
    team.config_map(contract.store_object_name("kept"))
    team.dataset_until("Ready")


def test_a_dataset_that_is_deleted_takes_its_job(world: World) -> None:
    team = world.team()
    team.play("dataset", hangs)
    team.dataset()
    team.until(JOBS, "digits-dataset")
    team.api.delete(DATASETS, team.namespace, "digits")
    team.gone(JOBS, "digits-dataset")
    team.gone(PODS)
