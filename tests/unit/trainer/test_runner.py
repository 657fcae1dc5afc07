"""The whole attempt, on a place in memory and without torch: its order, its ends, and a crash after every write."""

from __future__ import annotations

import hashlib
import itertools
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slipway.contract import (
    PACKAGES_FILE,
    Artifact,
    CodeResult,
    DataSpec,
    Env,
    Failure,
    GitSpec,
    ParentSpec,
    Parity,
    TrainResult,
    TrainSpec,
    WeightsResult,
    beside,
    loads,
)
from slipway_trainer import failures, publish
from slipway_trainer.context import TrainedModel
from slipway_trainer.failures import TrainerError
from slipway_trainer.fake_store import MemoryStore
from slipway_trainer.manifest import file_digest
from slipway_trainer.openlineage import Listener
from slipway_trainer.paths import Paths
from slipway_trainer.progress import ProgressBoard
from slipway_trainer.report import Outcome
from slipway_trainer.runner import Attempt, Surroundings
from slipway_trainer.signature import open_model, signature_of
from slipway_trainer.store import Place, Store
from slipway_trainer.trained import Trained
from tests.support import onnx_models
from tests.unit.trainer.helpers import PLACE, JsonCodec, spec

FOLDER = "team/digits/runs/uid-1"
DATA = [DataSpec("train", "s3://data/digits/")]
CODE = """
from slipway_trainer import TrainedModel

def train(context):
    assert (context.data("train") / "train.csv").read_text() == "1,2\\n"
    epochs = context.parameters.integer("epochs")
    state = context.restore() or {"epoch": 0}
    for epoch in range(state["epoch"] + 1, epochs + 1):
        context.report(step=epoch, of=epochs, accuracy=epoch / 10)
        context.checkpoint({"epoch": epoch})
    return TrainedModel(epochs, None, ["x"], ["logits"], {"accuracy": epochs / 10, "rows": 1})
"""


class FileStore(MemoryStore):
    """Counts writes and deletions, and after the given number of them does nothing more: the pod is dead."""

    def __init__(self, last: int | None = None) -> None:
        super().__init__("data", "models")
        self.buckets["data"]["digits/train.csv"] = b"1,2\n"
        self.last = last
        self.done = 0

    def write(self, bucket: str, key: str, content: bytes | Path) -> None:
        self._count()
        super().write(bucket, key, content)

    def remove(self, bucket: str, key: str) -> None:
        self._count()
        super().remove(bucket, key)

    def read(self, bucket: str, key: str, etag: str = "") -> Iterator[bytes]:
        self._die_if_dead()
        return super().read(bucket, key, etag)

    def _count(self) -> None:
        self._die_if_dead()
        self.done += 1

    def _die_if_dead(self) -> None:
        if self.last is not None and self.done >= self.last:
            raise DeadError


class DeadError(BaseException):
    """Not an ``Exception``, so that nothing in the trainer can act on it: a killed process does nothing either."""


def export(returned: TrainedModel, folder: Path) -> Trained:
    """In place of torch: the same bytes for the same model."""
    path = folder / "model.onnx"
    path.write_bytes(onnx_models.digits(returned.model).SerializeToString())
    (folder / "model.safetensors").write_bytes(b"weights")
    parity = Parity("1e-07", 2)
    return Trained(path, signature_of(open_model(path)), returned.metrics, parity, folder / "model.safetensors")


@dataclass
class Pod:
    """One pod of the run's Job."""

    root: Path
    store: MemoryStore
    spec: TrainSpec = field(
        default_factory=lambda: spec(data=DATA, parameters={"epochs": "3"}, codeConfigMap="digits-code")
    )
    code: str | None = CODE
    uid: str = "pod-1"

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True)
        code = self.root / "code"
        if self.code is not None:
            code.mkdir()
            (code / "train.py").write_text(self.code)
        self.paths = Paths(
            code, self.root, self.root / "data", self.root / "output", self.root / "termination", self.root / "weights"
        )
        self.board = ProgressBoard()
        self.folders: list[Path] = []
        self.outcome = Outcome(self.paths.termination)
        outside = Surroundings(
            paths=self.paths,
            env={Env.ATTEMPT_UID: self.uid, Env.POD_NAME: f"digits-1-{self.uid}", "PATH": "/usr/bin:/bin"},
            kubeflow={},
            open_place=self.open_place,
            export=export,
            codec=JsonCodec(),
            device=lambda: "cpu",
            threads=3,
            change_folder=self.folders.append,
            now=lambda: datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC),
        )
        self.outside = outside
        self.attempt = Attempt(self.spec, outside, self.board, self.outcome)

    def listen(self, listener: Listener) -> None:
        """Before it runs: tell somebody how it goes."""
        self.attempt = Attempt(self.spec, replace(self.outside, listener=listener), self.board, self.outcome)

    def open_place(self, name: str) -> tuple[Place, Store]:
        assert name == "default"
        return PLACE, self.store

    @property
    def result(self) -> TrainResult:
        return loads(TrainResult, self.paths.termination.read_text())

    @property
    def failure(self) -> Failure:
        return loads(Failure, self.paths.termination.read_text())


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop("train", None)


