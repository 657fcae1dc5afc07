"""The model server beside what a user would write by hand, beside MLServer, and beside bare inference.

Everything compared runs in one go on the same cores, in turns (A B C A B C ...), and what counts are ratios within a
round: a machine that is slower for ten seconds is slower for all of them. Processor time a request is shown beside the
rates: others on the machine change it much less.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import orjson

from bench.serving import load, models, servers, worth
from bench.serving.load import Load
from bench.serving.models import BenchModel
from bench.serving.servers import ROOT, Maker, Running
from bench.table import Report

PATH = "/v2/models/m/infer"
JSON = {"Content-Type": "application/json"}
OURS = "slipway"
PACKAGES = ("onnxruntime-gpu", "numpy", "orjson", "uvloop", "httptools", "uvicorn", "starlette")


@dataclass(frozen=True)
class Length:
    """How long to measure."""

    rounds: int
    seconds: float
    heavy_seconds: float


FULL = Length(rounds=7, seconds=2.0, heavy_seconds=3.0)
QUICK = Length(rounds=2, seconds=1.0, heavy_seconds=2.0)


@dataclass(frozen=True)
class Beside:
    """One turn of bare runs while the same bytes are asked of a sink: runs a second, what the load saw, and the
    seconds that each connection paused between an answer and the next request."""

    rate: float
    load: Load
    pause: float


@dataclass(frozen=True)
class Measured:
    """One turn: what the load saw, and the server's processor seconds for one request."""

    load: Load
    cpu: float


def run(quick: bool) -> Report:
    """Measure all; takes about seven minutes, or two with ``quick``."""
    length = QUICK if quick else FULL
    report = Report("Serving")
    report.figures["machine"] = _machine()
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as name:
        directory = Path(name)
        digits, resnet = models.digits(directory), models.resnet(directory)
        _tiny(report, digits, directory, length)
        _heavy(report, resnet, directory, length)
        _overload(report, resnet, directory, length)
    report.figures["machine"]["load_after"] = os.getloadavg()
    report.blocks.insert(0, _machine_line(report))
    report.closing = worth.words(report.figures, quick=quick)
    return report


def _tiny(report: Report, model: BenchModel, directory: Path, length: Length) -> None:
    """JSON, one row: the servers have one core, the load has the other."""
    cores, rest = _split()
    compared: dict[str, Maker] = {
        OURS: servers.slipway(),
        "hand-written, tuned": servers.handwritten(tuned=True),
        "hand-written, naive": servers.handwritten(tuned=False),
        f"MLServer {servers.MLSERVER}": servers.mlserver,
        "echo: uvicorn, raw ASGI": servers.echo,
        "echo: our HTTP stack": servers.own_echo,
    }
    body = _json_body(model)
    rates: dict[str, list[Measured]] = {name: [] for name in compared}
    memory: dict[str, tuple[float, float]] = {}
    bare: list[tuple[float, float]] = []
    with ExitStack() as stack:
        started = {
            name: stack.enter_context(servers.running(name, make, model, directory / "tiny" / _slug(name), cores))
            for name, make in compared.items()
        }
        for _ in range(length.rounds):
            for name, server in started.items():
                rates[name].append(_ask(server, body, JSON, directory, length.seconds, connections=8, cores=rest))
            bare.append(_bare(model, 1, length.seconds / 2, cores))
        for name, server in started.items():
            memory[name] = server.memory()
    tuned, slow = "hand-written, tuned", f"MLServer {servers.MLSERVER}"
    rows = [
        [
            name,
            f"{_median(m.load.rate for m in got):,.0f}",
            f"{_ratio(rates[OURS], got):.2f}",
            f"{1e6 * _median(m.cpu for m in got):,.0f}",
            f"{1000 * _median(m.load.p50 for m in got):.2f}",
            f"{1000 * _median(m.load.p99 for m in got):.2f}",
            f"{memory[name][0]:.0f} / {memory[name][1]:.0f}",
            f"{sum(m.load.failed for m in got)}",
        ]
        for name, got in rates.items()
    ]
    rows.append(
        [
            "bare InferenceSession.run, 1 thread",
            f"{_median(rate for rate, _ in bare):,.0f}",
            "",
            f"{1e6 * _median(cpu for _, cpu in bare):,.0f}",
            *[""] * 4,
        ]
    )
    report.table(
        "Tiny model (digits, 64-64-10), JSON, one row a request, 8 connections, one worker on one core:",
        ["server", "requests/s", "ours / this", "CPU µs", "p50 ms", "p99 ms", "memory MiB, RSS / PSS", "failed"],
        rows,
    )
    ratio_tuned, ratio_slow = _ratio(rates[OURS], rates[tuned]), _ratio(rates[OURS], rates[slow])
    extra = memory[OURS][0] - memory[tuned][0]
    report.figures["tiny"] = {
        "rates": {name: [asdict(r) for r in got] for name, got in rates.items()},
        "memory_mib": {name: {"rss": rss, "pss": pss} for name, (rss, pss) in memory.items()},
        "bare": bare,
        "ours_to_tuned": ratio_tuned,
        "ours_to_mlserver": ratio_slow,
        "extra_rss_mib": extra,
    }
    report.bar(f"at least the tuned hand-written server: {ratio_tuned:.2f} times", ratio_tuned >= 1)
    report.bar(f"at least 5 times MLServer: {ratio_slow:.1f} times", ratio_slow >= 5)
    report.bar(f"memory at most 30 MiB above the tuned hand-written server: {extra:+.0f} MiB RSS", extra <= 30)
    failed = sum(m.load.failed for m in rates[OURS])
    report.bar(f"no failed request: {failed}", failed == 0)


