"""What a training leaves behind, whichever way it ran: the same four files and facts go to the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway.contract import Parity, Signature


@dataclass(frozen=True)
class Trained:
    """A finished training. ``weights`` and ``parity`` are there for torch models only."""

    model: Path
    signature: Signature
    metrics: Mapping[str, float]
    parity: Parity | None = None
    weights: Path | None = None
