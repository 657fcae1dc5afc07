"""Types that the kinds share, and how a pydantic model says what its schema must say.

The models are the only place where a field is declared: ``slipway.crdgen`` makes the CRDs from them. Reading an
object back is lenient (unknown fields are passed over), because the API server has already refused what the schema
refuses, and because an older operator must be able to read what a newer one wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Protocol, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from slipway.contract import MAX_DELAY_MS

GROUP: Final = "slipway.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FIELD_MANAGER: Final = "slipway"
ACTION_ANNOTATION: Final = f"{GROUP}/action"
ACTION_LIMIT: Final = 63
"""Characters of an action that are recorded; no verb is longer."""


class Label:
    """Label keys on the objects that Slipway makes. Values are names (at most 63 characters) or ``vN`` numbers."""

    MANAGED_BY: Final = "app.kubernetes.io/managed-by"
    MODEL: Final = f"{GROUP}/model"
    MODEL_VERSION: Final = f"{GROUP}/model-version"
    TRAINING_RUN: Final = f"{GROUP}/training-run"
    TRAINING_RUN_UID: Final = f"{GROUP}/training-run-uid"
    DEPLOYMENT: Final = f"{GROUP}/deployment"
    DATASET: Final = f"{GROUP}/dataset"
    DATASET_UID: Final = f"{GROUP}/dataset-uid"
    DATASET_CHECK: Final = f"{GROUP}/dataset-check"
    """The number of the check that a Job and its pods carry out."""
    ROLE: Final = f"{GROUP}/role"
    """What a child is for: ``train``, ``verify``, ``serve``, ``versions``, ``dataset``."""

    # The way back, on ModelVersions: see ``api/wayback.py``.
    ARTIFACT: Final = f"{GROUP}/artifact"
    IMAGE: Final = f"{GROUP}/image"
    COMMIT: Final = f"{GROUP}/commit"
    PARENT: Final = f"{GROUP}/parent"
    WEIGHTS: Final = f"{GROUP}/weights"
    """Of the weights that another training may begin from."""
    PARENT_WEIGHTS: Final = f"{GROUP}/parent-weights"
    """Of the weights that this one began from: a name may be given again, and is another one in each namespace."""


class Model(BaseModel):
    """Base of everything users write and read: camelCase on the wire, frozen in memory."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    def wire(self) -> dict[str, Any]:
        """The object as JSON types, camelCase, without what is None and without empty lists.

        An empty list says no more than an absent one, but ``kubectl get`` shows it as ``[]``. An empty map stays:
        ``pause: {}`` is not the same as no pause.
        """
        made: dict[str, Any] = _without_empty_lists(self.model_dump(mode="json", by_alias=True, exclude_none=True))
        return made


def _without_empty_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_empty_lists(v) for k, v in value.items() if v != []}
    if isinstance(value, list):
        return [_without_empty_lists(v) for v in value]
    return value


# --------------------------------------------------------------------------------- saying things to the schema


@dataclass(frozen=True)
class Rule:
    """One CEL rule (``x-kubernetes-validations``). ``message`` says what to write instead."""

    rule: str
    message: str
    field_path: str | None = None
    reason: str | None = None

    def schema(self) -> dict[str, str]:
        """The rule as the CRD spells it."""
        made = {"rule": self.rule, "message": self.message}
        if self.field_path:
            made["fieldPath"] = self.field_path
        if self.reason:
            made["reason"] = self.reason
        return made


def rules(*given: Rule, **extra: Any) -> dict[str, Any]:
    """``json_schema_extra`` of a model or of a field with CEL rules (and anything else)."""
    return {"x-kubernetes-validations": [r.schema() for r in given], **extra}


def matching(pattern: str, says: str) -> dict[str, Any]:
    """``json_schema_extra`` of a text that must match; ``says`` tells a person what to write instead.

    A CEL rule, not OpenAPI's ``pattern``: that one's refusal shows the regular expression and nothing else. Reading
    does not check it again (see the module's docstring).
    """
    return rules(Rule(f"self.matches(r'{pattern}')", says))


