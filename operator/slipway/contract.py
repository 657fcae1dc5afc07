"""Everything that crosses a container wall between the operator and the pods it makes.

The trainer (``images/trainer``) and the server (``images/server``) import this module and nothing else of ours, so
it uses the standard library only. A name or a number that two sides must agree on stands here once.

How facts travel
    operator -> pod   environment variables (``Env``), one JSON document in ``SLIPWAY_SPEC`` (``TrainSpec``,
                      ``ServeSpec``, ``DatasetSpec``), a mounted ConfigMap with the user's code, and the S3 place's
                      ConfigMap and Secret as environment variables. The operator itself never reads a Secret.
    pod -> operator   the container's termination message: one JSON document of at most 4096 bytes
                      (``TrainResult``, ``VerifyResult``, ``DatasetResult``, ``Failure``), because the operator holds
                      no S3 credential and fetches no URL. Kubernetes: pod-v1, ``terminationMessagePath``.
    live progress     ``GET http://POD:PROGRESS_PORT/progress`` on the trainer pod answers ``Progress``. The operator
                      asks; nothing is pushed, so nothing is lost when the operator is away, no pod needs a token,
                      and it does not matter which replica leads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

VERSION: Final = 1
"""Version of the documents below; a reader refuses any other."""

TERMINATION_MESSAGE_PATH: Final = "/dev/termination-log"
TERMINATION_MESSAGE_LIMIT: Final = 4096
"""Bytes; the kubelet cuts what is longer, so a writer must stay below it."""

CODE_DIR: Final = "/slipway/code"
"""Where the files of ``spec.code`` lie, read-only; on ``sys.path`` of the user's training code."""
GIT_DIR: Final = "/slipway/git"
"""Writable scratch of the container that fetches code by git, and of no other: its credentials lie there."""
WORK_DIR: Final = "/slipway/work"
"""Writable scratch (an emptyDir): data under ``data/<name>``, output under ``output``. HOME and TMPDIR lie in it."""
DATA_DIR: Final = f"{WORK_DIR}/data"
WEIGHTS_DIR: Final = f"{WORK_DIR}/weights"
"""Where the weights lie that the training begins with, as ``<ModelVersion>.safetensors``."""
OUTPUT_DIR: Final = f"{WORK_DIR}/output"
MODEL_DIR: Final = "/slipway/model"
"""Writable scratch of the server (an emptyDir): the downloaded artifact."""

PROGRESS_PORT: Final = 9090
"""Trainer pod: ``GET /progress`` (``Progress`` as JSON) and ``GET /healthz``."""
SERVE_PORT: Final = 8080
"""Server pod: Open Inference Protocol v2."""
METRICS_PORT: Final = 9091
"""Server pod: ``GET /metrics`` in Prometheus text format, and ``POST /answers`` for a shadow that compares."""
MAX_DELAY_MS: Final = 1000
"""Milliseconds that a request may wait, at most, for others to share a run with: what is slower than that gains nothing
by it, and its client waits."""
LATENCY_EDGES: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5,
    0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0,
)  # fmt: skip
"""Edges, in seconds, of the server's latency histogram; as ``le`` it writes ``str`` of each. A rollout's analysis takes
"slow" from the edge at its threshold or next above it, so there is one at each number a person is likely to write, at
most a factor of two apart."""

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1
"""The user's code failed, or something that may pass by itself: the Job tries again up to ``backoffLimit``."""
EXIT_USER_ERROR: Final = 64
"""Trying again cannot help (wrong digest, no such bucket, no such entrypoint ...): the Job fails at once.
64 is EX_USAGE of BSD sysexits.h."""


