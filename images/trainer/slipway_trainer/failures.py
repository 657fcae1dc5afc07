"""Why a training gives up: every reason once, with its meaning and whether another attempt can help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slipway.contract import EXIT_ERROR, EXIT_USER_ERROR


@dataclass(frozen=True)
class Reason:
    """A CamelCase name for machines, one sentence of meaning for people, and what the Job should do."""

    name: str
    meaning: str
    again: bool
    """True: another attempt may succeed. False: it cannot, so the Job fails at once."""

    @property
    def exit_code(self) -> int:
        return EXIT_ERROR if self.again else EXIT_USER_ERROR


def _final(name: str, meaning: str) -> Reason:
    return Reason(name, meaning, again=False)


def _passing(name: str, meaning: str) -> Reason:
    return Reason(name, meaning, again=True)


SPEC_INVALID: Final = _final("SpecInvalid", "What the operator asked for cannot be carried out as written.")

STORE_NOT_CONFIGURED: Final = _final("StoreNotConfigured", "The namespace was not given the S3 place, or half.")
STORE_UNREACHABLE: Final = _passing("StoreUnreachable", "Nothing answers at the S3 place's endpoint.")
STORE_ERROR: Final = _passing("StoreError", "The S3 server answered with an error of its own.")
WRONG_CREDENTIALS: Final = _final("WrongCredentials", "The S3 server does not know the key, or its secret differs.")
ACCESS_DENIED: Final = _final("AccessDenied", "The S3 server knows the key but forbids the request.")
BUCKET_NOT_FOUND: Final = _final("BucketNotFound", "The S3 server has no bucket of that name.")

DATA_NOT_FOUND: Final = _final("DataNotFound", "Nothing lies at a data set's address.")
DATA_PATH_REFUSED: Final = _final("DataPathRefused", "An object's key cannot safely be the name of a file.")
DATA_DIGEST_MISMATCH: Final = _final("DataDigestMismatch", "The data are not those that the run names.")
DATA_CHANGED: Final = _passing("DataChanged", "An object changed while it was read.")
DISK_FULL: Final = _final("DiskFull", "The pod's scratch volume is too small.")

GIT_HOST_NOT_FOUND: Final = _final("GitHostNotFound", "No host has the name in the repository's address.")
GIT_UNREACHABLE: Final = _passing("GitUnreachable", "Nothing answers at the repository's address, or it broke off.")
GIT_ACCESS_DENIED: Final = _final("GitAccessDenied", "The git server does not take the credentials, or there are none.")
GIT_HOST_KEY_REFUSED: Final = _final("GitHostKeyRefused", "The ssh server's key is not one that known_hosts names.")
GIT_CERTIFICATE_REFUSED: Final = _final("GitCertificateRefused", "No authority that is known vouches for the server.")
GIT_REPOSITORY_NOT_FOUND: Final = _final("GitRepositoryNotFound", "The git server has no such repository.")
GIT_REVISION_NOT_FOUND: Final = _final("GitRevisionNotFound", "The repository has no such branch, tag or commit.")
GIT_PATH_NOT_FOUND: Final = _final("GitPathNotFound", "The commit has no such folder.")
GIT_CONTENT_REFUSED: Final = _final("GitContentRefused", "The code has a submodule, or files that lie in Git LFS.")
GIT_FAILED: Final = _passing("GitFailed", "git failed in a way that is not known; the message holds its own words.")

WEIGHTS_NOT_FOUND: Final = _final("WeightsNotFound", "Nothing lies where the weights to begin with were.")
WEIGHTS_DIGEST_MISMATCH: Final = _final("WeightsDigestMismatch", "The weights are not those of the version's lineage.")
WEIGHTS_NOT_DECLARED: Final = _final("WeightsNotDeclared", "The code asks for weights and the run names no version.")
WEIGHTS_DO_NOT_FIT: Final = _final("WeightsDoNotFit", "The module has other tensors than the weights to begin with.")

ENTRYPOINT_NOT_FOUND: Final = _final("EntrypointNotFound", "No such module, or no such function in it.")
CODE_SYNTAX_ERROR: Final = _final("CodeSyntaxError", "The training code is not valid Python.")
MODULE_MISSING: Final = _final("ModuleMissing", "The training code imports a package that the image lacks.")
PARAMETER_INVALID: Final = _final("ParameterInvalid", "A parameter is absent, or not what the code can read.")
DATA_NOT_DECLARED: Final = _final("DataNotDeclared", "The code asks for a data set that the run does not name.")
CODE_RAISED: Final = _passing("CodeRaised", "The training code raised an exception.")
CHECKPOINT_REFUSED: Final = _final("CheckpointRefused", "A checkpoint holds what cannot be stored without pickle.")
RETURN_INVALID: Final = _final("ReturnInvalid", "The training code did not return a usable TrainedModel.")
METRIC_INVALID: Final = _final("MetricInvalid", "A metric has no name, or its value is not a finite number.")

COMMAND_NOT_FOUND: Final = _final("CommandNotFound", "The image has no such program.")
COMMAND_FAILED: Final = _passing("CommandFailed", "The program ended with a status other than 0.")
OUTPUT_INVALID: Final = _final("OutputInvalid", "The program left no usable model.onnx or metrics.json.")

EXPORT_FAILED: Final = _final("ExportFailed", "The model cannot be written as ONNX.")
PARITY_FAILED: Final = _final("ParityFailed", "The ONNX file answers differently from the torch model.")
MODEL_REFUSED: Final = _final("ModelRefused", "The ONNX file is one that Slipway does not serve.")

RESULT_TOO_LARGE: Final = _final("ResultTooLarge", "The result does not fit the termination message.")
INTERRUPTED: Final = _passing("Interrupted", "The pod was told to stop; the next attempt goes on from there.")
INTERNAL: Final = _passing("TrainerInternalError", "A fault of the trainer itself.")


class TrainerError(Exception):
    """A training that gives up. ``str(error)`` is a sentence that says what to write instead."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
