"""Whole runs of the dataset program in the trainer image, against a real S3 server."""

from __future__ import annotations

import io
import itertools
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from slipway.contract import CheckSpec, DatasetResult, DatasetSpec, Env, Failure, dumps, loads
from tests.support.image_root import ImageRoot, writable
from tests.support.s3_server import S3Server

_numbers = itertools.count(1)
# `python3 -m slipway_dataset`, but for the port: a pod has addresses of its own, these share this machine's.
_START = """
import runpy, slipway.contract
slipway.contract.PROGRESS_PORT = {port}
runpy.run_module("slipway_dataset", run_name="__main__", alter_sys=True)
"""


class Pod:
    """One pod of a look, with scratch of its own, as the kubelet would make it."""

    def __init__(self, trainer: ImageRoot, s3: S3Server, folder: Path, spec: DatasetSpec) -> None:
        folder = folder / f"pod-{next(_numbers)}"
        folder.mkdir()
        self.log = folder / "log"
        self.scratch = folder / "work"
        self._message = folder / "termination-log"
        self._message.touch()
        self._message.chmod(0o666)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        env: dict[str, str] = {
            Env.SPEC: dumps(spec),
            Env.POD_NAME: "pod",
            Env.ATTEMPT_UID: f"{next(_numbers):08}-0000",
            "HOME": "/slipway/work",
            "TMPDIR": "/slipway/work",
            **s3.environment(),
        }
        mounts = {writable(self.scratch): "/slipway/work", self._message: "/dev/termination-log"}
        with self.log.open("w") as log:
            self.process = trainer.start(
                ["python3", "-c", _START.format(port=port)], env, mounts, stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def result(self) -> DatasetResult:
        assert self.process.wait(120) == 0, self.log.read_text()
        assert not list(self.scratch.rglob("index*")), "nothing is left on the scratch"
        return loads(DatasetResult, self._message.read_bytes())

    @property
    def failure(self) -> tuple[int, Failure]:
        code = self.process.wait(120)
        return code, loads(Failure, self._message.read_bytes())


def image(n: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (30 + n, 20), (n, n, n)).save(out, "JPEG")
    return out.getvalue()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": list(range(5000)), "b": ["x", None] * 2500}), out, compression="zstd")
    return out.getvalue()


def npz() -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, x=np.ones((50, 3), np.float32), y=np.arange(50))
    return out.getvalue()


SETS: dict[str, Callable[[], dict[str, bytes]]] = {
    "Csv": lambda: {f"{n}.csv": f"a,b\n{n},x\n".encode() for n in range(20)},
    "Parquet": lambda: {"a.parquet": parquet()},
    "Npz": lambda: {"a.npz": npz()},
    "Images": lambda: {f"cat/{n}.jpg": image(n) for n in range(9)},
    "Files": lambda: {"a": b"1", "b/c": b"2"},
}


def put(s3: S3Server, prefix: str, files: dict[str, bytes]) -> None:
    def one(pair: tuple[str, bytes]) -> None:
        s3.client.put_object("data", prefix + pair[0], io.BytesIO(pair[1]), len(pair[1]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, files.items()))


@pytest.mark.parametrize("form", SETS)
def test_each_format_is_read_in_the_image(trainer: ImageRoot, s3: S3Server, tmp_path: Path, form: str) -> None:
    files = SETS[form]()
    put(s3, f"{form}/", files)
    spec = DatasetSpec("ns", form.lower(), "uid", f"s3://data/{form}/", format=form, checks=[CheckSpec(minFiles=1)])
    first = Pod(trainer, s3, tmp_path, spec).result
    assert (first.files, first.read, first.passed) == (len(files), len(files), True)
    assert Pod(trainer, s3, tmp_path, spec).result.read == 0
    if form != "Files":
        assert first.profile is not None
        with s3.client.get_object("models", first.profile.removeprefix("s3://models/")) as answer:
            profile: dict[str, Any] = json.loads(answer.read())
        assert profile["rows"] == {"Csv": 20, "Parquet": 5000, "Npz": 50, "Images": 9}[form]


def test_a_pod_that_is_told_to_stop_keeps_what_it_read(trainer: ImageRoot, s3: S3Server, tmp_path: Path) -> None:
    put(s3, "stopped/", {f"{n:04}.csv": b"a\n" + b"1\n" * 1000 for n in range(3000)})
    spec = DatasetSpec("ns", "stopped", "uid", "s3://data/stopped/", format="Csv")
    pod = Pod(trainer, s3, tmp_path, spec)
    _read_some(pod)
    pod.process.send_signal(signal.SIGTERM)
    code, failure = pod.failure
    assert (code, failure.reason) == (1, "Interrupted")
    kept = list(s3.client.list_objects("models", "datasets/stopped/", recursive=True))
    assert len(kept) == 1
    assert kept[0].object_name.startswith("datasets/stopped/state/")
    made = Pod(trainer, s3, tmp_path, spec).result
    assert (made.files, made.rows) == (3000, 3_000_000)
    assert 0 < made.read < 2950


def _read_some(pod: Pod) -> None:
    """Wait until the index on the scratch holds some of the files."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and pod.process.poll() is None:
        found = list(pod.scratch.rglob("index.sqlite"))
        if found and found[0].stat().st_size > 700_000:
            return
        time.sleep(0.01)
    raise AssertionError(pod.log.read_text())


def test_a_wrong_key_is_told_and_no_secret_is_shown(trainer: ImageRoot, s3: S3Server, tmp_path: Path) -> None:
    wrong = S3Server(s3.endpoint, s3.access_key, "not-the-secret")
    pod = Pod(trainer, wrong, tmp_path, DatasetSpec("ns", "d", "uid", "s3://data/x/"))
    code, failure = pod.failure
    assert (code, failure.reason) == (64, "WrongCredentials")
    assert "not-the-secret" not in failure.message + pod.log.read_text()
