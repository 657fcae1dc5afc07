"""The user's function is found, called, and its faults are told in words that help."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway_trainer import entrypoint, failures
from slipway_trainer.checkpoint import Checkpoints
from slipway_trainer.context import Context, TrainedModel
from slipway_trainer.failures import TrainerError
from slipway_trainer.fake_store import MemoryStore
from slipway_trainer.progress import ProgressBoard
from tests.unit.trainer.helpers import JsonCodec


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    """Each test's modules are its own."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    saved = Checkpoints(MemoryStore("models"), "models", "folder", tmp_path / "scratch", JsonCodec(), "pod")
    return Context(
        data={"train": tmp_path / "data"},
        parameters={"epochs": "3"},
        seed=7,
        device="cpu",
        checkpoints=saved,
        board=ProgressBoard(),
    )


def code(tmp_path: Path, **modules: str) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def failure(tmp_path: Path, name: str, context: Context | None = None, **modules: str) -> TrainerError:
    folder = code(tmp_path, **modules)
    with pytest.raises(TrainerError) as caught:
        function = entrypoint.load(name, folder)
        entrypoint.call(function, context, folder)  # type: ignore[arg-type]  # not reached where there is none
    return caught.value


GOOD = """
from slipway_trainer import TrainedModel
def main(context):
    return TrainedModel("model", ("x",), ["x"], ["y"], {"accuracy": 0.5})
"""


def test_the_function_is_found_in_the_mounted_code(tmp_path: Path, context: Context) -> None:
    folder = code(tmp_path, job_a=GOOD)
    returned = entrypoint.call(entrypoint.load("job_a:main", folder), context, folder)
    assert returned == TrainedModel("model", ("x",), ["x"], ["y"], {"accuracy": 0.5})


def test_the_image_may_hold_the_code(tmp_path: Path) -> None:
    assert entrypoint.load("json:dumps", tmp_path / "absent") is __import__("json").dumps


@pytest.mark.parametrize(
    ("name", "modules", "reason", "sentence"),
    [
        ("train", {}, "SpecInvalid", "write MODULE:FUNCTION"),
        ("tr ain:main", {}, "SpecInvalid", "write MODULE:FUNCTION"),
        ("absent_b:main", {"job_b": GOOD}, "EntrypointNotFound", "the mounted code has job_b"),
        ("absent_c:main", {}, "EntrypointNotFound", "spec.code has no Python file at its top"),
        (
            "job_d:train",
            {"job_d": GOOD + "def other(): ...\ndef _hidden(): ..."},
            "EntrypointNotFound",
            "'train' of spec.entrypoint does not exist; module 'job_d' has main, other",
        ),
        ("job_e:x", {"job_e": "x = 1"}, "EntrypointNotFound", "module 'job_e' has none"),
        ("job_f:main", {"job_f": "async def main(c): ..."}, "EntrypointNotFound", "is async"),
        ("job_g:main", {"job_g": "def main(c):\n  x = = 1\n"}, "CodeSyntaxError", "job_g.py line 2"),
        ("job_h:main", {"job_h": "import not_a_package.x"}, "ModuleMissing", "imports 'not_a_package'"),
        ("job_i:main", {"job_i": "def main(c): return 3"}, "ReturnInvalid", "returned int: return slipway_trainer"),
    ],
)
def test_what_another_attempt_cannot_cure(
    tmp_path: Path, name: str, modules: dict[str, str], reason: str, sentence: str
) -> None:
    error = failure(tmp_path, name, None, **modules)
    assert (error.reason.name, error.reason.again) == (reason, False)
    assert sentence in str(error)


RAISES = """
def deep(value):
    return {}[value]

def main(context):
    return deep("height")
"""


def test_code_that_raises_is_told_with_its_last_lines(
    tmp_path: Path, context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    error = failure(tmp_path, "job_j:main", context, job_j=RAISES)
    assert (error.reason.name, error.reason.again) == ("CodeRaised", True)
    text = str(error)
    assert text.startswith("the training code raised KeyError at job_j.py line 3; its last lines:\n")
    assert text.endswith("KeyError: 'height'")
    assert 'return deep("height")' in text
    assert "entrypoint.py" not in text, "the trainer's own frames say nothing to the user"
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_code_that_raises_when_imported_is_told_the_same_way(tmp_path: Path) -> None:
    error = failure(tmp_path, "job_k:main", job_k="x = 1\nraise RuntimeError('no licence')")
    assert "RuntimeError at job_k.py line 2" in str(error)
    assert "importlib" not in str(error)


def test_a_long_traceback_is_bounded(tmp_path: Path, context: Context) -> None:
    recursive = "def main(c):\n    return other(c)\n\ndef other(c):\n    return main(c)\n"
    lines = str(failure(tmp_path, "job_l:main", context, job_l=recursive)).splitlines()
    assert len(lines) == 1 + entrypoint.TRACEBACK_LINES
    assert lines[-1].startswith("RecursionError")


def test_leaving_by_sys_exit_is_no_success(tmp_path: Path, context: Context) -> None:
    assert "SystemExit" in str(failure(tmp_path, "job_m:main", context, job_m="def main(c): raise SystemExit(0)"))


def test_a_sentence_of_the_trainers_own_is_passed_on_as_it_is(tmp_path: Path, context: Context) -> None:
    error = failure(tmp_path, "job_n:main", context, job_n="def main(c): c.parameters.integer('width')")
    assert error.reason is failures.PARAMETER_INVALID


def test_the_context_refuses_what_it_was_not_given(context: Context, tmp_path: Path) -> None:
    assert context.data("train") == tmp_path / "data"
    with pytest.raises(TrainerError, match=r"name it under spec.data \(given: train\)"):
        context.data("test")
    for step, of in ((4, 3), (-1, 3), (1.5, 3), (True, 3)):
        with pytest.raises(TrainerError, match="0 <= step <= of"):
            context.report(step, of)  # type: ignore[arg-type]  # that is the point
