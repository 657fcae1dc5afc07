"""The chart, rendered by Helm and taken by a real API server; what ``helm install`` would refuse is refused."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster import programs
from localcluster.paths import REPOSITORY
from slipway import contract, settings
from tests.support.control_plane import Cluster, make_namespace

CHART = REPOSITORY / "charts" / "slipway"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
INSTALLS: dict[str, tuple[str, ...]] = {
    "as it comes": (),
    "one replica, nothing extra": ("replicas=1", "networkPolicy.enabled=false", "rbac.aggregate=false"),
    "for two namespaces": ("watchNamespaces={chart-a,chart-b}", "gatewayNamespaces={chart-gateways,chart-a}"),
    "with everything set": (
        "image.operator=registry.example:5000/team/slipway-operator@sha256:" + "a" * 64,
        "image.pullSecrets={regcred}",
        "serviceAccount.name=custom",
        "serviceAccount.annotations.team=ml",
        "log.level=debug",
        "log.format=json",
        "workers=8",
        "prometheus.address=https://prometheus.monitoring.svc:9090",
        "openlineage.url=http://marquez.lineage.svc:5000/api/v1/lineage",
        "openlineage.file=true",
        "networkPolicy.apiServer.cidrs={10.0.0.0/8,fd00::/8}",
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=watchers",
        "podAnnotations.a=b",
        "nodeSelector.disk=ssd",
        "tolerations[0].operator=Exists",
        "priorityClassName=system-cluster-critical",
        "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1",
        "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey=zone",
    ),
    "beside CRDs of somebody else": ("crds.install=false",),
}


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Helm itself, that of the local cluster."""
    program = programs.ensure(["helm"]) / "helm"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


@functools.cache
def template(*values: str) -> str:
    """What Helm renders."""
    done = helm("template", "slipway", CHART, "--namespace", "chart-system", *(f"--set={v}" for v in values))
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(*values: str) -> list[dict[str, Any]]:
    """The objects that an install makes, hooks included."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [found for found in yaml.load_all(template(*values), Loader=loader) if found]


def one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The only object of a kind."""
    (found,) = [o for o in objects if o["kind"] == kind]
    return found


@pytest.fixture(scope="module")
def namespaces(cluster: Cluster) -> None:
    for name in ("chart-system", "chart-a", "chart-b", "chart-gateways"):
        make_namespace(cluster.api, name)
    # A dry run keeps nothing, so the test pod would not find the account that is rendered with it.
    cluster.api.create(next(o for o in rendered() if o["kind"] == "ServiceAccount" and "test" in o["metadata"]["name"]))


