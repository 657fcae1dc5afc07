"""What is read of a TrainingRun, and when."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from slipway import contract
from slipway.api.common import Label
from slipway.kube.fake import FakeKube
from slipway.kube.objects import JOBS, TRAINING_RUNS, Key, Resource, owner_reference
from slipway.progress import FakeProgress
from slipway.training.children import Defaults
from slipway.training.observe import Observed, observe
from tests.support.builders import T0, config_map, job_of, model_version, pod, store, training_run

KEY = Key("team", "digits-1")
SAID = contract.Progress(step=1, of=2)


class Counting(FakeKube):
    """Remembers what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        self.asked.append(f"{resource.plural}/{name}")
        return await super().get(resource, namespace, name)

    async def list(
        self,
        resource: Resource,
        namespace: str | None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        self.asked.append(resource.plural)
        return await super().list(resource, namespace, labels, fields)


look = partial(observe, defaults=Defaults("trainer:1"), progress=FakeProgress({"10.0.0.1": SAID}))


def world(**spec: Any) -> tuple[Counting, dict[str, Any]]:
    kube = Counting()
    return kube, kube.put(training_run(**spec))


def put_job(kube: FakeKube, run: dict[str, Any], *conditions: str) -> dict[str, Any]:
    return kube.put(job_of(run, "digits-1", "train", *conditions))


def labels(run: dict[str, Any]) -> dict[str, str]:
    return {Label.TRAINING_RUN_UID: run["metadata"]["uid"], Label.ROLE: "train"}


async def seen(kube: FakeKube) -> Observed:
    found = await look(kube, KEY)
    assert found is not None
    return found


async def test_a_run_that_is_gone_or_going_is_left_alone() -> None:
    assert await look(FakeKube(), KEY) is None
    kube, _ = world()
    kube.edit(TRAINING_RUNS, "team", "digits-1", lambda r: r["metadata"].update(deletionTimestamp=T0))
    assert await look(kube, KEY) is None


async def test_everything_a_new_run_needs_is_looked_for() -> None:
    kube, _ = world(code={"configMap": "code"}, data=[{"name": "a", "uri": "s3://data/a", "store": "other"}])
    kube.put(store("other"))
    assert (await seen(kube)).missing == ("slipway-store-default", "code")
    kube.put(config_map("code"))
    kube.put(store())
    assert (await seen(kube)).missing == ()


async def test_a_pod_whose_container_has_ended_is_not_running_any_more() -> None:
    """Its phase is for a moment: whatever its result is compared with must be read."""
    kube, run = world(reproduceOf={"modelVersion": "digits-v1"})
    job = put_job(kube, run)
    kube.put(model_version())
    ended = pod("p", labels=labels(run), owner=owner_reference(job), exit_code=0)
    ended["status"]["phase"] = "Running"
    kube.put(ended)
    found = await seen(kube)
    assert found.progress is None
    assert found.original is not None
    assert "configmaps/slipway-versions-digits" not in kube.asked, "it takes no number"


async def test_a_running_pod_is_asked_for_its_progress_and_nothing_else_is_read() -> None:
    kube, run = world()
    job = put_job(kube, run)
    kube.put(pod("digits-1-a", labels=labels(run), owner=owner_reference(job), started=T0))
    assert (await seen(kube)).progress == SAID
    assert kube.asked == ["trainingruns/digits-1", "jobs/digits-1", "pods"]


async def test_a_pod_that_is_leaving_is_not_asked() -> None:
    kube, run = world()
    job = put_job(kube, run)
    leaving = pod("digits-1-a", labels=labels(run), owner=owner_reference(job), started=T0)
    leaving["metadata"]["deletionTimestamp"] = T0
    kube.put(leaving)
    assert (await seen(kube)).progress is None


async def test_with_a_result_the_ledger_and_every_version_of_the_model_are_read_labelled_or_not() -> None:
    kube, run = world()
    job = put_job(kube, run)
    kube.put(pod("digits-1-a", labels=labels(run), owner=owner_reference(job), exit_code=0))
    kube.put(model_version("digits-v1"))
    kube.put(model_version("other-v1"))
    kube.put(config_map("slipway-versions-digits", {"last": "1"}))
    found = await seen(kube)
    assert [v["metadata"]["name"] for v in found.versions] == ["digits-v1"]
    assert found.ledger is not None


async def test_without_a_job_or_pods_the_version_that_was_made_is_found() -> None:
    for conditions in ((), ("Complete",)):
        kube, run = world()
        if conditions:
            put_job(kube, run, *conditions)
        kube.put(model_version("digits-v1"))
        kube.put(model_version("digits-v2", labels=labels(run)))
        assert [v["metadata"]["name"] for v in (await seen(kube)).versions] == ["digits-v2"]


async def test_pods_of_another_run_of_the_same_name_are_not_ours() -> None:
    kube, run = world()
    job = put_job(kube, run)
    earlier = {Label.TRAINING_RUN_UID: "earlier", Label.ROLE: "train"}
    kube.put(pod("digits-1-a", labels=earlier, owner=owner_reference(job)))
    assert (await seen(kube)).pods == ()


async def test_a_pod_that_somebody_else_made_says_nothing_whatever_its_labels() -> None:
    kube, run = world()
    job = put_job(kube, run)
    foreign = kube.put(job_of(run, "mine", "train"))
    kube.put(pod("forged", labels=labels(run), exit_code=0))
    kube.put(pod("of-another-job", labels=labels(run), owner=owner_reference(foreign), exit_code=0))
    assert (await seen(kube)).pods == ()
    kube.put(pod("ours", labels=labels(run), owner=owner_reference(job), exit_code=0))
    assert [p["metadata"]["name"] for p in (await seen(kube)).pods] == ["ours"]
    # A Job without the role is not the operator's, whomever it names as its owner: only the operator may write that.
    kube.edit(JOBS, "team", "digits-1", lambda j: j["metadata"].update(labels={}))
    assert (await seen(kube)).pods == ()


async def test_of_a_run_that_ended_at_most_the_job_is_read() -> None:
    for spec, wanted in (({}, []), ({"ttlAfterFinished": "1h"}, ["jobs/digits-1"])):
        kube, run = world(**spec)
        kube.put({**run, "status": {"phase": "Succeeded", "completionTime": T0}})
        assert (await seen(kube)).ended
        assert kube.asked == ["trainingruns/digits-1", *wanted]
