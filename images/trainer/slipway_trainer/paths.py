"""Where things lie in the pod; a test puts them elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slipway.contract import CODE_DIR, DATA_DIR, OUTPUT_DIR, TERMINATION_MESSAGE_PATH, WEIGHTS_DIR, WORK_DIR


@dataclass(frozen=True)
class Paths:
    """The folders and the file that the operator's pod has."""

    code: Path = Path(CODE_DIR)
    work: Path = Path(WORK_DIR)
    data: Path = Path(DATA_DIR)
    output: Path = Path(OUTPUT_DIR)
    termination: Path = Path(TERMINATION_MESSAGE_PATH)
    weights: Path = Path(WEIGHTS_DIR)
