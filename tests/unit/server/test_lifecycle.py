"""What is left behind when the server gives up: the termination message and the exit status."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from slipway.contract import (
    EXIT_ERROR,
    EXIT_OK,
    EXIT_USER_ERROR,
    TERMINATION_MESSAGE_LIMIT,
    Artifact,
    Env,
    Failure,
    ServeSpec,
    dumps,
    loads,
)
from slipway_server import lifecycle, reasons
from slipway_server.__main__ import main
from slipway_server.lifecycle import Options
from slipway_server.reasons import LoadError
from tests.support.onnx_models import DIGITS, spec

SPEC = spec(Artifact("s3://a/b", "sha256:" + "0" * 64, 1), DIGITS)


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    monkeypatch.setenv(Env.SPEC, dumps(SPEC))
    return Options(termination_message=tmp_path / "message", model_dir=tmp_path / "model")


def failing(error: Exception, options: Options) -> tuple[int, Failure]:
    def action(given: ServeSpec, where: Options) -> int:
        assert given == SPEC
        raise error

    code = lifecycle.run(action, options)
    return code, loads(Failure, options.termination_message.read_text())


def test_a_refused_model_is_a_users_error(options: Options) -> None:
    code, failure = failing(LoadError(reasons.DIGEST_MISMATCH, "not the same"), options)
    assert (code, failure.reason, failure.message) == (EXIT_USER_ERROR, "DigestMismatch", "not the same")


@pytest.mark.parametrize(
    ("delay", "timeout", "seconds"),
    [(0, 400, 0.0), (5, 400, 0.005), (399, 400, 0.399), (400, 400, 0.2), (9000, 400, 0.2), (9000, 30_000, 1.0)],
)
def test_a_request_never_waits_for_others_as_long_as_it_may_take(delay: int, timeout: int, seconds: float) -> None:
    """Whatever an older Deployment says."""
    assert lifecycle.batching_delay(replace(SPEC, maxDelayMs=delay, timeoutMs=timeout)) == seconds


def test_what_may_pass_is_tried_again(options: Options) -> None:
    assert failing(LoadError(reasons.STORE_UNREACHABLE, "no answer"), options)[0] == EXIT_ERROR


def test_a_fault_of_our_own_is_said_and_tried_again(options: Options) -> None:
    code, failure = failing(ZeroDivisionError("by zero"), options)
    assert (code, failure.reason) == (EXIT_ERROR, reasons.INTERNAL)
    assert "ZeroDivisionError: by zero" in failure.message


@pytest.mark.parametrize("letter", ["x", "ü", "\u2028", "\x00", "\U0001f600"])
def test_a_long_message_is_cut_to_what_the_kubelet_keeps(letter: str, options: Options) -> None:
    _, failure = failing(LoadError(reasons.LOAD_FAILED, letter * 100_000), options)
    assert len(options.termination_message.read_bytes()) <= TERMINATION_MESSAGE_LIMIT
    assert failure.message.startswith(letter * 300)


def test_nothing_is_left_behind_by_success(options: Options) -> None:
    assert lifecycle.run(lambda given, where: EXIT_OK, options) == EXIT_OK
    assert not options.termination_message.exists()


def test_a_message_that_cannot_be_written_is_in_the_log(
    options: Options, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lost = Options(termination_message=tmp_path / "nowhere" / "message")

    def action(given: ServeSpec, where: Options) -> int:
        raise LoadError(reasons.LOAD_FAILED, "broken")

    assert lifecycle.run(action, lost) == EXIT_USER_ERROR
    assert "termination message was not written" in caplog.text


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Options] = []

    def run(action: object, options: Options) -> int:
        seen.append(options)
        return EXIT_OK

    monkeypatch.setattr(lifecycle, "run", run)
    assert main(["verify", "--model-dir", str(tmp_path), "--port", "7", "--log-level", "ERROR"]) == EXIT_OK
    assert (seen[0].model_dir, seen[0].port) == (tmp_path, 7)
    assert main(["serve"]) == EXIT_OK
    assert seen[1] == Options()
