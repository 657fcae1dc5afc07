"""Two or three real servers on loopback: what a shadow counts, and that its peers and their clients do not feel it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RLIMIT_FSIZE, prlimit
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from prometheus_client.parser import text_string_to_metric_families

from slipway.contract import EXIT_OK, EXIT_USER_ERROR, Comparison, Signature, Tensor
from slipway_server.answers import question, read_reply
from tests.support import onnx_models
from tests.support.server_process import PYTHONPATH, ServerProcess, put_model, run, serving

INFER = "/v2/models/m/infer"
SCORES = Signature([Tensor("x", "FP32", [-1, 2])], [Tensor("y", "FP32", [-1, 2])])
NUMBER = Signature([Tensor("x", "FP32", [-1, 1])], [Tensor("y", "FP32", [-1, 1])])
INDEX = Signature([Tensor("i", "INT64", [-1])], [Tensor("row", "FP32", [-1, 1])])

HTTP = httpx.Client(trust_env=False, timeout=20)

Made = tuple[onnx.ModelProto, Signature]


def scaled(signature: Signature, *factors: float) -> Made:
    """Multiplies each column by a factor."""
    w = numpy_helper.from_array(np.array(factors, dtype=np.float32), "w")
    return onnx_models.make([helper.make_node("Mul", ["x", "w"], ["y"])], signature, [w]), signature


def lookup(size: int) -> Made:
    """Knows the numbers below ``size``; 422 for any other."""
    table = numpy_helper.from_array(np.arange(size, dtype=np.float32).reshape(size, 1), "table")
    return onnx_models.make([helper.make_node("Gather", ["table", "i"], ["row"])], INDEX, [table]), INDEX


@contextmanager
def server(directory: Path, made: Made, **more: Any) -> Iterator[ServerProcess]:
    model, signature = made
    directory.mkdir(parents=True, exist_ok=True)
    artifact = onnx_models.save(model, directory / "m.onnx")
    spec = onnx_models.spec(artifact, signature, **{"drainSeconds": 0, **more})
    put_model(spec, directory / "m.onnx", directory / "model")
    with serving(directory, spec) as process:
        yield process


@contextmanager
def pair(
    directory: Path, stable: Made, shadow: Made, examples: int = 0, **more: Any
) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """A server that answers clients, and its shadow; it has asked before its model was loaded."""
    with server(directory / "stable", stable) as one:
        comparison = Comparison(f"127.0.0.1:{one.metrics_port}", "1e-4", "1e-3", examples)
        with server(directory / "shadow", shadow, comparison=comparison, **more) as other:
            yield one, other


def wait(holds: Callable[[], bool], seconds: float = 25) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to be so in time"
        time.sleep(0.05)


def ask(process: ServerProcess, request_id: str | None, tensor: dict[str, Any]) -> httpx.Response:
    headers = {} if request_id is None else {"x-request-id": request_id}
    return HTTP.post(process.url + INFER, json={"inputs": [tensor]}, headers=headers)


def numbers(*values: float) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1, len(values)], "data": list(values)}


def index(value: int) -> dict[str, Any]:
    return {"name": "i", "datatype": "INT64", "shape": [1], "data": [value]}


def mirror(stable: ServerProcess, shadow: ServerProcess, request_id: str, tensor: dict[str, Any]) -> tuple[int, int]:
    """What a gateway does; the copy is answered first half of the time."""
    if sum(request_id.encode()) % 2:
        return ask(stable, request_id, tensor).status_code, ask(shadow, request_id, tensor).status_code
    copy = ask(shadow, request_id, tensor).status_code
    return ask(stable, request_id, tensor).status_code, copy


def counts(process: ServerProcess) -> dict[str, float]:
    """What the comparing came to; names without what all have in common, zeros left out."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(HTTP.get(process.metrics_url).text):
        for sample in family.samples:
            name = sample.name.removeprefix("slipway_server_").removesuffix("_total")
            if name in ("compared", "disagreed", "unmatched", "uncompared") and sample.value:
                label = sample.labels.get("kind") or sample.labels.get("reason")
                found[f"{name} {label}" if label else name] = sample.value
    return found


def total(process: ServerProcess) -> float:
    found = counts(process)
    return sum(v for k, v in found.items() if k.startswith(("compared", "unmatched", "uncompared")))


