"""Carrying out a plan: the order of writes, none where nothing differs, nothing after a conflict."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from slipway.api.training_run import TrainingRunStatus
from slipway.kube.act import NOTE_LIMIT, act
from slipway.kube.client import Conflict
from slipway.kube.drift import differs
from slipway.kube.fake import Crash, FakeKube
from slipway.kube.objects import CONFIG_MAPS, TRAINING_RUNS
from slipway.kube.plan import Apply, Create, Delete, Event, Plan, delete

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run() -> dict[str, Any]:
    return {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"namespace": "team", "name": "digits-1", "annotations": {"slipway.dev/action": "retry"}},
        "spec": {"model": "digits"},
    }


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "team", "name": name}, "data": data}


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube([run(), config_map("old", a="1")])


def subject(kube: FakeKube) -> dict[str, Any]:
    found = kube.find(TRAINING_RUNS, "team", "digits-1")
    assert found
    return found


def whole_plan(kube: FakeKube) -> Plan:
    old = kube.find(CONFIG_MAPS, "team", "old")
    return Plan(
        changes=(
            Apply(config_map("new", a="1"), kube.find(CONFIG_MAPS, "team", "new")),
            *([Delete(CONFIG_MAPS, "team", "old", old["metadata"]["uid"])] if old else []),
            *([] if kube.find(CONFIG_MAPS, "team", "made") else [Create(config_map("made"))]),
        ),
        status=TrainingRunStatus(phase="Running"),
        remove_annotations={"slipway.dev/action": "retry"}
        if "slipway.dev/action" in subject(kube)["metadata"]["annotations"]
        else {},
        events=(Event("Normal", "Running", "training"),),
    )


async def test_children_then_status_then_annotation_then_events(kube: FakeKube) -> None:
    assert await act(kube, subject(kube), whole_plan(kube), NOW, "me") == 5
    assert kube.log == [
        "apply ConfigMap team/new",
        "delete ConfigMap team/old",
        "create ConfigMap team/made",
        "status TrainingRun team/digits-1",
        "remove-annotation TrainingRun team/digits-1",
    ]
    assert [e["reason"] for e in kube.events] == ["Running"]


async def test_a_plan_that_is_carried_out_again_writes_nothing(kube: FakeKube) -> None:
    await act(kube, subject(kube), whole_plan(kube), NOW, "me")
    kube.log.clear()
    assert await act(kube, subject(kube), whole_plan(kube), NOW, "me") == 0
    assert kube.log == []


@pytest.mark.parametrize("writes", range(1, 6))
async def test_a_crash_after_any_write_is_made_good_by_the_next_pass(kube: FakeKube, writes: int) -> None:
    untouched = FakeKube([run(), config_map("old", a="1")])
    await act(untouched, subject(untouched), whole_plan(untouched), NOW, "me")
    kube.crash_after(writes)
    with pytest.raises(Crash):
        await act(kube, subject(kube), whole_plan(kube), NOW, "me")
    await act(kube, subject(kube), whole_plan(kube), NOW, "me")
    assert [without_versions(o) for o in kube.snapshot().values()] == [
        without_versions(o) for o in untouched.snapshot().values()
    ]


def without_versions(obj: dict[str, Any]) -> dict[str, Any]:
    meta = {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "uid")}
    return {**obj, "metadata": meta}


async def test_no_event_and_no_annotation_is_touched_where_the_status_write_conflicts(kube: FakeKube) -> None:
    stale = subject(kube)
    kube.edit(TRAINING_RUNS, "team", "digits-1", lambda o: o["metadata"].update(labels={"a": "b"}))
    with pytest.raises(Conflict):
        await act(kube, stale, Plan(status=TrainingRunStatus(), events=(Event("Normal", "X", "x"),)), NOW, "me")
    assert kube.events == []
    assert kube.log == []


async def test_a_guarded_child_is_not_overwritten_by_a_late_writer(kube: FakeKube) -> None:
    live = kube.find(CONFIG_MAPS, "team", "old")
    kube.edit(CONFIG_MAPS, "team", "old", lambda o: o["data"].update(a="2"))
    with pytest.raises(Conflict):
        plan = Plan(changes=(Apply(config_map("old", a="3"), live, guarded=True),))
        await act(kube, subject(kube), plan, NOW, "me")


async def test_a_guarded_child_that_was_deleted_is_not_made_of_what_changed(kube: FakeKube) -> None:
    live = kube.find(CONFIG_MAPS, "team", "old")
    kube.remove(CONFIG_MAPS, "team", "old")
    with pytest.raises(Conflict):
        await act(kube, subject(kube), Plan(changes=(Apply(config_map("old", a="3"), live, guarded=True),)), NOW, "me")
    assert kube.find(CONFIG_MAPS, "team", "old") is None


async def test_an_event_fits_its_limit_in_bytes_whatever_the_characters(kube: FakeKube) -> None:
    plan = Plan(events=(Event("Warning", "Long", "é" * 2000),))
    await act(kube, subject(kube), plan, NOW, "me")
    assert len(kube.events[0]["note"].encode()) <= NOTE_LIMIT


@pytest.mark.parametrize(
    ("wanted", "live", "expected"),
    [
        pytest.param({"a": 1}, {"a": 1, "b": 2}, False, id="what the server added is no difference"),
        pytest.param({"a": 1}, {"a": 2}, True, id="a changed value is one"),
        pytest.param({"a": 1}, {}, True, id="a lost value is one"),
        pytest.param({"a": {}}, {}, False, id="an empty map that the server dropped is none"),
        pytest.param({"a": None}, {}, False, id="null and absent are the same"),
        pytest.param(
            [{"name": "x"}, {"name": "y"}], [{"name": "y"}, {"name": "x"}], False, id="named items have no order"
        ),
        pytest.param(["a", "b"], ["b", "a"], True, id="plain items have an order"),
        pytest.param([{"name": "x"}], [{"name": "x"}, {"name": "y"}], True, id="an item too many is drift"),
        pytest.param(
            {"requests": {"memory": "1024Mi"}}, {"requests": {"memory": "1Gi"}}, False, id="quantities by value"
        ),
        pytest.param({"requests": {"memory": "1Gi"}}, {"requests": {"memory": "1G"}}, True, id="1Gi is not 1G"),
        pytest.param({"name": "1000m"}, {"name": "1"}, True, id="a name is no quantity"),
    ],
)
def test_differs(wanted: Any, live: Any, expected: bool) -> None:
    assert differs(wanted, live) is expected


async def test_what_is_leaving_is_not_deleted_again(kube: FakeKube) -> None:
    kube.edit(CONFIG_MAPS, "team", "old", lambda o: o["metadata"].update(finalizers=["example.com/holds-it"]))
    for writes in (1, 0):
        old = kube.find(CONFIG_MAPS, "team", "old")
        assert old is not None
        assert await act(kube, subject(kube), Plan(changes=(delete(CONFIG_MAPS, old),)), NOW, "me") == writes
    assert kube.log == ["delete ConfigMap team/old"]
    kube.edit(CONFIG_MAPS, "team", "old", lambda o: o["metadata"].update(finalizers=[]))
    assert kube.find(CONFIG_MAPS, "team", "old") is None
