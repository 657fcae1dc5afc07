"""What a model takes and gives, read from the ONNX file as onnxruntime sees it: as the server will."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slipway.contract import ONNX_DATATYPES, Signature, Tensor

from . import failures
from .failures import TrainerError
from .model_file import without_schema_noise


def open_model(path: Path, threads: int = 1) -> Any:
    """An onnxruntime session on the CPU. Raises ``TrainerError`` where onnxruntime cannot load the file."""
    with without_schema_noise():
        import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; the model's warnings help nobody who reads the run's log
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen types of its own that share no base
        raise TrainerError(
            failures.MODEL_REFUSED, f"onnxruntime cannot load the model: {str(error).strip()[:500]}"
        ) from None


def signature_of(session: Any) -> Signature:
    """The signature of a loaded model.

    Raises:
        TrainerError: a tensor of a type that the protocol has no name for, or whose first dimension is not a batch of
            any size.
    """
    return Signature(
        inputs=[_tensor(each, "input") for each in session.get_inputs()],
        outputs=[_tensor(each, "output") for each in session.get_outputs()],
    )


def _tensor(value: Any, kind: str) -> Tensor:
    if value.type not in ONNX_DATATYPES:
        raise TrainerError(
            failures.MODEL_REFUSED,
            f"the {kind} {value.name!r} of the model is a {value.type}: use tensors of numbers, booleans or text "
            f"(for scikit-learn models: zipmap=False)",
        )
    shape = _shape(value.shape)
    if not shape or shape[0] != -1:
        raise TrainerError(
            failures.MODEL_REFUSED,
            f"the {kind} {value.name!r} of the model has the shape {list(value.shape)}: export it with a first "
            f"dimension of any size, because requests are put together into batches",
        )
    return Tensor(value.name, ONNX_DATATYPES[value.type], shape)


def _shape(dimensions: Sequence[Any]) -> list[int]:
    """Sizes, -1 for one that is named or not known.

    >>> _shape(["batch", 64, None])
    [-1, 64, -1]
    """
    return [size if isinstance(size, int) and size >= 0 else -1 for size in dimensions]
