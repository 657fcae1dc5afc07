"""Whole runs of the trainer's process, in its image, against a real S3 server."""

from __future__ import annotations

import io
import itertools
import json
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from examples.quickstart.make_data import digits_csv
from slipway.contract import (
    OPENLINEAGE_FILE,
    DataSpec,
    Env,
    Progress,
    TrainResult,
    TrainSpec,
)
from tests.support.image_pod import ImagePod
from tests.support.image_root import ImageRoot
from tests.support.openlineage import Listening
from tests.support.s3_server import S3Server

_numbers = itertools.count(1)
_QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart" / "train.py"


@dataclass(frozen=True)
class Pods:
    """Makes pods of trainings, each with scratch of its own, as the kubelet would."""

    trainer: ImageRoot
    s3: S3Server
    folder: Path
    made: list[Pod] = field(default_factory=list)

    def start(self, code: str, spec: TrainSpec, env: Mapping[str, str] | None = None) -> Pod:
        self.made.append(Pod(self, code, spec, env or {}))
        return self.made[-1]


class Pod(ImagePod):
    """One pod of a training."""

    def __init__(self, pods: Pods, code: str, spec: TrainSpec, env: Mapping[str, str]) -> None:
        source = pods.folder / f"code-{next(_numbers)}"
        source.mkdir()
        (source / "train.py").write_text(code)
        facts: dict[str, str] = {
            Env.SPEC: json.dumps({k: v for k, v in asdict(spec).items() if v is not None}),
            **env,
        }
        super().__init__(pods.trainer, pods.s3, pods.folder, "slipway_trainer", facts, {source: "/slipway/code"})

    @property
    def trained(self) -> TrainResult:
        return self.result(TrainResult)

    def await_step(self, step: int) -> Progress:
        return self.await_progress(lambda progress: progress.step >= step, f"step {step}")


@pytest.fixture
def pods(trainer: ImageRoot, s3: S3Server, tmp_path: Path) -> Iterator[Pods]:
    s3.client.put_object("data", "digits/train.csv", io.BytesIO(digits_csv()), len(digits_csv()))
    made = Pods(trainer, s3, tmp_path)
    yield made
    for pod in made.made:
        pod.process.kill()
        pod.process.wait()


def spec(**more: Any) -> TrainSpec:
    facts: dict[str, Any] = {
        "namespace": "test",
        "run": "digits-1",
        "runUid": f"uid-{next(_numbers)}",
        "model": "digits",
        "entrypoint": "train:train",
        "data": [DataSpec("train", "s3://data/digits/")],
        "parameters": {"epochs": "3"},
        "seed": 7,
        **more,
    }
    return TrainSpec(**facts)


def accuracy(result: TrainResult) -> float:
    return float(next(metric.value for metric in result.metrics if metric.name == "accuracy"))


def test_the_quickstart_is_the_same_bytes_for_the_same_seed_and_better_for_more_epochs(pods: Pods) -> None:
    code = _QUICKSTART.read_text()
    first, again = (pods.start(code, spec()).trained for _ in range(2))
    assert first.artifact.digest == again.artifact.digest
    assert first.data == again.data
    assert first.codeDigest == again.codeDigest
    longer = pods.start(code, spec(seed=8, parameters={"epochs": "20"})).trained
    assert longer.artifact.digest != first.artifact.digest
    assert accuracy(first) + 0.05 < accuracy(longer)
    assert accuracy(longer) > 0.95
    assert first.environment.torch is not None
    assert first.environment.onnxruntime is not None
    assert first.parity is not None
    assert longer.signature.inputs[0].shape == [-1, 64]


