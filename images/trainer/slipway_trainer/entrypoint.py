"""Finds the user's training function, calls it, and tells in a sentence what went wrong."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from . import failures
from .context import Context, TrainedModel
from .failures import TrainerError

log = logging.getLogger(__name__)

TRACEBACK_LINES: Final = 12
"""Last lines of the user's traceback that a failure's sentence holds; the whole goes to the log."""
_LIST_LIMIT: Final = 20
_NOT_THE_USERS: Final = (str(Path(__file__).parent), str(Path(importlib.__file__).parent), "<frozen importlib")
"""Files whose frames say nothing to the user: the trainer's own, and those of importing."""


def load(entrypoint: str, code: Path) -> Callable[[Context], object]:
    """The function that ``module:function`` names, from the mounted code or else the image's own path.

    Raises:
        TrainerError: no such module or function, not Python, or the module raises when it is imported.
    """
    module_name, colon, function_name = entrypoint.partition(":")
    if not colon or not function_name.isidentifier() or not all(p.isidentifier() for p in module_name.split(".")):
        raise TrainerError(
            failures.SPEC_INVALID, f"spec.entrypoint is {entrypoint!r}: write MODULE:FUNCTION, such as train:main"
        )
    if code.is_dir():
        sys.path.insert(0, str(code))
    module = _import(module_name, code)
    function = getattr(module, function_name, None)
    if not callable(function) or inspect.iscoroutinefunction(function):
        has = [name for name, value in vars(module).items() if _is_own_function(module, name, value)]
        why = "is async, which a training function cannot be" if callable(function) else "does not exist"
        raise TrainerError(
            failures.ENTRYPOINT_NOT_FOUND,
            f"the function {function_name!r} of spec.entrypoint {why}; module {module_name!r} has {_names(has)}",
        )
    found: Callable[[Context], object] = function
    return found


def call(function: Callable[[Context], object], context: Context, code: Path) -> TrainedModel:
    """Run the training; what the code raises becomes a failure with the end of its traceback."""
    try:
        returned = function(context)
    except TrainerError:
        raise
    except (Exception, SystemExit) as error:
        raise raised(error, code) from error
    if not isinstance(returned, TrainedModel):
        raise TrainerError(
            failures.RETURN_INVALID,
            f"the training function returned {type(returned).__name__}: return "
            f"slipway_trainer.TrainedModel(model, example=(x[:2],), inputs=['x'], outputs=['y'], metrics={{...}})",
        )
    if not isinstance(returned.metrics, Mapping):
        raise TrainerError(
            failures.RETURN_INVALID,
            f'TrainedModel: metrics is of type {type(returned.metrics).__name__}: give a dict, {{"accuracy": 0.97}}',
        )
    return returned


def raised(error: BaseException, code: Path) -> TrainerError:
    """A failure with the last lines of the traceback, from the user's first frame on."""
    traceback.print_exception(error)
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)]
    lines = "".join([*traceback.format_list(users), *traceback.format_exception_only(error)]).splitlines()
    place = ""
    mounted = [frame for frame in users if frame.filename.startswith(str(code))]
    if mounted:
        place = f" at {Path(mounted[-1].filename).relative_to(code)} line {mounted[-1].lineno}"
    tail = "\n".join(lines[-TRACEBACK_LINES:])
    return TrainerError(
        failures.CODE_RAISED, f"the training code raised {type(error).__name__}{place}; its last lines:\n{tail}"
    )


def _import(name: str, code: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise TrainerError(failures.ENTRYPOINT_NOT_FOUND, _no_module(name, code)) from None
        traceback.print_exception(error)
        raise TrainerError(
            failures.MODULE_MISSING,
            f"the training code imports {error.name!r}, which the image does not hold: name in spec.image one that "
            f"has it, or leave it out",
        ) from None
    except SyntaxError as error:
        traceback.print_exception(error, limit=0)
        where = Path(error.filename or "?").name
        text = (error.text or "").strip()
        raise TrainerError(
            failures.CODE_SYNTAX_ERROR, f"{where} line {error.lineno} is not valid Python ({error.msg}): {text}"
        ) from None
    except TrainerError:
        raise
    except (Exception, SystemExit) as error:
        raise raised(error, code) from error


def _no_module(name: str, code: Path) -> str:
    files = sorted(path.stem for path in code.glob("*.py")) if code.is_dir() else []
    where = f"the mounted code has {_names(files)}" if files else "spec.code has no Python file at its top"
    return f"there is no module {name!r} for spec.entrypoint: {where}, and the image's Python has none of that name"


def _is_own_function(module: ModuleType, name: str, value: Any) -> bool:
    return not name.startswith("_") and inspect.isfunction(value) and value.__module__ == module.__name__


def _names(names: list[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:_LIST_LIMIT])
    return f"{shown} and {len(names) - _LIST_LIMIT} more" if len(names) > _LIST_LIMIT else shown
