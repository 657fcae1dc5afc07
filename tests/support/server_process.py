"""The model server as a process of its own on loopback, as a pod would start it."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slipway.contract import Env, Failure, ServeSpec, VerifyResult, dumps, loads

ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join(str(ROOT / p) for p in ("operator", "images/server"))


def environment(spec: ServeSpec | str, extra: Mapping[str, str] = {}) -> dict[str, str]:
    """What the pod's container sees."""
    text = spec if isinstance(spec, str) else dumps(spec)
    return {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH, Env.SPEC: text, **extra}


def put_model(spec: ServeSpec, source: Path, directory: Path) -> None:
    """Place the artifact where a server looks first, so that it needs no store."""
    directory.mkdir(exist_ok=True)
    shutil.copy(source, directory / f"{spec.artifact.digest.removeprefix('sha256:')}.onnx")


@dataclass
class Finished:
    """How a process ended."""

    code: int
    message: str
    log: str

    @property
    def failure(self) -> Failure:
        """The termination message, which must be a failure."""
        return loads(Failure, self.message)

    @property
    def result(self) -> VerifyResult:
        """The termination message, which must be a result."""
        return loads(VerifyResult, self.message)


def run(action: str, directory: Path, spec: ServeSpec | str, extra: Mapping[str, str] = {}) -> Finished:
    """Run ``verify`` (or a ``serve`` that is expected to give up) to its end."""
    message = directory / "termination"
    message.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "slipway_server", action, *_options(directory)],
        env=environment(spec, extra),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Finished(done.returncode, message.read_text() if message.exists() else "", done.stderr)


@dataclass
class ServerProcess:
    """A server that listens."""

    process: subprocess.Popen[str]
    lines: queue.Queue[str]
    seen: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0
    metrics_port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, message: str, seconds: float = 30) -> dict[str, Any]:
        """The first log line with this message, from now on."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                line = self.lines.get(timeout=left)
            except queue.Empty:
                break
            entry: dict[str, Any] = json.loads(line) if line.startswith("{") else {"message": line}
            self.seen.append(entry)
            if entry["message"] == message:
                return entry
        raise AssertionError(f"no log line {message!r} in {seconds} s; there were {self.seen}")

    def terminate(self) -> None:
        """SIGTERM, as the kubelet does."""
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def serving(
    directory: Path,
    spec: ServeSpec,
    extra: Mapping[str, str] = {},
    *,
    options: Sequence[str] = (),
    ready: bool = True,
) -> Iterator[ServerProcess]:
    """Start a server on free ports; wait until it is ready, or only until it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "slipway_server", "serve", *_options(directory), *options],
        env=environment(spec, extra),
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: queue.Queue[str] = queue.Queue()

    def pump() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.put(line.rstrip())

    reader = threading.Thread(target=pump, daemon=True)
    reader.start()
    server = ServerProcess(process, lines)
    try:
        listens = server.wait_for("server listens")
        server.port, server.metrics_port = listens["port"], listens["metrics_port"]
        if ready:
            server.wait_for("model is ready")
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)
        reader.join(timeout=10)
        assert process.stderr is not None
        process.stderr.close()


def _options(directory: Path) -> list[str]:
    return [
        *("--host", "127.0.0.1", "--port", "0", "--metrics-port", "0"),
        *("--model-dir", str(directory / "model"), "--termination-message", str(directory / "termination")),
    ]