def forget_code() -> None:
    """Each pod is a process of its own."""
    sys.modules.pop("train", None)


def test_a_run_leaves_its_result_and_tells_the_operator(tmp_path: Path) -> None:
    store = FileStore()
    pod = Pod(tmp_path / "pod", store)
    assert pod.attempt.run() == 0
    result = pod.result
    assert result.artifact.uri == f"s3://models/{FOLDER}/model.onnx"
    assert result.artifact.digest == file_digest(pod.paths.output / "model.onnx")
    assert result.artifact.size == (pod.paths.output / "model.onnx").stat().st_size
    assert [(m.name, m.value, m.best) for m in result.metrics] == [("accuracy", "0.3", "0.3"), ("rows", "1", "1")]
    assert [(d.name, d.files, d.bytes) for d in result.data] == [("train", 1, 4)]
    assert result.codeDigest is not None
    assert (result.startedAt, result.finishedAt) == ("2026-11-22T01:02:03Z", "2026-11-22T01:02:03Z")
    assert sorted(store.buckets["models"]) == [
        f"{FOLDER}/attempt.json",
        f"{FOLDER}/model.onnx",
        f"{FOLDER}/model.safetensors",
        f"{FOLDER}/packages.txt",
        f"{FOLDER}/result.json",
    ]
    stored = store.buckets["models"][f"{FOLDER}/result.json"]
    assert loads(TrainResult, stored) == result
    assert result.weights == WeightsResult(file_digest(pod.paths.output / "model.safetensors"), len(b"weights"))
    listed = store.buckets["models"][beside(result.result, PACKAGES_FILE).removeprefix("s3://models/")]
    assert result.environment.threads == 3
    assert result.environment.packages == f"sha256:{hashlib.sha256(listed).hexdigest()}"
    assert pod.board.read().step == 3
    assert pod.folders == [pod.paths.code]


def test_code_by_git_is_named_by_its_commit(tmp_path: Path) -> None:
    store, commit = FileStore(), "c" * 40
    git = GitSpec("https://git.example.com/digits", "main")
    asked = spec(data=DATA, parameters={"epochs": "1"}, codeGit=git)
    unknown = Pod(tmp_path / "unknown", store, spec=asked)
    assert unknown.attempt.run() == 1
    assert "does not say which commit this run takes" in unknown.failure.message
    publish.pin_commit(store, publish.RunFolder(PLACE, "digits", "uid-1"), git, commit)
    forget_code()
    pod = Pod(tmp_path / "pod", store, spec=asked)
    assert pod.attempt.run() == 0
    assert (pod.result.code, pod.result.codeDigest) == (CodeResult(commit), None)


# `#` and `?` are letters of a key like others (contract.split_s3).
OLD = "#old?/model.safetensors"
WEIGHTS = Artifact(f"s3://models/{OLD}", f"sha256:{hashlib.sha256(b'old weights').hexdigest()}", 11)
BEGINS = """
from slipway_trainer import TrainedModel

def train(context):
    assert (context.parent, context.weights().name) == ("digits-v1", "digits-v1.safetensors")
    assert context.weights().read_bytes() == b"old weights"
    return TrainedModel(1, None, ["x"], ["logits"], {"accuracy": 1})
"""


@pytest.mark.parametrize(
    ("stored", "reason", "sentence"),
    [
        (b"old weights", None, ""),
        (b"new weights", "WeightsDigestMismatch", f"and its lineage names {WEIGHTS.digest}"),
        (None, "WeightsNotFound", f"nothing lies at s3://models/{OLD}"),
    ],
)
def test_a_training_begins_with_the_weights_of_a_version(
    tmp_path: Path, stored: bytes | None, reason: str | None, sentence: str
) -> None:
    store = FileStore()
    if stored is not None:
        store.buckets["models"][OLD] = stored
    pod = Pod(tmp_path / "pod", store, spec=spec(parent=ParentSpec("digits-v1", WEIGHTS)), code=BEGINS)
    if reason is None:
        assert pod.attempt.run() == 0
        return
    assert pod.attempt.run() == 64
    assert pod.failure.reason == reason
    assert sentence in pod.failure.message


