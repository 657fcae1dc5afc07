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
from safetensors.torch import load_file, save_file

from . import failures
from .checkpoint import State
from .failures import TrainerError

_METADATA: Final = "slipway"
_NAMED: Final = 4
"""Tensors that a sentence names."""
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


def load_weights(path: Path, module: torch.nn.Module, strict: bool) -> list[str]:
    """Give a module the tensors of a file that ``save_weights`` wrote; the names that were left as they are.

    Raises:
        TrainerError: the file cannot be read, or it does not fit (``strict``: in any name or shape; else: in all).
    """
    if not isinstance(module, torch.nn.Module):
        raise TrainerError(
            failures.WEIGHTS_DO_NOT_FIT,
            f"load_weights takes a torch.nn.Module, not one of type {type(module).__name__}",
        )
    try:
        given = load_file(path)
    except SafetensorError as error:
        raise TrainerError(
            failures.WEIGHTS_DO_NOT_FIT, f"the weights of {path.stem} are no safetensors file ({error})"
        ) from None
    wanted = {name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    shapes = [name for name in wanted if name in given and wanted[name].shape != given[name].shape]
    left = [name for name in wanted if name not in given or name in shapes]
    unused = [name for name in given if name not in wanted]
    if (strict and (left or unused)) or len(left) == len(wanted):
        told = [
            f"{name} is {list(given[name].shape)} in the weights and {list(wanted[name].shape)} here" for name in shapes
        ]
        told += [f"{name} is not in the weights" for name in left if name not in shapes]
        told += [f"{name} is not in the module" for name in unused]
        more = f", and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
        raise TrainerError(
            failures.WEIGHTS_DO_NOT_FIT,
            f"the weights of {path.stem} do not fit the module ({'; '.join(told[:_NAMED])}{more}): build the same "
            f"module, or take what fits with load_weights(module, strict=False)",
        )
    module.load_state_dict({name: given[name] for name in wanted if name not in left}, strict=False)
    return left


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
