"""Paths, documents and statuses of the protocol, with requests that are not on a wire."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from slipway.contract import Artifact, Signature, Tensor
from slipway_server.batching import (
    BadInputError,
    Batcher,
    Done,
    Limits,
    QueueFullError,
    RunTimeoutError,
    Work,
)
from slipway_server.http import JSON, Request
from slipway_server.metrics import Exposition, ServerMetrics
from slipway_server.model import Profile
from slipway_server.oip import OCTETS, App, Listener
from slipway_server.signature import Array
from tests.support.onnx_models import spec

SIGNATURE = Signature([Tensor("x", "FP32", [-1, 2])], [Tensor("y", "FP32", [-1, 2])])
BODY = {"id": "7", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
INFER = "/v2/models/m/infer"


@dataclass
class Answer:
    status: int
    body: bytes
    content_type: bytes
    headers: dict[bytes, bytes]

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Asked(Request):
    """A request that keeps its answer."""

    __slots__ = ("answers",)

    def __init__(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
        super().__init__(None, method.encode(), path.encode())  # type: ignore[arg-type]
        self.headers = {k.encode(): v.encode() for k, v in headers.items()}
        self.body = body
        self.answers: list[Answer] = []

    def respond(
        self, status: int, body: bytes, content_type: bytes = JSON, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        assert not self.answers, "answered twice"
        self.answers.append(Answer(status, body, content_type, dict(headers)))


@dataclass
class FakeModel:
    provider: str = "CPUExecutionProvider"


@dataclass
class FakeBatcher:
    result: list[Array] | Exception = field(default_factory=lambda: [np.array([[3, 4]], dtype=np.float32)])
    full: bool = False
    holds: bool = False
    invalid: bool = False
    cancelled: int = 0

    def check(self) -> None:
        if self.full:
            raise QueueFullError(5)

    def submit(self, arrays: list[Array], rows: int, tails: Any, done: Done) -> Work:
        work = Work(arrays, rows, tails, done, 0.0)
        if not self.holds:
            work.invalid = self.invalid
            done(work, self.result)
        return work

    def cancel(self, work: Work) -> None:
        self.cancelled += 1


def app(batcher: FakeBatcher | None = None, *, loaded: bool = True, listener: Listener | None = None) -> App:
    made = App(
        spec(Artifact("s3://a/b", "sha256:00", 1), SIGNATURE), ServerMetrics("m", "3"), [listener] if listener else []
    )
    if loaded:
        made.serve(FakeModel(), batcher or FakeBatcher())  # type: ignore[arg-type]
    return made


def ask(
    made: App, method: str, path: str, document: Any = None, headers: dict[str, str] | None = None, raw: bytes = b""
) -> Answer:
    body = b"" if document is None else orjson.dumps(document)
    request = Asked(method, path, body + raw, {"content-type": "application/json"} if headers is None else headers)
    made(request)
    assert request.answers, "not answered"
    return request.answers[0]


def codes(made: App) -> Counter[int]:
    return made._metrics.requests


PAGES: dict[str, dict[str, Any]] = {
    "/v2": {"name": "slipway", "extensions": ["binary_tensor_data"]},
    "/v2/": {"name": "slipway"},
    "/v2/health/live": {"live": True},
    "/v2/health/ready": {"ready": True},
    "/v2/models/m": {
        "name": "m",
        "versions": ["3"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    },
    "/v2/models/%6D": {"name": "m"},
    "/v2/models/m/versions/3": {"model_version": "3"},
    "/v2/models/m/ready": {"name": "m", "ready": True, "model_version": "3"},
    "/v2/models/m/versions/3/ready": {"ready": True},
}


@pytest.mark.parametrize("path", PAGES)
def test_pages(path: str) -> None:
    answer = ask(app(), "GET", path)
    assert answer.status == 200
    assert PAGES[path].items() <= answer.json.items()
    assert ask(app(), "DELETE", path).status == 405


def test_metadata_says_digest_and_execution_provider() -> None:
    parameters = ask(app(), "GET", "/v2/models/m").json["parameters"]
    assert parameters["digest"] == "sha256:00"
    assert parameters["execution_provider"] == "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/v2/models/other/infer", "unknown model 'other': this server has 'm'"),
        ("/v2/models/m/versions/4/infer", "unknown version '4' of model 'm': this server has '3'"),
        ("/v1/models/m:predict", "inference is POST /v2/models/m/infer"),
        ("/", "nothing is at"),
        ("/v2/models/%ff%fe", "unknown model"),
    ],
)
def test_what_is_not_there(path: str, sentence: str) -> None:
    answer = ask(app(), "POST", path, BODY)
    assert answer.status == 404
    assert sentence in answer.json["error"]


def test_inference_must_be_posted() -> None:
    answer = ask(app(), "GET", INFER)
    assert (answer.status, answer.headers[b"allow"]) == (405, b"POST")


@pytest.mark.parametrize("path", [INFER, "/v2/models/m/versions/3/infer"])
def test_an_answer_says_who_answered_and_what_was_asked(path: str) -> None:
    made = app()
    answer = ask(made, "POST", path, BODY)
    assert answer.json == {
        "model_name": "m",
        "model_version": "3",
        "id": "7",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [3.0, 4.0]}],
    }
    assert codes(made) == {200: 1}
    assert made.in_flight == 0


def bad_requests(made: App) -> float:
    """What a rollout's analysis counts: answers from 500 on, and those whose outputs are none."""
    _, text = Exposition(made._metrics).render("")
    bad = 0.0
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            server_error = sample.name == "slipway_server_requests_total" and int(sample.labels["code"]) >= 500
            if server_error or sample.name == "slipway_server_invalid_requests_total":
                bad += sample.value
    return bad


