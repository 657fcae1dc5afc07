"""A version's lineage, turned into the training that makes it once more; and what two lineages do not share. Pure.

``kubectl slipway reproduce`` writes what ``run_manifest`` returns; the training room says with ``differences`` what
was not as it was. Neither reads anything but its arguments.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from slipway.api.common import API_VERSION, GROUP, Resources, Tolerance
from slipway.api.model_version import CodeGit, CodeLineage, ImageLineage, Lineage, ModelVersionSpec, ModelVersionStatus
from slipway.api.training_run import Difference, ReproduceOf, TrainingRunSpec

REPRODUCES_LABEL: Final = f"{GROUP}/reproduces"
"""On a TrainingRun: the ModelVersion that it makes once more, for people who look by selector."""
_SHOWN: Final = 500
"""Characters of one sentence; a status takes 512."""


class NotReproducible(ValueError):
    """The version cannot be made once more; the message is a sentence that says why and what would help."""


def run_manifest(
    version: Mapping[str, Any],
    *,
    name: str,
    run: Mapping[str, Any] | None = None,
    code: Mapping[str, Any] | None = None,
    parent: Mapping[str, Any] | None = None,
    tolerance: Tolerance | None = None,
) -> dict[str, Any]:
    """The TrainingRun that makes a version once more: same code, image by digest, data by digest, parameters, seed.

    Args:
        version: the ModelVersion, with its status.
        name: of the TrainingRun to be made.
        run: the TrainingRun that made the version, where it still exists: the lineage does not hold what it asked of
            the cluster (memory, GPUs, deadline). The number of threads, which changes the last bits of a sum, it holds:
            without the run as many whole CPUs are asked for.
        code: the ConfigMap that the lineage names, where it names one; None where it is gone.
        parent: the ModelVersion that the lineage names as the one that it was fine-tuned from; None where it is gone.
            Like the ConfigMap it is looked for in the namespace of the version, for there the run is made.
        tolerance: when other bytes count as the same model; absent: the defaults of the API.

    Raises:
        NotReproducible: the lineage does not say enough, or what it names is gone.
    """
    spec = ModelVersionSpec.model_validate(version["spec"])
    lineage = lineage_of(version)
    before, with_code = _made_by(run, lineage), lineage.code
    assert with_code is not None, "lineage_of refuses a model that was trained elsewhere"
    if trouble := no_parent(version, lineage, parent):
        raise NotReproducible(trouble)
    made = TrainingRunSpec.model_validate(
        {
            "model": spec.model,
            "image": _image(version["metadata"]["name"], with_code.image),
            "entrypoint": with_code.entrypoint,
            "command": with_code.command,
            "code": _code(with_code, code, before, elsewhere(version, lineage)),
            "from": {"modelVersion": lineage.parent.model_version} if lineage.parent else None,
            "data": [{"name": d.name, "uri": d.uri, "store": d.store, "digest": d.digest} for d in lineage.data],
            "parameters": lineage.parameters,
            "seed": lineage.seed,
            "resources": (before.resources if before else _resources(lineage)).wire(),
            "output": {"store": lineage.artifact.store},
            "backoffLimit": before.backoff_limit if before else 2,
            "activeDeadline": before.active_deadline if before else None,
            "reproduceOf": ReproduceOf(
                model_version=version["metadata"]["name"], tolerance=tolerance or Tolerance()
            ).wire(),
        }
    )
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": {
            "name": name,
            "namespace": version["metadata"]["namespace"],
            "labels": {REPRODUCES_LABEL: version["metadata"]["name"]},
        },
        "spec": made.wire(),
    }


def lineage_of(version: Mapping[str, Any]) -> Lineage:
    """The lineage that a version's status holds.

    Raises:
        NotReproducible: it holds none, because the version was trained elsewhere.
    """
    name = version["metadata"]["name"]
    try:
        found = ModelVersionStatus.model_validate(version.get("status") or {}).lineage
    except ValidationError:
        found = None
    if found is None or found.code is None:
        raise NotReproducible(
            f"{name} has no lineage in its status: it was trained elsewhere, so nobody here knows with what"
        )
    return found


def elsewhere(version: Mapping[str, Any], lineage: Lineage) -> str | None:
    """The namespace in which a copy was made; None where the version was made in its own."""
    here = version["metadata"]["namespace"]
    there = lineage.made_in(here)
    return there if there != here else None


def no_parent(version: Mapping[str, Any], lineage: Lineage, parent: Mapping[str, Any] | None) -> str | None:
    """Why a training cannot begin from the weights that the version began from; None where it can, or where it began
    from none.

    Args:
        parent: the ModelVersion of the parent's name in the version's namespace; None where there is none.
    """
    if lineage.parent is None:
        return None
    name, digest, there = lineage.parent.model_version, lineage.parent.digest, elsewhere(version, lineage)
    what = f"{name}, which it was fine-tuned from,"
    # A copy's parent was never here, or is another one of that name.
    help_ = f": make it again in {there}, or promote {name} from there too" if there else ""
    if parent is None and there:
        return f"{what} is in the namespace {there}{help_}"
    if parent is None:
        return f"{what} is gone: only a backup of it, with its status, brings it back"
    try:
        status = ModelVersionStatus.model_validate(parent.get("status") or {})
    except ValidationError:
        status = ModelVersionStatus()
    weights = status.lineage.weights if status.lineage else None
    if weights is None:
        return f"{what} has no weights on record{help_}"
    if weights.digest != digest:
        return f"{what} is another version now: its weights are {weights.digest}, and those were {digest}{help_}"
    if status.phase != "Ready":
        return f"{what} is {status.phase} ({status.message}): a training begins from a version that is Ready"
    return None


def config_map_digest(config_map: Mapping[str, Any]) -> str | None:
    """The manifest digest that a pod computes of a mounted ConfigMap (design: lineage, "Digests"); None where it holds
    no file.

    >>> config_map_digest({"data": {"a": ""}}) == config_map_digest({"binaryData": {"a": ""}})
    True
    >>> config_map_digest({})
    """
    files = {name: text.encode() for name, text in (config_map.get("data") or {}).items()}
    files |= {name: base64.b64decode(text) for name, text in (config_map.get("binaryData") or {}).items()}
    lines = sorted(f"{name} {len(raw)} {hashlib.sha256(raw).hexdigest()}\n".encode() for name, raw in files.items())
    return f"sha256:{hashlib.sha256(b''.join(lines)).hexdigest()}" if lines else None


def differences(then: Lineage, now: Lineage) -> list[Difference]:
    """What went into two trainings and was not the same, one sentence each.

    What came out (file, metrics) is not looked at: that is what the two are compared for.
    """
    pairs: list[tuple[str, str, Any, Any]] = [
        ("code", "the code", _code_id(then), _code_id(now)),
        (
            "entrypoint",
            "what was started",
            _started(then),
            _started(now),
        ),
        ("image", "the image", _image_id(then), _image_id(now)),
        *_data(then, now),
        ("parent", "the weights that it began with", _parent(then), _parent(now)),
        ("parameters", "the parameters", *_parameters(then.parameters, now.parameters)),
        ("seed", "the seed", then.seed, now.seed),
        ("packages", "the list of packages", _packages(then), _packages(now)),
        ("environment", "the machine", *_environments(then, now)),
    ]
    return [
        Difference(what=what, message=f"{words}: {_said(old)} then, {_said(new)} now"[:_SHOWN])
        for what, words, old, new in pairs
        if old != new
    ]


# ------------------------------------------------------------------------------------------- parts of the run's spec


def _made_by(run: Mapping[str, Any] | None, lineage: Lineage) -> TrainingRunSpec | None:
    """The spec of the run that made the version; None where the run is gone or another one has its name."""
    made_by = lineage.training_run.uid if lineage.training_run else None
    if run is None or run["metadata"].get("uid") != made_by:
        return None
    return TrainingRunSpec.model_validate(run["spec"])


def _image(version: str, image: ImageLineage) -> str:
    if image.pinned:
        return image.pinned
    if image.digest is None:
        raise NotReproducible(
            f"the digest of the image {image.ref} that trained {version} is not known: the kubelet reported none, so "
            "nobody can tell whether today's image of that name is the same"
        )
    # Put into the node by hand: there is no name by digest to ask for. Whether it is the same image is seen by its
    # digest once the pod runs, and said in the verdict.
    return image.ref


def _code(
    code: CodeLineage, found: Mapping[str, Any] | None, before: TrainingRunSpec | None, there: str | None
) -> dict[str, Any] | None:
    if code.git:
        return {"git": _git(code.git, before, there)}
    wanted = code.config_map
    if wanted is None:
        return None
    if found is None and there:
        raise NotReproducible(
            f"the ConfigMap {wanted.name} that held the training code is in the namespace {there}, where the version "
            f"was trained: make it again there, or copy the ConfigMap here (its files had the digest {wanted.digest})"
        )
    if found is None:
        raise NotReproducible(
            f"the ConfigMap {wanted.name} that held the training code is gone: make it again with the same files "
            f"(their digest was {wanted.digest})"
        )
    digest = config_map_digest(found)
    if wanted.digest is not None and digest != wanted.digest and there:
        raise NotReproducible(
            f"the ConfigMap {wanted.name} of this namespace holds other code ({digest}) than that of the namespace "
            f"{there}, where the version was trained ({wanted.digest}): make it again there"
        )
    if wanted.digest is not None and digest != wanted.digest:
        raise NotReproducible(
            f"the ConfigMap {wanted.name} holds other code now ({digest}) than it held then ({wanted.digest}): put the "
            "files of then back, for example from your git history"
        )
    return {"configMap": wanted.name}


def _git(git: CodeGit, before: TrainingRunSpec | None, there: str | None) -> dict[str, Any]:
    """The very commit. The name of the Secret that opens the repository is no part of a lineage: the run has it."""
    asked = before.code.git if before and before.code else None
    if asked is None and not git.url.startswith(("http://", "https://")):
        run = f"in the namespace {there}" if there else "gone"
        raise NotReproducible(
            f"the code lies at {git.url}, and the run that named the Secret for it is {run}: write a TrainingRun with "
            f"reproduceOf and code.git {{url, revision: {git.commit}, secret}} by hand"
        )
    made = {"url": git.url, "revision": git.commit, "path": git.path, "secret": asked.secret if asked else None}
    return {name: value for name, value in made.items() if value is not None}


def _resources(lineage: Lineage) -> Resources:
    """What is known of the machine where the run itself is gone: the numbers of GPUs and of threads."""
    had = lineage.environment
    asked: dict[str, Any] = {"gpu": {"count": had.gpu.count if had and had.gpu else 0}}
    if had and had.threads:
        asked["cpu"] = str(had.threads)
    return Resources.model_validate(asked)


# --------------------------------------------------------------------------------------------------- what differs


def _code_id(lineage: Lineage) -> str | None:
    if lineage.code and lineage.code.git:
        git = lineage.code.git
        return f"commit {git.commit}" + (f" of {git.path}" if git.path else "")
    return lineage.code.config_map.digest if lineage.code and lineage.code.config_map else None


def _started(lineage: Lineage) -> str | list[str] | None:
    return (lineage.code.entrypoint or lineage.code.command) if lineage.code else None


def _image_id(lineage: Lineage) -> str | None:
    return (lineage.code.image.digest or lineage.code.image.ref) if lineage.code else None


def _packages(lineage: Lineage) -> str | None:
    return lineage.environment.packages if lineage.environment else None


def _parent(lineage: Lineage) -> str | None:
    return f"{lineage.parent.digest} of {lineage.parent.model_version}" if lineage.parent else None


def _data(then: Lineage, now: Lineage) -> list[tuple[str, str, str | None, str | None]]:
    old, new = ({d.name: d.digest for d in each.data} for each in (then, now))
    return [(f"data.{name}", f"the data {name}", old.get(name), new.get(name)) for name in sorted({*old, *new})]


def _parameters(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Only those that are not the same."""
    differ = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    old, new = ({name: side[name] for name in differ if name in side} for side in (then, now))
    return old, new


def _environments(then: Lineage, now: Lineage) -> tuple[dict[str, str], dict[str, str]]:
    old, new = _environment(then), _environment(now)
    if "threads" not in old or "threads" not in new:
        # Older trainers did not tell: not known is no difference.
        old.pop("threads", None)
        new.pop("threads", None)
    return _parameters(old, new)


def _environment(lineage: Lineage) -> dict[str, str]:
    """Versions and hardware, without the list of packages, which has a line of its own."""
    if lineage.environment is None:
        return {}
    found = lineage.environment.model_dump(exclude={"packages", "packages_uri", "gpu"}, exclude_none=True)
    gpu = lineage.environment.gpu
    return {**{k: str(v) for k, v in found.items()}, **({"gpu": f"{gpu.count} {gpu.product}"} if gpu else {})}


def _said(value: Any) -> str:
    """A value in a sentence.

    >>> _said({"epochs": "2"}), _said(None), _said(7)
    ('epochs 2', 'none', '7')
    """
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return " ".join(value) if isinstance(value, list) else str(value)
