"""One ONNX model in memory: opened, compared with its signature, warmed up and measured."""

from __future__ import annotations

import ctypes
import itertools
import logging
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from slipway_server import reasons, safety
from slipway_server.reasons import LoadError
from slipway_server.signature import BYTES, Array, Declared, Plan, compare, fits

log = logging.getLogger("slipway.server")

GPU: Final = "CUDAExecutionProvider"
CPU: Final = "CPUExecutionProvider"

ON_LOOP_LIMIT: Final = 0.002
"""Seconds. A model whose full batch runs within this is run on the event loop, a slower one in threads.

Two threads that call ``run`` on a 15 µs model are three times slower than one, and the hop to a thread and back costs
0.2-0.5 ms under load (design: serving facts), so below some 2 ms the hop costs more than the loop loses by waiting.
"""
WORTH: Final = 0.85
"""A doubled batch is worth it only if one row then costs at most this share of what it cost before; on one core a
convolution gains nothing from batching, and a batch of 32 would only make the first of them wait for all."""
BATCH_BUDGET: Final = 5.0
"""Seconds that measuring batch sizes may take in all; beyond it the largest size measured so far is used."""
FREE_SIZES: Final = (1, 8, 32, 224)
"""Sizes tried in the warm-up for a free dimension that is not the batch (a convolution does not take a 1x1 image)."""


@dataclass(frozen=True)
class Profile:
    """What the warm-up measured.

    Attributes:
        seconds: median of one run with one row.
        batch: rows up to which joining requests pays; 1 where it does not, or where the model has no batch dimension.
        batch_seconds: median of one run with ``batch`` rows.
        free: the size that was given to free dimensions other than the batch.
        joins: whether rows are independent, so that requests may be joined and a large one may be split.
    """

    seconds: float
    batch: int
    batch_seconds: float
    free: int = 1
    joins: bool = False

    @property
    def on_loop(self) -> bool:
        """Whether the model is so fast that its batches are run on the event loop."""
        return self.fits_loop(self.batch)

    def fits_loop(self, rows: int) -> bool:
        """Whether a run of so many rows is short enough for the event loop.

        >>> tiny = Profile(seconds=0.00001, batch=32, batch_seconds=0.0001)
        >>> tiny.fits_loop(1), tiny.fits_loop(640), tiny.fits_loop(641)
        (True, True, False)
        """
        return self.batch_seconds * max(1.0, rows / self.batch) <= ON_LOOP_LIMIT


class ModelRunError(Exception):
    """onnxruntime refused to run; the message is its first line."""


class Model:
    """A loaded model. ``run`` may be called from several threads at once.

    Attributes:
        plan: its signature, prepared.
        provider: the execution provider that took it.
        opset: version of the default operator set.
    """

    def __init__(self, session: ort.InferenceSession, plan: Plan, opset: int) -> None:
        self._session = session
        self._inputs = [t.name for t in plan.inputs]
        self._outputs = [t.name for t in plan.outputs]
        self.plan = plan
        self.opset = opset
        self.provider: str = session.get_providers()[0]

    def run(self, arrays: list[Array]) -> list[Array]:
        """Outputs in the order of the signature, for inputs in the order of the signature.

        Raises:
            ModelRunError: the model cannot compute on these inputs.
        """
        try:
            outputs: list[Array] = self._session.run(self._outputs, dict(zip(self._inputs, arrays, strict=True)))
        except Exception as error:  # onnxruntime's own exceptions derive from Exception alone
            raise ModelRunError(_first_line(error)) from error
        return outputs

    def zeros(self, rows: int, free: int) -> list[Array]:
        """Inputs of zeros (empty texts): ``rows`` rows, ``free`` in each other free dimension."""
        arrays: list[Array] = []
        for tensor in self.plan.inputs:
            tail = tuple(free if d == -1 else d for d in tensor.tail)
            shape = (rows if tensor.batched else tensor.shape[0], *tail) if tensor.shape else ()
            if tensor.datatype == BYTES:
                arrays.append(np.full(shape, "", dtype=object))
            else:
                arrays.append(np.zeros(shape, dtype=tensor.dtype))
        return arrays


