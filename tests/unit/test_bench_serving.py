"""The page of the serving bench says what its run showed, and nothing that it did not."""

from __future__ import annotations

import asyncio
import doctest
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import uvloop

from bench.__main__ import page
from bench.serving import load, worth
from bench.serving.sink import Sink
from bench.table import Report

WHEN = datetime(2026, 11, 29, tzinfo=UTC)
ALONE, SHARED = "one core", "2 cores, shared with the load"


def heavy(rates: list[float], bare: float, cpu: float, *, beside: float | None = None) -> dict[str, Any]:
    shares = sorted(r / bare for r in rates)
    asked = [{"rate": beside, "load": {"rate": 101.5}} for _ in rates] if beside else []
    return {
        "ours": [{"load": {"rate": r}, "cpu": cpu} for r in rates],
        "bare": [(bare, 0.018)] * len(rates),
        "beside": asked,
        "share": shares[len(shares) // 2],
        "share_beside": sorted(rates)[len(rates) // 2] / beside if beside else None,
        "cpu_share": 0.018 / cpu,
    }


def figures(*, before: float = 0.4, missed: int = 0) -> dict[str, Any]:
    return {
        "machine": {"load_before": (before, 9.0, 9.0)},
        "bars": [{"bar": "b", "met": n >= missed} for n in range(7)],
        "body_bytes": 602_240,
        "heavy": {
            ALONE: heavy([96.0, 97.0, 98.0], 100.0, 0.0188),
            SHARED: heavy([102.0, 103.0, 105.0], 109.0, 0.0187, beside=104.0),
        },
    }


def test_a_quiet_run_decides() -> None:
    told = worth.words(figures(), quick=False)
    assert "The load average was 0.4 before the run, so its bars decide. All 7 bars were met." in told
    assert (
        f"Heavy model, {ALONE}: 97.0% of bare `run`, from 96.0% to 98.0% in the 3 rounds; by processor time of the "
        "server alone 95.7%. A request took 0.8 ms of it more than a run, which took 18.0 ms.\n"
    ) in told
    assert worth.busy((0.4, 9.0, 9.0)) == ""


def test_a_run_on_a_busy_machine_says_so_first_and_decides_nothing() -> None:
    told = worth.words(figures(before=4.25, missed=2), quick=False)
    assert "other work had a part of the same cores, so no bar that was missed here decides." in told
    assert "5 of 7 bars were met." in told
    assert "its bars decide" not in told
    text = page(WHEN, ["## Serving\n", "## More\n"], [(0.2, 0, 0), (4.25, 0, 0)])
    assert text.startswith("# Benchmarks\n")
    head, _, _ = text.partition("## Serving")
    assert "its load average was 4.2 before this run" in head
    assert "not quiet" not in page(WHEN, ["## Serving\n"], [(0.2, 5, 5)])


def test_a_quick_run_decides_nothing_however_quiet() -> None:
    told = worth.words(figures(), quick=True)
    assert "`--quick`, which is short and decides nothing" in told
    assert "its bars decide" not in told


def test_the_share_beside_the_load_is_told_where_it_was_measured() -> None:
    alone, shared = worth.words(figures(), quick=False).split("\n\n")[2:]
    assert "Beside" not in alone
    assert (
        "Beside a program that reads the same 602 kB a request, 101.5 times a second, and does nothing with them, bare "
        "`run` came to 104.0 a second, and the server to 99.0% of that, from 98.1% to 101.0% in the 3 rounds."
    ) in shared
    # 102, 103 and 105 of 109: the bar lies between
    assert "The bar of 95% lies within that spread" in shared
    assert "within that spread" not in alone


def test_what_closes_a_report_comes_after_its_bars() -> None:
    report = Report("T", closing="### Worth\n\nmuch")
    report.bar("fast", True)
    assert report.text() == "## T\n\n- met: fast\n\n### Worth\n\nmuch\n"
    assert Report("T", blocks=["b"]).text() == "## T\n\nb\n"


def test_examples() -> None:
    done = doctest.testmod(worth)
    assert done.attempted
    assert not done.failed


def test_a_pause_is_anything_up_to_twice_its_mean() -> None:
    script = load.lua("/p", Path("/b"), {"A": "1"}, 0.0779)
    assert "function delay() return math.random(0, 156) end" in script
    assert "delay" not in load.lua("/p", Path("/b"), {"A": "1"}, 0.0)


REQUEST = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 700000\r\n\r\n" + b"\r\n\r\n" * 175_000


class Wire:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)


def test_the_sink_answers_when_the_last_byte_is_there() -> None:
    sink, wire = Sink(), Wire()
    sink.connection_made(cast(asyncio.Transport, wire))
    for count in (1, 2):
        rest = REQUEST
        while rest:
            assert len(wire.sent) == count - 1
            into = sink.get_buffer(-1)
            piece, rest = rest[: len(into)], rest[len(into) :]
            into[: len(piece)] = piece
            sink.buffer_updated(len(piece))
        assert len(wire.sent) == count


def test_the_sink_serves_on_the_loop_that_it_runs_on() -> None:
    async def ask() -> list[bytes]:
        server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            found = []
            for request in (REQUEST, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                found.append(head + await reader.readexactly(int(head.partition(b"Content-Length: ")[2])))
            writer.close()
            return found

    first, second = uvloop.run(ask())
    assert first == second
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
