"""Every environment variable of the operator, typed. The chart writes them; docs/reference/settings.md lists them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

PREFIX: Final = "SLIPWAY_OPERATOR_"


class SettingsError(ValueError):
    """A variable has a value that cannot be used; the message names the variable."""


def _names(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Settings(BaseModel):
    """Field ``lease_name`` is the variable ``SLIPWAY_OPERATOR_LEASE_NAME``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    namespace: str
    """The operator's own namespace: where its Lease lives."""
    identity: str
    """The name of this replica: the pod's name."""
    watch_namespaces: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    """Namespaces to serve, separated by commas; empty is the whole cluster."""
    trainer_image: str
    """The image of a TrainingRun that names none, and of the pods that read the data of a Dataset."""
    server_image: str
    """The image that verifies and serves models."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Pull policy of those two images in the pods that the operator makes."""
    lease_name: str = "slipway-operator"
    """The Lease that the replicas share."""
    http_port: int = Field(default=8080, ge=1, le=65535)
    """``/metrics``, ``/healthz`` and ``/readyz``."""
    prometheus_address: Annotated[str, Field(pattern=r"^(https?://[^\s]+)?$")] = ""
    """The Prometheus server of ``spec.analysis.source: Prometheus``, as ``http(s)://host:port``."""
    openlineage_url: Annotated[str, Field(pattern=r"^(https?://[^\s]+)?$")] = ""
    """Where training pods tell OpenLineage events, as ``http(s)://host:port/path``; empty: nowhere."""
    openlineage_file: bool = False
    """Whether training pods write their OpenLineage events as ``openlineage.ndjson`` beside the run's result."""
    workers: int = Field(default=4, ge=1, le=64)
    """Objects of one kind that are worked on at the same time."""
    resync_seconds: float = Field(default=600, ge=10)
    """How often every object is looked at even if nothing happened."""
    log_format: Literal["text", "json"] = "text"
    """``json`` is one object a line."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """What is logged."""


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a variable is missing, unknown or has a wrong value.
    """
    given = {name[len(PREFIX) :].lower(): value for name, value in environ.items() if name.startswith(PREFIX)}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        variable = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(f"{variable}: {first['msg']}") from None