def list_map(*keys: str) -> dict[str, Any]:
    """``json_schema_extra`` of a list whose items have an identity."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


LIST_SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}
LIST_ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-list-type": "atomic"}


def immutable(model: type[Model], *, but: Sequence[str], why: str) -> list[Rule]:
    """Rules that refuse a change of any field of ``model`` except those in ``but`` (wire names).

    A transition rule on the parent sees a field appear, vanish and change alike, which a rule on the field itself
    does not (CEL transition rules on a field run only where it is present before and after).
    """
    found = []
    for name, info in model.model_fields.items():
        wire = info.alias or to_camel(name)
        if wire in but:
            continue
        # Empty lists and maps are not written as defaults (see crdgen), so they may be absent.
        always = info.is_required() or info.default not in (None, [], {})
        same = f"self.{wire} == oldSelf.{wire}"
        if not always:
            same = f"has(self.{wire}) == has(oldSelf.{wire}) && (!has(self.{wire}) || {same})"
        found.append(Rule(same, f"{wire} cannot be changed: {why}", field_path=f".{wire}"))
    return found


# -------------------------------------------------------------------------------------------------- small types

DURATION: Final = "^([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?([0-9]{1,9}ms)?$"
"""Go's style, largest unit first, each once, and ``d`` for 24 hours. The digits are few enough that the sum, 44 years,
fits the 32 bits of seconds that a Job's ``ttlSecondsAfterFinished`` has, and any calendar."""
_DURATION_PART: Final = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_UNIT: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """A duration as seconds: Go's style (``1h30m``, ``500ms``) and ``d`` for 24 hours.

    Raises:
        ValueError: the text is no duration.

    >>> seconds("1h30m"), seconds("500ms"), seconds("7d")
    (5400.0, 0.5, 604800.0)
    """
    if not text or not re.fullmatch(DURATION, text):
        raise ValueError(f"{text!r} is not a duration: write for example 30s, 10m or 1h30m")
    return sum(int(number) * _UNIT[unit] for number, unit in _DURATION_PART.findall(text))