class Env:
    """Names of environment variables. Those below ``STORE`` come from the place's ConfigMap and Secret."""

    SPEC: Final = "SLIPWAY_SPEC"
    """JSON of ``TrainSpec``, ``ServeSpec`` or ``DatasetSpec``."""
    POD_NAME: Final = "SLIPWAY_POD_NAME"
    ATTEMPT_UID: Final = "SLIPWAY_POD_UID"

    OPENLINEAGE_URL: Final = "SLIPWAY_OPENLINEAGE_URL"
    """Where the trainer tells OpenLineage events, if the installation names an endpoint."""
    OPENLINEAGE_FILE: Final = "SLIPWAY_OPENLINEAGE_FILE"
    """Not empty: the trainer writes the events into ``OPENLINEAGE_FILE`` of the run's folder."""
    OPENLINEAGE_TOKEN: Final = "SLIPWAY_OPENLINEAGE_TOKEN"  # noqa: S105 - a name, not a token
    """Key ``token`` of the namespace's Secret ``slipway-openlineage``, if there is one; sent as a bearer token."""
    SIGNING_KEY: Final = "SLIPWAY_SIGNING_KEY"
    """PEM of the private key, from the Secret that the namespace's ``slipway-signing`` names; only the pod that signs
    has it."""

    # What a program started by `command:` sees (design: "What training code sees").
    DATA: Final = "SLIPWAY_DATA"
    OUTPUT: Final = "SLIPWAY_OUTPUT"
    PARAMETERS: Final = "SLIPWAY_PARAMETERS"
    SEED: Final = "SLIPWAY_SEED"
    WEIGHTS: Final = "SLIPWAY_WEIGHTS"
    KUBEFLOW_URL: Final = "KUBEFLOW_TRAINER_SERVER_URL"
    KUBEFLOW_TOKEN: Final = "KUBEFLOW_TRAINER_SERVER_TOKEN"  # noqa: S105 - a name, not a token

    # What the Secret of `spec.code.git` holds (``GitKeys``), in the container that fetches the code only.
    GIT: Final = "SLIPWAY_GIT_"


class GitKeys:
    """Keys of the Secret that ``spec.code.git.secret`` names: those of ``kubernetes.io/basic-auth`` and ``url`` for
    http(s), those of ``kubernetes.io/ssh-auth`` and ``known_hosts`` for ssh (Kubernetes: Secret, "Secret types").

    Each reaches the container as ``SLIPWAY_GIT_<KEY>`` (``git_env``). Who may write a TrainingRun may not be allowed to
    read Secrets: ``url`` and ``known_hosts`` say whom the credentials are for, so that naming a Secret in a run sends
    nothing of it anywhere else, and nothing at all of a Secret that was not made for git.
    """

    URL: Final = "url"
    """How the addresses begin that user and password may be sent to, for example ``https://git.example.com``."""
    USERNAME: Final = "username"
    PASSWORD: Final = "password"  # noqa: S105 - a name, not a password
    SSH_KEY: Final = "ssh-privatekey"
    KNOWN_HOSTS: Final = "known_hosts"
    """Lines as ``ssh-keyscan`` writes them: the hosts' public keys, so that nobody else is taken for them."""
    AUTHORITY: Final = "ca.crt"
    """The certificate authority of an https server, where it is one that the image does not know."""

    HTTP: Final = (URL, USERNAME, PASSWORD, AUTHORITY)
    SSH: Final = (SSH_KEY, KNOWN_HOSTS)
    OPTIONAL: Final = (USERNAME, PASSWORD, AUTHORITY)


def is_ssh(url: str) -> bool:
    """Whether git reaches a repository by ssh.

    >>> is_ssh("git@example.com:team/digits.git"), is_ssh("ssh://git@example.com/digits"), is_ssh("https://a/b")
    (True, True, False)
    """
    return url.startswith("ssh://") or "://" not in url


def git_env(key: str) -> str:
    """Name of the environment variable that carries one key of a git Secret.

    >>> git_env("ssh-privatekey")
    'SLIPWAY_GIT_SSH_PRIVATEKEY'
    """
    return f"{Env.GIT}{key}".replace("-", "_").replace(".", "_").upper()


