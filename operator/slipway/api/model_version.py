"""ModelVersion: one model file with its whole origin. What it is cannot be changed; what it is called can."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from slipway.api.common import (
    DIGEST,
    GROUP,
    LIST_ATOMIC,
    LIST_SET,
    S3_FILE,
    AliasName,
    Column,
    Condition,
    Digest,
    Kind,
    Model,
    ModelName,
    ModelVersionName,
    Name,
    ObjectName,
    PlaceName,
    Rule,
    Time,
    conditions,
    immutable,
    list_map,
    matching,
    rules,
)
from slipway.api.training_run import Ancestry, GateLineage, MetricStatus, Verdict

CREATED_BY_ANNOTATION: Final = f"{GROUP}/created-by"
"""On a TrainingRun and on the version that it makes: the user name of who applied the run. Nobody is asked for it but
in a namespace that wants four eyes; where it stands, the chart's admission policy holds it to the truth."""

LINEAGE_ANNOTATION: Final = f"{GROUP}/lineage"
"""Carries the lineage into a new ModelVersion: the API server drops a status at creation, and a version without
its origin must not exist even for a moment. The registry copies it into status, and then removes it."""

Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
]


class Artifact(Model):
    """The ONNX file. It is never served unless its sha256 is this one."""

    uri: Annotated[
        str, Field(max_length=1024, json_schema_extra=matching(S3_FILE, "write s3://bucket/key of one ONNX file"))
    ]
    """Where it lies."""
    digest: Digest
    """The sha256 of its bytes."""
    size: int = Field(ge=1, le=2**31)
    """Bytes; ONNX in one file holds at most 2 GiB."""
    store: PlaceName = "default"
    """The S3 place whose endpoint and credentials reach it."""

    def fault(self) -> str | None:
        """What the API server would refuse about an artifact that a pod or a person names somewhere else than in a
        spec; None where it is good. (Reading checks no CEL rule.)"""
        if not re.match(S3_FILE, self.uri):
            return f"the artifact's uri {self.uri[:200]!r} is no s3://bucket/key of one file"
        if not re.match(DIGEST, self.digest):
            return f"the artifact's digest {self.digest!r} is not sha256: and 64 digits of 0-9 and a-f"
        return None


class TensorSpec(Model):
    """One input or output, in the words of the Open Inference Protocol v2."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """The name in the ONNX file."""
    datatype: Datatype
    """The type of its elements."""
    shape: Annotated[
        list[int],
        Field(
            max_length=16,
            json_schema_extra=rules(
                Rule(
                    "size(self) > 0 && self.all(d, d == -1 || d > 0)",
                    "write one number for each dimension, the batch first: -1 for any size, else 1 or more, "
                    "for example [-1, 64]",
                ),
                **LIST_ATOMIC,
            ),
        ),
    ]
    """-1 is any size; the first dimension is the batch."""


class ModelSignature(Model):
    """What the model takes and gives."""

    inputs: list[TensorSpec] = Field(min_length=1, max_length=64, json_schema_extra=list_map("name"))
    """What a request must hold."""
    outputs: list[TensorSpec] = Field(min_length=1, max_length=64, json_schema_extra=list_map("name"))
    """What an answer holds."""


class Source(Model):
    """Where a model comes from that was trained elsewhere, in the words of whoever registers it. Nobody checks them:
    they are kept as they were said."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule("has(self.description) || has(self.url)", "write description, url or both, or leave source out")
        )
    )

    description: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """For people: who trained it, on what, when."""
    url: (
        Annotated[
            str,
            Field(
                max_length=1024,
                json_schema_extra=matching(
                    r"^https?://[^\s/@]+(/[^\s]*)?$",
                    "write http://... or https://..., without a user or a password in it",
                ),
            ),
        ]
        | None
    ) = None
    """A page about it. Slipway never fetches it."""


class PromotedFrom(Model):
    """The version of another namespace that this one is a copy of. Both Namespaces must allow it: the other by the
    annotation slipway.dev/promote-to, this one by slipway.dev/promote-from."""

    namespace: Name
    """Where the original is."""
    model_version: ModelVersionName
    """The original: it must be Ready."""


