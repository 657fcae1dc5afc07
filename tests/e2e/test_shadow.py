"""Shadows under load: copies of requests, compared answers, and no client that notices anything, whatever the shadow
does."""

from __future__ import annotations

import json
import signal
from typing import Any

import httpx

from slipway.api.deployment import AnalysisMetric
from slipway.kube.objects import DEPLOYMENTS, MODEL_VERSIONS, PODS, WORKLOADS
from tests.support import candidates
from tests.support.api_server import Object
from tests.support.e2e import MODEL, Tenant, World, aborted, condition, settled_on, stable
from tests.support.evidence import Watch, timed, timed_crash
from tests.support.load import until

EXAMPLE = "shadow/deployment.yaml"
V1, V2 = "digits-v1", "digits-v2"


def given(tenant: Tenant, candidate: bytes, example: str = EXAMPLE, **spec: Any) -> None:
    """digits-v1 serves as the example says, and digits-v2 is registered with this file."""
    tenant.pair(candidate, candidates.healthy())
    tenant.serving(example, **spec)


def held(tenant: Tenant, candidate: bytes, **spec: Any) -> None:
    """A shadow that compares so long that it comes to no verdict within the test."""
    shadow = {"percent": 100, "minSamples": 1_000_000, "maxDisagreement": "0.5"}
    given(tenant, candidate, strategy={"type": "Shadow", "shadow": shadow}, **spec)


def mirrored(obj: Object) -> bool:
    """The candidate gets copies."""
    return bool(obj["status"].get("weights", {}).get("mirror"))


def test_a_shadow_that_agrees_is_promoted(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.healthy())
    with world.load(tenant.host, body=candidates.questions()) as load, Watch(tenant, MODEL, V1, V2) as watch:
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, mirrored, what="copies")
        tenant.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted", seconds=180)
        until(load, lambda r: r.share("2") == 100, seconds=15, what="answers of version 2 only")
    print(*watch.messages(), sep="\n")
    load.check()


def test_a_shadow_that_answers_other_classes_is_stopped(world: World, tenant: Tenant) -> None:
    # Given the example, but with time to look at the candidate that was stopped
    (deployment,) = tenant.example(EXAMPLE)
    strategy = deployment["spec"]["strategy"]
    strategy["shadow"]["scaleDownDelay"] = "5m"
    given(tenant, candidates.healthy(seed=2), strategy=strategy)
    with world.load(tenant.host, body=candidates.questions()) as load, Watch(tenant, MODEL, V1, V2) as watch:
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, mirrored, what="copies")
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped", seconds=180)
        # and whoever may exec into the pod sees what differs
        (pod,) = tenant.pods(model_version=V2, role="serve")
        name = pod["metadata"]["name"]
        said = world.run(
            "kubectl", "-n", tenant.name, "exec", name, "--", "python3", "-m", "slipway_server", "examples"
        )
    print(*watch.messages(), sep="\n")
    print(said[:1500])
    report = load.check()
    assert set(report.versions) == {"1"}
    assert stable(after) == V1
    assert condition(after, "Ready")["status"] == "True"
    timed(watch, "disagreement")
    first = json.loads(said.splitlines()[0])
    assert first["kind"] == "class", first
    assert len(said.splitlines()) == 3
    # the examples are with the pod alone
    assert "inputs" not in json.dumps(after)


def test_a_shadow_that_refuses_what_clients_got_answered_is_stopped(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.refusing())
    with world.load(tenant.host, body=candidates.questions()) as load, Watch(tenant, MODEL, V1, V2) as watch:
        tenant.ask_for(V2)
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped", seconds=180)
        load.go_on(1)
    print(after["status"]["message"])
    timed(watch, "disagreement")
    assert set(load.check().versions) == {"1"}
    assert tenant.events("HarmFound")


