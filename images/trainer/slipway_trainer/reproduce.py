"""A model that was made once more beside the one that is registered: the same, alike, or different and in what.

The bytes are compared first. Only where they differ is the registered file fetched, checked against its digest, and
asked the same rows as the new one: those of the parity check, which the training code gave, or for a program, which
gave none, rows that are made up from the signature and are the same each time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slipway.contract import Difference, Metric, ReproduceSpec, Reproduction, Signature, split_s3

from .failures import TrainerError
from .manifest import file_digest
from .progress import as_number, number_text
from .signature import open_model, signature_of
from .store import ObjectMissingError, OpenPlace
from .trained import Trained

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

ROWS: Final = 16
"""Rows that are made up where the training gave none."""
_FREE_SIZE: Final = 4
"""Size of a made-up tensor's dimension that the signature leaves open."""
_SHOWN: Final = 300
"""Letters of one sentence: three of them must fit the termination message beside everything else."""
_METRICS_NAMED: Final = 4

Rows = Mapping[str, "np.ndarray"]


class _CannotCompareError(Exception):
    """The two files cannot be asked the same; the message says why."""


def compare(asked: ReproduceSpec, trained: Trained, open_place: OpenPlace, scratch: Path) -> Reproduction:
    """The verdict about a training that was done once more.

    Args:
        scratch: a file to fetch the registered model into.

    Raises:
        TrainerError: the store cannot be asked now, but perhaps later.
    """
    metrics = _metrics(asked, trained)
    digest = file_digest(trained.model)
    if digest == asked.artifact.digest:
        return _found(asked, "Identical", metrics)
    artifact = Difference("artifact", f"the file: {asked.artifact.digest} then, {digest} now")
    try:
        _fetch(asked, open_place, scratch)
        worst, rows, outputs = _outputs(asked, trained, scratch)
    except _CannotCompareError as error:
        told = Difference("outputs", f"the answers could not be compared: {error}"[:_SHOWN])
        return _found(asked, "Different", [artifact, told, *metrics])
    finally:
        scratch.unlink(missing_ok=True)
    verdict = "Different" if outputs or metrics else "WithinTolerance"
    apart = number_text(float(f"{worst:.3g}")) if math.isfinite(worst) else None
    return _found(asked, verdict, [artifact, *outputs, *metrics], apart, rows)


def _found(
    asked: ReproduceSpec, verdict: str, differs: list[Difference], worst: str | None = None, rows: int | None = None
) -> Reproduction:
    return Reproduction(asked.modelVersion, asked.uid, verdict, differs, worst, rows)


# ------------------------------------------------------------------------------------------------------- metrics


def _metrics(asked: ReproduceSpec, trained: Trained) -> list[Difference]:
    """One sentence about the metrics that are not as they were; none where all are."""
    then: dict[str, Metric] = {m.name: m for m in asked.metrics}
    told = []
    # Where the list of then was cut, nobody knows what the others were.
    for name in sorted(then if asked.metricsCut else {*then, *trained.metrics}):
        old = float(then[name].value) if name in then else math.nan
        # As it will be written, because the other one was.
        new = float(number_text(as_number(name, trained.metrics[name]))) if name in trained.metrics else math.nan
        if not _agree(old, new, asked):
            told.append(f"{name} {_number(old)} then, {_number(new)} now")
    if not told:
        return []
    more = f" and {len(told) - _METRICS_NAMED} more" if len(told) > _METRICS_NAMED else ""
    return [Difference("metrics", f"the metrics: {'; '.join(told[:_METRICS_NAMED])}{more}"[:_SHOWN])]


def _agree(then: float, now: float, asked: ReproduceSpec) -> bool:
    return abs(then - now) <= float(asked.absolute) + float(asked.relative) * abs(then)


def _number(value: float) -> str:
    return "none" if math.isnan(value) else number_text(value)


# ------------------------------------------------------------------------------------------------------- outputs