def test_weights_that_nobody_named_are_asked_for_in_vain(tmp_path: Path) -> None:
    pod = Pod(tmp_path / "pod", FileStore(), spec=spec(), code=BEGINS.replace('("digits-v1", ', "(None, "))
    assert pod.attempt.run() == 64
    assert pod.failure.reason == "WeightsNotDeclared"


def test_a_run_that_is_done_is_reported_and_not_trained_again(tmp_path: Path) -> None:
    """The pod was lost after the upload and before its exit."""
    store = FileStore()
    first = Pod(tmp_path / "first", store)
    assert first.attempt.run() == 0
    done = store.done
    second = Pod(tmp_path / "second", store, code="raise RuntimeError('trained again')", uid="pod-2")
    forget_code()
    assert second.attempt.run() == 0
    assert second.result == first.result
    assert store.done == done


def test_the_result_of_another_run_of_the_same_name_does_not_count(tmp_path: Path) -> None:
    store = FileStore()
    assert Pod(tmp_path / "first", store).attempt.run() == 0
    forget_code()
    other = Pod(tmp_path / "second", store, spec=spec(data=DATA, parameters={"epochs": "5"}, runUid="uid-2"))
    assert other.attempt.run() == 0
    assert other.result.artifact.uri == "s3://models/team/digits/runs/uid-2/model.onnx"
    assert other.result.metrics[0].value == "0.5"


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_crash_after_any_write_ends_in_the_same_result(tmp_path: Path) -> None:
    whole = FileStore()
    reference = Pod(tmp_path / "reference", whole)
    assert reference.attempt.run() == 0
    expected = {key: value for key, value in whole.buckets["models"].items() if not key.endswith("attempt.json")}

    crashed_at = []
    for last in itertools.count():
        forget_code()
        store = FileStore(last)
        victim = Pod(tmp_path / f"victim-{last}", store)
        try:
            survived = victim.attempt.run() == 0 and store.done < last
        except DeadError:
            survived = False
        if survived:
            break
        crashed_at.append(last)
        forget_code()
        store.last = None
        heir = Pod(tmp_path / f"heir-{last}", store, uid="pod-2")
        assert heir.attempt.run() == 0, f"after write {last}"
        assert heir.result == reference.result, f"after write {last}"
        left = {key: value for key, value in store.buckets["models"].items() if not key.endswith("attempt.json")}
        assert left == expected, f"after write {last}"
    # attempt.json, at least one checkpoint and its pointer, model, weights, packages, result, deletions
    assert len(crashed_at) >= 9


def test_an_attempt_after_a_failure_goes_on_from_the_last_checkpoint(tmp_path: Path) -> None:
    fails = CODE.replace(
        'context.checkpoint({"epoch": epoch})', 'context.checkpoint({"epoch": epoch}); 1 / (epoch - 2)'
    )
    store = FileStore()
    first = Pod(tmp_path / "first", store, code=fails)
    assert first.attempt.run() == 1
    assert first.failure.reason == "CodeRaised"
    forget_code()
    goes_on = CODE.replace(
        'state = context.restore() or {"epoch": 0}', 'state = context.restore(); assert state["epoch"] == 2'
    )
    second = Pod(tmp_path / "second", store, code=goes_on, uid="pod-2")
    assert second.attempt.run() == 0


def test_being_told_to_stop_stores_the_checkpoint_and_asks_for_another_attempt(tmp_path: Path) -> None:
    """The training code waits for ever in the main thread, here in a thread of the test's."""
    waits = CODE.replace("context.checkpoint", "context.checkpoint").replace(
        '        context.checkpoint({"epoch": epoch})\n',
        '        context.checkpoint({"epoch": epoch})\n        context.reached.set(); context.release.wait()\n',
    )
    store = FileStore()
    pod = Pod(tmp_path / "pod", store, code=waits)
    reached, release = threading.Event(), threading.Event()
    from slipway_trainer.context import Context

    Context.reached, Context.release = reached, release  # type: ignore[attr-defined]  # how the code meets the test
    thread = threading.Thread(target=pod.attempt.run)
    try:
        thread.start()
        assert reached.wait(10)
        assert pod.attempt.stop() == 1
        assert pod.failure == Failure(
            "Interrupted",
            "the pod was told to stop (SIGTERM) at step 1 of 3; the next attempt goes on from the last checkpoint",
        )
        assert f"{FOLDER}/checkpoints/latest.json" in store.buckets["models"]
    finally:
        release.set()
        thread.join()
        del Context.reached, Context.release  # type: ignore[attr-defined]
    assert pod.failure.reason == "Interrupted"


