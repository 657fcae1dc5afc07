"""The manifests that a TrainingRun makes."""

from __future__ import annotations

from typing import Any

import pytest

from slipway import contract
from slipway.api.training_run import DataPin, TrainingRunSpec
from slipway.training import children
from slipway.training.children import Defaults
from tests.support.builders import DIGEST, training_run


def job(*, defaults: Defaults | None = None, deadline: int | None = None, **spec: Any) -> dict[str, Any]:
    run = training_run(uid="run-uid", **spec)
    return children.job(
        run,
        TrainingRunSpec.model_validate(run["spec"]),
        defaults or Defaults("trainer:1"),
        deadline=deadline,
        attempts_before=2,
        reread=0,
    )


def container(made: dict[str, Any]) -> dict[str, Any]:
    (found,) = made["spec"]["template"]["spec"]["containers"]
    return dict(found)


def env(made: dict[str, Any]) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container(made)["env"]}


def test_the_pod_keeps_every_rule_of_restricted_and_ours() -> None:
    pod = job()["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in pod["containers"]:
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert each["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert all("sizeLimit" in v["emptyDir"] for v in pod["volumes"])
    assert "initContainers" not in pod


@pytest.mark.parametrize(("place", "manifest"), [("lake", "s3://models/m"), ("elsewhere", None)])
def test_the_trainer_is_told_the_version_of_a_dataset_and_where_it_lay(place: str, manifest: str | None) -> None:
    """And where its manifest lies, if the pod has that place anyway."""
    run = training_run(uid="run-uid", data=[{"name": "train", "dataset": "digits", "store": "default"}])
    pin = DataPin(
        name="train",
        dataset="digits",
        version=DIGEST,
        uri="s3://data/digits/",
        store="lake",
        manifest="s3://models/m",
        output_store=place,
    )
    made = children.job(
        run,
        TrainingRunSpec.model_validate(run["spec"]),
        Defaults("trainer:1"),
        deadline=None,
        attempts_before=0,
        reread=0,
        pins=[pin],
    )
    told = contract.loads(contract.TrainSpec, env(made)[contract.Env.SPEC])
    assert told.data == [contract.DataSpec("train", "s3://data/digits/", "lake", DIGEST, "digits", manifest, "lake")]
    assert "SLIPWAY_STORE_LAKE_ENDPOINT" in env(made)
    assert "SLIPWAY_STORE_ELSEWHERE_ENDPOINT" not in env(made)


def test_the_trainer_is_told_everything_in_one_document() -> None:
    made = job(
        data=[
            {"name": "train", "uri": "s3://data/digits/", "digest": DIGEST},
            {"name": "more", "uri": "s3://data/more.csv", "store": "team-a"},
        ],
        parameters={"epochs": "20"},
        code={"configMap": "digits-code"},
        output={"store": "models"},
    )
    assert contract.loads(contract.TrainSpec, env(made)[contract.Env.SPEC]) == contract.TrainSpec(
        namespace="team",
        run="digits-1",
        runUid="run-uid",
        model="digits",
        entrypoint="train:train",
        codeConfigMap="digits-code",
        data=[
            contract.DataSpec("train", "s3://data/digits/", "default", DIGEST),
            contract.DataSpec("more", "s3://data/more.csv", "team-a"),
        ],
        parameters={"epochs": "20"},
        seed=7,
        outputStore="models",
    )
    assert {n.split("_")[2] for n in env(made) if n.startswith("SLIPWAY_STORE_")} == {"DEFAULT", "TEAM", "MODELS"}
    assert env(made)["HOME"] == env(made)["TMPDIR"] == contract.WORK_DIR
    mounts = {m["name"]: m for m in container(made)["volumeMounts"]}
    assert mounts["code"] == {"name": "code", "mountPath": contract.CODE_DIR, "readOnly": True}


@pytest.mark.parametrize(
    ("cpu", "threads"),
    [("1", 1), ("500m", 1), ("1500m", 2), ("2", 2), (4, 4), ("100u", 1), ("2000000001n", 3), ("1k", 1000)],
)
def test_the_trainer_computes_with_the_cpus_that_the_run_asks_for(cpu: str | int, threads: int) -> None:
    """A container without a CPU limit sees every core of its node: the number is said, or it would be the node's."""
    made = job(resources={"cpu": cpu, "memory": "1Gi"})
    assert contract.loads(contract.TrainSpec, env(made)[contract.Env.SPEC]).threads == threads
    assert "cpu" not in container(made)["resources"]["limits"]


def test_only_the_container_that_fetches_the_code_gets_its_credentials() -> None:
    git = {"url": "https://git.example.com/digits", "revision": "main", "path": "training", "secret": "digits-git"}
    made = job(code={"git": git}, image="mine:2", data=[{"name": "a", "uri": "s3://data/a", "store": "other"}])
    pod = made["spec"]["template"]["spec"]
    (code,) = pod["initContainers"]
    secrets = [
        (e["name"], e["valueFrom"]["secretKeyRef"]) for e in code["env"] if "secretKeyRef" in e.get("valueFrom", {})
    ]
    assert [pair for pair in secrets if pair[0].startswith(contract.Env.GIT)] == [
        ("SLIPWAY_GIT_URL", {"name": "digits-git", "key": "url"}),
        ("SLIPWAY_GIT_USERNAME", {"name": "digits-git", "key": "username", "optional": True}),
        ("SLIPWAY_GIT_PASSWORD", {"name": "digits-git", "key": "password", "optional": True}),
        ("SLIPWAY_GIT_CA_CRT", {"name": "digits-git", "key": "ca.crt", "optional": True}),
    ]
    assert {r["name"] for _, r in secrets} == {"digits-git", "slipway-store-default"}
    assert not [e for e in container(made)["env"] if e["name"].startswith(contract.Env.GIT)]
    assert code["image"] == "trainer:1", "credentials are for our own image"
    assert code["securityContext"]["readOnlyRootFilesystem"] is True
    mounted = {c["name"]: {m["name"]: m.get("readOnly") for m in c["volumeMounts"]} for c in (code, container(made))}
    assert mounted == {
        "code": {"code": None, "git": None},
        "trainer": {"work": None, "tmp": None, "shm": None, "code": True},
    }
    told = contract.loads(contract.TrainSpec, env(made)[contract.Env.SPEC])
    assert told.codeGit == contract.GitSpec("https://git.example.com/digits", "main", "training", "digits-git")
    rules = made["spec"]["podFailurePolicy"]["rules"]
    assert [r["onExitCodes"]["containerName"] for r in rules[1:]] == ["code", "trainer"]


def test_an_ssh_address_takes_the_keys_of_ssh() -> None:
    git = {"url": "git@git.example.com:team/digits.git", "revision": "main", "secret": "digits-git"}
    (code,) = job(code={"git": git})["spec"]["template"]["spec"]["initContainers"]
    named = [e["valueFrom"]["secretKeyRef"]["key"] for e in code["env"] if e["name"].startswith(contract.Env.GIT)]
    assert named == ["ssh-privatekey", "known_hosts"]


def test_a_command_runs_inside_the_trainer_too() -> None:
    """So that its data, result and failure travel the same way."""
    made = job(entrypoint=None, command=["./train", "--fast"], image="mine:2")
    assert container(made)["image"] == "mine:2"
    assert container(made)["command"] == list(children.COMMAND)
    told = contract.loads(contract.TrainSpec, env(made)[contract.Env.SPEC])
    assert (told.entrypoint, told.command) == (None, ["./train", "--fast"])


def test_gpus_are_limits_of_the_resource_that_was_asked_for() -> None:
    wanted = {"cpu": "2", "memory": "8Gi", "gpu": {"count": 2, "resourceName": "example.com/gpu"}}
    assert container(job(resources=wanted))["resources"]["limits"] == {"memory": "8Gi", "example.com/gpu": "2"}
    assert container(job())["resources"]["limits"] == {"memory": "1Gi"}


def test_the_job_tries_again_only_what_may_pass() -> None:
    spec = job(backoffLimit=5, deadline=60)["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (5, 60)
    ignore, fail = spec["podFailurePolicy"]["rules"]
    assert ignore["action"] == "Ignore"
    assert ignore["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert fail["onExitCodes"] == {
        "containerName": children.CONTAINER,
        "operator": "In",
        "values": [contract.EXIT_USER_ERROR],
    }
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert "activeDeadlineSeconds" not in job()["spec"]


def test_only_the_operator_deletes_a_job() -> None:
    assert "ttlSecondsAfterFinished" not in job(ttlAfterFinished="1h")["spec"]


def test_labels_lead_back_to_the_run() -> None:
    made = job()
    labels = {
        "app.kubernetes.io/managed-by": "slipway",
        "slipway.dev/model": "digits",
        "slipway.dev/role": "train",
        "slipway.dev/training-run": "digits-1",
        "slipway.dev/training-run-uid": "run-uid",
    }
    assert made["metadata"]["labels"] == made["spec"]["template"]["metadata"]["labels"] == labels
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == ("run-uid", True)
    assert made["metadata"]["annotations"][children.ATTEMPTS_ANNOTATION] == "2"


def test_the_pod_tells_openlineage_only_where_the_installation_names_an_endpoint() -> None:
    assert not [name for name in env(job()) if "OPENLINEAGE" in name]
    url = "http://marquez:5000/api/v1/lineage"
    told = env(job(defaults=Defaults("trainer:1", openlineage_url=url)))
    assert told["SLIPWAY_OPENLINEAGE_URL"] == url
    assert told["SLIPWAY_OPENLINEAGE_TOKEN"] == {
        "secretKeyRef": {"name": "slipway-openlineage", "key": "token", "optional": True}
    }
    assert "SLIPWAY_OPENLINEAGE_FILE" not in told


def test_the_pod_writes_its_events_only_where_the_installation_asks_for_the_file() -> None:
    told = env(job(defaults=Defaults("trainer:1", openlineage_file=True)))
    assert {k: v for k, v in told.items() if "OPENLINEAGE" in k} == {"SLIPWAY_OPENLINEAGE_FILE": "true"}
