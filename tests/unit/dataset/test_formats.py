"""Each format gives the same columns for the same values, and a file that is not of it is told with file and row."""

from __future__ import annotations

import csv
import gzip
import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from slipway.contract import CheckSpec, ColumnSpec
from slipway_dataset import source
from slipway_dataset.formats import csv_file, image_file, npz_file, parquet_file
from slipway_dataset.formats.common import wanted
from slipway_dataset.partial import Partial
from slipway_dataset.rows import RowChecks
from slipway_dataset.source import Source
from slipway_dataset.texts import MISSING
from tests.unit.dataset.helpers import Looks, column, memory, spec

RNG = np.random.default_rng(3)
TABLE: dict[str, list[Any]] = {
    "id": list(range(1, 401)),
    "size": [float(v) for v in np.round(RNG.normal(5, 2, 400), 3)],
    "color": [["red", "green", None][n % 3] for n in range(400)],
    "good": [n % 4 == 0 for n in range(400)],
}


def as_csv(table: Mapping[str, list[Any]]) -> bytes:
    def cell(value: Any) -> str:
        return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    lines = [",".join(table), *(",".join(map(cell, row)) for row in zip(*table.values(), strict=True))]
    return ("\n".join(lines) + "\n").encode()


def as_parquet(table: Mapping[str, list[Any]], **more: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(dict(table)), out, **more)
    return out.getvalue()


def as_npz(save: Callable[..., None] = np.savez, **arrays: Any) -> bytes:
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


def encrypted(content: bytes) -> bytes:
    """The flag of an encrypted member set, in both of its headers."""
    made = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        made[content.index(mark) + offset] |= 1
    return bytes(made)


def as_image(kind: str, size: tuple[int, int] = (20, 10), color: int = 200) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (color, color, color)).save(out, kind)
    return out.getvalue()


def halves(table: Mapping[str, list[Any]]) -> list[dict[str, list[Any]]]:
    return [{k: v[:150] for k, v in table.items()}, {k: v[150:] for k, v in table.items()}]


def test_csv_and_parquet_of_the_same_values_have_the_same_profile_in_one_file_or_two(tmp_path: Path) -> None:
    one, two = halves(TABLE)
    sets = {
        "Csv": [{"a.csv": as_csv(TABLE)}, {"a.csv": as_csv(one), "b.csv.gz": gzip.compress(as_csv(two))}],
        "Parquet": [
            {"a.parquet": as_parquet(TABLE, row_group_size=70)},
            {"a.pq": as_parquet(one), "b.pq": as_parquet(two)},
        ],
    }
    profiles = [
        Looks(memory(files), tmp_path).profile(spec(format=name)) for name, each in sets.items() for files in each
    ]
    for name, values in TABLE.items():
        found = [column(profile, name) for profile in profiles]
        there = [v for v in values if v is not None]
        for each in found:
            quantiles = each.pop("quantiles", {})
            assert each == {k: v for k, v in found[0].items() if k != "quantiles"}
            for share, value in quantiles.items():
                assert abs(np.mean(np.array(there) <= value) - float(share)) < 0.02
        assert (found[0]["count"], found[0]["missing"]) == (400, 400 - len(there))
        if name in ("id", "size"):
            assert (found[0]["min"], found[0]["max"]) == (min(there), max(there))
            assert found[0]["mean"] == pytest.approx(np.mean(there))
            assert found[0]["std"] == pytest.approx(np.std(there))
    assert column(profiles[0], "color")["top"] == [{"value": "red", "count": 134}, {"value": "green", "count": 133}]
    assert [column(profiles[0], name)["type"] for name in TABLE] == ["Integer", "Number", "String", "Boolean"]


