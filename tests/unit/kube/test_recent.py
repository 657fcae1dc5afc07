"""What was read a moment ago is not read again, and not kept for longer."""

from __future__ import annotations

from slipway.kube.fake import FakeKube
from slipway.kube.objects import CONFIG_MAPS
from slipway.kube.recent import Recent
from tests.support.builders import config_map


async def test_an_answer_is_as_old_as_it_may_be_and_no_older() -> None:
    kube, times = FakeKube(), [0.0]
    recent = Recent(10, lambda: times[0])
    assert await recent.get(kube, CONFIG_MAPS, "team", "asked") is None
    kube.put(config_map("asked", {"a": "1"}))
    times[0] = 9.9
    assert await recent.get(kube, CONFIG_MAPS, "team", "asked") is None, "that there is none is an answer too"
    assert await recent.get(kube, CONFIG_MAPS, "team", "other") is None
    times[0] = 10
    found = await recent.get(kube, CONFIG_MAPS, "team", "asked")
    assert found is not None
    assert found["data"] == {"a": "1"}
    times[0] = 30
    await recent.get(kube, CONFIG_MAPS, "team", "other")
    assert len(recent._known) == 1, "nothing is kept that is too old to be used"