class Approval(Model):
    """Whether somebody has to agree before the version may be used, and what was said. Who may write it is the chart's
    admission policy's business: the verb ``approve`` on ``modelversions``."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.state == 'Pending' || has(self.by)",
                "write by: the user name of who decided (kubectl slipway approve fills it in)",
            )
        )
    )

    required: bool = False
    """True: the version is not Ready before it is approved."""
    state: Literal["Pending", "Approved", "Rejected"] = "Pending"
    """What was decided. A rejected version is not Ready, whether approval is required or not."""
    by: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The user name of who decided."""
    comment: Annotated[str, Field(max_length=1024)] | None = None
    """Why."""


class ModelVersionSpec(Model):
    """What was registered."""

    model: ModelName
    """The model that this is a version of; clients ask for it by this name."""
    version: int = Field(ge=1, le=999_999_999)
    """The number, never used twice for a model."""
    artifact: Artifact
    signature: ModelSignature
    training_run: ObjectName | None = None
    """The TrainingRun that made it; absent for a model that was trained elsewhere."""
    source: Source | None = None
    """For a model that was trained elsewhere: where it comes from."""
    promoted_from: PromotedFrom | None = None
    """For a copy of a version of another namespace: model, version, digest, size and signature must be the same; the
    file may lie elsewhere."""
    approval: Approval | None = None
    """Absent: the version is Ready as soon as its file is verified."""
    aliases: list[AliasName] = Field(default=[], max_length=8, json_schema_extra=LIST_SET)
    """Names that move: of all versions of a model that list an alias, the highest number that is Ready holds it."""
    archived: bool = False
    """True: no new Deployment may take this version. Refused while a Deployment runs it."""
    artifact_policy: Literal["Keep", "Delete"] = "Keep"
    """What becomes of the file once the version is archived. ``Delete`` cannot be taken back; the lineage stays."""


ModelVersionSpec.model_config["json_schema_extra"] = rules(
    Rule(
        "[has(self.trainingRun), has(self.source), has(self.promotedFrom)].filter(one, one).size() <= 1",
        "write trainingRun for a model that was trained here, or source for one that was trained elsewhere, or "
        "promotedFrom for a copy of another namespace's: one of them, or none",
    ),
    *immutable(
        ModelVersionSpec,
        but=("approval", "aliases", "archived", "artifactPolicy"),
        why="a ModelVersion is what was registered; register another version",
    ),
)


class RunLineage(Model):
    """The run that made it."""

    name: str
    uid: str
    created_by: str | None = None
    """Who applied it, by its annotation slipway.dev/created-by; the chart's admission policy holds it to the truth."""
    started_at: Time | None = None
    finished_at: Time | None = None
    attempts: int = 0


class ImageLineage(Model):
    """The image by the name that was asked for and by the digest that the kubelet reported."""

    ref: str
    digest: str | None = None
    pinned: str | None = None
    """The name by digest under which the node had it, ``name@sha256:...``: what a pod can ask for to get the very same
    image. Absent where the image was put into the node by hand and no registry gave it a digest."""


class CodeConfigMap(Model):
    name: str
    digest: str | None = None
    """Manifest digest of the files as the pod saw them."""


COMMIT: Final = "^([0-9a-f]{40}|[0-9a-f]{64})$"
"""As git names commits: by SHA-1, or by SHA-256 in a repository of that kind."""


class CodeGit(Model):
    """The commit that trained, and the revision that named it then."""

    url: str
    revision: str
    commit: str
    path: str | None = None


class CodeLineage(Model):
    config_map: CodeConfigMap | None = None
    git: CodeGit | None = None
    image: ImageLineage
    entrypoint: str | None = None
    command: list[str] | None = Field(default=None, json_schema_extra=LIST_ATOMIC)


class DataLineage(Model):
    """One data set as it was read."""

    name: str
    uri: str
    store: str = "default"
    """The S3 place that it was read from."""
    digest: str
    files: int
    bytes: int
    dataset: str | None = None
    """The Dataset that the run named; absent where it named an address."""
    version: str | None = None
    """The version of that Dataset, which is the digest that was asked for and read."""
    profile: str | None = None
    """S3 URI of the profile of the data, as its Dataset's check took it: the baseline for drift."""


class GpuLineage(Model):
    product: str
    count: int


class EnvironmentLineage(Model):
    """What the training ran on. What is not known is absent."""

    python: str
    torch: str | None = None
    onnxruntime: str | None = None
    cuda: str | None = None
    cudnn: str | None = None
    driver: str | None = None
    gpu: GpuLineage | None = None
    threads: int | None = None
    """How many threads one operation took: how a sum is split among them changes its last digits."""
    packages: str | None = None
    """The sha256 of the list of Python packages, one ``name==version`` a line."""
    packages_uri: str | None = None
    """S3 URI of that list."""