@pytest.mark.parametrize("install", INSTALLS)
def test_lint_finds_nothing(install: str) -> None:
    done = helm("lint", CHART, "--strict", "--quiet", *(f"--set={v}" for v in INSTALLS[install]))
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("install", INSTALLS)
def test_a_real_api_server_takes_every_object(cluster: Cluster, install: str) -> None:
    kubectl = programs.ensure(["kubectl"]) / "kubectl"
    done = subprocess.run(
        [kubectl, "--kubeconfig", cluster.api.kubeconfig, "apply", "--server-side", "--dry-run=server",
         "--force-conflicts", "--validate=strict", "--filename=-"],
        # As JSON: PyYAML writes texts without quotes that kubectl then reads as numbers.
        input="\n---\n".join(json.dumps(made) for made in rendered(*INSTALLS[install])),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "would violate PodSecurity" not in done.stderr


REFUSED: dict[str, tuple[str, str]] = {
    "a value that does not exist": ("imgae.operator=x:1", "imgae"),
    "an image without a tag": ("image.operator=slipway", "/image/operator"),
    "a pull policy of its own": ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
    "too many replicas": ("replicas=9", "/replicas"),
    "a namespace that cannot be one": ("watchNamespaces={Team_A}", "/watchNamespaces/0"),
    "a namespace twice": ("watchNamespaces={a,a}", "/watchNamespaces"),
    "a log level of its own": ("log.level=loud", "/log/level"),
    "a network that is none": ("networkPolicy.apiServer.cidrs={everywhere}", "/networkPolicy/apiServer/cidrs/0"),
    "a quantity that is none": ("resources.limits.memory=plenty", "/resources/limits/memory"),
    "an OpenLineage endpoint with a password in its address": (
        "openlineage.url=http://me:secret@marquez/api/v1/lineage",
        "/openlineage/url",
    ),
    "an OpenLineage file by its name": ("openlineage.file=events.ndjson", "/openlineage/file"),
    "a Prometheus without its scheme": ("prometheus.address=prometheus:9090", "/prometheus/address"),
    "no port of the API server": ("networkPolicy.apiServer.ports=null", "/networkPolicy/apiServer"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_values_are_refused(case: str) -> None:
    value, where = REFUSED[case]
    done = helm("template", "slipway", CHART, f"--set={value}")
    assert done.returncode != 0
    assert where in done.stderr


@pytest.mark.parametrize("install", INSTALLS)
def test_nothing_is_said_about_secrets(install: str) -> None:
    for found in rendered(*INSTALLS[install]):
        if found["kind"] in ("Role", "ClusterRole"):
            for rule in found["rules"]:
                assert "secrets" not in rule["resources"], found
                assert not {"*"} & {*rule["resources"], *rule["verbs"], *rule["apiGroups"]}, found


def test_a_namespaced_install_has_no_right_in_the_whole_cluster() -> None:
    made = rendered(*INSTALLS["for two namespaces"], "rbac.aggregate=false")
    assert not [o for o in made if o["kind"] in ("ClusterRole", "ClusterRoleBinding")]
    roles = {(o["metadata"]["namespace"], o["metadata"]["name"]) for o in made if o["kind"] == "Role"}
    assert roles == {
        ("chart-a", "slipway"),
        ("chart-b", "slipway"),
        ("chart-gateways", "slipway-gateways"),
        ("chart-system", "slipway-lease"),
    }


def test_the_same_rights_in_a_namespace_as_in_the_cluster() -> None:
    wide = next(o for o in rendered() if o["kind"] == "ClusterRole" and o["metadata"]["name"] == "slipway-chart-system")
    narrow = [o for o in rendered(*INSTALLS["for two namespaces"]) if o["metadata"]["name"] == "slipway"]
    # A class lies in no namespace, so no Role can speak of it; of a Namespace the one in it can.
    rules = [rule for rule in wide["rules"] if rule["resources"] != ["gatewayclasses"]]
    assert len(rules) == len(wide["rules"]) - 1
    assert all(o["rules"] == rules for o in narrow if o["kind"] == "Role")


@pytest.mark.parametrize("install", INSTALLS)
def test_the_operator_understands_its_environment(install: str) -> None:
    (container,) = one(rendered(*INSTALLS[install]), "Deployment")["spec"]["template"]["spec"]["containers"]
    given = {
        e["name"]: e.get("value", e.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")) for e in container["env"]
    }
    read = settings.load(given)
    assert read.http_port == next(p["containerPort"] for p in container["ports"])
    assert read.lease_name == "slipway"
    assert read.watch_namespaces == (("chart-a", "chart-b") if install == "for two namespaces" else ())


def test_the_operators_pod_is_as_restricted_as_those_it_makes() -> None:
    pods = [one(rendered(), "Deployment")["spec"]["template"]["spec"], one(rendered(), "Pod")["spec"]]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert [c["securityContext"] for c in pod["containers"]] == [RESTRICTED]


def test_the_crds_are_upgraded_and_kept() -> None:
    made = {o["metadata"]["name"]: o for o in rendered() if o["kind"] == "CustomResourceDefinition"}
    assert not (CHART / "crds").exists(), "Helm never upgrades what lies in crds/"
    assert set(made) == {path.stem for path in (REPOSITORY / "crds").iterdir()}
    for name, crd in made.items():
        source = yaml.safe_load((REPOSITORY / "crds" / f"{name}.yaml").read_text())
        assert crd["metadata"].pop("annotations") == {
            **source["metadata"].pop("annotations", {}),
            "helm.sh/resource-policy": "keep",
        }
        assert crd == source


EGRESS: dict[str, tuple[str, int | None]] = {
    "none": ("", None),
    "with a port": ("http://prometheus.monitoring:9090", 9090),
    "of HTTP": ("http://prometheus.monitoring", 80),
    "of HTTPS": ("https://prometheus.example.com/prefix", 443),
    "by an address of version 6": ("http://[fd00::1]:9091", 9091),
}


@pytest.mark.parametrize("sentence", EGRESS)
def test_the_way_to_prometheus_is_open_where_there_is_one(sentence: str) -> None:
    address, port = EGRESS[sentence]
    found = one(rendered(f"prometheus.address={address}"), "NetworkPolicy")["spec"]["egress"]
    plain = one(rendered(), "NetworkPolicy")["spec"]["egress"]
    more = [rule for rule in found if rule not in plain]
    ports = [(p["port"], p["protocol"]) for rule in more for p in rule["ports"]]
    assert ports == ([(port, "TCP"), (53, "UDP"), (53, "TCP")] if port else [])


def test_the_way_to_the_pods_metrics_is_open() -> None:
    egress = one(rendered(), "NetworkPolicy")["spec"]["egress"]
    ways = {
        (p["port"], rule["to"][0]["podSelector"]["matchLabels"]["slipway.dev/role"])
        for rule in egress[1:]
        for p in rule["ports"]
    }
    assert ways == {(contract.PROGRESS_PORT, "train"), (contract.METRICS_PORT, "serve")}


def test_one_replica_is_no_reason_for_a_budget() -> None:
    assert one(rendered(), "PodDisruptionBudget")["spec"]["minAvailable"] == 1
    assert not [o for o in rendered("replicas=1") if o["kind"] == "PodDisruptionBudget"]


def test_the_readme_lists_every_value() -> None:
    def leaves(value: Any, path: str = "") -> list[str]:
        if isinstance(value, dict) and value:
            return [leaf for key, item in value.items() for leaf in leaves(item, f"{path}.{key}" if path else key)]
        return [path]

    text = (CHART / "README.md").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    unnamed = [leaf for leaf in leaves(values) if f"`{leaf}`" not in text and not leaf.startswith("resources.")]
    assert not unnamed


def test_the_openlineage_endpoint_and_file_reach_the_operator_and_are_off_by_default() -> None:
    def variables(*values: str) -> dict[str, str]:
        (container,) = one(rendered(*values), "Deployment")["spec"]["template"]["spec"]["containers"]
        return {e["name"]: e.get("value", "") for e in container["env"]}

    url = "http://marquez:5000/api/v1/lineage"
    assert variables(f"openlineage.url={url}")["SLIPWAY_OPERATOR_OPENLINEAGE_URL"] == url
    assert "SLIPWAY_OPERATOR_OPENLINEAGE_URL" not in variables()
    assert "SLIPWAY_OPERATOR_OPENLINEAGE_FILE" not in variables()
    assert variables("openlineage.file=true")["SLIPWAY_OPERATOR_OPENLINEAGE_FILE"] == "true"
