"""The chart on the running cluster: its own test, an upgrade of the CRDs, a namespaced install."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from slipway.kube.objects import DEPLOYMENTS, MODEL_VERSIONS, WORKLOADS
from tests.support.api_server import CRDS
from tests.support.e2e import (
    MODEL,
    OPERATOR_NAMESPACE,
    RELEASE,
    REPOSITORY,
    OperatorProcesses,
    Tenant,
    World,
    condition,
    settled_on,
)

pytestmark = pytest.mark.alone  # another operator, and upgrades of the chart

CHART = REPOSITORY / "charts" / "slipway"
HERE = ("--namespace", OPERATOR_NAMESPACE)


def test_helm_test_passes(world: World) -> None:
    said = world.run("helm", "test", RELEASE, *HERE, "--logs")
    assert "Succeeded" in said


def test_an_upgrade_upgrades_the_crds_and_keeps_what_is_of_them(world: World, tenant: Tenant, tmp_path: Path) -> None:
    # Given a ModelVersion, and a next chart whose CRD has one column more
    before = tenant.register(1)
    uid = tenant.get(MODEL_VERSIONS, before)["metadata"]["uid"]
    changed = tmp_path / "slipway"
    shutil.copytree(CHART, changed)
    file = changed / "files" / "crds" / "modelversions.slipway.dev.yaml"
    crd = yaml.safe_load(file.read_text())
    column = {"name": "Next", "type": "string", "jsonPath": ".metadata.uid"}
    crd["spec"]["versions"][0]["additionalPrinterColumns"].append(column)
    file.write_text(yaml.safe_dump(crd, sort_keys=False))

    def columns() -> list[str]:
        live = world.api.get(CRDS, None, "modelversions.slipway.dev")
        assert live is not None
        assert live["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        return [c["name"] for c in live["spec"]["versions"][0]["additionalPrinterColumns"]]

    try:
        # When
        world.run("helm", "upgrade", RELEASE, str(changed), *HERE, "--reuse-values")
        # Then
        assert "Next" in columns()
        assert tenant.get(MODEL_VERSIONS, before)["metadata"]["uid"] == uid
    finally:
        world.run("helm", "upgrade", RELEASE, str(CHART), *HERE, "--reuse-values")
    assert "Next" not in columns()


def test_a_namespaced_install_serves_its_namespace_and_no_other(
    world: World, operator: OperatorProcesses, new_tenant: Callable[[], Tenant]
) -> None:
    inside, outside = new_tenant(), new_tenant()
    values = yaml.safe_load(world.run("helm", "get", "values", RELEASE, *HERE, "--output", "yaml"))
    images = [f"--set=image.{name}={reference}" for name, reference in values["image"].items() if name != "pullSecrets"]
    # Given the operator for the whole cluster stands still, and one for a single namespace is installed
    world.api.merge(WORKLOADS, OPERATOR_NAMESPACE, RELEASE, {"spec": {"replicas": 0}})
    try:
        options = ("--set=replicas=1", "--set=crds.install=false", "--set=rbac.aggregate=false")
        world.run(
            "helm", "install", "own", str(CHART), "--namespace", inside.name, *images, *options,
            f"--set=watchNamespaces={{{inside.name}}}", "--set=gatewayNamespaces={gateways}", "--wait", "--timeout=2m",
        )  # fmt: skip
        try:
            # Then it has no right beyond its namespace
            account = f"system:serviceaccount:{inside.name}:own-slipway"
            asked = ("auth", "can-i", "list", "modelversions.slipway.dev", f"--as={account}")
            assert world.run("kubectl", *asked, "--namespace", inside.name).strip() == "yes"
            assert "no" in world.run("bash", "-c", f"kubectl {' '.join(asked)} --namespace {outside.name} || true")
            # and does its whole work there, with a Gateway of another namespace
            outside.register(1)
            inside.versions(1)
            inside.serving("canary-by-hand/deployment.yaml")
            assert world.ask(inside.host)["model_version"] == "1"
            assert condition(inside.get(DEPLOYMENTS, MODEL), "Ready")["status"] == "True"
            # and elsewhere nothing
            assert "status" not in outside.get(MODEL_VERSIONS, "digits-v1")
        finally:
            world.run("helm", "uninstall", "own", "--namespace", inside.name)
    finally:
        world.api.merge(WORKLOADS, OPERATOR_NAMESPACE, RELEASE, {"spec": {"replicas": values.get("replicas", 2)}})
    # When the first one is back, then it takes up what was left lying
    outside.version_ready("digits-v1")
    inside.until(DEPLOYMENTS, MODEL, settled_on("digits-v1"), what="taken over")