class StoreKeys:
    """Keys of the ConfigMap and of the Secret, both named ``slipway-store-<place>``, that give a namespace an S3 place.

    Each place's keys reach a pod as ``SLIPWAY_STORE_<PLACE>_<KEY>`` (``store_env``), so one pod can use several.
    """

    ENDPOINT: Final = "endpoint"
    """``http(s)://host:port`` of the S3 server."""
    BUCKET: Final = "bucket"
    """Bucket for what Slipway writes (models, checkpoints)."""
    PREFIX: Final = "prefix"
    """Optional key prefix inside the bucket, without leading or trailing slash."""
    REGION: Final = "region"
    """Optional; ``us-east-1`` where absent."""
    ACCESS_KEY: Final = "accessKey"
    SECRET_KEY: Final = "secretKey"  # noqa: S105 - a name, not a key

    CONFIG: Final = (ENDPOINT, BUCKET, PREFIX, REGION)
    SECRET: Final = (ACCESS_KEY, SECRET_KEY)
    OPTIONAL: Final = (PREFIX, REGION)


PACKAGES_FILE: Final = "packages.txt"
WEIGHTS_FILE: Final = "model.safetensors"
OPENLINEAGE_FILE: Final = "openlineage.ndjson"
"""Files of a run's folder, beside ``result.json``. The last is there only where the installation asks for it: the
run's OpenLineage events, one a line."""