@pytest.mark.parametrize(
    ("batcher", "code", "bad"),
    [
        (FakeBatcher(), 200, 0),
        (FakeBatcher(invalid=True), 200, 1),
        (FakeBatcher(BadInputError("no")), 422, 0),
        (FakeBatcher(RunTimeoutError()), 504, 1),
        (FakeBatcher(RunTimeoutError(), invalid=True), 504, 1),
        (FakeBatcher([np.array([object()])], invalid=True), 500, 1),
        (FakeBatcher(full=True), 503, 1),
    ],
    ids=["good", "NaN", "bad input", "timeout", "timeout, then NaN", "not written", "queue full"],
)
def test_a_bad_request_counts_once(batcher: FakeBatcher, code: int, bad: float) -> None:
    made = app(batcher)
    assert bad_requests(made) == 0
    assert ask(made, "POST", INFER, BODY).status == code
    assert bad_requests(made) == bad


def test_an_id_that_was_not_given_is_not_made_up() -> None:
    assert "id" not in ask(app(), "POST", INFER, {"inputs": BODY["inputs"]}).json


def test_binary_outputs_follow_the_json() -> None:
    answer = ask(app(), "POST", INFER, {**BODY, "parameters": {"binary_data_output": True}})
    length = int(answer.headers[b"inference-header-content-length"])
    assert answer.content_type == OCTETS
    assert orjson.loads(answer.body[:length])["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    ]
    assert np.frombuffer(answer.body[length:], dtype="<f4").tolist() == [3, 4]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "application/octet-stream"}, 200),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({"content-type": "application/json", "content-encoding": "identity"}, 200),
        ({"content-type": "application/json", "inference-header-content-length": "-1"}, 400),
        ({"content-type": "application/json", "inference-header-content-length": "9" * 30}, 400),
        ({"content-type": "application/json", "inference-header-content-length": "1"}, 400),
    ],
)
def test_headers(headers: dict[str, str], code: int) -> None:
    made = app()
    answer = ask(made, "POST", INFER, BODY, headers)
    assert answer.status == code
    assert codes(made) == {code: 1}
    if code == 415:
        assert "send" in answer.json["error"]


def test_a_wrong_request_is_400_and_says_who_refused_it() -> None:
    answer = ask(app(), "POST", INFER, {"inputs": []})
    assert answer.status == 400
    assert answer.json["model_version"] == "3"
    assert "'inputs' must be a list with the inputs 'x'" in answer.json["error"]


def test_while_it_loads() -> None:
    made = app(loaded=False)
    assert ask(made, "GET", "/v2/health/live").status == 200
    assert "still loading" in ask(made, "GET", "/v2/health/ready").json["error"]
    assert ask(made, "GET", "/v2/models/m/ready").status == 503
    answer = ask(made, "POST", INFER, BODY)
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")


def test_while_it_drains_it_is_not_ready_and_answers() -> None:
    made = app()
    made.drain()
    assert ask(made, "GET", "/v2/health/ready").status == 503
    assert ask(made, "GET", "/v2/health/live").status == 200
    assert ask(made, "POST", INFER, BODY).status == 200


def test_a_full_queue_refuses_before_the_body_is_read() -> None:
    answer = ask(app(FakeBatcher(full=True)), "POST", INFER, None, raw=b"{not json")
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"5")
    assert "more replicas" in answer.json["error"]


