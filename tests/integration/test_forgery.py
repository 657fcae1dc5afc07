"""What a person who may edit a namespace cannot make a pod say: the chart's policies on a real API server, with a real
Job controller, an operator at work, and a user with Kubernetes' own role ``edit``.

The namespace only checks signatures, and insists on them: whoever could speak as the pod that checks would have a model
Ready that nobody signed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

import pytest

from slipway.api.common import Label
from slipway.kube.objects import JOBS, MODEL_VERSIONS, PODS, Resource
from tests.support.api_server import POLICIES, POLICY_BINDINGS, Api, Object, Refusal, eventually
from tests.support.builders import PUBLIC_KEY
from tests.support.chart import Chart, render
from tests.support.control_plane import Cluster, make_namespace
from tests.support.kubelet import hangs, signs_well, verifies_well
from tests.support.operator_process import operator
from tests.support.world import Team, World, condition, neighbours, states

NAMESPACE: Final = "forgery"
REPLICA_SETS: Final = Resource("apps", "v1", "replicasets", "ReplicaSet")
NOT_YOURS: Final = "ann may not make the Job {}: the label slipway.dev/role, on a Job or in the template of its pods"
SECURE: Final[Object] = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def chart() -> Chart:
    return render(watchNamespaces=(NAMESPACE,))


@pytest.fixture(scope="module")
def team(cluster: Cluster, chart: Chart) -> Iterator[Team]:
    """An operator, the policies, and a namespace that insists on signatures and makes none."""
    api = cluster.api
    make_namespace(api, NAMESPACE)
    for manifest in chart.of("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        api.apply(manifest)
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
    meta = {"name": "ann", "namespace": NAMESPACE}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta}
    api.apply({**binding, "roleRef": role, "subjects": [subject]})
    with neighbours(cluster) as played, operator(cluster, chart=chart, user="forgery", identity="forgery-0") as run:
        made = Team(World(cluster, run, played), NAMESPACE)
        made.config_map("slipway-store-default")
        made.config_map("slipway-signing", publicKey=PUBLIC_KEY, required="true")
        made.play("sign", hangs)
        yield made
        assert not run.complaints()
    for resource in (POLICY_BINDINGS, POLICIES):
        for manifest in api.list(resource):
            api.delete(resource, None, manifest["metadata"]["name"])


@pytest.fixture(scope="module")
def ann(team: Team) -> Iterator[Api]:
    made = Api(team.world.cluster.plane.user("ann"))

    def enforced() -> bool:
        try:
            made.create(job("probe", labels={Label.ROLE: "sign"}), dry_run=True)
        except Refusal as refusal:
            return NOT_YOURS.format("probe") in refusal.message
        return False

    eventually(enforced, what="the policies being enforced, and ann's rights")
    yield made
    made.close()


@pytest.fixture(scope="module")
def awaited(team: Team) -> Object:
    """The Job of a version's signature, whose pod nobody starts."""
    team.register(number=4)
    return team.until(JOBS, "digits-v4-sign", lambda j: j.get("status", {}).get("active"))


def pod(name: str, **meta: Any) -> Object:
    containers = [{"name": "sign", "image": "forger:1", "securityContext": SECURE}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, **meta},
        "spec": {"restartPolicy": "Never", "containers": containers},
    }


def job(name: str, *, template: Object | None = None, spec: Object | None = None, **meta: Any) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE, **meta},
        "spec": {"template": {"metadata": {"labels": template or {}}, "spec": pod(name)["spec"]}, **(spec or {})},
    }


def owner(live: Object) -> Object:
    return {k: live[k] for k in ("apiVersion", "kind")} | {
        "name": live["metadata"]["name"],
        "uid": live["metadata"]["uid"],
        "controller": True,
    }


def its_pod(team: Team, live: Object) -> Object:
    (found,) = team.all(PODS, f"batch.kubernetes.io/job-name={live['metadata']['name']}")
    return found


def refused(write: Any, words: str) -> None:
    with pytest.raises(Refusal) as caught:
        write()
    assert words in caught.value.message


def test_a_pod_that_looks_as_the_job_controller_would_make_it(team: Team, ann: Api, awaited: Object) -> None:
    ours = its_pod(team, awaited)
    forged = pod("forged", labels=ours["metadata"]["labels"], ownerReferences=[owner(awaited)])
    refused(
        lambda: ann.create(forged), "ann may not make the pod forged: a pod with the label slipway.dev/role is made by"
    )
    # Not by generateName, and not by an administrator either, whose pod nobody controls.
    nameless = copy.deepcopy(forged)
    nameless["metadata"] = {**nameless["metadata"], "generateName": "digits-v4-sign-"}
    del nameless["metadata"]["name"]
    refused(lambda: ann.create(nameless), "ann may not make the pod digits-v4-sign-")
    orphan = pod("orphan", labels=ours["metadata"]["labels"])
    refused(lambda: team.api.create(orphan), "may not make the pod orphan")


def test_the_labels_do_not_come_later(team: Team, ann: Api, awaited: Object) -> None:
    ours = its_pod(team, awaited)
    ann.create(pod("innocent"))
    words = "ann may not change what the pod innocent is"
    later = {"metadata": {"labels": ours["metadata"]["labels"], "ownerReferences": [owner(awaited)]}}
    refused(lambda: ann.merge(PODS, NAMESPACE, "innocent", later), words)
    refused(lambda: ann.merge(PODS, NAMESPACE, "innocent", {"metadata": {"labels": {Label.ROLE: "sign"}}}), words)
    ann.merge(PODS, NAMESPACE, "innocent", {"metadata": {"labels": {"colour": "blue"}}})
    ann.delete(PODS, NAMESPACE, "innocent")


