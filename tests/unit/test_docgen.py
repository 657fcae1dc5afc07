"""The reference pages: up to date, and without a field that nobody explains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from slipway import docgen
from slipway.api.reasons import Reason
from slipway.crdgen import KINDS
from slipway.settings import PREFIX, Settings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGES = {
    "api": docgen.api_reference,
    "reasons": docgen.reasons_reference,
    "settings": docgen.settings_reference,
    "rollout-states": docgen.states_reference,
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_code_says(name: str) -> None:
    assert (REFERENCE / f"{name}.md").read_text() == PAGES[name](), "run `make generate`"


def test_the_pages_are_what_is_written() -> None:
    assert docgen.files() == {f"{name}.md": page() for name, page in PAGES.items()}


def test_the_directory_holds_nothing_else() -> None:
    assert {f.stem for f in REFERENCE.iterdir()} == set(PAGES)


def test_every_field_that_users_write_is_explained() -> None:
    page = docgen.api_reference()
    for kind in KINDS:
        section = page.split(f"### {kind.kind} `spec`\n")[1].split("\nRefused:")[0]
        rows = [line for line in section.splitlines() if line.startswith("| `")]
        assert len(rows) >= len(kind.spec.model_fields)
        assert not [row for row in rows if re.search(r"\|\s+\|$", row)]


def test_reasons_are_camel_case_with_one_sentence_each() -> None:
    for reason in Reason:
        assert re.fullmatch(r"[A-Z][A-Za-z]+", reason.value), reason
        assert reason.meaning.endswith("."), reason
    assert len({r.value for r in Reason}) == len({r.meaning for r in Reason}) == len(Reason.__members__)


def test_every_setting_is_explained() -> None:
    page = docgen.settings_reference()
    for name, info in Settings.model_fields.items():
        assert f"`{PREFIX}{name.upper()}`" in page
        assert info.description


def test_what_would_break_a_table_is_escaped() -> None:
    assert docgen._prose("``a | b`` and\n  more") == "`a \\| b` and more"
