"""Which version of a Dataset a run trains with. Pure.

It is settled once, before the Job is made, and written down (``status.data``): whatever becomes of the Dataset
afterwards, every attempt of the run reads the same content or none (docs/design/0011).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from slipway.api.common import ACTION_ANNOTATION, Condition, asked_anew
from slipway.api.dataset import DatasetStatus
from slipway.api.reasons import Reason
from slipway.api.training_run import DataInput, DataPin, TrainingRunSpec, TrainingRunStatus
from slipway.kube.objects import Key, Manifest, key_of


@dataclass(frozen=True)
class Trouble:
    """Why a version cannot be taken. ``moving``: it comes by itself; ``stalled``: a person must do something and the
    run goes on then; ``failed``: this run cannot start any more."""

    reason: str
    message: str
    outlook: Literal["moving", "stalled", "failed"]


def open_names(spec: TrainingRunSpec, status: TrainingRunStatus) -> list[str]:
    """The Datasets whose version is not settled yet, each once."""
    settled = {pin.name for pin in status.data}
    return sorted({d.dataset for d in spec.data if d.dataset is not None and d.name not in settled})


def awaited(run: Manifest) -> list[Key]:
    """The Datasets that a run may be waiting for."""
    status = TrainingRunStatus.model_validate(run.get("status") or {})
    if status.completion_time is not None:
        return []
    namespace = key_of(run).namespace
    return [Key(namespace, name) for name in open_names(TrainingRunSpec.model_validate(run["spec"]), status)]


def settle(spec: TrainingRunSpec, found: Mapping[str, Manifest]) -> list[DataPin] | Trouble:
    """The version of each Dataset that the run names, or the first reason why there is none.

    Args:
        found: the Datasets of the namespace that the run names, by name.
    """
    got = [_one(data, data.dataset, found.get(data.dataset)) for data in spec.data if data.dataset is not None]
    troubles = [each for each in got if isinstance(each, Trouble)]
    if troubles:
        # What can never be is told before what is only waited for.
        order = ("failed", "stalled", "moving")
        return min(troubles, key=lambda t: order.index(t.outlook))
    return [each for each in got if isinstance(each, DataPin)]


def resolved(spec: TrainingRunSpec, pins: Sequence[DataPin]) -> list[tuple[DataInput, DataPin | None]]:
    """Each entry of ``spec.data``, with its version where it names a Dataset."""
    by_name = {pin.name: pin for pin in pins}
    return [(data, by_name.get(data.name) if data.dataset is not None else None) for data in spec.data]


def _one(data: DataInput, name: str, dataset: Manifest | None) -> DataPin | Trouble:
    if dataset is None:
        return Trouble(
            Reason.DATASET_MISSING,
            f"the Dataset {name} of spec.data does not exist: apply it, and the run goes on",
            "stalled",
        )
    status = DatasetStatus.model_validate(dataset.get("status") or {})
    settled = status.settled(dataset["metadata"]["generation"]) and not _asked(dataset, status)
    version = status.version(data.digest)
    if not settled and (data.digest is None or version is None):
        if (why := _stalled(dataset, status)) is not None:
            return Trouble(why.reason, f"the Dataset {name} cannot be checked: {why.message}", "stalled")
        return Trouble(Reason.DATASET_CHECKING, f"the check of the Dataset {name} has not ended yet", "moving")
    if version is None:
        return Trouble(
            Reason.DATASET_VERSION_MISSING,
            f"the Dataset {name} has no version {data.digest}: its newest is {status.digest}. Where the data are those "
            f"again, say kubectl annotate dset {name} {ACTION_ANNOTATION}=refresh, and the run goes on; or delete the "
            "run and apply one without digest, for the newest, or with one of status.versions",
            "stalled",
        )
    if not version.passed:
        newest = version.digest == status.digest
        return Trouble(
            Reason.DATASET_FAILED,
            f"the data of the Dataset {name} do not pass their checks, so no pod was made: "
            + (status.message if newest else f"the version {version.digest} did not when it was checked last"),
            "failed",
        )
    return DataPin(
        name=data.name,
        dataset=name,
        version=version.digest,
        uri=version.uri,
        store=version.store,
        manifest=version.manifest,
        profile=version.profile,
        output_store=version.output_store,
    )


def _stalled(dataset: Manifest, status: DatasetStatus) -> Condition | None:
    """What keeps the check that is under way from going on. What the one before it found is not meant."""
    found = next((c for c in status.conditions if c.type == "Stalled" and c.status == "True"), None)
    if found is None or found.observed_generation != dataset["metadata"]["generation"]:
        return None
    return found if found.reason != Reason.CHECKS_FAILED else None


def _asked(dataset: Manifest, status: DatasetStatus) -> bool:
    """Whether a person asks for a check that the operator has not begun yet."""
    action = dataset["metadata"].get("annotations", {}).get(ACTION_ANNOTATION)
    return asked_anew(action, status.last_action)
