"""A version's lineage as SLSA v1 provenance in an in-toto statement. Pure.

Sources: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and https://slsa.dev/spec/v1.0/provenance.
The status stays the truth; this is the same said in words that other people's tools read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slipway.api.model_version import CodeLineage, Lineage, ModelVersionSpec
from slipway.api.reproduce import lineage_of

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "https://slipway.dev/provenance/training-run/v1alpha1"
"""What the parameters mean: those of a TrainingRun (``docs/evidence.md``)."""
BUILDER: Final = "https://slipway.dev/operator/v1alpha1"
MANIFEST_DIGEST: Final = "slipwayManifest1"
"""Name of the algorithm behind a digest of several files: sha256 over the sorted lines ``path size sha256``. It is not
the sha256 of anything that lies at the address, so it must not be called so (in-toto: DigestSet)."""


def statement(version: Mapping[str, Any], builder: str = BUILDER) -> dict[str, Any]:
    """The provenance of a ModelVersion.

    Args:
        version: the ModelVersion, with its status.
        builder: the id of who vouches for it; one's own where several clusters are to be told apart.

    Raises:
        NotReproducible: the version was trained elsewhere, so nothing is known of its making.
    """
    spec = ModelVersionSpec.model_validate(version["spec"])
    lineage = lineage_of(version)
    code, environment, run = lineage.code, lineage.environment, lineage.training_run
    assert code is not None, "lineage_of refuses a model that was trained elsewhere"
    asked: dict[str, Any] = {
        "model": spec.model,
        "image": code.image.ref,
        "entrypoint": code.entrypoint,
        "command": code.command,
        "code": _code(code),
        "from": {"modelVersion": lineage.parent.model_version} if lineage.parent else None,
        "data": [{"name": d.name, "uri": d.uri, "store": d.store} for d in lineage.data],
        "parameters": dict(lineage.parameters),
        "seed": lineage.seed,
    }
    inside = {
        # Of the run, which is not where a copy of the version is: this document is signed there, too.
        "namespace": lineage.made_in(version["metadata"]["namespace"]),
        "trainingRun": run.name if run else None,
        "promotions": [step.wire() for step in lineage.promotions],
        "environment": environment.wire() if environment else None,
    }
    times = {
        "invocationId": run.uid if run else None,
        "startedOn": run.started_at if run else None,
        "finishedOn": run.finished_at if run else None,
    }
    record = {"name": "result.json", "uri": lineage.result, "mediaType": "application/json"}
    return {
        "_type": STATEMENT,
        "subject": [{"name": version["metadata"]["name"], "digest": _sha256(spec.artifact.digest)}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _known(asked),
                "internalParameters": _known(inside),
                "resolvedDependencies": _dependencies(lineage, code),
            },
            "runDetails": {
                "builder": {"id": builder},
                "metadata": _known(times),
                "byproducts": [record] if lineage.result else [],
            },
        },
    }


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not known, or empty."""
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def _code(code: CodeLineage) -> dict[str, Any] | None:
    """Where the code was asked from; a git address holds no credentials (the schema refuses them)."""
    if code.git:
        return {"git": _known({"url": code.git.url, "revision": code.git.revision, "path": code.git.path})}
    return {"configMap": code.config_map.name} if code.config_map else None


def _dependencies(lineage: Lineage, code: CodeLineage) -> list[dict[str, Any]]:
    """Everything with a digest that went in, by the names that ``differences`` gives it."""
    image, held = code.image, code.config_map
    made: list[dict[str, Any]] = [{"name": "image", "uri": f"oci://{image.pinned or image.ref}"}]
    if image.digest:
        made[0]["digest"] = _sha256(image.digest)
    if code.git:
        made.append({"name": "code", "uri": f"git+{code.git.url}", "digest": {"gitCommit": code.git.commit}})
    if held and held.digest:
        made.append({"name": "code", "uri": f"configmap:{held.name}", "digest": _manifest(held.digest)})
    made += [{"name": f"data.{d.name}", "uri": d.uri, "digest": _manifest(d.digest)} for d in lineage.data]
    if lineage.parent:
        made.append(
            {
                "name": "parent",
                "uri": f"modelversion:{lineage.parent.model_version}",
                "digest": _sha256(lineage.parent.digest),
            }
        )
    if lineage.environment and lineage.environment.packages:
        made.append({"name": "packages", "digest": _sha256(lineage.environment.packages)})
    return made


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}


def _manifest(digest: str) -> dict[str, str]:
    return {MANIFEST_DIGEST: digest.removeprefix("sha256:")}
