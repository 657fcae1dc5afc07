"""The dataset program against a real S3 server: what the fake of the unit tests cannot know."""

from __future__ import annotations

import io
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slipway.contract import CheckSpec, DatasetResult, DatasetSpec, DataSpec, dumps, loads, split_s3
from slipway_dataset.runner import Look, Surroundings
from slipway_trainer.fetch import fetch
from slipway_trainer.progress import ProgressBoard
from slipway_trainer.report import Outcome
from slipway_trainer.store import S3Store, place_from_env
from tests.support.memory import python
from tests.support.s3_server import S3Server

_numbers = itertools.count(1)


def put(s3: S3Server, files: dict[str, bytes]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda pair: s3.client.put_object("data", pair[0], io.BytesIO(pair[1]), len(pair[1])), files.items()
            )
        )


def look(s3: S3Server, spec: DatasetSpec, folder: Path) -> DatasetResult:
    place = place_from_env("default", s3.environment())
    number = next(_numbers)
    message = folder / f"message-{number}"
    outside = Surroundings(folder / f"{number}", lambda _: (place, S3Store(place)), f"try{number}")
    assert Look(spec, outside, ProgressBoard(), Outcome(message)).run() == 0, message.read_text()
    return loads(DatasetResult, message.read_bytes())


def test_many_files_in_folders_have_the_trainers_digest_and_are_read_once(s3: S3Server, tmp_path: Path) -> None:
    """More than one page of a listing, and names that a server that sorts folder by folder lists out of order."""
    files = {f"many/{n % 7}/part {n:04}.csv": f"a,b\n{n},ä{n % 5}\n".encode() for n in range(1500)}
    files |= {"many/1.csv": b"a,b\n-5,x\n", "many/1-2.csv": b"a,b\n7,y\n", "many/1/z/deep.csv": b"a,b\n8,z\n"}
    put(s3, files)
    spec = DatasetSpec(
        "ns", "many", "uid", "s3://data/many/", format="Csv", checks=[CheckSpec("a", unique=True, min="0")]
    )
    first = look(s3, spec, tmp_path)
    store = S3Store(place_from_env("default", s3.environment()))
    assert first.digest == fetch(store, DataSpec("many", spec.uri), tmp_path / "data", lambda _: None).digest
    assert (first.files, first.rows, first.read) == (1503, 1503, 1503)
    said = {each.check: each.message for each in first.failures}
    assert said.keys() == {"a.unique", "a.min"}
    assert "such as '-5' in 1.csv row 1" in said["a.min"]

    put(s3, {"many/3/part 0003.csv": b"a,b\n3,changed\n"})
    second = look(s3, spec, tmp_path)
    assert second.read == 1
    assert second.digest != first.digest
    assert second.manifest != first.manifest
    for made in (first, second):
        key = made.manifest.removeprefix("s3://models/")
        assert len(b"".join(store.read("models", key)).splitlines()) == 1503
    states = [e.key for e in store.entries("models", "datasets/many/state/")]
    assert len(states) == 1


def test_an_object_written_over_between_listing_and_reading_is_told(s3: S3Server, tmp_path: Path) -> None:
    """Same size, so that only its tag tells: the read asks for the object that was listed."""
    put(s3, {"changing/a.csv": b"a\n1\n"})
    place = place_from_env("default", s3.environment())
    store = S3Store(place)
    (entry,) = store.entries("data", "changing/")
    put(s3, {"changing/a.csv": b"a\n2\n"})
    with pytest.raises(Exception, match="written over while it was read"):
        list(store.read("data", entry.key, entry.etag))


CHECKS = [CheckSpec("id", unique=True, min="0"), CheckSpec("label", min="0", max="9"), CheckSpec(minRows=100)]
"""Of what is made up: each kind of check has something to keep."""


def made_up(folder: Path, files: int, rows: int) -> float:
    """The most memory, in MiB, of a process that looks at so many CSV files, with profile and checks."""
    folder.mkdir()
    asked = DatasetSpec("ns", "n", "uid", "s3://data/n/", format="Csv", checks=CHECKS)
    out = folder / "out"
    took = python("tests.support.made_up_data", dumps(asked), str(folder), str(out), str(files), str(rows), env={})
    made = loads(DatasetResult, out.read_bytes())
    assert made.profile is not None
    assert (made.files, made.rows, made.checked, made.failures) == (files, files * rows, 6, [])
    return took.memory


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    """What may grow until it is full: SQLite's pages (16 MiB) and the lines that wait to be written to the state (8 MiB
    of text), as Python and the allocator keep them. Measured: 28 MiB from 1,000 to 5,000 files, and at 20,000 no more
    than at 10,000; 64 MiB once what was read of each file is kept."""
    few, many = (made_up(tmp_path / str(files), files, 30) for files in (1_000, 5_000))
    assert many - few < 48
    assert many < 256


def test_memory_does_not_grow_with_the_size_of_a_file(tmp_path: Path) -> None:
    """6 MB, of which a block of 2 MiB and the pieces around it are in memory at a time, and eight times as much. What
    may be kept of a file's hashes (1 MiB a column) is full at 131,072 rows. Measured: 175 MiB, and 175 for 2,400,000
    rows; the rest is for the allocator, which does not always do the same."""
    small, large = (made_up(tmp_path / str(rows), 1, rows) for rows in (200_000, 1_600_000))
    assert large < 1.15 * small < 256


def test_memory_does_not_grow_with_the_size_of_an_object_of_a_real_server(s3: S3Server, tmp_path: Path) -> None:
    """The same through the S3 client, which must hand an object on and not hold it: 10 MB, and 96 MB."""
    row = ",".join(["1234567"] * 20) + "\n"
    head = ",".join(f"c{n}" for n in range(20)) + "\n"
    peaks = []
    store = S3Store(place_from_env("default", s3.environment()))
    for name, rows in (("small", 60_000), ("large", 600_000)):
        put(s3, {f"{name}.csv": (head + row * rows).encode()})
        asked, out = DatasetSpec("ns", name, "uid", f"s3://data/{name}.csv", format="Csv"), tmp_path / f"{name}.json"
        took = python("bench.data.look", dumps(asked), str(tmp_path / name), str(out), env=s3.environment())
        peaks.append(took.memory)
        made = loads(DatasetResult, out.read_bytes())
        assert made.rows == rows
        assert made.profile is not None
        profile = json.loads(b"".join(store.read(*split_s3(made.profile))))
        assert profile["columns"][7]["top"] == [{"value": "1234567", "count": rows}]
    assert peaks[1] < 1.3 * peaks[0] < 256
