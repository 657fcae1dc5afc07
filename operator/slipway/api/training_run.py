"""TrainingRun: one training, from data and code to a ModelVersion. Its spec is a record and cannot be changed."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from slipway.api.common import (
    LIST_ATOMIC,
    LIST_SET,
    NUMBER,
    AliasName,
    Column,
    Condition,
    DatasetName,
    DataUri,
    Deadline,
    Digest,
    Kind,
    Model,
    ModelName,
    ModelVersionName,
    NotNegative,
    Number,
    ObjectName,
    PlaceName,
    Resources,
    Rule,
    Time,
    Tolerance,
    WholeSeconds,
    conditions,
    immutable,
    list_map,
    matching,
    rules,
)

_MODULE: Final = "[A-Za-z_][A-Za-z0-9_]*"

_MOST_TEXT: Final = 32768
"""Characters. The spec reaches the pod in one environment variable, and Linux takes 128 KiB in one
(``MAX_ARG_STRLEN``): command, parameters and data fit it together."""


_HOST: Final = r"([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])"
_PORT: Final = "(:[0-9]{1,5})?"
_REPOSITORY: Final = r"[^\s?#-][^\s?#]*"
_GIT_URL: Final = (
    rf"^(https?://{_HOST}{_PORT}/{_REPOSITORY}|ssh://([A-Za-z0-9._-]+@)?{_HOST}{_PORT}/{_REPOSITORY}"
    rf"|[A-Za-z0-9._-]+@{_HOST}:{_REPOSITORY})$"
)
_INDIRECT: Final = r"(?i)(/\.{1,2}(/|$)|%(2e|2f|5c|25)|\\)"
"""What curl or a server may take for another path than the one that is written: the Secret's ``url`` is held against
what is written."""
_USER_IN_URL: Final = "^(https?://[^/]*@|ssh://[^/@]*:[^/@]*@|[^/@:]*:[^/@]+@)"


class GitCode(Model):
    """Code in a git repository, fetched by the pod: the commit that ``revision`` names when the first attempt starts,
    and the same one in every later attempt."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.secret) || !(self.url.startsWith('ssh://') || !self.url.contains('://'))",
                "an ssh address needs secret: the name of a Secret with ssh-privatekey and known_hosts",
            )
        )
    )

    url: Annotated[
        str,
        Field(
            max_length=512,
            json_schema_extra=rules(
                Rule(
                    f"!self.matches(r'{_USER_IN_URL}')",
                    "leave user and password out of the address, they would stand in the lineage: put them into a "
                    "Secret and name it in code.git.secret",
                ),
                Rule(
                    f"self.matches(r'{_USER_IN_URL}') || self.matches(r'{_GIT_URL}')",
                    "write https://HOST/PATH, http://HOST/PATH, ssh://git@HOST/PATH or git@HOST:PATH, "
                    "without spaces, '?' and '#'",
                ),
                Rule(
                    f"!self.matches(r'{_INDIRECT}')",
                    "write the address without '.' and '..' parts and without encoded dots and slashes",
                ),
            ),
        ),
    ]
    """``https://``, ``http://``, ``ssh://`` or ``git@host:path``."""
    revision: Annotated[
        str,
        Field(
            max_length=255,
            json_schema_extra=matching(
                r"^[^-\s~^:?*\[\\\x00-\x1f][^\s~^:?*\[\\\x00-\x1f]*$",
                "write a branch, a tag or a whole commit of 40 digits, for example main or v1.2",
            ),
        ),
    ]
    """A branch, a tag or a whole commit. What it names now is recorded as a commit, and only that counts from then on.
    """
    path: (
        Annotated[
            str,
            Field(
                max_length=512,
                json_schema_extra=rules(
                    Rule(
                        r"self.matches(r'^[^\x00-\x1f]+$') && !self.split('/').exists(part, part in ['', '.', '..'])",
                        "write a folder relative to the root of the repository, without '..' and without '/' at either "
                        "end, for example training/digits",
                    )
                ),
            ),
        ]
        | None
    ) = None
    """The folder that becomes the code's folder, without what lies beside it; the whole repository where absent."""
    secret: ObjectName | None = None
    """A Secret of this namespace: ``username``, ``password`` and ``url`` for http(s), ``ssh-privatekey`` and
    ``known_hosts`` for ssh. ``url`` is how the addresses begin that user and password may be sent to, for example
    ``https://git.example.com``; ``ca.crt`` is added where the server's certificate authority is your own. Only the
    container that fetches the code gets it; the training code does not."""


