"""Why signing, or looking at a signature, gives up; beside what the store may say (``slipway_trainer.failures``)."""

from __future__ import annotations

from typing import Final

from slipway_trainer.failures import Reason


def _final(name: str, meaning: str) -> Reason:
    return Reason(name, meaning, again=False)


SIGNING_KEY_INVALID: Final = _final("SigningKeyInvalid", "The private or the public key cannot be used to sign.")
SIGNING_KEY_MISMATCH: Final = _final("SigningKeyMismatch", "The private key is not that of the public key.")
MODEL_CHANGED: Final = _final("ModelChanged", "The model file is not the one that was registered.")
NOT_SIGNED: Final = _final("NotSigned", "No signature by the namespace's key lies beside the model file.")
SIGNATURE_INVALID: Final = _final("SignatureInvalid", "A signature does not verify, or is of something else.")
