"""What is read of a Dataset, and what is not."""

from __future__ import annotations

from typing import Any

from slipway import contract
from slipway.api.common import ACTION_ANNOTATION, Label
from slipway.datasets.children import Defaults
from slipway.datasets.observe import Observed, observe
from slipway.kube.fake import FakeKube
from slipway.kube.objects import Key, owner_reference
from slipway.progress import FakeProgress
from tests.support.builders import T0, dataset, job_of, pod, store

SAID = contract.Progress(message="reading 3 of 10 files")
SETTLED = {
    "check": {"number": 1, "generation": 1},
    "checked": {"number": 1, "generation": 1, "at": T0, "passed": True, "rules": 0, "read": 1},
}


async def seen(*objects: dict[str, Any]) -> Observed:
    found = await observe(
        FakeKube(objects),
        Key("team", "digits"),
        defaults=Defaults("trainer:1"),
        progress=FakeProgress({"10.0.0.1": SAID}),
    )
    assert found is not None
    return found


JOB = job_of(dataset(uid="dataset-uid"), "digits-dataset", "dataset", uid="job-uid")


def reader(name: str, *, uid: str = "dataset-uid", owner: dict[str, Any] = JOB, **how: Any) -> dict[str, Any]:
    labels = {Label.DATASET_UID: uid, Label.ROLE: "dataset"}
    return pod(name, labels=labels, container="dataset", owner=owner_reference(owner), **how)


async def test_a_pod_that_reads_is_asked_how_far_it_is() -> None:
    found = await seen(dataset(uid="dataset-uid"), store(), JOB, reader("a", started=T0))
    assert found.progress == SAID
    assert not found.missing


async def test_a_pod_that_has_ended_is_not_asked() -> None:
    found = await seen(dataset(uid="dataset-uid"), store(), JOB, reader("a", exit_code=0))
    assert found.progress is None
    assert len(found.pods) == 1


async def test_pods_of_an_earlier_dataset_of_that_name_say_nothing() -> None:
    found = await seen(dataset(uid="dataset-uid"), store(), JOB, reader("a", uid="earlier", exit_code=0))
    assert not found.pods


async def test_pods_of_another_job_say_nothing() -> None:
    foreign = job_of(dataset(uid="dataset-uid"), "mine", "dataset", uid="foreign-uid")
    assert not (await seen(dataset(uid="dataset-uid"), store(), JOB, reader("a", owner=foreign, exit_code=0))).pods
    unmarked = {**JOB, "metadata": {**JOB["metadata"], "labels": {}}}
    assert not (await seen(dataset(uid="dataset-uid"), store(), unmarked, reader("a", exit_code=0))).pods


async def test_the_places_that_the_namespace_was_not_given() -> None:
    found = await seen(dataset(uid="dataset-uid", outputStore="kept"), store())
    assert found.missing == ("kept",)


async def test_nothing_but_the_job_is_looked_for_where_nothing_is_to_be_read() -> None:
    found = await seen(dataset(uid="dataset-uid", status=SETTLED), reader("a", started=T0))
    assert not found.pods
    assert not found.missing


async def test_what_a_person_asks_for() -> None:
    found = await seen(dataset(uid="dataset-uid", annotations={ACTION_ANNOTATION: "refresh"}))
    assert (found.action, found.action_by) == ("refresh", None)
