"""Mistakes that a user makes: each one is refused by the API server or becomes a condition with a sentence.

All are made at once, in one namespace, and then looked at one by one: most of them take a pod, and the pods' starts
take the time. At the end nothing has made a loop, and no traceback is in the operator's log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from slipway.api.common import Label
from slipway.kube.objects import DEPLOYMENTS, JOBS, MODEL_VERSIONS, PODS, TRAINING_RUNS
from tests.support.api_server import Object
from tests.support.e2e import IS_TRUE, OPERATOR_NAMESPACE, Artifact, Tenant, World, condition

WRONG = "sha256:" + "0" * 64

CODE = {
    "train.py": "def train(context):\n    return None\n",
    "raises.py": "def train(context):\n    numbers = [1, 2]\n    raise ValueError('the learning rate is a banana')\n",
    "banana.py": "raise ValueError('the learning rate is a banana')\n",
    "hungry.py": "def train(context):\n    kept = []\n    while True:\n        kept.append(b'x' * 50_000_000)\n",
    "sleepy.py": "import time\n\ndef train(context):\n    time.sleep(600)\n",
    "poor.py": (
        "import torch\nfrom slipway_trainer import TrainedModel\n\ndef train(context):\n"
        "    model, example = torch.nn.Linear(64, 10), (torch.rand(2, 64),)\n"
        "    return TrainedModel(model, example=example, inputs=['x'], outputs=['y'], metrics={'accuracy': 0.42})\n"
    ),
}


@dataclass(frozen=True)
class Mistake:
    """A spec that cannot work: the fields that are wrong, the reason that must stand in a condition, and what the
    sentence must hold. ``stalled``: waiting alone does not help, and the status says so."""

    spec: Mapping[str, Any]
    reason: str
    words: tuple[str, ...]
    stalled: bool = True


def data(uri: str, **more: str) -> dict[str, Any]:
    """``spec.data`` of one data set."""
    return {"data": [{"name": "train", "uri": uri, **more}]}


RUNS: dict[str, Mistake] = {
    "a bucket that does not exist": Mistake(data("s3://nobodys-bucket/digits/"), "BucketNotFound", ("nobodys-bucket",)),
    "data that do not exist": Mistake(data("s3://data/nothing-here/"), "DataNotFound", ("s3://data/nothing-here/",)),
    "data with another digest": Mistake(
        data("s3://data/digits/", digest=WRONG), "DataDigestMismatch", (WRONG, "sha256:")
    ),
    "a Dataset that does not exist": Mistake(
        {"data": [{"name": "train", "dataset": "nobodys-data"}]}, "DatasetMissing", ("nobodys-data",)
    ),
    "credentials that are wrong": Mistake(
        data("s3://data/digits/", store="wrong-key"), "WrongCredentials", ("slipway-store-wrong-key",)
    ),
    "an S3 place that the namespace was not given": Mistake(
        {"output": {"store": "elsewhere"}}, "StoreMissing", ("slipway-store-elsewhere",)
    ),
    "an image that does not exist": Mistake(
        {"image": "localhost/slipway/no-such-image:1"}, "ImageNotPulled", ("localhost/slipway/no-such-image:1",)
    ),
    "code that does not exist": Mistake({"code": {"configMap": "no-code"}}, "CodeMissing", ("no-code",)),
    "a module that does not exist": Mistake({"entrypoint": "nowhere:train"}, "EntrypointNotFound", ("nowhere",)),
    "a function that does not exist": Mistake({"entrypoint": "train:learn"}, "EntrypointNotFound", ("learn",)),
    "a program that does not exist": Mistake(
        {"entrypoint": None, "command": ["/bin/fit"]}, "CommandNotFound", ("/bin/fit",)
    ),
    "code that raises": Mistake(
        {"entrypoint": "raises:train", "backoffLimit": 0},
        "CodeRaised",
        ("ValueError: the learning rate is a banana", "raises.py", "line 3"),
    ),
    "a program that raises": Mistake(
        {"entrypoint": None, "command": ["python3", "banana.py"], "backoffLimit": 0},
        "CommandFailed",
        ("ended with status 1", "banana.py", "ValueError: the learning rate is a banana"),
    ),
    "a GPU that nobody has": Mistake(
        {"resources": {"cpu": "50m", "memory": "512Mi", "gpu": {"count": 1, "resourceName": "example.com/quantum"}}},
        "Unschedulable",
        ("Insufficient example.com/quantum",),
        stalled=False,
    ),
    "more memory than asked for": Mistake(
        {"entrypoint": "hungry:train", "backoffLimit": 0, "resources": {"cpu": "50m", "memory": "400Mi"}},
        "OutOfMemory",
        ("400Mi", "spec.resources.memory"),
    ),
    "a deadline that is too short": Mistake(
        {"entrypoint": "sleepy:train", "activeDeadline": "20s"}, "DeadlineExceeded", ("20s", "spec.activeDeadline")
    ),
    "a gate that is missed": Mistake(
        {"entrypoint": "poor:train", "gate": [{"metric": "accuracy", "min": "0.9"}]},
        "GateMissed",
        ("accuracy", "0.42", "0.9"),
    ),
}

DEPLOYED: dict[str, Mistake] = {
    "a ModelVersion that does not exist": Mistake(
        {"modelVersion": "nothing-v9"}, "ModelVersionMissing", ("nothing-v9",)
    ),
    "an alias that nobody holds": Mistake(
        {"modelVersion": None, "model": "digits", "alias": "nobody"}, "ModelVersionMissing", ("nobody",)
    ),
    "a ModelVersion that is not Ready": Mistake({"modelVersion": "digits-v2"}, "ModelVersionNotReady", ("digits-v2",)),
    "a model file that was changed after it was registered": Mistake(
        {"modelVersion": "digits-v3"}, "ArtifactTampered", ("sha256:",)
    ),
    "a Gateway that does not exist": Mistake(
        {"route": {"gateway": {"name": "nowhere", "namespace": "gateways"}, "hostnames": ["a.example.com"]}},
        "GatewayMissing",
        ("nowhere",),
    ),
    "a Gateway that refuses the route": Mistake(
        {
            "route": {
                "gateway": {"name": "public", "namespace": "gateways", "sectionName": "no-such-listener"},
                "hostnames": ["b.example.com"],
            }
        },
        "RouteRefused",
        ("public",),
    ),
}

BEFORE_ANY_JOB = frozenset({"StoreMissing", "CodeMissing", "DatasetMissing"})
"""Reasons for which no Job is made: its pod would need what is missing."""


def named(sentence: str) -> str:
    """An object's name for a sentence."""
    return sentence.replace(" ", "-").lower()[:40].strip("-")


