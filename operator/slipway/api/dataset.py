"""Dataset: named data in S3, checked, with a version for each distinct content.

Where the data lie and what is asked of them may change; what a version was cannot: its digest names its content.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from slipway.api.common import (
    LIST_ATOMIC,
    LIST_SET,
    Column,
    Condition,
    Cpu,
    DataUri,
    Deadline,
    Digest,
    Interval,
    Kind,
    LastAction,
    Memory,
    Model,
    PlaceName,
    Rule,
    Time,
    conditions,
    list_map,
    matching,
    rules,
)

REFRESH: Final = "refresh"
"""The one verb of a Dataset, as the value of the annotation ``slipway.dev/action``."""
_OF_A_COLUMN: Final = ("notNull", "unique", "min", "max", "allowed", "matches", "maxMissing")
"""The rules of a column; the first two are yes or no."""
_OF_THE_SET: Final = ("minRows", "maxRows", "minFiles")
IMAGE_COLUMNS: Final = ("label", "width", "height", "channels", "brightness", "format", "bytes")
"""What is known of an image; ``label`` is the folder that it lies in, ``brightness`` goes from 0 to 255."""
VERSIONS: Final = 50
"""Versions that a status lists."""
FAILURES: Final = 32
"""Failed checks that a status lists."""


_COUNT: Final = 2**53
_SHARE: Final = r"^(0(\.[0-9]{1,9})?|1(\.0{1,9})?)$"
_TIME: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_NUMBER_OR_TIME: Final = f"^(-?[0-9]+(\\.[0-9]+)?([eE][-+]?[0-9]{{1,2}})?|{_TIME})$"

Bound = Annotated[
    str,
    Field(
        max_length=40,
        json_schema_extra=matching(
            _NUMBER_OR_TIME,
            'write a number or a time as text, like "0.5", "1e-3", "2026-01-31" or "2026-01-31T12:00:00Z"',
        ),
    ),
]


class DataColumn(Model):
    """A column that every file must have. Those of ``Npz`` are its arrays; those of ``Images`` are always ``label``
    (the folder that the file lies in), ``width``, ``height``, ``channels``, ``brightness`` (0 to 255), ``format`` and
    ``bytes``."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """As it stands in the files."""
    type: Literal["Integer", "Number", "Boolean", "String", "Timestamp"]
    """What its values are. An Integer is a Number too; every value is a String where it is written as text (CSV)."""
    nullable: bool = True
    """False: no value may be missing."""


class DataCheck(Model):
    """What must hold of one column, or of the whole set where ``column`` is absent; every rule given is checked.
    Missing values break ``notNull`` and ``maxMissing`` only."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                " || ".join(f"has(self.{rule})" for rule in (*_OF_A_COLUMN[2:], *_OF_THE_SET))
                + "".join(f" || self.{rule}" for rule in _OF_A_COLUMN[:2]),
                f"write at least one rule: of a column {', '.join(_OF_A_COLUMN)}, of the whole set "
                f"{', '.join(_OF_THE_SET)}",
            ),
            Rule(
                "has(self.column) || !("
                + " || ".join(
                    [
                        *(f"self.{rule}" for rule in _OF_A_COLUMN[:2]),
                        *(f"has(self.{rule})" for rule in _OF_A_COLUMN[2:]),
                    ]
                )
                + ")",
                f"write the column that {', '.join(_OF_A_COLUMN)} are about",
            ),
            Rule(
                f"!has(self.column) || !({' || '.join(f'has(self.{rule})' for rule in _OF_THE_SET)})",
                f"leave column out beside {', '.join(_OF_THE_SET)}: they are about the whole set",
            ),
            Rule(
                "!has(self.minRows) || !has(self.maxRows) || self.minRows <= self.maxRows",
                "minRows must not be greater than maxRows",
            ),
        )
    )

    column: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The column; absent: the rules are about the whole set."""
    not_null: bool = False
    """No value is missing."""
    unique: bool = False
    """No value stands there twice, over all files."""
    min: Bound | None = None
    """The least value, a number or a time."""
    max: Bound | None = None
    """The greatest value, a number or a time."""
    allowed: (
        Annotated[
            list[Annotated[str, Field(max_length=253)]],
            Field(min_length=1, max_length=256, json_schema_extra=LIST_SET),
        ]
        | None
    ) = None
    """The only values that may stand there, as text."""
    matches: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=512,
                json_schema_extra=rules(
                    # CEL's expressions are RE2's. What it finds does not matter: one that is none is an error.
                    Rule(
                        "''.matches(self) ? true : true",
                        "write a regular expression of RE2, for example [A-Z]{2}[0-9]+",
                    )
                ),
            ),
        ]
        | None
    ) = None
    """A regular expression (RE2) that a whole value must match."""
    max_missing: (
        Annotated[
            str,
            Field(
                max_length=16,
                json_schema_extra=matching(
                    _SHARE, 'write a share from 0 to 1 as text, like "0.01" for one in a hundred'
                ),
            ),
        ]
        | None
    ) = None
    """The largest share of values that may be missing."""
    min_rows: int | None = Field(default=None, ge=0, le=_COUNT)
    """The least number of rows in all files."""
    max_rows: int | None = Field(default=None, ge=0, le=_COUNT)
    """The greatest number of rows in all files."""
    min_files: int | None = Field(default=None, ge=1, le=_COUNT)
    """The least number of files."""


class DatasetResources(Model):
    """What the pod that checks the data asks for."""

    cpu: Cpu = "1"
    """Cores, or thousandths of one: ``500m``. A request: a pod may use more where the node has it."""
    memory: Memory = "1Gi"
    """Request and limit: a pod that uses more is killed."""


class DatasetSpec(Model):
    """Where the data lie, and what is asked of them."""

    uri: DataUri
    """``s3://bucket/key`` is one file; ``s3://bucket/prefix/`` is everything below it."""
    store: PlaceName = "default"
    """The S3 place whose endpoint and credentials reach it."""
    output_store: PlaceName | None = None
    """The S3 place that manifests and profiles are written to; ``store`` where absent."""
    format: Literal["Csv", "Parquet", "Npz", "Images", "Files"]
    """What the files are. ``Files``: anything; then there are no columns and no profile."""
    schema_: list[DataColumn] = Field(default=[], alias="schema", max_length=1000, json_schema_extra=list_map("name"))
    """Columns that every file must have; others may stand beside them."""
    checks: list[DataCheck] = Field(default=[], max_length=200, json_schema_extra=LIST_ATOMIC)
    """What must hold of the data. A TrainingRun does not start from data that do not keep it."""
    quote_values: bool = True
    """Whether the sentence of a failed check quotes the first value that breaks it, at most 60 letters of it. False: it
    says how many values do and where the first is. Who may read the status, its Events and those of the runs that are
    stopped may read the sentence."""
    refresh: Interval | None = None
    """How long after a check the next one begins by itself. Where absent, the data are checked when the spec changes
    and when a person asks for it: ``kubectl annotate dset NAME slipway.dev/action=refresh``."""
    resources: DatasetResources = Field(default=DatasetResources(), json_schema_extra={"default": {}})
    active_deadline: Deadline = "1h"
    """The longest that one try of a check may take. The next one goes on from where it was stopped."""


