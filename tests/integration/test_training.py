"""TrainingRun and ModelVersion on a real API server and real controllers; pods are played."""

from __future__ import annotations

import json
import time

from slipway import contract
from slipway.api import reproduce
from slipway.api.common import Label
from slipway.api.model_version import LINEAGE_ANNOTATION
from slipway.kube.objects import CONFIG_MAPS, JOBS, MODEL_VERSIONS, PODS, TRAINING_RUNS
from tests.support.api_server import Object, eventually
from tests.support.kubelet import Act, fails, hangs, trains_well
from tests.support.world import World, condition, states


def test_a_run_makes_a_version_that_is_verified(world: World) -> None:
    team = world.team()
    team.config_map("digits-code", **{"train.py": "def main(context): ..."})
    run = team.run(
        code={"configMap": "digits-code"},
        data=[{"name": "train", "uri": "s3://data/digits/"}],
        parameters={"accuracy": "0.9733"},
        gate=[{"metric": "accuracy", "min": "0.95"}],
    )
    done = team.run_until("Succeeded")
    assert states(done) == {"Succeeded": "True", "Reconciling": "False", "Stalled": "False"}
    assert done["status"]["modelVersion"] == "digits-v1"
    assert done["status"]["attempts"] == 1
    assert done["status"]["metrics"] == [{"name": "accuracy", "value": "0.9733"}]

    # The annotation goes in the write after the one of the status: twice in every version for ever it must not be.
    version = team.version_until(
        "Ready", check=lambda v: LINEAGE_ANNOTATION not in v["metadata"].get("annotations", {})
    )
    assert states(version)["Verified"] == "True"
    assert version["spec"]["trainingRun"] == "digits-1"
    assert version["status"]["verification"]["digest"] == version["spec"]["artifact"]["digest"]
    lineage = version["status"]["lineage"]
    assert lineage["origin"] == "Trained"
    assert lineage["trainingRun"]["uid"] == run["metadata"]["uid"]
    assert lineage["data"][0]["uri"] == "s3://data/digits/"
    assert lineage["code"]["configMap"]["name"] == "digits-code"
    assert lineage["code"]["image"]["digest"].startswith("sha256:")

    job = team.get(JOBS, "digits-1")
    assert job is not None
    assert job["metadata"]["ownerReferences"][0]["uid"] == run["metadata"]["uid"]
    told = "the Event, which follows the status"
    eventually(lambda: [reason for reason, _ in team.events("digits-1")][-1:] == ["Succeeded"], what=told)


def test_a_run_that_is_deleted_takes_its_job_but_not_its_version(world: World) -> None:
    team = world.team()
    team.run()
    team.run_until("Succeeded")
    team.version_until("Ready")
    team.api.delete(TRAINING_RUNS, team.namespace, "digits-1")
    team.gone(JOBS, "digits-1")
    team.gone(PODS, selector=f"{Label.TRAINING_RUN}=digits-1")
    assert team.get(MODEL_VERSIONS, "digits-v1") is not None
    team.run()
    assert team.run_until("Succeeded")["status"]["modelVersion"] == "digits-v2", "a number is never used twice"


def test_runs_at_the_same_time_get_each_a_number_of_its_own(world: World) -> None:
    team = world.team()
    names = [f"digits-{i}" for i in range(8)]
    for name in names:
        team.run(name)
    versions = [team.run_until("Succeeded", name)["status"]["modelVersion"] for name in names]
    assert sorted(versions) == [f"digits-v{i}" for i in range(1, 9)]
    for version in team.all(MODEL_VERSIONS):
        run = team.get(TRAINING_RUNS, version["spec"]["trainingRun"])
        assert run is not None
        assert run["status"]["modelVersion"] == version["metadata"]["name"]