def _fetch(asked: ReproduceSpec, open_place: OpenPlace, path: Path) -> None:
    bucket, key = split_s3(asked.artifact.uri)
    _, store = open_place(asked.artifact.store)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("wb") as out:
            for piece in store.read(bucket, key):
                out.write(piece)
    except ObjectMissingError:
        raise _CannotCompareError(f"nothing lies at {asked.artifact.uri} any more") from None
    except TrainerError as error:
        if error.reason.again:
            raise
        raise _CannotCompareError(str(error)) from None
    found = file_digest(path)
    if found != asked.artifact.digest:
        raise _CannotCompareError(
            f"the file at {asked.artifact.uri} was changed: it has {found}, and {asked.artifact.digest} is recorded"
        )


def _outputs(asked: ReproduceSpec, trained: Trained, original: Path) -> tuple[float, int, list[Difference]]:
    """The largest difference, over how many rows, and a sentence where it is too large."""
    old, new = open_model(original), open_model(trained.model)
    before, signature = signature_of(old), trained.signature
    if before != signature:
        raise _CannotCompareError("the two files have different inputs or outputs")
    rows = trained.example if trained.example is not None else made_up(signature)
    names = [tensor.name for tensor in signature.outputs]
    worst, told = 0.0, []
    for name, then, now in zip(names, _run(old, names, rows), _run(new, names, rows), strict=True):
        gap, over = _difference(then, now, asked)
        worst = max(worst, gap)
        if over:
            told.append(f"{name} by up to {gap:.3g}")
    count = next(iter(rows.values())).shape[0]
    if not told:
        return worst, count, []
    allowed = f"{asked.absolute} + {asked.relative} of the value"
    said = f"the answers over {count} rows differ, and {allowed} is allowed: {', '.join(told)}"
    return worst, count, [Difference("outputs", said[:_SHOWN])]


def _run(session: Any, names: list[str], rows: Rows) -> list[Any]:
    try:
        answers: list[Any] = session.run(names, dict(rows))
    except Exception as error:  # onnxruntime's own types share no base
        raise _CannotCompareError(f"a file does not run with the rows: {str(error).strip()[:200]}") from None
    return answers


def _difference(then: Any, now: Any, asked: ReproduceSpec) -> tuple[float, bool]:
    """How far two answers are apart, and whether that is too far. Text and truth values must be equal."""
    import numpy as np

    if then.shape != now.shape:
        return math.inf, True
    if then.dtype.kind not in "fiu":
        same = bool((then == now).all())
        return (0.0, False) if same else (math.inf, True)
    old, new = then.astype(np.float64), now.astype(np.float64)
    # Equal infinities and NaN in the same place are agreement, not a difference.
    with np.errstate(invalid="ignore"):
        gap = np.where((old == new) | (np.isnan(old) & np.isnan(new)), 0.0, np.abs(old - new))
    gap = np.nan_to_num(gap, nan=math.inf, posinf=math.inf)
    allowed = float(asked.absolute) + float(asked.relative) * np.nan_to_num(np.abs(old), nan=0.0)
    return (float(gap.max()) if gap.size else 0.0), bool((gap > allowed).any())


def made_up(signature: Signature) -> Rows:
    """Rows for a model of which only the signature is known; the same ones each time.

    Raises:
        _CannotCompareError: an input is text, which nobody can make up.
    """
    import numpy as np

    dice = np.random.default_rng(0)
    rows: dict[str, np.ndarray] = {}
    for tensor in signature.inputs:
        shape = [ROWS, *(_FREE_SIZE if size < 0 else size for size in tensor.shape[1:])]
        kind, bits = tensor.datatype.rstrip("0123456789"), tensor.datatype.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        match kind:
            case "FP":
                rows[tensor.name] = dice.standard_normal(shape).astype(f"float{bits}")
            case "INT" | "UINT":
                # Small: they may be positions in a table.
                rows[tensor.name] = dice.integers(0, 2, shape).astype(f"{kind.lower()}{bits}")
            case "BOOL":
                rows[tensor.name] = dice.integers(0, 2, shape).astype(bool)
            case _:
                raise _CannotCompareError(f"the training gave no rows, and nobody can make up text for {tensor.name!r}")
    return rows
