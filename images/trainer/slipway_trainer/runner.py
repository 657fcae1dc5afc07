"""One attempt at a training run, from first to last; what each step does stands in the file it comes from.

    result there already? -> say so, done
    mark the attempt      -> the place can be written to
    fetch the data        -> digests, and the weights to begin with
    train                 -> a function of the user's, or a program
    compare               -> only where a ModelVersion is made once more
    publish               -> result.json, last
    delete checkpoints    -> nothing needs them any more
    termination message   -> the operator reads it

A pod may die between any two of these, and the next attempt ends with the same result.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from slipway.contract import DataResult, DataSpec, Env, Reproduction, TrainResult, TrainSpec

from . import command, entrypoint, failures, publish
from .checkpoint import Checkpoints, Codec
from .context import Context, TrainedModel
from .failures import TrainerError
from .fetch import fetch
from .manifest import directory_digest
from .openlineage import Listener, Nobody
from .paths import Paths
from .progress import ProgressBoard, as_number
from .report import Outcome, fit
from .reproduce import compare
from .seeds import seed_everything
from .store import OpenPlace, Store
from .trained import Trained
from .weights import fetch_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What an attempt needs from outside: everything a test replaces."""

    paths: Paths
    env: Mapping[str, str]
    """Of the pod, without S3 credentials."""
    kubeflow: Mapping[str, str]
    """What tells a program where to report its progress (``kubeflow.serve_kubeflow``)."""
    open_place: OpenPlace
    export: Callable[[TrainedModel, Path], Trained]
    codec: Codec
    device: Callable[[], str]
    threads: int = 1
    listener: Listener = field(default_factory=Nobody)
    """Who is told how the attempt goes."""
    change_folder: Callable[[Path], None] = os.chdir
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Attempt:
    """One attempt at one run. ``run`` does the work, ``stop`` ends it early from another thread."""

    def __init__(self, spec: TrainSpec, outside: Surroundings, board: ProgressBoard, outcome: Outcome) -> None:
        self._spec = spec
        self._outside = outside
        self._board = board
        self._outcome = outcome
        self._program = command.Program()
        self._checkpoints: Checkpoints | None = None

    def run(self) -> int:
        """Returns the exit status; the termination message says why."""
        try:
            result = self._attempt()
        except TrainerError as error:
            return self._failed(error)
        except Exception as error:
            traceback.print_exception(error)
            return self._failed(
                TrainerError(
                    failures.INTERNAL, f"the trainer itself failed ({type(error).__name__}: {error}): report it"
                )
            )
        status = self._outcome.succeed(result)
        self._outside.listener.completed(result)
        return status

    def _failed(self, error: TrainerError) -> int:
        # The termination message first: whoever listens must not keep the operator waiting.
        status = self._outcome.fail(error)
        self._outside.listener.failed(_text(self._outside.now()), self._outcome.clean(str(error)))
        return status

    def stop(self) -> int:
        """Store what there is and give up; returns the exit status, which is 0 if the result already counts."""
        self._program.stop()
        if self._checkpoints is not None:
            self._checkpoints.close()
        progress = self._board.read()
        where = f" at step {progress.step} of {progress.of}" if progress.of else ""
        message = f"the pod was told to stop (SIGTERM){where}; the next attempt goes on from the last checkpoint"
        status = self._outcome.fail(TrainerError(failures.INTERRUPTED, message))
        if status:  # else the result counts already
            self._outside.listener.failed(_text(self._outside.now()), message, interrupted=True)
        return status

    def _attempt(self) -> TrainResult:
        spec, outside = self._spec, self._outside
        if bool(spec.entrypoint) == bool(spec.command):
            raise TrainerError(failures.SPEC_INVALID, "write either spec.entrypoint or spec.command")
        place, store = outside.open_place(spec.outputStore)
        folder = publish.RunFolder(place, spec.model, spec.runUid)
        attempt = outside.env.get(Env.ATTEMPT_UID) or "local"
        checkpoints = self._checkpoints = Checkpoints(
            store,
            place.bucket,
            folder.key("checkpoints"),
            outside.paths.work / "checkpoints",
            outside.codec,
            attempt[:8],
        )
        found = publish.find(store, folder)
        if found is not None:
            log.info("this run is already done, reporting its result result=%s", found.result)
            checkpoints.clear()
            return fit(found)
        started = _text(outside.now())
        log.info("training run=%s/%s model=%s seed=%d", spec.namespace, spec.run, spec.model, spec.seed)
        publish.mark(store, folder, spec, outside.env.get(Env.POD_NAME, attempt), started)
        outside.listener.started(started)
        commit = self._commit(store, folder)
        # A commit names its files already; a walk through them would follow the links of the repository anywhere.
        code_digest = None if commit else directory_digest(outside.paths.code)
        data = [self._fetch(each) for each in spec.data]
        weights = self._weights()
        self._board.tell("training")
        try:
            trained = self._train(checkpoints, weights)
        finally:
            checkpoints.close()
        for name, value in trained.metrics.items():
            _refuse_infinite(name, value)
        reproduction = self._compare(trained)
        self._board.tell("uploading the model")
        result = publish.publish(
            store,
            folder,
            trained,
            board=self._board,
            data=data,
            code_digest=code_digest,
            commit=commit,
            started_at=started,
            finished_at=_text(outside.now()),
            threads=outside.threads,
            reproduction=reproduction,
        )
        log.info("done artifact=%s digest=%s bytes=%d", *_facts(result))
        checkpoints.clear()
        return fit(result)

    def _commit(self, store: Store, folder: publish.RunFolder) -> str | None:
        """The commit that the container before this one fetched (``checkout``)."""
        if self._spec.codeGit is None:
            return None
        commit = publish.pinned_commit(store, folder)
        if commit is None:
            raise TrainerError(failures.INTERNAL, "the store does not say which commit this run takes: report it")
        return commit

    def _fetch(self, data: DataSpec) -> DataResult:
        self._board.tell(f"fetching data {data.name}")
        _, store = self._outside.open_place(data.store)
        manifests = self._outside.open_place(data.manifestStore)[1] if data.manifest else None
        got = fetch(store, data, self._outside.paths.data, self._board.tell, manifests)
        log.info("data fetched name=%s files=%d bytes=%d digest=%s", got.name, got.files, got.bytes, got.digest)
        return got

    def _weights(self) -> Path | None:
        """The weights of ``spec.from``; None where the training begins from nothing."""
        parent = self._spec.parent
        if parent is None:
            return None
        self._board.tell(f"fetching the weights of {parent.modelVersion}")
        _, store = self._outside.open_place(parent.weights.store)
        return fetch_weights(store, parent, self._outside.paths.weights)

    def _compare(self, trained: Trained) -> Reproduction | None:
        """What came out beside what ``spec.reproduce`` names; None where the run is to make a model of its own."""
        asked = self._spec.reproduce
        if asked is None:
            return None
        self._board.tell(f"comparing with {asked.modelVersion}")
        found = compare(asked, trained, self._outside.open_place, self._outside.paths.work / "original")
        log.info(
            "made once more version=%s verdict=%s differs=%d", found.modelVersion, found.verdict, len(found.differs)
        )
        return found

    def _train(self, checkpoints: Checkpoints, weights: Path | None) -> Trained:
        shutil.rmtree(self._outside.paths.output, ignore_errors=True)
        self._outside.paths.output.mkdir(parents=True)
        if self._spec.entrypoint:
            return self._by_entrypoint(self._spec.entrypoint, checkpoints, weights)
        return self._by_command(self._spec.command or [], weights)

    def _by_entrypoint(self, name: str, checkpoints: Checkpoints, weights: Path | None) -> Trained:
        spec, outside = self._spec, self._outside
        os.environ.update(outside.kubeflow)
        outside.change_folder(self._folder())
        seed_everything(spec.seed, outside.threads)
        context = Context(
            data={each.name: outside.paths.data / each.name for each in spec.data},
            parameters=spec.parameters,
            seed=spec.seed,
            device=outside.device(),
            checkpoints=checkpoints,
            board=self._board,
            parent=spec.parent.modelVersion if spec.parent else None,
            weights=weights,
        )
        function = entrypoint.load(name, outside.paths.code)
        log.info("calling entrypoint=%s device=%s threads=%d", name, context.device, outside.threads)
        returned = entrypoint.call(function, context, outside.paths.code)
        for metric, value in returned.metrics.items():
            as_number(metric, value)  # a wrong one is told before the export, which may take long
        self._board.tell("exporting the model")
        return outside.export(returned, outside.paths.output)

    def _by_command(self, program: list[str], weights: Path | None) -> Trained:
        spec, outside = self._spec, self._outside
        paths = outside.paths
        env = command.program_environment(outside.env, spec, paths.data, paths.output, weights, outside.kubeflow)
        log.info("running command=%s", program)
        self._program.run(program, env, self._folder())
        return command.collect(paths.output)

    def _folder(self) -> Path:
        """Where training code runs: beside itself, or in the scratch where the image holds it."""
        paths = self._outside.paths
        return paths.code if paths.code.is_dir() else paths.work


def _refuse_infinite(name: str, value: float) -> None:
    number = as_number(name, value)
    if not math.isfinite(number):
        raise TrainerError(
            failures.METRIC_INVALID,
            f"the final metric {name!r} is {number}: the training did not converge, so try a smaller learning rate or "
            f"leave the metric out",
        )


def _facts(result: TrainResult) -> tuple[str, str, int]:
    return result.artifact.uri, result.artifact.digest, result.artifact.size


def _text(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
