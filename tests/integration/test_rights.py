"""The operator's rights: exactly what it uses, by the API server's own account of what it asked for."""

from __future__ import annotations

import time

import pytest

from slipway.api.common import Label
from slipway.kube.objects import (
    DATASETS,
    DEPLOYMENTS,
    HTTP_ROUTES,
    JOBS,
    MODEL_VERSIONS,
    SERVICES,
    TRAFFIC_POLICIES,
    TRAINING_RUNS,
    WORKLOADS,
)
from tests.integration.test_serving import CANARY, at, canary, promoted, serving
from tests.support.api_server import ROLES, Api, Object, Refusal
from tests.support.chart import RELEASE_NAMESPACE, Chart, render
from tests.support.control_plane import Cluster, Request, control_plane, make_namespace
from tests.support.kubelet import fails
from tests.support.operator_process import operator
from tests.support.world import GATEWAYS_NAMESPACE, Team, World, neighbours, states, world_on

Right = tuple[str, str, str]
"""Group, resource, verb."""

NOT_ASKED_FOR = {
    ("slipway.dev", f"{plural}/finalizers", "update"): "asked within the API server, by an admission plugin"
    for plural in ("datasets", "trainingruns", "modelversions", "deployments")
} | {("slipway.dev", "modelversions", "attest"): "asked within the API server, by the chart's admission policies"}


