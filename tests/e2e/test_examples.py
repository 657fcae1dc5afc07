"""Every example does what its comment says."""

from __future__ import annotations

import yaml

from slipway.kube.objects import DEPLOYMENTS, MODEL_VERSIONS, TRAINING_RUNS
from tests.support.e2e import EXAMPLES, MODEL, Tenant, World, condition, settled_on, stable, weights
from tests.support.load import until

# Where each manifest is applied; a new example without a test fails below.
APPLIED = {
    "alias/deployment.yaml": "here",
    "blue-green/deployment.yaml": "test_blue_green",
    "canary-by-hand/deployment.yaml": "test_rollouts",
    "command/run.yaml": "here",
    "dataset/dataset.yaml": "test_datasets",
    "dataset/run.yaml": "test_datasets",
    "evidence/deployment.yaml": "test_evidence",
    "fine-tune/run.yaml": "here",
    "git/run.yaml": "test_git",
    "git/secret.yaml": "test_git",
    "no-gateway/deployment.yaml": "here",
    "quickstart/00-namespace.yaml": "test_quickstart",
    "quickstart/deployment-v2.yaml": "test_quickstart",
    "quickstart/deployment.yaml": "test_quickstart",
    "quickstart/run-1.yaml": "test_quickstart",
    "quickstart/run-2.yaml": "test_quickstart",
    "quickstart/store.yaml": "test_quickstart",
    "registry/decommissioned.yaml": "test_registry",
    "registry/gated.yaml": "test_registry",
    "registry/imported.yaml": "test_registry",
    "reproduce/run.yaml": "test_reproduce",
    "registry/promoted.yaml": "test_registry",
    "registry/run.yaml": "test_registry",
    "signing/signing.yaml": "test_signing",
    "shadow/deployment.yaml": "test_shadow",
    "shadow/then-canary.yaml": "test_shadow",
}


def test_every_example_is_applied_by_a_test() -> None:
    assert {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.yaml")} == set(APPLIED)


def test_the_second_deployment_of_the_quickstart_differs_in_one_line() -> None:
    first, second = (
        yaml.safe_load((EXAMPLES / "quickstart" / f"deployment{which}.yaml").read_text()) for which in ("", "-v2")
    )
    assert (first["spec"].pop("modelVersion"), second["spec"].pop("modelVersion")) == ("digits-v1", "digits-v2")
    assert first == second


def test_any_program_can_train(world: World, tenant: Tenant) -> None:
    world.digits()
    tenant.code("digits-fit", {"fit.py": (EXAMPLES / "command" / "fit.py").read_text()})
    tenant.give("command/run.yaml")
    run = tenant.trained("digits-linear")
    assert run["status"]["modelVersion"] == "digits-linear-v1"
    version = tenant.version_ready("digits-linear-v1")
    assert version["status"]["lineage"]["code"]["command"] == ["python3", "/slipway/code/fit.py"]
    (accuracy,) = [m for m in run["status"]["metrics"] if m["name"] == "accuracy"]
    assert float(accuracy["value"]) > 0.9


def test_a_training_goes_on_from_the_weights_of_a_version(world: World, tenant: Tenant) -> None:
    world.digits()
    tenant.code("digits-code", {"train.py": (EXAMPLES / "quickstart" / "train.py").read_text()})
    tenant.code("digits-fine-tune", {"train.py": (EXAMPLES / "fine-tune" / "train.py").read_text()})
    # Given the run was applied before the version that it begins from is there
    tenant.give("fine-tune/run.yaml")
    tenant.until(
        TRAINING_RUNS, "digits-fine-tuned", lambda o: condition(o, "Stalled")["reason"] == "ModelVersionMissing",
        what="waiting for digits-v1",
    )  # fmt: skip
    (first,) = tenant.example("quickstart/run-1.yaml", resources={"cpu": "200m", "memory": "1Gi"})
    tenant.api.create(first)
    tenant.trained("digits-1")
    before = tenant.version_ready("digits-v1")["status"]["lineage"]
    run = tenant.trained("digits-fine-tuned")
    # Then it began with exactly those weights, and made something better of them
    metrics = {m["name"]: m["value"] for m in run["status"]["metrics"]}
    assert float(metrics["accuracyBefore"]) == float(next(m["value"] for m in before["metrics"]))
    assert float(metrics["accuracy"]) > float(metrics["accuracyBefore"])
    version = tenant.version_ready(run["status"]["modelVersion"])
    lineage = version["status"]["lineage"]
    assert lineage["parent"] == {"modelVersion": "digits-v1", "digest": before["weights"]["digest"]}
    assert lineage["weights"]["digest"] != before["weights"]["digest"]
    found = tenant.api.list(MODEL_VERSIONS, tenant.name, "slipway.dev/parent=digits-v1")
    assert [v["metadata"]["name"] for v in found] == [version["metadata"]["name"]]
    # and a file that somebody changed is noticed and named
    kept = before["weights"]
    world.put(kept["uri"], b"x" * kept["size"])
    tenant.give("fine-tune/run.yaml", name="tampered")
    tampered = tenant.until(
        TRAINING_RUNS, "tampered", lambda o: condition(o, "Stalled")["reason"] == "WeightsDigestMismatch",
        what="the change being noticed",
    )  # fmt: skip
    assert kept["digest"] in tampered["status"]["message"]
    assert tampered["status"]["attempts"] == 1


def test_a_deployment_follows_an_alias(world: World, tenant: Tenant) -> None:
    # Given digits-v1 is the champion
    tenant.register(1, aliases=["champion"])
    tenant.version_ready("digits-v1")
    tenant.versions(2)
    tenant.give("alias/deployment.yaml")
    tenant.until(DEPLOYMENTS, MODEL, settled_on("digits-v1"), what="serving digits-v1")
    with world.load(tenant.host) as load:
        # When digits-v2 becomes the champion
        tenant.api.merge(MODEL_VERSIONS, tenant.name, "digits-v2", {"spec": {"aliases": ["champion"]}})
        # Then it rolls out
        tenant.until(DEPLOYMENTS, MODEL, settled_on("digits-v2"), what="promoted")
        until(load, lambda r: r.share("2") == 100, seconds=15, what="answers of version 2 only")
        load.go_on(1)
    load.check()
    held = [tenant.get(MODEL_VERSIONS, name)["status"].get("heldAliases") for name in ("digits-v1", "digits-v2")]
    assert held[1] == ["champion"]
    assert not held[0]


def test_without_a_gateway_replicas_are_the_weights(tenant: Tenant) -> None:
    tenant.versions(1, 2)
    tenant.serving("no-gateway/deployment.yaml")
    tenant.ask_for("digits-v2")
    # Then the candidate has one replica at the first step, beside the four of the stable version
    tenant.until(
        DEPLOYMENTS,
        MODEL,
        lambda o: o["status"].get("candidate", {}).get("readyReplicas") == 1 and weights(o) == (80, 20, True),
        what="one of five",
    )
    # and as many at the second
    tenant.until(DEPLOYMENTS, MODEL, lambda o: weights(o) == (50, 50, True), what="four of eight")
    after = tenant.until(DEPLOYMENTS, MODEL, settled_on("digits-v2"), what="promoted", seconds=180)
    assert stable(after) == "digits-v2"
    assert after["status"]["stable"]["readyReplicas"] == 4
