"""Checkpoints: the newest whole one is found again, whatever happened to the one before."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from slipway_trainer import failures
from slipway_trainer.checkpoint import Checkpoints
from slipway_trainer.failures import TrainerError
from slipway_trainer.fake_store import MemoryStore
from tests.unit.trainer.helpers import JsonCodec

FOLDER = "digits/runs/uid-1/checkpoints"


def checkpoints(store: MemoryStore, scratch: Path, attempt: str = "pod1") -> Checkpoints:
    return Checkpoints(store, "models", FOLDER, scratch, JsonCodec(), attempt)


def names(store: MemoryStore) -> list[str]:
    return [key.removeprefix(FOLDER + "/") for key in sorted(store.buckets["models"])]


def save_each(target: Checkpoints, *epochs: int) -> None:
    for epoch in epochs:
        target.save({"epoch": epoch})
        target.flush()


def test_the_next_attempt_gets_the_newest(tmp_path: Path) -> None:
    store = MemoryStore("models")
    save_each(checkpoints(store, tmp_path / "a"), 1, 2, 3)
    assert checkpoints(store, tmp_path / "b").restore() == {"epoch": 3}


def test_a_first_attempt_gets_none(tmp_path: Path) -> None:
    assert checkpoints(MemoryStore("models"), tmp_path).restore() is None


def test_the_last_two_are_kept_and_no_pod_writes_over_another(tmp_path: Path) -> None:
    store = MemoryStore("models")
    save_each(checkpoints(store, tmp_path / "a"), 1, 2, 3)
    save_each(checkpoints(store, tmp_path / "b", "pod2"), 4)
    assert names(store) == ["000003-pod1.safetensors", "000004-pod2.safetensors", "latest.json"]


@pytest.mark.parametrize("damage", ["changed", "lost"])
def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path: Path, damage: str) -> None:
    store = MemoryStore("models")
    save_each(checkpoints(store, tmp_path / "a"), 1, 2)
    newest = f"{FOLDER}/000002-pod1.safetensors"
    if damage == "changed":
        store.buckets["models"][newest] = b'{"epoch": 9}'
    else:
        del store.buckets["models"][newest]
    assert checkpoints(store, tmp_path / "b").restore() == {"epoch": 1}


@pytest.mark.parametrize("pointer", [b"not json", b"{}", b'{"checkpoints": [{"name": 1}]}'])
def test_a_damaged_pointer_means_from_the_start(tmp_path: Path, pointer: bytes) -> None:
    store = MemoryStore("models")
    save_each(checkpoints(store, tmp_path / "a"), 1)
    store.buckets["models"][f"{FOLDER}/latest.json"] = pointer
    assert checkpoints(store, tmp_path / "b").restore() is None


def test_a_state_that_was_uploaded_but_not_named_does_not_count(tmp_path: Path) -> None:
    store = MemoryStore("models")
    save_each(checkpoints(store, tmp_path / "a"), 1)
    store.buckets["models"][f"{FOLDER}/000002-pod1.safetensors"] = b'{"epoch": 2}'
    assert checkpoints(store, tmp_path / "b").restore() == {"epoch": 1}


class GatedStore(MemoryStore):
    """Uploads wait until the test opens the gate."""

    def __init__(self) -> None:
        super().__init__("models")
        self.gate = threading.Event()
        self.reached = threading.Event()
        self.states: list[int] = []

    def write(self, bucket: str, key: str, content: bytes | Path) -> None:
        if isinstance(content, Path):
            self.reached.set()
            self.gate.wait()
            self.states.append(json.loads(content.read_bytes())["epoch"])
        super().write(bucket, key, content)


def test_a_slow_store_slows_no_training_down_and_the_newest_state_wins(tmp_path: Path) -> None:
    store = GatedStore()
    target = checkpoints(store, tmp_path)
    target.save({"epoch": 1})
    assert store.reached.wait(10)
    for epoch in (2, 3, 4):  # returns although the first upload is stuck
        target.save({"epoch": epoch})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001.safetensors", "000004.safetensors"]
    store.gate.set()
    target.flush()
    assert store.states == [1, 4]
    assert list(tmp_path.iterdir()) == []


def test_close_stores_what_waits_and_takes_no_more(tmp_path: Path) -> None:
    store = GatedStore()
    target = checkpoints(store, tmp_path)
    target.save({"epoch": 1})
    assert store.reached.wait(10)
    target.save({"epoch": 2})
    store.gate.set()
    target.close()
    target.save({"epoch": 3})
    target.flush()
    assert store.states == [1, 2]


class RefusingStore(MemoryStore):
    def write(self, bucket: str, key: str, content: bytes | Path) -> None:
        raise TrainerError(failures.STORE_UNREACHABLE, "nothing answers")


def test_a_store_that_fails_does_not_end_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = checkpoints(RefusingStore("models"), tmp_path)
    save_each(target, 1, 2)
    assert [record.getMessage() for record in caplog.records] == ["checkpoint not stored problem=nothing answers"] * 2


def test_clear_deletes_all_also_those_that_no_pointer_names(tmp_path: Path) -> None:
    store = MemoryStore("models")
    target = checkpoints(store, tmp_path)
    save_each(target, 1)
    store.buckets["models"][f"{FOLDER}/000009-lost.safetensors"] = b"orphan"
    store.buckets["models"]["digits/runs/uid-1/result.json"] = b"{}"
    target.clear()
    assert list(store.buckets["models"]) == ["digits/runs/uid-1/result.json"]