def test_a_mistake_of_the_user_is_not_tried_again(world: World) -> None:
    team = world.team()
    words = "the entrypoint train:mian does not exist: train.py has main"
    team.play("train", fails(contract.EXIT_USER_ERROR, "NoSuchEntrypoint", words))
    team.run(entrypoint="train:mian")
    failed = team.run_until("Failed")
    assert words in failed["status"]["message"]
    assert states(failed) == {"Succeeded": "False", "Reconciling": "False", "Stalled": "True"}
    assert len(team.all(PODS)) == 1
    assert not team.all(MODEL_VERSIONS)
    told = (condition(failed, "Stalled")["reason"], failed["status"]["message"])
    eventually(lambda: team.events("digits-1")[-1:] == [told], what="the Event, which follows the status")


def test_a_pod_that_ends_well_but_says_nothing(world: World) -> None:
    """It is asked again by another Job, and in the end the run fails with a sentence."""
    team = world.team()
    team.play("train", lambda _pod: Act(contract.EXIT_OK, "Segmentation fault"))
    team.run()
    failed = team.run_until("Failed")
    assert condition(failed, "Stalled")["reason"] == "ResultUnreadable"
    assert failed["status"]["message"].strip()


def test_a_quota_on_jobs_is_told_and_the_run_goes_on_when_it_is_raised(world: World) -> None:
    team = world.team()
    team.quota(jobs="0")
    team.run()
    stuck = team.run_until("Pending", reason="WriteRefused")
    assert states(stuck) == {"Succeeded": "Unknown", "Reconciling": "False", "Stalled": "True"}
    assert "exceeded quota: small, requested: count/jobs.batch=1" in stuck["status"]["message"]
    eventually(lambda: team.events("digits-1") == [("WriteRefused", stuck["status"]["message"])], what="one Event")
    team.quota(jobs="10")
    # by itself, within what a refused write waits at most
    assert states(team.run_until("Succeeded", seconds=120))["Stalled"] == "False"


def test_a_quota_on_memory_keeps_the_pod_away_and_is_told(world: World) -> None:
    team = world.team()
    team.quota(memory="64Mi")
    team.run()
    stuck = team.run_until("Queued", reason="PodRefused")
    assert states(stuck) == {"Succeeded": "Unknown", "Reconciling": "False", "Stalled": "True"}
    words = "the pod of the Job digits-1 cannot be made: exceeded quota: small, requested: requests.memory=1Gi"
    assert stuck["status"]["message"].startswith(words), stuck["status"]["message"]
    assert not team.all(PODS)
    team.quota(memory="64Gi")
    # by itself, when the Job controller tries again
    assert team.run_until("Succeeded", seconds=120)["status"]["attempts"] == 1


def test_a_gate_that_is_missed(world: World) -> None:
    team = world.team()
    team.run(gate=[{"metric": "accuracy", "min": "0.99"}])
    failed = team.run_until("Failed")
    assert condition(failed, "Stalled")["reason"] == "GateMissed"
    assert "0.9733" in failed["status"]["message"]
    assert "0.99" in failed["status"]["message"]
    assert not team.all(MODEL_VERSIONS)


def test_a_gate_by_the_champion(world: World) -> None:
    team = world.team()
    gate = [{"metric": "accuracy", "notWorseThan": {"alias": "champion", "by": "0.01", "better": "Higher"}}]
    data = [{"name": "test", "uri": "s3://data/digits/"}]
    team.run("first", gate=gate, data=data, parameters={"accuracy": "0.97"})
    first = team.run_until("Succeeded", "first")
    assert "no version holds champion: accuracy 0.97 was compared with none" in first["status"]["message"]
    team.api.merge(MODEL_VERSIONS, team.namespace, "digits-v1", {"spec": {"aliases": ["champion"]}})
    team.version_until("Ready", check=lambda v: v["status"].get("heldAliases") == ["champion"])

    team.run("worse", gate=gate, data=data, parameters={"accuracy": "0.9"})
    worse = team.run_until("Failed", "worse")
    words = "accuracy 0.9 is more than 0.01 worse than the 0.97 of digits-v1, which holds champion, on the same test"
    assert words in worse["status"]["message"]
    assert condition(worse, "Stalled")["reason"] == "GateMissed"
    assert words in worse["status"]["gates"][0]["message"]

    team.run("as-good", gate=gate, data=data, parameters={"accuracy": "0.965"})
    good = team.run_until("Succeeded", "as-good")
    assert good["status"]["modelVersion"] == "digits-v2", "a run that missed its gate takes no number"
    made = team.version_until("Ready", "digits-v2")
    (told,) = made["status"]["lineage"]["gates"]
    assert told["against"] == {"alias": "champion", "modelVersion": "digits-v1", "value": "0.97"}
    assert good["status"]["gates"] == [told]