def load(path: Path, plan: Plan, arena: int | None = None) -> Model:
    """Open a file whose digest was checked: walk it, load it, compare it with the signature.

    Args:
        path: the file.
        plan: its signature.
        arena: bytes that onnxruntime may take for activations on the CPU. It holds for the whole process, so only
            the first call that gives one sets it.

    Raises:
        LoadError: ``UnsafeModel``, ``LoadFailed`` or ``SignatureMismatch``.
    """
    summary = safety.check(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # one run a core; more runs, not more threads a run, use the other cores
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = _providers()
    if arena is not None:
        _bound_arena(arena)
        options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own exceptions derive from Exception alone
        raise LoadError(
            reasons.LOAD_FAILED,
            f"onnxruntime {ort.__version__} cannot load the model: {_first_line(error)}; "
            "check that it runs there before you register it",
        ) from error
    compare(plan, [_declared(t) for t in session.get_inputs()], [_declared(t) for t in session.get_outputs()])
    model = Model(session, plan, summary.opset)
    if model.provider != providers[0]:
        log.warning("a GPU is here, but CUDA or cuDNN is not: the model runs elsewhere", extra={"on": model.provider})
    return model


def warm_up(model: Model, max_batch: int) -> Profile:
    """Run the model on zeros, compare what comes out with the signature, and measure it.

    Raises:
        LoadError: it does not run (``LoadFailed``), or gives something else (``SignatureMismatch``).
    """
    free = _first_run(model)
    seconds = _median(model, 1, free)
    best, best_seconds = 1, seconds
    joins = model.plan.batched and _joins(model, free)
    if joins and max_batch > 1:
        spent = time.perf_counter()
        for rows in _sizes(max_batch):
            try:
                took = _median(model, rows, free)
            except ModelRunError:  # too large for the memory there is
                break
            if took / rows > WORTH * best_seconds / best:
                break
            best, best_seconds = rows, took
            if time.perf_counter() - spent > BATCH_BUDGET:
                break
    return Profile(seconds=seconds, batch=best, batch_seconds=best_seconds, free=free, joins=joins)


def _first_run(model: Model) -> int:
    """The size of free dimensions with which the model runs; checks the outputs on the way."""
    has_free = any(-1 in t.tail for t in model.plan.inputs)
    error: ModelRunError | None = None
    for free in FREE_SIZES if has_free else (1,):
        try:
            outputs = model.run(model.zeros(1, free))
        except ModelRunError as caught:
            error = error or caught
            continue
        for tensor, output in zip(model.plan.outputs, outputs, strict=True):
            array = np.asarray(output)
            if array.dtype != tensor.dtype or not fits(array.shape, tensor.shape):
                raise LoadError(
                    reasons.SIGNATURE_MISMATCH,
                    f"output {tensor.name!r} is {tensor.expected} in the signature, but the model gave {array.dtype} "
                    f"of shape {list(array.shape)}",
                )
        return free
    raise LoadError(reasons.LOAD_FAILED, f"the model loads but does not run on one row of zeros: {error}")


def _joins(model: Model, free: int) -> bool:
    """Whether two rows in give two rows out, in every output; if not, requests must not be joined."""
    try:
        outputs = model.run(model.zeros(2, free))
    except ModelRunError:
        return False
    return all(np.shape(o)[:1] == (2,) for o in outputs)


def _sizes(max_batch: int) -> list[int]:
    """Powers of two below the largest batch, and the largest batch.

    >>> _sizes(12), _sizes(2)
    ([2, 4, 8, 12], [2])
    """
    powers = itertools.takewhile(lambda n: n < max_batch, (2**i for i in itertools.count(1)))
    return [*powers, max_batch]


def _median(model: Model, rows: int, free: int) -> float:
    """Seconds of one run: median of up to 9 runs in up to half a second, after one that is not counted."""
    arrays = model.zeros(rows, free)
    model.run(arrays)
    times: list[float] = []
    while len(times) < 9 and sum(times) < 0.5:
        start = time.perf_counter()
        model.run(arrays)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _declared(tensor: Any) -> Declared:
    return Declared(
        name=tensor.name,
        type=tensor.type,
        shape=tuple(d if isinstance(d, int) and d >= 0 else -1 for d in tensor.shape or ()),
    )


def _providers() -> list[str]:
    """The GPU if this build knows it and a driver is there, and the CPU as the way back.

    Asked of the driver first, because onnxruntime-gpu without one logs an error that looks like a fault.
    """
    if GPU not in ort.get_available_providers():
        return [CPU]
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        log.info("no CUDA driver in this container: the model runs on the CPU")
        return [CPU]
    ort.preload_dlls()  # finds CUDA's and cuDNN's libraries where pip put them
    return [GPU, CPU]


def _bound_arena(size: int) -> None:
    """Let onnxruntime take no more than this; a run that needs more fails instead of the process being killed."""
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    same_as_requested = 1  # the default doubles, and would reach the bound with half of it unused
    ort.create_and_register_allocator(
        place, ort.OrtArenaCfg({"max_mem": size, "arena_extend_strategy": same_as_requested})
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:500]