def test_a_pod_that_is_told_to_stop_hands_over_to_the_next_which_ends_with_the_same_bytes(pods: Pods) -> None:
    """SIGTERM in the middle; the next attempt goes on from the checkpoint, and nothing shows in the model."""
    code = _QUICKSTART.read_text()
    slow = "import time\n" + code.replace('"epoch": epoch})\n', '"epoch": epoch})\n        time.sleep(0.2)\n')
    whole = pods.start(slow, spec(parameters={"epochs": "8"})).trained
    run = spec(parameters={"epochs": "8"})
    first = pods.start(slow, run)
    first.await_step(3)
    first.process.send_signal(signal.SIGTERM)
    assert first.end() == 1
    assert first.failure.reason == "Interrupted"
    second = pods.start(slow, run)
    assert second.trained.artifact.digest == whole.artifact.digest
    assert "checkpoint restored" in second.log.read_text()
    assert "epoch 1 of 8" not in second.log.read_text()


def test_a_pod_that_is_killed_hands_over_too(pods: Pods) -> None:
    code = _QUICKSTART.read_text()
    slow = "import time\n" + code.replace('"epoch": epoch})\n', '"epoch": epoch})\n        time.sleep(0.2)\n')
    run = spec(parameters={"epochs": "8"})
    first = pods.start(slow, run)
    first.await_step(4)
    first.process.kill()
    first.end()
    second = pods.start(slow, run)
    assert accuracy(second.trained) > 0.9
    assert "checkpoint restored" in second.log.read_text()


NOSY = """
import os
import urllib.request
def train(context):
    told = [name for name in os.environ if "OPENLINEAGE" in name or "STORE" in name]
    raise ValueError(f"the code sees {told}")
"""


def test_openlineage_is_told_by_the_pod_and_not_by_its_code(pods: Pods) -> None:
    endpoint = Listening()
    try:
        env = {Env.OPENLINEAGE_URL: endpoint.url, Env.OPENLINEAGE_TOKEN: "letmein"}
        made = pods.start(_QUICKSTART.read_text(), spec(parameters={"epochs": "1"}), env).trained
        asked = spec()
        nosy = pods.start(NOSY, asked, {**env, Env.OPENLINEAGE_FILE: "true"})
        assert "the code sees []" in nosy.failure.message
        assert endpoint.told == ["START", "COMPLETE", "START", "FAIL"]
    finally:
        endpoint.close()
    assert set(endpoint.tokens) == {"Bearer letmein"}
    beside = pods.s3.client.get_object("models", f"digits/runs/{asked.runUid}/{OPENLINEAGE_FILE}").read()
    assert [json.loads(line) for line in beside.splitlines()] == endpoint.events[2:]
    (model,) = endpoint.events[1]["outputs"]
    assert model["facets"]["version"]["datasetVersion"] == made.artifact.digest
    assert "letmein" not in nosy.log.read_text()


STUCK = """
import torch
def train(context):
    context.checkpoint({"epoch": 1})
    context.report(step=1, of=2)
    try:
        torch.linalg.eigvals(torch.randn(4000, 4000))  # minutes in one call, without a look at signals
    except BaseException:
        pass
"""


def test_sigterm_is_heard_inside_a_long_call(pods: Pods) -> None:
    pod = pods.start(STUCK, spec())
    pod.await_step(1)
    started = time.monotonic()
    pod.process.send_signal(signal.SIGTERM)
    assert pod.end() == 1
    assert time.monotonic() - started < 30, "the kubelet would have killed it"
    assert pod.failure.message.startswith("the pod was told to stop (SIGTERM) at step 1 of 2")


WORKERS = """
import os, random, sys
import torch
from torch.utils.data import DataLoader, TensorDataset
from slipway_trainer import TrainedModel

def train(context):
    assert not [name for name in os.environ if name.startswith("SLIPWAY_STORE_")], "credentials are in reach"
    rows = TensorDataset(torch.arange(32.0).reshape(32, 1))
    for _ in range(2):  # ends its workers by SIGTERM where they do not end by themselves
        total = sum(float(batch.sum()) for (batch,) in DataLoader(rows, batch_size=4, num_workers=2))
    facts = {"hash": hash("slipway") % 1000, "random": random.random(), "threads": torch.get_num_threads()}
    return TrainedModel(torch.nn.Linear(4, 2), torch.ones(2, 4), ["x"], ["y"], {"total": total, **facts})
"""


