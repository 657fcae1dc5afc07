"""Canaries that evidence moves, with real models that are bad in real ways, through a real gateway under load.

A client never loses a request to a rollout. Where a candidate is bad, the only bad answers are those that it gave
itself to the share of the requests that it had, until the evidence was there.
"""

from __future__ import annotations

import signal
import time
from typing import Any

import httpx

from slipway.api.deployment import Analysis
from slipway.kube.objects import DEPLOYMENTS
from tests.support import candidates
from tests.support.api_server import Object
from tests.support.e2e import MODEL, Tenant, World, aborted, condition, settled_on, stable, weights
from tests.support.evidence import Watch, timed, timed_crash, within_its_share
from tests.support.load import until

EXAMPLE = "evidence/deployment.yaml"
V1, V2 = "digits-v1", "digits-v2"
SHARE = 20
"""Percent that the candidate gets first."""


def given(tenant: Tenant, candidate: bytes, **spec: Any) -> None:
    """digits-v1 serves as the example says, and digits-v2 is registered with this file."""
    tenant.pair(candidate, candidates.healthy())
    tenant.serving(EXAMPLE, **spec)


def watched(tenant: Tenant) -> Watch:
    """Eyes on the counters and on the route."""
    (example,) = tenant.example(EXAMPLE)
    analysis = Analysis.model_validate(example["spec"]["analysis"])
    return Watch(tenant, MODEL, V1, V2, analysis.metrics)


def stays_with_the_stable(tenant: Tenant, after: Object) -> None:
    """What holds of a Deployment whose candidate was given up."""
    assert stable(after) == V1
    assert condition(after, "Ready")["status"] == "True"
    (entry,) = [h for h in after["status"]["history"] if h["modelVersion"] == V2]
    assert entry["outcome"] == "Aborted"


def test_a_healthy_candidate_is_promoted(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.healthy())
    with world.load(tenant.host, body=candidates.questions()) as load, watched(tenant) as watch:
        # When
        tenant.ask_for(V2)
        # Then the evidence takes it through both weights
        tenant.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted", seconds=300)
        until(load, lambda r: r.share("2") == 100, seconds=15, what="answers of version 2 only")
    print(*watch.messages(), sep="\n")
    load.check()
    assert [weight for _, weight, _ in watch.weights if weight][:3] == [20, 50, 100]
    assert any("no harm" in note for note in tenant.events("AnalysisPassed")), tenant.events("AnalysisPassed")


def test_a_candidate_that_answers_5_percent_with_nan_is_stopped(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.not_a_number())
    with world.load(tenant.host, body=candidates.questions()) as load, watched(tenant) as watch:
        tenant.ask_for(V2)
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped", seconds=180)
        until(load, lambda r: r.share("1") == 100, seconds=15, what="answers of version 1 only")
    print(after["status"]["message"])
    timed(watch, "errors")
    load.check()
    assert load.report().empty["2"]
    within_its_share(load, watch, share=SHARE)
    stays_with_the_stable(tenant, after)
    (said,) = tenant.events("HarmFound")
    assert "errors" in said
    assert "against 0%" in said


def test_a_candidate_that_is_three_times_slower_is_stopped(world: World, tenant: Tenant) -> None:
    # Given models of 4 ms and of 12 ms, on a machine that has nothing else to do
    tenant.pair(candidates.slow(360), candidates.slow(120))
    metrics = [{"name": "slow", "threshold": "8ms", "maxIncrease": "0.1"}]
    analysis = {"metrics": metrics, "maxDuration": "5m", "onInconclusive": "Abort"}
    tenant.serving(EXAMPLE, analysis=analysis)
    watch = Watch(tenant, MODEL, V1, V2, Analysis.model_validate(analysis).metrics)
    with world.load(tenant.host, body=candidates.questions(), rate=15) as load, watch:
        tenant.ask_for(V2)
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped", seconds=300)
        until(load, lambda r: r.share("1") == 100, seconds=15, what="answers of version 1 only")
    print(after["status"]["message"])
    timed(watch, "slow")
    load.check(at_least=14)
    stays_with_the_stable(tenant, after)
    assert any("slow" in note for note in tenant.events("HarmFound"))


def test_a_candidate_that_runs_out_of_memory_under_load_is_stopped(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.hungry())
    with world.load(tenant.host, body=candidates.questions()) as load, watched(tenant) as watch:
        tenant.ask_for(V2)
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped", seconds=180)
        until(load, lambda r: r.share("1") == 100, seconds=15, what="answers of version 1 only")
    print(after["status"]["message"], load.report(), sep="\n")
    timed_crash(watch)
    within_its_share(load, watch, share=SHARE)
    stays_with_the_stable(tenant, after)
    assert "spec.resources.memory" in after["status"]["message"]
    assert tenant.events("CandidateCrashed")


def test_a_candidate_that_crashes_is_stopped(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.healthy())
    with world.load(tenant.host, body=candidates.questions()) as load, watched(tenant) as watch:
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, lambda o: weights(o)[1] == SHARE, what=f"{SHARE}%")
        # When
        tenant.signal(signal.SIGKILL, model_version=V2)  # the only end that a container's first process cannot refuse
        # Then
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped")
        until(load, lambda r: r.share("1") == 100, seconds=15, what="answers of version 1 only")
    print(after["status"]["message"], load.report(), sep="\n")
    timed_crash(watch)
    within_its_share(load, watch, share=SHARE)
    stays_with_the_stable(tenant, after)
    assert "exit code 137" in after["status"]["message"]


def test_a_candidate_whose_file_was_changed_after_it_was_verified_is_stopped(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.healthy())
    changed = bytearray(candidates.healthy())
    changed[-100] ^= 1
    world.put(f"s3://models/e2e/{tenant.name}-2.onnx", bytes(changed))
    with world.load(tenant.host) as load:
        tenant.ask_for(V2)
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped")
    print(after["status"]["message"])
    assert set(load.check().versions) == {"1"}
    stays_with_the_stable(tenant, after)
    assert after["status"]["message"].count("sha256:") == 2, "the digest that it has and the one that was recorded"


def test_testers_reach_the_candidate_by_a_header_at_weight_0(world: World, tenant: Tenant) -> None:
    steps = [{"headerRoute": {"name": "X-Tester", "value": "yes"}}, {"pause": {}}, {"setWeight": 50}]
    given(tenant, candidates.healthy(), strategy={"type": "Canary", "canary": {"steps": steps, "scaleDownDelay": "5s"}})

    def asked(**headers: str) -> str:
        url = f"{world.gateway}/v2/models/{MODEL}/infer"
        sent = {"Host": tenant.host, **headers}
        answer = httpx.post(url, json=candidates.questions()[0], headers=sent, timeout=15, trust_env=False)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["model_version"])

    with world.load(tenant.host) as load:
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, lambda o: o["status"]["phase"] == "Paused", what="awaits a person")
        answers = {(tester, asked(**({"X-Tester": tester} if tester else {}))) for tester in ("yes", "no", "") * 7}
        assert answers == {("yes", "2"), ("no", "1"), ("", "1")}
        before = time.monotonic()
        tenant.say("promote")
        tenant.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted")
    report = load.check()
    assert set(load.report(until=before).versions) == {"1"}
    assert set(report.versions) == {"1", "2"}
