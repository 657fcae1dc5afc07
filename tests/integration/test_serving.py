"""Deployment on a real API server and real controllers; pods and the gateway are played."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from slipway.api.common import ACTION_ANNOTATION, Label
from slipway.kube.objects import BUDGETS, DEPLOYMENTS, HTTP_ROUTES, MODEL_VERSIONS, PODS, SERVICES, WORKLOADS
from tests.support.api_server import Object, eventually
from tests.support.kubelet import Act, environment, fails, serves
from tests.support.world import GATEWAYS_NAMESPACE, Team, World, condition, states

OURS = f"{Label.DEPLOYMENT}=digits"


def canary(*steps: Object) -> Object:
    """A strategy whose replaced version goes at once."""
    return {"canary": {"steps": list(steps), "scaleDownDelay": "0s"}}


CANARY = canary({"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}})


def serving(world: World, *, versions: int = 2, routed: bool = True, replicas: int = 2, **spec: Any) -> Team:
    """A team that serves digits-v1 and has the next versions at hand."""
    team = world.team()
    for number in range(1, versions + 1):
        team.register(number=number)
    for number in range(1, versions + 1):
        team.version_until("Ready", f"digits-v{number}")
    team.deploy(routed=routed, replicas=replicas, **{"strategy": CANARY, **spec})
    team.deployment_until("Healthy", check=lambda d: d["status"]["stable"]["readyReplicas"] == replicas)
    return team


def outcomes(live: Object) -> list[tuple[str, str]]:
    """The history, oldest first."""
    entries = sorted(live["status"]["history"], key=lambda h: h["from"])
    return [(h["modelVersion"], h["outcome"]) for h in entries]


def weights(team: Team) -> dict[str, int]:
    """The route's weights by the name of the Service; one that has everything may stand there twice."""
    route = team.get(HTTP_ROUTES, "digits")
    assert route is not None
    (rule,) = route["spec"]["rules"]
    found: dict[str, int] = {}
    for ref in rule["backendRefs"]:
        found[ref["name"]] = found.get(ref["name"], 0) + ref["weight"]
    return found


def at(team: Team, candidate: int, phase: str = "Paused", **wanted: Any) -> Object:
    """Wait until the rollout stands at a verified weight."""

    def there(live: Object) -> bool:
        found = live["status"].get("weights", {})
        return bool(found.get("candidate") == candidate and found.get("verified"))

    return team.deployment_until(phase, check=there, **wanted)


def promoted(team: Team, version: str) -> Object:
    """Wait until a version is stable and nothing of another one is left."""
    fits = lambda d: d["status"]["stable"]["modelVersion"] == version and not d["status"].get("candidate")  # noqa: E731
    made = team.deployment_until("Healthy", check=fits)
    wanted = [f"digits-{version}"]
    eventually(lambda: [w["metadata"]["name"] for w in team.all(WORKLOADS)] == wanted, what="the other workload going")
    return made


# ------------------------------------------------------------------------------------------------------- one version


def test_a_version_is_served(world: World) -> None:
    team = serving(world)
    live = team.deployment_until("Healthy")
    assert states(live)["Ready"] == "True"
    assert live["status"]["stable"] == {
        "modelVersion": "digits-v1",
        "workload": "digits-digits-v1",
        "service": "digits-digits-v1",
        "replicas": 2,
        "readyReplicas": 2,
    }
    assert live["status"]["url"] == f"http://digits.{team.namespace}.example.com/v2/models/digits/infer"
    assert weights(team) == {"digits-digits-v1": 100}
    for resource in (WORKLOADS, SERVICES, BUDGETS, HTTP_ROUTES):
        for child in team.all(resource, OURS):
            assert child["metadata"]["ownerReferences"][0]["uid"] == live["metadata"]["uid"], child["metadata"]["name"]
    (budget,) = team.all(BUDGETS)
    assert budget["status"]["currentHealthy"] == 2
    runs_it = [{"name": "digits", "role": "stable"}]
    team.until(MODEL_VERSIONS, "digits-v1", lambda v: v["status"].get("deployments") == runs_it)


