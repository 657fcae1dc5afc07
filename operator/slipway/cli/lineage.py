"""The questions of lineage, answered from objects. Pure: whoever calls has read the objects before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from slipway.api.common import parse_time
from slipway.api.deployment import FIRST_VERSION
from slipway.cli.client import Object
from slipway.cli.graph import Branch, Node
from slipway.cli.lists import Server, Version
from slipway.cli.reading import lineage_of
from slipway.cli.show import moment, plural, short, size, took

# ------------------------------------------------------------------------------------------------- towards the data


@dataclass(frozen=True)
class Around:
    """What is known beside the version itself.

    Attributes:
        parents: the versions that it was made from, the nearest first, as far as they can be read.
        children: versions that were made from it.
    """

    servers: tuple[Server, ...] = ()
    parents: tuple[Object, ...] = ()
    children: tuple[Version, ...] = ()


def version_branch(
    version: Object, around: Around, *, label: str = "", relation: str = "", upstream: bool = True
) -> Branch:
    """A version with everything that made it, and with what came of it."""
    lineage = lineage_of(version)
    namespace = str(version["metadata"].get("namespace", ""))
    branches: list[Branch] = []
    if lineage:
        branches += _origin(lineage, namespace)
    parent = (lineage.get("parent") or {}).get("modelVersion")
    if parent:
        branches.append(_parent(parent, namespace, around))
    branches += [server_branch(s, namespace) for s in around.servers]
    branches += [
        Branch(version_node(c), label="parent of", relation="parent of", upstream=False) for c in around.children
    ]
    return Branch(_version_node(version), label, relation, upstream, tuple(branches))


def _version_node(version: Object) -> Node:
    meta, status, spec = version["metadata"], version.get("status") or {}, version["spec"]
    lineage, artifact = lineage_of(version), spec["artifact"]
    held = tuple(status.get("heldAliases") or ())
    details = [("file", f"{artifact['uri']}  {short(artifact['digest'])}  {size(artifact['size'])}")]
    if metrics := lineage.get("metrics"):
        details.append(("metrics", ", ".join(f"{m['name']} {m['value']}" for m in metrics)))
    if parity := lineage.get("parity"):
        details.append(
            ("parity", f"torch and ONNX differ by at most {parity['maxAbsDiff']} over {plural(parity['rows'], 'row')}")
        )
    origin = str(lineage.get("origin") or "")
    words = (str(status.get("phase", "Verifying")), *held, *([origin.lower()] if origin not in ("", "Trained") else []))
    facts = {
        "model": spec["model"],
        "version": spec["version"],
        "phase": status.get("phase", "Verifying"),
        "aliases": list(held),
        "artifact": artifact,
        "lineage": dict(lineage),
    }
    return Node(
        "ModelVersion", meta["name"], str(meta.get("namespace", "")), words=words, facts=facts, details=tuple(details)
    )


def _origin(lineage: Mapping[str, Any], namespace: str) -> list[Branch]:
    run = lineage.get("trainingRun")
    inputs = [*_code(lineage), *(_data(d) for d in lineage.get("data") or ())]
    if not run:
        return inputs
    words = [plural(run.get("attempts", 1), "attempt")]
    if length := took(run.get("startedAt"), run.get("finishedAt")):
        words.append(f"{moment(run['finishedAt'])}, took {length}")
    if run.get("createdBy"):
        words.append(f"by {run['createdBy']}")
    details = []
    if parameters := lineage.get("parameters"):
        details.append(("parameters", ", ".join(f"{k}={v}" for k, v in sorted(parameters.items()))))
    if "seed" in lineage:
        details.append(("seed", str(lineage["seed"])))
    if environment := lineage.get("environment"):
        details.append(("environment", environment_words(environment)))
    facts = {k: lineage[k] for k in ("parameters", "seed", "environment") if k in lineage} | {"run": dict(run)}
    node = Node("TrainingRun", run["name"], namespace, words=tuple(words), facts=facts, details=tuple(details))
    return [Branch(node, "made by run", "made", branches=tuple(inputs))]


def environment_words(environment: Mapping[str, Any]) -> str:
    """What a training ran on, in one line."""
    words = [
        f"{k} {environment[k]}"
        for k in ("python", "torch", "onnxruntime", "cuda", "cudnn", "driver")
        if environment.get(k)
    ]
    if gpu := environment.get("gpu"):
        words.append(f"{gpu['count']} x {gpu['product']}")
    packages = environment.get("packages")
    if packages:
        words.append(f"packages {short(packages if isinstance(packages, str) else packages.get('digest'))}")
    return ", ".join(words)


def _code(lineage: Mapping[str, Any]) -> list[Branch]:
    code = lineage.get("code") or {}
    made = []
    called = code.get("entrypoint") or " ".join(code.get("command") or ())
    if git := code.get("git"):
        where = git["url"] + (f" {git['path']}" if git.get("path") else "")
        made.append(_input("code", Node("Code", git["commit"], title=where, words=(called, git["commit"]), facts=git)))
    elif config_map := code.get("configMap"):
        named, digest = f"ConfigMap {config_map['name']}", config_map.get("digest")
        words = (called, digest or "digest unknown")
        made.append(_input("code", Node("Code", digest or named, title=named, words=words, facts=config_map)))
    elif called:
        made.append(_input("code", Node("Code", called, words=("in the image",))))
    if image := code.get("image"):
        digest = image.get("digest")
        tail = (digest or "digest unknown",)
        node = Node("Image", digest or image["ref"], title=image["ref"], words=tail, facts=image)
        made.append(_input("image", node))
    return made


def _data(data: Mapping[str, Any]) -> Branch:
    much = f"{plural(data['files'], 'file')}, {size(data['bytes'])}"
    dataset = (f"of Dataset {data['dataset']}",) if data.get("dataset") else ()
    words = (*dataset, data["uri"], much, data["digest"])
    return _input("data", Node("Data", data["digest"], title=data["name"], words=words, facts=data))


_RELATIONS: Final = {"code": "run by", "image": "run by", "data": "read by"}


def _input(label: str, node: Node) -> Branch:
    # Its name as an input of this run is no name of the thing: another run may call it otherwise.
    facts = {k: v for k, v in node.facts.items() if k != "name"}
    return Branch(replace(node, facts=facts), label, _RELATIONS[label])


def _parent(parent: str, namespace: str, around: Around) -> Branch:
    for index, known in enumerate(around.parents):
        if known["metadata"]["name"] == parent:
            above = Around(parents=around.parents[index + 1 :])
            return version_branch(known, above, label="fine-tuned from", relation="parent of")
    return Branch(
        Node("ModelVersion", parent, namespace, words=("is gone, or you may not read it",)),
        "fine-tuned from",
        "parent of",
    )


# --------------------------------------------------------------------------------------------- towards the answers


def server_branch(server: Server, namespace: str) -> Branch:
    """A Deployment that runs a version."""
    words = (server.role, f"{server.percent}% of the traffic")
    facts = {"role": server.role, "percent": server.percent}
    return Branch(
        Node("Deployment", server.deployment, namespace, words=words, facts=facts),
        "served by",
        "served by",
        upstream=False,
    )


def version_node(version: Version) -> Node:
    """A version as a list knows it."""
    facts = {
        "model": version.model,
        "version": version.number,
        "phase": version.phase,
        "aliases": list(version.aliases),
    }
    made_by = (f"run {version.run}",) if version.run else ()
    return Node(
        "ModelVersion", version.name, version.namespace, words=(version.phase, *version.aliases, *made_by), facts=facts
    )


@dataclass(frozen=True)
class Descent:
    """The versions that depend on something, and those that were made from them.

    Attributes:
        first: those that it went into itself.
        children: version -> the versions that were fine-tuned from it or promoted.
    """

    first: tuple[Version, ...]
    children: Mapping[tuple[str, str], tuple[Version, ...]]

    def everything(self) -> list[Version]:
        """All of them, each once."""
        found = {
            (v.namespace, v.name): v for v in (*self.first, *(c for below in self.children.values() for c in below))
        }
        return list(found.values())


def dependents(root: Node, descent: Descent) -> Branch:
    """Everything that depends on a data set, a commit or an image."""
    return Branch(root, branches=tuple(_dependent(v, descent, "went into", "went into") for v in descent.first))


def _dependent(version: Version, descent: Descent, label: str, relation: str) -> Branch:
    below = [server_branch(s, version.namespace) for s in version.servers]
    below += [
        _dependent(child, descent, "parent of", "parent of")
        for child in descent.children.get((version.namespace, version.name), ())
    ]
    return Branch(version_node(version), label, relation, upstream=False, branches=tuple(below))


def summary(descent: Descent) -> str:
    """How much depends on it, in one sentence."""
    found = descent.everything()
    if not found:
        return "no version depends on it"
    models = {(v.namespace, v.model) for v in found}
    serving = sorted({s.deployment for v in found for s in v.servers})
    verb = "depends" if len(found) == 1 else "depend"
    told = f"{plural(len(found), 'version')} of {plural(len(models), 'model')} {verb} on it"
    return f"{told}; {plural(len(serving), 'Deployment')} {'runs' if len(serving) == 1 else 'run'} one of them" + (
        f": {', '.join(serving)}" if serving else ""
    )


# ---------------------------------------------------------------------------------------------------- at a time


@dataclass(frozen=True)
class Served:
    """A version that ran at a moment, and since and until when, as far as it is known."""

    version: str
    role: str
    since: str | None
    until: str | None
    words: str


class BeforeHistory(ValueError):
    """The history does not reach so far back."""


def served_at(deployment: Object, when: datetime) -> list[Served]:
    """What a Deployment ran at a moment, by its history.

    A history's entry is a rollout: it began at ``from``, and ``to`` is when it ended. One that was promoted serves
    everything from then on, until the next one is promoted. A history is bounded: it holds what served since its oldest
    promotion, and of a candidate before its other entries it may know nothing any more.

    Raises:
        BeforeHistory: the moment lies before what the history remembers; the message says since when it does.
        ValueError: the moment lies before the Deployment itself.
    """
    status = deployment.get("status") or {}
    history: Sequence[Mapping[str, Any]] = status.get("history") or ()
    promoted = [entry for entry in history if entry["outcome"] == "Promoted"]  # the newest first
    made = parse_time(deployment["metadata"]["creationTimestamp"])
    if when < made:
        raise ValueError(f"it was made at {moment(deployment['metadata']['creationTimestamp'])}")
    found = list(_stable_at(promoted, when)) or list(_before_promotions(status, history, promoted, when))
    for entry in history:
        if parse_time(entry["from"]) <= when < parse_time(entry["to"]):
            ended = {"Promoted": "then promoted", "Aborted": "then aborted", "Superseded": "then superseded"}
            words = f"{ended[entry['outcome']]}: {entry['reason']}" if entry.get("reason") else ended[entry["outcome"]]
            found.append(Served(entry["modelVersion"], "candidate", entry["from"], entry["to"], words))
    rollout = status.get("rollout") or {}
    on_its_way = status.get("candidate") and rollout and not rollout.get("abortedAt")
    if on_its_way and parse_time(rollout["startedAt"]) <= when:
        found.append(Served(status["candidate"]["modelVersion"], "candidate", rollout["startedAt"], None, "on its way"))
    return found


def _stable_at(promoted: Sequence[Mapping[str, Any]], when: datetime) -> Iterable[Served]:
    until = None
    for entry in promoted:
        if parse_time(entry["to"]) <= when:
            return [Served(entry["modelVersion"], "stable", entry["to"], until, entry.get("reason", ""))]
        until = entry["to"]
    return []


def _before_promotions(
    status: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    promoted: Sequence[Mapping[str, Any]],
    when: datetime,
) -> Iterable[Served]:
    """What served before the oldest promotion that the history remembers, as far as that can be told."""
    serving = (status.get("stable") or {}).get("modelVersion")
    if promoted and promoted[-1].get("reason") == FIRST_VERSION or not (promoted or serving):
        return []  # nothing was before it
    # An operator of an earlier release cut promotions away like any entry. Rollouts follow one another, so the one that
    # is missing ended before the oldest that is known began.
    if not promoted and history and when >= parse_time(history[-1]["from"]):
        return [Served(serving, "stable", None, None, "promoted before its history begins")]
    if promoted:
        since = f"its history says what served since {moment(promoted[-1]['to'])}"
    elif history:
        since = f"its history begins at {moment(history[-1]['from'])}; {serving} serves now"
    else:
        since = f"its history is empty; {serving} serves now"
    raise BeforeHistory(f"{since}; spec.historyLimit says how many rollouts it remembers")
