"""Checkpoints of torch: what goes in comes out, and nothing is pickled."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slipway_trainer.failures import TrainerError
from slipway_trainer.tensors import SafetensorsCodec, load_weights, save_weights

CODEC = SafetensorsCodec()


def through(state: Any, tmp_path: Path) -> Any:
    CODEC.encode(state, tmp_path / "state.safetensors")
    return CODEC.decode(tmp_path / "state.safetensors")


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return (
            list(a) == list(b)
            and all(type(x) is type(y) for x, y in zip(a, b, strict=True))
            and all(same(a[key], b[key]) for key in a)
        )
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_an_optimizer_goes_on_exactly_where_it_was(tmp_path: Path, kind: Any) -> None:
    """The whole numbers that are keys of its state stay whole numbers."""

    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        return model, kind(model.parameters(), lr=0.01, weight_decay=0.01)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            x = torch.randn(6, 4, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()

    whole, whole_optimizer = make()
    train(whole, whole_optimizer, range(6))

    first, first_optimizer = make()
    train(first, first_optimizer, range(3))
    state = through({"model": first.state_dict(), "optimizer": first_optimizer.state_dict(), "step": 3}, tmp_path)
    second, second_optimizer = make()
    second.load_state_dict(state["model"])
    second_optimizer.load_state_dict(state["optimizer"])
    train(second, second_optimizer, range(state["step"], 6))

    assert same(dict(whole.state_dict()), dict(second.state_dict()))


def test_nested_states_come_back_as_they_were(tmp_path: Path) -> None:
    state = {
        "epoch": 3,
        "rate": 1e-3,
        "best": float("inf"),
        "name": "mlp",
        "done": False,
        "none": None,
        "empty": {"list": [], "tuple": (), "dict": {}},
        "betas": (0.9, 0.999),
        "rows": [torch.arange(3), {"deep": torch.ones(2, 2, dtype=torch.bfloat16)}],
        "scalar": torch.tensor(2.5),
        "half": torch.ones(3, dtype=torch.float16),
        "flags": torch.tensor([True, False]),
        0: {1: "whole numbers", 2.5: "and others", None: "as keys", False: "too"},
        "random": torch.get_rng_state(),
    }
    assert same(state, through(state, tmp_path))
    assert same([1, [2]], through([1, [2]], tmp_path))
    assert same({"a": 1}, through(OrderedDict(a=1), tmp_path))


def test_tensors_that_share_memory_are_stored_each_for_itself(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    state = through({"base": base, "view": base[0], "transposed": base.t(), "again": base}, tmp_path)
    assert same(state, {"base": base, "view": base[0], "transposed": base.t().contiguous(), "again": base})
    state["base"][0, 0] = 9
    assert state["view"][0] == 0


def test_a_state_is_what_it_was_when_it_was_saved(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(2))
    CODEC.encode({"weight": weight}, tmp_path / "state.safetensors")
    weight.data.fill_(5)
    restored: Any = CODEC.decode(tmp_path / "state.safetensors")
    assert same(restored, {"weight": torch.ones(2)})
    assert not restored["weight"].requires_grad


class Colour(Enum):
    RED = 1


class Evil:
    def __reduce__(self) -> Any:
        raise AssertionError("somebody pickles")


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"a": {"b": [1, Evil()]}}, "state['a']['b'][1]: it is of type"),
        ({"a": np.ones(2)}, "state['a']: it is of type numpy.ndarray"),
        ({"a": np.float64(1)}, "state['a']: it is of type numpy.float64"),
        ({"a": Colour.RED}, "state['a']: it is of type"),
        ({"a": b"bytes"}, "state['a']: it is of type builtins.bytes"),
        ({"a": {1, 2}}, "state['a']: it is of type builtins.set"),
        ({(1, 2): 3}, "its key is of type tuple"),
        ({"a": torch.ones(2, 2).to_sparse()}, "state['a']: it is a sparse or quantized tensor"),
    ],
)
def test_anything_else_is_refused_by_its_key(tmp_path: Path, state: Any, where: str) -> None:
    with pytest.raises(TrainerError) as caught:
        CODEC.encode(state, tmp_path / "state.safetensors")
    assert (caught.value.reason.name, caught.value.reason.again) == ("CheckpointRefused", False)
    assert where in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_another_file_is_not_taken_for_a_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match="not a checkpoint"):
        CODEC.decode(tmp_path / "x")


def net(width: int, outputs: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, outputs))


def test_weights_of_a_module_are_loaded_into_another(tmp_path: Path) -> None:
    old, new = net(8), net(8)
    save_weights(old.state_dict(), tmp_path / "digits-v1.safetensors")
    assert load_weights(tmp_path / "digits-v1.safetensors", new, strict=True) == []
    assert same(dict(old.state_dict()), dict(new.state_dict()))


def test_weights_that_do_not_fit_are_told_by_name_and_what_fits_is_taken_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "digits-v1.safetensors"
    old, other = net(8), net(8, outputs=3)
    save_weights(old.state_dict(), path)
    with pytest.raises(TrainerError) as caught:
        load_weights(path, other, strict=True)
    assert caught.value.reason.name == "WeightsDoNotFit"
    assert "2.weight is [2, 8] in the weights and [3, 8] here" in str(caught.value)
    assert load_weights(path, other, strict=False) == ["2.weight", "2.bias"]
    assert torch.equal(other.state_dict()["0.weight"], old.state_dict()["0.weight"])
    with pytest.raises(TrainerError, match="weight is not in the weights"):
        load_weights(path, nn.Linear(3, 3), strict=False)
    path.write_bytes(b"no safetensors")
    with pytest.raises(TrainerError, match="are no safetensors file"):
        load_weights(path, old, strict=True)