def duration(length: float) -> str:
    """Seconds as a duration for people, to the second.

    >>> duration(5400), duration(0), duration(59.6)
    ('1h30m', '0s', '1m')
    """
    left = round(length)
    text = ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def rfc3339(moment: datetime) -> str:
    """A time as Kubernetes writes it: UTC, to the second.

    >>> rfc3339(datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """A time as Kubernetes writes it, with or without fractions of a second."""
    return datetime.fromisoformat(text)


def after(text: str, wait: str) -> datetime:
    """The moment a duration after a time."""
    return parse_time(text) + timedelta(seconds=seconds(wait))


_A_DURATION: Final = Rule(
    f"size(self) > 0 && self.matches(r'{DURATION}')", "write a duration like 500ms, 30s, 10m, 1h30m or 7d"
)
_LONGER_THAN_ZERO: Final = Rule("self.matches('[1-9]')", "write a duration longer than zero, like 30s or 10m")
_WHOLE_SECONDS: Final = Rule("!self.contains('ms')", "write a duration in whole seconds or more, like 30s or 10m")

Duration = Annotated[str, Field(max_length=32, json_schema_extra=rules(_A_DURATION))]
SomeTime = Annotated[str, Field(max_length=32, json_schema_extra=rules(_A_DURATION, _LONGER_THAN_ZERO))]
"""A duration that is not zero: a timeout of 0s would let nothing pass."""
WholeSeconds = Annotated[str, Field(max_length=32, json_schema_extra=rules(_A_DURATION, _WHOLE_SECONDS))]
"""A duration for what Kubernetes counts in seconds; may be zero."""
Deadline = Annotated[str, Field(max_length=32, json_schema_extra=rules(_A_DURATION, _WHOLE_SECONDS, _LONGER_THAN_ZERO))]
"""A duration in seconds that is not zero."""
_MINUTES: Final = Rule("!self.matches('^0*([0-9]|[1-5][0-9])s$')", "write a minute or more, like 10m, 1h or 7d")
Interval = Annotated[
    str, Field(max_length=32, json_schema_extra=rules(_A_DURATION, _WHOLE_SECONDS, _LONGER_THAN_ZERO, _MINUTES))
]
"""How often something is done that is too much to be done every few seconds."""
_A_MINUTE: Final = Rule(
    # Go's units only: CEL knows no day, and what is no duration at all is another rule's business.
    "!self.contains('d') && (!self.matches('^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$') || self == '' || "
    "duration(self) <= duration('60s'))",
    "write at most 60s: the servers' latency histogram ends there",
)
Threshold = Annotated[str, Field(max_length=32, json_schema_extra=rules(_A_DURATION, _LONGER_THAN_ZERO, _A_MINUTE))]
"""A latency that the servers tell apart."""

_A_SECOND: Final = Rule(
    f"size(self) == 0 || !self.matches(r'{DURATION}') || "
    f"(!self.contains('d') && duration(self) <= duration('{MAX_DELAY_MS}ms'))",
    f"write at most {MAX_DELAY_MS // 1000}s, for example 5ms: so long every request may wait for others, "
    "though none come",
)
BatchDelay = Annotated[str, Field(max_length=32, json_schema_extra=rules(_A_DURATION, _A_SECOND))]
"""How long a request waits for company; may be zero."""

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_WORD: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
Name = Annotated[
    str,
    Field(
        max_length=63,
        json_schema_extra=matching(
            f"^{_LABEL}$", "write a name of a-z, 0-9 and '-' that begins and ends with a letter or a digit"
        ),
    ),
]
"""A DNS label (RFC 1123): what Services and label values accept too."""
ModelName = Annotated[
    str,
    Field(
        max_length=40,
        json_schema_extra=matching(
            f"^{_WORD}$", "write a model's name of a-z, 0-9 and '-' that begins with a letter, for example digits"
        ),
    ),
]
"""A model's name. 40 characters leave room for ``-v<n>`` in everything that is named after a version."""
ModelVersionName = Annotated[
    str,
    Field(
        max_length=63,
        json_schema_extra=matching(
            f"^{_WORD}-v[1-9][0-9]*$", "write the name of a ModelVersion, <model>-v<number>, for example digits-v3"
        ),
    ),
]
AliasName = Annotated[
    str,
    Field(
        max_length=40,
        json_schema_extra=matching(
            f"^{_WORD}$", "write an alias of a-z, 0-9 and '-' that begins with a letter, for example champion"
        ),
    ),
]
PlaceName = Annotated[
    str,
    Field(
        max_length=40,
        json_schema_extra=matching(
            f"^{_LABEL}$",
            "write the name of an S3 place of this namespace: NAME where its ConfigMap is slipway-store-NAME",
        ),
    ),
]
ObjectName = Annotated[
    str,
    Field(
        max_length=253,
        json_schema_extra=matching(
            rf"^{_LABEL}(\.{_LABEL})*$",
            "write an object's name of a-z, 0-9, '-' and '.' that begins and ends with a letter or a digit",
        ),
    ),
]
"""A DNS subdomain: the name of a ConfigMap or of a Gateway."""
DIGEST: Final = "^sha256:[0-9a-f]{64}$"
Digest = Annotated[
    str,
    Field(
        max_length=71,
        json_schema_extra=matching(DIGEST, "write a digest as sha256: and 64 digits of 0-9 and a-f"),
    ),
]
S3_DATA: Final = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\s]*$"
S3_FILE: Final = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/([^\s]*[^\s/])$"
DataUri = Annotated[
    str,
    Field(
        max_length=1024,
        json_schema_extra=matching(
            S3_DATA, "write s3://bucket/key for one file, or s3://bucket/prefix/ for everything below it"
        ),
    ),
]
DatasetName = Annotated[
    str,
    Field(
        max_length=63,
        json_schema_extra=matching(f"^{_LABEL}$", "write the name of a Dataset of this namespace, for example digits"),
    ),
]
NUMBER: Final = r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$"
Number = Annotated[
    str, Field(max_length=32, json_schema_extra=matching(NUMBER, 'write a number as text, like "0.95" or "1e-3"'))
]
"""A number as text: fractional numbers never stand in an object as floats."""
_NOT_NEGATIVE: Final = r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$"
NotNegative = Annotated[
    str,
    Field(
        max_length=32,
        json_schema_extra=matching(_NOT_NEGATIVE, 'write a number that is not negative as text, like "1e-4" or "0.5"'),
    ),
]
Allowance = Annotated[
    str,
    Field(
        max_length=32,
        json_schema_extra=rules(
            Rule(
                f"self.matches(r'{_NOT_NEGATIVE}') && double(self) > 0.0 && double(self) <= 1.0",
                'write a share above 0 and at most 1 as text, like "0.01" for one in a hundred: no number of requests '
                "can show that nothing ever differs",
            )
        ),
    ),
]
"""A share that is put up with, as text."""


def _quantity(least: str, says: str) -> WithJsonSchema:
    # Kubernetes takes `cpu: 2` without quotes, and so do we.
    amount = "quantity(string(self))"
    rule = f"isQuantity(string(self)) && {amount}.compareTo(quantity('{least}')) >= 0"
    return WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 32, **rules(Rule(rule, says))})


_AS_TEXT: Final = BeforeValidator(lambda given: str(given) if isinstance(given, int) else given)
Cpu = Annotated[
    str, _AS_TEXT, _quantity("1m", "write an amount of CPU above zero, like 500m (half a core) or 2 (two cores)")
]
Memory = Annotated[
    str,
    _AS_TEXT,
    _quantity(
        "4Mi",
        "write an amount of memory with its unit, like 512Mi or 2Gi, at least 4Mi: without a unit it is bytes, "
        "and m is a thousandth of a byte",
    ),
]
Time = Annotated[
    str,
    Field(json_schema_extra={"format": "date-time"}),
    AfterValidator(lambda text: rfc3339(parse_time(text))),
]


