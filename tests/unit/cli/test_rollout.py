"""What a person sees of a rollout, and how a verb is asked for and answered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from slipway.api.common import ACTION_ANNOTATION
from slipway.api.deployment import DeploymentSpec
from slipway.cli import rollout, rollouts, waiting
from slipway.cli.client import Object
from slipway.cli.errors import Away, Forbidden, Stop
from slipway.cli.options import Output
from slipway.serving.rollout import program
from slipway.serving.rollout.strategies import STRATEGIES
from tests.support import registry_scene as scene
from tests.support.fake_api import FakeApi
from tests.support.stories import compare

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 22, 4, 1, 10, tzinfo=UTC)
UNDECIDED = {
    "metric": "errors",
    "stable": {"n": 900, "bad": 1},
    "candidate": {"n": 100, "bad": 0},
    "evidence": {"harm": "0.3", "noHarm": "12.1"},
    "verdict": "Undecided",
}


def lines(deployment: Object) -> list[str]:
    head, message = rollout.headline(deployment)
    told = ["".join(piece.text for piece in head), message]
    for section in rollout.view(deployment, NOW):
        told += [f"[{section.title}] " + "".join(piece.text for piece in line) for line in section.lines]
    return told


def test_a_canary_on_its_way() -> None:
    retiring = [{**scene.serving("digits-v0"), "scaleDownAt": "2026-11-22T04:01:40Z", "wasStable": True}]
    last = {"action": "promote", "at": "2026-11-22T04:00:10Z", "by": "kubectl-slipway", "result": "step 2 of 4"}
    shown = scene.deployment(candidate="digits-v2", weight=10, analysis=[UNDECIDED], retiring=retiring, lastAction=last)
    compare(lines(shown), GOLDEN / "rollout.txt")


def test_at_rest_there_are_no_steps() -> None:
    told = lines(scene.deployment())
    assert not [line for line in told if line.startswith("[Steps]")]
    assert "[Versions] digits-v1  stable     2/2 ready" in told


def test_a_shadow_is_called_so() -> None:
    told = lines(scene.deployment(candidate="digits-v2", candidateRole="shadow"))
    assert "[Versions] digits-v2  shadow     1/1 ready" in told


def test_a_deployment_that_nobody_looked_at() -> None:
    shown = scene.deployment()
    del shown["status"]
    assert lines(shown)[0].startswith("digits  not looked at yet")


TEST = {"image": "registry.example/checks:1"}
PROGRAMS: dict[str, dict[str, Any]] = {
    "a canary of everything": {
        "type": "Canary",
        "canary": {
            "steps": [
                {"shadow": {"percent": 50}},
                {"headerRoute": {"name": "X-Tester", "value": "anna"}},
                {"setWeight": 10},
                {"pause": {}},
                {"pause": {"duration": "5m"}},
                {"analysis": {}},
            ]
        },
    },
    "a canary without steps": {"type": "Canary"},
    "blue/green with all its tests": {
        "type": "BlueGreen",
        "blueGreen": {
            "prePromotion": {"job": TEST, "analysis": {}},
            "autoPromote": False,
            "postPromotion": {"analysis": {"duration": "5m"}},
        },
    },
    "blue/green": {"type": "BlueGreen"},
    "a shadow that is held": {"type": "Shadow", "shadow": {"onPass": "Hold"}},
    "a shadow": {"type": "Shadow"},
}


@pytest.mark.parametrize("strategy", PROGRAMS.values(), ids=PROGRAMS)
def test_there_are_as_many_words_as_the_operator_has_steps(strategy: dict[str, Any]) -> None:
    spec = DeploymentSpec.model_validate({"modelVersion": "digits-v1", "strategy": strategy})
    words = rollout.steps(spec)
    taken = program.of(spec, STRATEGIES)
    assert len(words) == len(taken)
    for said, step in zip(words, taken, strict=True):
        # the same kind of step at the same place
        assert ("wait for a person" in said) == (step.state.name == "PAUSED")
        assert ("analysis" in said) == (step.state.name == "ANALYSING")
        assert ("copies" in said) == (step.state.name == "SHADOWING")


def answering(result: str) -> Any:
    """The operator: it answers in status, and in a later write removes the annotation."""

    def answers(deployment: Object) -> Iterator[Object]:
        verb = deployment["metadata"]["annotations"][ACTION_ANNOTATION]
        yield deployment
        deployment["status"]["lastAction"] = {"action": verb, "at": "2026-11-22T05:00:00Z", "result": result}
        yield deployment
        del deployment["metadata"]["annotations"][ACTION_ANNOTATION]
        yield deployment

    return answers


def test_a_verb_is_asked_for_and_its_answer_told(capsys: pytest.CaptureFixture[str]) -> None:
    api = FakeApi(scene.deployment(candidate="digits-v2", weight=10))
    api.answers = answering("canary digits-v2: step 3 of 4, weight 50%")
    rollouts.say(api, None, "digits", "promote", 5)
    assert capsys.readouterr().out == "canary digits-v2: step 3 of 4, weight 50%\n"
    assert ("PATCH", "/apis/slipway.dev/v1alpha1/namespaces/team/deployments/digits") in api.asked


def test_a_refused_verb_ends_the_command_with_the_operators_sentence() -> None:
    api = FakeApi(scene.deployment())
    api.answers = answering("promote was not carried out: nothing is on its way")
    with pytest.raises(Stop, match="nothing is on its way"):
        rollouts.say(api, None, "digits", "promote", 5)


def test_the_same_verb_twice_waits_for_the_second_answer() -> None:
    """What the first one was answered stands in the status still."""
    last = {"action": "promote", "at": "2026-11-22T04:00:00Z", "result": "the first answer"}
    api = FakeApi(scene.deployment(candidate="digits-v2", lastAction=last))
    api.answers = lambda deployment: iter([deployment])
    with pytest.raises(Stop, match="has not answered within"):
        rollouts.say(api, None, "digits", "promote", 0.05)


def test_a_deployment_that_goes_ends_the_watch() -> None:
    api = FakeApi(scene.deployment())

    def deleted(deployment: Object) -> Iterator[Object]:
        api.objects.clear()
        yield deployment

    api.answers = deleted
    with pytest.raises(Stop, match="was deleted"):
        rollouts.get(api, None, "digits", watch=True, output=Output.TEXT)


class Flaky(FakeApi):
    """Watches and reads that end in an error, each once, before one that shows a change and then the deletion."""

    def __init__(self, *errors: Stop) -> None:
        super().__init__(scene.deployment())
        self.errors = list(errors)

    def call(self, method: str, path: str, body: Any = None, *, kind: str = "", **query: str) -> Object:
        if self.errors:
            raise self.errors.pop(0)
        return super().call(method, path, body, kind=kind, **query)

    def lines(self, path: str, **query: str) -> Iterator[str]:
        if self.errors:
            raise self.errors.pop(0)
        return super().lines(path, **query)


BROKE = Away("the answer of the API server at https://10.0.0.1 broke off: reset")
NOBODY = Away("no API server answers at https://10.0.0.1: Connection refused")
UNKNOWN = Forbidden("anna may not get deployments in the namespace team")


def test_a_watch_waits_for_an_api_server_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream breaks, nobody answers for a while, then it knows nobody's rights yet; then the state is read anew."""
    monkeypatch.setattr(waiting, "AGAIN_SECONDS", 0)
    api, told = Flaky(BROKE, NOBODY, NOBODY, UNKNOWN), list[str]()

    def changed_and_deleted(deployment: Object) -> Iterator[Object]:
        api.objects.clear()
        yield {**deployment, "status": {"phase": "Healthy"}}

    api.answers = changed_and_deleted
    seen = rollouts.changes(api, "team", api.objects[0], tell=told.append)
    assert next(seen)["status"] == scene.deployment()["status"], "what may have happened meanwhile is not missed"
    assert next(seen)["status"] == {"phase": "Healthy"}
    with pytest.raises(Stop, match="digits was deleted"):
        next(seen)
    assert told == [f"{each}; trying again" for each in (NOBODY, UNKNOWN)], "each reason once"


def test_who_may_not_watch_is_told_so_at_once() -> None:
    api = Flaky(UNKNOWN)
    with pytest.raises(Forbidden, match="anna may not"):
        next(rollouts.changes(api, "team", api.objects[0]))


@pytest.mark.parametrize("readable", [True, False])
def test_a_verb_waits_no_longer_than_it_was_asked_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], readable: bool
) -> None:
    """Nobody answers from the moment in which it is asked for; or objects can be read, and not watched."""
    monkeypatch.setattr(waiting, "AGAIN_SECONDS", 0.001)
    api = Flaky()

    def broken(*_: Any, **__: Any) -> Iterator[str]:
        if not readable:
            api.errors = [NOBODY] * 1000
        raise BROKE

    api.lines = broken  # type: ignore[method-assign]
    with pytest.raises(Stop, match="has not answered within"):
        rollouts.say(api, None, "digits", "promote", 0.05)
    assert ("Connection refused; trying again" in capsys.readouterr().err) != readable