def test_suspended_means_that_no_pod_runs(world: World) -> None:
    team = world.team()
    team.run(suspend=True)
    team.run_until("Suspended")
    assert not team.all(PODS)
    team.run(suspend=False)
    team.run_until("Succeeded")


def test_suspending_a_run_that_has_begun_takes_its_pod(world: World) -> None:
    team = world.team(store=False)
    team.play("train", hangs)
    team.run(activeDeadline="1h")
    began = team.run_until("Pending", reason="StoreMissing")
    assert began["status"]["deadlineSince"] == began["metadata"]["creationTimestamp"]
    time.sleep(2)
    team.config_map(contract.store_object_name("default"))
    team.run_until("Queued")
    # what it waited for is gone of its time, until it is resumed
    assert (team.get(JOBS, "digits-1") or {})["spec"]["activeDeadlineSeconds"] < 3600
    team.run(activeDeadline="1h", suspend=True)
    assert "deadlineSince" not in team.run_until("Suspended")["status"]
    team.gone(PODS)
    team.play("train", trains_well)
    team.run(activeDeadline="1h", suspend=False)
    done = team.run_until("Succeeded")
    assert done["status"]["deadlineSince"] > began["status"]["deadlineSince"]
    assert (team.get(JOBS, "digits-1") or {})["spec"]["activeDeadlineSeconds"] == 3600


def test_a_run_that_waits_for_something_has_a_clock_too(world: World) -> None:
    team = world.team(store=False)
    team.run(activeDeadline="3s")
    failed = team.run_until("Failed", reason="DeadlineExceeded")
    assert "slipway-store-default" in failed["status"]["message"]
    assert not team.all(JOBS)


def test_a_place_that_the_namespace_was_not_given(world: World) -> None:
    team = world.team(store=False)
    team.run()
    stalled = team.run_until("Pending", reason="StoreMissing")
    assert "slipway-store-default" in stalled["status"]["message"]
    assert states(stalled)["Stalled"] == "True"
    assert not team.all(JOBS)
    team.config_map(contract.store_object_name("default"))
    team.run_until("Succeeded")


def test_code_that_does_not_exist(world: World) -> None:
    team = world.team()
    team.run(code={"configMap": "nope"})
    stalled = team.run_until("Pending", reason="CodeMissing")
    assert "kubectl create configmap nope" in stalled["status"]["message"]


def test_a_job_of_somebody_else_is_not_touched(world: World) -> None:
    team = world.team()
    container = {"name": "c", "image": "registry.example/c:1"}
    foreign = team.api.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "digits-1", "namespace": team.namespace},
            "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
        }
    )
    team.run()
    stalled = team.run_until("Pending", reason="NameTaken")
    assert "digits-1 exists and is not ours" in stalled["status"]["message"]
    live = team.get(JOBS, "digits-1")
    assert live is not None
    assert live["metadata"]["generation"] == foreign["metadata"]["generation"]
    assert "ownerReferences" not in live["metadata"]


def test_the_schedulers_words(world: World) -> None:
    team = world.team()
    words = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    team.play("train", lambda _pod: Act(unschedulable=words))
    team.run(resources={"gpu": {"count": 9}})
    waiting = team.run_until("Queued", reason="Unschedulable")
    assert words in waiting["status"]["message"]
    (pod,) = team.all(PODS)
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "9"