def granted(chart: Chart) -> set[Right]:
    """What the chart gives to the operator; what it gives to people is for ``view``, ``edit`` and ``admin``."""
    bound = {m["roleRef"]["name"] for m in chart.of("ClusterRoleBinding", "RoleBinding")}
    return {
        (group, resource, verb)
        for role in chart.of("ClusterRole", "Role")
        if role["metadata"]["name"] in bound
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(requests: list[Request]) -> set[Right]:
    """What was asked for. A server-side apply of what is not there is a ``patch`` that needs ``create`` too."""
    made = {(r.group, r.resource, "create") for r in requests if r.verb == "patch" and r.code == 201}
    return {(r.group, r.resource, r.verb) for r in requests} | made


def live_a_life(world: World) -> None:
    """Everything that the operator can come to do: trainings that go well and badly, rollouts, verbs, deletions."""
    data = world.team()
    data.dataset()
    data.run(data=[{"name": "train", "dataset": "digits"}])
    data.run_until("Succeeded")
    data.say("refresh", resource=DATASETS)
    data.dataset_until("Ready", check=lambda d: d["status"]["checked"]["number"] == 2)
    data.gone(JOBS, "digits-dataset")

    training = world.team()
    training.config_map("digits-code")
    training.run(code={"configMap": "digits-code"}, ttlAfterFinished="0s")
    training.run_until("Succeeded")
    training.run("digits-2")
    training.run_until("Succeeded", "digits-2")
    training.gone(JOBS, "digits-1")
    training.run("paused", suspend=True)
    training.run_until("Suspended", "paused")
    training.run("paused", suspend=False)
    training.run_until("Succeeded", "paused")
    training.play("train", fails(64, "NoData", "there is no such bucket"))
    training.run("failed")
    training.run_until("Failed", "failed")
    training.version_until("Ready")

    held = world.team()
    held.quota(memory="64Mi")
    held.run()
    held.run_until("Queued", reason="PodRefused")

    copied = world.team()
    copied.register(promotedFrom={"namespace": training.namespace, "modelVersion": "digits-v1"})
    copied.until(MODEL_VERSIONS, "digits-v1", reason="PromotionRefused")

    team = serving(world)
    team.deploy(version="digits-v2", replicas=2, strategy=CANARY)
    at(team, 10)
    team.say("abort")
    team.gone(WORKLOADS, "digits-digits-v2")
    team.say("retry")
    at(team, 10)
    team.say("promote-full")
    promoted(team, "digits-v2")
    every_strategy(team)
    team.deploy(version="digits-v2", replicas=1, routed=False, strategy=CANARY)  # the route goes, a Service comes
    team.gone(HTTP_ROUTES, "digits")
    team.until(SERVICES, "digits")


def every_strategy(team: Team) -> None:
    """digits-v2 serves: a test by a Job, a preview, a shadow, testers, clients that stay, and evidence that is asked
    for (the played pods have no address that answers, so there is none)."""
    hold = {"autoPromote": False, "previewHostname": "preview.example.com", "prePromotion": {"job": {"image": "t:1"}}}
    team.deploy(version="digits-v1", strategy={"type": "BlueGreen", "blueGreen": {**hold, "scaleDownDelay": "0s"}})
    team.deployment_until("Paused")
    team.until(HTTP_ROUTES, "digits-preview")
    team.gone(JOBS, selector=f"{Label.ROLE}=test")
    team.say("promote-full")
    promoted(team, "digits-v1")
    team.gone(HTTP_ROUTES, "digits-preview")

    steps: list[Object] = [{"headerRoute": {"name": "X-Tester", "value": "anna"}}, {"shadow": {"percent": 50}}]
    parent = {"name": "public", "namespace": GATEWAYS_NAMESPACE}
    hosts = [f"digits.{team.namespace}.example.com"]
    team.deploy(
        version="digits-v2",
        route={"gateway": parent, "hostnames": hosts, "stickiness": {"header": "x-user"}},
        strategy=canary(*steps),
        analysis={"metrics": [{"name": "errors"}]},
    )
    team.until(DEPLOYMENTS, "digits", lambda d: d["status"].get("weights", {}).get("mirror") == 50)
    headless = team.until(SERVICES, "digits-peers")
    assert headless["spec"]["clusterIP"] == "None"
    team.until(TRAFFIC_POLICIES, "digits", lambda p: "requestBuffer" in p["spec"])
    team.say("promote-full")
    promoted(team, "digits-v2")
    team.gone(SERVICES, "digits-peers")
    team.deploy(version="digits-v2", strategy=CANARY)
    team.gone(TRAFFIC_POLICIES, "digits")


@pytest.fixture(scope="module")
def requests(cluster: Cluster) -> list[Request]:
    """All that an operator asked for from its start to its end, with a user of its own."""
    begun = cluster.audit.position()
    with world_on(cluster, user="rights") as world:
        live_a_life(world)
        assert not world.operator.complaints()
        world.operator.stop()
    return cluster.audit.since(begun, user="rights")


def test_nothing_was_asked_for_in_vain(requests: list[Request]) -> None:
    assert requests
    assert not [r for r in requests if r.code == 403]


def test_every_right_is_used(requests: list[Request]) -> None:
    unused = granted(render()) - used(requests) - set(NOT_ASKED_FOR)
    assert not unused, f"the chart grants what the operator was not seen to use: {sorted(unused)}"


def test_every_use_is_granted(requests: list[Request]) -> None:
    """By the chart, and not by what every user may do."""
    missing = used(requests) - granted(render())
    assert not missing, f"the operator uses what the chart does not grant: {sorted(missing)}"


def test_no_right_on_secrets_and_no_star() -> None:
    for right in granted(render()) | granted(render(watchNamespaces=("team",))):
        assert right[1].split("/")[0] != "secrets"
        assert "*" not in "".join(right)


def test_what_the_admission_plugin_asks_for_is_needed(cluster: Cluster) -> None:
    """A cluster may have OwnerReferencesPermissionEnforcement; this one has, and without the right no child is made."""
    chart = render()
    rules = [r for role in chart.of("ClusterRole") for r in role.get("rules", ())]
    rules = [r for r in rules if not any(name.endswith("/finalizers") for name in r["resources"])]
    user = "no-finalizers"
    make_namespace(cluster.api, "no-finalizers")
    meta = {"name": user, "namespace": "no-finalizers"}
    cluster.api.apply({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": rules})
    cluster.api.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
    )
    as_user = Api(cluster.plane.user(user))
    owner = {"apiVersion": "slipway.dev/v1alpha1", "kind": "TrainingRun", "name": "x", "uid": "u"}
    child: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "child",
            "namespace": "no-finalizers",
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {"ports": [{"port": 1}]},
    }
    try:
        with pytest.raises(Refusal, match="cannot set blockOwnerDeletion"):
            as_user.create(child, dry_run=True)
    finally:
        as_user.close()


# ------------------------------------------------------------------------------------------------- namespaces only


def test_with_only_a_role_in_a_namespace(cluster: Cluster) -> None:
    """A namespaced install has no ClusterRole of its own, does its work, and leaves other namespaces alone."""
    chart = render(watchNamespaces=("only-here", "and-here"), gatewayNamespaces=(GATEWAYS_NAMESPACE,))
    assert not chart.of("ClusterRoleBinding")
    for name in ("only-here", "and-here", "not-here"):
        make_namespace(cluster.api, name)
    begun = cluster.audit.position()
    with (
        neighbours(cluster) as played,
        operator(cluster, chart=chart, user="namespaced", identity="namespaced-0") as process,
    ):
        world = World(cluster, process, played)
        here, there, elsewhere = (Team(world, name) for name in ("only-here", "and-here", "not-here"))
        for team in (here, there, elsewhere):
            team.config_map("slipway-store-default")
            team.run()
        here.run_until("Succeeded")
        there.run_until("Succeeded")
        here.version_until("Ready")
        here.deploy(replicas=1, strategy={"type": "Shadow"})
        here.deployment_until("Healthy")
        # What the gateway's class can do is not known here: a shadow is begun, and the route's conditions tell.
        here.ready_version(2)
        here.deploy(version="digits-v2", replicas=1, strategy={"type": "Shadow"})
        here.until(DEPLOYMENTS, "digits", lambda d: d["status"].get("weights", {}).get("mirror") == 100)
        time.sleep(0.5)
        untouched = elsewhere.get(TRAINING_RUNS, "digits-1")
        assert untouched is not None
        assert "status" not in untouched
        assert not process.complaints()
    requests = cluster.audit.since(begun, user="namespaced")
    assert not [r for r in requests if r.code == 403]
    assert {r.namespace for r in requests} == {"only-here", "and-here", GATEWAYS_NAMESPACE, RELEASE_NAMESPACE}
    assert cluster.api.get(ROLES, "not-here", "slipway") is None


def test_a_gateway_that_may_not_be_read_is_judged_by_its_route(cluster: Cluster) -> None:
    """A namespaced install without a right in the Gateway's namespace works too; it only cannot say as much."""
    chart = render(watchNamespaces=("no-gateways",))
    make_namespace(cluster.api, "no-gateways")
    with (
        neighbours(cluster) as played,
        operator(cluster, chart=chart, user="no-gateways", identity="no-gateways-0") as process,
    ):
        team = Team(World(cluster, process, played), "no-gateways")
        team.config_map("slipway-store-default")
        team.ready_version()
        team.deploy(replicas=1)
        live = team.deployment_until("Healthy")
        assert states(live)["Ready"] == "True"


# --------------------------------------------------------------------------------------------- without Gateway API


def test_a_cluster_without_gateway_api() -> None:
    with control_plane(gateway_api=False) as bare, world_on(bare) as world:
        team = world.team()
        team.ready_version()
        team.deploy("plain", routed=False, replicas=1)
        team.deployment_until("Healthy", "plain")
        team.deploy("routed", replicas=1)
        stalled = team.until(DEPLOYMENTS, "routed", reason="GatewayMissing")
        assert "Gateway API is not installed" in stalled["status"]["message"]
        assert not world.operator.complaints()