DatasetSpec.model_config["json_schema_extra"] = rules(
    Rule(
        "self.format != 'Files' || ((!has(self.schema) || size(self.schema) == 0) && "
        "(!has(self.checks) || self.checks.all(c, !has(c.column) && !has(c.minRows) && !has(c.maxRows))))",
        "format Files has no columns and no rows: leave schema and the checks of columns and rows out, or write the "
        "format that the files are of",
    ),
    Rule(
        f"self.format != 'Images' || ((!has(self.schema) || self.schema.all(c, c.name in {list(IMAGE_COLUMNS)})) && "
        f"(!has(self.checks) || self.checks.all(c, !has(c.column) || c.column in {list(IMAGE_COLUMNS)})))",
        f"format Images has the columns {', '.join(IMAGE_COLUMNS)} and no others",
    ),
)


class DatasetVersion(Model):
    """One content that a check has seen."""

    digest: Digest
    """The manifest digest: the same whatever the store, the machine or the order of the files."""
    at: Time
    """When a check saw this content first."""
    seen_at: Time
    """When a check saw it last."""
    uri: Annotated[str, Field(max_length=1024)]
    """Where it lay."""
    store: Annotated[str, Field(max_length=40)]
    files: int
    bytes: int
    rows: int | None = None
    """Absent where the format has none."""
    manifest: Annotated[str, Field(max_length=2048)]
    """S3 URI of the lines ``path size sha256``; the sha256 of that file is the digest."""
    profile: Annotated[str, Field(max_length=2048)] | None = None
    """S3 URI of the profile of the columns."""
    output_store: Annotated[str, Field(max_length=40)] | None = None
    """The S3 place that manifest and profile lie in."""
    passed: bool
    """Whether it passed schema and checks when a check saw it last."""


