"""OpenLineage events, told to a real HTTP server and read with OpenLineage's own types."""

from __future__ import annotations

import importlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import attr
import pytest
from openlineage.client import event_v2

from slipway import contract
from slipway.contract import CodeResult, GitSpec
from slipway_trainer import failures, openlineage
from slipway_trainer.failures import TrainerError
from slipway_trainer.fake_store import MemoryStore
from slipway_trainer.openlineage import Endpoint, File, Teller, event
from tests.support.builders import DIGEST, train_result
from tests.support.openlineage import Listening
from tests.unit.trainer.helpers import PLACE, data, spec
from tests.unit.trainer.test_runner import CODE, DATA, FileStore, Pod, clean_imports, forget_code  # noqa: F401 - a fixture that is used by all

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
    pod.listen(Teller(pod.spec, [Endpoint(endpoint.url, "letmein")]))
    assert pod.attempt.run() == 0
    assert endpoint.told == ["START", "COMPLETE"]
    assert endpoint.tokens == ["Bearer letmein"] * 2
    made = endpoint.events[1]["outputs"][0]["facets"]["version"]["datasetVersion"]
    assert made == pod.result.artifact.digest


def test_a_failed_and_an_interrupted_attempt_are_told(tmp_path: Path, endpoint: Listening) -> None:
    pod = Pod(tmp_path / "raises", FileStore(), code="def train(context):\n    raise ValueError('too warm')\n")
    pod.listen(Teller(pod.spec, [Endpoint(endpoint.url)]))
    assert pod.attempt.run() == 1
    assert endpoint.told == ["START", "FAIL"]
    assert "too warm" in endpoint.events[1]["run"]["facets"]["errorMessage"]["message"]
    assert endpoint.tokens == [None, None]
    stopped = Pod(tmp_path / "stopped", FileStore())
    stopped.listen(Teller(stopped.spec, [Endpoint(endpoint.url)]))
    assert stopped.attempt.stop() == 1
    assert endpoint.told[2:] == ["ABORT"]