def test_without_a_gateway(world: World) -> None:
    team = serving(world, routed=False)
    front = team.get(SERVICES, "digits")
    assert front is not None
    assert front["spec"]["ports"][0]["port"] == 80
    live = team.deployment_until("Healthy")
    assert live["status"]["url"] == f"http://digits.{team.namespace}.svc/v2/models/digits/infer"
    assert not team.all(HTTP_ROUTES)


def test_scaling(world: World) -> None:
    team = serving(world, replicas=1)
    assert not team.all(BUDGETS), "a budget for one replica would hold up every drained node"
    team.api.merge(DEPLOYMENTS, team.namespace, "digits", {"spec": {"replicas": 3}})
    team.deployment_until("Healthy", check=lambda d: d["status"]["stable"]["readyReplicas"] == 3)
    assert len(team.all(BUDGETS)) == 1
    scale = team.api.call("GET", DEPLOYMENTS.path(team.namespace, "digits", "scale"))
    assert scale["status"]["replicas"] == 3
    selected = team.all(PODS, scale["status"]["selector"])
    assert len(selected) == 3
    team.api.merge(DEPLOYMENTS, team.namespace, "digits", {"spec": {"replicas": 1}})
    team.deployment_until("Healthy", check=lambda d: d["status"]["stable"]["readyReplicas"] == 1)
    team.gone(BUDGETS, selector=OURS)


def _is_another(before: Object, live: Object) -> bool:
    return bool(live["metadata"]["uid"] != before["metadata"]["uid"])


def test_what_somebody_changes_or_deletes_is_put_right(world: World) -> None:
    team = serving(world)
    route = team.get(HTTP_ROUTES, "digits")
    assert route is not None
    route["spec"]["rules"][0]["backendRefs"][0]["weight"] = 1
    route["spec"]["hostnames"] = ["other.example.com"]
    del route["metadata"]["managedFields"]
    team.api.call("PUT", HTTP_ROUTES.path(team.namespace, "digits"), route)
    hosts = [f"digits.{team.namespace}.example.com"]
    team.until(HTTP_ROUTES, "digits", lambda r: r["spec"]["hostnames"] == hosts)
    assert weights(team) == {"digits-digits-v1": 100}
    for resource in (SERVICES, WORKLOADS, HTTP_ROUTES):
        name = "digits" if resource is HTTP_ROUTES else "digits-digits-v1"
        before = team.get(resource, name)
        assert before is not None
        team.api.delete(resource, team.namespace, name)
        team.until(resource, name, partial(_is_another, before))
    team.deployment_until("Healthy", check=lambda d: d["status"]["stable"]["readyReplicas"] == 2)


def test_a_deployment_that_is_deleted_leaves_nothing(world: World) -> None:
    team = serving(world)
    team.api.delete(DEPLOYMENTS, team.namespace, "digits")
    for resource in (WORKLOADS, SERVICES, BUDGETS, HTTP_ROUTES, PODS):
        team.gone(resource, selector=OURS)
    assert len(team.all(MODEL_VERSIONS)) == 2
    team.until(MODEL_VERSIONS, "digits-v1", lambda v: not v["status"].get("deployments"))


# ---------------------------------------------------------------------------------------------------------- rollouts


def test_a_canary_step_by_step(world: World) -> None:
    team = serving(world)
    team.deploy(version="digits-v2", replicas=2, strategy=CANARY)
    live = at(team, 10)
    assert weights(team) == {"digits-digits-v1": 90, "digits-digits-v2": 10}
    assert states(live)["Ready"] == "True"
    assert live["status"]["step"]["of"] == 4
    runs_it = [{"name": "digits", "role": "candidate"}]
    team.until(MODEL_VERSIONS, "digits-v2", lambda v: v["status"].get("deployments") == runs_it)
    team.say("promote")
    at(team, 50)
    assert weights(team) == {"digits-digits-v1": 50, "digits-digits-v2": 50}
    team.say("promote")
    live = promoted(team, "digits-v2")
    assert weights(team) == {"digits-digits-v2": 100}
    assert outcomes(live) == [("digits-v1", "Promoted"), ("digits-v2", "Promoted")]
    assert "annotations" not in live["metadata"] or ACTION_ANNOTATION not in live["metadata"]["annotations"]
    assert live["status"]["lastAction"]["action"] == "promote"


