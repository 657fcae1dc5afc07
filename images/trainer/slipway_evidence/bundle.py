"""A signed document: an in-toto statement in a DSSE envelope in a Sigstore bundle, without certificate or log.

Sources: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md (PAE), and the bundle that model-signing
1.1 writes for ``sign key`` (https://github.com/sigstore/model-transparency), which tests read back with its own
library.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from .keys import HASHES, fingerprint

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"


class BundleError(ValueError):
    """The bundle does not hold what was signed by this key; the message says why, as a part of a sentence."""


def sign(statement: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The bundle of a statement (JSON)."""
    public = key.public_key()
    signature = key.sign(_pae(statement), ec.ECDSA(HASHES[public.curve.name]))
    made = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": fingerprint(public)}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(statement).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(made, separators=(",", ":")).encode()


def read(bundle: bytes, key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    """The statement in a bundle, after its signature was checked.

    Raises:
        BundleError: it is no bundle, or was not signed by this key, or was changed since.
    """
    try:
        made = json.loads(bundle)
        hint = made["verificationMaterial"]["publicKey"].get("hint")
        envelope = made["dsseEnvelope"]
        kind = envelope["payloadType"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        (entry,) = envelope["signatures"]
        signature = base64.b64decode(entry["sig"], validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise BundleError("it is no Sigstore bundle with one signature") from None
    if hint is not None and hint != fingerprint(key):
        raise BundleError(f"it names the key sha256:{hint} as its signer's")
    if kind != PAYLOAD_TYPE:
        raise BundleError(f"what was signed is of type {kind!r}")
    try:
        key.verify(signature, _pae(payload), ec.ECDSA(HASHES[key.curve.name]))
    except InvalidSignature:
        raise BundleError("its signature does not fit what it holds, or is another key's") from None
    try:
        statement = json.loads(payload)
    except ValueError:
        statement = None
    if not isinstance(statement, dict):
        raise BundleError("what was signed is no statement")
    return statement


def _pae(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding.

    >>> _pae(b"{}")
    b'DSSEv1 28 application/vnd.in-toto+json 2 {}'
    """
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