@dataclass
class Mistakes:
    """The namespace in which all of them were made.

    Attributes:
        jobs: by name, the uids of all training Jobs of that name that were ever seen: two are a Job that was made anew.
    """

    tenant: Tenant
    begun: float = field(default_factory=time.monotonic)
    jobs: dict[str, set[str]] = field(default_factory=dict)

    def until(self, resource: Any, sentence: str, holds: Callable[[Object], bool]) -> Object:
        """Wait until something holds; the time counts since all were made."""
        left = max(30.0, 240 - (time.monotonic() - self.begun))
        found = self.tenant.until(resource, named(sentence), holds, what=sentence, seconds=left)
        self.note_jobs()
        return found

    def note_jobs(self) -> None:
        """See which training Jobs there are."""
        for job in self.tenant.api.list(JOBS, self.tenant.name, f"{Label.ROLE}=train"):
            self.jobs.setdefault(job["metadata"]["name"], set()).add(job["metadata"]["uid"])


@pytest.fixture(scope="module")
def mistakes(world: World) -> Iterator[Mistakes]:
    """Given one namespace in which every mistake was made at once."""
    with world.tenant("e2e-mistakes") as tenant:
        world.digits()
        tenant.code("digits-code", CODE)
        tenant.store_place("wrong-key", secret_key="not-the-key")
        for sentence, mistake in RUNS.items():
            spec = {"resources": {"cpu": "50m", "memory": "1Gi"}, "data": [], "gate": [], **mistake.spec}
            (run,) = tenant.example("quickstart/run-1.yaml", **spec)
            run["metadata"]["name"] = named(sentence)
            run["spec"] = {key: value for key, value in run["spec"].items() if value is not None}
            tenant.api.create(run)
        # digits-v1 is as it should be; digits-v2 was registered with a wrong digest; digits-v3 is changed in the
        # store after it was verified.
        good = world.artifact(1)
        tenant.register(1)
        tenant.register(2, Artifact(good.uri, WRONG, good.size))
        tampered = world.copy(1, "s3://models/e2e/tampered.onnx")
        tenant.register(3, tampered)
        tenant.version_ready("digits-v3")
        world.put(tampered.uri, b"x" * tampered.size)
        for sentence, mistake in DEPLOYED.items():
            spec = {"replicas": 1, "resources": {"cpu": "50m", "memory": "256Mi"}, **mistake.spec}
            (deployment,) = tenant.example("no-gateway/deployment.yaml", **spec)
            deployment["metadata"]["name"] = named(sentence)
            deployment["spec"] = {key: value for key, value in deployment["spec"].items() if value is not None}
            tenant.api.create(deployment)
        yield Mistakes(tenant)


