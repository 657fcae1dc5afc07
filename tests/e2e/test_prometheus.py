"""``source: Prometheus`` on the running cluster: the scrape configuration of docs/rollouts.md, and a canary by it.

The Prometheus runs on the node, beside the kubelet: pods reach it by the node's address, and it reaches pods by theirs.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from localcluster import addresses
from localcluster.namespaces import Namespaces
from slipway.kube.objects import DEPLOYMENTS, PODS
from tests.support import candidates
from tests.support.api_server import Object
from tests.support.e2e import (
    MODEL,
    OPERATOR_NAMESPACE,
    RELEASE,
    REPOSITORY,
    OperatorProcesses,
    Tenant,
    World,
    aborted,
    settled_on,
    stable,
)
from tests.support.evidence import Watch, within_its_share
from tests.support.load import until
from tests.support.prometheus import Prometheus, prometheus

pytestmark = pytest.mark.alone  # the operator is installed anew

EXAMPLE = "evidence/deployment.yaml"
V1, V2 = "digits-v1", "digits-v2"
SHARE = 20
"""Percent that the candidate gets first."""
ANSWERED = 'slipway_server_requests_total{namespace="$(namespace)",pod=~"$(workload)-.*"'
ANALYSIS: dict[str, Any] = {
    "source": "Prometheus",
    "metrics": [
        {"name": "errors", "maxIncrease": "0.02"},
        {"name": "slow", "threshold": "5s", "maxIncrease": "0.05"},
        {
            "name": "refused",
            "total": f"sum by (pod) ({ANSWERED}}})",
            "bad": f'sum by (pod) ({ANSWERED},code=~"4.."}}) or 0 * sum by (pod) ({ANSWERED}}})',
            "maxIncrease": "0.01",
        },
    ],
    "maxDuration": "5m",
    "onInconclusive": "Abort",
}


def scrape_configuration(targets: Path) -> dict[str, Any]:
    """The one that the documents show. Debian builds Prometheus without the discovery of Kubernetes, so its targets,
    with the labels that it would have, are written by this test."""
    page = (REPOSITORY / "docs" / "rollouts.md").read_text()
    found = re.search(r"^```\n(- job_name: slipway\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    (job,) = yaml.safe_load(found[1])
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    discovery = {"files": [str(targets / "*.json")], "refresh_interval": "1s"}
    made: dict[str, Any] = {**job, "file_sd_configs": [discovery], "scrape_interval": "1s", "scrape_timeout": "1s"}
    return made


def discovered(pod: Object) -> Iterator[Object]:
    """A target for each port of each container, as the role ``pod`` of Prometheus' discovery has them."""
    meta = pod["metadata"]
    labels = {
        "__meta_kubernetes_namespace": meta["namespace"],
        "__meta_kubernetes_pod_name": meta["name"],
        **{
            f"__meta_kubernetes_pod_label_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}": value
            for name, value in meta.get("labels", {}).items()
        },
    }
    for container in pod["spec"]["containers"] if pod.get("status", {}).get("podIP") else ():
        for port in container.get("ports", ()):
            yield {
                "targets": [f"{pod['status']['podIP']}:{port['containerPort']}"],
                "labels": {**labels, "__meta_kubernetes_pod_container_port_name": port.get("name", "")},
            }


@contextmanager
def discovery(world: World, targets: Path) -> Iterator[None]:
    """Keeps a file of all pods of the cluster, until the end of the block."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(0.5):
            found = [target for pod in world.api.list(PODS) for target in discovered(pod)]
            (targets / "pods.new").write_text(json.dumps(found))
            (targets / "pods.new").rename(targets / "pods.json")

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


@pytest.fixture(scope="module")
def scraper(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus on the node."""
    state = Path(world.environment["KUBECONFIG"]).parent
    node = urlsplit(world.gateway).hostname
    assert node is not None
    enter = Namespaces(state, addresses.of(state / "addresses.json")).enter()
    directory = tmp_path_factory.mktemp("prometheus")
    targets = directory / "targets"
    targets.mkdir()
    with (
        discovery(world, targets),
        prometheus(directory, [scrape_configuration(targets)], prefix=enter, host=node) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def told(world: World, scraper: Prometheus) -> Iterator[None]:
    """The operator was told of it."""
    here = ("--namespace", OPERATOR_NAMESPACE, "--reuse-values", "--wait", "--timeout=3m")
    chart = str(REPOSITORY / "charts" / "slipway")
    world.run("helm", "upgrade", RELEASE, chart, *here, f"--set=prometheus.address={scraper.url}")
    try:
        yield
    finally:
        world.run("helm", "upgrade", RELEASE, chart, *here, "--set=prometheus.address=")
        Tenant._until(OperatorProcesses(world).ready, 180, "the operator is ready again", str)


def test_the_shown_configuration_finds_our_pods(scraper: Prometheus, tenant: Tenant) -> None:
    tenant.versions(1)
    tenant.serving(EXAMPLE)
    query = f'slipway_server_model_info{{namespace="{tenant.name}",deployment="{MODEL}",model_version="{V1}"}}'
    Tenant._until(lambda: len(scraper.query(query)) == 1, 60, "scraped", lambda: str(scraper.query("up")))
    (series,) = scraper.query(query)
    assert series["metric"]["pod"] in {pod["metadata"]["name"] for pod in tenant.pods(model_version=V1, role="serve")}


@pytest.mark.usefixtures("told")
def test_a_healthy_candidate_is_promoted(world: World, tenant: Tenant) -> None:
    tenant.pair(candidates.healthy(), candidates.healthy())
    tenant.serving(EXAMPLE, analysis=ANALYSIS)
    with world.load(tenant.host, body=candidates.questions()) as load:
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted", seconds=240)
    load.check()
    assert any("refused 0%" in words for words in tenant.events("AnalysisPassed"))


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("candidate", "metric"),
    [(candidates.not_a_number(), "errors"), (candidates.refusing(), "refused")],
    ids=["errors", "a metric of its own"],
)
def test_a_bad_candidate_is_stopped(world: World, tenant: Tenant, candidate: bytes, metric: str) -> None:
    tenant.pair(candidate, candidates.healthy())
    tenant.serving(EXAMPLE, analysis=ANALYSIS)
    with world.load(tenant.host, body=candidates.questions()) as load, Watch(tenant, MODEL, V1, V2) as watch:
        tenant.ask_for(V2)
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped", seconds=240)
        until(load, lambda r: r.share("1") == 100, seconds=15, what="answers of version 1 only")
    print(after["status"]["message"], load.report(), sep="\n")
    # Clients had bad answers from the candidate alone, of the one kind that it gives, while it had its share
    within_its_share(load, watch, share=SHARE)
    report = load.report()
    if metric == "errors":
        assert report.empty["2"]
        load.check()
    else:
        assert report.failures
        assert all("status 422" in str(answer.failure) for answer in report.failures), report
    assert stable(after) == V1
    assert after["status"]["rollout"]["reason"] == "HarmFound"
    assert f"{metric} " in after["status"]["message"]
