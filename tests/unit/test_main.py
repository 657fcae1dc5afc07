"""What the operator's wiring decides by itself."""

from __future__ import annotations

from collections.abc import Sized
from itertools import islice
from typing import Any

import pytest

from slipway import __main__ as operator
from slipway.kube.client import KubeError, NotInstalled, Refused, Unreachable
from slipway.kube.fake import FakeKube
from slipway.kube.objects import TRAINING_RUNS


def test_kopf_never_gives_a_watch_up() -> None:
    found = operator.kopf_settings().networking.error_backoffs
    assert not isinstance(found, float | Sized), "Kopf counts what has a length, and ends after it"
    for _ in range(2):  # each request begins anew
        first = list(islice(found, 1000))
        assert first[0] <= 1
        assert max(first) == first[-1] == operator.RECONNECT_SECONDS


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotInstalled(TRAINING_RUNS), "waiting for a CRD: trainingruns.slipway.dev is not installed"),
        (Unreachable(0, "no answer"), "waiting for the API server: no answer"),
        (Refused(403, "may not get"), "waiting for the API server: may not get"),
        (KubeError(503, "starting"), "waiting for the API server: starting"),
    ],
)
async def test_a_start_waits_for_what_is_not_there_yet(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: KubeError, told: str
) -> None:
    class Late(FakeKube):
        tries = 0

        async def get(self, *_: Any) -> dict[str, Any] | None:
            self.tries += 1
            if self.tries < 3:
                raise error
            return None

    monkeypatch.setattr(operator, "LOOK_SECONDS", 0.0)
    kube = Late()
    await operator.kinds_served(kube, None)
    assert [record.getMessage()[: len(told)] for record in caplog.records] == [told] * 2
    assert kube.tries == 2 + len(operator.OURS)
