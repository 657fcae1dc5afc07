"""A real server process with real models, asked over loopback."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from onnx import helper, numpy_helper

from slipway.contract import EXIT_OK, Comparison, Signature, Tensor
from tests.support import onnx_models
from tests.support.fake_s3 import fake_s3
from tests.support.server_process import ROOT, ServerProcess, put_model, serving

INFER = "/v2/models/m/infer"
JSON = {"content-type": "application/json"}


def digits_body(rows: int = 1, **more: Any) -> bytes:
    data = np.random.default_rng(rows).random((rows, 64), dtype=np.float32).reshape(-1).tolist()
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 64], "data": data}
    return orjson.dumps({"inputs": [tensor], **more})


def start(directory: Path, made: tuple[Any, Any], *options: str, **more: Any) -> Any:
    """A server for a model; ``more`` are fields of its ServeSpec, ``options`` are given on its command line."""
    model, signature = made
    artifact = onnx_models.save(model, directory / "m.onnx")
    spec = onnx_models.spec(artifact, signature, **{"drainSeconds": 1, **more})
    put_model(spec, directory / "m.onnx", directory / "model")
    return serving(directory, spec, options=options)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("digits")
    with start(directory, (onnx_models.digits(), onnx_models.DIGITS), maxBodyBytes=200_000) as server:
        yield server


@pytest.fixture
def client(digits: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=digits.url, timeout=20) as made:
        yield made


def metric(server: ServerProcess, name: str, **labels: str) -> float:
    from prometheus_client.parser import text_string_to_metric_families

    text = httpx.get(server.metrics_url).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_answers_are_those_of_onnxruntime(client: httpx.Client, tmp_path: Path) -> None:
    import onnxruntime as ort

    onnx_models.save(onnx_models.digits(), tmp_path / "m.onnx")
    session = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    for rows in (1, 3, 50):
        body = digits_body(rows, id="a")
        x = np.array(orjson.loads(body)["inputs"][0]["data"], dtype=np.float32).reshape(rows, 64)
        expected = session.run(None, {"x": x})[0]
        answer = client.post(INFER, content=body, headers=JSON)
        assert answer.status_code == 200
        document = answer.json()
        assert (document["id"], document["model_name"], document["model_version"]) == ("a", "m", "3")
        assert document["outputs"][0]["shape"] == [rows, 10]
        assert document["outputs"][0]["data"] == pytest.approx(expected.reshape(-1).tolist(), abs=1e-5)

        head = {
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [rows, 64], "parameters": {"binary_data_size": x.nbytes}}
            ],
            "parameters": {"binary_data_output": True},
        }
        text = orjson.dumps(head)
        length = {"inference-header-content-length": str(len(text)), "content-type": "application/octet-stream"}
        answer = client.post(INFER, content=text + x.tobytes(), headers=length)
        assert answer.status_code == 200
        end = int(answer.headers["inference-header-content-length"])
        output = np.frombuffer(answer.content[end:], dtype="<f4")
        assert output == pytest.approx(expected.reshape(-1), abs=1e-5)


def test_the_request_id_comes_back(client: httpx.Client) -> None:
    answer = client.post(INFER, content=digits_body(), headers={**JSON, "x-request-id": "r-1"})
    assert answer.headers["x-request-id"] == "r-1"
    assert client.post(INFER, content=b"{}", headers={**JSON, "x-request-id": "r-2"}).headers["x-request-id"] == "r-2"


def test_requests_that_come_together_are_answered_each_with_its_own_rows(digits: ServerProcess) -> None:
    async def ask() -> None:
        async with httpx.AsyncClient(base_url=digits.url, timeout=20) as client:
            bodies = [digits_body(rows) for rows in range(1, 21)]
            alone = [(await client.post(INFER, content=b, headers=JSON)).json() for b in bodies]
            together = await asyncio.gather(*(client.post(INFER, content=b, headers=JSON) for b in bodies))
            for one, other in zip(alone, together, strict=True):
                assert other.json()["outputs"][0]["data"] == pytest.approx(one["outputs"][0]["data"], abs=1e-5)

    asyncio.run(ask())


def test_metrics_have_a_port_of_their_own_and_nothing_else_there(digits: ServerProcess, client: httpx.Client) -> None:
    before = metric(digits, "slipway_server_requests_total", code="200")
    rows = metric(digits, "slipway_server_predictions_total")
    client.post(INFER, content=digits_body(5), headers=JSON)
    assert metric(digits, "slipway_server_requests_total", code="200") == before + 1
    assert metric(digits, "slipway_server_predictions_total") == rows + 5
    assert metric(digits, "slipway_server_model_info", provider="CPUExecutionProvider", model="m", version="3") == 1
    assert metric(digits, "slipway_server_in_flight") == 0
    base = digits.metrics_url.removesuffix("/metrics")
    assert httpx.get(base + "/").status_code == 404
    assert httpx.post(base + "/metrics").status_code == 405
    assert httpx.post(base + "/metrics", content=b"x" * 70_000).status_code == 413
    assert httpx.get(base + "/examples").status_code == 404
    assert client.get("/metrics").status_code == 404


def test_the_documentation_lists_every_metric(tmp_path: Path) -> None:
    """Those of a server that compares, which are all; they are there before anything was counted."""
    nobody = Comparison("127.0.0.1:9")
    with start(tmp_path, (onnx_models.digits(), onnx_models.DIGITS), comparison=nobody) as server:
        text = httpx.get(server.metrics_url).text
    exposed = set(re.findall(r"^# TYPE (slipway_server_\w+)", text, re.MULTILINE))
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(slipway_server_\w+)", page)) == exposed


def test_a_body_larger_than_the_limit(client: httpx.Client) -> None:
    answer = client.post(INFER, content=b"x" * 200_001, headers=JSON)
    assert answer.status_code == 413
    assert "larger than the 200000 bytes" in answer.json()["error"]


def mutated(random_numbers: random.Random, body: bytes) -> bytes:
    """One of the ways in which requests go wrong."""
    data = bytearray(body)
    for _ in range(random_numbers.randint(1, 4)):
        place = random_numbers.randrange(len(data) or 1)
        match random_numbers.randrange(4):
            case 0:
                data[place : place + 1] = bytes([random_numbers.randrange(256)])
            case 1:
                del data[place : place + random_numbers.randint(1, 40)]
            case 2:
                words = [b"null", b"-1", b"1e400", b"[", b"]", b'"', b"{}", b"NaN", b"18446744073709551615", b"\xff"]
                data[place:place] = random_numbers.choice(words)
            case _:
                data[place:place] = data[: random_numbers.randint(1, 60)]
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_is_sent_makes_a_500_or_ends_the_server(
    seed: int, client: httpx.Client, digits: ServerProcess
) -> None:
    numbers = random.Random(seed)
    codes: Counter[int] = Counter()
    x = np.zeros((1, 64), dtype="<f4")
    for _ in range(400):
        headers = dict(JSON)
        body = digits_body()
        if numbers.random() < 0.4:
            tensor = {"name": "x", "datatype": "FP32", "shape": [1, 64], "parameters": {"binary_data_size": x.nbytes}}
            text = orjson.dumps({"inputs": [tensor]})
            length = len(text) + numbers.choice([0, 0, 0, 1, -1, 10**6])
            headers["inference-header-content-length"] = str(length)
            body = text + x.tobytes()
        codes[client.post(INFER, content=mutated(numbers, body), headers=headers).status_code] += 1
    assert set(codes) <= {200, 400}
    assert codes[400] > 200
    assert digits.alive
    assert client.post(INFER, content=digits_body(), headers=JSON).status_code == 200


def raw(server: ServerProcess, data: bytes, seconds: float = 20) -> bytes:
    """Send bytes, read to the end of the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


