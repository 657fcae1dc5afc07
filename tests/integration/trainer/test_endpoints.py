"""The trainer pod's two HTTP endpoints, over loopback."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from slipway.contract import Env, Metric, Progress, TrainSpec, loads
from slipway_trainer.kubeflow import BODY_LIMIT, serve_kubeflow
from slipway_trainer.progress import ProgressBoard
from slipway_trainer.status_server import serve_progress

SPEC = TrainSpec(namespace="ns", run="digits-1", runUid="uid", model="digits")


def ask(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_progress_is_there_for_whoever_asks() -> None:
    board = ProgressBoard()
    at = f"http://127.0.0.1:{serve_progress(board, 0)}"
    assert loads(Progress, ask(f"{at}/progress")[1]) == Progress()
    board.step(8, 20, {"accuracy": 0.9})
    assert loads(Progress, ask(f"{at}/progress")[1]) == Progress(8, 20, [Metric("accuracy", "0.9", "0.9")])
    assert ask(f"{at}/healthz") == (200, "ok\n")
    assert ask(f"{at}/") == (404, '{"error":"ask for /progress or /healthz"}')
    assert ask(f"{at}/progress", b"{}")[0] == 501


def test_a_client_that_goes_away_leaves_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    port = serve_progress(ProgressBoard(), 0)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closes with a reset
        client.sendall(b"GET /progress HTTP/1.1\r\n")
    assert ask(f"http://127.0.0.1:{port}/healthz")[0] == 200
    assert capsys.readouterr().err == ""


def report(step: int) -> bytes:
    metrics = [{"name": "current_step", "value": str(step)}, {"name": "total_steps", "value": "40"}]
    return json.dumps({"trainerStatus": {"progressPercentage": 5, "metrics": metrics}}).encode()


def test_a_report_with_the_pods_token_is_taken(tmp_path: Path) -> None:
    board = ProgressBoard()
    env = serve_kubeflow(board, SPEC, tmp_path)
    token_file = Path(env[Env.KUBEFLOW_TOKEN])
    assert token_file.stat().st_mode & 0o077 == 0
    url = env[Env.KUBEFLOW_URL]
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/apis/trainer.kubeflow.org/v1alpha1/namespaces/ns/trainjobs/digits-1/status")
    right = {"Authorization": f"Bearer {token_file.read_text()}"}

    assert ask(url, report(2), right) == (200, report(2).decode())
    assert (board.read().step, board.read().of) == (2, 40)

    refused = {
        "no token": ask(url, report(3)),
        "wrong token": ask(url, report(3), {"Authorization": "Bearer x"}),
        "another path": ask(url + "x", report(3), right),
        "no report": ask(url, b"{}", right),
        "too long": ask(url, b" " * (BODY_LIMIT + 1), right),
        "no length": ask(url, b"", right),
    }
    assert {why: code for why, (code, _) in refused.items()} == {
        "no token": 401,
        "wrong token": 401,
        "another path": 404,
        "no report": 422,
        "too long": 413,
        "no length": 422,
    }
    assert all(json.loads(text)["status"] == "Failure" for _, text in refused.values())
    assert board.read().step == 2


def test_each_pod_has_a_token_of_its_own(tmp_path: Path) -> None:
    one, two = (serve_kubeflow(ProgressBoard(), SPEC, tmp_path / name) for name in ("one", "two"))
    assert Path(one[Env.KUBEFLOW_TOKEN]).read_text() != Path(two[Env.KUBEFLOW_TOKEN]).read_text()
