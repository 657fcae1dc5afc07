"""Tells in OpenLineage events what a run reads and makes: an endpoint, a file beside the run's result, or both.

The documents are as https://openlineage.io/spec/2-0-2/OpenLineage.json and its facets say; tests read them with
openlineage-python's own types. An endpoint takes one at a time by POST; the file has one a line. Neither ever fails a
training, nor holds one up for longer than two ``TIMEOUT`` a document.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import urllib3

from slipway.contract import OPENLINEAGE_FILE, Artifact, DataResult, TrainResult, TrainSpec, split_s3

from .failures import TrainerError
from .publish import RunFolder
from .store import ObjectMissingError, OpenPlace

log = logging.getLogger(__name__)

TIMEOUT: Final = 5.0
"""Seconds to connect, and to wait for an answer."""
PRODUCER: Final = "https://slipway.dev/trainer/v1alpha1"
_SPEC: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS: Final = {
    "version": ("1-0-1", "DatasetVersionDatasetFacet"),
    "inputStatistics": ("1-0-0", "InputStatisticsInputDatasetFacet"),
    "outputStatistics": ("1-0-2", "OutputStatisticsOutputDatasetFacet"),
    "errorMessage": ("1-0-1", "ErrorMessageRunFacet"),
    "processing_engine": ("1-1-1", "ProcessingEngineRunFacet"),
    "sourceCodeLocation": ("1-1-0", "SourceCodeLocationJobFacet"),
}
"""Our facets by the key that the standard gives them: version and name of their schema."""


class Listener(Protocol):
    """Is told how a run goes. Never raises."""

    def started(self, at: str) -> None:
        """An attempt began; ``at`` is RFC 3339."""

    def completed(self, result: TrainResult) -> None:
        """The run is done."""

    def failed(self, at: str, message: str, *, interrupted: bool = False) -> None:
        """The attempt ended without a result; another one may come."""


class Nobody:
    """Where the installation names neither an endpoint nor the file."""

    def started(self, at: str) -> None: ...

    def completed(self, result: TrainResult) -> None: ...

    def failed(self, at: str, message: str, *, interrupted: bool = False) -> None: ...


Document = Mapping[str, Any]


class Ear(Protocol):
    """Takes one event. Never raises, and may take as long as it likes."""

    def tell(self, document: Document) -> None: ...


@dataclass(frozen=True)
class Teller:
    """Makes the events of a run and tells them to each of ``ears``, all at once."""

    spec: TrainSpec
    ears: Sequence[Ear]

    def started(self, at: str) -> None:
        self._tell(event(self.spec, "START", at))

    def completed(self, result: TrainResult) -> None:
        self._tell(event(self.spec, "COMPLETE", result.finishedAt, result=result))

    def failed(self, at: str, message: str, *, interrupted: bool = False) -> None:
        self._tell(event(self.spec, "ABORT" if interrupted else "FAIL", at, message=message))

    def _tell(self, document: Document) -> None:
        # In threads that are left behind: an endpoint that answers byte by byte is within every timeout of a socket.
        told = [
            threading.Thread(target=ear.tell, args=(document,), name="openlineage", daemon=True) for ear in self.ears
        ]
        for each in told:
            each.start()
        until = time.monotonic() + 2 * TIMEOUT
        for each in told:
            each.join(max(0.0, until - time.monotonic()))


@dataclass(frozen=True)
class Endpoint:
    """``url`` takes events by POST; ``token`` is sent as a bearer token where there is one."""

    url: str
    token: str | None = None

    def tell(self, document: Document) -> None:
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            answer = urllib3.request(
                "POST", self.url, body=json.dumps(document).encode(), headers=headers,
                timeout=urllib3.Timeout(TIMEOUT), retries=False, redirect=False, preload_content=False,
            )  # fmt: skip
            answer.close()
        except urllib3.exceptions.HTTPError as error:
            log.warning("the OpenLineage endpoint was not told event=%s problem=%s", document["eventType"], error)
            return
        if answer.status >= 300:
            log.warning("the OpenLineage endpoint refused event=%s status=%d", document["eventType"], answer.status)


@dataclass(frozen=True)
class File:
    """``openlineage.ndjson`` in the run's folder: one event a line, of all attempts, in the order of their telling.

    S3 cannot append, so the whole object is read and written anew with a line more. A write of S3 is seen whole or not
    at all: whenever a pod dies, what lies there can be read. What cannot be read is never written over. A run has one
    pod at a time; where a lost node comes back there may be two for a moment, and of two lines that are added in that
    moment one may be lost.
    """

    spec: TrainSpec
    open_place: OpenPlace
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def tell(self, document: Document) -> None:
        with self._turn:  # one that was left behind is over before the next reads
            try:
                # A pod that finds the run done tells its end once more: the pod before may have died before it told.
                once = document["eventType"] == "COMPLETE"
                self._add(json.dumps(document, ensure_ascii=False).encode() + b"\n", once=once)
            except TrainerError as error:
                log.warning("the OpenLineage file was not told event=%s problem=%s", document["eventType"], error)

    def _add(self, line: bytes, *, once: bool) -> None:
        place, store = self.open_place(self.spec.outputStore)
        key = RunFolder(place, self.spec.model, self.spec.runUid).key(OPENLINEAGE_FILE)
        try:
            before = b"".join(store.read(place.bucket, key))
        except ObjectMissingError:
            before = b""
        if not once or line not in before.splitlines(keepends=True):
            store.write(place.bucket, key, before + line)


def event(
    spec: TrainSpec, kind: str, at: str, *, result: TrainResult | None = None, message: str | None = None
) -> dict[str, Any]:
    """A RunEvent. The run's id is the TrainingRun's uid, the job is the training of a model in a namespace."""
    run: dict[str, Any] = {}
    if message is not None:
        run |= _facet("errorMessage", message=message, programmingLanguage="python")
    if result is not None:
        run |= _facet("processing_engine", name="python", version=result.environment.python)
    return {
        "eventType": kind,
        "eventTime": at,
        "producer": PRODUCER,
        "schemaURL": _SPEC,
        "run": {"runId": spec.runUid, "facets": run},
        "job": {"namespace": spec.namespace, "name": f"train.{spec.model}", "facets": _source(spec, result)},
        "inputs": _inputs(spec, result.data if result else []),
        "outputs": [_output(result.artifact)] if result else [],
    }


def _source(spec: TrainSpec, result: TrainResult | None) -> dict[str, Any]:
    git = spec.codeGit
    if git is None:
        return {}
    commit = result.code.commit if result and result.code else None
    known = {"type": "git", "url": git.url, "repoUrl": git.url, "branch": git.revision, "path": git.path}
    return _facet("sourceCodeLocation", **{k: v for k, v in {**known, "version": commit}.items() if v})


def _inputs(spec: TrainSpec, read: Sequence[DataResult]) -> list[dict[str, Any]]:
    found = {each.name: each for each in read}
    made = []
    for data in spec.data:
        facts, statistics = {}, {}
        digest = found[data.name].digest if data.name in found else data.digest
        if digest:
            facts = _facet("version", datasetVersion=digest)
        if data.name in found:
            got = found[data.name]
            statistics = _facet("inputStatistics", size=got.bytes, fileCount=got.files)
        made.append({**_named(data.uri), "facets": facts, "inputFacets": statistics})
    return made


def _output(artifact: Artifact) -> dict[str, Any]:
    return {
        **_named(artifact.uri),
        "facets": _facet("version", datasetVersion=artifact.digest),
        "outputFacets": _facet("outputStatistics", size=artifact.size, fileCount=1),
    }


def _named(uri: str) -> dict[str, str]:
    """A data set by OpenLineage's naming of S3.

    >>> _named("s3://data/digits/")
    {'namespace': 's3://data', 'name': 'digits'}
    """
    bucket, key = split_s3(uri)
    return {"namespace": f"s3://{bucket}", "name": key.strip("/") or "/"}


def _facet(key: str, **facts: Any) -> dict[str, Any]:
    version, name = _FACETS[key]
    schema = f"https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}"
    return {key: {"_producer": PRODUCER, "_schemaURL": schema, **facts}}