def as_promised(mistake: Mistake) -> Callable[[Object], bool]:
    """A condition has the reason, and its sentence holds the words."""

    def holds(obj: Object) -> bool:
        stalled = condition(obj, "Stalled")
        if mistake.stalled and (stalled["status"], stalled["reason"]) != (IS_TRUE, mistake.reason):
            return False
        said = {c["reason"]: c["message"] for c in obj.get("status", {}).get("conditions", ())}
        return all(word in said.get(mistake.reason, "") for word in mistake.words)

    return holds


@pytest.mark.parametrize("sentence", RUNS)
def test_a_training_run_with(mistakes: Mistakes, sentence: str) -> None:
    mistake = RUNS[sentence]
    run = mistakes.until(TRAINING_RUNS, sentence, as_promised(mistake))
    assert "modelVersion" not in run["status"]
    assert condition(run, "Succeeded")["status"] != IS_TRUE
    assert all(word in run["status"]["message"] for word in mistake.words)
    assert "Traceback" not in run["status"]["message"] or mistake.reason in ("CodeRaised", "CommandFailed")


@pytest.mark.parametrize("sentence", DEPLOYED)
def test_a_deployment_with(mistakes: Mistakes, sentence: str) -> None:
    mistake = DEPLOYED[sentence]
    deployment = mistakes.until(DEPLOYMENTS, sentence, as_promised(mistake))
    assert all(word in deployment["status"]["message"] for word in mistake.words)
    assert condition(deployment, "Ready")["status"] != IS_TRUE


def test_a_model_version_with_another_digest_than_its_file(mistakes: Mistakes) -> None:
    version = mistakes.tenant.until(
        MODEL_VERSIONS, "digits-v2", lambda o: condition(o, "Stalled")["status"] == IS_TRUE, what="Stalled"
    )
    assert version["status"]["phase"] == "Failed"
    assert condition(version, "Verified")["reason"] == "VerificationFailed"
    assert WRONG in version["status"]["message"]


STEPS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "empty": ([], "spec.strategy.canary.steps"),
    "backwards": ([{"setWeight": 50}, {"setWeight": 10}], "setWeight must not go backwards"),
    "of two kinds": ([{"setWeight": 50, "pause": {}}], "each step is exactly one of"),
    "beyond everything": ([{"setWeight": 101}], "less than or equal to 100"),
}


@pytest.mark.parametrize("case", STEPS)
def test_steps_are_refused_when_they_are(mistakes: Mistakes, case: str) -> None:
    steps, words = STEPS[case]
    (deployment,) = mistakes.tenant.example(
        "no-gateway/deployment.yaml", strategy={"type": "Canary", "canary": {"steps": steps}}
    )
    assert words in mistakes.tenant.refused(deployment)


def pods(tenant: Tenant) -> set[str]:
    """The uids of the pods that were not told to stop, whoever made them."""
    found = tenant.api.list(PODS, tenant.name)
    return {pod["metadata"]["uid"] for pod in found if "deletionTimestamp" not in pod["metadata"]}


def test_nothing_of_it_makes_a_loop_or_a_traceback(world: World, mistakes: Mistakes) -> None:
    # Given all of them have come to where they stay
    for sentence, mistake in RUNS.items():
        mistakes.until(TRAINING_RUNS, sentence, as_promised(mistake))
    for sentence, mistake in DEPLOYED.items():
        mistakes.until(DEPLOYMENTS, sentence, as_promised(mistake))
    tenant = mistakes.tenant
    # Then a mistake that cannot pass by itself was tried once
    for sentence, mistake in RUNS.items():
        run = tenant.get(TRAINING_RUNS, named(sentence))
        if mistake.reason not in BEFORE_ANY_JOB | {"ImageNotPulled", "Unschedulable"}:
            assert run["status"]["attempts"] == 1, f"{sentence}: {run['status']}"
    # and nothing is written any more: no status, no child, no Event, and no pod comes or goes
    before = tenant.written(), pods(tenant)
    time.sleep(15)
    assert (tenant.written(), pods(tenant)) == before
    # and each run that got as far as a Job has had one since it was made, and the others have none
    mistakes.note_jobs()
    wanted = {named(sentence) for sentence, mistake in RUNS.items() if mistake.reason not in BEFORE_ANY_JOB}
    assert {name: len(uids) for name, uids in mistakes.jobs.items()} == dict.fromkeys(wanted, 1)
    operator = ("--namespace", OPERATOR_NAMESPACE, "--selector", "app.kubernetes.io/name=slipway")
    log = world.run("kubectl", "logs", *operator, "--tail", "5000")
    assert "Traceback" not in log, log[max(0, log.index("Traceback") - 2000) :][:6000]