def test_abort_and_retry(world: World) -> None:
    team = serving(world)
    team.deploy(version="digits-v2", replicas=2, strategy=CANARY)
    at(team, 10)
    team.say("abort")
    live = team.until(DEPLOYMENTS, "digits", lambda d: not d["status"].get("candidate"))
    assert live["status"]["stable"]["modelVersion"] == "digits-v1"
    assert states(live)["Ready"] == "True", "the stable version serves on"
    eventually(lambda: weights(team) == {"digits-digits-v1": 100}, what="all traffic going back")
    assert outcomes(live) == [("digits-v1", "Promoted"), ("digits-v2", "Aborted")]
    team.gone(WORKLOADS, "digits-digits-v2")
    team.say("retry")
    at(team, 10)
    team.say("promote-full")
    promoted(team, "digits-v2")


def test_a_newer_version_takes_the_candidates_place(world: World) -> None:
    team = serving(world, versions=3)
    team.deploy(version="digits-v2", replicas=2, strategy=CANARY)
    at(team, 10)
    team.deploy(version="digits-v3", replicas=2, strategy=CANARY)
    eventually(lambda: weights(team).get("digits-digits-v3") == 10, what="the third version getting traffic")
    team.gone(WORKLOADS, "digits-digits-v2")
    live = at(team, 10)
    assert live["status"]["stable"]["modelVersion"] == "digits-v1"
    assert outcomes(live) == [("digits-v1", "Promoted"), ("digits-v2", "Superseded")]
    team.say("promote-full")
    promoted(team, "digits-v3")


def test_pause_and_resume(world: World) -> None:
    team = serving(world, progressDeadline="10m")
    steps = canary({"setWeight": 20}, {"pause": {"duration": "2s"}}, {"setWeight": 80})
    team.deploy(version="digits-v2", replicas=2, strategy=steps)
    team.until(DEPLOYMENTS, "digits", lambda d: d["status"].get("weights", {}).get("candidate") == 20)
    team.say("pause")
    at(team, 20)
    time.sleep(2.5)  # longer than the step's own pause
    assert weights(team) == {"digits-digits-v1": 80, "digits-digits-v2": 20}
    team.say("resume")
    promoted(team, "digits-v2")


def test_a_candidate_that_never_gets_ready(world: World) -> None:
    team = serving(world)

    def only_the_first(pod: Object) -> Act:
        first = '"modelVersion":"digits-v1"' in environment(pod)["SLIPWAY_SPEC"]
        return serves(pod) if first else Act(ready=False)

    team.play("serve", only_the_first)
    team.deploy(version="digits-v2", replicas=2, strategy=CANARY, progressDeadline="2s")
    live = team.until(DEPLOYMENTS, "digits", reason="ProgressDeadlineExceeded")
    assert states(live)["Ready"] == "True"
    assert weights(team).get("digits-digits-v2", 0) == 0
    team.gone(WORKLOADS, "digits-digits-v2")


def test_a_canary_without_a_gateway(world: World) -> None:
    team = serving(world, routed=False, replicas=2)
    team.deploy(version="digits-v2", routed=False, replicas=2, strategy=CANARY)
    live = team.deployment_until("Paused", check=lambda d: d["status"]["weights"]["candidate"] > 0)
    assert live["status"]["candidate"]["readyReplicas"] >= 1
    team.say("promote-full")
    promoted(team, "digits-v2")
    front = team.get(SERVICES, "digits")
    assert front is not None
    assert front["spec"]["selector"][Label.MODEL_VERSION] == "digits-v2"