@pytest.mark.parametrize("seed", range(3))
def test_bytes_that_are_no_http_are_answered_and_the_server_lives(seed: int, digits: ServerProcess) -> None:
    numbers = random.Random(seed)
    head = b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    whole = head % len(digits_body()) + digits_body()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(numbers.randint(1, 5)):
            data[numbers.randrange(len(head))] = numbers.randrange(256)
        with socket.create_connection(("127.0.0.1", digits.port), timeout=10) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
        assert not answer or b" 500 " not in answer.split(b"\r\n")[0]
    assert digits.alive


def test_a_client_that_trickles_is_cut_off_while_others_are_served(digits: ServerProcess, client: httpx.Client) -> None:
    slow = [socket.create_connection(("127.0.0.1", digits.port), timeout=30) for _ in range(50)]
    begun = time.monotonic()
    try:
        for connection in slow:
            connection.sendall(b"POST /v2 HTTP/1.1\r\nHost: h\r\n")
        while time.monotonic() - begun < 8:
            for connection in slow:
                connection.sendall(b"X: y\r\n")
            assert client.post(INFER, content=digits_body(), headers=JSON).status_code == 200
            time.sleep(0.5)
        for connection in slow:
            assert b" 408 " in connection.recv(4096)
        assert 9 < time.monotonic() - begun < 14
    finally:
        for connection in slow:
            connection.close()


