"""The keys: elliptic curves, PEM, without a password. Nothing here ever leaves the pod but a fingerprint."""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from slipway_trainer.failures import TrainerError

from . import reasons

HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
"""The curves that model-signing takes, and the hash of each (its ``sign_ec_key.get_ec_key_hash``)."""
_MAKE: Final = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem"


def private_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """Read the private key.

    Raises:
        TrainerError: it is no usable key. The sentence holds nothing of it.
    """
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _invalid("privateKey of the Secret that slipway-signing names is no PEM key without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in HASHES:
        raise _invalid("privateKey of the Secret that slipway-signing names is a key of another kind")
    return key


def public_key(pem: str) -> ec.EllipticCurvePublicKey:
    """Read the public key.

    Raises:
        TrainerError: it is no usable key.
    """
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _invalid("publicKey of the ConfigMap slipway-signing is no PEM public key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in HASHES:
        raise _invalid("publicKey of the ConfigMap slipway-signing is a key of another kind")
    return key


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """sha256 of the key's PEM, in hexadecimal: what model-signing writes as the key's hint."""
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _invalid(what: str) -> TrainerError:
    return TrainerError(
        reasons.SIGNING_KEY_INVALID,
        f"{what}: use one of an elliptic curve (P-256, P-384 or P-521), such as {_MAKE} makes",
    )
