"""The one object that a Dataset makes: the Job that reads its data. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from slipway import contract, pods
from slipway.api.common import GROUP, Label, seconds
from slipway.api.dataset import Check, DatasetSpec
from slipway.kube.objects import Manifest

CONTAINER: Final = "dataset"
ROLE: Final = "dataset"
COMMAND: Final = ("python3", "-m", "slipway_dataset")
TRY_ANNOTATION: Final = f"{GROUP}/dataset-try"
"""On the Job: which try of its check it is, counted from 0."""
BACKOFF_LIMIT: Final = 3
SCRATCH: Final = "20Gi"
"""Room on the node: files of a format that cannot be read in one pass, and what the columns' profiles spill."""
SPEC_LIMIT: Final = 100 * 1024
"""Bytes of the ``DatasetSpec``: Linux takes at most 128 KiB in one environment variable (``MAX_ARG_STRLEN``)."""


@dataclass(frozen=True)
class Defaults:
    """What the operator's settings give to every pod that reads data."""

    trainer_image: str
    image_pull_policy: str = "IfNotPresent"


def job_name(dataset: str) -> str:
    """The Job of a Dataset.

    >>> job_name("digits")
    'digits-dataset'
    """
    return pods.child_name(dataset, "-dataset")


def output_store(spec: DatasetSpec) -> str:
    """The S3 place that manifests and profiles are written to."""
    return spec.output_store or spec.store


def places(spec: DatasetSpec) -> list[str]:
    """The S3 places that the pod needs, each once."""
    return sorted({spec.store, output_store(spec)})


def dataset_spec(dataset: Manifest, spec: DatasetSpec) -> contract.DatasetSpec:
    """What the pod is asked to read."""
    meta = dataset["metadata"]
    return contract.DatasetSpec(
        namespace=meta["namespace"],
        dataset=meta["name"],
        uid=meta["uid"],
        uri=spec.uri,
        store=spec.store,
        outputStore=output_store(spec),
        format=spec.format,
        schema=[contract.ColumnSpec(c.name, c.type, c.nullable) for c in spec.schema_],
        checks=[
            contract.CheckSpec(
                column=c.column,
                notNull=c.not_null,
                unique=c.unique,
                min=c.min,
                max=c.max,
                allowed=list(c.allowed) if c.allowed else None,
                matches=c.matches,
                maxMissing=c.max_missing,
                minRows=c.min_rows,
                maxRows=c.max_rows,
                minFiles=c.min_files,
            )
            for c in spec.checks
        ],
        quoteValues=spec.quote_values,
    )


def labels(dataset: Manifest, check: int) -> dict[str, str]:
    """Labels of the Job and of its pods: whose they are, and which check they carry out."""
    meta = dataset["metadata"]
    return pods.managed(dataset=meta["name"], dataset_uid=meta["uid"], dataset_check=str(check), role=ROLE)


def is_of(job: Manifest, check: Check) -> bool:
    """Whether a Job of ours carries out this try of this check."""
    meta = job["metadata"]
    number = meta.get("labels", {}).get(Label.DATASET_CHECK)
    tried = meta.get("annotations", {}).get(TRY_ANNOTATION)
    return bool((number, tried) == (str(check.number), str(check.tries)))


def job(dataset: Manifest, spec: DatasetSpec, defaults: Defaults, check: Check) -> dict[str, Any]:
    """The Job that carries out one try of a check."""
    work, work_mount = pods.scratch("work", contract.WORK_DIR, SCRATCH)
    container = pods.program(
        CONTAINER,
        defaults.trainer_image,
        defaults.image_pull_policy,
        contract.dumps(dataset_spec(dataset, spec)),
        contract.WORK_DIR,
        places(spec),
        command=list(COMMAND),
        ports=[pods.PROGRESS],
        resources=pods.requirements(spec.resources.cpu, spec.resources.memory),
        volumeMounts=[work_mount],
    )
    return pods.job(
        dataset,
        job_name(dataset["metadata"]["name"]),
        labels(dataset, check.number),
        {"containers": [container], "volumes": [work]},
        annotations={TRY_ANNOTATION: str(check.tries)},
        backoffLimit=BACKOFF_LIMIT,
        activeDeadlineSeconds=max(1, round(seconds(spec.active_deadline))),
    )
