"""A nested state as one safetensors file, and back; nothing is pickled. Imports torch.

Tensors lie in the file under the names "0", "1" ...; the file's metadata holds, under ``slipway``, a JSON tree that
says where each stands:

    {"dict": [[key, node], ...]}   keys are JSON scalars, so the whole numbers of an optimizer's state stay such
    {"list": [node, ...]}  {"tuple": [node, ...]}  {"tensor": "0"}  {"value": scalar}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from . import failures
from .checkpoint import State
from .failures import TrainerError

_METADATA: Final = "slipway"
_SCALARS: Final = (str, int, float, bool, type(None))


class SafetensorsCodec:
    """``checkpoint.Codec`` for torch."""

    def encode(self, state: State, path: Path) -> None:
        tensors: dict[str, torch.Tensor] = {}
        tree = _take_apart(state, "state", tensors)
        save_file(tensors, path, metadata={_METADATA: json.dumps(tree)})

    def decode(self, path: Path) -> State:
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                tree = json.loads((file.metadata() or {}).get(_METADATA, "null"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            state: State = _put_together(tree, tensors)
        except (SafetensorError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a checkpoint of Slipway: {error!r}") from None
        return state


def save_weights(weights: dict[str, torch.Tensor], path: Path) -> None:
    """A module's ``state_dict()`` as a plain safetensors file under its own names."""
    save_file({name: _alone(tensor) for name, tensor in weights.items()}, path)


def _take_apart(value: Any, where: str, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = _alone(value, where)
        return {"tensor": name}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, _SCALARS):
                raise _refuse(f"{where}[{key!r}]", f"its key is of type {type(key).__name__}")
        return {"dict": [[key, _take_apart(item, f"{where}[{key!r}]", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_take_apart(item, f"{where}[{i}]", tensors) for i, item in enumerate(value)]}
    if type(value) in _SCALARS:  # not isinstance: an enum or a numpy float would not come back as what it was
        return {"value": value}
    raise _refuse(where, f"it is of type {type(value).__module__}.{type(value).__name__}")


def _alone(tensor: torch.Tensor, where: str = "model.state_dict()") -> torch.Tensor:
    """A copy on the CPU with memory of its own: safetensors refuses tensors that share it."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise _refuse(where, "it is a sparse or quantized tensor")
    return tensor.detach().to("cpu", copy=True).contiguous()


def _refuse(where: str, why: str) -> TrainerError:
    return TrainerError(
        failures.CHECKPOINT_REFUSED,
        f"the checkpoint cannot hold {where}: {why}; give tensors, numbers, text, booleans and None in dicts and lists "
        f"(torch.from_numpy makes a tensor of an array), because nothing is pickled",
    )


def _put_together(node: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _put_together(item, tensors) for key, item in content}
    if kind in ("list", "tuple"):
        items = [_put_together(item, tensors) for item in content]
        return items if kind == "list" else tuple(items)
    return content