class Code(Model):
    """Where the training code comes from; without it the image holds the code."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.configMap) != has(self.git)",
                "write either configMap (a ConfigMap with the files) or git (a repository), not both and not neither",
            )
        )
    )

    config_map: ObjectName | None = None
    """A ConfigMap of this namespace; each key is a file next to the entrypoint's module."""
    git: GitCode | None = None


DataName = Annotated[
    str,
    Field(
        max_length=40,
        json_schema_extra=matching(
            "^[a-z]([-a-z0-9_]*[a-z0-9])?$",
            "write a name of a-z, 0-9, '-' and '_' that begins with a letter, for example train",
        ),
    ),
]
"""A data set of one run."""


class DataInput(Model):
    """One data set, fetched by the pod and checked before the training starts."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.uri) != has(self.dataset)",
                "write either uri (an address in S3) or dataset (the name of a Dataset), not both and not neither",
            ),
            Rule(
                # The API server has written the default by now, and nothing tells it from one that a person wrote.
                "!has(self.dataset) || self.store == 'default'",
                "leave store out beside dataset: the Dataset says in which S3 place its data lie",
            ),
        )
    )

    name: DataName
    """The name under which the code asks for it: ``context.data("train")``."""
    uri: DataUri | None = None
    """``s3://bucket/key`` is one file; ``s3://bucket/prefix/`` is everything below it."""
    dataset: DatasetName | None = None
    """A Dataset of this namespace, instead of ``uri``: the run waits until its check has ended, and takes the version
    that passed (``status.data``). Where the checks failed, the run fails before any pod is made."""
    store: PlaceName = "default"
    """The S3 place whose endpoint and credentials reach ``uri``."""
    digest: Digest | None = None
    """The manifest digest that the data must have; the run fails before training where it has another. Beside
    ``dataset`` it asks for one version of its ``status.versions``, instead of the newest."""


class Output(Model):
    """Where the model goes."""

    store: PlaceName = "default"
    """An S3 place that this namespace was given (ConfigMap and Secret ``slipway-store-<place>``)."""


class RunApproval(Model):
    """Whether somebody has to agree to the version that the run makes."""

    required: bool = False
    """True: the version waits for approval before it is Ready."""


class NotWorseThan(Model):
    """The version that a metric is compared with, where both were measured on the same data."""

    alias: AliasName
    """Whoever holds it of the run's model when the training has ended. Where nobody does, the gate is passed."""
    by: NotNegative = "0"
    """How much worse still passes, in the metric's own unit."""
    better: Literal["Higher", "Lower"] | None = None
    """Which values are the better ones. May be left out where the gate has one bound, which says it: ``min`` for
    Higher, ``max`` for Lower."""
    data: list[DataName] = Field(default=[], max_length=32, json_schema_extra=LIST_SET)
    """The data sets that the metric is measured on, by their names in ``spec.data``: their digests must be those of the
    other version's lineage. Absent: all, and neither may have read one that the other did not."""


