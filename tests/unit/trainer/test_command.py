"""A program in any language: what it is given, what it must leave, and how its end is told."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import onnx
import pytest

from slipway.contract import Signature, Tensor
from slipway_trainer.command import Program, collect, program_environment
from slipway_trainer.failures import TrainerError
from slipway_trainer.output import KEPT, Tee
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


RAISES = """
import sys
print("epoch 1", flush=True)
raise ValueError("the learning rate is a banana")
"""


def failure(folder: Path, *command: str) -> str:
    with pytest.raises(TrainerError) as caught:
        run(*command, folder=folder)
    assert caught.value.reason.name == "CommandFailed"
    return str(caught.value)


def python(folder: Path, code: str) -> str:
    return failure(folder, sys.executable, "-c", code)


def test_a_program_that_raises_says_so_in_the_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = python(tmp_path, RAISES)
    assert told.startswith(f"the program {sys.executable!r} ended with status 1; its last lines:\nepoch 1\nTraceback")
    assert told.endswith("ValueError: the learning rate is a banana")
    # and all of it is in the pod's log
    assert capfd.readouterr().out.splitlines()[0] == "epoch 1"


def test_only_its_last_lines_are_told_without_colours_and_progress_bars(tmp_path: Path) -> None:
    bar = "".join(f"\r{percent}%|###" for percent in range(101))
    code = f"print(*range(30), sep=chr(10)); print({bar!r}); print(chr(27) + '[31mred' + chr(27) + '[0m'); exit(3)"
    lines = python(tmp_path, code).split("its last lines:\n")[1].splitlines()
    assert lines == [*(str(n) for n in range(20, 30)), "100%|###", "red"]


def test_what_says_nothing_is_said_to_say_nothing(tmp_path: Path) -> None:
    assert (
        failure(tmp_path, "/bin/sh", "-c", "exit 3") == "the program '/bin/sh' ended with status 3 and printed nothing"
    )


def test_both_streams_are_passed_on_in_order_and_at_once(tmp_path: Path) -> None:
    """The program goes on only when the line that it printed can be read."""
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    script = "for n in 1 2 3 4 5; do echo out $n; echo err $n >&2; done; cat go; echo done"
    # A pipe, and not pytest's capture: asked while somebody writes, that loses what comes between its read and its cut.
    reader, writer = os.pipe()
    tee = Tee(to=writer)
    program = subprocess.Popen(["/bin/sh", "-c", script], cwd=tmp_path, stdout=tee.writer, stderr=tee.writer)
    os.close(tee.writer)
    seen = b""
    while b"err 5" not in seen:
        seen += os.read(reader, 4096)
    fifo.write_text("")
    assert program.wait() == 0
    tee.last_lines()
    os.close(writer)
    while piece := os.read(reader, 4096):
        seen += piece
    os.close(reader)
    wanted = [f"{stream} {n}" for n in range(1, 6) for stream in ("out", "err")]
    assert seen.decode().splitlines() == [*wanted, "done"]


def test_much_output_is_passed_on_whole_and_not_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    size = 8 * 1024 * 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Path(os.devnull).open("wb") as nowhere:
        tee = Tee(to=nowhere.fileno())
        command = [sys.executable, "-c", f"import sys; sys.stdout.write('x' * {size}); print('the end')"]
        subprocess.run(command, stdout=tee.writer, stderr=tee.writer, check=True)
        os.close(tee.writer)
        assert tee.last_lines().endswith("xthe end")
        assert len(tee._kept) <= KEPT
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < size // 1024
    run("/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo", folder=tmp_path)
    assert len(capfd.readouterr().out) == 1_000_001


def test_a_line_whose_beginning_is_forgotten_is_not_told(tmp_path: Path) -> None:
    told = python(tmp_path, f"print('s' * {2 * KEPT}); print('the end'); exit(1)")
    assert told.endswith("its last lines:\nthe end")


def test_what_it_leaves_running_does_not_hold_the_trainer_up(tmp_path: Path) -> None:
    """Its end counts, not that of the pipe; what the child says later is passed on still."""
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    told = failure(tmp_path, "/bin/sh", "-c", "(cat go; echo late) & echo soon; exit 4")
    assert told.endswith("ended with status 4; its last lines:\nsoon")
    fifo.write_text("")


def test_a_program_that_closes_its_output_goes_on(tmp_path: Path) -> None:
    run("/bin/sh", "-c", "exec >&- 2>&-; touch begun", folder=tmp_path)
    assert (tmp_path / "begun").exists()
    assert failure(tmp_path, "/bin/sh", "-c", "exec >&- 2>&-; exit 5").endswith("status 5 and printed nothing")


def test_a_log_that_nobody_reads_does_not_hold_the_program_up() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    tee = Tee(to=writer)
    subprocess.run(["/bin/echo", "hello"], stdout=tee.writer, check=True)
    os.close(tee.writer)
    assert tee.last_lines() == "hello"
    os.close(writer)


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
