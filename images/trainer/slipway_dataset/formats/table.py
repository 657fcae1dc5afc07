"""Which format is read by what."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

READERS: Final = {
    "Csv": "csv_file",
    "Parquet": "parquet_file",
    "Npz": "npz_file",
    "Images": "image_file",
}
"""Format to module. ``Files`` has none: nothing but bytes is known of them. A module is imported when it is needed:
Arrow takes a third of a second to load."""


@dataclass(frozen=True)
class Format:
    """How files of a format are read: ``read(source, path, size, wanted, into)``, and how their names end."""

    name: str
    read: Callable[..., None]
    endings: tuple[str, ...]
    module: Any

    def fits(self, path: str, alone: bool) -> bool:
        """Whether a file is one of the format, by its name; one that is the whole data set is, whatever its name."""
        return alone or path.lower().endswith(self.endings)


def by_name(name: str) -> Format | None:
    """The format, or None for ``Files``."""
    if name not in READERS:
        return None
    module = importlib.import_module(f"{__package__}.{READERS[name]}")
    return Format(name, module.read, module.ENDINGS, module)
