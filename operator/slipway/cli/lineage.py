"""The questions of lineage, answered from objects. Pure: whoever calls has read the objects before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slipway.api.common import parse_time
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
    return Node("ModelVersion", meta["name"], str(meta.get("namespace", "")), words, facts, tuple(details))


def _origin(lineage: Mapping[str, Any], namespace: str) -> list[Branch]:
    run = lineage.get("trainingRun")
    inputs = [*_code(lineage), *(_data(d, namespace) for d in lineage.get("data") or ())]
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
    node = Node("TrainingRun", run["name"], namespace, tuple(words), facts, tuple(details))
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
    words = (f"({called})",) if called else ()
    if git := code.get("git"):
        where = git["url"] + (f" {git['path']}" if git.get("path") else "")
        made.append(_input("Code", git["commit"], "code", "run by", (where, *words), git))
    elif config_map := code.get("configMap"):
        digest = config_map.get("digest")
        tail = (f"ConfigMap {config_map['name']}", *words)
        made.append(_input("Code", digest or config_map["name"], "code", "run by", tail, config_map))
    elif called:
        made.append(_input("Code", called, "code", "run by", ("in the image",), {}))
    if image := code.get("image"):
        made.append(_input("Image", image.get("digest") or image["ref"], "image", "run by", (image["ref"],), image))
    return made


def _data(data: Mapping[str, Any], namespace: str) -> Branch:
    words = [data["name"], data["uri"], f"{plural(data['files'], 'file')}, {size(data['bytes'])}"]
    if data.get("dataset"):
        words.insert(1, f"of Dataset {data['dataset']}")
    return _input("Data", data["digest"], "data", "read by", tuple(words), data)


def _input(kind: str, name: str, label: str, relation: str, words: tuple[str, ...], facts: Mapping[str, Any]) -> Branch:
    return Branch(Node(kind, name, "", words, {k: v for k, v in facts.items() if k != "name"}), label, relation)


def _parent(parent: str, namespace: str, around: Around) -> Branch:
    for index, known in enumerate(around.parents):
        if known["metadata"]["name"] == parent:
            above = Around(parents=around.parents[index + 1 :])
            return version_branch(known, above, label="fine-tuned from", relation="parent of")
    return Branch(
        Node("ModelVersion", parent, namespace, ("is gone, or you may not read it",)), "fine-tuned from", "parent of"
    )


# --------------------------------------------------------------------------------------------- towards the answers


def server_branch(server: Server, namespace: str) -> Branch:
    """A Deployment that runs a version."""
    words = (server.role, f"{server.percent}% of the traffic")
    facts = {"role": server.role, "percent": server.percent}
    return Branch(
        Node("Deployment", server.deployment, namespace, words, facts), "served by", "served by", upstream=False
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
    return Node("ModelVersion", version.name, version.namespace, (version.phase, *version.aliases, *made_by), facts)


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
    return Branch(root, branches=tuple(_dependent(v, descent, "went into", "read to make") for v in descent.first))


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
    everything from then on, until the next one is promoted.

    Raises:
        BeforeHistory: the moment lies before what the history remembers; the message says since when it does.
    """
    status = deployment.get("status") or {}
    history: Sequence[Mapping[str, Any]] = status.get("history") or ()
    promoted = [entry for entry in history if entry["outcome"] == "Promoted"]  # the newest first
    made = parse_time(deployment["metadata"]["creationTimestamp"])
    if when < made:
        raise BeforeHistory(f"the Deployment was made at {moment(deployment['metadata']['creationTimestamp'])}")
    found = list(_stable_at(promoted, when))
    cut = len(history) >= int(deployment["spec"].get("historyLimit", 5))
    if not found and cut and history and when < parse_time(history[-1]["from"]):
        begin = moment(history[-1]["from"])
        raise BeforeHistory(f"its history begins at {begin}: spec.historyLimit says how many rollouts it remembers")
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