class Gate(Model):
    """A bound that a metric must keep for a ModelVersion to be made."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.min) || has(self.max) || has(self.notWorseThan)",
                "write min, max or notWorseThan: a gate without a bound lets everything pass",
            ),
            Rule(
                "!has(self.notWorseThan) || has(self.notWorseThan.better) || has(self.min) != has(self.max)",
                "write better: Higher (for an accuracy) or better: Lower (for a loss)",
                field_path=".notWorseThan",
            ),
            Rule(
                # Text that is no number is refused by its own field, in its own words.
                f"!has(self.min) || !has(self.max) || !self.min.matches(r'{NUMBER}') || "
                f"!self.max.matches(r'{NUMBER}') || double(self.min) <= double(self.max)",
                "min must not be greater than max",
            ),
        )
    )

    metric: Annotated[str, Field(min_length=1, max_length=63)]
    """The name under which the code reports it."""
    min: Number | None = None
    """The least that passes."""
    max: Number | None = None
    """The most that passes."""
    not_worse_than: NotWorseThan | None = None
    """The champion that must not be fallen behind."""

    @property
    def higher_is_better(self) -> bool:
        """Which way is up, for a comparison."""
        said = self.not_worse_than.better if self.not_worse_than else None
        return said == "Higher" if said else self.min is not None


class ReproduceOf(Model):
    """The version to make once more, and when the outcome counts as the same."""

    model_version: ModelVersionName
    """A ModelVersion of this namespace that was trained here."""
    tolerance: Tolerance = Field(default=Tolerance(), json_schema_extra={"default": {}})
    """For the answers of a file that has other bytes, and for the metrics."""


class StartFrom(Model):
    """The version whose weights the training begins with."""

    model_version: ModelVersionName
    """A ModelVersion of this namespace, of this model or of another, that a training function made here."""


class TrainingRunSpec(Model):
    """What to train, with what, on what."""

    model: ModelName
    """The model whose next version this run makes."""
    image: (
        Annotated[
            str,
            Field(
                max_length=512,
                json_schema_extra=matching(
                    r"^[^\s]+$", "write an image's name without spaces, or leave it out for the chart's trainer image"
                ),
            ),
        ]
        | None
    ) = None
    """The image that trains; the chart's trainer image where absent. It must hold ``slipway_trainer``, for a
    ``command`` too: build yours FROM that image."""
    entrypoint: (
        Annotated[
            str,
            Field(
                max_length=253,
                json_schema_extra=rules(
                    Rule(
                        rf"self.matches(r'^{_MODULE}(\.{_MODULE})*:{_MODULE}$')",
                        "write module:function, for example train:main for the function main of train.py",
                    ),
                    Rule(
                        "!self.contains('.py:')",
                        "write the module without .py, for example train:main for the function main of train.py",
                    ),
                ),
            ),
        ]
        | None
    ) = None
    """``module:function``, called with a ``Context``."""
    command: (
        Annotated[
            list[Annotated[str, Field(max_length=4096)]],
            Field(
                max_length=64,
                json_schema_extra=rules(
                    Rule(
                        "size(self) > 0 && self[0] != ''",
                        "write the program first, then its arguments, for example [python, train.py]",
                    ),
                    Rule(
                        f"self.map(word, size(word)).sum() <= {_MOST_TEXT}",
                        f"write at most {_MOST_TEXT} characters in all; a longer program belongs in code "
                        "or in the image",
                    ),
                    **LIST_ATOMIC,
                ),
            ),
        ]
        | None
    ) = None
    """Any program, instead of an entrypoint; it writes ``model.onnx`` and ``metrics.json`` to ``$SLIPWAY_OUTPUT``."""
    code: Code | None = None
    from_: StartFrom | None = Field(default=None, alias="from")
    """Fine-tuning: the run waits until the version is Ready, and its weights are ``context.weights()``."""
    data: list[DataInput] = Field(default=[], max_length=32, json_schema_extra=list_map("name"))
    """Data sets that are fetched and checked before the code starts."""
    parameters: dict[str, Annotated[str, Field(max_length=1024)]] = Field(
        default={},
        json_schema_extra=rules(
            Rule("self.all(name, size(name) >= 1 && size(name) <= 63)", "a parameter's name has 1 to 63 characters"),
            Rule(
                f"self.map(name, size(self[name])).sum() <= {_MOST_TEXT}",
                f"write at most {_MOST_TEXT} characters in all; what is longer belongs in code or in the data",
            ),
            maxProperties=128,
        ),
    )
    """Handed to the code as they are, as text."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Set everywhere a random number may come from (numpy takes 32 bits)."""
    resources: Resources = Field(default=Resources(), json_schema_extra={"default": {}})
    output: Output = Field(default=Output(), json_schema_extra={"default": {}})
    gate: list[Gate] = Field(default=[], max_length=16, json_schema_extra=list_map("metric"))
    """Bounds that the final metrics must keep; where one does not, the run fails and no ModelVersion is made."""
    reproduce_of: ReproduceOf | None = None
    """Makes no version: the training is done once more and what comes out is compared with this version. Usually
    written by ``kubectl slipway reproduce``, from the version's lineage."""
    approval: RunApproval | None = None
    """Becomes ``spec.approval`` of the version. Where its namespace asks for approval when it is made, it waits in any
    case."""
    suspend: bool = False
    """True: no pod runs. The one field that may change."""
    backoff_limit: int = Field(default=2, ge=0, le=20)
    """How often a failed attempt is tried again; a mistake that cannot pass by itself is not tried again."""
    active_deadline: Deadline | None = None
    """The longest that the whole run may take from its creation on: attempts are included, and waiting for a Dataset, a
    version, an S3 place or a node. Nothing counts while it is suspended, and the clock begins anew when it goes on
    (``status.deadlineSince``)."""
    ttl_after_finished: WholeSeconds | None = None
    """When to delete the Job and its pods (with their logs) after the end; the TrainingRun itself stays."""