def test_models_that_agree_and_models_that_do_not(tmp_path: Path) -> None:
    nearly = scaled(NUMBER, 1.0005)
    with pair(tmp_path, scaled(NUMBER, 1.0), nearly) as (stable, shadow):
        assert counts(shadow) == {}
        assert counts(stable) == {}
        for i in range(20):
            assert mirror(stable, shadow, f"r{i}", numbers(i)) == (200, 200)
        wait(lambda: total(shadow) == 20)
        assert counts(shadow) == {"compared": 20}
    with pair(tmp_path, scaled(NUMBER, 1.0), scaled(NUMBER, 1.1)) as (stable, shadow):
        for i in range(20):
            mirror(stable, shadow, f"r{i}", numbers(i))
        wait(lambda: total(shadow) == 20)
        assert counts(shadow) == {"compared": 20, "disagreed numeric": 19}  # not that of 0


def test_of_a_classifier_the_top_class_counts(tmp_path: Path) -> None:
    with pair(tmp_path, scaled(SCORES, 1.0, 1.0), scaled(SCORES, 3.0, 2.0)) as (stable, shadow):
        for i, scores in enumerate([(4.0, 1.0), (1.0, 4.0), (1.0, 1.2), (0.0, 9.0), (1.0, 1.0)]):
            mirror(stable, shadow, f"r{i}", numbers(*scores))
        wait(lambda: total(shadow) == 5)
        assert counts(shadow) == {"compared": 5, "disagreed class": 1}  # the third; the last is a tie


def test_an_error_on_exactly_one_side(tmp_path: Path) -> None:
    with pair(tmp_path, lookup(6), lookup(4)) as (stable, shadow):
        codes = [mirror(stable, shadow, f"r{i}", index(i)) for i in range(8)]
        assert codes == [(200, 200)] * 4 + [(200, 422)] * 2 + [(422, 422)] * 2
        wait(lambda: total(shadow) == 8)
        assert counts(shadow) == {"compared": 6, "disagreed error": 2, "uncompared unanswered": 2}


def test_what_cannot_be_compared_is_counted_by_its_reason(tmp_path: Path) -> None:
    with pair(tmp_path, scaled(NUMBER, 1.0), scaled(NUMBER, 2.0)) as (stable, shadow):
        ask(shadow, None, numbers(1))
        ask(shadow, "long" * 100, numbers(1))
        for value in (1, 2):  # a client that calls everything the same
            mirror(stable, shadow, "same", numbers(value))
        wait(lambda: total(shadow) == 4)
        assert counts(shadow) == {"uncompared unidentified": 2, "uncompared repeated": 2}


def known(process: ServerProcess, *ids: str) -> dict[int, Any]:
    reply = HTTP.post(process.metrics_url.replace("/metrics", "/answers"), content=question([i.encode() for i in ids]))
    return dict(read_reply(reply.content, len(ids)).answers)


def test_an_answer_is_told_by_its_id_and_never_an_input(tmp_path: Path) -> None:
    with server(tmp_path, scaled(NUMBER, 2.0)) as process:
        ask(process, "a", numbers(7777))
        ask(process, None, numbers(1))
        assert known(process, "x", "a") == {1: (200, ((1, 1),), (np.float32(15554).tobytes(),))}
        url = process.metrics_url.replace("/metrics", "/answers")
        assert HTTP.get(url).status_code == 405
        assert HTTP.post(url, content=b"x" * 70_000).status_code == 413
        assert HTTP.post(url, content=b"{}").status_code == 400
        assert HTTP.post(process.url + "/answers", content=question([])).status_code == 404


# ------------------------------------------------------------------------------------- peers that are no help


class Peer:
    """Something that listens where a server's metrics port should be."""

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.asked = 0
        self._behave = behave
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.asked += 1
            self._open.append(connection)
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        try:
            connection.recv(65536)
            self._behave(connection)
        except OSError:
            pass

    def close(self) -> None:
        self._listener.close()
        for connection in self._open:
            connection.close()


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 300\r\n\r\n" + os.urandom(300))


def endless(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * 65536)


