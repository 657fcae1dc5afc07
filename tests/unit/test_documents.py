"""What the documents name exists: files, make targets, reasons."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from slipway.api.reasons import Reason
from slipway_evidence import reasons as evidence_reasons
from slipway_server import reasons as server_reasons
from slipway_trainer import failures
from slipway_trainer.failures import Reason as Failure

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for page in ROOT.rglob("*.md")
    if not {".venv", "node_modules", ".pytest_cache", "build"} & set(page.relative_to(ROOT).parts)
)
# Where nothing is wrong, or nothing is to be done.
AT_REST = {
    Reason.ANALYSING,
    Reason.ANALYSIS_PASSED,
    Reason.CHECKING,
    Reason.CHECKS_PASSED,
    Reason.APPROVED,
    Reason.TEST_PASSED,
    Reason.TEST_RUNNING,
    Reason.FIRST_STARTING,
    Reason.HEALTHY,
    Reason.PENDING,
    Reason.PROMOTED,
    Reason.QUEUED,
    Reason.READY,
    Reason.RECORDING,
    Reason.REPRODUCED,
    Reason.REPLACING_PODS,
    Reason.RESUMED,
    Reason.RETIRED,
    Reason.RETREATING,
    Reason.ROLLOUT_STARTED,
    Reason.RUNNING,
    Reason.STEP_RUNNING,
    Reason.SIGNED,
    Reason.SUCCEEDED,
    Reason.SUPERSEDED,
    Reason.SUSPENDED,
    Reason.VERIFIED,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    broken = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not broken


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_is_named_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|\()make (?:-s )?([a-z][a-z0-9-]*)", (ROOT / page).read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_each_design_note_has_a_number_of_its_own() -> None:
    notes = sorted((ROOT / "docs" / "design").glob("*.md"))
    assert [n.name[:4] for n in notes] == [f"{number:04}" for number in range(1, len(notes) + 1)]
    for note in notes:
        assert note.read_text().startswith(f"# {note.name[:4]}: "), note.name


def test_a_runbook_speaks_of_every_reason_that_asks_for_somebody() -> None:
    said = set(re.findall(r"`([A-Z][A-Za-z]+)`", "".join(p.read_text() for p in (ROOT / "docs/runbooks").glob("*.md"))))
    assert {str(reason) for reason in Reason} - {str(reason) for reason in AT_REST} <= said
    of_pods = {f.name for of in (failures, evidence_reasons) for f in vars(of).values() if isinstance(f, Failure)}
    of_pods |= {value for name, value in vars(server_reasons).items() if name.isupper() and isinstance(value, str)}
    assert said <= {str(reason) for reason in Reason} | of_pods


def test_each_bench_has_a_target_that_says_how_long_it_takes() -> None:
    help_of = dict(re.findall(r"(?m)^([a-z-]+):.*## (.*)$", (ROOT / "Makefile").read_text()))
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    benches = {path.parent.name for path in (ROOT / "bench").glob("*/__main__.py")}
    assert benches >= {"analysis", "data", "operator", "registry", "shadow"}
    for name in sorted(benches):
        assert re.search(r"[0-9]+ minutes", help_of[f"bench-{name}"]), name
        assert f"`bench-{name}`" in contributing or f"`make bench-{name}`" in contributing, name
