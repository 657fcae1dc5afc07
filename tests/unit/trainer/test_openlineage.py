"""OpenLineage events, told to a real HTTP server and read with OpenLineage's own types."""

from __future__ import annotations

import importlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attr
import pytest
from openlineage.client import event_v2

from slipway.contract import CodeResult, GitSpec
from slipway_trainer import openlineage
from slipway_trainer.openlineage import Endpoint, event
from tests.support.builders import DIGEST, train_result
from tests.support.openlineage import Listening
from tests.unit.trainer.helpers import data, spec
from tests.unit.trainer.test_runner import FileStore, Pod, clean_imports  # noqa: F401 - a fixture that is used by all

UID = "0c2f9d4e-7b1a-4a53-9d0e-5a8f6f0a1b2c"
SPEC = spec(runUid=UID, data=[data(digest=DIGEST)])
FACETS = {
    "version": "dataset_version_dataset",
    "inputStatistics": "input_statistics_input_dataset",
    "outputStatistics": "output_statistics_output_dataset",
    "errorMessage": "error_message_run",
    "processing_engine": "processing_engine_run",
    "sourceCodeLocation": "source_code_location_job",
}


@pytest.fixture
def endpoint() -> Iterator[Listening]:
    made = Listening()
    yield made
    made.close()


def read(document: dict[str, Any]) -> event_v2.RunEvent:
    """The event by the library's own types, which refuse a field that they do not know."""

    def facets(found: dict[str, Any]) -> dict[str, Any]:
        made = {}
        for key, facts in found.items():
            module = importlib.import_module(f"openlineage.client.generated.{FACETS[key]}")
            schema = facts["_schemaURL"]
            kind = getattr(module, schema.rpartition("/")[2])
            assert schema == kind._get_schema()
            made[key] = kind(**{k: v for k, v in facts.items() if not k.startswith("_")})
        return made

    made = event_v2.RunEvent(
        eventTime=document["eventTime"],
        eventType=event_v2.RunState[document["eventType"]],
        producer=document["producer"],
        run=event_v2.Run(document["run"]["runId"], facets(document["run"]["facets"])),
        job=event_v2.Job(document["job"]["namespace"], document["job"]["name"], facets(document["job"]["facets"])),
        inputs=[
            event_v2.InputDataset(
                namespace=i["namespace"],
                name=i["name"],
                facets=facets(i["facets"]),
                inputFacets=facets(i["inputFacets"]),
            )
            for i in document["inputs"]
        ],
        outputs=[
            event_v2.OutputDataset(
                namespace=o["namespace"],
                name=o["name"],
                facets=facets(o["facets"]),
                outputFacets=facets(o["outputFacets"]),
            )
            for o in document["outputs"]
        ],
    )
    assert document["schemaURL"] == made.schemaURL
    assert set(document) == {f.name for f in attr.fields(event_v2.RunEvent)}
    return made


def facet(told: Mapping[str, Any] | None, name: str) -> Any:
    """One of an object's facets, each of which is of a type of its own."""
    assert told is not None
    return told[name]


def test_a_run_that_is_done_says_what_it_read_and_made() -> None:
    found = read(event(SPEC, "COMPLETE", "2026-01-01T00:01:00Z", result=train_result()))
    assert (found.run.runId, found.job.namespace, found.job.name) == (UID, "ns", "train.digits")
    assert found.inputs is not None
    assert found.outputs is not None
    (source,), (model,) = found.inputs, found.outputs
    assert (source.namespace, source.name) == ("s3://data", "digits")
    assert facet(source.facets, "version").datasetVersion == DIGEST
    assert facet(source.inputFacets, "inputStatistics").fileCount == 2
    assert (model.namespace, model.name) == ("s3://models", "digits/runs/1/model.onnx")
    assert facet(model.outputFacets, "outputStatistics").size == 17432


def test_code_by_git_is_named_with_its_commit() -> None:
    by_git = spec(runUid=UID, codeGit=GitSpec("https://git.example/digits.git", "main", "train"))
    document = event(by_git, "COMPLETE", "2026-01-01T00:01:00Z", result=train_result(code=CodeResult("c" * 40)))
    location = facet(read(document).job.facets, "sourceCodeLocation")
    assert (location.version, location.branch, location.path) == ("c" * 40, "main", "train")


def test_a_failure_says_why() -> None:
    found = read(event(SPEC, "FAIL", "2026-01-01T00:01:00Z", message="the training code raised ValueError"))
    assert facet(found.run.facets, "errorMessage").message == "the training code raised ValueError"
    assert found.outputs == []


def test_an_attempt_tells_its_beginning_and_its_end(tmp_path: Path, endpoint: Listening) -> None:
    pod = Pod(tmp_path / "pod", FileStore())
    pod.listen(Endpoint(endpoint.url, pod.spec, "letmein"))
    assert pod.attempt.run() == 0
    assert endpoint.told == ["START", "COMPLETE"]
    assert endpoint.tokens == ["Bearer letmein"] * 2
    made = endpoint.events[1]["outputs"][0]["facets"]["version"]["datasetVersion"]
    assert made == pod.result.artifact.digest


def test_a_failed_and_an_interrupted_attempt_are_told(tmp_path: Path, endpoint: Listening) -> None:
    pod = Pod(tmp_path / "raises", FileStore(), code="def train(context):\n    raise ValueError('too warm')\n")
    pod.listen(Endpoint(endpoint.url, pod.spec))
    assert pod.attempt.run() == 1
    assert endpoint.told == ["START", "FAIL"]
    assert "too warm" in endpoint.events[1]["run"]["facets"]["errorMessage"]["message"]
    assert endpoint.tokens == [None, None]
    stopped = Pod(tmp_path / "stopped", FileStore())
    stopped.listen(Endpoint(endpoint.url, stopped.spec))
    assert stopped.attempt.stop() == 1
    assert endpoint.told[2:] == ["ABORT"]


def test_a_result_that_counts_already_is_not_taken_back(tmp_path: Path, endpoint: Listening) -> None:
    done = Pod(tmp_path / "done", FileStore())
    done.listen(Endpoint(endpoint.url, done.spec))
    assert (done.attempt.run(), done.attempt.stop()) == (0, 0)
    assert endpoint.told == ["START", "COMPLETE"]


def test_an_endpoint_that_is_away_refuses_or_hangs_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(openlineage, "TIMEOUT", 0.2)
    refusing = Listening(status=500)
    try:
        for name, url in (("refuses", refusing.url), ("away", "http://127.0.0.1:1/"), ("no address", "http://")):
            pod = Pod(tmp_path / name, FileStore())
            pod.listen(Endpoint(url, pod.spec))
            assert pod.attempt.run() == 0, name
    finally:
        refusing.close()
    assert refusing.told == ["START", "COMPLETE"]
    assert "the OpenLineage endpoint refused event=START status=500" in caplog.text
    assert "the OpenLineage endpoint was not told event=COMPLETE" in caplog.text


def test_an_endpoint_that_drips_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openlineage, "TIMEOUT", 0.1)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not over.wait(0.02):
                    connection.sendall(b"X-Drop: 1\r\n")

        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}/", spec()).started("2026-01-01T00:00:00Z")
        assert time.monotonic() - began < 5
        over.set()
        dripping.join()
