"""The questions of lineage on the quickstart: each asked by its command, and compared with what is true."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from slipway.api.common import parse_time, rfc3339
from slipway.kube.objects import DEPLOYMENTS, MODEL_VERSIONS
from tests.support.e2e import QUICKSTART as NAMESPACE
from tests.support.e2e import Tenant, World

Ask = Callable[..., Any]


@pytest.fixture
def ask(world: World, digits: Tenant) -> Ask:
    """``kubectl slipway ... -o json`` as a user of this cluster types it."""

    def asked(*words: str) -> Any:
        return json.loads(world.run("kubectl", "slipway", *words, "--namespace", NAMESPACE, "--output", "json"))

    return asked


def ids(graph: Any, kind: str) -> set[str]:
    return {node["name"] for node in graph["nodes"] if node["kind"] == kind}


def lineage(tenant: Tenant, name: str) -> dict[str, Any]:
    found: dict[str, Any] = tenant.get(MODEL_VERSIONS, name)["status"]["lineage"]
    return found


def test_which_run_made_this_version_of_what(ask: Ask, world: World, digits: Tenant) -> None:
    graph = ask("lineage", "digits-v2")
    content = world.store.get_object("data", "digits/train.csv").read()
    line = f"train.csv {len(content)} {hashlib.sha256(content).hexdigest()}\n"
    assert ids(graph, "TrainingRun") == {"digits-2"}
    assert ids(graph, "Data") == {f"sha256:{hashlib.sha256(line.encode()).hexdigest()}"}
    assert ids(graph, "Code") == {lineage(digits, "digits-v2")["code"]["configMap"]["digest"]}
    assert ids(graph, "Image") == {lineage(digits, "digits-v2")["code"]["image"]["digest"]}
    (run,) = (node for node in graph["nodes"] if node["kind"] == "TrainingRun")
    assert (run["parameters"], run["seed"]) == ({"epochs": "20", "learningRate": "0.01"}, 7)


def test_what_made_the_model_that_answers_here(ask: Ask, world: World) -> None:
    answered = world.ask("digits.example.com")["model_version"]
    graph = ask("lineage", "--host", "digits.example.com")
    assert ids(graph, "ModelVersion") == {f"digits-v{answered}"}
    assert ids(graph, "TrainingRun") == {f"digits-{answered}"}


@pytest.mark.parametrize("by", ["--data", "--image"])
def test_what_depends_on_data_and_on_an_image(ask: Ask, digits: Tenant, by: str) -> None:
    of = lineage(digits, "digits-v1")
    digest = of["data"][0]["digest"] if by == "--data" else of["code"]["image"]["digest"]
    graph = ask("lineage", by, digest)
    assert ids(graph, "ModelVersion") == {"digits-v1", "digits-v2"}
    assert ids(graph, "Deployment") == {"digits"}
    assert not ids(ask("lineage", by, "sha256:" + "0" * 64), "ModelVersion")


def test_what_changed(ask: Ask) -> None:
    changed = {(d["what"], d["name"]) for d in ask("diff", "digits-v1", "digits-v2") if not d["same"]}
    assert {("parameter", "epochs"), ("parameter", "learningRate"), ("metric", "accuracy")} <= changed
    assert not {what for what, _ in changed} & {"data", "code", "image", "environment", "seed"}


def test_what_served_at_a_time(ask: Ask, digits: Tenant) -> None:
    history = digits.get(DEPLOYMENTS, "digits")["status"]["history"]
    for entry in (e for e in history if e["outcome"] == "Promoted"):
        after = rfc3339(parse_time(entry["to"]) + timedelta(seconds=1))
        (stable,) = (n for n in ask("lineage", "digits", "--at", after)["nodes"] if n.get("role") == "stable")
        assert stable["name"] == entry["modelVersion"]


def test_whether_it_can_be_made_again(ask: Ask) -> None:
    verdict = ask("reproducible", "digits-v2")
    assert verdict["answer"] == "yes"
    assert {f["what"] for f in verdict["findings"]} >= {"code", "image", "data", "parameters"}


def test_it_is_made_again_and_comes_out_identical(world: World, digits: Tenant) -> None:
    command = ("kubectl", "slipway", "reproduce", "digits-v2", "--wait", "--namespace", NAMESPACE)
    assert world.run(*command, seconds=300) == "Identical  digits-v2 by the run digits-v2-again\n"
    shown = world.run("kubectl", "slipway", "reproducible", "digits-v2", "--namespace", NAMESPACE)
    assert shown.startswith("yes  digits-v2: the run digits-v2-again made it again: Identical")


def test_an_alias_is_given_and_followed_back(world: World, digits: Tenant) -> None:
    for version, told in (("digits-v2", "has the alias best"), ("digits-v1", "taken from digits-v2")):
        assert told in world.run("kubectl", "slipway", "alias", version, "best", "--namespace", NAMESPACE)
        digits.until(
            MODEL_VERSIONS,
            version,
            lambda o: "best" in o["status"].get("heldAliases", ()),
            what=f"{version} holding it",
        )
    assert "best: v1" in world.run("kubectl", "slipway", "models", "--namespace", NAMESPACE)
    world.run("kubectl", "slipway", "alias", "digits-v1", "best", "--remove", "--namespace", NAMESPACE)


def test_what_a_person_sees(world: World, digits: Tenant) -> None:
    shown = world.run("kubectl", "slipway", "models", "--namespace", NAMESPACE)
    assert "digits: v2 100%" in shown
    assert "epoch 20 of 20" in world.run("kubectl", "slipway", "logs", "digits-2", "--namespace", NAMESPACE)


def test_a_verb_is_answered(world: World, digits: Tenant) -> None:
    """Nothing is on its way, so it is refused, in the operator's words."""
    done = subprocess.run(
        ["kubectl", "slipway", "rollout", "promote", "digits", "--namespace", NAMESPACE],
        env=world.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("kubectl slipway: promote was not carried out: ")
    last = digits.get(DEPLOYMENTS, "digits")["status"]["lastAction"]
    assert last["by"] == "kubectl-slipway"