TrainingRunSpec.model_config["json_schema_extra"] = rules(
    Rule(
        # What is no name of a data set is refused by its own field; what is none of this run's, here.
        "!has(self.gate) || self.gate.all(g, !has(g.notWorseThan) || (has(self.data) && size(self.data) > 0 && "
        "(!has(g.notWorseThan.data) || g.notWorseThan.data.all(n, self.data.exists(d, d.name == n)))))",
        "notWorseThan compares what was measured on the same data: list in spec.data what the metric is measured on, "
        "and name in notWorseThan.data only data sets that stand there",
        field_path=".gate",
    ),
    Rule(
        "has(self.entrypoint) != has(self.command)",
        "write either entrypoint (module:function) or command (any program), not both and not neither",
    ),
    Rule(
        # The rest of the name is ModelVersionName's business.
        "!has(self.reproduceOf) || self.reproduceOf.modelVersion.startsWith(self.model + '-v')",
        "reproduceOf.modelVersion must be a version of spec.model, for example digits-v3 where the model is digits",
        field_path=".reproduceOf.modelVersion",
    ),
    Rule(
        "!has(self.reproduceOf) || !has(self.gate) || size(self.gate) == 0",
        "leave gate out: a run with reproduceOf makes no ModelVersion that it could hold back",
        field_path=".gate",
    ),
    Rule(
        "!has(self.reproduceOf) || !has(self.approval)",
        "leave approval out: a run with reproduceOf makes no ModelVersion that could wait for it",
        field_path=".approval",
    ),
    *immutable(
        TrainingRunSpec,
        but=("suspend",),
        why="a TrainingRun is the record of one training; apply a new one under another name",
    ),
)


class Progress(Model):
    """How far the training is, by its own report."""

    percent: int = Field(default=0, ge=0, le=100)
    step: int = Field(default=0, ge=0)
    of: int = Field(default=0, ge=0)
    """0 where the training does not say how far it goes."""
    message: Annotated[str, Field(max_length=256)] | None = None
    """What is done while there is no step yet: data is fetched, the model is uploaded."""


class Attempt(Model):
    """The newest pod that ran: ``kubectl logs`` knows it by this name while it exists."""

    pod: str
    started_at: Time


class DataPin(Model):
    """The version of a Dataset that this run trains with, settled once, before the Job is made."""

    name: str
    """The data set's name in ``spec.data``."""
    dataset: str
    version: Digest
    """The manifest digest. The pod checks that the data still have it."""
    uri: Annotated[str, Field(max_length=1024)]
    store: str
    manifest: Annotated[str, Field(max_length=2048)] | None = None
    """S3 URI of the manifest of this version: its files, each with size and sha256."""
    profile: Annotated[str, Field(max_length=2048)] | None = None
    """S3 URI of the profile of this version: what later data are compared with to find drift."""
    output_store: str | None = None
    """The S3 place of manifest and profile."""


ANCESTRY_DATA: Final = 128
ANCESTRY_CODE: Final = 64
"""Digests of ancestors that a version carries, and with each a label: a bound for the size of an object."""


_Short = Annotated[str, Field(max_length=71)]
"""``sha256:`` and 64 digits, or a commit."""


class Ancestry(Model):
    """What everything that a version descends from was made of: digests, each once, the nearest first. Written down
    when the training begins, because an ancestor may be deleted, or stay behind in another namespace."""

    data: list[_Short] = Field(default=[], max_length=ANCESTRY_DATA, json_schema_extra=LIST_ATOMIC)
    """Manifest digests of data sets."""
    images: list[_Short] = Field(default=[], max_length=ANCESTRY_CODE, json_schema_extra=LIST_ATOMIC)
    """Of the images that trained."""
    commits: list[_Short] = Field(default=[], max_length=ANCESTRY_CODE, json_schema_extra=LIST_ATOMIC)
    """That the training code came from."""
    cut: int | None = None
    """At least how many were left out, those of the furthest ancestors."""


class ParentPin(Model):
    """The weights that this run begins with, settled once, before the Job is made."""

    model_version: str
    uri: Annotated[str, Field(max_length=2048)]
    digest: Digest
    """The sha256 of the file. The pod checks that it still has it."""
    size: int
    store: str
    ancestry: Ancestry | None = None
    """What that version, and all before it, were made of; absent where an operator of an earlier release settled it."""


