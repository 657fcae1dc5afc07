"""A check that fails says how many, of how many, and where; one that holds says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.contract import CheckSpec, ColumnSpec
from slipway_dataset import unique
from tests.unit.dataset.helpers import Looks, memory, spec
from tests.unit.dataset.test_formats import as_csv, as_parquet

ONE: dict[str, list[Any]] = {
    "id": [1, 2, 3],
    "age": [30, None, 41],
    "mail": ["a@x", "b@x", "c@y"],
    "at": ["2026-01-01", "2026-01-02", ""],
}
TWO: dict[str, list[Any]] = {
    "id": [4, 2, 5],
    "age": [-1, 20, 130],
    "mail": ["d", "e@x", ""],
    "at": ["2026-01-03", "2025-12-31", ""],
}


@pytest.mark.parametrize(
    ("check", "name", "sentence"),
    [
        (CheckSpec("id", notNull=True), None, ""),
        (CheckSpec("age", notNull=True), "age.notNull", "1 of 6 values are (16.7%), such as in 1.csv row 2"),
        (CheckSpec("age", maxMissing="0.2"), None, ""),
        (CheckSpec("age", maxMissing="0.1"), "age.maxMissing", "a share of 0.1 at most: 1 of 6 values are (16.7%)"),
        (CheckSpec("id", unique=True), "id.unique", "1 value repeats an earlier one, such as in 2.csv row 2 that of"),
        (CheckSpec("mail", unique=True), None, ""),
        (CheckSpec("at", unique=True), None, ""),
        (CheckSpec("age", min="-1", max="130"), None, ""),
        (CheckSpec("age", min="0"), "age.min", "are below 0 or not comparable with it, such as '-1' in 2.csv row 1"),
        (CheckSpec("age", max="40.5"), "age.max", "2 of 5 values of column 'age' are above 40.5 or not comparable"),
        (CheckSpec("at", min="2026-01-01"), "at.min", "1 of 4 values of column 'at' are below 2026-01-01"),
        (CheckSpec("mail", min="1"), "mail.min", "5 of 5 values of column 'mail' are below 1 or not comparable"),
        (CheckSpec("id", allowed=["1", "2", "3", "4", "5.0"]), None, ""),
        (CheckSpec("id", allowed=["1", "2"]), "id.allowed", "3 of 6 values of column 'id' are none of 1, 2, such as"),
        (CheckSpec("mail", matches=".+@[xy]"), "mail.matches", "do not match '.+@[xy]', such as 'd' in 2.csv row 1"),
        (CheckSpec("mail", matches="a|b|c|d|e"), "mail.matches", "4 of 5 values of column 'mail' do not match"),
        (CheckSpec("name", notNull=True), "name.notNull", "no file has a column 'name'"),
        (CheckSpec(minRows=6, maxRows=6, minFiles=2), None, ""),
        (CheckSpec(minRows=7), "minRows", "there are 6 rows, and 7 must be there at least"),
        (CheckSpec(maxRows=5), "maxRows", "there are 6 rows, and 5 may be there at most"),
        (CheckSpec(minFiles=3), "minFiles", "there are 2 files, and 3 must be there at least"),
    ],
)  # fmt: skip
def test_a_check(tmp_path: Path, check: CheckSpec, name: str | None, sentence: str) -> None:
    looks = Looks(memory({"1.csv": as_csv(ONE), "2.csv": as_csv(TWO)}), tmp_path)
    made = looks.take(spec(format="Csv", checks=[check]))
    assert [each.check for each in made.failures] == ([name] if name else [])
    assert sentence in "".join(each.message for each in made.failures)
    assert made.checked >= 2
    again = looks.take(spec(format="Csv", checks=[check]))
    assert (again.read, again.failures) == (0, made.failures), "the same from what is kept"


def test_where_values_are_nobodys_to_read_a_sentence_says_where_the_first_is(tmp_path: Path) -> None:
    looks = Looks(memory({"1.csv": as_csv(ONE), "2.csv": as_csv(TWO) + b"7\n"}), tmp_path)
    checks = [
        CheckSpec("mail", matches="[a-c]@x"),
        CheckSpec("age", max="40"),
        CheckSpec("id", allowed=["1"]),
        CheckSpec("id", unique=True),
    ]
    asked = {"format": "Csv", "schema": [ColumnSpec("mail", "Integer")], "checks": checks}
    told, silent = looks.take(spec(**asked)), looks.take(spec(**asked, quoteValues=False))
    assert [each.check for each in silent.failures] == [each.check for each in told.failures]
    assert silent.read == 0, "nothing is read again for it"
    assert silent.profile != told.profile, "the sentences stand in it"
    assert {each.check: each.message for each in silent.failures} == {
        "readable": "2.csv has 1 fields in row 4, and its first line names 4",
        "mail.type": "column 'mail' must be Integer: 3 of 3 values are not, the first in 1.csv row 1",
        "mail.matches": "1 of 3 values of column 'mail' do not match '[a-c]@x', the first in 1.csv row 3",
        "age.max": "1 of 2 values of column 'age' are above 40 or not comparable with it, the first in 1.csv row 3",
        "id.allowed": "2 of 3 values of column 'id' are none of 1, the first in 1.csv row 2",
    }


@pytest.mark.parametrize(
    ("column", "sentences"),
    [
        (ColumnSpec("age", "Integer"), []),
        (ColumnSpec("age", "Number"), []),
        (ColumnSpec("age", "String"), []),
        (ColumnSpec("at", "Timestamp", nullable=True), []),
        (ColumnSpec("age", "Integer", nullable=False), ["column 'age' must not be missing: 1 of 6 values are"]),
        (
            ColumnSpec("mail", "Integer"),
            ["column 'mail' must be Integer: 5 of 5 values are not, such as 'a@x' in 1.csv row 1"],
        ),
        (
            ColumnSpec("age", "Boolean"),
            ["column 'age' must be Boolean: 5 of 5 values are not, such as '30' in 1.csv row 1"],
        ),
        (ColumnSpec("name", "String"), ["column 'name' is missing in 2 of 2 files, such as 1.csv"]),
    ],
)
def test_a_schema(tmp_path: Path, column: ColumnSpec, sentences: list[str]) -> None:
    made = Looks(memory({"1.csv": as_csv(ONE), "2.csv": as_csv(TWO)}), tmp_path).take(
        spec(format="Csv", schema=[column])
    )
    assert len(made.failures) == len(sentences)
    assert all(each.message.startswith(said) for each, said in zip(made.failures, sentences, strict=True))


def test_one_wrong_value_among_good_ones_is_found_and_no_other_is_called_wrong(tmp_path: Path) -> None:
    rows = [str(n) for n in range(1000)]
    rows[700], rows[3], rows[4] = "7OO", " 3", "+4"
    looks = Looks(memory({"a.csv": as_csv({"n": rows, "m": [1] * 1000})}), tmp_path)
    (failure,) = looks.take(spec(format="Csv", schema=[ColumnSpec("n", "Integer", nullable=False)])).failures
    assert failure.message == "column 'n' must be Integer: 1 of 1,000 values are not, such as '7OO' in a.csv row 701"


def test_a_type_that_a_file_has_of_its_own_is_held_against_the_declared_one(tmp_path: Path) -> None:
    looks = Looks(memory({"a.parquet": as_parquet({"n": [1, 2], "x": [0.5, 1.0]})}), tmp_path)
    schema = [ColumnSpec("n", "Number"), ColumnSpec("x", "Integer")]
    (failure,) = looks.take(spec(format="Parquet", schema=schema)).failures
    assert failure.message == (
        "column 'x' must be Integer: 2 of 2 values are not, such as '0.5', which is Number in a.parquet row 1"
    )


def test_repeats_are_found_on_the_scratch_too_and_such_a_file_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unique, "KEPT", 8 * 100)
    ids = np.random.default_rng(2).permutation(5000)
    first, second = ids[:3000].tolist(), [*ids[3000:].tolist(), *ids[10:12].tolist()]
    looks = Looks(
        memory({"1.csv": as_csv({"id": first}), "2.csv": as_csv({"id": second}), "3.csv": b"id\n\n"}), tmp_path
    )
    asked = spec(format="Csv", checks=[CheckSpec("id", unique=True)])
    for read in (3, 2):
        made = looks.take(asked)
        assert made.read == read
        (failure,) = made.failures
        assert "2 values repeat an earlier one, such as in 2.csv row 2,001 that of 1.csv row 11" in failure.message
