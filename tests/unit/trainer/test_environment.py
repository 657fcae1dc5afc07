"""What the training ran on."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import pytest

from slipway_trainer.environment import describe, driver, packages


def test_packages_are_sorted_normalized_lines() -> None:
    lines = packages().decode().splitlines()
    assert lines == sorted(set(lines))
    assert "typing-extensions" in {line.split("==")[0] for line in lines}
    assert packages().endswith(b"\n")


def test_what_is_not_there_is_absent() -> None:
    found = describe(b"a==1\n", 3)
    assert found.python == platform.python_version()
    assert found.packages == "sha256:" + hashlib.sha256(b"a==1\n").hexdigest()
    assert found.threads == 3
    assert (found.torch, found.gpu, found.driver) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024\n", "550.90.07"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version: 12\n",
            "580.65.06",
        ),
        ("something else\n", None),
    ],
)
def test_the_drivers_version_is_what_the_driver_says(tmp_path: Path, text: str, version: str | None) -> None:
    (tmp_path / "version").write_text(text)
    assert driver(tmp_path / "version") == version
    assert driver(tmp_path / "absent") is None
