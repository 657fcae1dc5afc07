"""Who may say that a version may be used: the chart's admission policies on a real API server, with real users, and the
sentence that each of them reads who is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from localcluster.paths import REPOSITORY
from slipway.cli import client as plugin
from slipway.cli import deciding, reading
from slipway.cli.errors import Stop
from slipway.kube.objects import CONFIG_MAPS, DEPLOYMENTS, MODEL_VERSIONS, TRAINING_RUNS
from tests.support.api_server import NAMESPACES, POLICIES, POLICY_BINDINGS, Api, Object, Refusal, eventually
from tests.support.chart import Chart, render
from tests.support.control_plane import Cluster, make_namespace
from tests.support.operator_process import operator
from tests.support.world import Team, World, condition, neighbours

FREE, STRICT, DEMANDING, ENDING, LATE = "approvals", "four-eyes", "demanding", "ending", "late"
LABELS: Final[dict[str, dict[str, str]]] = {
    FREE: {},
    STRICT: {"slipway.dev/four-eyes": "true"},
    DEMANDING: {"slipway.dev/approval": "required"},
    LATE: {},
}
ROLES: Final = "slipway-slipway-system"
APPROVED: Final = {"required": True, "state": "Approved", "comment": "good on the holdout"}


@pytest.fixture(scope="module")
def chart() -> Chart:
    # By its namespaces, so that the policies leave alone what other files of tests do on this API server.
    return render(watchNamespaces=tuple(LABELS))


@pytest.fixture(scope="module")
def world(cluster: Cluster, chart: Chart) -> Iterator[World]:
    """An operator for the four namespaces, the policies, and two roles of the chart for people."""
    api = cluster.api
    for name, labels in LABELS.items():
        make_namespace(api, name)
        api.merge(NAMESPACES, None, name, {"metadata": {"labels": labels}})
    for manifest in chart.of("ClusterRole", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        api.apply(manifest)
    for user, roles in {"ann": ("edit", "view"), "joe": ("approver",), "kim": ("edit", "view", "approver")}.items():
        for namespace in LABELS:
            for role in roles:
                bind(api, namespace, user, f"{ROLES}-{role}")
    with neighbours(cluster) as played, operator(cluster, chart=chart, user="approvals", identity="approvals-0") as run:
        made = World(cluster, run, played)
        for name in LABELS:
            Team(made, name).config_map("slipway-store-default")
        yield made
        assert not run.complaints()
    for resource in (POLICY_BINDINGS, POLICIES):
        for manifest in api.list(resource):
            api.delete(resource, None, manifest["metadata"]["name"])


def bind(api: Api, namespace: str, user: str, role: str) -> None:
    api.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{user}-{role}", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
    )


@dataclass(frozen=True)
class People:
    """Clients of three users: ann may edit, joe may approve, kim may both."""

    ann: Api
    joe: Api
    kim: Api


@pytest.fixture(scope="module")
def people(world: World) -> Iterator[People]:
    made = People(*(Api(world.cluster.plane.user(name)) for name in ("ann", "joe", "kim")))
    eventually(lambda: _enforced(made.ann), what="the policies being enforced")
    yield made
    for each in (made.ann, made.joe, made.kim):
        each.close()


def version(namespace: str, number: int = 1, *, annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 64]}
    return {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": f"digits-v{number}", "namespace": namespace, "annotations": annotations or {}},
        "spec": {
            "model": "digits",
            "version": number,
            "artifact": {"uri": "s3://models/x.onnx", "digest": "sha256:" + f"{number:064x}", "size": 1},
            "signature": {"inputs": [tensor], "outputs": [tensor]},
            **spec,
        },
    }


def run(namespace: str, *, author: str | None = None, **spec: Any) -> Object:
    annotations = {"slipway.dev/created-by": author} if author else {}
    return {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": "digits-1", "namespace": namespace, "annotations": annotations},
        "spec": {"model": "digits", "entrypoint": "train:main", **spec},
    }


def refused(api: Api, manifest: Object) -> str:
    with pytest.raises(Refusal) as caught:
        api.create(manifest, dry_run=True)
    return caught.value.message


def decide(api: Api, namespace: str, name: str, approval: Object) -> Object:
    return api.merge(MODEL_VERSIONS, namespace, name, {"spec": {"approval": approval}})


def may_not_decide(api: Api, namespace: str, name: str, approval: Object) -> str:
    with pytest.raises(Refusal) as caught:
        decide(api, namespace, name, approval)
    return caught.value.message


def _enforced(api: Api) -> bool:
    try:
        api.create(version(FREE, approval={"state": "Approved", "by": "ann"}), dry_run=True)
    except Refusal:
        return True
    return False


def test_a_version_waits_until_one_who_may_has_agreed(world: World, people: People) -> None:
    ann, joe, team = people.ann, people.joe, Team(world, FREE)
    ann.create(version(FREE, approval={"required": True}, aliases=["champion"]))
    waiting = team.version_until("AwaitingApproval")
    assert condition(waiting, "Ready")["status"] == "False"
    assert "kubectl slipway approve digits-v1" in waiting["status"]["message"]
    assert not waiting["status"].get("heldAliases")

    # Nobody serves it meanwhile.
    team.deploy(routed=False)
    held = team.until(DEPLOYMENTS, "digits", reason="ModelVersionNotReady")
    assert "ModelVersion digits-v1 is not Ready yet" in held["status"]["message"]
    assert "it waits for approval" in held["status"]["message"]

    # Its author has no verb for that, and joe speaks for nobody else.
    words = (
        "ann may not decide about the approval of digits-v1: that takes the verb approve on modelversions.slipway.dev"
    )
    assert words in may_not_decide(ann, FREE, "digits-v1", {**APPROVED, "by": "ann"})
    assert f"(ClusterRole {ROLES}-approver)" in may_not_decide(ann, FREE, "digits-v1", {"required": False})
    words = "spec.approval.by must be the user name of who decides: write joe"
    assert words in may_not_decide(joe, FREE, "digits-v1", {**APPROVED, "by": "ann"})

    decide(joe, FREE, "digits-v1", {**APPROVED, "by": "joe"})
    ready = team.version_until("Ready", check=lambda v: v["status"].get("heldAliases") == ["champion"])
    told = ready["status"]["approval"]
    assert (told["state"], told["by"], told["comment"]) == ("Approved", "joe", "good on the holdout")
    assert condition(ready, "Approved")["status"] == "True"
    eventually(lambda: team.events("digits-v1")[-1][0] == "Approved", what="the Event, which follows the status")
    team.until(DEPLOYMENTS, "digits", lambda d: d["status"].get("stable", {}).get("modelVersion") == "digits-v1")

    # What is not the approval is still its author's.
    ann.merge(MODEL_VERSIONS, FREE, "digits-v1", {"spec": {"aliases": ["fallback"]}})
    assert "may not decide" in may_not_decide(ann, FREE, "digits-v1", {"comment": "very good"})

    decide(joe, FREE, "digits-v1", {"state": "Rejected", "by": "joe", "comment": "it is biased"})
    team.version_until("Rejected")
    team.deploy("other", routed=False)
    held = team.until(DEPLOYMENTS, "other", reason="ModelVersionNotReady")
    assert "ModelVersion digits-v1 may not be used: rejected by joe: it is biased" in held["status"]["message"]
    assert condition(held, "Stalled")["status"] == "True"


def test_nobody_registers_what_is_approved_already_or_was_trained_here(world: World, people: People) -> None:
    ann = people.ann
    approved = {"state": "Approved", "by": "ann"}
    assert "ann may not decide about the approval of digits-v7" in refused(ann, version(FREE, 7, approval=approved))
    forged = refused(ann, version(FREE, 7, annotations={"slipway.dev/lineage": "{}"}))
    assert "is the operator's record of a training: leave it out" in forged
    claimed = refused(ann, version(FREE, 7, trainingRun="digits-1"))
    assert "spec.trainingRun says that a TrainingRun made this version, which is the operator's to say" in claimed
    other = refused(ann, version(FREE, 7, annotations={"slipway.dev/created-by": "joe"}))
    assert "the annotation slipway.dev/created-by says who made digits-v7 and cannot be changed: write ann" in other
    # An administrator who restores a backup says what it says.
    restored = {"slipway.dev/created-by": "ann", "slipway.dev/lineage": "{}"}
    world.api.create(version(FREE, 7, trainingRun="digits-1", annotations=restored), dry_run=True)


def test_four_eyes(world: World, people: People) -> None:
    ann, joe, kim, team = people.ann, people.joe, people.kim, Team(world, STRICT)
    required = {"required": True}
    words = "the namespace four-eyes asks for four eyes: write the annotation slipway.dev/created-by: kim"
    assert words in refused(kim, run(STRICT, approval=required))
    assert "write kim" in refused(kim, run(STRICT, author="ann", approval=required))
    words = "every version of the namespace four-eyes waits for approval: write spec.approval.required: true"
    assert words in refused(kim, run(STRICT, author="kim"))
    assert "write the annotation slipway.dev/created-by: ann" in refused(ann, version(STRICT, 9, approval=required))

    kim.create(run(STRICT, author="kim", approval=required))
    with pytest.raises(Refusal, match="cannot be changed: leave it as it is"):
        kim.merge(TRAINING_RUNS, STRICT, "digits-1", {"metadata": {"annotations": {"slipway.dev/created-by": "ann"}}})
    made = team.version_until("AwaitingApproval")
    assert made["metadata"]["annotations"]["slipway.dev/created-by"] == "kim"
    assert made["status"]["lineage"]["trainingRun"]["createdBy"] == "kim"

    # Kim may approve, but not what she made; and she does not get round it.
    words = "kim made digits-v1 and may not approve it: the namespace four-eyes asks for four eyes"
    assert words in may_not_decide(kim, STRICT, "digits-v1", {**APPROVED, "by": "kim"})
    assert "write spec.approval.required: true" in may_not_decide(joe, STRICT, "digits-v1", {"required": False})
    with pytest.raises(Refusal, match="cannot be changed: leave it as it is"):
        kim.merge(MODEL_VERSIONS, STRICT, "digits-v1", {"metadata": {"annotations": {"slipway.dev/created-by": None}}})
    decide(kim, STRICT, "digits-v1", {"state": "Rejected", "by": "kim", "comment": "a mistake"})
    decide(joe, STRICT, "digits-v1", {**APPROVED, "by": "joe"})
    team.version_until("Ready")


def test_a_version_of_which_nobody_knows_who_made_it(world: World, people: People) -> None:
    world.api.create(version(STRICT, 8, approval={"required": True}))
    words = "digits-v8 does not say who made it (annotation slipway.dev/created-by)"
    assert words in may_not_decide(people.joe, STRICT, "digits-v8", {**APPROVED, "by": "joe"})


PROMOTED: Final = {"namespace": "dev", "modelVersion": "digits-v20"}


def lineage(number: int, *, trainer: str | None = None, steps: tuple[str | None, ...] = (None,)) -> Object:
    """What the operator takes over of the original.

    Args:
        trainer: who applied the run; None where it did not say.
        steps: who made each version on the way, the original first.
    """
    made = version(STRICT, number)["spec"]["artifact"]
    at = "2026-01-01T00:00:00Z"
    run = {"name": "digits-1", "uid": "u", "attempts": 1, **({"createdBy": trainer} if trainer else {})}
    way = [
        {"namespace": f"n{i}", "modelVersion": f"digits-v{number}", "at": at, **({"createdBy": who} if who else {})}
        for i, who in enumerate(steps)
    ]
    return {"origin": "Promoted", "trainingRun": run, "promotions": way, "artifact": made}


def test_who_made_the_original_does_not_approve_a_copy(world: World, people: People) -> None:
    """Joe trained it elsewhere, ann promotes it: the copy's annotation names her, and its lineage him. (This operator
    looks at no other namespace, so what it would have taken over is written for it.)"""
    ann, joe, kim, team = people.ann, people.joe, people.kim, Team(world, STRICT)

    def promoted(number: int) -> str:
        name = f"digits-v{number}"
        author = {"slipway.dev/created-by": "ann"}
        ann.create(version(STRICT, number, annotations=author, promotedFrom=PROMOTED, approval={"required": True}))
        # Nobody approves what is not known yet: afterwards nobody would be asked any more.
        team.until(MODEL_VERSIONS, name, reason="PromotionRefused")
        words = f"{name} is a copy, and nobody can tell yet who made what it is a copy of"
        assert words in may_not_decide(joe, STRICT, name, {**APPROVED, "by": "joe"})
        return name

    def taken_over(name: str, said: Object) -> None:
        world.api.merge(MODEL_VERSIONS, STRICT, name, {"status": {"lineage": said}}, subresource="status")

    words = (
        "joe made what {} is a copy of, by its lineage, and may not approve it: the namespace four-eyes asks for four"
    )
    for number, said in {
        20: lineage(20, trainer="joe", steps=("joe",)),
        21: lineage(21, trainer="joe"),
        22: lineage(22, trainer="zoe", steps=("zoe", "joe")),
    }.items():
        name = promoted(number)
        taken_over(name, said)
        assert words.format(name) in may_not_decide(joe, STRICT, name, {**APPROVED, "by": "joe"})
        decide(kim, STRICT, name, {**APPROVED, "by": "kim"})

    name = promoted(23)
    taken_over(name, lineage(23, steps=(None, "zoe")))
    words = f"the lineage of {name} does not say who made what it is a copy of"
    assert words in may_not_decide(kim, STRICT, name, {**APPROVED, "by": "kim"})
    # Rejecting is everybody's who may decide.
    decide(joe, STRICT, name, {"state": "Rejected", "by": "joe"})


def test_a_copy_is_not_born_approved(world: World) -> None:
    author = {"slipway.dev/created-by": "kim"}
    # Not even by an administrator: at its creation no version has a lineage.
    approved = {**APPROVED, "by": "slipway-admin"}
    copy = version(STRICT, 24, annotations=author, promotedFrom=PROMOTED, approval=approved)
    assert "nobody can tell yet who made what it is a copy of" in refused(world.api, copy)


def test_a_namespace_in_which_every_version_waits(world: World, people: People) -> None:
    ann, team = people.ann, Team(world, DEMANDING)
    words = "every version of the namespace demanding waits for approval: write spec.approval.required: true"
    assert words in refused(ann, run(DEMANDING))
    assert words in refused(ann, version(DEMANDING, 2))
    ann.create(run(DEMANDING, approval={"required": True}))
    team.version_until("AwaitingApproval")


def test_a_namespace_that_begins_to_ask_while_a_run_is_on_its_way(world: World, people: People) -> None:
    ann, team = people.ann, Team(world, LATE)
    ann.create(run(LATE, suspend=True))
    team.run_until("Suspended")
    world.api.merge(NAMESPACES, None, LATE, {"metadata": {"labels": {"slipway.dev/approval": "required"}}})
    eventually(lambda: _demanded(ann), what="the label being seen by the API server")
    ann.merge(TRAINING_RUNS, LATE, "digits-1", {"spec": {"suspend": False}})
    assert team.version_until("AwaitingApproval")["spec"]["approval"] == {"required": True, "state": "Pending"}
    said = team.run_until("Succeeded")["status"]["message"]
    assert said.endswith("; it waits for approval, which the namespace asks for")


def _demanded(api: Api) -> bool:
    try:
        api.create(version(LATE, 9), dry_run=True)
    except Refusal:
        return True
    return False


def test_whose_signature_counts_is_said_by_who_may_approve(world: World, people: People) -> None:
    api, meta = world.api, {"name": "slipway-signing", "namespace": FREE}
    for user in ("ann", "kim"):
        bind(api, FREE, user, "edit")  # Kubernetes' own, with every right on ConfigMaps
    named = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"publicKey": "PEM"}}
    words = "may not decide whose signature counts (ConfigMap slipway-signing)"

    def settled() -> bool:
        # Rights, too, are known a moment after they are given.
        try:
            people.kim.create(named, dry_run=True)
        except Refusal:
            return False
        try:
            people.ann.create(named, dry_run=True)
        except Refusal as refusal:
            return f"ann {words}" in refusal.message
        return False

    eventually(settled, what="kim may, ann may not")
    people.kim.create(named)
    with pytest.raises(Refusal, match=re.escape(words)):
        people.ann.merge(CONFIG_MAPS, FREE, "slipway-signing", {"data": {"publicKey": "another"}})
    with pytest.raises(Refusal, match=re.escape(words)):
        people.ann.delete(CONFIG_MAPS, FREE, "slipway-signing")
    with pytest.raises(Refusal, match="may not decide whose signature counts"):
        # Who deletes a collection names no object.
        people.ann.call("DELETE", f"{CONFIG_MAPS.path(FREE)}?fieldSelector=metadata.name%3Dslipway-signing")
    people.ann.create({**named, "metadata": {**meta, "name": "another"}})
    people.kim.delete(CONFIG_MAPS, FREE, "slipway-signing")


def test_a_namespace_that_is_signed_in_can_be_deleted(world: World, people: People, chart: Chart) -> None:
    """Who empties a namespace is the controller-manager, and has no verb of ours."""
    api = world.api
    make_namespace(api, ENDING)
    bind(api, ENDING, "ann", "edit")
    (held,) = [b for b in chart.of("ValidatingAdmissionPolicyBinding") if b["metadata"]["name"].endswith("-signing")]
    only = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [ENDING]}
    here = {**held["spec"], "matchResources": {"namespaceSelector": {"matchExpressions": [only]}}}
    api.apply({**held, "metadata": {"name": ENDING}, "spec": here})
    meta = {"name": "slipway-signing", "namespace": ENDING}
    named = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"publicKey": "PEM"}}

    def held_here() -> bool:
        try:
            people.ann.create(named, dry_run=True)
        except Refusal as refusal:
            return "may not decide whose signature counts" in refusal.message
        return False

    eventually(held_here, what="the policy being enforced there")
    api.create(named)
    api.delete(NAMESPACES, None, ENDING)
    eventually(lambda: api.get(NAMESPACES, None, ENDING) is None, seconds=60, what="the namespace being gone")


def test_the_policies_are_optional_and_keep_to_their_namespaces() -> None:
    assert not render(**{"approvals.policy": False}).of("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    everywhere = render().of("ValidatingAdmissionPolicyBinding")
    assert [b["spec"].get("matchResources") for b in everywhere] == [None] * 5
    somewhere = render(watchNamespaces=("a", "b")).of("ValidatingAdmissionPolicyBinding")
    for binding in somewhere:
        (only,) = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert only == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"]}


def test_the_plugin_decides_in_the_callers_name(world: World, people: People) -> None:
    """``kubectl slipway approve`` finds out who asks; a refusal is the policy's own sentence and nothing around it."""
    people.ann.create(version(FREE, 40, approval={"required": True}))

    def slipway(user: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "slipway.cli", *words, "--namespace", FREE]
        command += ["--kubeconfig", str(world.cluster.plane.user(user))]
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "operator")}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    refusal = slipway("ann", "approve", "digits-v40")
    assert refusal.returncode == 1
    assert refusal.stderr.startswith("kubectl slipway: ")
    assert "ValidatingAdmissionPolicy" not in refusal.stderr
    assert refusal.stderr.count("\n") == 1
    digest = "sha256:" + f"{40:064x}"
    other = slipway("kim", "approve", "digits-v40", "--digest", digest.replace("8", "9"))
    assert f"digits-v40 is the file {digest}, and not " in other.stderr
    approved = slipway("kim", "approve", "digits-v40", "--comment", "seen", "--digest", digest)
    assert approved.stdout == "digits-v40: Approved by kim\n"
    written = world.cluster.api.get(MODEL_VERSIONS, FREE, "digits-v40")
    assert written is not None
    assert written["spec"]["approval"] == {"required": True, "state": "Approved", "by": "kim", "comment": "seen"}
    assert slipway("kim", "reject", "digits-v40", "--comment", "no").stdout == "digits-v40: Rejected by kim\n"


def test_what_took_the_name_meanwhile_is_not_approved(world: World, people: People) -> None:
    """The API server's own guards: the name is that of another object by the time of the write."""
    people.ann.create(version(FREE, 41))
    kim = plugin.Cluster(str(world.cluster.plane.user("kim")), None)
    looked_at = reading.version(kim, FREE, "digits-v41")
    world.cluster.api.delete(MODEL_VERSIONS, FREE, "digits-v41")
    people.ann.create(version(FREE, 41, approval={"required": True}))
    approval = {"state": "Approved", "by": "kim"}
    with pytest.raises(Stop, match="digits-v41 was deleted and registered anew"):
        deciding._change(kim, looked_at, lambda _: {"approval": approval})
    found = world.cluster.api.get(MODEL_VERSIONS, FREE, "digits-v41")
    assert found is not None
    assert found["spec"]["approval"] == {"required": True, "state": "Pending"}
