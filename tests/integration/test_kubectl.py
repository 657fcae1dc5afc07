"""What a person sees and types: names, columns, scale, the refusals, and the examples as they lie in ``examples/``."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.paths import REPOSITORY
from slipway.crdgen import KINDS
from slipway.kube.objects import DATASETS, DEPLOYMENTS, MODEL_VERSIONS, TRAINING_RUNS, Resource
from tests.integration.test_schema import dataset, deployment, model_version, training_run
from tests.support.api_server import Api, Object, Refusal
from tests.support.control_plane import Cluster

OURS = {
    "Dataset": DATASETS,
    "TrainingRun": TRAINING_RUNS,
    "ModelVersion": MODEL_VERSIONS,
    "Deployment": DEPLOYMENTS,
}


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str, tmp_path: Path) -> Any:
    """Runs kubectl in the test's namespace; returns what it did."""

    def run(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [cluster.kubectl, "--kubeconfig", cluster.kubeconfig, "--namespace", namespace, *words],
            # Its cache of discovery would otherwise be the user's own.
            env={**os.environ, "KUBECACHEDIR": str(tmp_path), "HOME": str(tmp_path)},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def objects(api: Api, namespace: str) -> dict[str, Object]:
    """One of each kind, and a Deployment of ``apps`` beside ours."""
    made = {}
    for manifest in (dataset(), training_run(), model_version(), deployment()):
        manifest["metadata"]["namespace"] = namespace
        made[manifest["kind"]] = api.create(manifest)
    labels = {"app": "web"}
    container = {
        "name": "web",
        "image": "registry.example/web:1",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    api.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
    )
    return made


@pytest.mark.parametrize("word", ["deployment", "deployments", "deploy", "deployment/web"])
def test_deployment_still_means_the_one_of_apps(kubectl: Any, objects: dict[str, Object], word: str) -> None:
    assert kubectl("get", word, "-o", "name").stdout == "deployment.apps/web\n"


@pytest.mark.parametrize("word", ["mdeploy", "deployments.slipway.dev", "deployment.slipway.dev", "mdeploy/digits"])
def test_ours_have_a_name_of_their_own(kubectl: Any, objects: dict[str, Object], word: str) -> None:
    assert kubectl("get", word, "-o", "name").stdout == "deployment.slipway.dev/digits\n"


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("dset", "dataset.slipway.dev/digits"),
        ("trun", "trainingrun.slipway.dev/digits-1"),
        ("mver", "modelversion.slipway.dev/digits-v3"),
    ],
)
def test_short_names(kubectl: Any, objects: dict[str, Object], word: str, name: str) -> None:
    assert kubectl("get", word, "-o", "name").stdout == f"{name}\n"


def test_the_category_shows_all_kinds(kubectl: Any, objects: dict[str, Object]) -> None:
    assert sorted(kubectl("get", "slipway", "-o", "name").stdout.split()) == [
        "dataset.slipway.dev/digits",
        "deployment.slipway.dev/digits",
        "modelversion.slipway.dev/digits-v3",
        "trainingrun.slipway.dev/digits-1",
    ]