def test_an_image_that_does_not_exist(world: World) -> None:
    team = world.team()
    team.play(
        "train", lambda _pod: Act(waiting=("ImagePullBackOff", 'Back-off pulling image "registry.example/nope:1"'))
    )
    team.run(image="registry.example/nope:1")
    waiting = team.until(TRAINING_RUNS, "digits-1", reason="ImageNotPulled")
    assert "registry.example/nope:1" in waiting["status"]["message"]


def test_a_deadline(world: World) -> None:
    team = world.team()
    team.play("train", hangs)
    team.run(activeDeadline="1s")
    failed = team.run_until("Failed")
    assert condition(failed, "Stalled")["reason"] == "DeadlineExceeded"
    assert "activeDeadline" in failed["status"]["message"]


def test_a_job_whose_time_has_come_is_deleted_after_the_result_is_recorded(world: World) -> None:
    team = world.team()
    team.run(ttlAfterFinished="0s")
    team.run_until("Succeeded")
    team.gone(JOBS, "digits-1")
    assert team.run_until("Succeeded")["status"]["modelVersion"] == "digits-v1"


def test_the_numbers_are_kept_beside_the_versions(world: World) -> None:
    team = world.team()
    team.run()
    team.run_until("Succeeded")
    ledger = team.get(CONFIG_MAPS, "slipway-versions-digits")
    assert ledger is not None
    assert ledger["data"]["last"] == "1"
    assert json.loads(ledger["data"]["claims"]) is not None


def test_a_number_stands_for_one_file_though_its_version_was_deleted(world: World) -> None:
    team = world.team()
    team.ready_version(7)
    team.api.delete(MODEL_VERSIONS, team.namespace, "digits-v7")
    team.gone(MODEL_VERSIONS, "digits-v7")
    team.run()
    assert team.run_until("Succeeded")["status"]["modelVersion"] == "digits-v8"
    team.version_until("Ready", "digits-v8")
    team.api.delete(MODEL_VERSIONS, team.namespace, "digits-v8")
    team.gone(MODEL_VERSIONS, "digits-v8")
    team.register(number=8)
    told = team.version_until("Verifying", "digits-v8", reason="NumberUsed")
    assert "none is used twice: delete this version and register the file as digits-v9" in told["status"]["message"]
    assert condition(told, "Stalled")["status"] == "True"
    # The same bytes are the same version: a backup brings it back.
    assert team.ready_version(7)["status"]["numbered"] is True


# ----------------------------------------------------------------------------------------------------- ModelVersion


def test_a_version_that_was_trained_elsewhere(world: World) -> None:
    team = world.team()
    source = {"description": "trained by the vision team in 2024", "url": "https://models.example.com/digits"}
    made = team.register(source=source)
    ready = team.version_until("Ready")
    assert states(ready)["Ready"] == "True"
    lineage = ready["status"]["lineage"]
    assert (lineage["origin"], lineage["source"]) == ("Imported", source)
    assert lineage["artifact"] == ready["spec"]["artifact"]
    # Whoever has the file finds it, though nobody here labelled it.
    held = made["spec"]["artifact"]["digest"].removeprefix("sha256:")[:40]
    assert [v["metadata"]["name"] for v in team.all(MODEL_VERSIONS, f"slipway.dev/artifact={held}")] == ["digits-v1"]


def test_versions_are_found_by_what_they_were_made_of(world: World) -> None:
    team = world.team()
    team.run("with-data", data=[{"name": "train", "uri": "s3://data/digits/"}])
    team.run_until("Succeeded", "with-data")
    team.run("without")
    team.run_until("Succeeded", "without")
    data, image = "data.slipway.dev/" + "d" * 40, "slipway.dev/image=" + "1" * 40
    assert [v["spec"]["trainingRun"] for v in team.all(MODEL_VERSIONS, data)] == ["with-data"]
    assert len(team.all(MODEL_VERSIONS, image)) == 2
    # A label that somebody takes away comes back.
    team.api.merge(MODEL_VERSIONS, team.namespace, "digits-v1", {"metadata": {"labels": {data: None}}})
    team.until(MODEL_VERSIONS, "digits-v1", lambda v: data in v["metadata"]["labels"])


