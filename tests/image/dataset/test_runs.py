"""Whole runs of the dataset program in the trainer image, against a real S3 server."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from slipway.contract import CheckSpec, DatasetResult, DatasetSpec, Env, dumps
from tests.support.image_pod import ImagePod
from tests.support.image_root import ImageRoot
from tests.support.s3_server import S3Server


def pod_of(trainer: ImageRoot, s3: S3Server, folder: Path, spec: DatasetSpec) -> ImagePod:
    """One pod of a look."""
    return ImagePod(trainer, s3, folder, "slipway_dataset", {Env.SPEC: dumps(spec)})


def result(pod: ImagePod) -> DatasetResult:
    made = pod.result(DatasetResult)
    assert not list(pod.scratch.rglob("index*")), "nothing is left on the scratch"
    return made


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
    first = result(pod_of(trainer, s3, tmp_path, spec))
    assert (first.files, first.read, first.passed) == (len(files), len(files), True)
    assert result(pod_of(trainer, s3, tmp_path, spec)).read == 0
    if form != "Files":
        assert first.profile is not None
        with s3.client.get_object("models", first.profile.removeprefix("s3://models/")) as answer:
            profile: dict[str, Any] = json.loads(answer.read())
        assert profile["rows"] == {"Csv": 20, "Parquet": 5000, "Npz": 50, "Images": 9}[form]


def test_a_pod_that_is_told_to_stop_keeps_what_it_read(trainer: ImageRoot, s3: S3Server, tmp_path: Path) -> None:
    put(s3, "stopped/", {f"{n:04}.csv": b"a\n" + b"1\n" * 1000 for n in range(3000)})
    spec = DatasetSpec("ns", "stopped", "uid", "s3://data/stopped/", format="Csv")
    pod = pod_of(trainer, s3, tmp_path, spec)
    pod.await_progress(lambda progress: "reading files, " in progress.message, "the first hundred files")
    pod.process.send_signal(signal.SIGTERM)
    assert (pod.end(), pod.failure.reason) == (1, "Interrupted")
    kept = [each.object_name for each in s3.client.list_objects("models", "datasets/stopped/", recursive=True)]
    # One segment, or more: what was read is written after some seconds too, and what was under way comes last.
    assert kept
    assert all(each.startswith("datasets/stopped/state/") for each in kept)
    made = result(pod_of(trainer, s3, tmp_path, spec))
    assert (made.files, made.rows) == (3000, 3_000_000)
    assert 0 < made.read < 2950


def test_a_wrong_key_is_told_and_no_secret_is_shown(trainer: ImageRoot, s3: S3Server, tmp_path: Path) -> None:
    wrong = S3Server(s3.endpoint, s3.access_key, "not-the-secret")
    pod = pod_of(trainer, wrong, tmp_path, DatasetSpec("ns", "d", "uid", "s3://data/x/"))
    failure = pod.failure
    assert (pod.end(), failure.reason) == (64, "WrongCredentials")
    assert "not-the-secret" not in failure.message + pod.log.read_text()
