"""A program in any language: what it is given, what it must leave, and how its end is told."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import onnx
import pytest

from slipway.contract import Signature, Tensor
from slipway_trainer.command import Program, collect, program_environment
from slipway_trainer.failures import TrainerError
from tests.support import onnx_models
from tests.unit.trainer.helpers import spec


def test_it_is_told_what_the_design_promises_and_given_no_credentials() -> None:
    base = {
        "PATH": "/bin",
        "SLIPWAY_SPEC": "{}",
        "SLIPWAY_STORE_DEFAULT_SECRETKEY": "secret",
        "SLIPWAY_POD_NAME": "digits-1-x",
    }
    env = program_environment(
        base,
        spec(parameters={"epochs": "3"}),
        Path("/d"),
        Path("/o"),
        None,
        {"KUBEFLOW_TRAINER_SERVER_URL": "http://x"},
    )
    assert env == {
        "PATH": "/bin",
        "SLIPWAY_POD_NAME": "digits-1-x",
        "SLIPWAY_DATA": "/d",
        "SLIPWAY_OUTPUT": "/o",
        "SLIPWAY_PARAMETERS": '{"epochs": "3"}',
        "SLIPWAY_SEED": "7",
        "KUBEFLOW_TRAINER_SERVER_URL": "http://x",
    }
    begins = program_environment(base, spec(), Path("/d"), Path("/o"), Path("/w/digits-v1.safetensors"), {})
    assert begins["SLIPWAY_WEIGHTS"] == "/w/digits-v1.safetensors"


def run(*command: str, folder: Path) -> None:
    Program().run(command, dict(os.environ), folder)


@pytest.mark.parametrize(
    ("command", "reason", "again", "sentence"),
    [
        (["/nowhere/train"], "CommandNotFound", False, "name a program that the image has"),
        (["/bin/sh", "-c", "exit 3"], "CommandFailed", True, "ended with status 3"),
        (["/bin/sh", "-c", "kill -9 $$"], "CommandFailed", True, "SIGKILL (often: out of memory)"),
    ],
)
def test_its_end_is_told(tmp_path: Path, command: list[str], reason: str, again: bool, sentence: str) -> None:
    with pytest.raises(TrainerError) as caught:
        run(*command, folder=tmp_path)
    assert (caught.value.reason.name, caught.value.reason.again) == (reason, again)
    assert sentence in str(caught.value)


def test_being_told_to_stop_reaches_it_and_what_it_started(tmp_path: Path) -> None:
    """A shell script whose child does the work: both end, and the end is an interruption, not a failure."""
    program = Program()
    ended: list[TrainerError] = []
    fifo = tmp_path / "ready"
    os.mkfifo(fifo)
    script = f"{sys.executable} -c \"import signal; open('ready', 'w').close(); signal.pause()\"; echo not reached"

    def body() -> None:
        try:
            program.run(["/bin/sh", "-c", script], dict(os.environ), tmp_path)
        except TrainerError as error:
            ended.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    fifo.read_text()  # returns when the child is up
    program.stop()
    thread.join()
    assert [error.reason.name for error in ended] == ["Interrupted"]


def test_what_was_told_to_stop_before_it_began_does_not_begin(tmp_path: Path) -> None:
    program = Program()
    program.stop()
    with pytest.raises(TrainerError, match="before the program started"):
        program.run(["/bin/touch", "begun"], dict(os.environ), tmp_path)
    assert list(tmp_path.iterdir()) == []


def leave(folder: Path, model: onnx.ModelProto | None, metrics: str | None) -> None:
    if model is not None:
        (folder / "model.onnx").write_bytes(model.SerializeToString())
    if metrics is not None:
        (folder / "metrics.json").write_text(metrics)


def test_what_it_leaves_is_read(tmp_path: Path) -> None:
    leave(tmp_path, onnx_models.digits(), json.dumps({"accuracy": 0.5, "rows": 3}))
    trained = collect(tmp_path)
    assert trained.model == tmp_path / "model.onnx"
    assert trained.signature == Signature([Tensor("x", "FP32", [-1, 64])], [Tensor("logits", "FP32", [-1, 10])])
    assert trained.metrics == {"accuracy": 0.5, "rows": 3}
    assert (trained.parity, trained.weights) == (None, None)


@pytest.mark.parametrize(
    ("has_model", "metrics", "reason", "sentence"),
    [
        (False, "{}", "OutputInvalid", "left no model.onnx in $SLIPWAY_OUTPUT (it holds metrics.json)"),
        (True, None, "OutputInvalid", "left no metrics.json in $SLIPWAY_OUTPUT (it holds model.onnx)"),
        (
            True,
            "not json",
            "OutputInvalid",
            'is not JSON (Expecting value: line 1 column 1 (char 0)): write {"accuracy"',
        ),
        (True, "[0.5]", "OutputInvalid", 'is not an object: write {"accuracy": 0.97}'),
        (True, '{"accuracy": "0.5"}', "MetricInvalid", "'accuracy' is not one number"),
    ],
)
def test_what_is_missing_or_wrong_is_told(
    tmp_path: Path, has_model: bool, metrics: str | None, reason: str, sentence: str
) -> None:
    leave(tmp_path, onnx_models.digits() if has_model else None, metrics)
    with pytest.raises(TrainerError) as caught:
        collect(tmp_path)
    assert (caught.value.reason.name, caught.value.reason.again) == (reason, False)
    assert sentence in str(caught.value)


def test_a_link_to_a_file_elsewhere_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "secret.onnx").write_bytes(onnx_models.digits().SerializeToString())
    (tmp_path / "out" / "model.onnx").symlink_to(tmp_path / "secret.onnx")
    leave(tmp_path / "out", None, "{}")
    with pytest.raises(TrainerError, match=r"left no model\.onnx"):
        collect(tmp_path / "out")
