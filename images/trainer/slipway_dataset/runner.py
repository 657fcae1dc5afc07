"""One look at a data set, from first to last; what each step does stands in the file it comes from.

    state of earlier tries -> what is known already
    list                   -> what is there; what is known of objects that changed is dropped
    read                   -> each object that is not known, once: hash and profile in the same pass
    put together           -> manifest and digest; profile; verdict
    publish                -> manifest, profile, state
    termination message    -> the operator reads it

A pod may die between any two of these, and the next one ends with the same result.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import queue
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from slipway.contract import CheckSpec, DatasetResult, DatasetSpec, DataSpec
from slipway_trainer import failures
from slipway_trainer.failures import TrainerError
from slipway_trainer.fetch import nothing, refuse_unsafe, split_uri
from slipway_trainer.progress import ProgressBoard
from slipway_trainer.report import Outcome
from slipway_trainer.store import Entry, ObjectMissingError, Place, Store

from . import verdict
from .formats.common import wanted
from .formats.table import Format, by_name
from .index import Index, Known, Unread
from .partial import NotOfFormatError, Partial
from .profile import document
from .result import fit
from .rows import RowChecks
from .source import Source, StoppedError
from .state import State
from .total import Total

log = logging.getLogger(__name__)

PARALLEL: Final = 8
"""Objects read at a time."""
WAITING: Final = 8 * PARALLEL
"""Objects handed to the readers, or back, at a time."""
AT_ONCE: Final = {"Parquet": 2 * 1024**3, "Npz": 2 * 1024**3, "Images": 128 * 1024**2}
"""Bytes of files at a time, if there is more than one, that are on the scratch as a whole (images: in memory)."""
READING_VERSION: Final = 2
"""Of what is read from a file: another one, and every file is read again."""


@dataclass(frozen=True)
class Surroundings:
    """What a look needs from outside: everything a test replaces."""

    scratch: Path
    open_place: Callable[[str], tuple[Place, Store]]
    attempt: str
    """Names this try among all that ever were."""


@dataclass
class _Read:
    """What became of one object."""

    what: Unread
    size: int = 0
    sha256: str = ""
    partial: Partial | None = None
    error: BaseException | None = None


class Look:
    """One look at one data set. ``run`` does the work, ``stop`` ends it early from another thread."""

    def __init__(self, spec: DatasetSpec, outside: Surroundings, board: ProgressBoard, outcome: Outcome) -> None:
        self._spec = spec
        self._outside = outside
        self._board = board
        self._outcome = outcome
        self._stop = threading.Event()
        self._state: State | None = None

    def run(self) -> int:
        """Returns the exit status; the termination message says why."""
        try:
            return self._outcome.succeed(fit(self._look()))
        except TrainerError as error:
            return self._outcome.fail(error)
        except StoppedError:
            return self._interrupted()
        except OSError as error:
            return self._outcome.fail(_of_disk(error, self._spec))
        except Exception as error:
            traceback.print_exception(error)
            return self._outcome.fail(
                TrainerError(
                    failures.INTERNAL, f"the dataset program itself failed ({type(error).__name__}: {error}): report it"
                )
            )

    def stop(self) -> int:
        """Keep what was read and give up; returns the exit status, which is 0 if the result already counts."""
        self._stop.set()
        if self._state is not None:
            _keep(self._state)
        return self._interrupted()

    def _interrupted(self) -> int:
        return self._outcome.fail(
            TrainerError(
                failures.INTERRUPTED, "the pod was told to stop (SIGTERM); the next one goes on with what was not read"
            )
        )

    def _look(self) -> DatasetResult:
        spec, outside = self._spec, self._outside
        form = by_name(spec.format)
        _refuse_columns_of_files(spec)
        data = DataSpec(spec.dataset, spec.uri, spec.store)
        bucket, key = split_uri(data)
        alone = not (key == "" or key.endswith("/"))
        place, source = outside.open_place(spec.store)
        out, store = outside.open_place(spec.outputStore)
        folder = out.key("datasets", spec.dataset)
        if not alone and (place.endpoint, bucket) == (out.endpoint, out.bucket) and f"{folder}/".startswith(key):
            raise TrainerError(
                failures.SPEC_INVALID,
                f"what is found out about {spec.uri} would be put there itself, below {out.uri(folder)}/, and change "
                f"the data: name a prefix that holds the data only, or another outputStore",
            )
        log.info(
            "looking at dataset=%s/%s uid=%s uri=%s format=%s",
            spec.namespace,
            spec.dataset,
            spec.uid,
            spec.uri,
            spec.format,
        )
        origin = f"{place.endpoint}/{bucket}/{key}"
        name = hashlib.sha256(origin.encode()).hexdigest()[:12]  # the same data set may have lain elsewhere
        state = self._state = State(store, out.bucket, f"{folder}/state/{name}", origin, outside.attempt)
        scratch = outside.scratch / "dataset"
        shutil.rmtree(scratch, ignore_errors=True)  # what an earlier container of this pod left half done
        work = _Work(spec, form, alone, scratch)
        index = Index(scratch)
        try:
            self._board.tell("looking for what was read before")
            index.know(state.load())
            self._board.tell("listing the files")
            index.enlist(_paths(source.entries(bucket, key), key, spec.uri, alone))
            files, size = index.size()
            if not files:
                raise nothing(data, not alone)
            dropped = index.close_list(spec.uri)
            read = self._read_all(index, state, source, bucket, files, work)
            log.info("read files=%d of=%d bytes=%d", read, files, size)
            self._board.tell("putting the manifest together")
            manifest = scratch / "manifest"
            digest = index.write_manifest(manifest)
            hexadecimal = digest.removeprefix("sha256:")
            manifest_key = f"{folder}/manifests/{hexadecimal}.txt"
            store.write(out.bucket, manifest_key, manifest)
            made = DatasetResult(digest, files, size, read, out.uri(manifest_key))
            made = self._profile(made, index, work, store, out, f"{folder}/profiles/{hexadecimal}-{_asked(spec)}.json")
            if read or dropped or state.segments != 1:
                state.replace(index.known(), scratch / "state.gz")
            return made
        finally:
            work.close()
            index.close()
            shutil.rmtree(scratch, ignore_errors=True)

    def _profile(
        self, made: DatasetResult, index: Index, work: _Work, store: Store, out: Place, key: str
    ) -> DatasetResult:
        """Profile and verdict. A set of ``Files`` has no profile."""
        spec = self._spec
        if work.total is None:
            checks = verdict.look(spec, made.files, None, {})
            return replace(made, checked=len(checks), failures=verdict.failures(checks))
        for number, record in enumerate(index.known()):
            if work.fits(record.path):
                if number % 1000 == 0:
                    self._board.tell(f"putting the profile together, {number:,} of {made.files:,} files")
                work.total.add(record.path, number, Partial.load(json.loads(record.partial or "{}")))
        work.total.finish()
        checks = verdict.look(spec, made.files, work.total, work.total.repeated(index.path_of))
        made = replace(
            made,
            rows=work.total.rows,
            columns=len(work.total.columns) + work.total.columns_left_out,
            profile=out.uri(key),
            checked=len(checks),
            failures=verdict.failures(checks),
        )
        store.write(out.bucket, key, document(spec, made, work.total, checks))
        return made

    def _read_all(self, index: Index, state: State, source: Store, bucket: str, files: int, work: _Work) -> int:
        """Read what is not known; returns how many files that were."""
        todo: queue.Queue[Unread | None] = queue.Queue()
        done: queue.Queue[_Read] = queue.Queue()

        def reader() -> None:
            while (what := todo.get()) is not None:
                done.put(_read(source, bucket, what, work, self._stop))

        threads = [threading.Thread(target=reader, name=f"reader-{n}", daemon=True) for n in range(PARALLEL)]
        for thread in threads:
            thread.start()
        unread, read, handed, held = index.unread(work.reading, work.fits), 0, 0, 0
        following = next(unread, None)
        try:
            while handed or following is not None:
                while (
                    following is not None
                    and handed < WAITING
                    and (not handed or held + following.entry.size <= work.at_once)
                ):
                    todo.put(following)
                    handed, held = handed + 1, held + following.entry.size
                    following = next(unread, None)
                result = done.get()
                handed, held = handed - 1, held - result.what.entry.size
                if result.error is not None:
                    raise result.error
                record = work.record(result)
                index.know([record])
                state.add(record)
                read += 1
                if read % 100 == 0 or files < 1000:
                    self._board.tell(f"reading files, {read:,} done of {files:,} in all")
        except BaseException:
            self._stop.set()
            _keep(state)
            raise
        finally:
            for _ in threads:
                todo.put(None)
            for thread in threads:
                thread.join()
        return read


class _Work:
    """What is to be done with each object, and what it adds up to."""

    def __init__(self, spec: DatasetSpec, form: Format | None, alone: bool, scratch: Path) -> None:
        self._form = form
        self._alone = alone
        self.reading = ""
        self.at_once = AT_ONCE.get(spec.format, sys.maxsize)
        self.total: Total | None = None
        checks = RowChecks(spec.checks)  # refuses what cannot be carried out, for every format
        if form is None:
            return
        self.want = wanted(spec.schema, checks)
        # Images are held against schema and checks when they are put together, from the values that were kept.
        asked = [] if spec.format == "Images" else [_rows_asked(spec), asdict(spec)["schema"]]
        text = json.dumps([READING_VERSION, spec.format, asked], sort_keys=True)
        self.reading = hashlib.sha256(text.encode()).hexdigest()[:16]
        as_columns = form.module.columns if spec.format == "Images" else None
        self.total = Total(self.want, scratch, as_columns)

    def fits(self, path: str) -> bool:
        """Whether a file is one of the format."""
        return self._form is not None and self._form.fits(path, self._alone)

    def read(self, source: Source, what: Unread) -> Partial | None:
        """Read an object through the source; what it adds to the profile, if it is of the format."""
        if self._form is None or not self.fits(what.path):
            return None
        partial = Partial()
        try:
            self._form.read(source, what.path, what.entry.size, self.want, partial)
        except NotOfFormatError as error:
            partial.problem = str(error)
        return partial

    def record(self, done: _Read) -> Known:
        """What is kept of an object that was read."""
        what, partial = done.what, done.partial
        if partial is None:
            return Known(what.path, done.size, what.entry.etag, done.sha256)
        assert self.total is not None
        reading = self.reading
        if partial.too_large:
            self.total.spill(partial, lambda _row: what.number)
            reading += "!"  # known for this time only: another look reads the file again
        text = json.dumps(partial.dump(), separators=(",", ":"), ensure_ascii=False)
        partial.close()
        return Known(what.path, done.size, what.entry.etag, done.sha256, reading, text)

    def close(self) -> None:
        """Let go of what lies on the scratch."""
        if self.total is not None:
            self.total.close()


def _read(store: Store, bucket: str, what: Unread, work: _Work, stop: threading.Event) -> _Read:
    """One object, hashed and looked at in one pass. Runs in a reader's thread, and raises nothing."""
    done, source = _Read(what), None
    try:
        source = Source(store.read(bucket, what.entry.key, what.entry.etag), stop)
        done.partial = work.read(source, what)
        done.size, done.sha256 = source.finish()
        if done.size != what.entry.size:
            raise ObjectMissingError
    except ObjectMissingError:
        done.error = TrainerError(
            failures.DATA_CHANGED,
            f"s3://{bucket}/{what.entry.key} changed while it was read ({what.entry.size} bytes were listed): "
            f"let nobody write there while a data set is read",
        )
    except BaseException as error:
        done.error = (source and source.error) or error
    return done


