"""What a training leaves behind, whichever way it ran: the same four files and facts go to the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.contract import Parity, Signature

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Trained:
    """A finished training. ``weights``, ``parity`` and ``example`` (the rows of the parity check, by input) are there
    for torch models only."""

    model: Path
    signature: Signature
    metrics: Mapping[str, float]
    parity: Parity | None = None
    weights: Path | None = None
    example: Mapping[str, np.ndarray] | None = None