def test_no_client_notices_a_shadow_that_runs_out_of_memory(world: World, tenant: Tenant) -> None:
    held(tenant, candidates.hungry())
    with world.load(tenant.host, body=candidates.questions()) as load, Watch(tenant, MODEL, V1, V2) as watch:
        tenant.ask_for(V2)
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped", seconds=180)
        load.go_on(3)
    print(after["status"]["message"])
    timed_crash(watch)
    assert set(load.check().versions) == {"1"}
    assert "spec.resources.memory" in after["status"]["message"]


def test_no_client_notices_a_shadow_that_is_slow(world: World, tenant: Tenant) -> None:
    """A shadow that takes long for each answer, whose answers are right: clients have no failed request and no answer
    of its, its answers are compared all the same, and it passes, because slowness is no disagreement; a person decides.
    How long clients wait is no part of this: they share this machine's two cores with the shadow (`make bench` shows
    the cost of a mirror)."""
    # Given a model of some 20 ms beside one of less than 1 ms, and so few requests that a machine whose processors are
    # everybody's carries them: a shadow whose queue is full could not have served these clients, and that does differ
    shadow = {"percent": 100, "minSamples": 200, "maxDisagreement": "0.01", "onPass": "Hold", "scaleDownDelay": "5s"}
    given(tenant, candidates.slow(600), strategy={"type": "Shadow", "shadow": shadow})
    metrics = [AnalysisMetric(name="slow", threshold="5ms")]
    with (
        world.load(tenant.host, body=candidates.questions(), rate=5) as load,
        Watch(tenant, MODEL, V1, V2, metrics) as watch,
    ):
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, mirrored, what="copies")
        held = tenant.until(DEPLOYMENTS, MODEL, lambda o: o["status"]["phase"] == "Paused", what="passed", seconds=180)
        load.go_on(3)
        tenant.say("abort")
        tenant.until(DEPLOYMENTS, MODEL, aborted, what="given up by a person")
        load.go_on(2)
    print(held["status"]["message"])
    (slow,) = watch.counted("Candidate", "slow").values()
    print(f"of {slow.n} requests, the shadow answered {slow.bad} after more than 5 ms")
    assert slow.bad > slow.n / 2, "the shadow was not slow"
    assert tenant.events("AnalysisPassed")
    assert set(load.check(at_least=4).versions) == {"1"}


def test_no_client_notices_a_shadow_whose_disk_is_full(world: World, tenant: Tenant) -> None:
    """The one directory that a shadow may write to is full (ENOSPC) when it has its first example to keep. Clients have
    no failed request and no answer of its; the shadow loses the examples, says so in its log, and goes on answering and
    comparing: what differs is found, and ends the rollout as ever.

    The kubelet's eviction of a pod whose scratch is beyond its sizeLimit is not shown: the local cluster's kubelet
    does not evict (tests/support/full_disk.py). For clients it is a pod that was taken away, as in the next test."""
    shadow = {"percent": 100, "minSamples": 1_000_000, "maxDisagreement": "0.01", "keepExamples": 3}
    given(
        tenant,
        candidates.not_a_number(),
        strategy={"type": "Shadow", "shadow": {**shadow, "scaleDownDelay": "5m"}},
    )
    with world.load(tenant.host, body=candidates.questions(offending=0)) as load:
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, mirrored, what="copies")
        until(load, lambda _: True, seconds=15, what="answers")
        # When its disk is full before anything differs
        assert tenant.fill_scratch(model_version=V2) == 1
        with world.load(
            tenant.host, body=candidates.questions(harmless=10, offending=10), rate=26, max_seconds=200
        ) as offending:
            after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped", seconds=180)
            offending.go_on(2)
    print(after["status"]["message"])
    # Then it is stopped by what differs, and not by its disk
    assert after["status"]["rollout"]["reason"] == "HarmFound"
    (pod,) = tenant.pods(model_version=V2, role="serve")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    log = world.run("kubectl", "logs", "--namespace", tenant.name, pod["metadata"]["name"])
    assert "an example could not be kept" in log, log[-4000:]
    assert "No space left on device" in log
    # and nobody noticed any of it
    assert set(load.check().versions) == {"1"}
    assert set(offending.check(at_least=24).versions) == {"1"}


