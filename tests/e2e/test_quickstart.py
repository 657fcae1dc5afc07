"""The quickstart: what ``make demo`` shows comes out, and what it leaves behind is what was promised."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

import numpy as np
import onnxruntime

from slipway.kube.objects import DEPLOYMENTS, EVENTS, HTTP_ROUTES, JOBS, MODEL_VERSIONS, PODS, TRAINING_RUNS
from tests.support.api_server import NAMESPACES
from tests.support.e2e import QUESTION, Tenant, World, condition
from tests.support.e2e import QUICKSTART as NAMESPACE


def test_the_demo_ends_with_what_it_promises(said: str) -> None:
    # every command is shown, and those that change something are a user's own
    commands = re.findall(r"^\$ (.*)$", said, re.MULTILINE)
    assert [c for c in commands if c.startswith("kubectl apply -f examples/quickstart/run-")]
    assert all(c.startswith(("kubectl ", "curl ", "python examples/quickstart/", "diff ")) for c in commands), commands
    # both accuracies, the second is better
    first, second = map(float, re.search(r"accuracy +digits-v1: (\S+) +digits-v2: (\S+)", said).groups())  # type: ignore[union-attr]
    assert 0.5 <= first < second
    assert second >= 0.95
    # the shares at 10, 50 and 100 percent
    rows = re.findall(r"^ *(\d+)% +[\d,]+ +[\d,]+ \(([\d.]+)%\) +[\d,]+ \(([\d.]+)%\) +(\d+)$", said, re.MULTILINE)
    assert [row[0] for row in rows] == ["10", "50", "100"]
    assert all(abs(float(new) - int(step)) <= 8 for step, _, new, _ in rows), rows
    assert all(failed == "0" for *_, failed in rows)
    assert re.search(r"[\d,]+ asked, 0 failed requests", said)


def test_the_question_that_it_offers_works(world: World, said: str) -> None:
    (line,) = re.findall(r"^  (curl .*)$", said, re.MULTILINE)
    assert '"model_version":"2"' in world.run("bash", "-c", line).replace(" ", "")


def test_the_namespace_is_as_strict_as_kubernetes_can_make_it(digits: Tenant) -> None:
    namespace = digits.api.get(NAMESPACES, None, NAMESPACE)
    assert namespace is not None
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert digits.api.list(PODS, NAMESPACE), "no pod was made at all"
    events = digits.api.list(EVENTS, NAMESPACE)
    assert not [e for e in events if "violates PodSecurity" in e.get("note", "")]


def test_a_training_pod_had_a_gpu(digits: Tenant) -> None:
    job = digits.get(JOBS, "digits-2")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] in (1, "1")


def test_the_lineage_leads_from_the_answer_to_the_data(world: World, digits: Tenant) -> None:
    deployment = digits.get(DEPLOYMENTS, "digits")
    version = digits.get(MODEL_VERSIONS, deployment["status"]["stable"]["modelVersion"])
    run = digits.get(TRAINING_RUNS, version["spec"]["trainingRun"])
    lineage = version["status"]["lineage"]
    assert version["metadata"]["name"] == "digits-v2"
    assert lineage["trainingRun"]["uid"] == run["metadata"]["uid"]
    assert lineage["code"]["configMap"]["name"] == "digits-code"
    assert lineage["code"]["configMap"]["digest"].startswith("sha256:")
    # the image is the one that the kubelet says it ran, whatever its tag is called
    (pod,) = digits.pods(role="train", training_run=run["metadata"]["name"])
    (ran,) = pod["status"]["containerStatuses"]
    assert ran["imageID"].endswith(lineage["code"]["image"]["digest"])
    assert lineage["parameters"] == run["spec"]["parameters"]
    assert lineage["seed"] == run["spec"]["seed"]
    # the environment is what was there, and nothing is made up: this cluster's GPU is one by name only
    environment = lineage["environment"]
    assert set(environment) == {"python", "torch", "onnxruntime", "packages", "packagesUri", "threads"}
    assert environment["threads"] == 1  # of 200m CPU, and not of the node's two
    where = urlsplit(environment["packagesUri"])
    listed = world.store.get_object(where.netloc, where.path.lstrip("/")).read()
    assert environment["packages"] == f"sha256:{hashlib.sha256(listed).hexdigest()}"
    assert f"torch=={environment['torch']}\n" in listed.decode()
    assert float(lineage["parity"]["maxAbsDiff"]) < 1e-4
    # the data set's digest is that of the design, computed here from the object in the store
    (data,) = lineage["data"]
    content = world.store.get_object("data", "digits/train.csv").read()
    line = f"train.csv {len(content)} {hashlib.sha256(content).hexdigest()}\n"
    assert data["digest"] == f"sha256:{hashlib.sha256(line.encode()).hexdigest()}"
    assert (data["files"], data["bytes"]) == (1, len(content))
    # and the way back
    assert version["status"]["deployments"] == [{"name": "digits", "role": "stable"}]


def test_the_answer_is_the_models_own(world: World, digits: Tenant) -> None:
    """The file in the store has the recorded digest, and run here it gives what the gateway gives."""
    version = digits.get(MODEL_VERSIONS, "digits-v2")
    where = urlsplit(version["spec"]["artifact"]["uri"])
    file = world.store.get_object(where.netloc, where.path.lstrip("/")).read()
    assert f"sha256:{hashlib.sha256(file).hexdigest()}" == version["spec"]["artifact"]["digest"]
    (tensor,) = QUESTION["inputs"]
    x = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
    (wanted,) = onnxruntime.InferenceSession(file).run(None, {"x": x})
    (given,) = world.ask("digits.example.com")["outputs"]
    np.testing.assert_allclose(np.array(given["data"]).reshape(given["shape"]), wanted, atol=1e-5)
    assert int(wanted.argmax()) == 7


def test_the_route_and_the_conditions_are_at_rest(digits: Tenant) -> None:
    deployment = digits.get(DEPLOYMENTS, "digits")
    assert condition(deployment, "Ready")["status"] == "True"
    assert condition(deployment, "Reconciling")["status"] == "False"
    assert condition(deployment, "Stalled")["status"] == "False"
    outcomes = [(h["modelVersion"], h["outcome"]) for h in deployment["status"]["history"]]
    assert ("digits-v2", "Promoted") in outcomes
    (rule,) = digits.get(HTTP_ROUTES, "digits")["spec"]["rules"]
    assert sum(b.get("weight", 1) for b in rule["backendRefs"]) == 100