def test_a_result_that_counts_already_is_not_taken_back(tmp_path: Path, endpoint: Listening) -> None:
    done = Pod(tmp_path / "done", FileStore())
    done.listen(Teller(done.spec, [Endpoint(endpoint.url)]))
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
            pod.listen(Teller(pod.spec, [Endpoint(url)]))
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
        Teller(spec(), [Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}/")]).started("2026-01-01T00:00:00Z")
        assert time.monotonic() - began < 5
        over.set()
        dripping.join()


KEY = PLACE.key("digits", "runs", UID, "openlineage.ndjson")
RAISES = "def train(context):\n    raise ValueError('too warm')\n"


class Watched(FileStore):
    """Remembers each state of the file: what a reader may find at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[bytes] = []

    def write(self, bucket: str, key: str, content: bytes | Path) -> None:
        super().write(bucket, key, content)
        if key == KEY:
            self.states.append(self.buckets[bucket][key])


def told(store: MemoryStore) -> list[dict[str, Any]]:
    """The events of the file, each of which OpenLineage's own types can read."""
    content = store.buckets["models"][KEY]
    assert content.endswith(b"\n")
    events = [json.loads(line) for line in content.splitlines()]
    for document in events:
        read(document)
    return events


def kinds(store: MemoryStore) -> list[str]:
    return [document["eventType"] for document in told(store)]


def writing(root: Path, store: MemoryStore, code: str = CODE, uid: str = "pod-1") -> Pod:
    run = spec(runUid=UID, data=DATA, parameters={"epochs": "3"}, codeConfigMap="digits-code")
    pod = Pod(root, store, run, code, uid)
    pod.listen(Teller(pod.spec, [File(pod.spec, pod.open_place)]))
    return pod


def test_the_file_has_the_events_of_all_attempts_and_can_be_read_at_any_moment(tmp_path: Path) -> None:
    store = Watched()
    assert writing(tmp_path / "raises", store, RAISES).attempt.run() == 1
    forget_code()  # another pod is another process
    assert writing(tmp_path / "stopped", store, uid="pod-2").attempt.stop() == 1
    good = writing(tmp_path / "good", store, uid="pod-3")
    assert good.attempt.run() == 0
    assert kinds(store) == ["START", "FAIL", "ABORT", "START", "COMPLETE"]
    events = told(store)
    assert "too warm" in events[1]["run"]["facets"]["errorMessage"]["message"]
    assert events[-1]["outputs"][0]["facets"]["version"]["datasetVersion"] == good.result.artifact.digest
    assert contract.beside(good.result.result, contract.OPENLINEAGE_FILE) == f"s3://models/{KEY}"
    for before, after in pairwise(store.states):
        assert after.startswith(before)
        assert after.count(b"\n") == before.count(b"\n") + 1
        assert after.endswith(b"\n")


def test_an_end_that_is_told_once_more_is_one_line(tmp_path: Path) -> None:
    store = FileStore()
    assert writing(tmp_path / "first", store).attempt.run() == 0
    assert writing(tmp_path / "again", store, uid="pod-2").attempt.run() == 0
    assert kinds(store) == ["START", "COMPLETE"]
    # The first pod died between its result and the telling of it.
    store.buckets["models"][KEY] = store.buckets["models"][KEY].splitlines(keepends=True)[0]
    assert writing(tmp_path / "third", store, uid="pod-3").attempt.run() == 0
    assert kinds(store) == ["START", "COMPLETE"]


def test_an_endpoint_and_a_file_are_told_alike(tmp_path: Path, endpoint: Listening) -> None:
    store = FileStore()
    pod = writing(tmp_path / "pod", store)
    pod.listen(Teller(pod.spec, [Endpoint(endpoint.url), File(pod.spec, pod.open_place)]))
    assert pod.attempt.run() == 0
    assert endpoint.events == told(store)


class Refusing(FileStore):
    """Does not read or write the file of the events, but everything else."""

    def __init__(self, reads: bool) -> None:
        super().__init__()
        self.reads = reads

    def read(self, bucket: str, key: str, etag: str = "") -> Iterator[bytes]:
        if key == KEY and not self.reads:
            raise TrainerError(failures.STORE_ERROR, "the S3 server answered SlowDown")
        return super().read(bucket, key, etag)

    def write(self, bucket: str, key: str, content: bytes | Path) -> None:
        if key == KEY:
            raise TrainerError(failures.ACCESS_DENIED, "the S3 server forbids it")
        super().write(bucket, key, content)


@pytest.mark.parametrize(
    ("reads", "problem"), [(False, "answered SlowDown"), (True, "forbids it")], ids=["not read", "not written"]
)
def test_a_file_that_cannot_be_had_fails_nothing_and_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reads: bool, problem: str
) -> None:
    store = Refusing(reads)
    store.buckets["models"][KEY] = b"{}\n"
    assert writing(tmp_path / "pod", store).attempt.run() == 0
    assert store.buckets["models"][KEY] == b"{}\n"
    assert f"the OpenLineage file was not told event=COMPLETE problem=the S3 server {problem}" in caplog.text


def test_a_place_that_is_not_there_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def nowhere(_name: str) -> tuple[Any, Any]:
        raise TrainerError(failures.STORE_NOT_CONFIGURED, "the S3 place 'default' lacks bucket")

    Teller(SPEC, [File(SPEC, nowhere)]).started("2026-01-01T00:00:00Z")
    assert "the OpenLineage file was not told event=START problem=the S3 place 'default' lacks bucket" in caplog.text


def test_a_store_that_hangs_is_left_behind_and_loses_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openlineage, "TIMEOUT", 0.05)
    go_on, store = threading.Event(), FileStore()

    class Slow(MemoryStore):
        def read(self, bucket: str, key: str, etag: str = "") -> Iterator[bytes]:
            go_on.wait(10)
            return store.read(bucket, key, etag)

        def write(self, bucket: str, key: str, content: bytes | Path) -> None:
            store.write(bucket, key, content)

    file = File(SPEC, lambda _name: (PLACE, Slow()))
    teller = Teller(SPEC, [file])
    teller.started("2026-01-01T00:00:00Z")
    teller.failed("2026-01-01T00:00:01Z", "it raised")
    assert KEY not in store.buckets["models"]
    go_on.set()
    for left in [t for t in threading.enumerate() if t.name == "openlineage"]:
        left.join(10)
    (lines,) = (store.buckets["models"][key] for key in store.buckets["models"])
    assert sorted(json.loads(line)["eventType"] for line in lines.splitlines()) == ["FAIL", "START"]