def _heavy(report: Report, model: BenchModel, directory: Path, length: Length) -> None:
    """Binary tensors, one row: on one core with the load on the other, and on all cores with the load among them."""
    _large_bodies(report, model, directory, length)
    cores, rest = _split()
    everything = cores | rest
    binary, headers = _binary_body(model)
    rows: list[list[str]] = []
    figures: dict[str, object] = {}
    for words, where, load_on, connections in (
        ("one core", cores, rest, 4),
        (f"{len(everything)} cores, shared with the load", everything, everything, 8),
    ):
        ours: list[Measured] = []
        tuned: list[Measured] = []
        bare: list[tuple[float, float]] = []
        beside: list[Beside] = []
        with ExitStack() as stack:

            def start(name: str, make: Maker, at: set[int] = where, on: ExitStack = stack) -> Running:
                return on.enter_context(
                    servers.running(name, make, model, directory / "heavy" / _slug(f"{name} {len(at)}"), at)
                )

            server = start(OURS, servers.slipway())
            other = start("tuned", servers.handwritten(tuned=True))
            sink = start("sink", servers.sink) if load_on == where else None
            for _ in range(length.rounds):
                for target, got in ((server, ours), (other, tuned)):
                    seconds = length.heavy_seconds
                    got.append(
                        _ask(target, binary, headers, directory, seconds, connections=connections, cores=load_on)
                    )
                bare.append(_bare(model, len(where), length.heavy_seconds, where))
                if sink is not None:
                    # An answer takes a moment too; how long is known from the round before.
                    lag = connections / beside[-1].load.rate - beside[-1].pause if beside else 0.0
                    pause = max(0.001, connections / ours[-1].load.rate - lag)
                    asked = (sink, binary, headers, directory)
                    beside.append(_beside(model, len(where), length.heavy_seconds, where, asked, connections, pause))
            rss, pss = server.memory()
        share = _median(o.load.rate / rate for o, (rate, _) in zip(ours, bare, strict=True))
        cpu_share = _median(cpu for _, cpu in bare) / _median(o.cpu for o in ours)
        share_beside = _median(o.load.rate / b.rate for o, b in zip(ours, beside, strict=True)) if beside else None
        failed = sum(m.load.failed for m in ours)
        rows.append(
            [
                words,
                f"{_median(rate for rate, _ in bare):.1f}",
                f"{_median(m.load.rate for m in ours):.1f}",
                f"{100 * share:.1f}%",
                f"{_median(b.rate for b in beside):.1f}" if beside else "",
                "" if share_beside is None else f"{100 * share_beside:.1f}%",
                f"{1000 * _median(cpu for _, cpu in bare):.1f}",
                f"{1000 * _median(m.cpu for m in ours):.1f}",
                f"{100 * cpu_share:.1f}%",
                f"{_median(m.load.rate for m in tuned):.1f}",
                f"{rss:.0f} / {pss:.0f}",
                str(failed),
            ]
        )
        figures[words] = {
            "bare": bare,
            "ours": [asdict(m) for m in ours],
            "tuned": [asdict(m) for m in tuned],
            "beside": [asdict(b) for b in beside],
            "share": share,
            "share_beside": share_beside,
            "cpu_share": cpu_share,
            "rss_mib": rss,
        }
        report.bar(f"heavy model, {words}: at least 95% of bare run: {100 * share:.1f}%", share >= 0.95)
    report.table(
        "Heavy model (ResNet-18 with random weights, 600 kB a request), binary tensors:",
        [
            *("on", "bare run/s", "slipway/s", "share of bare", "bare run/s beside the load", "share of that"),
            *("CPU ms, bare", "CPU ms, slipway", "share by CPU"),
            *("hand-written, tuned/s", "memory MiB, RSS / PSS", "failed"),
        ],
        rows,
    )
    report.figures["heavy"] = figures
    report.figures["body_bytes"] = len(binary)


