"""Signs, or checks; either way what is reported was read and checked with the public key.

    hash the file           -> it is the registered one
    signature beside it?    -> checked
    none, and a private key -> signed, uploaded
    the same for the provenance

A pod may die between any two of these; the next one finds what is there and ends with the same result.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from slipway.contract import EvidenceResult, EvidenceSpec, split_s3
from slipway_trainer.failures import TrainerError
from slipway_trainer.store import ObjectMissingError, Store

from . import bundle, keys, model_signature, reasons
from .bundle import BundleError

log = logging.getLogger(__name__)

_SHORT: Final = 16
"""Digits of the key's fingerprint in a file's name: each key has signatures of its own beside the same file."""
_LIMIT: Final = 1024 * 1024
"""Bytes of a signature; ours have a few thousand."""


def run(spec: EvidenceSpec, private_pem: str | None, store: Store) -> EvidenceResult:
    """The evidence about a model file.

    Args:
        private_pem: the private key; None where this namespace only checks.

    Raises:
        TrainerError: the file was changed, there is no signature and no key to make one, a signature does not verify,
            or the store fails.
    """
    public = keys.public_key(spec.publicKey)
    private = _private(private_pem, public) if private_pem else None
    bucket, key = split_s3(spec.artifact.uri)
    files = _Files(store, bucket, f"{key}.{keys.fingerprint(public)[:_SHORT]}")
    _check_file(spec, store, bucket, key)

    def of_the_file(found: dict[str, Any]) -> str | None:
        signed = model_signature.signed_digest(found)
        return None if signed == spec.artifact.digest else f"it is the signature of {signed or 'something else'}"

    about = model_signature.statement(key.rpartition("/")[2], spec.artifact.digest)
    signature, made = files.ensure(".sig", about, of_the_file, public, private)
    if signature is None:
        raise _not_signed(spec, store, public)
    provenance = None
    if spec.statement is not None:
        wanted = json.loads(spec.statement)
        provenance, _ = files.ensure(
            ".provenance.json",
            json.dumps(wanted, sort_keys=True).encode(),
            lambda found: None if found.get("subject") == wanted["subject"] else "it is the provenance of another file",
            public,
            private,
        )
    log.info("evidence stands version=%s key=%s signed=%s", spec.modelVersion, keys.fingerprint(public)[:_SHORT], made)
    return EvidenceResult(
        key=f"sha256:{keys.fingerprint(public)}",
        signature=files.uri(".sig"),
        signatureDigest=signature,
        signed=made,
        provenance=files.uri(".provenance.json") if provenance else None,
        provenanceDigest=provenance,
    )


class _Files:
    """The signed documents beside a model file."""

    def __init__(self, store: Store, bucket: str, stem: str) -> None:
        self._store, self._bucket, self._stem = store, bucket, stem

    def uri(self, ending: str) -> str:
        return f"s3://{self._bucket}/{self._stem}{ending}"

    def ensure(
        self,
        ending: str,
        statement: bytes,
        fault: Callable[[dict[str, Any]], str | None],
        public: ec.EllipticCurvePublicKey,
        private: ec.EllipticCurvePrivateKey | None,
    ) -> tuple[str | None, bool]:
        """The digest of a document that is there, or was made; None where it is not there and there is no key. And
        whether it was made.

        Raises:
            TrainerError: the document that is there does not verify.
        """
        found = self._read(ending)
        if found is None and private is None:
            return None, False
        made = found is None and private is not None
        document = bundle.sign(statement, private) if found is None and private is not None else found
        assert document is not None
        try:
            why = fault(bundle.read(document, public))
        except BundleError as error:
            why = str(error)
        if why:
            raise TrainerError(
                reasons.SIGNATURE_INVALID,
                f"the signature at {self.uri(ending)} does not verify with the key of slipway-signing: {why}. Find out "
                f"who wrote it; where it is deleted, a namespace with the private key signs anew",
            )
        if made:
            self._store.write(self._bucket, self._stem + ending, document)
        return f"sha256:{hashlib.sha256(document).hexdigest()}", made

    def _read(self, ending: str) -> bytes | None:
        read = bytearray()
        try:
            for piece in self._store.read(self._bucket, self._stem + ending):
                read += piece
                if len(read) > _LIMIT:
                    break  # no signature of ours: it will not verify
        except ObjectMissingError:
            return None
        return bytes(read)


def _private(pem: str, public: ec.EllipticCurvePublicKey) -> ec.EllipticCurvePrivateKey:
    key = keys.private_key(pem)
    own, wanted = keys.fingerprint(key.public_key()), keys.fingerprint(public)
    if own != wanted:
        raise TrainerError(
            reasons.SIGNING_KEY_MISMATCH,
            f"the private key of the Secret that slipway-signing names has the public key sha256:{own}, and publicKey "
            f"of the ConfigMap is sha256:{wanted}: write the two of one pair there",
        )
    return key


def _check_file(spec: EvidenceSpec, store: Store, bucket: str, key: str) -> None:
    digest = hashlib.sha256()
    try:
        for piece in store.read(bucket, key):
            digest.update(piece)
    except ObjectMissingError:
        raise TrainerError(reasons.MODEL_CHANGED, f"nothing lies at {spec.artifact.uri} any more") from None
    found = f"sha256:{digest.hexdigest()}"
    if found != spec.artifact.digest:
        raise TrainerError(
            reasons.MODEL_CHANGED,
            f"the file at {spec.artifact.uri} was changed: it has {found}, and {spec.artifact.digest} is registered",
        )


def _not_signed(spec: EvidenceSpec, store: Store, public: ec.EllipticCurvePublicKey) -> TrainerError:
    bucket, key = split_s3(spec.artifact.uri)
    stem = f"{key}."
    others = sorted(
        entry.key.removeprefix(stem).removesuffix(".sig")
        for entry in store.entries(bucket, stem)
        if entry.key.endswith(".sig")
    )
    beside = f"; signatures of the keys {', '.join(others[:5])} lie there" if others else ""
    return TrainerError(
        reasons.NOT_SIGNED,
        f"no signature of the key {keys.fingerprint(public)[:_SHORT]} lies beside {spec.artifact.uri}{beside}: have "
        f"the version signed where the private key is, or name the signer's publicKey in the ConfigMap slipway-signing",
    )