def test_no_client_notices_a_shadow_that_hangs_or_is_taken_away_or_killed(world: World, tenant: Tenant) -> None:
    held(tenant, candidates.healthy())
    with world.load(tenant.host, body=candidates.questions()) as load:
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, mirrored, what="copies")
        until(load, lambda _: True, seconds=15, what="answers")
        # Given the version says what it is there
        role = [{"name": MODEL, "role": "shadow"}]
        tenant.until(MODEL_VERSIONS, V2, lambda v: v["status"].get("deployments") == role, what="a shadow", seconds=30)
        # When it hangs, for less than the liveness probe bears
        tenant.signal(signal.SIGSTOP, model_version=V2)
        load.go_on(6)
        tenant.signal(signal.SIGCONT, model_version=V2)
        # and when somebody takes its replicas away (the operator gives them back)
        (workload,) = tenant.api.list(WORKLOADS, tenant.name, f"slipway.dev/model-version={V2}")
        for _ in range(3):
            tenant.api.merge(WORKLOADS, tenant.name, workload["metadata"]["name"], {"spec": {"replicas": 0}})
            load.go_on(2)
        for pod in tenant.pods(model_version=V2, role="serve"):
            tenant.api.delete(PODS, tenant.name, pod["metadata"]["name"])
        load.go_on(2)
        tenant.until(
            DEPLOYMENTS, MODEL, lambda o: o["status"]["candidate"]["readyReplicas"] == 1, what="a replica again"
        )
        # and when it is killed
        tenant.signal(signal.SIGKILL, model_version=V2)
        # Then that crash ends the rollout
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped")
        load.go_on(3)
    print(after["status"]["message"])
    # and nobody noticed any of it
    assert set(load.check().versions) == {"1"}


def test_no_client_notices_a_shadow_that_is_frozen_while_bodies_are_large(world: World, tenant: Tenant) -> None:
    # Given bodies of 2 MB: a mirror that is streamed passes the shadow's backpressure on to the client from 1 MB on
    held(tenant, candidates.healthy(), resources={"cpu": "100m", "memory": "512Mi"})
    row = candidates.questions(offending=0)[0]["inputs"][0]["data"]
    rows = 4000
    large = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 64], "data": row * rows}]}
    assert len(json.dumps(large)) > 2_000_000
    with world.load(tenant.host) as load:
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, mirrored, what="copies")
        tenant.signal(signal.SIGSTOP, model_version=V2)
        with world.load(tenant.host, body=large, rate=1, max_seconds=60) as heavy:
            heavy.go_on(10)
        tenant.signal(signal.SIGCONT, model_version=V2)
    report = heavy.check(at_least=0.5)
    assert len(report.answers) >= 10
    assert set(report.versions) == {"1"}
    assert set(load.check().versions) == {"1"}


def test_a_shadow_then_testers_then_a_canary(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.healthy(), "shadow/then-canary.yaml")
    with world.load(tenant.host, body=candidates.questions()) as load, Watch(tenant, MODEL, V1, V2) as watch:
        tenant.ask_for(V2)
        # First copies of half of the requests
        tenant.until(DEPLOYMENTS, MODEL, mirrored, what="copies")
        # then testers alone, until a person speaks
        tenant.until(DEPLOYMENTS, MODEL, lambda o: o["status"]["phase"] == "Paused", what="testers", seconds=180)
        assert set(load.report().versions) == {"1"}
        url, sent = f"{world.gateway}/v2/models/{MODEL}/infer", {"Host": tenant.host, "x-tester": "yes"}
        answer = httpx.post(url, json=candidates.questions()[0], headers=sent, timeout=15, trust_env=False)
        assert answer.json()["model_version"] == "2"
        tenant.say("promote")
        # then a canary
        tenant.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted", seconds=240)
        until(load, lambda r: r.share("2") == 100, seconds=15, what="answers of version 2 only")
    print(*watch.messages(), sep="\n")
    load.check()
    changes = [(weight, mirror) for _, weight, mirror in watch.weights]
    assert (0, 50) in changes
    assert changes.index((0, 50)) < changes.index((20, 0)) < changes.index((100, 0))
