"""What import-linter's contracts (``.importlinter``) cannot say about the rooms."""

from __future__ import annotations

import ast
import configparser
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kopf
import pytest

from slipway.datasets import handlers as datasets_handlers
from slipway.kube.objects import BY_TYPE, Key
from slipway.kube.wake import watch
from slipway.registry import handlers as registry_handlers
from slipway.registry.reproductions import Runs
from slipway.serving import handlers as serving_handlers
from slipway.settings import Settings
from slipway.training import handlers as training_handlers

REPOSITORY = Path(__file__).parents[2]
OPERATOR = REPOSITORY / "operator" / "slipway"
ROOMS = ("datasets", "training", "registry", "serving")
SPEAKS = {"__init__.py", "observe.py", "handlers.py", "progress.py", "eyes.py", "pods.py", "prometheus.py"}
"""The files of a room that are not pure: what reads, what is called by Kopf, what asks pods for progress or counters,
and what asks Prometheus."""
IMPURE = {"asyncio", "time", "random", "secrets", "uuid", "socket", "os", "subprocess", "logging"}
CLOCKS = {"now", "utcnow", "today"}


def pure_files() -> Iterator[Path]:
    for room in ROOMS:
        yield from (f for f in sorted((OPERATOR / room).rglob("*.py")) if f.name not in SPEAKS)
    yield from (
        OPERATOR / name for name in ("pods.py", "podfacts.py", "kube/plan.py", "kube/objects.py", "kube/drift.py")
    )


def _name(path: Path) -> str:
    return str(path.relative_to(OPERATOR))


@pytest.mark.parametrize("path", list(pure_files()), ids=_name)
def test_what_chooses_reads_nothing_but_its_arguments(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            assert not IMPURE & {n.split(".")[0] for n in names}, f"{_name(path)}:{node.lineno}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in CLOCKS, f"{_name(path)}:{node.lineno} asks a clock; take `now` as an argument"
        else:
            assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), f"{_name(path)} waits for something"


@pytest.mark.parametrize("path", sorted(OPERATOR.rglob("*.py")), ids=_name)
def test_no_module_holds_state(path: Path) -> None:
    """No ``global``, and no name of a module that is an empty container waiting to be filled."""
    tree = ast.parse(path.read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Global)]
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        empty = isinstance(value, ast.Dict | ast.List) and not (
            value.keys if isinstance(value, ast.Dict) else value.elts
        )
        assert not empty, f"{_name(path)}:{node.lineno}"


def test_each_room_has_the_four_doors() -> None:
    for room in ROOMS:
        assert {"observe.py", "decide.py", "children.py", "handlers.py"} <= {
            f.name for f in (OPERATOR / room).iterdir()
        }


def test_the_contracts_hold() -> None:
    """The same that `make verify` runs; here so that `make test-unit` finds it too."""
    path = os.pathsep.join(str(REPOSITORY / p) for p in ("operator", "images/trainer", "images/server"))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    config = configparser.ConfigParser()
    config.read(REPOSITORY / ".importlinter")
    contracts = [s for s in config.sections() if s.startswith("importlinter:contract:")]
    assert f"Contracts: {len(contracts)} kept, 0 broken." in done.stdout


def _handlers() -> Iterator[kopf._core.intents.handlers.ResourceHandler]:  # type: ignore[name-defined]
    registry = kopf.OperatorRegistry()
    for room in (datasets_handlers, training_handlers):
        room.register(registry, _nobody)
    registry_handlers.register(registry, _nobody, Runs())
    options = Settings(namespace="slipway", identity="pod-1", trainer_image="t:1", server_image="s:1")
    eyes = serving_handlers.eyes(options)
    serving_handlers.register(registry, _nobody, eyes)
    assert eyes.wake is _nobody, "an answer that comes late wakes nobody"
    for store in vars(registry).values():
        handlers = getattr(store, "_handlers", ())
        yield from handlers


def _nobody(key: Key) -> None:
    raise AssertionError(f"nothing happened, and {key} was woken")


def test_kopf_is_told_group_version_and_plural() -> None:
    """By a bare name, Kopf would take ``deployments`` for two kinds and serve neither, with no more than a warning."""
    known = {(r.group, r.version, r.plural) for r in BY_TYPE.values()}
    handlers = list(_handlers())
    assert len(handlers) >= 13, "the walk finds no handlers: Kopf's registry looks different now"
    for handler in handlers:
        chosen = handler.selector
        assert chosen is not None, handler.id
        # A third positional word is any of a kind's names, but within that group and version.
        name = chosen.plural or chosen.any_name
        assert (chosen.group, chosen.version, name) in known, f"{handler.id}: {chosen}"


def test_kopf_only_watches() -> None:
    """No handler that stores annotations, adds finalizers or keeps state of its own: events and nothing else."""
    registry = kopf.OperatorRegistry()
    watch(registry, next(iter(BY_TYPE.values())), lambda _obj, _deleted: None, name="probe")
    (probe,) = (h for store in vars(registry).values() for h in getattr(store, "_handlers", ()))
    assert {type(h) for h in _handlers()} == {type(probe)}


def test_kopf_knows_each_handler_by_its_own_name() -> None:
    names = [h.id for h in _handlers()]
    assert len(names) == len(set(names))
