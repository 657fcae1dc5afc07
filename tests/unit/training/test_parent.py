"""Which weights a run begins with: settled once, from a version that is Ready, or a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from slipway import contract
from slipway.api.reasons import Reason
from slipway.api.training_run import Ancestry, ParentPin, TrainingRunSpec, TrainingRunStatus
from slipway.kube.objects import Key
from slipway.kube.plan import Create
from slipway.training import parent
from slipway.training.decide import decide
from slipway.training.observe import Observed
from slipway.training.parent import Trouble
from tests.support.builders import DIGEST, T0, model_version, training_run
from tests.unit.training.test_decide import DEFAULTS, NOW, UID, said

URI = "s3://models/digits/runs/1/model.safetensors"
WEIGHTS = {"uri": URI, "digest": DIGEST, "size": 20, "store": "other"}
DATA = {"name": "train", "uri": "s3://data/digits/", "digest": DIGEST, "files": 1, "bytes": 1}
LINEAGE = {"artifact": model_version()["spec"]["artifact"], "data": [DATA], "weights": WEIGHTS}
FROM: dict[str, Any] = {"from": {"modelVersion": "digits-v1"}}


def version(ready: str = "True", words: str = "", **status: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "reason": "Ready", "message": words, "lastTransitionTime": T0}]
    return model_version(status={"phase": "Ready", "conditions": conditions, "lineage": LINEAGE, **status})


FAILURE = {"reason": "DigestMismatch", "message": "it is another file"}
CASES: dict[str, tuple[dict[str, Any] | None, str, str, str]] = {
    "it does not exist": (None, Reason.MODEL_VERSION_MISSING, "stalled", "there is no ModelVersion digits-v1"),
    "it was just made": (model_version(), Reason.MODEL_VERSION_NOT_READY, "moving", "is being verified"),
    "it is being verified": (
        version("Unknown", phase="Verifying"), Reason.MODEL_VERSION_NOT_READY, "moving", "is being verified",
    ),
    "it failed its verification": (
        version("False", phase="Failed", failure=FAILURE), Reason.MODEL_VERSION_NOT_READY, "failed",
        "never becomes Ready (it is another file): apply a new run that begins from another version",
    ),
    "it is archived": (
        version("False", "archived: no new Deployment may take it", phase="Archived"), Reason.MODEL_VERSION_NOT_READY,
        "stalled", "is not Ready (archived: no new Deployment may take it)",
    ),
    "a program made it": (
        version(lineage={**LINEAGE, "weights": None}), Reason.PARENT_WITHOUT_WEIGHTS, "failed", "has no weights",
    ),
    "its weights are nowhere": (
        version(lineage={**LINEAGE, "weights": {**WEIGHTS, "uri": "http://169.254.169.254/"}}),
        Reason.PARENT_WITHOUT_WEIGHTS, "failed", "has no weights",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_there_is_nothing_to_begin_from(case: str) -> None:
    found, reason, outlook, words = CASES[case]
    got = parent.settle("digits-v1", found)
    assert isinstance(got, Trouble)
    assert (got.reason, got.outlook) == (reason, outlook)
    assert words in got.message


def test_a_version_that_is_ready_gives_its_weights() -> None:
    assert parent.settle("digits-v1", version()) == PIN


PIN = ParentPin(
    model_version="digits-v1", uri=URI, digest=DIGEST, size=20, store="other", ancestry=Ancestry(data=[DIGEST])
)


def seen(status: dict[str, Any] | None = None, **world: Any) -> Observed:
    run = training_run(uid=UID, **{**FROM, **world.pop("spec", {})})
    spec = TrainingRunSpec.model_validate(run["spec"])
    return Observed(run, spec, TrainingRunStatus.model_validate(status or {}), DEFAULTS, **world)


def test_the_weights_are_written_down_and_only_then_a_job_is_made() -> None:
    first = decide(seen(parent=version()), NOW)
    assert first.changes == ()
    assert first.status is not None
    assert first.status.wire()["parent"] == PIN.wire()
    # Whatever becomes of the version now, the Job begins from those weights.
    second = decide(seen(first.status.wire()), NOW)
    (create,) = second.changes
    assert isinstance(create, Create)
    (container,) = create.manifest["spec"]["template"]["spec"]["containers"]
    env = {e["name"]: e.get("value") for e in container["env"]}
    told = contract.loads(contract.TrainSpec, env[contract.Env.SPEC] or "")
    assert told.parent == contract.ParentSpec("digits-v1", contract.Artifact(URI, DIGEST, 20, "other"))
    assert contract.store_env("other", contract.StoreKeys.ENDPOINT) in env


@pytest.mark.parametrize(
    ("found", "phase", "ended"), [(None, "Pending", False), (version(failure=FAILURE), "Failed", True)]
)
def test_a_run_waits_or_ends_with_the_sentence(found: dict[str, Any] | None, phase: str, ended: bool) -> None:
    plan = decide(seen(parent=found), NOW)
    assert plan.changes == ()
    assert said(plan)[0] == phase
    assert isinstance(plan.status, TrainingRunStatus)
    assert (plan.status.completion_time is not None) == ended


def test_a_suspended_run_settles_nothing() -> None:
    plan = decide(seen(parent=version(), spec={"suspend": True}), NOW)
    assert said(plan)[0] == "Suspended"
    assert plan.status is not None
    assert "parent" not in plan.status.wire()


def test_a_run_is_woken_by_the_version_until_its_weights_are_settled() -> None:
    run = training_run(uid=UID, **FROM)
    assert parent.awaited(run) == [Key("team", "digits-v1")]
    assert parent.awaited({**run, "status": {"parent": PIN.wire()}}) == []
    assert parent.awaited(training_run(uid=UID)) == []