def _large_bodies(report: Report, model: BenchModel, directory: Path, length: Length) -> None:
    """What the HTTP stack alone costs for such a request: it must be small beside a run."""
    cores, rest = _split()
    binary, headers = _binary_body(model)
    rows: list[list[str]] = []
    with ExitStack() as stack:
        compared = {"uvicorn, raw ASGI": servers.echo, "our HTTP stack": servers.own_echo}
        started = {
            name: stack.enter_context(servers.running(name, make, model, directory / "large" / _slug(name), cores))
            for name, make in compared.items()
        }
        got: dict[str, list[Measured]] = {name: [] for name in compared}
        for _ in range(length.rounds):
            for name, server in started.items():
                asked = (server, binary, headers, directory, 1.0)
                got[name].append(_ask(*asked, connections=4, cores=rest))
    for name, turns in got.items():
        cpu = _median(m.cpu for m in turns)
        rows.append([name, f"{_median(m.load.rate for m in turns):,.0f}", f"{1e6 * cpu:,.0f}"])
    report.figures["large_bodies"] = {name: [asdict(m) for m in turns] for name, turns in got.items()}
    report.table("A 600 kB body in, 200 bytes out, no inference, one core:", ["stack", "requests/s", "CPU µs"], rows)


def _overload(report: Report, model: BenchModel, directory: Path, length: Length) -> None:
    """Four times more clients than the queue holds: the queue's bound is the latency's bound."""
    cores, rest = _split()
    binary, headers = _binary_body(model)
    limit = 8
    with servers.running(OURS, servers.slipway(limit), model, directory / "overload", cores) as server:
        os.sched_setaffinity(0, rest)
        try:
            got = load.overload(
                server.port, PATH, binary, headers, connections=4 * limit, seconds=4 * length.heavy_seconds
            )
        finally:
            os.sched_setaffinity(0, cores | rest)
    # A request waits for the one that runs and for those before it in the queue, and then runs itself. How long a run
    # takes is seen in the same seconds: the server was never without work.
    run_seconds = 4 * length.heavy_seconds / max(1, got.accepted)
    bound = (limit + 2) * run_seconds * 1.25
    report.table(
        f"Overload: heavy model, {4 * limit} clients, queueLimit {limit}, one core:",
        ["accepted", "refused with 503", "other", "p50 s", "p99 s", "largest s", "bound s"],
        [
            [
                str(got.accepted),
                str(got.refused),
                str(got.other),
                *(f"{v:.3f}" for v in (got.p50, got.p99, got.largest, bound)),
            ]
        ],
    )
    report.figures["overload"] = {**asdict(got), "bound": bound, "run_seconds": run_seconds, "queue_limit": limit}
    report.bar(
        f"p99 of accepted requests is bounded by the queue: {got.p99:.3f} s, at most {bound:.3f} s "
        f"((queueLimit + 2) runs of {1000 * run_seconds:.0f} ms, and a quarter for noise)",
        got.accepted > 0 and got.p99 <= bound and got.other == 0,
    )