def test_following_an_alias(world: World) -> None:
    team = world.team()
    team.ready_version(1, aliases=["champion"])
    team.deploy(modelVersion=None, model="digits", alias="champion", strategy=canary({"setWeight": 100}))
    team.deployment_until("Healthy")
    team.ready_version(2, aliases=["champion"])
    live = promoted(team, "digits-v2")
    assert states(live)["Ready"] == "True"


# -------------------------------------------------------------------------------------------------- what people err on


def test_a_version_that_does_not_exist_and_then_does(world: World) -> None:
    team = world.team()
    team.deploy(version="digits-v7")
    stalled = team.until(DEPLOYMENTS, "digits", reason="ModelVersionMissing")
    assert "there is no ModelVersion digits-v7" in stalled["status"]["message"]
    assert states(stalled)["Ready"] == "False"
    assert not team.all(WORKLOADS)
    team.register(number=7)
    team.deployment_until("Healthy")


def test_a_version_that_failed(world: World) -> None:
    team = world.team()
    team.play("verify", fails(64, "DigestMismatch", "the file was changed after it was registered"))
    team.register()
    team.version_until("Failed")
    team.deploy()
    stalled = team.until(DEPLOYMENTS, "digits", reason="ModelVersionNotReady")
    assert "the file was changed after it was registered" in stalled["status"]["message"]
    assert not team.all(WORKLOADS)


def test_a_gateway_that_does_not_exist(world: World) -> None:
    team = world.team()
    team.ready_version()
    gateway = {"name": "nobody", "namespace": GATEWAYS_NAMESPACE}
    team.deploy(route={"gateway": gateway, "hostnames": ["digits.example.com"]})
    stalled = team.until(DEPLOYMENTS, "digits", reason="GatewayMissing")
    assert "gateways/nobody does not exist" in stalled["status"]["message"]


def test_a_name_that_is_taken(world: World) -> None:
    team = world.team()
    team.ready_version()
    meta = {"name": "digits-digits-v1", "namespace": team.namespace}
    team.api.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 1}]}})
    team.deploy()
    stalled = team.until(DEPLOYMENTS, "digits", reason="NameTaken")
    assert "Service digits-digits-v1" in stalled["status"]["message"]
    live = team.get(SERVICES, "digits-digits-v1")
    assert live is not None
    assert "ownerReferences" not in live["metadata"]


def test_a_verb_that_does_not_exist(world: World) -> None:
    team = serving(world, replicas=1)
    team.say("promot")
    live = team.until(DEPLOYMENTS, "digits", lambda d: d["status"].get("lastAction", {}).get("action") == "promot")
    assert "promote" in live["status"]["lastAction"]["result"]
    team.until(DEPLOYMENTS, "digits", lambda d: ACTION_ANNOTATION not in d["metadata"].get("annotations", {}))


# ------------------------------------------------------------------------------------------------------------ killed


def test_killed_again_and_again_in_the_middle_of_rollouts(world: World) -> None:
    teams = [serving(world) for _ in range(3)]
    steps = canary({"setWeight": 10}, {"setWeight": 50})
    for team in teams:
        team.deploy(version="digits-v2", replicas=2, strategy=steps)
    for delay in (0.05, 0.3, 0.9, 1.7):
        time.sleep(delay)
        world.operator.kill()
        time.sleep(0.3)
        for team in teams:
            assert sum(weights(team).values()) == 100, "clients are answered while nobody watches"
        world.operator.start()
    for team in teams:
        live = promoted(team, "digits-v2")
        assert weights(team) == {"digits-digits-v2": 100}
        assert outcomes(live) == [("digits-v1", "Promoted"), ("digits-v2", "Promoted")]
        assert condition(live, "Ready")["status"] == "True"


def test_a_verb_that_is_said_while_nobody_watches_is_carried_out_once(world: World) -> None:
    team = serving(world)
    team.deploy(version="digits-v2", replicas=2, strategy=CANARY)
    at(team, 10)
    world.operator.kill()
    team.say("promote")
    world.operator.start()
    at(team, 50)  # and not 100: the second pause waits for a second word
    assert weights(team) == {"digits-digits-v1": 50, "digits-digits-v2": 50}