class ParityLineage(Model):
    """Largest absolute difference between torch and ONNX over so many rows."""

    max_abs_diff: str
    rows: int


class ReproductionRecord(Model):
    """One time that the version was made once more."""

    training_run: str
    uid: str
    """Of the run: a name may be used again."""
    verdict: Verdict
    detail: Annotated[str, Field(max_length=1024)] = ""
    """What differed."""
    at: Time
    """When that run ended."""


class ParentLineage(Model):
    """The version that the training began from, and the digest of its weights."""

    model_version: str
    digest: str


class WeightsLineage(Model):
    """The model's weights as safetensors, under the names of ``state_dict()``: what another training may begin from."""

    uri: str
    digest: str
    size: int
    store: str = "default"


PROMOTIONS: Final = 16
"""Steps from namespace to namespace that a lineage lists."""


class Promotion(Model):
    """One step from a namespace to the next."""

    namespace: str
    """Where it came from."""
    model_version: str
    created_by: str | None = None
    """Who made it there (applied its run, registered or promoted it), by its annotation slipway.dev/created-by; absent
    where it did not say."""
    at: Time


class Lineage(Model):
    """From the data to the file. What is not known of a model that was trained elsewhere is absent."""

    origin: Literal["Trained", "Imported", "Promoted"] = "Trained"
    """``Trained``: a TrainingRun of this namespace made it, and what follows is what its pod reported. ``Imported``:
    it was trained elsewhere, and nobody here knows of what. ``Promoted``: a copy of another namespace's version, whose
    lineage this is."""
    promotions: list[Promotion] = Field(default=[], max_length=PROMOTIONS, json_schema_extra=LIST_ATOMIC)
    """The namespaces that it came through, the newest last; one may come twice. The first and the newest 15: whoever
    made the original is never forgotten."""
    source: Source | None = None
    """Where an imported model comes from, by ``spec.source``."""
    training_run: RunLineage | None = None
    code: CodeLineage | None = None
    data: list[DataLineage] = Field(default=[], max_length=32, json_schema_extra=list_map("name"))
    parameters: dict[str, str] = Field(default={})
    seed: int | None = None
    environment: EnvironmentLineage | None = None
    metrics: list[MetricStatus] = Field(default=[], max_length=64, json_schema_extra=list_map("name"))
    metrics_cut: int | None = None
    """How many metrics were left out because the list has a limit; they are in ``result``."""
    gates: list[GateLineage] = Field(default=[], max_length=16, json_schema_extra=list_map("metric"))
    """The gates that it passed: what each said when the training had ended."""
    artifact: Artifact
    parity: ParityLineage | None = None
    parent: ParentLineage | None = None
    """What it was fine-tuned from."""
    ancestry: Ancestry | None = None
    """What that one, and all before it, were made of. Absent where there is none, and in a lineage that an operator of
    an earlier release wrote."""
    weights: WeightsLineage | None = None
    """Absent for what a program wrote."""
    result: str | None = None
    """S3 URI of the full record that the trainer wrote."""
    reproductions: list[ReproductionRecord] = Field(default=[], max_length=20, json_schema_extra=list_map("uid"))
    """The times that the version was made once more, the newest first; the newest 20."""
    reproductions_cut: int | None = None
    """At least how many older ones were left out."""

    def made_in(self, namespace: str) -> str:
        """The namespace in which it was made, and in which run, code and parent are to be looked for.

        Args:
            namespace: that of the version.
        """
        return self.promotions[0].namespace if self.promotions else namespace


class Verification(Model):
    """The pod that loaded the file and found it as registered."""

    digest: Digest
    provider: str
    """The execution provider of onnxruntime that took it."""
    onnxruntime: str
    verified_at: Time


class VerificationFailure(Model):
    """What is wrong with the file. It is final: the spec cannot change, and the digest names the bytes."""

    reason: Annotated[str, Field(max_length=64)]
    message: Annotated[str, Field(max_length=4096)]


class ArtifactDeletion(Model):
    """The end of the file."""

    since: Time
    """When it began; from then on the version cannot be taken back."""
    at: Time | None = None
    """When the file was gone; absent while it is being deleted."""


