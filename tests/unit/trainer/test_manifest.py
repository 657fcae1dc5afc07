"""The digest of a data set is what the design says, whatever the order or the machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from slipway_trainer.manifest import FileDigest, directory_digest, manifest_digest

A = FileDigest("b.csv", 3, hashlib.sha256(b"one").hexdigest())
B = FileDigest("a/c d.csv", 5, hashlib.sha256(b"three").hexdigest())


def test_it_is_sha256_over_sorted_lines_of_path_size_and_sha256() -> None:
    lines = f"a/c d.csv 5 {B.sha256}\nb.csv 3 {A.sha256}\n"
    assert manifest_digest([A, B]) == "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


@given(st.permutations([A, B, FileDigest("Z", 0, "00"), FileDigest("ä", 1, "11")]))
def test_the_order_of_the_files_does_not_matter(files: list[FileDigest]) -> None:
    assert manifest_digest(files) == manifest_digest(reversed(files))


def test_a_changed_path_size_or_content_changes_it() -> None:
    others = [
        FileDigest("x.csv", A.size, A.sha256),
        FileDigest(A.path, 4, A.sha256),
        FileDigest(A.path, A.size, "00"),
    ]
    assert len({manifest_digest([file]) for file in [A, *others]}) == 4


def test_a_mounted_configmap_has_the_digest_of_what_one_sees(tmp_path: Path) -> None:
    """The kubelet links ``train.py -> ..data/train.py`` and ``..data -> ..2026_11_22``."""
    first, second, plain = tmp_path / "first", tmp_path / "second", tmp_path / "plain"
    for root, stamp in ((first, "..2026_11_22_01"), (second, "..2026_11_23_02")):
        (root / stamp).mkdir(parents=True)
        (root / stamp / "train.py").write_text("x = 1\n")
        (root / "..data").symlink_to(stamp)
        (root / "train.py").symlink_to("..data/train.py")
    plain.mkdir()
    (plain / "train.py").write_text("x = 1\n")
    (plain / "__pycache__").mkdir()
    (plain / "__pycache__" / "train.pyc").write_bytes(b"compiled")
    assert directory_digest(first) == directory_digest(second) == directory_digest(plain)
    assert directory_digest(plain) == manifest_digest(
        [FileDigest("train.py", 6, hashlib.sha256(b"x = 1\n").hexdigest())]
    )


def test_no_files_have_no_digest(tmp_path: Path) -> None:
    assert directory_digest(tmp_path) is None
    assert directory_digest(tmp_path / "absent") is None
