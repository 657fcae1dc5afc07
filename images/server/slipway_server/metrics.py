"""What the server counts.

The hot path touches only plain numbers of this module; they become Prometheus families when somebody asks. That costs
a tenth of prometheus-client's own counters, each of which takes a lock per increment.

All families carry ``model`` and ``version``, so that a rollout's two sides are told apart without joins.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

import numpy as np
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, exposition
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from slipway import contract
from slipway_server.agreement import KINDS, UNCOMPARED
from slipway_server.signature import MAX_CLASSES, Array, Plan, Role

SECONDS: Final = contract.LATENCY_EDGES
ROWS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
OTHER: Final = "other"
_FROM_THE_START: Final = dict.fromkeys((200, 500, 503, 504), 0)
"""Codes that are shown before the first: a series that begins with 1 has no increase for Prometheus."""


class Buckets:
    """A histogram of plain numbers."""

    __slots__ = ("counts", "edges", "total")

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value; it belongs to the first edge that is not below it."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value

    def family(self, name: str, help_text: str, labels: dict[str, str]) -> HistogramMetricFamily:
        """The same for Prometheus, cumulative."""
        edges = [*(str(e) for e in self.edges), "+Inf"]
        made = HistogramMetricFamily(name, help_text, labels=list(labels))
        made.add_metric(
            list(labels.values()),
            buckets=list(zip(edges, accumulate(self.counts), strict=True)),
            sum_value=self.total,
        )
        return made


@dataclass(eq=False)
class ServerMetrics(Collector):
    """All that is counted for one model. Times are in seconds.

    ``gauges`` is asked when somebody scrapes: name without prefix -> (meaning, value).
    """

    model: str
    version: str
    requests: Counter[int] = field(default_factory=Counter)
    invalid_requests: int = 0
    """Requests answered with a NaN or an infinite number. Each was answered 2xx, so that the bad ones among all
    requests are these and those of ``requests`` from 500 on."""
    latency: Buckets = field(default_factory=lambda: Buckets(SECONDS))
    queue: Buckets = field(default_factory=lambda: Buckets(SECONDS))
    rows: Buckets = field(default_factory=lambda: Buckets(ROWS))
    gauges: dict[str, tuple[str, Callable[[], float]]] = field(default_factory=dict)
    info: dict[str, str] = field(default_factory=dict)
    predictions: Predictions | None = None
    comparison: Counts | None = None
    """Of a shadow that compares."""

    def answered(self, code: int, seconds: float) -> None:
        """An inference request was answered, so long after its last byte had come."""
        self.requests[code] += 1
        self.latency.add(seconds)

    def batch(self, rows: int, waited: list[float]) -> None:
        """See ``batching.Observer``."""
        self.rows.add(rows)
        for seconds in waited:
            self.queue.add(seconds)

    def outputs(self, outputs: list[Array]) -> Array | None:
        """See ``batching.Observer``."""
        return None if self.predictions is None else self.predictions.add(outputs)

    def collect(self) -> Iterator[Metric]:
        """The families, for prometheus-client."""
        labels = {"model": self.model, "version": self.version}
        keys, values = list(labels), list(labels.values())
        requests = CounterMetricFamily(
            "slipway_server_requests", "Inference requests answered, by HTTP status.", labels=[*keys, "code"]
        )
        for code, count in sorted((_FROM_THE_START | self.requests.copy()).items()):
            requests.add_metric([*values, str(code)], count)
        yield requests
        invalid = CounterMetricFamily(
            "slipway_server_invalid_requests",
            "Inference requests answered 2xx with a NaN or an infinite number.",
            labels=keys,
        )
        invalid.add_metric(values, self.invalid_requests)
        yield invalid
        yield self.latency.family(
            "slipway_server_request_seconds",
            "Seconds from the last byte of an inference request to its answer.",
            labels,
        )
        yield self.queue.family(
            "slipway_server_queue_seconds", "Seconds a request waited until the model took it.", labels
        )
        yield self.rows.family("slipway_server_batch_rows", "Rows in one run of the model.", labels)
        for name, (meaning, value) in self.gauges.items():
            gauge = GaugeMetricFamily(f"slipway_server_{name}", meaning, labels=keys)
            gauge.add_metric(values, value())
            yield gauge
        if self.info:
            info = GaugeMetricFamily(
                "slipway_server_model_info",
                "The model that is served: always 1.",
                labels=[*keys, *self.info],
            )
            info.add_metric([*values, *self.info.values()], 1)
            yield info
        if self.predictions is not None:
            yield from self.predictions.collect(labels)
        if self.comparison is not None:
            yield from self.comparison.collect(labels)


@dataclass(eq=False)
class Counts:
    """What came of comparing the answers of a shadow. ``disagreed`` is part of ``compared``."""

    compared: int = 0
    disagreed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    unmatched: int = 0
    uncompared: dict[str, int] = field(default_factory=lambda: dict.fromkeys(UNCOMPARED, 0))

    def collect(self, labels: dict[str, str]) -> Iterator[Metric]:
        """The families, for prometheus-client."""
        keys, values = list(labels), list(labels.values())
        for name, meaning, label, counted in (
            ("compared", "Requests whose answer was compared with that of a peer.", None, {"": self.compared}),
            ("disagreed", "Requests compared whose answers disagree.", "kind", self.disagreed),
            ("unmatched", "Requests that no peer knew.", None, {"": self.unmatched}),
            ("uncompared", "Requests that were not compared for another reason.", "reason", self.uncompared),
        ):
            made = CounterMetricFamily(
                f"slipway_server_{name}", meaning, labels=[*keys, label] if label is not None else keys
            )
            for key, count in counted.items():
                made.add_metric([*values, key] if label is not None else values, count)
            yield made


class Predictions:
    """What the model answers: how often each class came out on top, and rows that are no answer (NaN, infinite).

    What an output is read as: ``signature.Role``. Of labels only integers are counted, those below ``MAX_CLASSES`` one
    by one: a label value costs memory in every Prometheus that scrapes.
    """

    def __init__(self, plan: Plan) -> None:
        self._lock = threading.Lock()  # heavy models run in threads
        self._scores: list[tuple[int, str, int]] = []
        self._labels: list[tuple[int, str]] = []
        self._floats: list[int] = []
        for i, tensor in enumerate(plan.outputs):
            if tensor.dtype.kind == "f":
                self._floats.append(i)
                if tensor.role is Role.SCORES:
                    self._scores.append((i, tensor.name, tensor.tail[0]))
            elif tensor.dtype.kind in "iu" and tensor.role is Role.LABELS:
                self._labels.append((i, tensor.name))
        # The last place counts what is not one of the classes.
        self._counts = {
            **{name: np.zeros(size + 1, dtype=np.int64) for _, name, size in self._scores},
            **{name: np.zeros(MAX_CLASSES + 1, dtype=np.int64) for _, name in self._labels},
        }
        self._invalid = 0

    def add(self, outputs: list[Array]) -> Array | None:
        """Count one batch's outputs. Any thread. Which rows are no answer; None if all are."""
        bad: Array | None = None
        invalid = False
        for i in self._floats:
            # One number tells whether any element is NaN or infinite; only then is it worth a closer look.
            with np.errstate(all="ignore"):
                if not np.isfinite(np.add.reduce(outputs[i], axis=None)):
                    invalid = True
        if invalid:
            bad = self._invalid_rows(outputs)
        with self._lock:
            if bad is not None:
                self._invalid += int(bad.sum())
            for i, name, _ in self._scores:
                top = outputs[i].argmax(axis=1)
                counts = self._counts[name]
                if len(top) == 1:
                    counts[top[0]] += 1
                else:
                    counts += np.bincount(top, minlength=len(counts))
            for i, name in self._labels:
                values = outputs[i].reshape(-1)
                place = np.where((values >= 0) & (values < MAX_CLASSES), values, MAX_CLASSES)
                self._counts[name] += np.bincount(place.astype(np.int64), minlength=MAX_CLASSES + 1)
        return bad

    def collect(self, labels: dict[str, str]) -> Iterator[Metric]:
        """The families, for prometheus-client."""
        keys, values = list(labels), list(labels.values())
        with self._lock:
            counts = {name: array.copy() for name, array in self._counts.items()}
            invalid = self._invalid
        predictions = CounterMetricFamily(
            "slipway_server_predictions",
            "Rows answered, by output and class (of the largest value, or the value itself).",
            labels=[*keys, "output", "class"],
        )
        for name, array in counts.items():
            for index in np.flatnonzero(array):
                label = OTHER if index == len(array) - 1 else str(index)
                predictions.add_metric([*values, name, label], int(array[index]))
        yield predictions
        rows = CounterMetricFamily(
            "slipway_server_invalid_rows", "Rows answered with a NaN or an infinite number.", labels=keys
        )
        rows.add_metric(values, invalid)
        yield rows

    def _invalid_rows(self, outputs: list[Array]) -> Array | None:
        """Whether each row is no answer; None if each is one. Outputs of unlike lengths count as one row."""
        bad: Array | None = None
        for i in self._floats:
            array = outputs[i]
            rows: Array = np.logical_not(np.isfinite(array.reshape(len(array) if array.ndim else 1, -1)).all(axis=1))
            if bad is not None:
                rows = bad | rows if len(bad) == len(rows) else np.array([bad.any() or rows.any()])
            bad = rows
        return bad if bad is not None and bad.any() else None


class Exposition:
    """The text behind ``GET /metrics``: the model's families, and those of the process."""

    def __init__(self, metrics: ServerMetrics) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(metrics)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def render(self, accept: str) -> tuple[str, bytes]:
        """Content type and body, in the format the scraper asks for."""
        encode, content_type = exposition.choose_encoder(accept)
        return content_type, encode(self._registry)