STATUS: dict[str, Object] = {
    "Dataset": {
        "phase": "Ready",
        "digest": "sha256:" + "a" * 64,
        "files": 2,
        "rows": 1797,
        "checked": {"number": 1, "generation": 1, "at": "2026-01-01T00:00:00Z", "passed": True, "rules": 3, "read": 2},
        "message": "version sha256:aaaaaaaaaaaa",
    },
    "TrainingRun": {
        "phase": "Running",
        "progress": {"percent": 40, "step": 8, "of": 20},
        "modelVersion": "digits-v3",
        "attempts": 1,
        "reproduction": {"modelVersion": "digits-v2", "uid": "u", "verdict": "Identical"},
        "message": "step 8 of 20",
    },
    "ModelVersion": {
        "phase": "Ready",
        "heldAliases": ["champion"],
        "evidence": {
            "key": "sha256:" + "b" * 64,
            "signature": {"uri": "s3://models/digits/model.sig", "digest": "sha256:" + "c" * 64},
            "verifiedAt": "2026-01-01T00:00:00Z",
        },
        "message": "verified",
    },
    "Deployment": {
        "phase": "Progressing",
        "message": "digits-v4 at 10%",
        "stable": {"modelVersion": "digits-v3", "workload": "w", "service": "s", "replicas": 2, "readyReplicas": 2},
        "candidate": {"modelVersion": "digits-v4", "workload": "w4", "service": "s4"},
        "candidateRole": "candidate",
        "weights": {"stable": 90, "candidate": 10},
        "replicas": 3,
        "selector": "slipway.dev/deployment=digits",
    },
}
SHOWN: dict[str, dict[str, object]] = {
    "Dataset": {
        "Phase": "Ready",
        "Format": "Csv",
        "Files": 2,
        "Rows": 1797,
        "Version": "sha256:" + "a" * 64,
        "URI": "s3://data/digits/",
        "Message": "version sha256:aaaaaaaaaaaa",
    },
    "TrainingRun": {
        "Phase": "Running",
        "Model": "digits",
        "Progress": 40,
        "Version": "digits-v3",
        "Attempts": 1,
        "Reproduces": None,
        "Verdict": "Identical",
        "Message": "step 8 of 20",
    },
    "ModelVersion": {
        "Phase": "Ready",
        "Model": "digits",
        "Version": 3,
        "Aliases": '["champion"]',
        "Run": "digits-1",
        "Digest": "sha256:" + "a" * 64,
        "Signer": "sha256:" + "b" * 64,
        "From": None,  # no copy of another namespace's
        "Message": "verified",
    },
    "Deployment": {
        "Phase": "Progressing",
        "Stable": "digits-v3",
        "Candidate": "digits-v4",
        "Weight": 10,
        "Ready": 2,
        "Role": "candidate",
        "Message": "digits-v4 at 10%",
    },
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_columns(api: Api, objects: dict[str, Object], namespace: str, kind: Any) -> None:
    resource = OURS[kind.kind]
    name = objects[kind.kind]["metadata"]["name"]
    api.merge(resource, namespace, name, {"status": STATUS[kind.kind]}, subresource="status")
    table = api.table(resource, namespace)
    heads = [c["name"] for c in table["columnDefinitions"]]
    shown = dict(zip(heads, table["rows"][0]["cells"], strict=True))
    assert heads == ["Name", *(c.name for c in kind.columns)]
    assert {k: v for k, v in shown.items() if k not in ("Name", "Age", "Checked")} == SHOWN[kind.kind]
    usual = {c["name"] for c in table["columnDefinitions"] if c["priority"] == 0}
    assert len(usual) <= 8, "a terminal of 120 columns shows no more at a glance"


def test_a_status_that_a_user_writes_into_the_manifest_is_dropped(api: Api, namespace: str) -> None:
    manifest = training_run()
    manifest["metadata"]["namespace"] = namespace
    manifest["status"] = {"phase": "Succeeded"}
    assert "status" not in api.create(manifest)


@pytest.mark.parametrize("kind", OURS)
def test_a_phase_that_does_not_exist_is_refused_to_the_operator_too(
    api: Api, objects: dict[str, Object], namespace: str, kind: str
) -> None:
    with pytest.raises(Refusal, match="Unsupported value"):
        api.merge(
            OURS[kind],
            namespace,
            objects[kind]["metadata"]["name"],
            {"status": {"phase": "Fine"}},
            subresource="status",
        )


def test_kubectl_scale(kubectl: Any, api: Api, objects: dict[str, Object], namespace: str) -> None:
    done = kubectl("scale", "mdeploy/digits", "--replicas=7")
    assert done.returncode == 0, done.stderr
    live = api.get(DEPLOYMENTS, namespace, "digits")
    assert live is not None
    assert live["spec"]["replicas"] == 7


def test_kubectl_wait_reads_our_conditions(kubectl: Any, api: Api, objects: dict[str, Object], namespace: str) -> None:
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    api.merge(MODEL_VERSIONS, namespace, "digits-v3", {"status": {"conditions": [ready]}}, subresource="status")
    assert kubectl("wait", "mver/digits-v3", "--for=condition=Ready", "--timeout=5s").returncode == 0


def test_a_refusal_as_a_person_reads_it(kubectl: Any) -> None:
    manifest = training_run()
    del manifest["metadata"]["namespace"]
    manifest["spec"] |= {"model": "Digits", "activeDeadline": "0s"}
    done = kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))
    assert done.returncode == 1
    assert 'spec.model: Invalid value: "Digits": write a model\'s name' in done.stderr
    assert 'spec.activeDeadline: Invalid value: "0s": write a duration longer than zero' in done.stderr
    assert "self.matches" not in done.stderr
    assert "should match" not in done.stderr


@pytest.mark.parametrize("word", ["trun.spec.gate", "mver.spec.artifact", "deployments.spec.strategy.canary"])
def test_kubectl_explain(kubectl: Any, word: str) -> None:
    done = kubectl("explain", word, "--api-version=slipway.dev/v1alpha1")
    assert done.returncode == 0, done.stderr
    assert "DESCRIPTION" in done.stdout
    assert "<empty>" not in done.stdout


# --------------------------------------------------------------------------------------------------------- examples


def _examples() -> dict[str, list[Object]]:
    found = {}
    for path in sorted((REPOSITORY / "examples").rglob("*.yaml")):
        objects = [o for o in yaml.safe_load_all(path.read_text()) if isinstance(o, dict) and "apiVersion" in o]
        if objects:
            found[str(path.relative_to(REPOSITORY))] = objects
    return found


EXAMPLES = _examples()


@pytest.mark.parametrize("path", EXAMPLES)
def test_the_examples_are_accepted(api: Api, namespace: str, path: str) -> None:
    """As they lie there, but in a namespace that exists. Envoy Gateway's own kinds are not installed here."""
    for manifest in EXAMPLES[path]:
        if manifest["apiVersion"].startswith("gateway.envoyproxy.io"):
            continue
        place = {} if manifest["kind"] in ("Namespace", "GatewayClass") else {"namespace": namespace}
        plural = {"GatewayClass": "gatewayclasses"}.get(manifest["kind"], f"{manifest['kind'].lower()}s")
        group, _, version = manifest["apiVersion"].rpartition("/")
        resource = Resource(group, version, plural, manifest["kind"], namespaced=bool(place))
        wanted = {**manifest, "metadata": {**manifest["metadata"], **place}}
        path_ = resource.path(place.get("namespace"), wanted["metadata"]["name"])
        query = {"fieldManager": "kubectl", "force": "true", "fieldValidation": "Strict", "dryRun": "All"}
        made = api.call("PATCH", path_, wanted, content_type="application/apply-patch+yaml", **query)
        assert made["kind"] == manifest["kind"]


def test_there_are_examples() -> None:
    kinds = {m["kind"] for manifests in EXAMPLES.values() for m in manifests}
    assert {"TrainingRun", "Deployment"} <= kinds