@pytest.mark.parametrize(
    ("cells", "kind", "facts"),
    [
        (["1", "2", "3.5"], "Number", {"max": 3.5}),
        (["1", "", "x"], "String", {"missing": 1, "distinct": 2}),
        (["true", "FALSE", "NA"], "Boolean", {"missing": 1, "mean": 0.5}),
        (["2026-01-31", "2026-02-01 10:00:00"], "Timestamp", {"max": "2026-02-01T10:00:00Z"}),
        (["2026-02-31", "2026-02-01"], "String", {}),
        (["9007199254740993", "1"], "Integer", {"max": 9007199254740993}),
        (["99999999999999999999", "1"], "Number", {"min": 1}),
        (["inf", "1"], "Number", {"infinite": 1, "max": "Infinity", "mean": 1}),
        (["", "null"], "Unknown", {"missing": 2}),
        (['"a,b"', '"line\nbreak"', '"say ""x"""'], "String", {"distinct": 3}),
    ],
)
def test_what_a_column_of_text_is(tmp_path: Path, cells: list[str], kind: str, facts: dict[str, object]) -> None:
    content = "c,other\n" + "".join(f"{cell},1\n" for cell in cells)
    for files in ({"a.csv": content}, {f"{n}.csv": f"c,other\n{cell},1\n" for n, cell in enumerate(cells)}):
        looks = Looks(memory({name: text.encode() for name, text in files.items()}), tmp_path)
        found = column(looks.profile(spec(format="Csv")), "c")
        assert (found["type"], found["count"]) == (kind, len(cells))
        assert {name: found.get(name) for name in facts} == facts


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"", "a.csv is empty: the first line must name the columns"),
        ("a.csv", b"x,y\n1,2\n3\n", "a.csv has 1 fields in row 2, and its first line names 2"),
        ("a.csv", b"x,x\n1,2\n", "a.csv has two columns named 'x': rename one"),
        ("a.csv", b"x,y\n1,\xff\n", "a.csv is not UTF-8 (line 2): write it anew in that encoding"),
        ("a.csv.gz", b"x,y\n1,2\n", "a.csv.gz cannot be read as gzip"),
        ("a.parquet", b"PAR1....PAR1", "a.parquet cannot be read as Parquet after row 0"),
        ("a.npz", b"PK\x03\x04", "a.npz cannot be read as NPZ (File is not a zip file)"),
        ("a.npz", as_npz(x=np.array([{}, 1], dtype=object)), "a.npz holds Python objects or records in the array 'x'"),
        ("a.npz", as_npz(x=np.zeros(4000))[:9000], "a.npz cannot be read as NPZ"),
        ("a.npz", as_npz(x=np.zeros(9)).replace(b"\x93NUMPY\x01", b"\x93NUMPY\x07"), "a.npz cannot be read as NPZ"),
        ("a.npz", encrypted(as_npz(x=np.zeros(9))), "a.npz cannot be read as NPZ (File <ZipInfo filename='x.npy'"),
        ("c/a.png", as_image("PNG")[:60], "c/a.png cannot be decoded as an image"),
        ("c/a.jpg", as_image("JPEG", (400, 400))[:-900], "c/a.jpg cannot be decoded as an image"),
        ("c/a.jpg", as_image("ICO"), "c/a.jpg cannot be decoded as an image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_not_of_the_format_is_a_failed_check(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    form = {"csv": "Csv", "gz": "Csv", "parquet": "Parquet", "npz": "Npz"}.get(name.rsplit(".")[-1], "Images")
    made = Looks(memory({name: content}), tmp_path).take(spec(format=form))
    assert [each.check for each in made.failures] == ["readable"]
    assert made.failures[0].message.startswith(sentence)
    assert made.files == 1
    assert made.digest.startswith("sha256:")


def test_a_row_without_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "BLOCK", 1000)
    monkeypatch.setattr(csv_file, "LONGEST", 10_000)
    content = b'x,y\n1,2\n3,"' + b"z" * 30_000
    (failure,) = Looks(memory({"a.csv": content}), tmp_path).take(spec(format="Csv")).failures
    assert "a.csv has a row of more than 10,000 bytes" in failure.message
    assert "is a quote left open?" in failure.message


@pytest.mark.parametrize("block", [7, 64, 1000])
def test_where_a_file_is_cut_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    rows = [f'{n},"say ""{n}"",\n\nor {"x" * (n % 9)}",{n / 4}\r\n' for n in range(60)]
    content = ('\ufeffid,text,"a number"\r\n' + "".join(rows)).encode()
    asked = spec(format="Csv", checks=[CheckSpec("id", max="50"), CheckSpec("text", matches='(?s)say ".*x')])
    whole = Looks(memory({"a.csv": content}), tmp_path).profile(asked)
    monkeypatch.setattr(csv_file, "BLOCK", block)
    looks = Looks(
        memory(
            {
                "a.csv": content,
            }
        ),
        tmp_path,
    )
    assert looks.profile(asked) == whole
    assert whole["rows"] == 60
    assert column(whole, "a number")["max"] == 14.75
    (at_once, _) = (each["message"] for each in whole["checks"] if not each["passed"])
    assert at_once.endswith("such as '51' in a.csv row 52")
    looks = Looks(memory({"a.csv": content + b"1,2\r\n"}), tmp_path)
    (failure, *_) = looks.take(spec(format="Csv")).failures
    assert failure.message == "a.csv has 2 fields in row 61, and its first line names 3"


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text('a1.-"\n,; é', max_size=6), min_size=1, max_size=12),
    st.integers(1, 40),
    st.sampled_from(["\n", "\r\n"]),
)
def test_cells_are_those_that_pythons_own_reader_sees(cells: list[str], block: int, end: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=end)
    writer.writerows([["c", "n"], *([cell, number] for number, cell in enumerate(cells))])
    there = Counter(cell for cell in cells if cell not in MISSING)
    into = Partial()
    source = Source(iter([out.getvalue().encode()]), threading.Event())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "BLOCK", block)
        csv_file.read(source, "a.csv", 0, wanted([ColumnSpec("c", "String")], RowChecks([])), into)
    assert into.rows == len(cells)
    assert into.columns["c"].missing == len(cells) - there.total()
    assert dict(into.columns["c"].frequent.top(99)) == there
    assert source.finish()[0] == len(out.getvalue().encode())