def test_seeds_reach_everything_and_loader_workers_end_well(pods: Pods) -> None:
    first, second = (pods.start(WORKERS, spec(threads=3)).trained for _ in range(2))
    # the run's own number of threads, and not that of the machine
    assert {m.name: m.value for m in first.metrics}["threads"] == "3"
    assert first.environment.threads == 3
    assert [(m.name, m.value) for m in first.metrics] == [(m.name, m.value) for m in second.metrics]
    assert first.metrics[0].value == "496.0"
    assert first.artifact.digest == second.artifact.digest


REPORTS = """
import json, os, urllib.request
import torch
from slipway_trainer import TrainedModel

def train(context):
    # As transformers.integrations.KubeflowCallback does it.
    token = open(os.environ["KUBEFLOW_TRAINER_SERVER_TOKEN"]).read().strip()
    def post(token, step):
        metrics = [{"name": "loss", "value": "0.5"}, {"name": "current_step", "value": str(step)},
                   {"name": "total_steps", "value": "40"}]
        body = json.dumps({"trainerStatus": {"progressPercentage": 25, "metrics": metrics}}).encode()
        request = urllib.request.Request(
            os.environ["KUBEFLOW_TRAINER_SERVER_URL"], data=body, method="POST",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=5, context=None) as answer:
            return answer.status
    assert post(token, 10) == 200
    try:
        post("wrong", 30)
    except urllib.error.HTTPError as error:
        assert error.code == 401
    else:
        raise AssertionError("a wrong token was taken")
    import time
    time.sleep(1)
    return TrainedModel(torch.nn.Linear(4, 2), torch.ones(2, 4), ["x"], ["y"], {"done": 1})
"""


def test_code_that_speaks_kubeflows_wire_format_reports_progress(pods: Pods) -> None:
    pod = pods.start(REPORTS, spec())
    progress = pod.await_step(10)
    assert (progress.step, progress.of) == (10, 40)
    assert [(metric.name, metric.value) for metric in progress.metrics] == [("loss", "0.5")]
    assert pod.trained.metrics[0].name == "done"


def test_a_program_reports_and_leaves_a_model(pods: Pods) -> None:
    program = """
import json, os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torch
torch.manual_seed(int(os.environ["SLIPWAY_SEED"]))
width = int(json.loads(os.environ["SLIPWAY_PARAMETERS"])["width"])
assert os.path.exists(os.environ["SLIPWAY_DATA"] + "/train/train.csv")
out = os.environ["SLIPWAY_OUTPUT"]
torch.onnx.export(torch.nn.Linear(width, 2), (torch.ones(2, width),), out + "/model.onnx", input_names=["x"],
    output_names=["y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}}, dynamo=False)
json.dump({"accuracy": 0.5}, open(out + "/metrics.json", "w"))
"""
    asked = spec(entrypoint=None, command=["python3", "train.py"], parameters={"width": "5"})
    result = pods.start(program, asked).trained
    assert result.signature.inputs[0].shape == [-1, 5]
    assert (result.parity, result.metrics[0].value) == (None, "0.5")


@pytest.mark.parametrize(
    ("code", "more", "status", "reason", "sentence"),
    [
        ("def train(c): raise ValueError('bad rows')", {}, 1, "CodeRaised", "ValueError: bad rows"),
        ("def train(c): c.checkpoint({'a': object()})", {}, 64, "CheckpointRefused", "state['a']"),
        (
            "def train(c): ...",
            {"data": [DataSpec("train", "s3://data/digits/", digest="sha256:" + "0" * 64)]},
            64,
            "DataDigestMismatch",
            "sha256:e93881dc",
        ),
        ("def train(c): return 0.97", {}, 64, "ReturnInvalid", "returned float"),
    ],
)
def test_a_users_error_ends_with_its_sentence(
    pods: Pods, code: str, more: dict[str, Any], status: int, reason: str, sentence: str
) -> None:
    pod = pods.start(code, spec(**more))
    assert pod.end() == status, pod.log.read_text()
    assert pod.failure.reason == reason
    assert sentence in pod.failure.message
    assert "test-secret-key" not in pod.log.read_text()