def heavy_body() -> bytes:
    x = np.ones((1, 128, 128), dtype=np.float32).reshape(-1).tolist()
    return orjson.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 128, 128], "data": x}]})


def test_a_heavy_model_sheds_what_it_cannot_take_and_stays_live(tmp_path: Path) -> None:
    with start(tmp_path, onnx_models.slow(400), queueLimit=4, maxBatch=1) as server:

        async def ask() -> list[httpx.Response]:
            limits = httpx.Limits(max_connections=60)
            async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
                asked = [client.post(INFER, content=heavy_body(), headers=JSON) for _ in range(40)]
                alive = client.get("/v2/health/live")
                answers = await asyncio.gather(*asked, alive)
                return list(answers[:-1])

        answers = asyncio.run(ask())
        codes = Counter(a.status_code for a in answers)
        assert set(codes) == {200, 503}, codes
        assert codes[200] >= 5
        for answer in answers:
            if answer.status_code == 503:
                assert int(answer.headers["retry-after"]) >= 1
                assert "4 requests are waiting already" in answer.json()["error"]
        assert metric(server, "slipway_server_requests_total", code="503") == codes[503]
        assert metric(server, "slipway_server_queue_length") == 0


def test_a_request_that_takes_too_long_is_504_and_a_client_that_leaves_is_dropped(tmp_path: Path) -> None:
    with start(tmp_path, onnx_models.slow(30_000), timeoutMs=300, maxBatch=1) as server:
        begun = time.monotonic()
        answer = httpx.post(server.url + INFER, content=heavy_body(), headers=JSON, timeout=30)
        assert answer.status_code == 504
        assert 0.3 <= time.monotonic() - begun < 3
        assert "no answer within 300 ms" in answer.json()["error"]

        head = f"POST {INFER} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(heavy_body())}\r\n\r\n"
        connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(12)]
        for connection in connections:
            connection.sendall(head.encode() + heavy_body())
        for connection in connections:
            connection.close()
        end = time.monotonic() + 20
        while metric(server, "slipway_server_queue_length") and time.monotonic() < end:
            time.sleep(0.05)
        left = metric(server, "slipway_server_requests_total", code="499")
        assert left >= 1
        assert metric(server, "slipway_server_in_flight") == 0


def test_before_the_model_is_there_the_server_is_live_and_not_ready(tmp_path: Path) -> None:
    artifact = onnx_models.save(onnx_models.digits(), tmp_path / "m.onnx")
    spec = onnx_models.spec(artifact, onnx_models.DIGITS)
    with fake_s3() as s3:
        s3.refuse = ("SlowDown", 503)  # tried again for a while
        with serving(tmp_path, spec, s3.environment(), ready=False) as server:
            assert httpx.get(server.url + "/v2/health/live").status_code == 200
            ready = httpx.get(server.url + "/v2/health/ready")
            assert ready.status_code == 503
            assert "still loading" in ready.json()["error"]
            assert httpx.post(server.url + INFER, content=digits_body(), headers=JSON).status_code == 503
            server.terminate()
            assert server.process.wait(timeout=5) == EXIT_OK


