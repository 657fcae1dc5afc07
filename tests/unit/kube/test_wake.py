"""Who is woken by what."""

from __future__ import annotations

from typing import Any

from slipway.api.common import Label
from slipway.kube.objects import Key
from slipway.kube.wake import References, wake_by_label


def child(**labels: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "team", "name": "x", "labels": labels}}


def test_a_child_wakes_the_object_that_its_label_names() -> None:
    woken: list[Key] = []
    react = wake_by_label(woken.append, Label.MODEL_VERSION, **{Label.ROLE: "verify"})
    react(child(**{Label.MODEL_VERSION: "digits-v1", Label.ROLE: "verify"}), False)
    react(child(**{Label.MODEL_VERSION: "digits-v2", Label.ROLE: "serve"}), False)
    react(child(), False)
    react({"metadata": {"namespace": "team", "name": "x", "labels": None}}, True)
    assert woken == [Key("team", "digits-v1")]


def test_references_forget_what_is_not_named_any_more() -> None:
    index = References()
    a, b = Key("team", "a"), Key("team", "b")
    index.update(a, ["x", "y"])
    index.update(b, ["y"])
    assert index.sources("y") == {a, b}
    index.update(a, ["x"])
    assert index.sources("y") == {b}
    assert index.targets(a) == {"x"}
    index.update(a, [])
    index.update(b, [])
    assert index.__dict__ == {"_targets": {}, "_sources": {}}, "nothing is kept of what is gone"