class ReadOnlyStore(FileStore):
    def write(self, bucket: str, key: str, content: bytes | Path) -> None:
        raise TrainerError(failures.ACCESS_DENIED, "may not write")


def test_a_place_that_cannot_be_written_to_is_found_out_before_the_training(tmp_path: Path) -> None:
    pod = Pod(tmp_path / "pod", ReadOnlyStore(), code="raise RuntimeError('trained')")
    assert pod.attempt.run() == 64
    assert pod.failure == Failure("AccessDenied", "may not write")


def test_wrong_data_end_the_run_before_the_code_is_loaded(tmp_path: Path) -> None:
    wanted = [DataSpec("train", "s3://data/digits/", digest="sha256:" + "0" * 64)]
    pod = Pod(tmp_path / "pod", FileStore(), spec=spec(data=wanted), code="raise RuntimeError('trained')")
    assert pod.attempt.run() == 64
    assert pod.failure.reason == "DataDigestMismatch"


@pytest.mark.parametrize(
    ("returned", "reason", "sentence"),
    [
        ("{'accuracy': float('nan')}", "MetricInvalid", "'accuracy' is nan: the training did not converge"),
        ("[0.5]", "ReturnInvalid", "metrics is of type list: give a dict"),
        ("{'accuracy': 'good'}", "MetricInvalid", "'accuracy' is not one number"),
        ("{f'{i:060}': 1 for i in range(90)}", None, ""),
    ],
)
def test_final_metrics_are_numbers_and_as_many_as_fit(
    tmp_path: Path, returned: str, reason: str | None, sentence: str
) -> None:
    store = FileStore()
    pod = Pod(tmp_path / "pod", store, code=CODE.replace('{"accuracy": epochs / 10, "rows": 1}', returned))
    code = pod.attempt.run()
    if reason is not None:
        assert (code, pod.failure.reason) == (64, reason)
        assert sentence in pod.failure.message
        assert f"{FOLDER}/result.json" not in store.buckets["models"]
        return
    assert code == 0
    assert pod.result.metricsCut > 0
    assert len(loads(TrainResult, store.buckets["models"][f"{FOLDER}/result.json"]).metrics) == 90


def test_a_result_too_large_to_pass_on_is_not_stored(tmp_path: Path) -> None:
    many = [DataSpec(f"data-{i}", "s3://data/digits/") for i in range(40)]
    store = FileStore()
    code = CODE.replace('context.data("train")', 'context.data("data-0")')
    pod = Pod(tmp_path / "pod", store, spec=spec(data=many, parameters={"epochs": "1"}), code=code)
    assert pod.attempt.run() == 64
    assert pod.failure.reason == "ResultTooLarge"
    assert f"{FOLDER}/result.json" not in store.buckets["models"]


@pytest.mark.parametrize("more", [{"command": ["/bin/true"]}, {"entrypoint": None}])
def test_one_way_to_train_must_be_named(tmp_path: Path, more: dict[str, object]) -> None:
    pod = Pod(tmp_path / "pod", FileStore(), spec=spec(**more))
    assert pod.attempt.run() == 64
    assert "either spec.entrypoint or spec.command" in pod.failure.message


def test_a_program_trains_too(tmp_path: Path) -> None:
    model = tmp_path / "made.onnx"
    model.write_bytes(onnx_models.digits().SerializeToString())
    script = (
        f'set -e; test "$(cat $SLIPWAY_DATA/train/train.csv)" = 1,2; cp {model} $SLIPWAY_OUTPUT/model.onnx; '
        'echo "{\\"accuracy\\": 0.5, \\"seed\\": $SLIPWAY_SEED}" > $SLIPWAY_OUTPUT/metrics.json'
    )
    store = FileStore()
    asked = spec(entrypoint=None, command=["/bin/sh", "-c", script], data=DATA)
    pod = Pod(tmp_path / "pod", store, spec=asked, code=None)
    assert pod.attempt.run() == 0
    assert [(m.name, m.value) for m in pod.result.metrics] == [("accuracy", "0.5"), ("seed", "7")]
    assert (pod.result.parity, pod.result.codeDigest) == (None, None)
    assert f"{FOLDER}/model.safetensors" not in store.buckets["models"]


def test_a_fault_of_the_trainers_own_is_told_as_such(tmp_path: Path) -> None:
    class BrokenStore(FileStore):
        def entries(self, bucket: str, prefix: str) -> Iterator[None]:  # type: ignore[override]
            raise ZeroDivisionError("division by zero")

    pod = Pod(tmp_path / "pod", BrokenStore())
    assert pod.attempt.run() == 1
    assert pod.failure.reason == "TrainerInternalError"
