"""A model that was made once more beside the registered one: bytes first, then answers and metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from slipway.contract import Artifact, Metric, ReproduceSpec, Reproduction, Signature, Tensor
from slipway_trainer import failures
from slipway_trainer.failures import TrainerError
from slipway_trainer.fake_store import MemoryStore
from slipway_trainer.manifest import file_digest
from slipway_trainer.reproduce import ROWS, compare, made_up
from slipway_trainer.signature import open_model, signature_of
from slipway_trainer.store import Place, Store
from slipway_trainer.trained import Trained
from tests.support import onnx_models
from tests.unit.trainer.helpers import PLACE

# `#` and `?` are letters of a key like others (contract.split_s3).
KEY = "digits/#3?/model.onnx"


def scaled(by: float, kind: int = onnx.TensorProto.FLOAT, dtype: Any = np.float32) -> onnx.ModelProto:
    """y = by * x: how far two answers are apart is known exactly."""
    nodes = [helper.make_node("Mul", ["x", "by"], ["y"])]
    names: dict[int, str] = {onnx.TensorProto.FLOAT: "FP32", onnx.TensorProto.INT64: "INT64"}
    signature = Signature([Tensor("x", names[kind], [-1, 4])], [Tensor("y", names[kind], [-1, 4])])
    return onnx_models.make(nodes, signature, [numpy_helper.from_array(np.array(by, dtype=dtype), "by")])


class Bench:
    """The registered model in a place in memory, and the new one on the disk."""

    def __init__(self, folder: Path, then: onnx.ModelProto, now: onnx.ModelProto) -> None:
        self.store = MemoryStore("models")
        self.store.buckets["models"][KEY] = then.SerializeToString()
        self.scratch = folder / "original"
        self.model = folder / "model.onnx"
        self.model.write_bytes(now.SerializeToString())
        before = folder / "before.onnx"
        before.write_bytes(then.SerializeToString())
        self.artifact = Artifact(f"s3://models/{KEY}", file_digest(before), before.stat().st_size)
        self.opened = 0

    def open(self, name: str) -> tuple[Place, Store]:
        assert name == "default"
        self.opened += 1
        return PLACE, self.store

    def compare(
        self,
        *,
        then: Mapping[str, str] | None = None,
        now: Mapping[str, float] | None = None,
        example: Mapping[str, Any] | None = None,
        absolute: str = "0.01",
        relative: str = "0",
        cut: int = 0,
    ) -> Reproduction:
        metrics = [Metric(name, value) for name, value in (then or {}).items()]
        asked = ReproduceSpec("digits-v1", "uid", self.artifact, metrics, cut, absolute, relative)
        signature = signature_of(open_model(self.model))
        found = compare(asked, Trained(self.model, signature, now or {}, example=example), self.open, self.scratch)
        assert not self.scratch.exists()
        assert (found.modelVersion, found.uid) == ("digits-v1", "uid")
        return found


def whats(found: Reproduction) -> dict[str, str]:
    return {d.what: d.message for d in found.differs}


def test_the_same_bytes_are_identical_and_nothing_is_fetched(tmp_path: Path) -> None:
    bench = Bench(tmp_path, scaled(2), scaled(2))
    found = bench.compare(then={"accuracy": "0.97"}, now={"accuracy": 0.97})
    assert (found.verdict, found.differs, bench.opened) == ("Identical", [], 0)
    # the bytes decide; a metric that was measured otherwise is told all the same
    found = bench.compare(then={"seconds": "10"}, now={"seconds": 12.5})
    assert (found.verdict, whats(found)) == ("Identical", {"metrics": "the metrics: seconds 10.0 then, 12.5 now"})


def test_other_bytes_that_answer_alike_are_within_the_tolerance(tmp_path: Path) -> None:
    bench = Bench(tmp_path, scaled(1), scaled(1.001))
    rows = {"x": np.full((3, 4), 4, dtype=np.float32)}
    found = bench.compare(example=rows, then={"accuracy": "0.97"}, now={"accuracy": 0.9705})
    assert found.verdict == "WithinTolerance"
    assert found.rows == 3
    assert float(found.maxAbsDiff or "nan") == pytest.approx(0.004, rel=1e-2)
    assert set(whats(found)) == {"artifact"}
    assert bench.artifact.digest in whats(found)["artifact"]


def test_answers_beyond_the_tolerance_are_different_and_it_says_by_how_much(tmp_path: Path) -> None:
    bench = Bench(tmp_path, scaled(1), scaled(2))
    found = bench.compare(example={"x": np.full((2, 4), 4, dtype=np.float32)})
    assert found.verdict == "Different"
    assert whats(found)["outputs"] == (
        "the answers over 2 rows differ, and 0.01 + 0 of the value is allowed: y by up to 4"
    )


def test_the_relative_part_is_of_the_originals_value(tmp_path: Path) -> None:
    bench = Bench(tmp_path, scaled(1), scaled(1.5))
    rows = {"x": np.full((2, 4), 100, dtype=np.float32)}
    assert bench.compare(example=rows, absolute="0", relative="0.5").verdict == "WithinTolerance"
    assert bench.compare(example=rows, absolute="0", relative="0.49").verdict == "Different"


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        ({"accuracy": "0.97"}, {"accuracy": 0.9}, "the metrics: accuracy 0.97 then, 0.9 now"),
        ({"accuracy": "0.97"}, {}, "the metrics: accuracy 0.97 then, none now"),
        ({}, {"f1": 0.5}, "the metrics: f1 none then, 0.5 now"),
    ],
)
def test_a_metric_beyond_the_tolerance_is_different(
    tmp_path: Path, then: dict[str, str], now: dict[str, float], words: str
) -> None:
    bench = Bench(tmp_path, scaled(1), scaled(1.0001))
    found = bench.compare(then=then, now=now)
    assert (found.verdict, whats(found)["metrics"]) == ("Different", words)


def test_many_metrics_are_cut(tmp_path: Path) -> None:
    bench = Bench(tmp_path, scaled(1), scaled(1))
    told = whats(bench.compare(now={f"m{i}": 1.0 for i in range(9)}))["metrics"]
    assert told.endswith(" and 5 more")


def test_metrics_that_were_not_kept_are_not_compared(tmp_path: Path) -> None:
    bench = Bench(tmp_path, scaled(1), scaled(1.0001))
    assert bench.compare(then={"a": "1"}, now={"a": 1.0, "b": 2.0}, cut=1).verdict == "WithinTolerance"
    assert bench.compare(then={"a": "1"}, now={"b": 2.0}, cut=1).verdict == "Different"


def test_whole_numbers_are_compared_by_their_value(tmp_path: Path) -> None:
    then, now = (scaled(by, onnx.TensorProto.INT64, np.int64) for by in (1, 2))
    bench = Bench(tmp_path, then, now)
    found = bench.compare(example={"x": np.array([[0, 1, 2, 3]])}, absolute="2")
    assert (found.verdict, found.maxAbsDiff) == ("Different", "3.0")
    assert bench.compare(example={"x": np.array([[0, 1, 2, 2]])}, absolute="2").verdict == "WithinTolerance"


def test_a_file_that_was_tampered_with_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path, scaled(1), scaled(1.0001))
    bench.store.buckets["models"][KEY] += b"\0"
    found = bench.compare()
    assert found.verdict == "Different"
    assert f"the file at s3://models/{KEY} was changed: it has sha256:" in whats(found)["outputs"]


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path, scaled(1), scaled(1.0001))
    del bench.store.buckets["models"][KEY]
    assert f"nothing lies at s3://models/{KEY} any more" in whats(bench.compare())["outputs"]


def test_a_store_that_is_down_is_asked_again_by_the_next_attempt(tmp_path: Path) -> None:
    class Down(MemoryStore):
        def read(self, bucket: str, key: str, etag: str = "") -> Iterator[bytes]:
            raise TrainerError(failures.STORE_UNREACHABLE, "nothing answers")

    bench = Bench(tmp_path, scaled(1), scaled(2))
    bench.store = Down("models")
    with pytest.raises(TrainerError, match="nothing answers"):
        bench.compare()
    assert not bench.scratch.exists()


def test_other_inputs_cannot_be_compared(tmp_path: Path) -> None:
    bench = Bench(tmp_path, onnx_models.digits(), scaled(1))
    assert "the two files have different inputs or outputs" in whats(bench.compare())["outputs"]


def test_rows_that_are_made_up_are_the_same_each_time_and_fit_the_signature() -> None:
    signature = Signature(
        [
            Tensor("a", "FP16", [-1, 3, -1]),
            Tensor("b", "UINT8", [-1]),
            Tensor("c", "BOOL", [-1, 2]),
            Tensor("d", "INT64", [-1, 1]),
        ],
        [],
    )
    rows, again = made_up(signature), made_up(signature)
    assert {name: (each.shape, str(each.dtype)) for name, each in rows.items()} == {
        "a": ((ROWS, 3, 4), "float16"),
        "b": ((ROWS,), "uint8"),
        "c": ((ROWS, 2), "bool"),
        "d": ((ROWS, 1), "int64"),
    }
    assert all((rows[name] == again[name]).all() for name in rows)


def test_text_cannot_be_made_up(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    signature = Signature([Tensor("x", "BYTES", [-1, 1])], [Tensor("y", "BYTES", [-1, 1])])
    then = onnx_models.make(nodes, signature)
    now = onnx_models.make(nodes, signature)
    now.producer_name = "another"
    bench = Bench(tmp_path, then, now)
    assert "nobody can make up text for 'x'" in whats(bench.compare())["outputs"]
    words = {"x": np.array([["a"], ["b"]], dtype=object)}
    assert bench.compare(example=words).verdict == "WithinTolerance"