def enormous(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n")
    endless(connection)


def hangs_up(connection: socket.socket) -> None:
    connection.close()


@pytest.mark.parametrize("behave", [silent, garbage, endless, enormous, hangs_up], ids=lambda b: b.__name__)
def test_a_peer_that_is_no_help_changes_nothing(behave: Callable[[socket.socket], None], tmp_path: Path) -> None:
    peer = Peer(behave)
    try:
        comparison = Comparison(f"127.0.0.1:{peer.port}", "0", "0")
        with server(tmp_path, scaled(NUMBER, 1.0), comparison=comparison) as shadow:
            before = memory(shadow)
            wait(lambda: peer.asked > 0)
            for i in range(300):
                assert ask(shadow, f"r{i}", numbers(i)).status_code == 200
            wait(lambda: peer.asked > 1 or behave is silent)
            assert shadow.alive
            assert memory(shadow) < before + (40 << 20)
            assert "compared" not in counts(shadow)
            shadow.terminate()
            assert shadow.process.wait(timeout=15) == EXIT_OK
    finally:
        peer.close()


def memory(process: ServerProcess) -> float:
    text = HTTP.get(process.metrics_url).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("process_resident_memory"))


def test_peers_may_go_and_come(tmp_path: Path) -> None:
    with server(tmp_path / "stable", scaled(NUMBER, 1.0)) as stable:
        comparison = Comparison(f"127.0.0.1:{stable.metrics_port}", "0", "0")
        with server(tmp_path / "shadow", scaled(NUMBER, 1.0), comparison=comparison) as shadow:
            mirror(stable, shadow, "before", numbers(1))
            wait(lambda: counts(shadow) == {"compared": 1})
            stable.process.kill()
            stable.process.wait(timeout=10)
            ask(shadow, "while", numbers(1))
            wait(lambda: counts(shadow) == {"compared": 1, "unmatched": 1})  # after the last try
            wait_for_port(stable.metrics_port)
            options = ("--metrics-port", str(stable.metrics_port))
            artifact = onnx_models.save(scaled(NUMBER, 1.0)[0], tmp_path / "m.onnx")
            spec = onnx_models.spec(artifact, NUMBER, drainSeconds=0)
            with serving(tmp_path / "stable", spec, options=options) as again:
                wait(lambda: tries(again, shadow))