def beside(result: str, name: str) -> str:
    """The URI of another file of a run's folder: only one URI has to fit the termination message.

    >>> beside("s3://models/digits/runs/1/result.json", PACKAGES_FILE)
    's3://models/digits/runs/1/packages.txt'
    """
    return f"{result.rpartition('/')[0]}/{name}"


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` URI; the key of a whole bucket is empty.

    Everything behind the first slash is the key, as S3 has it: ``#``, ``?``, ``%`` and a slash at its beginning are
    letters of a key like others. ``urllib.parse.urlsplit`` would take the first two for the end of the path, and who
    reads by it looks at another object than who does not.

    Raises:
        ContractError: it is no such URI.

    >>> split_s3("s3://models/digits/v3#2/model.onnx")
    ('models', 'digits/v3#2/model.onnx')
    """
    bucket, slash, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not slash:
        raise ContractError(f"{uri!r} is no address of S3: write s3://bucket/key")
    return bucket, key


def store_object_name(place: str) -> str:
    """Name of the ConfigMap and of the Secret of an S3 place.

    >>> store_object_name("default")
    'slipway-store-default'
    """
    return f"slipway-store-{place}"


def store_env(place: str, key: str) -> str:
    """Name of the environment variable that carries one key of an S3 place into a pod.

    >>> store_env("team-a", "accessKey")
    'SLIPWAY_STORE_TEAM_A_ACCESSKEY'
    """
    return f"SLIPWAY_STORE_{place}_{key}".replace("-", "_").replace(".", "_").upper()


# ------------------------------------------------------------------------------------------------- model files

ONNX_DATATYPES: Final = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
"""onnxruntime's name of a type to that of the Open Inference Protocol v2 (open-inference/open-inference-protocol,
specification/protocol/inference_rest.md, "Tensor Data Types"). What is not here (bfloat16, maps) is neither
registered nor served."""

ONNX_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Operators outside these need code that the server does not have, or bring their own."""


# --------------------------------------------------------------------------------------------- shared documents


@dataclass(frozen=True)
class Tensor:
    """One input or output. ``datatype`` is a name of the Open Inference Protocol v2; -1 in ``shape`` is any size."""

    name: str
    datatype: str
    shape: list[int]


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives. The first dimension of every tensor is the batch (-1)."""

    inputs: list[Tensor]
    outputs: list[Tensor]


@dataclass(frozen=True)
class Artifact:
    """The ONNX file: where it lies, in which place, its ``sha256:<hex>`` and its size in bytes."""

    uri: str
    digest: str
    size: int
    store: str = "default"


@dataclass(frozen=True)
class Metric:
    """A named number, as text (no floats in Kubernetes objects). ``best`` is absent where it is not known."""

    name: str
    value: str
    best: str | None = None


@dataclass(frozen=True)
class Failure:
    """Why a pod gave up. ``reason`` is CamelCase for machines, ``message`` is a sentence that says what to do."""

    reason: str
    message: str
    v: int = VERSION


# ------------------------------------------------------------------------------------------------------ training


@dataclass(frozen=True)
class DataSpec:
    """One data set to fetch. ``uri`` is ``s3://bucket/key`` (a file) or ``s3://bucket/prefix/`` (all below it).

    ``dataset`` is the Dataset that the run names; ``digest`` is its version then, ``manifest`` the URI of the lines
    whose sha256 that is, in the place ``manifestStore``: by it a pod that finds other data says which files they are.
    """

    name: str
    uri: str
    store: str = "default"
    digest: str | None = None
    dataset: str | None = None
    manifest: str | None = None
    manifestStore: str = "default"


@dataclass(frozen=True)
class ReproduceSpec:
    """The ModelVersion that this training is to make once more: its file, and what was measured of it.

    Two numbers agree where they differ by at most ``absolute + relative * |the original's|``; both are decimals as
    text.
    """

    modelVersion: str
    uid: str
    artifact: Artifact
    metrics: list[Metric] = field(default_factory=list)
    metricsCut: int = 0
    absolute: str = "0"
    relative: str = "0"


@dataclass(frozen=True)
class GitSpec:
    """Code in a git repository: a branch, a tag or a whole commit of it, and the folder ``path`` alone where one is
    given. ``secret`` is a Secret's name, for sentences."""

    url: str
    revision: str
    path: str | None = None
    secret: str | None = None


@dataclass(frozen=True)
class ParentSpec:
    """The ModelVersion that the training begins from, and the file with its weights (safetensors)."""

    modelVersion: str
    weights: Artifact


@dataclass(frozen=True)
class TrainSpec:
    """What the trainer is asked to do; ``runUid`` names the run's place in the store.

    ``threads`` is how many threads one operation takes. How a sum is split among them changes its last digits, so it
    comes from the run's spec and never from the node: a pod of ours has no CPU limit by which it could be told.
    """

    namespace: str
    run: str
    runUid: str
    model: str
    entrypoint: str | None = None
    command: list[str] | None = None
    codeConfigMap: str | None = None
    codeGit: GitSpec | None = None
    parent: ParentSpec | None = None
    data: list[DataSpec] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    outputStore: str = "default"
    threads: int = 1
    reproduce: ReproduceSpec | None = None
    v: int = VERSION


@dataclass(frozen=True)
class DataResult:
    """What was read: the manifest digest (design: lineage, "Digests"), the number of files and their bytes."""

    name: str
    uri: str
    digest: str
    files: int
    bytes: int


@dataclass(frozen=True)
class CodeResult:
    """The commit that trained."""

    commit: str


@dataclass(frozen=True)
class WeightsResult:
    """The weights that were kept: ``WEIGHTS_FILE`` of the run's folder, its ``sha256:<hex>`` and its size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Gpu:
    product: str
    count: int


@dataclass(frozen=True)
class Environment:
    """What the training ran on. ``packages`` is the digest of the sorted ``name==version`` lines, which are
    ``PACKAGES_FILE`` of the run's folder. ``threads`` is how many threads one operation took."""

    python: str
    torch: str | None = None
    onnxruntime: str | None = None
    cuda: str | None = None
    cudnn: str | None = None
    driver: str | None = None
    gpu: Gpu | None = None
    threads: int | None = None
    packages: str | None = None


@dataclass(frozen=True)
class Parity:
    """Largest absolute difference between torch and ONNX over ``rows`` rows, as text."""

    maxAbsDiff: str
    rows: int


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was. ``what`` is a word (``artifact``), ``message`` says then and now."""

    what: str
    message: str


@dataclass(frozen=True)
class Reproduction:
    """What came of making a ModelVersion once more, as far as the pod can see.

    ``verdict`` is ``Identical`` (the same bytes), ``WithinTolerance`` (other bytes, which answer alike and measure
    alike) or ``Different``. ``maxAbsDiff`` is how far the two files' answers are apart over ``rows`` rows, as text;
    both are absent where the files were not compared (the same bytes need it not).
    """

    modelVersion: str
    uid: str
    verdict: str
    differs: list[Difference] = field(default_factory=list)
    maxAbsDiff: str | None = None
    rows: int | None = None


@dataclass(frozen=True)
class TrainResult:
    """The result of a finished training. ``result`` is the URI of the full record in the store.

    ``metrics`` is cut to what fits the termination message; ``metricsCut`` says how many were left out.
    ``codeDigest`` is the digest of a mounted ConfigMap's files as the pod saw them, ``code`` says the same of git.
    """

    artifact: Artifact
    signature: Signature
    metrics: list[Metric]
    data: list[DataResult]
    environment: Environment
    result: str
    startedAt: str
    finishedAt: str
    parity: Parity | None = None
    codeDigest: str | None = None
    code: CodeResult | None = None
    weights: WeightsResult | None = None
    metricsCut: int = 0
    reproduction: Reproduction | None = None
    v: int = VERSION


@dataclass(frozen=True)
class Progress:
    """Where a training is. ``step`` of ``of``; ``metrics`` holds the newest and the best value of each name.

    ``message`` says what is done where no step is known yet ("fetching data train, 3 of 10 files").
    """

    step: int = 0
    of: int = 0
    metrics: list[Metric] = field(default_factory=list)
    message: str = ""
    v: int = VERSION


# ------------------------------------------------------------------------------------------------------ data sets

DATASET_FORMATS: Final = ("Csv", "Parquet", "Npz", "Images", "Files")
"""What the files of a data set are. ``Files``: anything; digest, count and size only, no columns, no profile."""

COLUMN_TYPES: Final = ("Integer", "Number", "Boolean", "String", "Timestamp")
"""What a column holds. An Integer is a Number too; every value is a String where it is written as text (CSV)."""


@dataclass(frozen=True)
class ColumnSpec:
    """A column that every file must have: its type (``COLUMN_TYPES``), and whether a value may be missing.

    Columns of ``Npz`` are its arrays; those of ``Images`` are always ``label`` (the folder that the file lies in),
    ``width``, ``height``, ``channels``, ``brightness`` (0 to 255), ``format`` and ``bytes``.
    """

    name: str
    type: str
    nullable: bool = True


@dataclass(frozen=True)
class CheckSpec:
    """What must hold of one column, or of the whole set where ``column`` is absent; every rule given is checked.

    Of a column: ``notNull``, ``unique`` (over all files), ``min`` and ``max`` (a number, or a time in ISO 8601, as
    text), ``allowed`` (values as text), ``matches`` (a regular expression of RE2 that the whole value must match),
    ``maxMissing`` (a share from 0 to 1, as text). Missing values break ``notNull`` and ``maxMissing`` only.
    Of the set: ``minRows``, ``maxRows``, ``minFiles``.
    """

    column: str | None = None
    notNull: bool = False
    unique: bool = False
    min: str | None = None
    max: str | None = None
    allowed: list[str] | None = None
    matches: str | None = None
    maxMissing: str | None = None
    minRows: int | None = None
    maxRows: int | None = None
    minFiles: int | None = None


@dataclass(frozen=True)
class DatasetSpec:
    """What the dataset program (``python3 -m slipway_dataset`` in the trainer image) is asked to read.

    ``uri`` is that of ``DataSpec``, in the S3 place ``store``; manifest, profile and the state of earlier tries go to
    ``<prefix>/datasets/<dataset>/`` of the place ``outputStore``. ``uid`` is that of the Dataset. Without
    ``quoteValues`` no sentence holds a value of the data.
    """

    namespace: str
    dataset: str
    uid: str
    uri: str
    store: str = "default"
    outputStore: str = "default"
    format: str = "Files"
    schema: list[ColumnSpec] = field(default_factory=list)
    checks: list[CheckSpec] = field(default_factory=list)
    quoteValues: bool = True
    v: int = VERSION


@dataclass(frozen=True)
class CheckFailure:
    """A check that does not hold. ``message`` is one sentence with numbers, and a file and row where it shows.

    ``check`` is ``<column>.<rule>`` with a rule of ``CheckSpec`` or one of ``present``, ``type``, ``nullable``
    (schema); ``<rule>`` for the whole set; or ``readable``: a file is not of the format.
    """

    check: str
    message: str


@dataclass(frozen=True)
class DatasetResult:
    """What one version of a data set is. A failed check is a result: the pod ends well.

    ``digest`` is the manifest digest, the same that a training takes of the same files; ``manifest`` is the URI of
    the file whose sha256 it is. ``rows`` and ``columns`` are None for ``Files``, and so is ``profile``, the URI of the
    profile. ``read`` is how many files were read this time. ``checked`` is how many rules were looked at;
    ``failures`` is cut to what fits the termination message, ``failuresCut`` says how many were left out (the profile
    has them all). The data passed where both say that nothing failed (``passed``).
    """

    digest: str
    files: int
    bytes: int
    read: int
    manifest: str
    rows: int | None = None
    columns: int | None = None
    profile: str | None = None
    checked: int = 0
    failures: list[CheckFailure] = field(default_factory=list)
    failuresCut: int = 0
    v: int = VERSION

    @property
    def passed(self) -> bool:
        """Whether every check holds.

        >>> DatasetResult("sha256:00", 1, 5, 1, "s3://models/m.txt", failures=[CheckFailure("minRows", "few")]).passed
        False
        """
        return not self.failures and not self.failuresCut


# ------------------------------------------------------------------------------------------------------- serving


@dataclass(frozen=True)
class Comparison:
    """A shadow compares its own answers, by request id, with those of the pods whose requests it gets a copy of.

    ``peers`` is ``host:port`` of a headless Service whose addresses are those pods, and their METRICS_PORT. Two
    numbers agree where they differ by at most ``absolute + relative * |the peer's|``; both are decimals as text (no
    floats in Kubernetes objects). ``examples`` is how many answers that disagree are kept, with their inputs, for who
    may exec into the pod; 0 keeps none.
    """

    peers: str
    absolute: str = "0"
    relative: str = "0"
    examples: int = 0


@dataclass(frozen=True)
class ServeSpec:
    """What the server (or ``verify``) is asked to load.

    ``maxBatch`` is in rows, ``maxDelayMs`` in milliseconds (at most ``MAX_DELAY_MS``, and below ``timeoutMs``),
    ``queueLimit`` in requests waiting, ``timeoutMs`` in milliseconds a request may wait and run, ``maxBodyBytes`` in
    bytes. ``drainSeconds`` is how long a pod that was told to stop goes on answering while the gateway takes it out of
    its list.
    """

    namespace: str
    model: str
    modelVersion: str
    version: int
    artifact: Artifact
    signature: Signature
    deployment: str = ""
    maxBatch: int = 32
    maxDelayMs: int = 0
    queueLimit: int = 128
    timeoutMs: int = 30_000
    maxBodyBytes: int = 64 * 1024 * 1024
    drainSeconds: int = 10
    comparison: Comparison | None = None
    v: int = VERSION


@dataclass(frozen=True)
class VerifyResult:
    """``verify`` loaded the file: its digest, the execution provider that took it, and its opset."""

    digest: str
    provider: str
    onnxruntime: str
    opset: int
    v: int = VERSION


# ------------------------------------------------------------------------------------------------------ evidence


@dataclass(frozen=True)
class EvidenceSpec:
    """What the pod that signs is asked to do: to sign the file, or to check its signature where it has no key.

    ``publicKey`` is PEM. ``statement`` is the in-toto statement of the version's provenance, as JSON; absent for a
    model that was trained elsewhere.
    """

    namespace: str
    modelVersion: str
    artifact: Artifact
    publicKey: str
    statement: str | None = None
    v: int = VERSION


@dataclass(frozen=True)
class EvidenceResult:
    """The signature of the file and of its provenance, which verify with the key of fingerprint ``key``.

    ``signature`` and ``provenance`` are URIs, the digests are of what lies there; there is no provenance of a model
    that was trained elsewhere. ``signed`` is True where this pod signed, False where it found a signature.
    """

    key: str
    signature: str
    signatureDigest: str
    signed: bool
    provenance: str | None = None
    provenanceDigest: str | None = None
    v: int = VERSION


@dataclass(frozen=True)
class DiscardResult:
    """``discard`` deleted the file of this digest; ``was`` is False where none was there any more."""

    digest: str
    was: bool = True
    v: int = VERSION


# ----------------------------------------------------------------------------------------------------- documents


FILE_FAILURES: Final = frozenset({"DigestMismatch", "UnsafeModel", "SignatureMismatch", "LoadFailed"})
"""Reasons of a ``Failure`` of ``verify`` that say something about the file itself, so that no later try can end
otherwise. Every other one (store, credentials, a pod that was killed) says nothing about the file."""


class ContractError(ValueError):
    """A document does not hold what the contract says; the message names the field."""


T = TypeVar("T")


def dumps(document: Any) -> str:
    """Compact JSON of one of the dataclasses above, without the fields that are None.

    >>> dumps(Failure("NoData", "give a bucket"))
    '{"message":"give a bucket","reason":"NoData","v":1}'
    """
    return json.dumps(_plain(document), separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def loads(kind: type[T], text: str | bytes) -> T:
    """Read one of the dataclasses above. Unknown fields are passed over (an older reader, a newer writer).

    Raises:
        ContractError: not JSON, another version, a field that is missing or has the wrong type.

    >>> loads(Failure, '{"message":"m","reason":"R","v":1}')
    Failure(reason='R', message='m', v=1)
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ContractError(f"not a JSON document: {error}") from None
    if not isinstance(raw, dict):
        raise ContractError("not a JSON object")
    if raw.get("v") != VERSION:
        raise ContractError(f"version {raw.get('v')!r} of the document is not {VERSION}")
    made: T = _build(kind, raw, kind.__name__)
    return made


def _plain(value: Any) -> Any:
    """JSON types without what is None. Three times faster than ``asdict``, which copies every leaf; the operator does
    this for each workload that it looks at."""
    if isinstance(value, str | int):
        return value  # nearly every leaf
    if is_dataclass(value):
        return {k: _plain(v) for k, v in vars(value).items() if v is not None}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def _build(kind: Any, raw: Any, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        if not isinstance(raw, dict):
            raise ContractError(f"{where}: an object was expected")
        hints = get_type_hints(kind)
        known = {f.name: raw[f.name] for f in fields(kind) if f.name in raw}
        built = {name: _build(hints[name], value, f"{where}.{name}") for name, value in known.items()}
        try:
            return kind(**built)  # type: ignore[operator]  # `kind` is a dataclass type, which mypy cannot narrow to
        except TypeError as error:
            raise ContractError(f"{where}: {error}") from None
    if origin is list:
        if not isinstance(raw, list):
            raise ContractError(f"{where}: a list was expected")
        return [_build(args[0], item, f"{where}[{i}]") for i, item in enumerate(raw)]
    if origin is dict:
        if not isinstance(raw, dict):
            raise ContractError(f"{where}: an object was expected")
        return {str(k): _build(args[1], v, f"{where}.{k}") for k, v in raw.items()}
    if args:  # X | None is the only union used
        return None if raw is None else _build(next(a for a in args if a is not type(None)), raw, where)
    if not isinstance(raw, kind) or (kind is int and isinstance(raw, bool)):
        raise ContractError(f"{where}: {kind.__name__} was expected, found {type(raw).__name__}")
    return raw
