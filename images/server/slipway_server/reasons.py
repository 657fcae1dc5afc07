"""Why a model is not served: each reason once, with its sentence of meaning, and whether waiting can help."""

from __future__ import annotations

from typing import Final

from slipway.contract import EXIT_ERROR, EXIT_USER_ERROR, Failure

SPEC_INVALID: Final = "SpecInvalid"
"""The document in ``SLIPWAY_SPEC`` is missing or not a ``ServeSpec``."""
STORE_NOT_GIVEN: Final = "StoreNotGiven"
"""The pod was not given the S3 place that the artifact names."""
STORE_UNREACHABLE: Final = "StoreUnreachable"
"""The S3 server does not answer, or answers with an error of its own."""
CREDENTIALS_REFUSED: Final = "CredentialsRefused"
"""The S3 server does not accept the place's keys, or they may not read the object."""
ARTIFACT_NOT_FOUND: Final = "ArtifactNotFound"
"""No such bucket or no such object."""
DIGEST_MISMATCH: Final = "DigestMismatch"
"""The bytes in the store are not those that were recorded."""
UNSAFE_MODEL: Final = "UnsafeModel"
"""The file refers to other files, uses operators that are not ONNX's own, is too large, or is not well formed."""
SIGNATURE_MISMATCH: Final = "SignatureMismatch"
"""The model takes or gives something else than its ModelVersion says."""
LOAD_FAILED: Final = "LoadFailed"
"""onnxruntime cannot load the model, or cannot run it."""
INTERNAL: Final = "InternalError"
"""A fault of the server itself."""

MAY_PASS: Final = frozenset({STORE_UNREACHABLE, INTERNAL})
"""Reasons that may pass by themselves; for all others trying again cannot help."""


class LoadError(Exception):
    """The model cannot be served.

    Attributes:
        reason: one of the constants above.
        message: a sentence that says what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message

    @property
    def exit_code(self) -> int:
        """``EXIT_USER_ERROR`` where trying again cannot help, else ``EXIT_ERROR``."""
        return EXIT_ERROR if self.reason in MAY_PASS else EXIT_USER_ERROR

    @property
    def failure(self) -> Failure:
        """The document for the termination message, cut to what fits it."""
        return Failure(reason=self.reason, message=self.message[:2000])
