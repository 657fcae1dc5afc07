"""Blue/green under load: tests beside the stable version, one switch, and a way back that is instant."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import httpx

from slipway.kube.objects import DEPLOYMENTS
from tests.support import candidates
from tests.support.api_server import Object
from tests.support.e2e import EXAMPLES, MODEL, Tenant, World, aborted, condition, settled_on, stable, weights
from tests.support.evidence import Watch, timed
from tests.support.load import until

EXAMPLE = "blue-green/deployment.yaml"
V1, V2 = "digits-v1", "digits-v2"
ANALYSIS: dict[str, Any] = {
    "metrics": [{"name": "errors", "maxIncrease": "0.02"}],
    "maxDuration": "3m",
    "onInconclusive": "Abort",
}


def switched(obj: Object) -> bool:
    """All traffic is with the candidate, or it is the stable version already."""
    return weights(obj)[1] == 100 or stable(obj) == V2


def preview_of(tenant: Tenant) -> str:
    """A host name of this test's own."""
    return f"preview.{tenant.host}"


def given(tenant: Tenant, candidate: bytes, **blue_green: Any) -> None:
    """digits-v1 serves as the example says, and digits-v2 is registered with this file."""
    tenant.pair(candidate, candidates.healthy())
    smoke = (EXAMPLES / "blue-green" / "smoke.py").read_text()
    tenant.code("digits-smoke", {"smoke.py": smoke})
    (example,) = tenant.example(EXAMPLE)
    plan = {**example["spec"]["strategy"]["blueGreen"], "previewHostname": preview_of(tenant), **blue_green}
    plan = {key: value for key, value in plan.items() if value is not None}
    if job := plan.get("prePromotion", {}).get("job"):
        job["image"] = tenant.world.python_image()
    tenant.serving(EXAMPLE, strategy={"type": "BlueGreen", "blueGreen": plan})


def ask(world: World, host: str, body: Any) -> httpx.Response:
    """One request through the gateway, whatever comes of it."""
    url = f"{world.gateway}/v2/models/{MODEL}/infer"
    return httpx.post(url, json=body, headers={"Host": host}, timeout=15, trust_env=False)


def test_the_smoke_test_the_switch_and_the_look_back(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.healthy())
    with world.load(tenant.host, body=candidates.questions()) as load:
        # When
        tenant.ask_for(V2)
        # Then the smoke test runs while clients have version 1 only, then one write gives version 2 everything
        tenant.until(DEPLOYMENTS, MODEL, switched, what="switched")
        assert set(load.report(until=time.monotonic() - 3).versions) == {"1"}
        assert tenant.events("TestPassed")
        # and after the look back the rollout is over; version 1 keeps its replicas for a while
        tenant.until(DEPLOYMENTS, MODEL, lambda o: stable(o) == V2 and o["status"].get("retiring"), what="promoted")
        kept = {pod["metadata"]["name"] for pod in tenant.pods(model_version=V1, role="serve")}
        # When
        begun = time.monotonic()
        tenant.ask_for(V1)
        # Then going back is instant
        tenant.until(DEPLOYMENTS, MODEL, lambda o: stable(o) == V1, what="back")
        until(load, lambda r: r.share("1") == 100, seconds=15, what="answers of version 1 only")
        print(f"back after {time.monotonic() - begun:.1f} s")
        assert {pod["metadata"]["name"] for pod in tenant.pods(model_version=V1, role="serve")} == kept
    load.check()


def test_the_preview_is_reachable_before_any_client_and_a_person_decides(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.healthy(), prePromotion=None, postPromotion=None, autoPromote=False, scaleDownDelay="5s")
    with world.load(tenant.host) as load:
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, lambda o: o["status"]["phase"] == "Paused", what="awaits a person")
        seen = ask(world, preview_of(tenant), candidates.questions()[0])
        assert (seen.status_code, seen.json()["model_version"]) == (200, "2")
        assert set(load.report().versions) == {"1"}
        tenant.say("promote")
        tenant.until(DEPLOYMENTS, MODEL, settled_on(V2), what="promoted")
        until(load, lambda r: r.share("2") == 100, seconds=15, what="answers of version 2 only")
        # and the preview is gone
        assert ask(world, preview_of(tenant), candidates.questions()[0]).status_code == 404
    load.check()


def test_a_candidate_that_fails_its_smoke_test_never_meets_a_client(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.not_a_number())
    smoke = (EXAMPLES / "blue-green" / "smoke.py").read_text().replace("[0.5] * 64", f"[{candidates.OFFENCE}] * 64")
    tenant.code("digits-smoke", {"smoke.py": smoke})
    with world.load(tenant.host, body=candidates.questions()) as load:
        tenant.ask_for(V2)
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped")
        print(after["status"]["message"])
        assert "ten numbers were expected, but digits-v2 answers" in after["status"]["message"]
        assert condition(after, "Ready")["status"] == "True"
        assert stable(after) == V1
    report = load.check()
    assert set(report.versions) == {"1"}
    assert not report.empty


def test_a_candidate_that_is_bad_to_previewers_never_meets_a_client(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.not_a_number(), prePromotion={"analysis": {}}, postPromotion=None)
    questions = candidates.questions()
    with (
        world.load(tenant.host, body=questions) as load,
        world.load(preview_of(tenant), body=questions, rate=20, max_seconds=240) as preview,
        Watch(tenant, MODEL, V1, V2) as watch,
    ):
        tenant.ask_for(V2)
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped", seconds=180)
        print(after["status"]["message"])
        load.go_on(2)  # until the preview is gone and previewers are told so
    # It had no client, so there is no weight to be taken away: what is taken is the previewers' route.
    timed(watch, "errors", written=watch.preview_gone())
    report = load.check()
    assert set(report.versions) == {"1"}
    assert not report.empty
    # Before the candidate was ready there was no preview, and there is none after it was given up.
    assert preview.report().empty["2"]
    refused = Counter(a.failure for a in preview.report().failures)
    print(refused)
    assert any("404" in str(failure) for failure in refused)


def test_a_candidate_that_turns_bad_after_the_switch_is_switched_back(world: World, tenant: Tenant) -> None:
    given(tenant, candidates.not_a_number(), prePromotion=None)
    with world.load(tenant.host, body=candidates.questions()) as load, Watch(tenant, MODEL, V1, V2) as watch:
        tenant.ask_for(V2)
        tenant.until(DEPLOYMENTS, MODEL, switched, what="switched")
        after = tenant.until(DEPLOYMENTS, MODEL, aborted, what="switched back", seconds=180)
        print(after["status"]["message"])
        until(load, lambda r: r.share("1") == 100, seconds=15, what="answers of version 1 only")
        assert condition(after, "Ready")["status"] == "True"
        assert stable(after) == V1
    timed(watch, "errors")
    report = load.check()
    assert set(report.empty) == {"2"}