def test_a_shadow_that_was_promoted_finds_itself_compares_nothing_and_is_asked(tmp_path: Path) -> None:
    """Its spec stays; the name of the peers leads to itself, and then to nobody."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    artifact = onnx_models.save(scaled(NUMBER, 1.0)[0], tmp_path / "m.onnx")
    spec = onnx_models.spec(artifact, NUMBER, drainSeconds=0, comparison=Comparison(f"127.0.0.1:{port}"))
    put_model(spec, tmp_path / "m.onnx", tmp_path / "model")
    with serving(tmp_path, spec, options=("--metrics-port", str(port))) as promoted:
        ask(promoted, "a", numbers(1))
        assert counts(promoted) == {}
        comparison = Comparison(f"127.0.0.1:{port}", "0", "0")
        with server(tmp_path / "next", scaled(NUMBER, 2.0), comparison=comparison) as shadow:
            mirror(promoted, shadow, "b", numbers(1))
            wait(lambda: counts(shadow) == {"compared": 1, "disagreed numeric": 1})
        assert counts(promoted) == {}
    nobody = onnx_models.spec(artifact, NUMBER, drainSeconds=0, comparison=Comparison("nobody.invalid:9091"))
    with serving(tmp_path, nobody) as promoted:
        ends = "comparing ends: there are no peers"
        if not any(line["message"] == ends for line in promoted.seen):
            promoted.wait_for(ends)
        assert ask(promoted, "a", numbers(1)).status_code == 200
        assert counts(promoted) == {}


def wait_for_port(port: int) -> None:
    def free() -> bool:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            return False
        return True

    wait(free)


def tries(stable: ServerProcess, shadow: ServerProcess) -> bool:
    """A request more; whether any was compared since the peer came back."""
    mirror(stable, shadow, f"after-{time.monotonic_ns()}", numbers(1))
    return counts(shadow)["compared"] > 1


def test_the_client_gets_its_answer_whatever_the_shadow_does(tmp_path: Path) -> None:
    """A shadow some hundred times slower than its peer, with a queue of 4, gets every request."""
    slow, signature = onnx_models.slow(400)
    fast, _ = onnx_models.slow(1)
    x = {"name": "x", "datatype": "FP32", "shape": [1, 128, 128], "data": [0.5] * 128 * 128}
    with pair(tmp_path, (fast, signature), (slow, signature), queueLimit=4) as (stable, shadow):

        async def load() -> tuple[list[int], list[int]]:
            # A client that waits for the processor may keep a connection for more than httpx's 5 seconds, which would
            # then close it under the request that was just given to it.
            limits = httpx.Limits(keepalive_expiry=None)
            async with httpx.AsyncClient(timeout=30, limits=limits) as client:

                async def post(process: ServerProcess, i: int) -> int:
                    headers = {"x-request-id": f"r{i}"}
                    answer = await client.post(process.url + INFER, json={"inputs": [x]}, headers=headers)
                    return answer.status_code

                copies = []
                clients = []
                for start in range(0, 120, 12):
                    copies += [asyncio.create_task(post(shadow, i)) for i in range(start, start + 12)]
                    clients += await asyncio.gather(*(post(stable, i) for i in range(start, start + 12)))
                return clients, list(await asyncio.gather(*copies))

        clients, copies = asyncio.run(load())
        assert set(clients) == {200}
        assert set(copies) == {200, 503}
        wait(lambda: total(shadow) == 120)
        refused = copies.count(503)
        assert counts(shadow) == {"compared": 120, "disagreed error": refused}
        shadow.process.kill()
        shadow.process.wait(timeout=10)
        assert ask(stable, "after", x).status_code == 200


# ------------------------------------------------------------------------------------------------------ examples


def shown(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "slipway_server", "examples", "--model-dir", str(directory)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)


def test_examples_are_kept_only_if_asked_for_and_can_be_asked_again(tmp_path: Path) -> None:
    with pair(tmp_path, scaled(NUMBER, 1.0), scaled(NUMBER, 2.0), examples=2) as (stable, shadow):
        for i in range(1, 6):
            mirror(stable, shadow, f"r{i}", numbers(i))
            wait(lambda i=i: total(shadow) == i)  # type: ignore[misc]
        files = tmp_path / "shadow" / "model"
        wait(lambda: len(list((files / "examples").glob("*.json"))) == 2)
        done = shown(files)
        examples = [json.loads(line) for line in done.stdout.splitlines()]
        assert [e["requestId"] for e in examples] == ["r1", "r2"]
        assert examples[1]["kind"] == "numeric"
        assert examples[1]["own"]["outputs"][0]["data"] == [4.0]
        assert examples[1]["peer"]["outputs"][0]["data"] == [2.0]
        again = HTTP.post(shadow.url + INFER, json={"inputs": examples[1]["inputs"]})
        assert again.json()["outputs"][0]["data"] == [4.0]
        # It runs beside the server, within the same limit of memory.
        assert "numpy" not in done.stderr
        assert "onnxruntime" not in done.stderr
        for port in (shadow.port, shadow.metrics_port):
            assert HTTP.get(f"http://127.0.0.1:{port}/examples").status_code == 404
    with pair(tmp_path / "off", scaled(NUMBER, 1.0), scaled(NUMBER, 2.0)) as (stable, shadow):
        mirror(stable, shadow, "r1", numbers(1))
        wait(lambda: total(shadow) == 1)
        assert not (tmp_path / "off" / "shadow" / "model" / "examples").exists()
        assert "no examples" in shown(tmp_path / "off" / "shadow" / "model").stderr


def test_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    with pair(tmp_path, scaled(NUMBER, 1.0), scaled(NUMBER, 2.0), examples=10) as (stable, shadow):
        prlimit(shadow.process.pid, RLIMIT_FSIZE, (0, 0))  # every write to a file fails from now on
        for i in range(1, 6):
            assert mirror(stable, shadow, f"r{i}", numbers(i)) == (200, 200)
        wait(lambda: total(shadow) == 5)
        assert counts(shadow) == {"compared": 5, "disagreed numeric": 5}
        shadow.wait_for("an example could not be kept")
        assert list((tmp_path / "shadow" / "model" / "examples").iterdir()) == []


@pytest.mark.parametrize(
    ("comparison", "sentence"),
    [
        (Comparison("stable"), "comparison.peers 'stable' must be host:port"),
        (Comparison("stable:9091", absolute="small"), "the absolute tolerance 'small' must be a number"),
        (Comparison("stable:9091", relative="-1"), "the relative tolerance '-1' must be a number of at least 0"),
    ],
    ids=["no port", "no number", "below 0"],
)
def test_a_comparison_that_makes_no_sense_is_refused(comparison: Comparison, sentence: str, tmp_path: Path) -> None:
    model, signature = scaled(NUMBER, 1.0)
    spec = onnx_models.spec(onnx_models.save(model, tmp_path / "m.onnx"), signature, comparison=comparison)
    finished = run("serve", tmp_path, spec)
    assert finished.code == EXIT_USER_ERROR
    assert sentence in finished.failure.message
