"""Numbers of versions: never one twice, none left out, whoever is how fast."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway import contract, ledger
from slipway.api.common import Label
from slipway.kube.act import act
from slipway.kube.client import Conflict
from slipway.kube.fake import FakeKube
from slipway.kube.objects import CONFIG_MAPS, MODEL_VERSIONS, TRAINING_RUNS, Key, owner_reference
from slipway.ledger import Ledger
from slipway.progress import FakeProgress
from slipway.training import numbering
from slipway.training.children import Defaults
from slipway.training.decide import decide
from slipway.training.observe import Observed, observe
from tests.support.builders import config_map, job_of, model_version, pod, train_result, training_run

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
look = partial(observe, defaults=Defaults("trainer:1"), progress=FakeProgress())


async def world(*runs: str, objects: tuple[dict[str, Any], ...] = ()) -> FakeKube:
    """Runs whose pods have ended well."""
    kube = FakeKube(objects)
    for name in runs:
        run = kube.put(training_run(name))
        owner = owner_reference(kube.put(job_of(run, name, "train")))
        labels = {Label.TRAINING_RUN_UID: run["metadata"]["uid"], Label.ROLE: "train"}
        kube.put(pod(f"{name}-a", labels=labels, owner=owner, exit_code=0, message=contract.dumps(train_result())))
    return kube


async def see(kube: FakeKube, run: str) -> Observed:
    seen = await look(kube, Key("team", run))
    assert seen is not None
    return seen


async def carry_out(kube: FakeKube, seen: Observed) -> None:
    await act(kube, seen.run, decide(seen, NOW), NOW, "test")


async def finish(kube: FakeKube, run: str) -> str:
    """Passes until the run has ended; the version that came out."""
    for _ in range(10):
        await carry_out(kube, await see(kube, run))
        status = (kube.find(TRAINING_RUNS, "team", run) or {})["status"]
        if "completionTime" in status:
            return str(status["modelVersion"])
    raise AssertionError("the run does not end")


async def test_two_passes_that_read_the_same_ledger_do_not_get_the_same_number() -> None:
    kube = await world("one", "two", "three")
    assert await finish(kube, "three") == "digits-v1"
    first, second = await see(kube, "one"), await see(kube, "two")
    await carry_out(kube, first)
    with pytest.raises(Conflict):
        await carry_out(kube, second)
    assert {await finish(kube, "two"), await finish(kube, "one")} == {"digits-v2", "digits-v3"}


async def test_two_passes_that_make_the_first_ledger_do_not_get_the_same_number() -> None:
    kube = await world("one", "two")
    first, second = await see(kube, "one"), await see(kube, "two")
    await carry_out(kube, first)
    await carry_out(kube, second)
    assert {await finish(kube, "two"), await finish(kube, "one")} == {"digits-v1", "digits-v2"}


async def test_a_version_that_appears_between_claim_and_creation_costs_no_number_twice() -> None:
    kube = await world("one")
    await carry_out(kube, await see(kube, "one"))
    claimed = await see(kube, "one")
    kube.put(model_version("digits-v1"))
    await carry_out(kube, claimed)
    assert await finish(kube, "one") == "digits-v2"
    by_hand = kube.find(MODEL_VERSIONS, "team", "digits-v1") or {}
    assert "labels" not in by_hand["metadata"]


async def test_a_deleted_version_s_number_is_not_used_again() -> None:
    kube = await world("one", "two")
    assert await finish(kube, "one") == "digits-v1"
    kube.remove(MODEL_VERSIONS, "team", "digits-v1")
    assert await finish(kube, "two") == "digits-v2"


async def test_a_lost_or_broken_ledger_begins_above_what_exists() -> None:
    broken = config_map("slipway-versions-digits", {"last": "?", "claims": "{"}, role="versions")
    for objects in ((), (broken,)):
        kube = await world("one", objects=(*objects, model_version("digits-v7"), model_version("other-v9")))
        assert await finish(kube, "one") == "digits-v8"


async def test_claims_of_recorded_runs_do_not_pile_up() -> None:
    names = [f"run{i}" for i in range(6)]
    kube = await world(*names)
    for name in names:
        await finish(kube, name)
    ledger = kube.find(CONFIG_MAPS, "team", "slipway-versions-digits") or {}
    assert ledger["data"]["last"] == "6"
    assert list(json.loads(ledger["data"]["claims"]).values()) == [6]


async def test_a_number_that_the_registry_wrote_down_is_used_though_its_version_is_gone() -> None:
    book = ledger.manifest("team", "digits", Ledger(0).with_file(7, "sha256:" + "b" * 64))
    kube = await world("one", objects=(book,))
    assert await finish(kube, "one") == "digits-v8"
    written = ledger.read(kube.find(CONFIG_MAPS, "team", "slipway-versions-digits"))
    assert written.files == {7: "b" * 16}, "what the registry wrote stays"


async def test_a_claim_whose_number_somebody_used_and_left_is_replaced() -> None:
    kube = await world("one")
    await carry_out(kube, await see(kube, "one"))
    used = ledger.read(kube.find(CONFIG_MAPS, "team", "slipway-versions-digits")).with_file(1, "sha256:" + "b" * 64)
    kube.put(ledger.manifest("team", "digits", used))
    assert await finish(kube, "one") == "digits-v2"


async def test_a_ledger_that_was_lost_learns_again_what_the_versions_say() -> None:
    numbered = model_version("digits-v7", status={"numbered": True})
    kube = await world("one", objects=(numbered, model_version("digits-v5")))
    assert await finish(kube, "one") == "digits-v8"
    assert ledger.read(kube.find(CONFIG_MAPS, "team", "slipway-versions-digits")).files == {7: "a" * 16}


async def test_the_version_carries_its_lineage_from_its_first_moment() -> None:
    kube = await world("one")
    await finish(kube, "one")
    version = kube.find(MODEL_VERSIONS, "team", "digits-v1") or {}
    lineage = json.loads(version["metadata"]["annotations"]["slipway.dev/lineage"])
    assert lineage["trainingRun"]["name"] == "one"
    assert lineage["artifact"]["digest"] == version["spec"]["artifact"]["digest"]
    assert "ownerReferences" not in version["metadata"]


numbers = st.integers(1, 50)
ledgers = st.builds(
    lambda claims, more, files: Ledger(max([0, *claims.values(), *files]) + more, claims, files),
    st.dictionaries(st.sampled_from("abcdef"), numbers, max_size=5),
    st.integers(0, 3),
    st.dictionaries(numbers, st.sampled_from(["aa", "bb"]), max_size=5),
)


@given(ledgers, st.sampled_from("abcxyz"), st.frozensets(numbers), st.frozensets(st.sampled_from("abcdef")))
def test_a_claim_is_above_every_number_that_was_ever_used(
    before: Ledger, run: str, taken: frozenset[int], done: frozenset[str]
) -> None:
    new = numbering.claim(before, run, taken, done)
    assert new.claims[run] == new.last
    assert new.last == max([before.last, *taken]) + 1
    kept = {u: n for u, n in before.claims.items() if u not in done and u != run and n not in before.files}
    assert kept.items() <= new.claims.items()
    assert new.files == before.files
    assert ledger.read(ledger.manifest("team", "digits", new)) == new


@given(st.dictionaries(st.sampled_from(["last", "claims", "files", "x"]), st.text(max_size=20)))
def test_a_ledger_that_somebody_wrote_by_hand_is_read_without_an_error(data: dict[str, str]) -> None:
    found = ledger.read({"data": data})
    assert found.last >= 0
