"""What the pod that signs is given."""

from __future__ import annotations

import json
from typing import Any

from slipway import contract
from slipway.api.model_version import ModelVersionSpec
from slipway.registry import evidence_job
from slipway.registry.children import Defaults
from slipway.registry.evidence_job import SPEC_LIMIT, Signing
from tests.unit.test_api_reproduce import version

SIGNING = Signing("PEM", "signer", required=True)


def asked(**lineage: Any) -> contract.EvidenceSpec:
    made = version(**lineage)
    return evidence_job.spec_of(made, ModelVersionSpec.model_validate(made["spec"]), SIGNING)


def test_the_pod_is_given_the_provenance_and_its_key_by_the_kubelet() -> None:
    statement = json.loads(asked().statement or "")
    assert statement["subject"][0]["name"] == "digits-v3"
    made = version()
    job = evidence_job.job(made, ModelVersionSpec.model_validate(made["spec"]), SIGNING, Defaults("s:1", "t:1"), 0)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    env = {e["name"]: e.get("valueFrom") for e in container["env"]}
    assert env["SLIPWAY_SIGNING_KEY"] == {"secretKeyRef": {"name": "signer", "key": "privateKey"}}
    assert container["image"] == "t:1"


def test_a_provenance_that_no_variable_holds_is_left_out() -> None:
    many = {f"p{i}": '"' * 1000 for i in range(60)}
    found = asked(parameters=many)
    assert found.statement is None
    assert len(contract.dumps(found).encode()) <= SPEC_LIMIT
    fits = asked(parameters={f"p{i}": "x" * 1000 for i in range(60)})
    assert fits.statement is not None
    assert len(contract.dumps(fits).encode()) <= SPEC_LIMIT
