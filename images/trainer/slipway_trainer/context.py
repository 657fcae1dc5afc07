"""What training code sees: ``Context`` goes in, ``TrainedModel`` comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import failures
from .failures import TrainerError
from .parameters import Parameters
from .progress import ProgressBoard

if TYPE_CHECKING:  # names alone: the S3 client behind them takes longest to load, and not every process needs it
    from .checkpoint import Checkpoints, State


@dataclass(frozen=True)
class TrainedModel:
    """What the training code returns.

    Attributes:
        model: a ``torch.nn.Module``.
        example: the tensors of one call, the first dimension of each being the batch; better 2 rows or more, of data
            the model was not trained on. The ONNX file is compared with the torch model on these rows.
        inputs: a name for each tensor of ``example``.
        outputs: a name for each tensor the model returns.
        metrics: final numbers, the important ones first; ``spec.gate`` looks at these.
    """

    model: Any
    example: Any
    inputs: Sequence[str]
    outputs: Sequence[str]
    metrics: Mapping[str, Any] = field(default_factory=dict)


class Context:
    """One attempt at a training run, as the training code sees it.

    Attributes:
        parameters: ``spec.parameters``; a mapping of text, with ``integer``, ``number`` and ``flag`` besides.
        seed: ``spec.seed``; random, numpy and torch are already seeded with it.
        device: ``"cuda"`` where torch sees a GPU, else ``"cpu"``.
        parent: the ModelVersion of ``spec.from``, or None: the training begins from nothing.
        rank, world_size: this process among those of the run.
    """

    def __init__(
        self,
        *,
        data: Mapping[str, Path],
        parameters: Mapping[str, str],
        seed: int,
        device: str,
        checkpoints: Checkpoints,
        board: ProgressBoard,
        parent: str | None = None,
        weights: Path | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.parameters = Parameters(parameters)
        self.seed = seed
        self.device = device
        self.parent = parent
        self.rank = rank
        self.world_size = world_size
        self._data = dict(data)
        self._weights = weights
        self._checkpoints = checkpoints
        self._board = board

    def data(self, name: str) -> Path:
        """The folder with the files of one data set of ``spec.data``; its digest is already checked."""
        if name not in self._data:
            given = ", ".join(sorted(self._data)) or "none"
            raise TrainerError(
                failures.DATA_NOT_DECLARED,
                f"the code asks for the data set {name!r}: name it under spec.data (given: {given})",
            )
        return self._data[name]

    def weights(self) -> Path:
        """The weights of ``spec.from``, a safetensors file under the names of ``state_dict()``; its digest is already
        checked."""
        if self._weights is None:
            raise TrainerError(
                failures.WEIGHTS_NOT_DECLARED,
                "the code asks for weights to begin with: name a ModelVersion in spec.from.modelVersion, or ask only "
                "where context.parent is not None",
            )
        return self._weights

    def load_weights(self, module: Any, *, strict: bool = True) -> list[str]:
        """Load the weights of ``spec.from`` into a ``torch.nn.Module``.

        Args:
            module: its parameters and buffers get the values of the same name.
            strict: every name and every shape must be the same. False: what has the same name and shape is loaded, and
                the rest of the module stays as it is, for a model with another head.

        Returns:
            The names in the module that were left as they are; none where ``strict``.
        """
        from . import with_torch

        return with_torch.load_weights(self.weights(), module, strict)

    def report(self, step: int, of: int, **metrics: Any) -> None:
        """Show where the training is and what it measured, live in the run's status.

        Best values: the smallest where the name ends with ``loss`` or ``error``, else the largest.

        Args:
            step: steps done, from 0 to ``of``.
            of: steps in all.
            metrics: one number each.
        """
        if isinstance(step, bool) or not isinstance(step, int) or not isinstance(of, int) or not 0 <= step <= of:
            raise TrainerError(
                failures.METRIC_INVALID,
                f"report(step={step!r}, of={of!r}): give whole numbers, with 0 <= step <= of",
            )
        self._board.step(step, of, metrics)

    def checkpoint(self, state: State) -> None:
        """Store a state from which a later attempt can go on.

        ``state`` is a dict or list, nested as deep as you like, of tensors, numbers, text, booleans and None; nothing
        else, because nothing is pickled. ``state_dict()`` of modules and optimizers is fine. It is copied before this
        returns and uploaded in the background; a newer one replaces one that still waits. The last two are kept.
        """
        if self.rank == 0:
            self._checkpoints.save(state)

    def restore(self) -> State | None:
        """The newest checkpoint of an earlier attempt at this run, its tensors on the CPU; None where there is none."""
        return self._checkpoints.restore()
