"""What the client makes of the API server's answers."""

from __future__ import annotations

import json

import pytest

from slipway.kube.client import Conflict, KubeError, NamespaceEnds, Refused, _error

ENDING = {
    "kind": "Status",
    "message": 'jobs.batch "digits-1" is forbidden: unable to create new content in namespace team because it is being '
    "terminated",
    "reason": "Forbidden",
    "details": {"name": "digits-1", "causes": [{"reason": "NamespaceTerminating", "message": "namespace team is ..."}]},
    "code": 403,
}
"""As a 1.34 API server says it."""


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (403, json.dumps(ENDING), NamespaceEnds),
        (403, json.dumps({"message": "exceeded quota: small", "details": {}}), Refused),
        (
            422,
            json.dumps({"message": "spec.x: invalid", "details": {"causes": [{"reason": "FieldValueInvalid"}]}}),
            Refused,
        ),
        (409, json.dumps({"message": "modified", "details": None}), Conflict),
        (503, "no healthy upstream", KubeError),
        (500, "[1]", KubeError),
    ],
)
def test_an_answer_that_is_no_success(status: int, body: str, kind: type[KubeError]) -> None:
    error = _error(status, body.encode())
    assert type(error) is kind
    assert error.status == status
    assert str(error) in body or str(error) == json.loads(body)["message"]
