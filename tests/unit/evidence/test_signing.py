"""Signatures: what we write OpenSSF's model-signing reads, and the other way; what was changed is named."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from model_signing import signing, verifying

from slipway.contract import Artifact, EvidenceResult, EvidenceSpec
from slipway_evidence import bundle, keys, model_signature
from slipway_evidence.runner import run
from slipway_trainer.failures import TrainerError
from slipway_trainer.fake_store import MemoryStore

MODEL = b"weights" * 100
DIGEST = f"sha256:{hashlib.sha256(MODEL).hexdigest()}"
# `#` and `?` are letters of a key like others (contract.split_s3).
KEY = "digits/#3?/model#?.onnx"
STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "digits-v3", "digest": {"sha256": DIGEST.removeprefix("sha256:")}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {},
    }
)


class Pair:
    """A key pair, as PEM."""

    def __init__(self, curve: ec.EllipticCurve | None = None) -> None:
        self.key = ec.generate_private_key(curve or ec.SECP256R1())
        self.private = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        self.public = (
            self.key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )
        self.fingerprint = keys.fingerprint(self.key.public_key())


OURS, OTHER = Pair(), Pair()


def asked(public: str = OURS.public, statement: str | None = STATEMENT) -> EvidenceSpec:
    artifact = Artifact(f"s3://models/{KEY}", DIGEST, len(MODEL))
    return EvidenceSpec("team", "digits-v3", artifact, public, statement)


def place() -> MemoryStore:
    made = MemoryStore("models")
    made.buckets["models"][KEY] = MODEL
    return made


def refused(store: MemoryStore, private: str | None = OURS.private, spec: EvidenceSpec | None = None) -> TrainerError:
    with pytest.raises(TrainerError) as caught:
        run(spec or asked(), private, store)
    assert OURS.private not in str(caught.value)
    return caught.value


def at(store: MemoryStore, uri: str) -> bytes:
    return store.buckets["models"][uri.removeprefix("s3://models/")]


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: str(c.name))
def test_model_signing_verifies_what_we_sign(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    pair, store = Pair(curve), place()
    made = run(asked(pair.public), pair.private, store)
    assert (made.key, made.signed) == (f"sha256:{pair.fingerprint}", True)
    model, signature, public = tmp_path / "model.onnx", tmp_path / "model.sig", tmp_path / "key.pub"
    model.write_bytes(MODEL)
    signature.write_bytes(at(store, made.signature))
    public.write_text(pair.public)
    check = verifying.Config().use_elliptic_key_verifier(public_key=public)
    check.verify(model, signature)
    # it would have noticed
    model.write_bytes(MODEL + b"!")
    with pytest.raises(ValueError, match="mismatch"):
        check.verify(model, signature)


def test_we_read_what_model_signing_signs(tmp_path: Path) -> None:
    model, signature, private = tmp_path / "model.onnx", tmp_path / "model.sig", tmp_path / "key"
    model.write_bytes(MODEL)
    private.write_text(OURS.private)
    signing.Config().use_elliptic_key_signer(private_key=private).sign(model, signature)
    statement = bundle.read(signature.read_bytes(), OURS.key.public_key())
    assert model_signature.signed_digest(statement) == DIGEST
    # and so does the whole program, where it lies under the name that it looks for
    store = place()
    store.buckets["models"][f"{KEY}.{OURS.fingerprint[:16]}.sig"] = signature.read_bytes()
    assert not run(asked(), None, store).signed


def test_the_provenance_is_signed_too() -> None:
    store = place()
    made = run(asked(), OURS.private, store)
    assert made.provenance is not None
    document = at(store, made.provenance)
    assert made.provenanceDigest == f"sha256:{hashlib.sha256(document).hexdigest()}"
    assert bundle.read(document, OURS.key.public_key()) == json.loads(STATEMENT)


def test_a_model_that_was_trained_elsewhere_has_no_provenance() -> None:
    store = place()
    made = run(asked(statement=None), OURS.private, store)
    assert (made.provenance, made.provenanceDigest) == (None, None)
    assert len(store.buckets["models"]) == 2


def test_the_next_pod_finds_what_an_earlier_one_left() -> None:
    store = place()
    first = run(asked(), OURS.private, store)
    before = dict(store.buckets["models"])
    again = run(asked(), OURS.private, store)
    assert again == replace(first, signed=False)
    assert store.buckets["models"] == before
    # the pod died between the two
    del store.buckets["models"][str(first.provenance).removeprefix("s3://models/")]
    half = run(asked(), OURS.private, store)
    assert half.signature == first.signature
    assert half.provenance == first.provenance


def test_a_namespace_without_the_private_key_only_checks() -> None:
    store = place()
    made = run(asked(), OURS.private, store)
    checked: EvidenceResult = run(asked(), None, store)
    assert checked == replace(made, signed=False)
    error = refused(place(), private=None)
    assert error.reason.name == "NotSigned"
    assert f"no signature of the key {OURS.fingerprint[:16]} lies beside s3://models/{KEY}" in str(error)


def test_another_namespaces_key_is_told_whose_signatures_lie_there() -> None:
    store = place()
    run(asked(), OURS.private, store)
    error = refused(store, private=None, spec=asked(OTHER.public))
    assert error.reason.name == "NotSigned"
    assert f"signatures of the keys {OURS.fingerprint[:16]} lie there" in str(error)
    # with its own key it signs beside the other's
    assert run(asked(OTHER.public), OTHER.private, store).signed
    assert not run(asked(), OURS.private, store).signed


def test_a_model_that_was_tampered_with_is_not_signed() -> None:
    store = place()
    store.buckets["models"][KEY] += b"!"
    error = refused(store)
    assert error.reason.name == "ModelChanged"
    assert f"the file at s3://models/{KEY} was changed: it has sha256:" in str(error)
    assert list(store.buckets["models"]) == [KEY]
    del store.buckets["models"][KEY]
    assert "nothing lies at" in str(refused(store))


def test_keys_of_two_pairs_are_named() -> None:
    error = refused(place(), private=OTHER.private)
    assert error.reason.name == "SigningKeyMismatch"
    assert OURS.fingerprint in str(error)
    assert OTHER.fingerprint in str(error)


def _signed_by_another(store: MemoryStore) -> None:
    made = model_signature.statement("model.onnx", DIGEST)
    forged = json.loads(bundle.sign(made, OTHER.key))
    forged["verificationMaterial"]["publicKey"]["hint"] = OURS.fingerprint
    store.buckets["models"][f"{KEY}.{OURS.fingerprint[:16]}.sig"] = json.dumps(forged).encode()


def _of_another_file(store: MemoryStore) -> None:
    made = model_signature.statement("model.onnx", "sha256:" + "0" * 64)
    store.buckets["models"][f"{KEY}.{OURS.fingerprint[:16]}.sig"] = bundle.sign(made, OURS.key)


def _no_bundle(store: MemoryStore) -> None:
    store.buckets["models"][f"{KEY}.{OURS.fingerprint[:16]}.sig"] = b"signed, honestly"


def _endless(store: MemoryStore) -> None:
    store.buckets["models"][f"{KEY}.{OURS.fingerprint[:16]}.sig"] = b"x" * (1024 * 1024 + 8)


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        (_signed_by_another, "its signature does not fit what it holds, or is another key's"),
        (_of_another_file, "it is the signature of sha256:0000"),
        (_no_bundle, "it is no Sigstore bundle with one signature"),
        (_endless, "it is no Sigstore bundle with one signature"),
    ],
)
def test_a_signature_that_does_not_verify_is_not_written_over(forge: object, words: str) -> None:
    store = place()
    forge(store)  # type: ignore[operator]
    before = dict(store.buckets["models"])
    error = refused(store)
    assert error.reason.name == "SignatureInvalid"
    assert words in str(error)
    assert store.buckets["models"] == before


def test_a_statement_that_was_changed_after_it_was_signed_is_found_out() -> None:
    made = json.loads(bundle.sign(STATEMENT.encode(), OURS.key))
    made["dsseEnvelope"]["payload"] = base64.b64encode(STATEMENT.replace("v3", "v4").encode()).decode()
    with pytest.raises(bundle.BundleError, match="does not fit what it holds"):
        bundle.read(json.dumps(made).encode(), OURS.key.public_key())


def test_keys_of_another_kind_are_refused() -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    pem = rsa_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    assert "privateKey of the Secret that slipway-signing names is a key of another kind" in str(refused(place(), pem))
    assert "is no PEM key without a password" in str(refused(place(), "secret"))
    assert "publicKey of the ConfigMap slipway-signing is no PEM" in str(refused(place(), spec=asked("ssh-rsa AAAA")))
    small = Pair(ec.SECP256K1())
    assert "is a key of another kind" in str(refused(place(), spec=asked(small.public)))
