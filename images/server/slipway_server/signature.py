"""The signature of a model, prepared for the hot path: what each input must be, what each output will be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from slipway.contract import ONNX_DATATYPES, Signature, Tensor
from slipway_server import reasons
from slipway_server.reasons import LoadError

Array = npt.NDArray[Any]

BYTES: Final = "BYTES"

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    BYTES: np.dtype(object),
}
"""Datatype of the Open Inference Protocol -> numpy type; ``BYTES`` is ONNX's string, an array of ``str``."""


MAX_CLASSES: Final = 100
"""Columns up to which an output of numbers is read as a classifier's scores; beyond, it may as well be an embedding."""


class Role(Enum):
    """What an output is, as far as its signature tells."""

    SCORES = auto()
    """FP16, FP32 or FP64 of shape [-1, C] with 2 <= C <= ``MAX_CLASSES``: the largest of a row is the class."""
    LABELS = auto()
    """An integer of shape [-1] or [-1, 1], a boolean or a text: the value itself is the class."""
    NUMBERS = auto()
    """Anything else."""


@dataclass(frozen=True)
class TensorPlan:
    """One input or output, with what the hot path needs worked out.

    Attributes:
        tail: the dimensions after the first; -1 is any size.
        fixed: the same, if none of them is -1, else None.
        row: elements of one row, if ``fixed``, else 0.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    tail: tuple[int, ...]
    fixed: tuple[int, ...] | None
    row: int

    @property
    def batched(self) -> bool:
        """Whether the first dimension is free, so that requests may be joined along it."""
        return bool(self.shape) and self.shape[0] == -1

    @property
    def role(self) -> Role:
        """What it is, if it is an output.

        >>> [TensorPlan.of(Tensor("y", "FP32", shape)).role.name for shape in ([-1, 10], [-1, 768], [-1])]
        ['SCORES', 'NUMBERS', 'NUMBERS']
        """
        if self.dtype.kind == "f" and self.batched and len(self.tail) == 1 and 2 <= self.tail[0] <= MAX_CLASSES:
            return Role.SCORES
        if self.dtype.kind in "bO" or (self.dtype.kind in "iu" and self.batched and self.tail in ((), (1,))):
            return Role.LABELS
        return Role.NUMBERS

    @property
    def expected(self) -> str:
        """The tensor in words, for error sentences.

        >>> TensorPlan.of(Tensor("x", "FP32", [-1, 64])).expected
        'FP32 of shape [-1, 64]'
        """
        return f"{self.datatype} of shape {list(self.shape)}"

    @classmethod
    def of(cls, tensor: Tensor) -> TensorPlan:
        """Prepare one tensor of a signature.

        Raises:
            LoadError: its datatype is not one that is served.
        """
        dtype = DTYPES.get(tensor.datatype)
        if dtype is None:
            raise LoadError(
                reasons.SIGNATURE_MISMATCH,
                f"tensor {tensor.name!r} has datatype {tensor.datatype!r}, but only {', '.join(DTYPES)} are served",
            )
        tail = tuple(tensor.shape[1:])
        fixed = tail if -1 not in tail else None
        return cls(
            name=tensor.name,
            datatype=tensor.datatype,
            shape=tuple(tensor.shape),
            dtype=dtype,
            tail=tail,
            fixed=fixed,
            row=math.prod(fixed) if fixed is not None else 0,
        )


@dataclass(frozen=True)
class Plan:
    """The whole signature, prepared."""

    inputs: tuple[TensorPlan, ...]
    outputs: tuple[TensorPlan, ...]
    input_index: dict[str, int]
    output_index: dict[str, int]

    @classmethod
    def of(cls, signature: Signature) -> Plan:
        """Prepare a signature.

        Raises:
            LoadError: it has no input or no output, a name twice, or a datatype that is not served.
        """
        inputs = tuple(TensorPlan.of(t) for t in signature.inputs)
        outputs = tuple(TensorPlan.of(t) for t in signature.outputs)
        for what, tensors in (("input", inputs), ("output", outputs)):
            names = [t.name for t in tensors]
            if not names or len(set(names)) != len(names):
                raise LoadError(
                    reasons.SIGNATURE_MISMATCH, f"the signature must name each {what} once, it names {names}"
                )
        return cls(
            inputs=inputs,
            outputs=outputs,
            input_index={t.name: i for i, t in enumerate(inputs)},
            output_index={t.name: i for i, t in enumerate(outputs)},
        )

    @property
    def batched(self) -> bool:
        """Whether every tensor's first dimension is the batch."""
        return all(t.batched for t in (*self.inputs, *self.outputs))


@dataclass(frozen=True)
class Declared:
    """A tensor as the model file declares it; a dimension that is not a number is -1."""

    name: str
    type: str
    shape: tuple[int, ...]


def compare(plan: Plan, inputs: list[Declared], outputs: list[Declared]) -> None:
    """Compare what the ModelVersion says with what the file declares.

    A signature may be narrower than the file (a fixed size where the file takes any), never wider.

    Raises:
        LoadError: ``SignatureMismatch``, naming the tensor and both sides.
    """
    for kind, wanted, found in (("input", plan.inputs, inputs), ("output", plan.outputs, outputs)):
        declared = {t.name: t for t in found}
        names = [t.name for t in wanted]
        if set(declared) != set(names):
            raise LoadError(
                reasons.SIGNATURE_MISMATCH,
                f"the signature names the {kind}s {names}, but the model has {list(declared)}",
            )
        for tensor in wanted:
            have = declared[tensor.name]
            datatype = ONNX_DATATYPES.get(have.type, have.type)
            if datatype != tensor.datatype or not _fits(tensor.shape, have.shape, kind):
                raise LoadError(
                    reasons.SIGNATURE_MISMATCH,
                    f"{kind} {tensor.name!r} is {tensor.expected} in the signature, but {datatype} of shape "
                    f"{list(have.shape)} in the model",
                )


def fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a real shape is one that the signature allows.

    >>> fits((2, 64), (-1, 64)), fits((2, 65), (-1, 64)), fits((64,), (-1, 64))
    (True, False, False)
    """
    return len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted, strict=True))


def _fits(wanted: tuple[int, ...], declared: tuple[int, ...], kind: str) -> bool:
    if kind == "output" and not declared:
        return True  # a rank that is not known reads like a scalar; the warm-up compares the real one
    return len(wanted) == len(declared) and all(d in (-1, w) for w, d in zip(wanted, declared, strict=True))
