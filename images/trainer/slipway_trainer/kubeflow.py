"""Live progress from code that never heard of Slipway, by the Kubeflow Trainer wire format.

Hugging Face Transformers (``KubeflowCallback``, on by itself where ``KUBEFLOW_TRAINER_SERVER_URL`` is set), the
Kubeflow SDK (``update_trainjob_status``) and any HTTP client post::

    POST <URL>    Authorization: Bearer <what the file KUBEFLOW_TRAINER_SERVER_TOKEN holds>
    {"trainerStatus": {"progressPercentage": 45, "estimatedRemainingSeconds": 795,
                       "metrics": [{"name": "loss", "value": "0.23"}], "lastUpdatedTime": "..."}}

Source: kubeflow/trainer, docs/proposals/2779-trainjob-progress. Kubeflow serves it by TLS across the cluster with a
certificate in ``KUBEFLOW_TRAINER_SERVER_CA_CERT``; here it never leaves the pod's loopback, so it is plain HTTP and
that variable is not set. The token still is needed: a browser or proxy in the pod must not report by accident.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from slipway.contract import Env, TrainSpec

from .failures import TrainerError
from .progress import ProgressBoard
from .status_server import QuietHandler, QuietServer, start

log = logging.getLogger(__name__)

BODY_LIMIT: Final = 64 * 1024
"""Bytes of one report; the server closes the connection on more."""
_STEP: Final = "current_step"
_OF: Final = "total_steps"
"""Transformers sends its steps as metrics of these names."""


class ReportError(ValueError):
    """A report that does not follow the wire format; the message says what does."""


@dataclass(frozen=True)
class Report:
    """One report, read: steps done of all, and the measured numbers."""

    step: int
    of: int
    metrics: dict[str, float]


def read_report(body: bytes, of: int = 100) -> Report:
    """Read one report; ``of`` is how many steps an earlier one gave, or 100.

    Transformers names its steps in the metrics ``current_step`` and ``total_steps``, though not in its first and last
    report. Where the step is missing it follows from the percentage.

    >>> read_report(b'{"trainerStatus": {"progressPercentage": 45, "metrics": [{"name": "loss", "value": "0.5"}]}}')
    Report(step=45, of=100, metrics={'loss': 0.5})
    """
    try:
        status: Any = json.loads(body)["trainerStatus"]
        metrics = {str(metric["name"]): float(metric["value"]) for metric in status.get("metrics") or []}
        percent = int(status.get("progressPercentage") or 0)
        of = int(metrics.pop(_OF, of))
        step = int(metrics.pop(_STEP, percent * of // 100))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise ReportError(
            'post {"trainerStatus": {"progressPercentage": 0 to 100, "metrics": [{"name": "loss", "value": "0.5"}]}}'
        ) from None
    if not 0 <= percent <= 100:
        raise ReportError(f"progressPercentage is {percent}: give 0 to 100")
    if not 0 <= step <= of:
        raise ReportError(f"{_STEP} is {step} and {_OF} is {of}: give steps done, of all")
    return Report(step, of, metrics)


def serve_kubeflow(board: ProgressBoard, spec: TrainSpec, folder: Path) -> dict[str, str]:
    """Take reports on loopback; returns the environment variables that tell programs where."""
    token = secrets.token_urlsafe(32)
    path = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{spec.namespace}/trainjobs/{spec.run}/status"

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
            given = self.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                self._refuse(HTTPStatus.UNAUTHORIZED, f"send the token in the file that {Env.KUBEFLOW_TOKEN} names")
                return
            if self.path != path:
                self._refuse(HTTPStatus.NOT_FOUND, f"post to {path}")
                return
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > BODY_LIMIT:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send a Content-Length of at most {BODY_LIMIT}")
                return
            body = self.rfile.read(int(length))
            try:
                report = read_report(body, board.read().of or 100)
                board.step(report.step, report.of, report.metrics)
            except (ReportError, TrainerError) as error:
                self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
                return
            self.answer(HTTPStatus.OK, body.decode())

        def _refuse(self, status: HTTPStatus, message: str) -> None:
            self.close_connection = True
            self.answer(status, json.dumps({"kind": "Status", "status": "Failure", "message": message}))

    port = start(QuietServer(("127.0.0.1", 0), Handler))
    folder.mkdir(parents=True, exist_ok=True)
    token_file = folder / "kubeflow-token"
    token_file.touch(mode=0o600)
    token_file.write_text(token)
    return {Env.KUBEFLOW_URL: f"http://127.0.0.1:{port}{path}", Env.KUBEFLOW_TOKEN: str(token_file)}
