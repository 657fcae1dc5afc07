"""A few files within a bound, and the command that prints them."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway_server.__main__ import main
from slipway_server.examples import MAX_EXAMPLE, MAX_EXAMPLES, Examples


def files(directory: Path) -> list[str]:
    return [p.name for p in sorted((directory / "examples").iterdir())]


def test_so_many_are_kept_and_no_more(tmp_path: Path) -> None:
    kept = Examples(tmp_path, 2)
    assert [kept.keep(b"{}") for _ in range(3)] == [True, True, False]
    assert not kept.wanted
    assert len(files(tmp_path)) == 2


def test_none_are_wanted_by_default_and_nothing_is_made(tmp_path: Path) -> None:
    assert not Examples(tmp_path, 0).keep(b"{}")
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_container_kept_counts(tmp_path: Path) -> None:
    Examples(tmp_path, 2).keep(b"1")
    again = Examples(tmp_path, 2)
    assert again.keep(b"2")
    assert not again.keep(b"3")
    assert not Examples(tmp_path, 1).wanted


def test_their_bytes_are_bounded(tmp_path: Path) -> None:
    kept = Examples(tmp_path, 100)
    assert not kept.keep(bytes(MAX_EXAMPLE + 1))
    assert sum(kept.keep(bytes(MAX_EXAMPLE)) for _ in range(10)) == MAX_EXAMPLES // MAX_EXAMPLE


def test_they_are_for_nobody_else_to_read(tmp_path: Path) -> None:
    Examples(tmp_path, 1).keep(b"{}")
    directory = tmp_path / "examples"
    assert directory.stat().st_mode & 0o077 == 0
    assert next(directory.iterdir()).stat().st_mode & 0o077 == 0


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    kept = Examples(tmp_path, 1)
    (tmp_path / "examples" / "000000.json").mkdir(parents=True)  # in the way of the last step
    with pytest.raises(OSError, match="directory"):
        kept.keep(b"{}")
    assert files(tmp_path) == ["000000.json"]
    assert kept.wanted


def test_the_command_prints_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Examples(tmp_path, 2)
    kept.keep(b'{"a":1}')
    kept.keep(b'{"a":2}')
    assert main(["examples", "--model-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == '{"a":1}\n{"a":2}\n'


def test_the_command_says_that_there_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples", "--model-dir", str(tmp_path)]) == 0
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "no examples are kept here" in seen.err
