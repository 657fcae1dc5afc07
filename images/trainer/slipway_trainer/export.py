"""A torch model as one ONNX file, shown to answer as the torch model does. Imports torch.

The file is the same, byte for byte, for the same model: names that the exporter invents are stable, and what it writes
about source lines and the machine is taken out.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from slipway.contract import Parity

from . import failures
from .context import TrainedModel
from .failures import TrainerError
from .model_file import SIZE_LIMIT, read_model
from .progress import number_text
from .signature import open_model, signature_of
from .tensors import save_weights
from .trained import Trained

log = logging.getLogger(__name__)

OPSET: Final = 18
"""The newest that both exporters of torch 2.6 write natively, and that every onnxruntime since 1.14 runs."""
BATCH: Final = "batch"


@dataclass(frozen=True)
class Tolerance:
    """How far ONNX may be from torch: ``absolute + relative * |torch|``."""

    absolute: float
    relative: float


TOLERANCE: Final = {
    torch.float16: Tolerance(1e-2, 1e-2),
    torch.float32: Tolerance(1e-4, 1e-3),
    torch.float64: Tolerance(1e-6, 1e-6),
}
"""Of outputs by type; whole numbers, booleans and text must be equal. float32: two correct kernels that sum in another
order differ by some 1e-6 a layer, a wrong operator by far more."""


def export(trained: TrainedModel, folder: Path) -> Trained:
    """Write ``model.onnx`` and ``model.safetensors`` into ``folder``, and compare ONNX with torch.

    Raises:
        TrainerError: the returned fields do not fit each other, the model cannot be exported, or ONNX answers
            differently.
    """
    model, example = _checked(trained)
    inputs, outputs = list(trained.inputs), list(trained.outputs)
    folder.mkdir(parents=True, exist_ok=True)
    path, weights = folder / "model.onnx", folder / "model.safetensors"
    _write(model, example, inputs, outputs, path)
    session = open_model(path)
    _check_names(session, inputs, outputs)
    parity = _compare(model, session, example, inputs, outputs)
    log.info("onnx agrees with torch rows=%d max_abs_diff=%s", parity.rows, parity.maxAbsDiff)
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    save_weights(state, weights)
    rows = {name: each.numpy() for name, each in zip(inputs, example, strict=True)}
    return Trained(path, signature_of(session), dict(trained.metrics), parity, weights, rows)


# ------------------------------------------------------------------------------------------- what was returned


def _checked(trained: TrainedModel) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The model on the CPU in evaluation mode, and the example as a tuple of tensors of one batch size."""
    model = trained.model
    if not isinstance(model, torch.nn.Module):
        raise _invalid(f"model is of type {type(model).__name__}: give a torch.nn.Module")
    given = trained.example if isinstance(trained.example, (tuple, list)) else (trained.example,)
    if not given or not all(isinstance(each, torch.Tensor) and each.dim() > 0 for each in given):
        raise _invalid(
            "example is not a tuple of tensors with a batch dimension: give the inputs of one call, (x[:2],)"
        )
    example = tuple(each.detach().cpu() for each in given)
    rows = {each.shape[0] for each in example}
    if len(rows) != 1 or rows == {0}:
        raise _invalid(f"the tensors of example have {sorted(rows)} rows: give each the same number, 1 or more")
    for field, names, count in (("inputs", trained.inputs, len(example)), ("outputs", trained.outputs, None)):
        wrong = isinstance(names, str) or not all(isinstance(name, str) and name for name in names)
        if wrong or not names or len(set(names)) != len(names) or (count is not None and len(names) != count):
            raise _invalid(f"{field} is {names!r}: give a list with a name for each, all different")
    if set(trained.inputs) & set(trained.outputs):
        raise _invalid("an input and an output have the same name: name them differently")
    model = model.cpu().eval()
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    if size > SIZE_LIMIT:
        raise TrainerError(
            failures.EXPORT_FAILED,
            f"the model has {size:,} bytes of weights and an ONNX file of one piece can have {SIZE_LIMIT:,}: "
            f"make it smaller, for instance with model.half()",
        )
    return model, example


def _invalid(message: str) -> TrainerError:
    return TrainerError(failures.RETURN_INVALID, f"TrainedModel: {message}")


def _answers(model: torch.nn.Module, example: Sequence[torch.Tensor], outputs: Sequence[str]) -> list[torch.Tensor]:
    rows = example[0].shape[0]
    try:
        with torch.inference_mode():
            returned = model(*example)
    except Exception as error:
        traceback.print_exception(error)
        raise _invalid(f"the model fails when it is called with {rows} rows of example: {str(error)[:500]}") from None
    given = [returned] if isinstance(returned, torch.Tensor) else returned
    given = list(given.values()) if isinstance(given, dict) else given
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, torch.Tensor) for each in given):
        raise _invalid("the model returns something besides tensors: wrap it in a module that returns tensors only")
    if len(given) != len(outputs):
        raise _invalid(f"the model returns {len(given)} tensors and outputs names {len(outputs)}: name each")
    for name, each in zip(outputs, given, strict=True):
        if each.dim() == 0 or each.shape[0] != rows:
            raise _invalid(
                f"the output {name!r} has the shape {list(each.shape)} for {rows} rows: its first "
                f"dimension must be the batch"
            )
    return list(given)


# ---------------------------------------------------------------------------------------------------- exporting