class FailedCheck(Model):
    """What the data do not keep."""

    check: Annotated[str, Field(max_length=253)]
    """The check that failed."""
    message: Annotated[str, Field(max_length=1024)]
    """One sentence with the numbers that were found."""


class Check(Model):
    """The newest check that was begun."""

    number: int
    """Counted from 1; the Job and its pods carry it."""
    generation: int
    """The generation of the spec that it is about."""
    tries: int = 0
    """Jobs that ended without a word about the data (store down, wrong credentials)."""


class Checked(Model):
    """The newest check that ended with a word about the data."""

    number: int
    generation: int
    at: Time
    passed: bool
    rules: int
    """Rules of schema and checks that were looked at."""
    read: int
    """Files that were read; the others had not changed since an earlier check."""


class DatasetStatus(Model):
    """What the data are. ``phase`` is for people, ``conditions`` are for machines."""

    observed_generation: int = 0
    phase: Literal["Checking", "Ready", "Failed"] = "Checking"
    message: Annotated[str, Field(max_length=4096)] = ""
    """One sentence: what is happening, or what is wrong and what to do."""
    digest: Digest | None = None
    """The version that the newest check found, whether it passed or not."""
    files: int | None = None
    bytes: int | None = None
    rows: int | None = None
    columns: int | None = None
    manifest: Annotated[str, Field(max_length=2048)] | None = None
    profile: Annotated[str, Field(max_length=2048)] | None = None
    failures: list[FailedCheck] = Field(default=[], max_length=FAILURES, json_schema_extra=LIST_ATOMIC)
    """What that version does not keep."""
    failures_cut: int | None = None
    """How many failures were left out because the list has a limit; the profile has all."""
    check: Check | None = None
    checked: Checked | None = None
    versions: list[DatasetVersion] = Field(default=[], max_length=VERSIONS, json_schema_extra=list_map("digest"))
    """Every distinct content that was seen, the one that was seen last first; at most 50."""
    versions_cut: int | None = None
    """How many older versions were left out. Their manifests and profiles stay in the store."""
    last_action: LastAction | None = None
    conditions: list[Condition] = conditions()

    def settled(self, generation: int) -> bool:
        """Whether the newest check that was asked for has ended, and is about this generation of the spec."""
        check, checked = self.check, self.checked
        if check is None or checked is None:
            return False
        return check.number == checked.number and check.generation == generation

    def version(self, digest: str | None) -> DatasetVersion | None:
        """The version of this digest; without one, that of the newest check."""
        wanted = digest or self.digest
        return next((v for v in self.versions if v.digest == wanted), None)


DATASET: Final = Kind(
    kind="Dataset",
    plural="datasets",
    singular="dataset",
    short="dset",
    spec=DatasetSpec,
    status=DatasetStatus,
    description="Named data in S3: checked, profiled, with a version for each distinct content.",
    rules=(
        Rule(
            "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63",
            "metadata.name must be at most 63 characters of a-z, 0-9 and '-': the Job and its pods are named after it",
        ),
    ),
    columns=(
        Column("Phase", ".status.phase"),
        Column("Format", ".spec.format"),
        Column("Files", ".status.files", "integer"),
        Column("Rows", ".status.rows", "integer"),
        Column("Checked", ".status.checked.at", "date"),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Version", ".status.digest", priority=1),
        Column("URI", ".spec.uri", priority=1),
        Column("Message", ".status.message", priority=1),
    ),
)
