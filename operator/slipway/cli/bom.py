"""A version as an ML-BOM in CycloneDX 1.6: the model, what it was made of, and its card. Pure.

``cyclonedx-python-lib`` writes the document. It does not know ``modelCard`` yet (its issue 914), so that part is put
into what it wrote; the tests hold the whole against the schema. Source: https://cyclonedx.org/docs/1.6/json
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from slipway.cli.card import Words
from slipway.cli.client import Object
from slipway.cli.reading import home, lineage_of

_WORDS = ("users", "useCases", "technicalLimitations", "performanceTradeoffs")


def document(version: Object, words: Words, now: datetime) -> dict[str, Any]:
    """The BOM as JSON types. The same version has the same serial number whenever it is asked for."""
    spec, lineage = version["spec"], lineage_of(version)
    digest = spec["artifact"]["digest"]
    model = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=spec["model"],
        version=str(spec["version"]),
        bom_ref=f"model:{version['metadata']['name']}",
        description=" ".join(words.said.get("description", ())) or None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))],
        external_references=[_reference(ExternalReferenceType.DISTRIBUTION, spec["artifact"]["uri"])],
        properties=list(_properties(version, lineage)),
    )
    parts = list(_parts(lineage))
    serial = uuid5(NAMESPACE_URL, f"slipway:{version['metadata'].get('uid', '')}:{digest}")
    bom = Bom(serial_number=serial, components=parts, metadata=BomMetaData(component=model, timestamp=now))
    bom.register_dependency(model, parts)
    made: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    made["metadata"]["component"]["modelCard"] = _card(spec, lineage, words)
    return made


def _parts(lineage: Mapping[str, Any]) -> Iterator[Component]:
    """Everything that went into it. A manifest digest is no hash of one file, so it is a property."""
    for data in lineage.get("data") or ():
        yield Component(
            type=ComponentType.DATA,
            name=data["name"],
            bom_ref=_data_ref(data),
            external_references=[_reference(ExternalReferenceType.DISTRIBUTION, data["uri"])],
            properties=[
                Property(name="slipway:manifestDigest", value=data["digest"]),
                Property(name="slipway:files", value=str(data["files"])),
                Property(name="slipway:bytes", value=str(data["bytes"])),
                *([Property(name="slipway:dataset", value=data["dataset"])] if data.get("dataset") else []),
            ],
        )
    yield from _code(lineage.get("code") or {})
    environment = lineage.get("environment") or {}
    for name in ("torch", "onnxruntime"):
        if found := environment.get(name):
            # What a distribution adds (2.6.0+debian) is no release on PyPI: then there is no package URL.
            url = None if "+" in found else PackageURL("pypi", name=name, version=found)
            kind = ComponentType.FRAMEWORK
            yield Component(type=kind, name=name, version=found, bom_ref=f"framework:{name}", purl=url)
    if parent := (lineage.get("parent") or {}).get("modelVersion"):
        kind = ComponentType.MACHINE_LEARNING_MODEL
        weights = Property(name="slipway:weightsDigest", value=lineage["parent"]["digest"])
        told = "It was fine-tuned from this."
        yield Component(type=kind, name=parent, bom_ref=f"model:{parent}", description=told, properties=[weights])


def _code(code: Mapping[str, Any]) -> Iterator[Component]:
    if git := code.get("git"):
        yield Component(
            type=ComponentType.APPLICATION,
            name="training code",
            version=git["commit"],
            bom_ref="code",
            external_references=[_reference(ExternalReferenceType.VCS, git["url"])],
        )
    elif config_map := code.get("configMap"):
        digest = config_map.get("digest")
        held = [Property(name="slipway:manifestDigest", value=digest)] if digest else []
        name = f"ConfigMap {config_map['name']}"
        yield Component(type=ComponentType.APPLICATION, name=name, bom_ref="code", properties=held)
    if image := code.get("image"):
        kind = ComponentType.CONTAINER
        yield Component(type=kind, name=image["ref"], version=image.get("digest"), bom_ref="image")


def _properties(version: Object, lineage: Mapping[str, Any]) -> Iterator[Property]:
    run, status = lineage.get("trainingRun") or {}, version.get("status") or {}
    facts = {
        "namespace": version["metadata"].get("namespace"),
        # The run, the code and the parent are there.
        "madeIn": home(version) if lineage.get("promotions") else None,
        "promotedFrom": ", ".join(f"{p['namespace']}/{p['modelVersion']}" for p in lineage.get("promotions") or ()),
        "trainingRun": run.get("name"),
        "createdBy": run.get("createdBy"),
        "finishedAt": run.get("finishedAt"),
        "origin": lineage.get("origin"),
        "seed": lineage.get("seed"),
        "phase": status.get("phase"),
        "approvedBy": (status.get("approval") or {}).get("by"),
        "packages": (lineage.get("environment") or {}).get("packages"),
        **{f"parameter:{name}": value for name, value in (lineage.get("parameters") or {}).items()},
    }
    yield from (Property(name=f"slipway:{k}", value=str(v)) for k, v in facts.items() if v not in (None, ""))


def _card(spec: Mapping[str, Any], lineage: Mapping[str, Any], words: Words) -> dict[str, Any]:
    parameters = {
        "datasets": [{"ref": _data_ref(data)} for data in lineage.get("data") or ()],
        **{side: [{"format": _tensor(t)} for t in spec["signature"][side]] for side in ("inputs", "outputs")},
    }
    metrics = [{"type": m["name"], "value": m["value"]} for m in lineage.get("metrics") or ()]
    said = {key: list(words.said[key]) for key in _WORDS if key in words.said}
    return {
        "modelParameters": {k: v for k, v in parameters.items() if v},
        **({"quantitativeAnalysis": {"performanceMetrics": metrics}} if metrics else {}),
        **({"considerations": said} if said else {}),
    }


def _tensor(tensor: Mapping[str, Any]) -> str:
    return f"{tensor['name']} {tensor['datatype']} {tensor['shape']}"


def _data_ref(data: Mapping[str, Any]) -> str:
    return f"data:{data['name']}"


def _reference(kind: ExternalReferenceType, url: str) -> ExternalReference:
    return ExternalReference(type=kind, url=XsUri(url))