def _write(
    model: torch.nn.Module, example: tuple[torch.Tensor, ...], inputs: list[str], outputs: list[str], path: Path
) -> None:
    _answers(model, example, outputs)  # a clear sentence here instead of the exporter's
    problem: Exception | None = None
    for name, exporter in _exporters():
        try:
            exporter(model, example, inputs, outputs, path)
        except Exception as error:  # the exporters raise whatever their depths raise
            log.warning("exporter failed name=%s problem=%s", name, str(error)[:300])
            traceback.print_exception(error)
            problem = problem or error
        else:
            log.info("model exported exporter=%s opset=%d", name, OPSET)
            _canonical(path)
            return
    told = str(problem).strip()[:800]
    raise TrainerError(failures.EXPORT_FAILED, f"torch cannot write the model as ONNX: {told}") from None


Exporter = Callable[[torch.nn.Module, tuple[torch.Tensor, ...], list[str], list[str], Path], None]


def _exporters() -> list[tuple[str, Exporter]]:
    """The exporters this torch has, the steadier one first.

    Tracing (``dynamo=False``) needs no package besides torch and has written the same bytes for years; the newer one
    knows more models but needs onnxscript, and is the only one left should a later torch drop tracing.
    """
    known: list[tuple[str, Exporter]] = []
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        known.append(("trace", _by_tracing))
    if importlib.util.find_spec("onnxscript") is not None:
        known.append(("dynamo", _by_dynamo))
    return known or [("trace", _by_tracing)]


def _by_tracing(
    model: torch.nn.Module, example: tuple[torch.Tensor, ...], inputs: list[str], outputs: list[str], path: Path
) -> None:
    torch.onnx.export(
        model,
        example,
        str(path),
        input_names=inputs,
        output_names=outputs,
        dynamic_axes={name: {0: BATCH} for name in (*inputs, *outputs)},
        opset_version=OPSET,
        dynamo=False,
    )


def _by_dynamo(
    model: torch.nn.Module, example: tuple[torch.Tensor, ...], inputs: list[str], outputs: list[str], path: Path
) -> None:
    batch = torch.export.Dim(BATCH)
    # torch.export takes a size of 1 for a constant, so a single row is doubled.
    wide = example if example[0].shape[0] > 1 else tuple(torch.cat([each, each]) for each in example)
    torch.onnx.export(
        model,
        wide,
        str(path),
        input_names=inputs,
        output_names=outputs,
        dynamic_shapes=tuple({0: batch} for _ in inputs),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
    )


def _canonical(path: Path) -> None:
    """Take out what differs from machine to machine (source lines, notes of the exporter), and check the file."""
    model = read_model(path)
    model.doc_string = ""
    del model.metadata_props[:]
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
            part.doc_string = ""
            if hasattr(part, "metadata_props"):
                del part.metadata_props[:]
        for node in graph.node:
            graphs += [a.g for a in node.attribute if a.HasField("g")] + [g for a in node.attribute for g in a.graphs]
    path.write_bytes(model.SerializeToString(deterministic=True))


# ------------------------------------------------------------------------------------------------------- parity


def _check_names(session: Any, inputs: list[str], outputs: list[str]) -> None:
    for field, wanted, has in (
        ("inputs", inputs, [each.name for each in session.get_inputs()]),
        ("outputs", outputs, [each.name for each in session.get_outputs()]),
    ):
        if has != wanted:
            raise TrainerError(
                failures.EXPORT_FAILED,
                f"the ONNX file has the {field} {has} where TrainedModel names {wanted}: leave out of example what the "
                f"model does not use, and return each tensor once",
            )


def _compare(
    model: torch.nn.Module, session: Any, example: tuple[torch.Tensor, ...], inputs: list[str], outputs: list[str]
) -> Parity:
    """Compare on all example rows, on the first alone, and on one row more, which shows that any batch goes."""
    rows = example[0].shape[0]
    batches = [example, tuple(torch.cat([each, each[:1]]) for each in example)]
    if rows > 1:
        batches.append(tuple(each[:1] for each in example))
    worst = 0.0
    for batch in batches:
        expected = _answers(model, batch, outputs)
        feeds = {name: each.numpy() for name, each in zip(inputs, batch, strict=True)}
        try:
            got = session.run(outputs, feeds)
        except Exception as error:  # onnxruntime's own types share no base
            raise TrainerError(
                failures.PARITY_FAILED,
                f"the ONNX file does not run with {batch[0].shape[0]} rows: {str(error).strip()[:500]}",
            ) from None
        for name, want, have in zip(outputs, expected, got, strict=True):
            worst = max(worst, _difference(name, want, torch.from_numpy(have)))
    return Parity(number_text(float(f"{worst:.3g}")), rows)


def _difference(name: str, want: torch.Tensor, have: torch.Tensor) -> float:
    """Largest absolute difference. Raises ``TrainerError`` beyond the tolerance of the output's type."""
    if want.shape != have.shape or want.dtype != have.dtype:
        raise TrainerError(
            failures.PARITY_FAILED,
            f"the output {name!r} is {have.dtype} {list(have.shape)} in ONNX and {want.dtype} {list(want.shape)} in "
            f"torch: see that the model has no Python branch on sizes or values",
        )
    tolerance = TOLERANCE.get(want.dtype, Tolerance(0.0, 0.0))
    wanted, had = want.double(), have.double()
    # Equal infinities and NaN in the same place are agreement, not a difference.
    gap = torch.where((wanted == had) | (wanted.isnan() & had.isnan()), 0.0, (wanted - had).abs())
    gap = gap.nan_to_num(nan=float("inf"))
    allowed = tolerance.absolute + tolerance.relative * wanted.abs().nan_to_num(nan=0.0)
    worst = float(gap.max()) if gap.numel() else 0.0
    if bool((gap > allowed).any()):
        raise TrainerError(
            failures.PARITY_FAILED,
            f"the output {name!r} differs by up to {worst:.3g} between torch and ONNX, and {tolerance.absolute:g} + "
            f"{tolerance.relative:g} of the value is allowed: see that the model is deterministic in eval mode and has "
            f"no Python branch on values",
        )
    return worst
