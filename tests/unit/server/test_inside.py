"""The port for the cluster's inside: paths, methods, and how many questions are answered."""

from __future__ import annotations

import pytest

from slipway.contract import Tensor
from slipway_server.answers import Ring, question, read_reply
from slipway_server.inside import RATE, Inside
from slipway_server.metrics import ServerMetrics
from slipway_server.signature import TensorPlan
from tests.unit.server.test_oip import Answer, Asked


class Port:
    def __init__(self) -> None:
        self.now = 50.0
        self.ring = Ring((TensorPlan.of(Tensor("y", "FP32", [-1])),), 0.0)
        self.inside = Inside(ServerMetrics("m", "3"), self.ring, lambda: self.now)

    def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        request = Asked(method, path, body, {})
        self.inside(request)
        return request.answers[0]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/metrics", 200),
        ("HEAD", "/metrics", 200),
        ("POST", "/metrics", 405),
        ("GET", "/answers", 405),
        ("POST", "/answers", 400),
        ("GET", "/", 404),
        ("GET", "/examples", 404),
    ],
)
def test_what_is_there(method: str, path: str, code: int) -> None:
    assert Port().ask(method, path).status == code


def test_a_question_is_answered_and_opens_the_ring() -> None:
    port = Port()
    port.ring.sweep(1e6)
    assert read_reply(port.ask("POST", "/answers", question([b"a"])).body, 1).answers == {}
    assert port.ring.open


def test_only_so_many_questions_are_answered_in_a_second() -> None:
    port = Port()
    codes = [port.ask("POST", "/answers", question([])).status for _ in range(RATE + 5)]
    assert codes == [200] * RATE + [429] * 5
    port.now += 0.5
    codes = [port.ask("POST", "/answers", question([])).status for _ in range(RATE)]
    assert codes.count(200) == RATE // 2
    assert port.ask("GET", "/metrics").status == 200