class Load:
    """Constant load from a keep-alive pool and on fresh connections, that counts every answer and every failure."""

    def __init__(self, port: int, body: bytes) -> None:
        head = f"POST {INFER} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._port = port
        self._kept = head.encode() + b"\r\n" + body
        self._fresh = head.encode() + b"Connection: close\r\n\r\n" + body
        self.codes: Counter[str] = Counter()
        self.failures: list[tuple[float, Exception]] = []  # with the time.monotonic() of each
        self.refused_at = 0.0
        self.closes = 0

    async def kept(self) -> None:
        """One connection, asked again and again; opened anew only if the server said that it closes it."""
        while not self.refused_at:
            connection = await self._open()
            if connection is None:
                return
            reader, writer = connection
            closing = False
            while not closing and not self.refused_at:
                closing = await self._ask(reader, writer, self._kept)
            writer.close()

    async def fresh(self) -> None:
        """A connection for each request."""
        while not self.refused_at:
            connection = await self._open()
            if connection is None:
                return
            await self._ask(*connection, self._fresh)
            connection[1].close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            return await asyncio.open_connection("127.0.0.1", self._port)
        except (ConnectionRefusedError, ConnectionResetError):  # reset: the port closed between SYN and ACK
            self.refused_at = self.refused_at or time.monotonic()
            return None

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bool:
        try:
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        except (OSError, EOFError) as error:
            self.failures.append((time.monotonic(), error))
            return True
        self.codes[head.split(b" ", 2)[1].decode()] += 1
        closes = b"connection: close" in head.lower()
        self.closes += closes
        await asyncio.sleep(0.002)
        return closes


@pytest.mark.parametrize("kind", ["tiny", "heavy"])
def test_no_request_fails_while_a_server_is_told_to_stop(kind: str, tmp_path: Path) -> None:
    made = (onnx_models.digits(), onnx_models.DIGITS) if kind == "tiny" else onnx_models.slow(300)
    body = digits_body() if kind == "tiny" else heavy_body()
    with start(tmp_path, made, drainSeconds=2) as server:

        async def ask() -> tuple[Load, float]:
            load = Load(server.port, body)
            tasks = [asyncio.create_task(load.kept()) for _ in range(8)]
            tasks += [asyncio.create_task(load.fresh()) for _ in range(4)]
            await asyncio.sleep(1)
            assert load.closes < sum(load.codes.values())
            told = time.monotonic()  # before it is: this process may wait for the processor right after
            server.terminate()
            await asyncio.sleep(0.3)
            async with httpx.AsyncClient() as client:
                assert (await client.get(server.url + "/v2/health/ready")).status_code == 503
                assert (await client.get(server.url + "/v2/health/live")).status_code == 200
            await asyncio.gather(*tasks)
            return load, told

        load, told = asyncio.run(ask())
        code = server.process.wait(timeout=10)
    # Connections that the kernel had accepted, but not yet the server, when the port was closed at the end of the
    # drain are reset instead of refused. Before that moment nothing may fail. (The server's loop counts in whole
    # milliseconds, and cuts off what is beyond: its 2 seconds may be 1.999.)
    end_of_drain = told + 2 - 0.001
    assert [(when - told, error) for when, error in load.failures if when < end_of_drain] == []
    assert set(load.codes) == {"200"}
    assert sum(load.codes.values()) > (500 if kind == "tiny" else 50)
    assert end_of_drain <= load.refused_at < told + 4
    assert code == EXIT_OK


