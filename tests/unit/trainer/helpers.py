"""What several of the trainer's tests need: a place in memory, a codec without torch, a run."""

from __future__ import annotations

import json
from pathlib import Path

from slipway.contract import DataSpec, TrainSpec
from slipway_trainer.checkpoint import State
from slipway_trainer.store import Place

PLACE = Place("default", "http://s3.test:8333", "models", "team", "us-east-1", "access-key", "secret-key")


class JsonCodec:
    """``checkpoint.Codec`` for states of plain JSON."""

    def encode(self, state: State, path: Path) -> None:
        path.write_text(json.dumps(state))

    def decode(self, path: Path) -> State:
        state: State = json.loads(path.read_text())
        return state


def data(uri: str = "s3://data/digits/", digest: str | None = None) -> DataSpec:
    return DataSpec("train", uri, digest=digest)


def spec(**more: object) -> TrainSpec:
    facts: dict[str, object] = {
        "namespace": "ns",
        "run": "digits-1",
        "runUid": "uid-1",
        "model": "digits",
        "entrypoint": "train:train",
        "seed": 7,
        **more,
    }
    return TrainSpec(**facts)  # type: ignore[arg-type]  # the tests give what fits
