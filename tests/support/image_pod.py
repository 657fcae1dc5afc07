"""A program of the trainer image as a pod of its own, as the kubelet would start it: scratch, environment, message."""

from __future__ import annotations

import itertools
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from slipway.contract import Env, Failure, Progress, loads
from tests.support.image_root import ImageRoot, writable
from tests.support.s3_server import S3Server

T = TypeVar("T")
_numbers = itertools.count(1)
# `python3 -m {program}`, but for the port: a pod has addresses of its own, these share this machine's.
_START = """
import runpy, slipway.contract
slipway.contract.PROGRESS_PORT = {port}
runpy.run_module("{program}", run_name="__main__", alter_sys=True)
"""


class ImagePod:
    """One pod, started. ``env`` and ``mounts`` (what, where) are added to what every pod has."""

    def __init__(
        self,
        root: ImageRoot,
        s3: S3Server,
        folder: Path,
        program: str,
        env: Mapping[str, str],
        mounts: Mapping[Path, str] | None = None,
    ) -> None:
        number = next(_numbers)
        folder = folder / f"pod-{number}"
        folder.mkdir()
        self.log = folder / "log"
        self.scratch = folder / "work"
        self._message = folder / "termination-log"
        self._message.touch()
        self._message.chmod(0o666)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        facts: dict[str, str] = {
            Env.POD_NAME: "pod",
            Env.ATTEMPT_UID: f"{number:08}-0000",
            "HOME": "/slipway/work",
            "TMPDIR": "/slipway/work",
            **s3.environment(),
            **env,
        }
        places = {writable(self.scratch): "/slipway/work", self._message: "/dev/termination-log", **(mounts or {})}
        start = _START.format(program=program, port=self.port)
        with self.log.open("w") as log:
            self.process = root.start(["python3", "-c", start], facts, places, stdout=log, stderr=subprocess.STDOUT)

    def end(self) -> int:
        """Wait for the end; returns the exit status."""
        return self.process.wait(120)

    def result(self, kind: type[T]) -> T:
        """What a pod that ends well tells the operator."""
        assert self.end() == 0, self.log.read_text()
        return loads(kind, self._message.read_bytes())

    @property
    def failure(self) -> Failure:
        """Why it ended as it did."""
        self.end()
        return loads(Failure, self._message.read_bytes())

    def await_progress(self, holds: Callable[[Progress], Any], what: str) -> Progress:
        """Ask as the operator does, until it is so far."""
        deadline = time.monotonic() + 60
        progress = Progress()
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/progress", timeout=2) as answer:
                    progress = loads(Progress, answer.read())
            except OSError:
                progress = Progress()
            if holds(progress):
                return progress
            time.sleep(0.01)
        raise AssertionError(f"{what} was not reached, the last was {progress}: {self.log.read_text()}")