class MetricStatus(Model):
    """A metric by its newest and its best value."""

    name: Annotated[str, Field(max_length=63)]
    value: Annotated[str, Field(max_length=32)]
    best: Annotated[str, Field(max_length=32)] | None = None


Verdict = Literal["Identical", "WithinTolerance", "Different"]


class Difference(Model):
    """One thing that is not as it was when the version was made."""

    what: Annotated[str, Field(max_length=63)]
    """``code``, ``entrypoint``, ``image``, ``data.NAME``, ``parameters``, ``seed``, ``packages``, ``environment``;
    ``artifact``, ``outputs``, ``metrics``."""
    message: Annotated[str, Field(max_length=512)]
    """Then and now."""


class Reproduction(Model):
    """What came of making a version once more."""

    model_version: str
    """The version that was compared with."""
    uid: str
    """Its uid: a version that is made anew under the same name is another one."""
    verdict: Verdict
    """``Identical``: the file has the same sha256. ``WithinTolerance``: other bytes, but on the rows that were compared
    the answers, and the metrics, differ by no more than ``spec.reproduceOf.tolerance``. ``Different``: they differ by
    more, or could not be compared."""
    differs: list[Difference] = Field(default=[], max_length=64, json_schema_extra=list_map("what"))
    """What is not as it was, of what went in and of what came out."""
    max_abs_diff: Annotated[str, Field(max_length=32)] | None = None
    """How far the answers of the two files are apart; absent where the bytes are the same."""
    rows: int | None = None
    """Over so many rows."""


class Champion(Model):
    """Whom a gate compared with."""

    alias: str
    model_version: str | None = None
    """Who held the alias when the training had ended; absent where nobody did."""
    value: str | None = None
    """The metric's value there."""


class GateLineage(Model):
    """What a gate of the run said, with its numbers."""

    metric: str
    message: Annotated[str, Field(max_length=1024)]
    against: Champion | None = None


class TrainingRunStatus(Model):
    """What happened. ``phase`` is for people, ``conditions`` are for machines."""

    observed_generation: int = 0
    phase: Literal["Pending", "Suspended", "Queued", "Running", "Succeeded", "Failed"] = "Pending"
    message: Annotated[str, Field(max_length=4096)] = ""
    """One sentence: what is happening, or what went wrong and what to write instead."""
    job: str | None = None
    start_time: Time | None = None
    completion_time: Time | None = None
    deadline_since: Time | None = None
    """Since when ``spec.activeDeadline`` counts: the run's creation, or when it was resumed; absent while it is
    suspended."""
    attempts: int = 0
    """Pods that were started for this run. It never goes down, though pods vanish."""
    last_attempt: Attempt | None = None
    rereads: int = 0
    """How often the result had to be asked for again, because the pod that reported it was gone."""
    parent: ParentPin | None = None
    """What ``spec.from`` came to."""
    data: list[DataPin] = Field(default=[], max_length=32, json_schema_extra=list_map("name"))
    """For each entry of ``spec.data`` that names a Dataset: the version that was taken."""
    progress: Progress | None = None
    metrics: list[MetricStatus] = Field(default=[], max_length=64, json_schema_extra=list_map("name"))
    gates: list[GateLineage] = Field(default=[], max_length=16, json_schema_extra=list_map("metric"))
    """What each of ``spec.gate`` said, settled once, when the training had ended."""
    model_version: str | None = None
    """The ModelVersion that came out."""
    reproduction: Reproduction | None = None
    """The answer to ``spec.reproduceOf``."""
    conditions: list[Condition] = conditions()


TRAINING_RUN: Final = Kind(
    kind="TrainingRun",
    plural="trainingruns",
    singular="trainingrun",
    short="trun",
    spec=TrainingRunSpec,
    status=TrainingRunStatus,
    description="One training, from data and code to a ModelVersion.",
    rules=(
        Rule(
            "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 52",
            "metadata.name must be at most 52 characters of a-z, 0-9 and '-': the Job and its pods are named after it",
        ),
    ),
    columns=(
        Column("Phase", ".status.phase"),
        Column("Model", ".spec.model"),
        Column("Progress", ".status.progress.percent", "integer", description="percent"),
        Column("Version", ".status.modelVersion"),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Attempts", ".status.attempts", "integer", priority=1),
        Column("Reproduces", ".spec.reproduceOf.modelVersion", priority=1),
        Column("Verdict", ".status.reproduction.verdict", priority=1),
        Column("Message", ".status.message", priority=1),
    ),
)
