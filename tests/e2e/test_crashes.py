"""The operator dies by SIGKILL, all replicas at once, at the worst moments; the right end state comes all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slipway.kube.objects import DEPLOYMENTS, JOBS, MODEL_VERSIONS, TRAINING_RUNS
from tests.support.api_server import Object
from tests.support.e2e import MODEL, OperatorProcesses, Tenant, World, settled_on, weights
from tests.support.load import until

pytestmark = pytest.mark.alone  # the operator dies

# Trains as long as it is told, and says where it is.
SLOW = """
import time
import torch
from slipway_trainer import Context, TrainedModel

def train(context: Context) -> TrainedModel:
    steps = context.parameters.integer("steps")
    for step in range(1, steps + 1):
        time.sleep(0.5)
        context.report(step=step, of=steps, accuracy=step / steps)
    model = torch.nn.Linear(64, 10)
    example = (torch.rand(4, 64),)
    return TrainedModel(model, example=example, inputs=["x"], outputs=["logits"], metrics={"accuracy": 1.0})
"""


def slow_run(tenant: Tenant, steps: int) -> None:
    tenant.code("slow", {"train.py": SLOW})
    parameters = {"steps": str(steps)}
    tenant.give("quickstart/run-1.yaml", code={"configMap": "slow"}, data=[], parameters=parameters, gate=[])


def steps_done(obj: Object) -> int:
    done: int = obj.get("status", {}).get("progress", {}).get("step", 0)
    return done


def one_good_end(tenant: Tenant) -> Object:
    """The run succeeded at its first attempt and made exactly one version, which is Ready."""
    run = tenant.trained("digits-1")
    assert run["status"]["attempts"] == 1
    versions = tenant.api.list(MODEL_VERSIONS, tenant.name)
    assert [v["metadata"]["name"] for v in versions] == [run["status"]["modelVersion"]] == ["digits-v1"]
    tenant.version_ready("digits-v1")
    return run


def test_in_the_middle_of_a_training(tenant: Tenant, operator: OperatorProcesses) -> None:
    # Given a training at its third step
    slow_run(tenant, steps=40)
    tenant.until(TRAINING_RUNS, "digits-1", lambda o: steps_done(o) >= 3, what="the third step")
    (pod,) = tenant.pods(role="train")
    # When every replica dies
    assert operator.kill() == len(operator.pods())
    # Then the progress goes on in status, the pod is the same, and the run ends as if nothing had been
    seen = steps_done(tenant.get(TRAINING_RUNS, "digits-1"))
    tenant.until(TRAINING_RUNS, "digits-1", lambda o: steps_done(o) > seen, what="progress after the crash")
    (same,) = tenant.pods(role="train")
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]
    one_good_end(tenant)


def test_at_the_very_end_of_a_job(tenant: Tenant, operator: OperatorProcesses) -> None:
    # Given a training whose last steps are due
    # The operator asks for progress every few seconds: enough steps are left when it has heard of the sixth.
    slow_run(tenant, steps=24)
    tenant.until(TRAINING_RUNS, "digits-1", lambda o: steps_done(o) >= 6, what="the sixth step")

    # When the operator dies, again and again until the Job has ended, so that nobody sees its end
    assert operator.kill() == len(operator.pods())

    def ended(job: Object) -> bool:
        operator.kill()  # nobody, where the kubelet has not begun another life yet
        return bool(job.get("status", {}).get("succeeded") == 1)

    tenant.until(JOBS, "digits-1", ended, what="the Job's end")
    assert tenant.get(TRAINING_RUNS, "digits-1")["status"]["phase"] == "Running"
    # Then the result is recorded all the same
    one_good_end(tenant)


def candidate_has(share: int) -> Callable[[Object], bool]:
    return lambda obj: weights(obj)[1] == share


def test_in_the_middle_of_a_canary(world: World, tenant: Tenant, operator: OperatorProcesses) -> None:
    tenant.versions(1, 2)
    canary = {
        "steps": [{"setWeight": 10}, {"pause": {"duration": "5s"}}, {"setWeight": 50}, {"pause": {"duration": "5s"}}],
        "scaleDownDelay": "5s",
    }
    tenant.serving("canary-by-hand/deployment.yaml", strategy={"type": "Canary", "canary": canary})
    with world.load(tenant.host) as load:
        # When it dies at 10%, and again as soon as it has gone on to 50%
        tenant.ask_for("digits-v2")
        for share in (10, 50):
            tenant.until(DEPLOYMENTS, MODEL, candidate_has(share), what=f"{share}%")
            assert operator.kill(), f"nobody was there to be killed, though somebody has just written {share}%"
        # Then
        tenant.until(DEPLOYMENTS, MODEL, settled_on("digits-v2"), what="promoted")
        until(load, lambda r: r.share("2") == 100, seconds=15, what="answers of version 2 only")
        load.go_on(2)
    report = load.check()
    assert set(report.versions) == {"1", "2"}
