"""What the pod that signs is given."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from slipway import contract
from slipway.api.model_version import ModelVersionSpec
from slipway.registry import evidence_job
from slipway.registry.children import Defaults
from slipway.registry.evidence_job import SPEC_LIMIT, Signing
from slipway_evidence import keys
from tests.support.builders import PUBLIC_KEY
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


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
def test_the_operator_knows_a_key_by_the_fingerprint_that_the_pod_gives_it(curve: ec.EllipticCurve) -> None:
    for secret in range(1, 20):
        key = ec.derive_private_key(secret**9, curve).public_key()
        pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        wanted = f"sha256:{keys.fingerprint(key)}"
        body = "".join(pem.splitlines()[1:-1])
        odd = f"my key\n-----BEGIN PUBLIC KEY-----\r\n{body}\r\n-----END PUBLIC KEY-----"
        assert evidence_job.fingerprint(pem) == evidence_job.fingerprint(odd) == wanted
        assert keys.fingerprint(keys.public_key(odd)) == wanted.removeprefix("sha256:")


@pytest.mark.parametrize("pem", ["", "PEM", PUBLIC_KEY.replace("MFkw", "MFk"), PUBLIC_KEY.replace("MFkw", "MFkx")])
def test_what_is_no_key_has_no_fingerprint(pem: str) -> None:
    assert evidence_job.fingerprint(pem) is None


def test_a_point_that_is_compressed_is_told_apart() -> None:
    """The pod reads it, and writes it otherwise."""
    point = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    compressed = point.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    der = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + compressed
    pem = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----\n"
    assert keys.fingerprint(keys.public_key(pem)) == keys.fingerprint(point)
    assert evidence_job.fingerprint(pem) is None


def test_a_provenance_that_no_variable_holds_is_left_out() -> None:
    many = {f"p{i}": '"' * 1000 for i in range(60)}
    found = asked(parameters=many)
    assert found.statement is None
    assert len(contract.dumps(found).encode()) <= SPEC_LIMIT
    fits = asked(parameters={f"p{i}": "x" * 1000 for i in range(60)})
    assert fits.statement is not None
    assert len(contract.dumps(fits).encode()) <= SPEC_LIMIT
