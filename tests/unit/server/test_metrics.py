"""What is counted, as a scraper reads it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from slipway.contract import Signature, Tensor
from slipway_server.metrics import SECONDS, Buckets, Exposition, Predictions, ServerMetrics
from slipway_server.signature import MAX_CLASSES, Array, Plan


def scrape(metrics: ServerMetrics) -> dict[tuple[str, ...], float]:
    content_type, body = Exposition(metrics).render("text/plain")
    assert content_type.startswith("text/plain")
    return {
        (sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()) if k not in ("model", "version"))): (
            sample.value
        )
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def server_metrics(outputs: list[Tensor] | None = None) -> ServerMetrics:
    metrics = ServerMetrics(model="m", version="3")
    if outputs is not None:
        metrics.predictions = Predictions(Plan.of(Signature([Tensor("x", "FP32", [-1])], outputs)))
    return metrics


def test_every_family_says_model_and_version() -> None:
    metrics = server_metrics([Tensor("y", "FP32", [-1, 2])])
    metrics.answered(200, 0.01)
    metrics.info = {"digest": "sha256:0"}
    metrics.gauges["ready"] = ("1 if ready.", lambda: 1.0)
    _, body = Exposition(metrics).render("")
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            if sample.name.startswith("slipway_"):
                assert (sample.labels["model"], sample.labels["version"]) == ("m", "3")


def test_requests_by_code_and_their_latency() -> None:
    metrics = server_metrics()
    for code, seconds in ((200, 0.0004), (200, 0.05), (503, 0.051), (504, 99.0)):
        metrics.answered(code, seconds)
    found = scrape(metrics)
    assert found["slipway_server_requests_total", "code=200"] == 2
    assert found["slipway_server_requests_total", "code=503"] == 1
    buckets = {k[1]: v for k, v in found.items() if k[0] == "slipway_server_request_seconds_bucket"}
    assert (buckets["le=0.0005"], buckets["le=0.05"], buckets["le=0.075"], buckets["le=+Inf"]) == (1, 2, 3, 4)
    assert found[("slipway_server_request_seconds_count",)] == 4


def test_a_value_at_an_edge_belongs_to_it() -> None:
    buckets = Buckets((1.0, 2.0))
    buckets.add(1.0)
    assert buckets.counts == [1, 0, 0]


def test_the_edges_have_what_people_write_and_no_wide_gap() -> None:
    assert {0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0} <= set(SECONDS)
    assert all(1 < b / a <= 2 for a, b in pairwise(SECONDS))


def test_batches_and_the_time_in_the_queue() -> None:
    metrics = server_metrics()
    metrics.batch(3, [0.0, 0.04])
    found = scrape(metrics)
    assert found["slipway_server_batch_rows_bucket", "le=4.0"] == 1
    assert found[("slipway_server_batch_rows_sum",)] == 3
    assert found[("slipway_server_queue_seconds_count",)] == 2


def predictions(outputs: list[Tensor], *batches: list[Array]) -> dict[tuple[str, ...], float]:
    metrics = server_metrics(outputs)
    for batch in batches:
        metrics.outputs(batch)
    return {k[1:]: v for k, v in scrape(metrics).items() if k[0] == "slipway_server_predictions_total"}


def test_the_top_class_of_each_row_is_counted() -> None:
    batches = [np.array([[0, 9, 1]]), np.array([[5, 0, 0], [0, 0, 7], [8, 0, 0]])]
    counted = predictions([Tensor("y", "FP32", [-1, 3])], *([b.astype(np.float32)] for b in batches))
    assert counted == {("class=0", "output=y"): 2, ("class=1", "output=y"): 1, ("class=2", "output=y"): 1}


@pytest.mark.parametrize("shape", [[-1], [-1, 1]])
def test_integers_are_classes_and_labels_are_bounded(shape: list[int]) -> None:
    values = np.array([0, 7, 7, MAX_CLASSES, -1, 2**40]).reshape([6, *shape[1:]])
    assert predictions([Tensor("label", "INT64", shape)], [values]) == {
        ("class=0", "output=label"): 1,
        ("class=7", "output=label"): 2,
        ("class=other", "output=label"): 3,
    }


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("y", "FP32", [-1, MAX_CLASSES + 1]),
        Tensor("y", "FP32", [-1, 1]),
        Tensor("y", "FP32", [-1, -1]),
        Tensor("y", "FP32", [-1, 3, 3]),
        Tensor("y", "FP32", [3]),
        Tensor("y", "BYTES", [-1]),
    ],
    ids=["too many classes", "a number", "any size", "an image", "no batch", "a text"],
)
def test_what_is_no_classifier_is_not_counted(tensor: Tensor) -> None:
    size = [2 if d == -1 else d for d in tensor.shape]
    array = np.full(size, "", dtype=object) if tensor.datatype == "BYTES" else np.zeros(size, dtype=np.float32)
    assert predictions([tensor], [array]) == {}


def test_rows_that_are_no_answer_are_counted() -> None:
    metrics = server_metrics([Tensor("y", "FP32", [-1, 2]), Tensor("z", "FP64", [-1])])
    y = np.array([[1, 2], [np.nan, 0], [0, 0], [np.inf, -np.inf]], dtype=np.float32)
    metrics.outputs([y, np.array([0.0, 0, np.nan, 0])])
    metrics.outputs([y[:1], np.array([1.0])])
    assert scrape(metrics)[("slipway_server_invalid_rows_total",)] == 3


def test_a_batch_says_which_of_its_rows_are_no_answer() -> None:
    metrics = server_metrics([Tensor("y", "FP32", [-1, 2]), Tensor("z", "FP64", [-1])])
    y = np.array([[1, 2], [np.nan, 0], [0, 0]], dtype=np.float32)
    assert metrics.outputs([y[:1], np.zeros(1)]) is None
    bad = metrics.outputs([y, np.array([0.0, 0, np.inf])])
    assert bad is not None
    assert bad.tolist() == [False, True, True]
    unlike = metrics.outputs([y, np.array([0.0])])  # rows that do not line up are one answer
    assert unlike is not None
    assert unlike.tolist() == [True]


def test_large_finite_numbers_are_no_fault() -> None:
    metrics = server_metrics([Tensor("y", "FP32", [-1, 2])])
    metrics.outputs([np.full((2, 2), 3e38, dtype=np.float32)])
    assert scrape(metrics)[("slipway_server_invalid_rows_total",)] == 0
