"""What both registries hold: so many models with ten versions each, and what each version was made of.

Data sets, commits and images are shared between versions, as in a company: a question about one of them has an answer
of a size that a person would read. Pure, and without a library, because MLflow's own environment imports it too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

VERSIONS = 10
"""Of each model."""
SHARED_BY = 40
"""Versions that were made of one data set."""
COMMIT_OF = 20
"""Versions that were made from one commit."""
IMAGE_OF = 500
"""Versions that were trained in one image."""


@dataclass(frozen=True)
class Made:
    """One version and what it was made of."""

    model: str
    number: int
    data: str
    commit: str
    image: str
    parameters: tuple[tuple[str, str], ...]
    metrics: tuple[tuple[str, str], ...]
    alias: str | None

    @property
    def name(self) -> str:
        return f"{self.model}-v{self.number}"


def digest(of: str) -> str:
    """A sha256 that looks like one."""
    return f"sha256:{hashlib.sha256(of.encode()).hexdigest()}"


def model(index: int) -> str:
    """The name of a model."""
    return f"model-{index:04}"


def versions(models: int) -> Iterator[Made]:
    """All of them, model by model. The last but one number of each model is its champion."""
    for index in range(models * VERSIONS):
        number = index % VERSIONS + 1
        yield Made(
            model=model(index // VERSIONS),
            number=number,
            # Spread over the models, as a data set that many teams read.
            data=digest(f"data {index % max(1, models * VERSIONS // SHARED_BY)}"),
            commit=hashlib.sha256(f"commit {index // COMMIT_OF}".encode()).hexdigest()[:40],
            image=digest(f"image {index // IMAGE_OF}"),
            parameters=(("epochs", str(10 + index % 7)), ("learningRate", "0.01"), ("batch", "64")),
            metrics=(("accuracy", f"0.{9000 + index % 997}"), ("loss", f"0.{1000 + index % 991}")),
            alias="champion" if number == VERSIONS - 1 else None,
        )
