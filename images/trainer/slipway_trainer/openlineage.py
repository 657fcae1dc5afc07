"""Tells an OpenLineage endpoint what a run reads and makes, where the installation names one.

One JSON document a time by POST, as https://openlineage.io/spec/2-0-2/OpenLineage.json and its facets say; tests read
the documents with openlineage-python's own types. An endpoint that is away never fails a training, nor holds one up for
longer than two ``TIMEOUT`` a document.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import urllib3

from slipway.contract import Artifact, DataResult, TrainResult, TrainSpec, split_s3

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
    """Where no endpoint is named."""

    def started(self, at: str) -> None: ...

    def completed(self, result: TrainResult) -> None: ...

    def failed(self, at: str, message: str, *, interrupted: bool = False) -> None: ...


@dataclass(frozen=True)
class Endpoint:
    """``url`` takes events by POST; ``token`` is sent as a bearer token where there is one."""

    url: str
    spec: TrainSpec
    token: str | None = None

    def started(self, at: str) -> None:
        self._send(event(self.spec, "START", at))

    def completed(self, result: TrainResult) -> None:
        self._send(event(self.spec, "COMPLETE", result.finishedAt, result=result))

    def failed(self, at: str, message: str, *, interrupted: bool = False) -> None:
        self._send(event(self.spec, "ABORT" if interrupted else "FAIL", at, message=message))

    def _send(self, document: Mapping[str, Any]) -> None:
        # In a thread that is left behind: an endpoint that answers byte by byte is within every timeout of a socket.
        sender = threading.Thread(target=self._post, args=(document,), name="openlineage", daemon=True)
        sender.start()
        sender.join(2 * TIMEOUT)

    def _post(self, document: Mapping[str, Any]) -> None:
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
