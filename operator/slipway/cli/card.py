"""A model card: what a person who did not train a version should know of it, from its record. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from slipway.cli.client import Object
from slipway.cli.lineage import environment_words
from slipway.cli.lists import Server
from slipway.cli.reading import home, lineage_of
from slipway.cli.show import moment, plural, short, size, took

WORDS: Final = {
    "description": "What it is",
    "users": "For whom it is",
    "useCases": "What it is for",
    "technicalLimitations": "What it cannot do",
    "performanceTradeoffs": "What was given up for what",
}
"""What only people know, by the names that CycloneDX has for it; ``description`` is the component's."""


class BadWords(ValueError):
    """The file with people's words is not what it should be; the message says how to write it."""


@dataclass(frozen=True)
class Words:
    """What people say of a model: text by the keys of ``WORDS``."""

    said: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Any) -> Words:
        """From the content of a YAML or JSON file.

        Raises:
            BadWords: it holds something else.
        """
        known = ", ".join(WORDS)
        if not isinstance(given, Mapping) or not given:
            raise BadWords(f"write a map with one or more of {known}")
        if unknown := sorted(set(map(str, given)) - set(WORDS)):
            raise BadWords(f"{unknown[0]} is none of {known}")
        said = {}
        for key, value in given.items():
            texts = [value] if isinstance(value, str) else value
            if not isinstance(texts, Sequence) or not all(isinstance(t, str) for t in texts):
                raise BadWords(f"{key} is a text or a list of texts")
            said[str(key)] = tuple(texts)
        return cls(said)


