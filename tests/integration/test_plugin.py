"""``kubectl slipway`` on a real API server, with the rights of a person who has one namespace and no more."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localcluster import plugin
from slipway.api.common import ACTION_ANNOTATION
from slipway.kube.objects import DEPLOYMENTS, MODEL_VERSIONS
from tests.support import registry_scene as scene
from tests.support.api_server import NAMESPACES, Api
from tests.support.control_plane import Cluster, make_namespace

TEAM, STRANGERS = "plugin-team", "plugin-strangers"
Plugin = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def registry(api: Api) -> Iterator[None]:
    """Two namespaces with a model each."""
    for namespace in (TEAM, STRANGERS):
        make_namespace(api, namespace)
    scene.write(
        api,
        scene.version(namespace=TEAM),
        scene.version(number=2, namespace=TEAM, aliases=["champion"]),
        scene.version(number=3, namespace=TEAM, parent="digits-v2", data={"train": "other data"}),
        scene.version("fraud", namespace=STRANGERS, data={"train": "digits data"}),
        scene.run(namespace=TEAM, modelVersion="digits-v1"),
        scene.deployment(candidate="digits-v2", weight=10, namespace=TEAM),
    )
    yield
    for namespace in (TEAM, STRANGERS):
        api.delete(NAMESPACES, None, namespace)


def kubeconfig(cluster: Cluster, path: Path, verbs: dict[str, list[str]]) -> Path:
    """A kubeconfig of a ServiceAccount that may do this in its namespace: resource -> verbs."""
    name = path.stem
    about = {"name": name, "namespace": TEAM}
    cluster.api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about})
    rbac = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": ["slipway.dev", ""], "resources": [r], "verbs": v} for r, v in verbs.items()]
    cluster.api.apply({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": about, "rules": rules})
    cluster.api.apply(
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": about,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": TEAM}],
        }
    )
    token = cluster.api.call(
        "POST",
        f"/api/v1/namespaces/{TEAM}/serviceaccounts/{name}/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}},
    )
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"] = [{"name": "user", "user": {"token": token["status"]["token"]}}]
    config["contexts"] = [
        {"name": "here", "context": {"cluster": config["clusters"][0]["name"], "user": "user", "namespace": TEAM}}
    ]
    config["current-context"] = "here"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make env`` puts on the PATH."""
    made = plugin.ensure(tmp_path_factory.mktemp("bin"))
    assert made is not None
    return made


@pytest.fixture
def slipway(cluster: Cluster, registry: None, programs: Path, tmp_path: Path) -> Plugin:
    """``kubectl slipway`` as somebody who may read everything of Slipway in one namespace, and patch Deployments."""
    reads = ["get", "list", "watch"]
    rights = {"modelversions": reads, "trainingruns": reads, "deployments": [*reads, "patch"], "pods": reads}
    config = kubeconfig(cluster, tmp_path / "anna.json", rights)

    def run(*words: str, config: Path = config) -> subprocess.CompletedProcess[str]:
        path = f"{programs}:{cluster.kubectl.parent}:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "KUBECONFIG": str(config), "HOME": str(tmp_path)}
        return subprocess.run(["kubectl", *words], env=env, capture_output=True, text=True, check=False)

    return run


def test_kubectl_finds_it_and_the_context_says_where(slipway: Plugin) -> None:
    done = slipway("slipway", "models")
    assert (done.returncode, done.stderr) == (0, "")
    head, line = done.stdout.splitlines()
    assert head.split() == ["MODEL", "VERSIONS", "NEWEST", "PHASE", "ALIASES", "SERVED", "BY", "AGE"]
    assert line.startswith("digits  3         digits-v3  Ready  champion: v2  digits: v1 90%, v2 10%")
    assert "\x1b" not in done.stdout


def test_the_other_views(slipway: Plugin) -> None:
    assert "accuracy 0.92" in slipway("slipway", "versions", "digits").stdout
    assert "digits-1  Succeeded" in slipway("slipway", "runs").stdout
    shown = slipway("slipway", "rollout", "get", "digits").stdout
    assert "Traffic    digits-v1   90%" in shown
    assert "● 2 pause 10m" in shown


def test_the_way_back_is_selected_by_the_api_server(slipway: Plugin) -> None:
    """What `tests/unit/cli` shows on a fake, with the selectors that a real server understands."""
    data = scene.digest("digits data")
    told = slipway("slipway", "lineage", "--data", data).stdout.splitlines()
    assert told[0] == "3 versions of 1 model depend on it; 1 Deployment runs one of them: digits"
    assert [line.split("  ")[0].split()[-1] for line in told if "went into" in line] == ["digits-v2", "digits-v1"]
    assert any("parent of digits-v3" in line for line in told)
    assert "no version depends on it" in slipway("slipway", "lineage", "--commit", "0" * 40).stdout
    graph = json.loads(slipway("slipway", "lineage", "digits@champion", "-o", "json").stdout)
    assert {n["name"] for n in graph["nodes"] if n["kind"] == "Data"} == {data}


