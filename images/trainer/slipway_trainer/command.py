"""Runs the user's own program (``spec.command``) and reads what it leaves."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from slipway.contract import Env, TrainSpec

from . import failures
from .failures import TrainerError
from .model_file import read_model
from .output import Tee
from .progress import as_number
from .signature import open_model, signature_of
from .trained import Trained

log = logging.getLogger(__name__)

MODEL = "model.onnx"
METRICS = "metrics.json"


class Program:
    """A child process that a signal to the trainer reaches too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self, command: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        """Run to the end; its output is the pod's log, and its last lines stand in the failure's sentence.

        Raises:
            TrainerError: there is no such program, or it ended with another status than 0.
        """
        with self._lock:
            if self._stopped:
                raise TrainerError(failures.INTERRUPTED, "the pod was told to stop before the program started")
            tee = Tee()
            try:
                # A session of its own, so that a signal reaches what the program itself started.
                self._process = subprocess.Popen(
                    command, env=dict(env), cwd=folder, start_new_session=True, stdout=tee.writer, stderr=tee.writer
                )
            except OSError as error:
                raise TrainerError(
                    failures.COMMAND_NOT_FOUND,
                    f"spec.command starts {command[0]!r}, which cannot be run ({error.strerror}): name a program that "
                    f"the image has, with its whole path",
                ) from None
            finally:
                os.close(tee.writer)
        status = self._process.wait()
        lines = tee.last_lines()
        if self._stopped:
            raise TrainerError(failures.INTERRUPTED, "the pod was told to stop while the program ran")
        said = f"; its last lines:\n{lines}" if lines else " and printed nothing"
        if status < 0:
            raise TrainerError(
                failures.COMMAND_FAILED,
                f"the program {command[0]!r} was ended by {signal.Signals(-status).name}"
                + (" (often: out of memory)" if status == -signal.SIGKILL else "")
                + said,
            )
        if status:
            raise TrainerError(
                failures.COMMAND_FAILED,
                f"the program {command[0]!r} ended with status {status}{said}",
            )

    def stop(self) -> None:
        """Send SIGTERM to the program and what it started, and wait until it ends."""
        with self._lock:
            self._stopped = True
            process = self._process
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def program_environment(
    base: Mapping[str, str],
    spec: TrainSpec,
    data: Path,
    output: Path,
    weights: Path | None,
    more: Mapping[str, str],
) -> dict[str, str]:
    """The variables a program sees: those of the image, and what the design promises; no S3 credentials.

    Its data are already there and its output is taken away for it, so it needs none.
    """
    kept = {name: value for name, value in base.items() if not name.startswith(("SLIPWAY_STORE_", Env.SPEC))}
    return {
        **kept,
        Env.DATA: str(data),
        Env.OUTPUT: str(output),
        Env.PARAMETERS: json.dumps(spec.parameters, sort_keys=True),
        Env.SEED: str(spec.seed),
        **({Env.WEIGHTS: str(weights)} if weights else {}),
        **more,
    }


def collect(output: Path) -> Trained:
    """What the program left in its output folder.

    Raises:
        TrainerError: ``model.onnx`` or ``metrics.json`` is not there or not usable.
    """
    model, metrics = output / MODEL, output / METRICS
    for path in (model, metrics):
        if not path.is_file() or path.is_symlink():
            has = ", ".join(sorted(each.name for each in output.iterdir())) or "nothing"
            raise TrainerError(
                failures.OUTPUT_INVALID,
                f"the program left no {path.name} in ${Env.OUTPUT} (it holds {has}): write {MODEL} and {METRICS} there",
            )
    values = _metrics(metrics)
    read_model(model)
    return Trained(model, signature_of(open_model(model)), values)


def _metrics(path: Path) -> dict[str, float]:
    try:
        raw = json.loads(path.read_bytes())
    except ValueError as error:
        raise TrainerError(
            failures.OUTPUT_INVALID, f'{METRICS} is not JSON ({error}): write {{"accuracy": 0.97}}'
        ) from None
    if not isinstance(raw, dict):
        raise TrainerError(failures.OUTPUT_INVALID, f'{METRICS} is not an object: write {{"accuracy": 0.97}}')
    return {name: as_number(name, value) for name, value in raw.items()}
