"""Whose log is copied: the training's, or that of the container that could not fetch the code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slipway.cli import logs
from slipway.cli.client import Object
from slipway.cli.errors import Stop
from tests.support.fake_api import FakeApi

RUNS: Object = {"running": {}}
DONE = {"terminated": {"exitCode": 0}}
FAILED = {"terminated": {"exitCode": 64}}
WAITS: Object = {"waiting": {"reason": "PodInitializing"}}


def pod(trainer: Object, code: Object | None = None) -> Object:
    made: Object = {
        "kind": "Pod",
        "metadata": {
            "name": "digits-1-x",
            "namespace": "team",
            "labels": {"slipway.dev/training-run": "digits-1", "slipway.dev/role": "train"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "status": {"containerStatuses": [{"name": "trainer", "state": trainer}]},
    }
    if code is not None:
        made["status"]["initContainerStatuses"] = [{"name": "code", "state": code}]
    return made


class Logs(FakeApi):
    """Each container writes its own name."""

    def lines(self, path: str, **query: str) -> Iterator[str]:
        yield f"{query['container']} says"


def run() -> Object:
    return {
        "kind": "TrainingRun",
        "metadata": {"name": "digits-1", "namespace": "team"},
        "status": {"phase": "Queued", "message": "attempt 1 fetches its code"},
    }


@pytest.mark.parametrize(
    ("trainer", "code", "container"),
    [
        (RUNS, None, "trainer"),
        (FAILED, None, "trainer"),
        (RUNS, DONE, "trainer"),
        (FAILED, DONE, "trainer"),
        (WAITS, FAILED, "code"),
        (WAITS, RUNS, "code"),
    ],
)
def test_the_container_that_tells_what_happened(
    trainer: Object, code: Object | None, container: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.copy(Logs(run(), pod(trainer, code)), None, "digits-1", follow=False, tail=-1, attempt=None)
    out, err = capsys.readouterr()
    assert out == f"{container} says\n"
    assert ("digits-1-x has run no training code: this is its container code" in err) == (container == "code")


def test_who_follows_waits_for_the_training_and_not_for_what_will_never_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api, ends = Logs(run(), pod(WAITS, RUNS)), [pod(RUNS, DONE), pod(WAITS, FAILED)]

    def later(_seconds: float) -> None:
        api.objects[1] = ends.pop(0)

    monkeypatch.setattr("slipway.cli.logs.time.sleep", later)
    logs.copy(api, None, "digits-1", follow=True, tail=-1, attempt=None)
    assert capsys.readouterr().out == "trainer says\n"
    api.objects[1] = pod(WAITS, RUNS)
    logs.copy(api, None, "digits-1", follow=True, tail=-1, attempt=None)
    assert capsys.readouterr().out == "code says\n"


def test_a_pod_that_has_not_started(capsys: pytest.CaptureFixture[str]) -> None:
    for waits in (pod(WAITS), pod(WAITS, WAITS)):
        with pytest.raises(Stop, match="the pod digits-1-x has not started: attempt 1 fetches its code"):
            logs.copy(Logs(run(), waits), None, "digits-1", follow=False, tail=-1, attempt=None)