def test_a_request_under_way_at_the_end_of_the_drain_is_answered(tmp_path: Path) -> None:
    with start(tmp_path, onnx_models.slow(30_000), drainSeconds=0, maxBatch=1) as server:

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(timeout=60) as client:
                asked = asyncio.create_task(client.post(server.url + INFER, content=heavy_body(), headers=JSON))
                while not metric(server, "slipway_server_in_flight"):
                    await asyncio.sleep(0.01)
                server.terminate()
                return await asked

        answer = asyncio.run(ask())
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        assert server.process.wait(timeout=10) == EXIT_OK


def test_one_bad_row_does_not_spoil_what_runs_with_it(tmp_path: Path) -> None:
    with start(tmp_path, onnx_models.lookup()) as server:

        def body(index: int) -> bytes:
            return orjson.dumps({"inputs": [{"name": "i", "datatype": "INT64", "shape": [1], "data": [index]}]})

        async def ask() -> list[httpx.Response]:
            async with httpx.AsyncClient(base_url=server.url) as client:
                asked = (client.post(INFER, content=body(i), headers=JSON) for i in [0, 99, 1, -99, 3] * 8)
                return list(await asyncio.gather(*asked))

        answers = asyncio.run(ask())
        assert [a.status_code for a in answers] == [200, 422, 200, 422, 200] * 8
        assert answers[2].json()["outputs"][0]["data"] == [2.0, 3.0]
        assert "out of data bounds" in answers[1].json()["error"]
        assert metric(server, "slipway_server_ready") == 1


def test_texts_go_in_and_out(tmp_path: Path) -> None:
    with start(tmp_path, onnx_models.identity("BYTES")) as server:
        texts = ["Grüße", ""]
        tensor: dict[str, Any] = {"name": "x", "datatype": "BYTES", "shape": [1, 2], "data": texts}
        answer = httpx.post(server.url + INFER, json={"inputs": [tensor]})
        assert answer.json()["outputs"][0]["data"] == texts

        raw_texts = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts)
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(raw_texts)}
        text = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
        headers = {"inference-header-content-length": str(len(text))}
        answer = httpx.post(server.url + INFER, content=text + raw_texts, headers=headers)
        assert answer.content.endswith(raw_texts)


def wide() -> Any:
    """Needs 64 KiB of activations for each element of a row of any length."""
    signature = Signature([Tensor("x", "FP32", [-1, -1])], [Tensor("y", "FP32", [-1, -1])])
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["u"]),
        helper.make_node("Mul", ["u", "w"], ["big"]),
        helper.make_node("ReduceMax", ["big"], ["y"], axes=[2], keepdims=0),
    ]
    weights = [
        numpy_helper.from_array(np.array([2], dtype=np.int64), "axis"),
        numpy_helper.from_array(np.ones(1 << 14, dtype=np.float32), "w"),
    ]
    return onnx_models.make(nodes, signature, weights), signature


def test_what_needs_more_memory_than_there_is_fails_alone(tmp_path: Path) -> None:
    with start(tmp_path, wide(), "--memory", str(256 << 20)) as server:

        def ask(length: int) -> httpx.Response:
            x = np.ones((1, length), dtype="<f4")
            size = {"binary_data_size": x.nbytes}
            tensor = {"name": "x", "datatype": "FP32", "shape": [1, length], "parameters": size}
            text = orjson.dumps({"inputs": [tensor]})
            headers = {"inference-header-content-length": str(len(text))}
            return httpx.post(server.url + INFER, content=text + x.tobytes(), headers=headers, timeout=60)

        assert ask(10).status_code == 200
        refused = ask(1_000_000)  # 64 GiB
        assert refused.status_code == 422
        assert "memory" in refused.json()["error"].lower()
        assert ask(10).status_code == 200

        costly = httpx.post(server.url + INFER, content=b"[" + b"{}," * 2_000_000 + b"1]", headers=JSON)
        assert costly.status_code == 413
        assert "send binary tensors" in costly.json()["error"]
        assert server.alive
        peak = metric(server, "process_resident_memory_bytes")
        assert peak < 256 << 20