def test_an_answer_that_needs_more_rights_says_so(slipway: Plugin) -> None:
    """Anna may not read ConfigMaps: whether the code is still the same is unknown, and the rest is told."""
    done = slipway("slipway", "reproducible", "digits-v1")
    assert done.returncode == 0
    assert done.stdout.startswith("unknown  digits-v1: whether the ConfigMap digits-code is still the same")
    assert "yes      image" in done.stdout


def test_a_promotion_is_taken_by_the_api_server(slipway: Plugin, cluster: Cluster, api: Api) -> None:
    """Whether the namespaces allow it is the operator's business, and none runs here; Anna may not write there."""
    words = ("slipway", "promote", "digits-v1", "--to", STRANGERS, "--timeout", "0")
    assert "may not create modelversions in the namespace plugin-strangers" in slipway(*words).stderr
    done = slipway(*words, "--namespace", TEAM, config=cluster.kubeconfig)
    assert "digits-v1 stands in plugin-strangers, and waits: the operator has not looked at it yet" in done.stderr
    copy = api.get(MODEL_VERSIONS, STRANGERS, "digits-v1")
    assert copy is not None
    assert copy["spec"]["promotedFrom"] == {"namespace": TEAM, "modelVersion": "digits-v1"}


def test_what_is_not_allowed_is_a_sentence(slipway: Plugin) -> None:
    anna = f"system:serviceaccount:{TEAM}:anna"
    elsewhere = slipway("slipway", "models", "-n", STRANGERS)
    assert (elsewhere.returncode, elsewhere.stdout) == (1, "")
    assert elsewhere.stderr == (
        f"kubectl slipway: {anna} may not list modelversions in the namespace {STRANGERS}: "
        "ask for the right, or name another namespace with -n\n"
    )
    everywhere = slipway("slipway", "models", "-A")
    assert f"{anna} may not list modelversions in all namespaces: name one with -n, without -A" in everywhere.stderr


def test_less_right_shows_less(slipway: Plugin, cluster: Cluster, tmp_path: Path) -> None:
    bert = kubeconfig(cluster, tmp_path / "bert.json", {"modelversions": ["list"]})
    done = slipway("slipway", "models", config=bert)
    assert done.returncode == 0
    assert "champion: v2" in done.stdout
    assert "SERVED BY" not in done.stdout
    assert "what serves is not shown" in done.stderr
    refused = slipway("slipway", "rollout", "promote", "digits", config=bert)
    assert refused.returncode == 1
    assert "bert may not get deployments" in refused.stderr


def test_a_verb_is_an_annotation_by_its_name(slipway: Plugin, api: Api) -> None:
    """Nobody answers here: no operator runs."""
    done = slipway("slipway", "rollout", "pause", "digits", "--timeout", "0.5")
    assert done.returncode == 1
    assert "the operator has not answered within 0.5 s" in done.stderr
    written = api.get(DEPLOYMENTS, TEAM, "digits")
    assert written is not None
    assert written["metadata"]["annotations"][ACTION_ANNOTATION] == "pause"
    # The operator tells by this who asked.
    assert "kubectl-slipway" in {entry["manager"] for entry in written["metadata"]["managedFields"]}


def test_no_server_no_kubeconfig_no_context(slipway: Plugin, tmp_path: Path) -> None:
    config = json.loads((tmp_path / "anna.json").read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    nobody = tmp_path / "nobody.json"
    nobody.write_text(json.dumps(config))
    for words, said in (
        (("--kubeconfig", str(nobody)), "no API server answers at https://127.0.0.1:1: Connection refused"),
        (("--kubeconfig", "/nowhere"), "there is no kubeconfig at /nowhere"),
        (("--context", "other"), "has no context other: write one of here"),
    ):
        done = slipway("slipway", "models", *words)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_kubectl_completes_commands_and_names(slipway: Plugin) -> None:
    def completed(*words: str) -> list[str]:
        lines = slipway("__complete", "slipway", *words).stdout.splitlines()
        return [line.split("\t")[0] for line in lines if not line.startswith(":")]

    assert {"models", "rollout", "logs"} <= set(completed(""))
    assert "promote-full" in completed("rollout", "pro")
    assert completed("rollout", "get", "") == ["digits"]
    assert completed("versions", "d") == ["digits"]
    assert "--watch" in completed("rollout", "get", "digits", "--w")