def test_a_pod_of_ours_stays_what_it_is(team: Team, ann: Api, awaited: Object) -> None:
    """Until it runs, Kubernetes lets who may update pods give it another image."""
    name = its_pod(team, awaited)["metadata"]["name"]
    words = f"ann may not change what the pod {name} is"
    image = {"spec": {"containers": [{"name": "sign", "image": "forger:1"}]}}
    path = PODS.path(NAMESPACE, name)
    strategic = "application/strategic-merge-patch+json"
    refused(lambda: ann.call("PATCH", path, image, content_type=strategic), words)
    for labels in ({Label.ROLE: None}, {Label.MODEL_VERSION: "digits-v2"}, {"batch.kubernetes.io/controller-uid": "x"}):
        refused(lambda labels=labels: ann.merge(PODS, NAMESPACE, name, {"metadata": {"labels": labels}}), words)
    ann.merge(PODS, NAMESPACE, name, {"metadata": {"labels": {"colour": "blue"}}})


def test_a_job_of_the_operators_is_nobody_else_s_to_make(team: Team, ann: Api, awaited: Object) -> None:
    version = team.get(MODEL_VERSIONS, "digits-v4")
    assert version is not None
    labels = awaited["metadata"]["labels"]
    owners = [owner(version)]
    forged = job("digits-v40-sign", labels=labels, ownerReferences=owners)
    refused(lambda: ann.create(forged), NOT_YOURS.format("digits-v40-sign"))
    # Nor one whose pods only carry the labels, to be left to our Job when their own is deleted.
    uid = {"batch.kubernetes.io/controller-uid": awaited["metadata"]["uid"]}
    template = {Label.ROLE: "sign", Label.MODEL_VERSION: "digits-v4", **uid}
    spec = {"manualSelector": True, "selector": {"matchLabels": uid}}
    refused(lambda: ann.create(job("adopted", template=template, spec=spec)), NOT_YOURS.format("adopted"))
    # Nor does the label come later, or go.
    ann.create(job("innocent", spec={"suspend": True}))
    words = "ann may not change whose Job innocent is"
    refused(lambda: ann.merge(JOBS, NAMESPACE, "innocent", {"metadata": {"labels": {Label.ROLE: "sign"}}}), words)
    ann.delete(JOBS, NAMESPACE, "innocent")
    words = "ann may not change whose Job digits-v4-sign is"
    for meta in ({"labels": {Label.ROLE: None}}, {"annotations": {"slipway.dev/signing": "x"}}):
        refused(lambda meta=meta: ann.merge(JOBS, NAMESPACE, "digits-v4-sign", {"metadata": meta}), words)
    ann.merge(JOBS, NAMESPACE, "digits-v4-sign", {"metadata": {"labels": {"colour": "blue"}}})


def test_a_job_that_was_there_first_is_not_ours_whomever_it_names(team: Team, ann: Api) -> None:
    team.play("verify", hangs)
    try:
        team.register(number=5)
        version = team.until(MODEL_VERSIONS, "digits-v5")
        ann.create(job("digits-v5-sign", ownerReferences=[owner(version)]))
    finally:
        team.play("verify", verifies_well)
    told = team.until(MODEL_VERSIONS, "digits-v5", reason="NameTaken")
    assert "a Job digits-v5-sign, which exists and is not ours: delete it" in told["status"]["message"]
    assert condition(told, "Ready")["status"] == "False"


def test_a_replica_set_makes_no_pod_that_signs(team: Team, ann: Api) -> None:
    labels = {Label.ROLE: "sign", "app": "forger"}
    spec = pod("x")["spec"] | {"restartPolicy": "Always"}
    template = {"metadata": {"labels": labels}, "spec": spec}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "forger", "namespace": NAMESPACE},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }
    ann.call("POST", REPLICA_SETS.path(NAMESPACE), manifest)

    def failed() -> Object | None:
        live = team.get(REPLICA_SETS, "forger") or {}
        return next((c for c in live.get("status", {}).get("conditions", ()) if c["type"] == "ReplicaFailure"), None)

    told = eventually(failed, what="the ReplicaSet being refused its pod")
    assert "a pod with the label slipway.dev/role is made by a Job or a workload of Slipway only" in told["message"]
    assert not team.all(PODS, "app=forger")
    ann.delete(REPLICA_SETS, NAMESPACE, "forger")


def test_our_own_pods_pass_and_the_garbage_collector_does_its_work(team: Team, ann: Api, awaited: Object) -> None:
    """Training, verification and signature; then a Job that is left behind, whose owner the collector takes away."""
    assert states(team.version_until("Verifying", "digits-v4"))["Signed"] == "Unknown", "of all that was forged"
    team.play("sign", signs_well)
    try:
        team.version_until("Ready", "digits-v4")
        team.run(model="cats")
        team.version_until("Ready", "cats-v1")
        team.dataset()
        team.dataset_until("Ready")
        team.deploy(version="cats-v1", routed=False, replicas=1)
        team.deployment_until("Healthy")
    finally:
        team.play("sign", hangs)
    team.register(number=8)
    team.until(JOBS, "digits-v8-sign", lambda j: j.get("status", {}).get("active"))
    ann.delete(MODEL_VERSIONS, NAMESPACE, "digits-v8", propagation="Orphan")
    team.gone(MODEL_VERSIONS, "digits-v8")
    left = team.until(JOBS, "digits-v8-sign")
    assert not left["metadata"].get("ownerReferences")
