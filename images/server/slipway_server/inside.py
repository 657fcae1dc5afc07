"""The port that only the cluster's inside reaches: what is counted, and what was answered of late.

    GET  /metrics   for Prometheus, and for the operator's analysis
    POST /answers   for a shadow that compares (answers.py); numbers of the model's outputs, never inputs

It runs on the loop that serves clients, so a question is bounded: in its ids, in its reply, and in how many are
answered in a second. However wrong a shadow asks, clients do not feel it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from slipway_server.answers import MAX_QUESTION, Ring, read_question
from slipway_server.http import HttpLimits, Request
from slipway_server.metrics import Exposition, ServerMetrics
from slipway_server.oip import OCTETS

LIMITS: Final = HttpLimits(body=MAX_QUESTION, bodies=16 * MAX_QUESTION, connections=64)
RATE: Final = 64
"""Questions answered in a second; others get 429. One takes about 0.3 ms, so this is at most 2% of the loop."""
_TEXT: Final = b"text/plain"


class Inside:
    """Handles the port's requests."""

    def __init__(self, metrics: ServerMetrics, ring: Ring, clock: Callable[[], float] = time.perf_counter) -> None:
        self._exposition = Exposition(metrics)
        self._ring = ring
        self._clock = clock
        self._allowed = float(RATE)
        self._since = clock()

    def __call__(self, request: Request) -> None:
        """Answer one request."""
        if request.path == b"/metrics":
            self._metrics(request)
        elif request.path == b"/answers":
            self._answers(request)
        else:
            request.respond(404, b"only /metrics and /answers are here\n", _TEXT)

    def _metrics(self, request: Request) -> None:
        if request.method not in (b"GET", b"HEAD"):
            request.respond(405, b"only GET is allowed\n", _TEXT, ((b"allow", b"GET, HEAD"),))
            return
        content_type, body = self._exposition.render(request.headers.get(b"accept", b"").decode("latin-1"))
        request.respond(200, body, content_type.encode())

    def _answers(self, request: Request) -> None:
        if request.method != b"POST":
            request.respond(405, b"only POST is allowed\n", _TEXT, ((b"allow", b"POST"),))
            return
        now = self._clock()
        self._allowed = min(float(RATE), self._allowed + RATE * (now - self._since))
        self._since = now
        if self._allowed < 1:
            request.respond(429, b"too many questions: ask later\n", _TEXT, ((b"retry-after", b"1"),))
            return
        self._allowed -= 1
        try:
            ids = read_question(request.body)
        except ValueError as error:
            request.respond(400, f"{error}\n".encode(), _TEXT)
            return
        request.respond(200, self._ring.reply(ids, now), OCTETS)