class ApprovalStatus(Model):
    """What was decided about the version, as the operator found it."""

    state: Literal["Approved", "Rejected"]
    by: str
    at: Time
    """When the operator saw it."""
    comment: str | None = None


class SignedDocument(Model):
    """A signature or a signed statement: an in-toto statement in a Sigstore bundle."""

    uri: str
    digest: Digest


class Evidence(Model):
    """What a pod signed, or found signed and good."""

    key: Digest
    """Fingerprint of the key: sha256 of the PEM of its public half."""
    signature: SignedDocument
    """Of the model file, as OpenSSF's model-signing reads it."""
    provenance: SignedDocument | None = None
    """SLSA provenance of the version, signed; absent for a model that was trained elsewhere."""
    verified_at: Time


class DeploymentRef(Model):
    """A Deployment that runs this version."""

    name: str
    role: Literal["stable", "candidate", "shadow"]
    """``shadow``: a candidate that gets copies of requests, and whose answers no client sees."""


class ModelVersionStatus(Model):
    """What is known about it."""

    observed_generation: int = 0
    phase: Literal["Verifying", "AwaitingApproval", "Ready", "Rejected", "Archived", "Failed"] = "Verifying"
    message: Annotated[str, Field(max_length=4096)] = ""
    verification: Verification | None = None
    failure: VerificationFailure | None = None
    numbered: bool | None = None
    """True once the ledger of the model's numbers (ConfigMap ``slipway-versions-<model>``) knows the version: no other
    file gets its number, not even after it was deleted."""
    verify_tries: int = 0
    """Verification Jobs that ended without saying anything about the file (store down, wrong credentials)."""
    approval: ApprovalStatus | None = None
    """The decision that stands; absent while there is none."""
    evidence: Evidence | None = None
    """Who signed it, where the namespace has a ConfigMap ``slipway-signing``. A key that is changed later takes nothing
    back."""
    evidence_tries: int = 0
    """Signing Jobs that ended without a signature."""
    artifact_deletion: ArtifactDeletion | None = None
    held_aliases: list[str] = Field(default=[], max_length=8, json_schema_extra=LIST_SET)
    """The aliases of the spec that this version holds."""
    lineage: Lineage | None = None
    deployments: list[DeploymentRef] = Field(default=[], max_length=100, json_schema_extra=list_map("name", "role"))
    """The way back: who runs it; at most 100, ``deploymentsCut`` says how many more."""
    deployments_cut: int | None = None
    conditions: list[Condition] = conditions()


MODEL_VERSION: Final = Kind(
    kind="ModelVersion",
    plural="modelversions",
    singular="modelversion",
    short="mver",
    spec=ModelVersionSpec,
    status=ModelVersionStatus,
    description="One version of a model, with its lineage in status.",
    rules=(
        Rule(
            # Not `name == model + '-v' + string(version)`: the API server takes the text of a number for boundless
            # and refuses the rule for its cost.
            "self.metadata.name.startsWith(self.spec.model + '-v') && self.metadata.name.matches('-v[1-9][0-9]{0,8}$') "
            "&& int(self.metadata.name.substring(size(self.spec.model) + 2)) == self.spec.version",
            "metadata.name must be <spec.model>-v<spec.version>, for example digits-v3",
        ),
        Rule(
            "!self.spec.archived || oldSelf.spec.archived || !has(self.status) || !has(self.status.deployments) || "
            "size(self.status.deployments) == 0",
            "archived cannot be set while Deployments run this version (status.deployments): let them name another "
            "version first",
            field_path=".spec.archived",
        ),
        Rule(
            "self.spec.archived || !oldSelf.spec.archived || !has(self.status) || !has(self.status.artifactDeletion)",
            "archived cannot be taken back: the file was deleted (status.artifactDeletion)",
            field_path=".spec.archived",
        ),
    ),
    columns=(
        Column("Phase", ".status.phase"),
        Column("Model", ".spec.model"),
        Column("Version", ".spec.version", "integer"),
        Column("Aliases", ".status.heldAliases"),
        Column("Run", ".spec.trainingRun"),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Digest", ".spec.artifact.digest", priority=1),
        Column("Signer", ".status.evidence.key", priority=1),
        Column("From", ".spec.promotedFrom.namespace", priority=1),
        Column("Message", ".status.message", priority=1),
    ),
)