def _paths(entries: Iterator[Entry], key: str, uri: str, alone: bool) -> Iterator[tuple[str, Entry]]:
    """Each object with its path in the set (``slipway_trainer.fetch``)."""
    for entry in entries:
        if alone and entry.key == key:
            yield PurePosixPath(key).name, entry
        elif not alone and not entry.key.endswith("/"):  # the marker of an empty folder, as S3 consoles make it
            path = entry.key.removeprefix(key)
            refuse_unsafe(path, uri)
            yield path, entry


def _asked(spec: DatasetSpec) -> str:
    """A word for format, schema, checks and the sentences about them: a profile is of data under these, and is never
    written over by another."""
    facts = asdict(spec)
    unquoted = [] if spec.quoteValues else ["no values"]
    text = json.dumps([facts["format"], facts["schema"], facts["checks"], *unquoted], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _rows_asked(spec: DatasetSpec) -> list[dict[str, Any]]:
    """What of the checks is looked at row by row; the rest follows from the profile."""
    rules = ("column", "unique", "min", "max", "allowed", "matches")
    return [{rule: getattr(check, rule) for rule in rules} for check in spec.checks]


def _refuse_columns_of_files(spec: DatasetSpec) -> None:
    def about_rows(check: CheckSpec) -> bool:
        return check.column is not None or check.minRows is not None or check.maxRows is not None

    if spec.format == "Files" and (spec.schema or any(about_rows(check) for check in spec.checks)):
        raise TrainerError(
            failures.SPEC_INVALID,
            "a data set of format Files has neither rows nor columns to check: write another format, or minFiles only",
        )


def _keep(state: State) -> None:
    """Write what was read so far, if the store lets us."""
    try:
        state.flush()
    except TrainerError as error:
        log.warning("what was read last could not be kept problem=%s", error)


def _of_disk(error: OSError, spec: DatasetSpec) -> TrainerError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TrainerError(
            failures.DISK_FULL,
            f"the pod's scratch volume is too small to read {spec.uri} as {spec.format}: run it on a node with more "
            f"ephemeral storage, or write smaller files",
        )
    return TrainerError(failures.INTERNAL, f"the dataset program could not use its scratch ({error}): report it")