def _ask(
    server: Running,
    body: bytes,
    headers: dict[str, str],
    directory: Path,
    seconds: float,
    *,
    connections: int,
    cores: set[int],
) -> Measured:
    """Load from these cores, after a moment that is not counted."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # wrk inherits it
    try:
        for measured in (min(1.0, seconds / 4), seconds):
            used = server.cpu_seconds()
            got = load.closed_loop(
                server.url, PATH, body, headers, directory, connections=connections, seconds=max(1, round(measured))
            )
            used = server.cpu_seconds() - used
    finally:
        os.sched_setaffinity(0, before)
    return Measured(got, used / max(1, got.answers))


def _bare(model: BenchModel, threads: int, seconds: float, cores: set[int]) -> tuple[float, float]:
    """Runs a second, and processor seconds a run."""
    command = [
        *("taskset", "-c", ",".join(map(str, sorted(cores)))),
        *(sys.executable, "-m", "bench.serving.bare", str(model.path), str(threads), f"{seconds:g}"),
    ]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": servers.PYTHONPATH}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT)
    rate, cpu = done.stdout.split()
    return float(rate), float(cpu)


def _beside(
    model: BenchModel,
    threads: int,
    seconds: float,
    cores: set[int],
    asked: tuple[Running, bytes, dict[str, str], Path],
    connections: int,
    pause: float,
) -> Beside:
    """Bare runs on these cores while as many requests come as the server had: a base that bears the load too.

    They are asked of a sink, which only reads them. An echo of our own HTTP stack would take that stack out of what
    the share says, though it is ours to answer for; and uvicorn's would cost the base more than any server needs.
    """
    sink, body, headers, directory = asked

    def ask() -> Load:
        longer = round(seconds) + 4  # until the bare runs are over; they need a second or two to begin
        return load.closed_loop(
            sink.url, PATH, body, headers, directory, connections=connections, seconds=longer, pause=pause
        )

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(ask)
        rate, _ = _bare(model, threads, seconds, cores)
        if loading.done():
            raise RuntimeError("the load ended before the bare runs did: nothing was measured beside it")
        return Beside(rate, loading.result(), pause)


def _row(model: BenchModel) -> np.ndarray:
    return np.random.default_rng(1).random((1, *model.row), dtype=np.float32)


def _json_body(model: BenchModel) -> bytes:
    x = _row(model)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.reshape(-1)}
    return orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)


def _binary_body(model: BenchModel) -> tuple[bytes, dict[str, str]]:
    x = _row(model)
    tensor = {
        "name": "x",
        "datatype": "FP32",
        "shape": list(x.shape),
        "parameters": {"binary_data_size": x.nbytes},
    }
    text = orjson.dumps({"inputs": [tensor]})
    text += b" " * (-len(text) % 64)
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))}
    return text + x.tobytes(), headers


def _ratio(ours: list[Measured], others: list[Measured]) -> float:
    return _median(a.load.rate / b.load.rate for a, b in zip(ours, others, strict=True))


def _median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def _split() -> tuple[set[int], set[int]]:
    """One core for the server, the others for the load; the same one if there is only one."""
    all_cores = sorted(os.sched_getaffinity(0))
    return {all_cores[0]}, set(all_cores[1:]) or {all_cores[0]}


def _machine() -> dict[str, object]:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "packages": {
            p: version(p) for p in ("onnxruntime-gpu", "numpy", "orjson", "uvloop", "httptools", "uvicorn", "starlette")
        },
        "load_before": os.getloadavg(),
    }


def _machine_line(report: Report) -> str:
    machine = report.figures["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    before, after = (", ".join(f"{v:.1f}" for v in machine[k]) for k in ("load_before", "load_after"))
    return (
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}; {packages}. "
        f"Load averages: {before} before, {after} after."
    )


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)
