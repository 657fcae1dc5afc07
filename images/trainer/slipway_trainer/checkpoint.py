"""Checkpoints in the store: written in the background, found again by the next attempt.

Layout below the run's place::

    checkpoints/000012-<attempt>.safetensors    one state; the name is never used twice by two pods
    checkpoints/latest.json                     which ones count, the newest first, each with its digest

A state counts only from the moment ``latest.json`` names it, so a pod that dies in between costs one state, not all.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from .failures import TrainerError
from .manifest import file_digest
from .store import ObjectMissingError, Store

log = logging.getLogger(__name__)

KEEP: Final = 2
"""The newest, and one more in case the newest turns out to be damaged."""
POINTER: Final = "latest.json"

State: TypeAlias = dict[Any, Any] | list[Any]


class Codec(Protocol):
    """Writes a state to a file and reads it back (``tensors.SafetensorsCodec``)."""

    def encode(self, state: State, path: Path) -> None: ...

    def decode(self, path: Path) -> State: ...


@dataclass(frozen=True)
class Saved:
    """One stored state, as ``latest.json`` names it."""

    name: str
    digest: str
    size: int


class Checkpoints:
    """The checkpoints of one run, for one attempt at it.

    One thread uploads. At most one state is on its way and one waits; a newer one replaces the waiting one, so a slow
    store slows no training down.
    """

    def __init__(self, store: Store, bucket: str, folder: str, scratch: Path, codec: Codec, attempt: str) -> None:
        self._store = store
        self._bucket = bucket
        self._folder = folder
        self._scratch = scratch
        self._codec = codec
        self._attempt = attempt
        self._changed = threading.Condition()
        self._waiting: Path | None = None
        self._uploading = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._number = 0
        self._saved: list[Saved] | None = None

    def save(self, state: State) -> None:
        """Copy the state to disk and hand it to the upload. Raises ``TrainerError`` for what cannot be stored."""
        with self._changed:
            if self._closed:
                return
            self._number += 1
            path = self._scratch / f"{self._number:06d}.safetensors"
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._codec.encode(state, path)
        with self._changed:
            replaced, self._waiting = self._waiting, path
            if self._thread is None:
                self._thread = threading.Thread(target=self._upload_all, name="checkpoints", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        if replaced is not None:
            replaced.unlink(missing_ok=True)

    def restore(self) -> State | None:
        """The newest state that is whole: digest and format are checked, and a damaged one is passed over."""
        for saved in self._known():
            path = self._scratch / f"restore-{saved.name}"
            self._scratch.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("wb") as stream:
                    for piece in self._store.read(self._bucket, self._key(saved.name)):
                        stream.write(piece)
                if file_digest(path) != saved.digest:
                    log.warning("checkpoint is damaged, trying the one before name=%s", saved.name)
                    continue
                state = self._codec.decode(path)
            except (ObjectMissingError, ValueError) as error:
                log.warning("checkpoint cannot be read, trying the one before name=%s problem=%r", saved.name, error)
                continue
            finally:
                path.unlink(missing_ok=True)
            log.info("checkpoint restored name=%s bytes=%d", saved.name, saved.size)
            return state
        return None

    def flush(self) -> None:
        """Wait until what was saved is stored, or could not be."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None and not self._uploading)

    def close(self) -> None:
        """Take no further state, and wait for those that were taken."""
        with self._changed:
            self._closed = True
        self.flush()

    def clear(self) -> None:
        """Delete all checkpoints of the run, whose result is stored. What cannot be deleted stays; the log says so."""
        self.close()
        try:
            for entry in list(self._store.entries(self._bucket, self._folder + "/")):
                self._store.remove(self._bucket, entry.key)
        except TrainerError as error:
            log.warning("checkpoints stay in the store folder=%s problem=%s", self._folder, error)

    def _upload_all(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting is not None)
                    path, self._waiting, self._uploading = self._waiting, None, True
                assert path is not None
                try:
                    self._upload(path)
                except (TrainerError, OSError) as error:
                    # The training goes on: a checkpoint saves time, the lack of one is no reason to lose all of it.
                    log.warning("checkpoint not stored problem=%s", error)
                finally:
                    path.unlink(missing_ok=True)
                    with self._changed:
                        self._uploading = False
                        self._changed.notify_all()
        finally:
            # A fault that was not foreseen must leave nobody waiting for this thread; the next state starts another.
            with self._changed:
                self._thread, self._waiting = None, None
                self._changed.notify_all()

    def _upload(self, path: Path) -> None:
        known = self._known()
        last = max((int(saved.name.split("-")[0]) for saved in known), default=0)
        new = Saved(f"{last + 1:06d}-{self._attempt}.safetensors", file_digest(path), path.stat().st_size)
        self._store.write(self._bucket, self._key(new.name), path)
        kept = [new, *known][:KEEP]
        pointer = {"v": 1, "checkpoints": [asdict(saved) for saved in kept]}
        self._store.write(self._bucket, self._key(POINTER), json.dumps(pointer).encode())
        self._saved = kept
        log.info("checkpoint stored name=%s bytes=%d", new.name, new.size)
        for old in known:
            if old not in kept:
                with contextlib.suppress(TrainerError):
                    self._store.remove(self._bucket, self._key(old.name))

    def _known(self) -> list[Saved]:
        if self._saved is None:
            self._saved = self._read_pointer()
        return self._saved

    def _read_pointer(self) -> list[Saved]:
        try:
            raw = json.loads(b"".join(self._store.read(self._bucket, self._key(POINTER))))
            return [Saved(str(c["name"]), str(c["digest"]), int(c["size"])) for c in raw["checkpoints"]]
        except ObjectMissingError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is damaged, starting without checkpoints problem=%r", POINTER, error)
            return []

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}"
