"""A look at a data set in memory, as the pod would take it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipway.contract import DatasetResult, DatasetSpec, Failure, loads
from slipway_dataset.runner import Look, Surroundings
from slipway_trainer.fake_store import MemoryStore
from slipway_trainer.progress import ProgressBoard
from slipway_trainer.report import Outcome
from slipway_trainer.store import Place, Store

PLACE = Place("default", "http://s3", "models", "team", "us-east-1", "key", "secret")
_numbers = itertools.count(1)


def spec(**more: Any) -> DatasetSpec:
    facts: dict[str, Any] = {"namespace": "team", "dataset": "digits", "uid": "uid", "uri": "s3://data/digits/", **more}
    return DatasetSpec(**facts)


def memory(files: Mapping[str, bytes], prefix: str = "digits/") -> MemoryStore:
    made = MemoryStore("data", "models")
    made.buckets["data"] = {prefix + name: content for name, content in files.items()}
    return made


class Looks:
    """Looks at data sets, each with a scratch of its own."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self._folder = folder

    def end(self, what: DatasetSpec) -> tuple[int, str]:
        """Exit status and termination message of one try."""
        number = next(_numbers)
        scratch = self._folder / f"scratch-{number}"
        message = self._folder / f"message-{number}"
        outside = Surroundings(scratch, lambda _: (PLACE, self.store), f"try{number}")
        code = Look(what, outside, ProgressBoard(), Outcome(message)).run()
        assert not list(scratch.rglob("*/*")), "nothing is left on the scratch"
        return code, message.read_text()

    def take(self, what: DatasetSpec) -> DatasetResult:
        code, message = self.end(what)
        assert code == 0, message
        return loads(DatasetResult, message)

    def failure(self, what: DatasetSpec) -> tuple[int, Failure]:
        code, message = self.end(what)
        return code, loads(Failure, message)

    def profile(self, what: DatasetSpec) -> dict[str, Any]:
        """The profile of a look that is taken now."""
        made = self.take(what)
        assert made.profile is not None
        content = b"".join(self.store.read("models", made.profile.removeprefix("s3://models/")))
        profile: dict[str, Any] = json.loads(content)
        return profile


def column(profile: Mapping[str, Any], name: str) -> dict[str, Any]:
    (found,) = (each for each in profile["columns"] if each["name"] == name)
    return dict(found)