def test_a_file_that_is_not_what_was_registered(world: World) -> None:
    team = world.team()
    words = "the file has the digest sha256:abc and not sha256:def: it was changed after it was registered"
    team.play("verify", fails(contract.EXIT_USER_ERROR, "DigestMismatch", words))
    team.register()
    failed = team.version_until("Failed")
    assert words in failed["status"]["message"]
    assert states(failed)["Ready"] == "False"
    assert states(failed)["Stalled"] == "True"


def test_an_alias_is_held_by_the_highest_number(world: World) -> None:
    team = world.team()
    team.ready_version(1, aliases=["champion"])
    assert team.version_until("Ready", "digits-v1", check=lambda v: v["status"].get("heldAliases") == ["champion"])
    team.ready_version(2, aliases=["champion"])
    team.version_until("Ready", "digits-v2", check=lambda v: v["status"].get("heldAliases") == ["champion"])
    team.version_until("Ready", "digits-v1", check=lambda v: not v["status"].get("heldAliases"))
    team.register(number=2, archived=True)
    team.version_until("Archived", "digits-v2")
    team.register(number=2, aliases=[])
    team.version_until("Ready", "digits-v1", check=lambda v: v["status"].get("heldAliases") == ["champion"])


def test_nothing_is_left_to_do(world: World) -> None:
    """After all of the above: the queues are empty and nobody is asked for again and again."""
    eventually(lambda: world.operator.metric("slipway_queue_length") == 0, what="the queues being empty")


def test_a_version_is_made_once_more_and_its_lineage_says_what_came_of_it(world: World) -> None:
    team = world.team()
    code = team.config_map("digits-code", **{"train.py": "def main(context): ..."})
    run = team.run(code={"configMap": "digits-code"}, seed=7)
    team.run_until("Succeeded")
    version = team.version_until("Ready")
    # the played trainer reports no digest of the code, and the played kubelet one of the image
    again = reproduce.run_manifest(version, name="digits-again", run=run, code=code)
    assert "@sha256:" in again["spec"]["image"]
    team.api.apply(again)
    done = team.run_until("Succeeded", "digits-again", reason="Reproduced")
    assert "modelVersion" not in done["status"]
    assert done["status"]["reproduction"]["verdict"] == "Identical"

    def told(live: Object) -> list[Object]:
        return list(live["status"]["lineage"].get("reproductions", []))

    known = team.version_until("Ready", check=told)
    assert [(t["trainingRun"], t["verdict"]) for t in told(known)] == [("digits-again", "Identical")]
    assert len(team.all(MODEL_VERSIONS)) == 1
    # another seed is a warning on both sides
    again["metadata"]["name"] = "digits-other"
    again["spec"] |= {"seed": 8, "parameters": {"verdict": "Different"}}
    team.api.apply(again)
    other = team.run_until("Succeeded", "digits-other", reason="NotReproduced")
    assert "the seed: 7 then, 8 now" in other["status"]["message"]
    known = team.version_until("Ready", check=lambda live: len(told(live)) == 2)
    times = [t["at"] for t in told(known)]
    assert times == sorted(times, reverse=True), "the newest comes first"
    # by its name: both may have ended in the same second
    said = {t["trainingRun"]: t for t in told(known)}["digits-other"]
    assert said["verdict"] == "Different"
    assert "the seed: 7 then, 8 now" in said["detail"]
    team.run("digits-2")
    assert team.run_until("Succeeded", "digits-2")["status"]["modelVersion"] == "digits-v2", "no number was taken"


def test_nothing_to_reproduce_is_said(world: World) -> None:
    team = world.team()
    team.run(reproduceOf={"modelVersion": "digits-v1"})
    team.run_until("Pending", reason="ModelVersionMissing")
    team.ready_version()
    failed = team.run_until("Failed", reason="NotReproducible")
    assert "it was trained elsewhere" in failed["status"]["message"]
    assert not team.all(JOBS, f"{Label.TRAINING_RUN}=digits-1")
