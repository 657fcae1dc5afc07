"""The servers that are compared: how each is started, asked, weighed and stopped."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.serving.models import BenchModel
from slipway.contract import Artifact, Env, ServeSpec, dumps
from slipway_server.store import file_digest

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "slipway" / "bench"
MLSERVER = "1.7.1"
MEMORY = 1024**3
"""Bytes that ours is told its container has, so that what guards the memory is measured too."""
PYTHONPATH = os.pathsep.join(str(ROOT / p) for p in (".", "operator", "images/server"))


@dataclass(frozen=True)
class Launch:
    """What to start."""

    command: list[str]
    environment: dict[str, str]
    ready: str


Maker = Callable[[BenchModel, Path, int], Launch]


@dataclass
class Running:
    """A server that answers."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> tuple[float, float]:
        """Resident and proportional set size in MiB, of the process and all below it."""
        rss = pss = 0.0
        for pid in _tree(self.process.pid):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(":")
                if name == "Rss":
                    rss += int(value.split()[0]) / 1024
                elif name == "Pss":
                    pss += int(value.split()[0]) / 1024
        return rss, pss

    def cpu_seconds(self) -> float:
        """Processor time used so far, by the process and all below it."""
        ticks = 0
        for pid in _tree(self.process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # proc(5): utime and stime, fields 14 and 15
        return ticks / os.sysconf("SC_CLK_TCK")


def slipway(queue_limit: int = 128) -> Maker:
    """Ours, as a pod runs it."""

    def make(model: BenchModel, directory: Path, port: int) -> Launch:
        digest = file_digest(model.path)
        spec = ServeSpec(
            namespace="bench",
            model="m",
            modelVersion="m-v1",
            version=1,
            artifact=Artifact(f"s3://bench/{model.name}.onnx", digest, model.path.stat().st_size),
            signature=model.signature,
            queueLimit=queue_limit,
            drainSeconds=0,
        )
        target = directory / f"{digest.removeprefix('sha256:')}.onnx"
        if not target.exists():
            shutil.copy(model.path, target)
        command = [
            *(sys.executable, "-m", "slipway_server", "serve", "--host", "127.0.0.1", "--port", str(port)),
            *("--metrics-port", "0", "--model-dir", str(directory), "--log-level", "ERROR"),
            *("--memory", str(MEMORY)),
            *("--termination-message", str(directory / "termination")),
        ]
        return Launch(command, {Env.SPEC: dumps(spec), "PYTHONPATH": PYTHONPATH}, "/v2/models/m/ready")

    return make


def handwritten(*, tuned: bool) -> Maker:
    """Starlette on uvicorn with one worker."""

    def make(model: BenchModel, directory: Path, port: int) -> Launch:
        environment = {"MODEL": str(model.path), "TUNED": "1" if tuned else "0", "PYTHONPATH": PYTHONPATH}
        return Launch(_uvicorn("bench.serving.handwritten:app", port), environment, "/v2/models/m/ready")

    return make


def echo(model: BenchModel, directory: Path, port: int) -> Launch:
    """Raw ASGI on uvicorn: no inference."""
    return Launch(_uvicorn("bench.serving.echo:app", port), {"PYTHONPATH": PYTHONPATH}, "/")


def own_echo(model: BenchModel, directory: Path, port: int) -> Launch:
    """Our HTTP stack: no inference."""
    return Launch([sys.executable, "-m", "bench.serving.own_echo", str(port)], {"PYTHONPATH": PYTHONPATH}, "/")


def sink(model: BenchModel, directory: Path, port: int) -> Launch:
    """Reads what comes and answers: no HTTP stack, no inference."""
    return Launch([sys.executable, "-m", "bench.serving.sink", str(port)], {"PYTHONPATH": PYTHONPATH}, "/")


def mlserver(model: BenchModel, directory: Path, port: int) -> Launch:
    """MLServer with a runtime of six lines, without its extra processes, which is its fastest setting here."""
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": _free_port(),
        "metrics_port": _free_port(),
        "parallel_workers": 0,
        "debug": False,
    }
    (directory / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    folder = directory / "m"
    folder.mkdir(exist_ok=True)
    (folder / "model-settings.json").write_text(
        json.dumps(
            {
                "name": "m",
                "implementation": "mlserver_runtime.OnnxModel",
                "parameters": {"uri": str(model.path)},
            }
        ),
        encoding="utf-8",
    )
    binary = mlserver_environment() / "bin" / "mlserver"
    environment = {"PYTHONPATH": str(Path(__file__).parent), "HOME": str(directory)}
    return Launch([str(binary), "start", str(directory)], environment, "/v2/models/m/ready")


def mlserver_environment() -> Path:
    """MLServer in an environment of its own: it needs older libraries than ours."""
    target = CACHE / f"mlserver-{MLSERVER}"
    if not (target / "complete").exists():
        shutil.rmtree(target, ignore_errors=True)
        venv.create(target, with_pip=True)
        pip = [str(target / "bin" / "pip"), "install", "-q", f"mlserver=={MLSERVER}", "onnxruntime"]
        subprocess.run(pip, check=True)
        (target / "complete").touch()
    return target


@contextmanager
def running(name: str, make: Maker, model: BenchModel, directory: Path, cores: set[int]) -> Iterator[Running]:
    """Start a server on these cores, wait until it is ready, stop it at the end."""
    port = _free_port()
    directory.mkdir(parents=True, exist_ok=True)
    launch = make(model, directory, port)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, sorted(cores))), *launch.command],
            env={"PATH": os.environ["PATH"], **launch.environment},
            cwd=directory,
            stdout=log,
            stderr=log,
        )
        server = Running(name, process, port)
        try:
            _wait(server, launch.ready, directory / "log")
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(server: Running, path: str, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(server.url + path, timeout=5):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"{server.name} did not become ready: {log.read_text(errors='replace')[-2000:]}")


def _uvicorn(app: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"),
    ]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(below for child in children for below in _tree(int(child)))]