def test_a_set_without_a_file_of_the_format_is_told(tmp_path: Path) -> None:
    (failure,) = Looks(memory({"a.txt": b"1"}), tmp_path).take(spec(format="Npz")).failures
    assert failure.message == "no file has a name of the format: correct spec.format, or the names of the files"


@pytest.mark.parametrize("in_memory", [0, source.IN_MEMORY])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[..., None], in_memory: int
) -> None:
    monkeypatch.setattr(source, "IN_MEMORY", in_memory)
    x = RNG.normal(size=(100, 8, 8)).astype(np.float32)
    x[3, 0, 0] = np.nan
    files = {
        "a.npz": as_npz(save, x=x[:60], y=np.arange(60), name=np.array(["cat", "dog"] * 30)),
        "b.npz": as_npz(
            save, x=np.asfortranarray(x[60:]), y=np.arange(60, 100, dtype=">u2"), name=np.array(["cat"] * 40)
        ),
    }
    looks = Looks(memory(files), tmp_path)
    profile = looks.profile(
        spec(format="Npz", checks=[CheckSpec("x", min="-3", notNull=True), CheckSpec("y", unique=True)])
    )
    assert profile["rows"] == 100
    found = column(profile, "x")
    assert (found["shape"], found["count"], found["missing"]) == ([8, 8], 6400, 1)
    assert found["mean"] == pytest.approx(np.nanmean(x), abs=1e-6)
    assert column(profile, "name")["top"] == [{"value": "cat", "count": 70}, {"value": "dog", "count": 30}]
    assert (column(profile, "y")["min"], column(profile, "y")["max"]) == (0, 99)
    said = {each["check"]: each.get("message") for each in profile["checks"]}
    assert said["y.unique"] is None
    assert said["x.notNull"] == (
        "column 'x' must not be missing: 1 of 6,400 values are (0.0156%), such as in a.npz row 4"
    )
    low = np.argwhere(x.reshape(100, -1) < -3)
    where = f"a.npz row {low[0][0] + 1}" if low[0][0] < 60 else f"b.npz row {low[0][0] - 59}"
    assert said["x.min"] is not None
    assert f"{len(low)} of 6,399 values" in said["x.min"]
    assert said["x.min"].endswith(f"in {where}")


def test_a_row_larger_than_a_chunk_is_looked_at_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_file, "CHUNK", 80)
    x = np.ones((7, 23))
    x[5, 22] = np.nan
    x[2, 11] = -1
    looks = Looks(memory({"a.npz": as_npz(x=x)}), tmp_path)
    made = looks.take(spec(format="Npz", checks=[CheckSpec("x", notNull=True, min="0")]))
    assert made.rows == 7
    assert [each.message[-11:] for each in made.failures] == ["a.npz row 6", "a.npz row 3"]


def test_rows_of_parquet_are_taken_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "BYTES", 5000)
    seen: list[int] = []

    def kept(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in together(batches):
            seen.append(batch.nbytes)
            yield batch

    together = parquet_file._together
    monkeypatch.setattr(parquet_file, "_together", kept)
    table: dict[str, list[Any]] = {"text": [f"{n:03}" + "x" * 997 for n in range(300)], "n": list(range(300))}
    made = Looks(memory({"a.parquet": as_parquet(table)}), tmp_path).profile(spec(format="Parquet"))
    assert made["rows"] == 300
    assert column(made, "n")["max"] == 299
    assert max(seen) <= 2 * 5000 + 2000


def test_images_are_rows(tmp_path: Path) -> None:
    files = {f"{'cat' if n % 3 else 'dog'}/{n:02}.png": as_image("PNG", (20 + n, 10), n) for n in range(9)}
    files["cat/big.jpg"] = as_image("JPEG", (640, 480), 255)
    files["notes.txt"] = b"none of them"
    looks = Looks(memory(files), tmp_path)
    asked = spec(format="Images", schema=[ColumnSpec("label", "String", False)], checks=[CheckSpec("width", max="100")])
    profile = looks.profile(asked)
    assert (profile["files"], profile["filesOfFormat"], profile["rows"]) == (11, 10, 10)
    assert column(profile, "label")["top"] == [{"value": "cat", "count": 7}, {"value": "dog", "count": 3}]
    assert (column(profile, "width")["min"], column(profile, "width")["max"]) == (20, 640)
    assert column(profile, "brightness")["max"] == 255
    assert column(profile, "channels")["distinct"] == 1
    assert profile["checks"][-1]["message"] == (
        "1 of 10 values of column 'width' are above 100 or not comparable with it, such as '640' in cat/big.jpg"
    )
    other = spec(format="Images", checks=[CheckSpec("label", allowed=["cat"]), CheckSpec("format", matches="PNG|JPEG")])
    made = looks.take(other)
    assert made.read == 0, "checks of images follow from what is kept of each"
    assert [each.check for each in made.failures] == ["label.allowed"]


def test_an_image_that_would_be_huge_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_file, "PIXELS", 1000)
    (failure,) = Looks(memory({"a.png": as_image("PNG", (200, 100))}), tmp_path).take(spec(format="Images")).failures
    assert failure.message == "a.png has 200 x 100 pixels, more than 1,000"