@dataclass(frozen=True)
class Section:
    """A heading with a table: the first row is its head, empty where it needs none."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Card:
    """The card as a page shows it."""

    title: str
    phase: str
    lead: tuple[str, ...]
    """Sentences under the title."""
    words: Words
    sections: tuple[Section, ...]


def card(version: Object, servers: Sequence[Server], words: Words) -> Card:
    """The card of a version."""
    spec, status, lineage = version["spec"], version.get("status") or {}, lineage_of(version)
    sections = [
        Section("What it takes and gives", ("", "name", "type", "shape"), tuple(_signature(spec["signature"]))),
        _measured(lineage),
        Section("What it was made of", ("", "name", "where", "digest"), tuple(_inputs(lineage))),
        Section("How it was made", (), tuple(_making(version, lineage))),
        Section("Parameters", (), tuple(sorted((lineage.get("parameters") or {}).items()))),
        Section("The file", (), tuple(_file(spec["artifact"], lineage))),
        Section("What vouches for it", (), tuple(_evidence(status, lineage))),
        Section("Who serves it", (), tuple((s.deployment, f"{s.role}, {s.percent}% of the traffic") for s in servers)),
    ]
    return Card(
        title=f"{spec['model']}, version {spec['version']}",
        phase=str(status.get("phase", "Verifying")),
        lead=tuple(_lead(version, lineage)),
        words=words,
        sections=tuple(s for s in sections if s.rows),
    )


def _lead(version: Object, lineage: Mapping[str, Any]) -> Iterator[str]:
    meta, status = version["metadata"], version.get("status") or {}
    yield f"{meta['name']} in the namespace {meta['namespace']}, registered {moment(meta['creationTimestamp'])} UTC."
    if held := status.get("heldAliases"):
        yield f"It is the {', the '.join(held)}."
    origin = lineage.get("origin")
    source = lineage.get("source") or {}
    if origin == "Imported":
        said = f": {source['description']}" if source.get("description") else ""
        yield f"It was trained elsewhere{said}. What stands here of its making is what whoever registered it says."
    if came := [f"{step['namespace']}/{step['modelVersion']}" for step in lineage.get("promotions") or ()]:
        yield f"It was promoted from {', which was promoted from '.join(reversed(came))}."
    if parent := (lineage.get("parent") or {}).get("modelVersion"):
        yield f"It was fine-tuned from {parent}{_where(version)}."
    if message := status.get("message"):
        yield f"{message[0].upper()}{message[1:]}."


def _where(version: Object) -> str:
    """Where what is named of its making is, if that is not where the version is."""
    return "" if home(version) == version["metadata"].get("namespace") else f" in the namespace {home(version)}"


def _signature(signature: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for side in ("inputs", "outputs"):
        for tensor in signature[side]:
            shape = " x ".join("any" if d == -1 else str(d) for d in tensor["shape"])
            yield side.removesuffix("s"), tensor["name"], tensor["datatype"], shape


def _measured(lineage: Mapping[str, Any]) -> Section:
    """The metrics, and beside each the gate that it passed, where there was one."""
    gates: dict[str, list[str]] = {}
    for gate in lineage.get("gates") or ():
        gates.setdefault(gate["metric"], []).append(gate["message"])
    found = lineage.get("metrics") or ()
    if not gates:
        return Section("What was measured", ("metric", "value"), tuple((m["name"], m["value"]) for m in found))
    rows = tuple((m["name"], m["value"], "; ".join(gates.get(m["name"], ()))) for m in found)
    return Section("What was measured", ("metric", "value", "gate"), rows)


def _inputs(lineage: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for data in lineage.get("data") or ():
        named = f"{data['name']} (Dataset {data['dataset']})" if data.get("dataset") else data["name"]
        much = f"{plural(data['files'], 'file')}, {size(data['bytes'])}"
        yield "data", named, f"{data['uri']}, {much}", data["digest"]
    code = lineage.get("code") or {}
    if git := code.get("git"):
        yield "code", code.get("entrypoint") or " ".join(code.get("command") or ()), git["url"], git["commit"]
    elif config_map := code.get("configMap"):
        called = code.get("entrypoint") or " ".join(code.get("command") or ())
        yield "code", called, f"ConfigMap {config_map['name']}", config_map.get("digest") or ""
    if image := code.get("image"):
        yield "image", "", image["ref"], image.get("digest") or "unknown"


def _making(version: Object, lineage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if run := lineage.get("trainingRun"):
        length = took(run.get("startedAt"), run.get("finishedAt"))
        ended = f", ended {moment(run.get('finishedAt'))} UTC after {length}" if length else ""
        yield "run", f"{run['name']}{_where(version)}, {plural(run.get('attempts', 1), 'attempt')}{ended}"
        if run.get("createdBy"):
            yield "asked for by", run["createdBy"]
    if "seed" in lineage:
        yield "seed", str(lineage["seed"])
    if environment := lineage.get("environment"):
        yield "environment", environment_words(environment)


def _file(artifact: Mapping[str, Any], lineage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "where", artifact["uri"]
    yield "sha256", artifact["digest"].removeprefix("sha256:")
    yield "size", size(artifact["size"])
    if parity := lineage.get("parity"):
        rows = plural(parity["rows"], "row")
        yield "torch against ONNX", f"answers differ by at most {parity['maxAbsDiff']} over {rows}"


def _evidence(status: Mapping[str, Any], lineage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if found := status.get("verification"):
        at = moment(found["verifiedAt"])
        yield "verified", f"{at} UTC: the file has this digest, loads in onnxruntime {found['onnxruntime']}, and fits"
    if decided := status.get("approval"):
        comment = f": {decided['comment']}" if decided.get("comment") else ""
        yield decided["state"].lower(), f"by {decided['by']}, {moment(decided['at'])} UTC{comment}"
    if signed := status.get("evidence"):
        yield (
            "signed",
            f"found good {moment(signed['verifiedAt'])} UTC, key {short(signed['key'])}, {signed['signature']['uri']}",
        )
    for past in lineage.get("reproductions") or ():
        detail = f": {past['detail']}" if past.get("detail") else ""
        yield "made once more", f"{past['verdict']} by the run {past['trainingRun']}{detail}"