class LastAction(Model):
    """The last verb that was carried out, or refused."""

    action: str
    at: Time
    by: str | None = None
    """Who asked, where known: the field manager that wrote the annotation."""
    result: Annotated[str, Field(max_length=1024)]
    """One sentence."""
    pending: bool = False
    """Carried out, but the annotation is still to be removed: what stands there now is not another wish. Without
    this fact an operator that dies between the two writes would carry the action out twice."""

    @classmethod
    def answer(cls, action: str | None, by: str | None, result: str, now: datetime) -> LastAction:
        """The fact to record in the same write as what follows from the action."""
        return cls(action=(action or "")[:ACTION_LIMIT], at=rfc3339(now), by=by, result=result[:1024], pending=True)


def asked_anew(action: str | None, last: LastAction | None) -> bool:
    """Whether an annotation is a wish that was not answered yet. One that was, but could not be removed before the
    operator died, is no new wish."""
    return action is not None and not (last and last.pending and last.action == action[:ACTION_LIMIT])


class _Facts(Protocol):
    @property
    def last_action(self) -> LastAction | None: ...
    def model_copy(self, *, update: Mapping[str, Any] | None = ...) -> Self: ...


F = TypeVar("F", bound=_Facts)


def answered(facts: F, action: str | None) -> F:
    """The facts, where an annotation that is gone is not remembered as still to be removed."""
    last = facts.last_action
    if last is None or not last.pending or action is not None:
        return facts
    return facts.model_copy(update={"last_action": last.model_copy(update={"pending": False})})


class Gpu(Model):
    """GPUs of one pod."""

    count: int = Field(default=0, ge=0, le=64)
    """How many; 0 is none."""
    resource_name: Annotated[
        str,
        Field(
            max_length=253,
            json_schema_extra=matching(
                "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
                "write an extended resource as <domain>/<name>, for example nvidia.com/gpu",
            ),
        ),
    ] = "nvidia.com/gpu"
    """The extended resource that the node's device plugin advertises."""


class Resources(Model):
    """What one pod asks for. Memory and GPU are limits as well as requests; CPU is a request."""

    cpu: Cpu = "1"
    """Cores, or thousandths of one: ``500m``. A request: a pod may use more where the node has it."""
    memory: Memory = "1Gi"
    """Request and limit: a pod that uses more is killed."""
    gpu: Gpu = Field(default=Gpu(), json_schema_extra={"default": {}})


class Tolerance(Model):
    """Two numbers a and b agree if |a - b| <= absolute + relative * |a|, where a is the one that was there first."""

    absolute: NotNegative = "1e-4"
    """How far apart they may be at all."""
    relative: NotNegative = "1e-3"
    """How far apart they may be for each unit of the first."""


Truth = Literal["True", "False", "Unknown"]


class Condition(Model):
    """A Kubernetes condition (meta/v1). ``Stalled`` means: will not get better by waiting."""

    type: Annotated[str, Field(max_length=316)]
    status: Truth
    reason: Annotated[str, Field(max_length=1024)]
    message: Annotated[str, Field(max_length=32768)] = ""
    last_transition_time: Time
    observed_generation: int = 0


def conditions() -> Any:
    """The ``conditions`` field of a status."""
    return Field(default=[], max_length=16, json_schema_extra=list_map("type"))


def set_conditions(
    before: Sequence[Condition], wanted: Iterable[tuple[str, Truth, str, str]], generation: int, now: datetime
) -> list[Condition]:
    """The conditions to write: an unchanged ``status`` keeps the time it began (Kubernetes API conventions).

    Args:
        wanted: type, status, reason and message of each.
    """
    began = {(c.type, c.status): c.last_transition_time for c in before}
    return [
        Condition(
            type=kind,
            status=state,
            reason=reason,
            message=message,
            last_transition_time=began.get((kind, state)) or rfc3339(now),
            observed_generation=generation,
        )
        for kind, state, reason, message in wanted
    ]


# ----------------------------------------------------------------------------------------------- a kind as data


@dataclass(frozen=True)
class Column:
    """A printer column of ``kubectl get``; ``priority`` 1 shows with ``-o wide`` only."""

    name: str
    json_path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True)
class Kind:
    """What a CRD needs to know beyond the types of spec and status."""

    kind: str
    plural: str
    short: str
    spec: type[Model]
    status: type[Model]
    columns: tuple[Column, ...]
    description: str
    rules: tuple[Rule, ...] = ()
    """Rules on the whole object: they may speak of ``self.metadata.name``."""
    scale: dict[str, str] | None = None
    singular: str = field(default="")

    @property
    def crd_name(self) -> str:
        return f"{self.plural}.{GROUP}"
