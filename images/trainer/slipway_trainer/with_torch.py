"""The parts that need torch, found when they are first used: a program in another framework's image has none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from . import failures
from .checkpoint import State
from .context import TrainedModel
from .failures import TrainerError
from .trained import Trained

T = TypeVar("T")


def export(trained: TrainedModel, folder: Path) -> Trained:
    """``export.export``."""

    def run() -> Trained:
        from .export import export as real

        return real(trained, folder)

    return _needing_torch(run)


def load_weights(path: Path, module: Any, strict: bool) -> list[str]:
    """``tensors.load_weights``."""

    def run() -> list[str]:
        from .tensors import load_weights as real

        return real(path, module, strict)

    return _needing_torch(run)


def device() -> str:
    """``cuda`` where torch sees a GPU, else ``cpu``."""
    try:
        import torch
    except ImportError:
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


class TorchCodec:
    """``tensors.SafetensorsCodec``."""

    def encode(self, state: State, path: Path) -> None:
        def run() -> None:
            from .tensors import SafetensorsCodec

            SafetensorsCodec().encode(state, path)

        _needing_torch(run)

    def decode(self, path: Path) -> State:
        def run() -> State:
            from .tensors import SafetensorsCodec

            return SafetensorsCodec().decode(path)

        return _needing_torch(run)


def _needing_torch(call: Callable[[], T]) -> T:
    try:
        return call()
    except ModuleNotFoundError as error:
        raise TrainerError(
            failures.MODULE_MISSING,
            f"the image lacks {error.name!r}, which a training function needs: build it from Slipway's trainer image, "
            f"or use spec.command",
        ) from None