def test_a_client_that_leaves_is_taken_from_the_queue_and_counted() -> None:
    batcher = FakeBatcher(holds=True)
    made = app(batcher)
    request = Asked("POST", INFER, orjson.dumps(BODY), {"content-type": "application/json"})
    made(request)
    assert made.in_flight == 1
    assert request.on_gone is not None
    request.on_gone()
    assert (batcher.cancelled, made.in_flight, codes(made)) == (1, 0, {499: 1})


@dataclass
class Remembers:
    """A listener; ``fails``: it raises."""

    open: bool = True
    fails: bool = False
    told: list[tuple[bytes | None, int, list[float] | None]] = field(default_factory=list)

    def answered(
        self,
        request_id: bytes | None,
        code: int,
        outputs: list[Array] | None,
        inputs: list[Array] | None,
        now: float,
    ) -> None:
        if self.fails:
            raise ZeroDivisionError
        assert (outputs is None) == (inputs is None)
        self.told.append((request_id, code, None if outputs is None else outputs[0].reshape(-1).tolist()))


@pytest.mark.parametrize(
    ("batcher", "code", "outputs"),
    [
        (FakeBatcher(), 200, [3.0, 4.0]),
        (FakeBatcher(BadInputError("no")), 422, None),
        (FakeBatcher(full=True), 503, None),
    ],
    ids=["good", "refused", "queue full"],
)
def test_who_listens_is_told_of_each_answer(batcher: FakeBatcher, code: int, outputs: list[float] | None) -> None:
    listener = Remembers()
    made = app(batcher, listener=listener)
    for headers in ({"content-type": "application/json", "x-request-id": "r1"}, None):
        assert ask(made, "POST", INFER, BODY, headers).status == code
    assert listener.told == [(b"r1", code, outputs), (None, code, outputs)]
    ask(made, "GET", "/v2/health/ready")
    assert len(listener.told) == 2


def test_who_listens_is_told_once_the_answer_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Remembers()
    made = app(listener=listener)
    order: list[str] = []
    monkeypatch.setattr(Asked, "respond", lambda *_, **__: order.append("written"))
    monkeypatch.setattr(listener, "answered", lambda *_: order.append("told"))
    made(Asked("POST", INFER, orjson.dumps(BODY), {"content-type": "application/json"}))
    assert order == ["written", "told"]


def test_a_client_that_left_is_told_too() -> None:
    listener = Remembers()
    made = app(FakeBatcher(holds=True), listener=listener)
    request = Asked("POST", INFER, orjson.dumps(BODY), {"content-type": "application/json", "x-request-id": "r1"})
    made(request)
    assert request.on_gone is not None
    request.on_gone()
    assert listener.told == [(b"r1", 499, None)]


def test_a_listener_that_is_closed_is_left_alone_and_one_that_fails_harms_nobody() -> None:
    assert ask(app(listener=Remembers(open=False, fails=True)), "POST", INFER, BODY).status == 200
    made = app(listener=Remembers(fails=True))
    assert ask(made, "POST", INFER, BODY).status == 200
    assert made.in_flight == 0


async def real(runner: Any) -> App:
    """The app with a real batcher."""
    made = app(loaded=False)
    limits = Limits(batch=4, delay=0, queue=4, timeout=5, workers=1)
    made.serve(FakeModel(), Batcher(runner, Profile(0.0, 4, 0.0), limits, made._metrics))  # type: ignore[arg-type]
    return made


class Refuses13:
    broken = False

    def run(self, arrays: list[Array]) -> list[Array]:
        from slipway_server.model import ModelRunError

        if self.broken or 13 in arrays[0]:
            raise ModelRunError("no 13")
        return arrays

    def zeros(self, rows: int, free: int) -> list[Array]:
        return [np.zeros((rows, 2), dtype=np.float32)]


async def posted(made: App, *data: float) -> Answer:
    import asyncio

    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": list(data)}]}
    request = Asked("POST", INFER, orjson.dumps(body), {"content-type": "application/json"})
    made(request)
    async with asyncio.timeout(5):
        while not request.answers:
            await asyncio.sleep(0)
    return request.answers[0]


async def test_what_the_model_cannot_compute_is_422_and_the_server_lives() -> None:
    made = await real(Refuses13())
    assert (await posted(made, 1, 2)).status == 200
    answer = await posted(made, 13, 2)
    assert answer.status == 422
    assert "the model cannot compute on them: no 13" in answer.json["error"]
    assert ask(made, "GET", "/v2/health/live").status == 200


async def test_a_broken_model_is_neither_ready_nor_live() -> None:
    runner = Refuses13()
    made = await real(runner)
    runner.broken = True
    assert (await posted(made, 1, 2)).status == 500
    assert ask(made, "GET", "/v2/health/live").status == 503
    assert ask(made, "GET", "/v2/health/ready").status == 503
