"""The questions of lineage, answered from objects. Pure: whoever calls has read the objects before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from slipway.api import wayback
from slipway.api.common import Label, parse_time
from slipway.api.deployment import FIRST_VERSION
from slipway.cli.client import Object
from slipway.cli.graph import Branch, Node
from slipway.cli.lists import Server, Version, newest_first
from slipway.cli.reading import home, lineage_of
from slipway.cli.show import moment, plural, short, size, took

# ------------------------------------------------------------------------------------------------- towards the data


@dataclass(frozen=True)
class Parent:
    """The version that another one was fine-tuned from.

    Attributes:
        namespace: where it was found, or where it would be.
        version: the version with the very weights; None where it cannot be shown.
        words: why it cannot.
    """

    name: str
    namespace: str
    version: Object | None = None
    words: str = ""


@dataclass(frozen=True)
class Around:
    """What is known beside the version itself.

    Attributes:
        parents: the versions that it was made from, the nearest first; the last may be one that cannot be shown.
        children: versions that were made from it.
    """

    servers: tuple[Server, ...] = ()
    parents: tuple[Parent, ...] = ()
    children: tuple[Version, ...] = ()


def version_branch(
    version: Object,
    around: Around,
    *,
    label: str = "",
    relation: str = "",
    upstream: bool = True,
    here: str | None = None,
) -> Branch:
    """A version with everything that made it, and with what came of it.

    Args:
        here: the namespace that the reader looks at, its own where absent: what is elsewhere says where.
    """
    lineage = lineage_of(version)
    namespace = str(version["metadata"].get("namespace", ""))
    here = namespace if here is None else here
    branches: list[Branch] = []
    if lineage:
        branches += _promotions(lineage)
        branches += _origin(lineage, home(version), here)
    if lineage.get("parent"):
        branches.append(_parent(around.parents, here))
    branches += [server_branch(s, namespace) for s in around.servers]
    branches += [
        Branch(version_node(c, here), label="parent of", relation="parent of", upstream=False) for c in around.children
    ]
    return Branch(_version_node(version, here), label, relation, upstream, tuple(branches))


def _elsewhere(namespace: str, here: str | None) -> tuple[str, ...]:
    return () if namespace == here else (f"in {namespace}",)


def _promotions(lineage: Mapping[str, Any]) -> list[Branch]:
    """The way through the namespaces, the newest step first, each behind the one that it led to."""
    branches: tuple[Branch, ...] = ()
    for step in lineage.get("promotions") or ():
        namespace, name = step["namespace"], step["modelVersion"]
        node = Node("ModelVersion", name, namespace, title=f"{namespace}/{name}", words=(moment(step["at"]),))
        branches = (Branch(node, "promoted from", "promoted to", branches=branches),)
    return list(branches)


def _version_node(version: Object, here: str) -> Node:
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
    namespace = str(meta.get("namespace", ""))
    words = (
        str(status.get("phase", "Verifying")),
        *held,
        *([origin.lower()] if origin not in ("", "Trained") else []),
        *_elsewhere(namespace, here),
    )
    facts = {
        "model": spec["model"],
        "version": spec["version"],
        "phase": status.get("phase", "Verifying"),
        "aliases": list(held),
        "artifact": artifact,
        "lineage": dict(lineage),
    }
    return Node("ModelVersion", meta["name"], namespace, words=words, facts=facts, details=tuple(details))


def _origin(lineage: Mapping[str, Any], namespace: str, here: str) -> list[Branch]:
    run = lineage.get("trainingRun")
    inputs = [*_code(lineage), *(_data(d) for d in lineage.get("data") or ())]
    if not run:
        return inputs
    words = [*_elsewhere(namespace, here), plural(run.get("attempts", 1), "attempt")]
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


def _parent(parents: Sequence[Parent], here: str) -> Branch:
    label, relation = "fine-tuned from", "parent of"
    nearest = parents[0]
    if nearest.version is not None:
        above = Around(parents=tuple(parents[1:]))
        return version_branch(nearest.version, above, label=label, relation=relation, here=here)
    words = (*_elsewhere(nearest.namespace, here), nearest.words)
    return Branch(Node("ModelVersion", nearest.name, nearest.namespace, words=words), label, relation)


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


def version_node(version: Version, here: str | None) -> Node:
    """A version as a list knows it.

    Args:
        here: the namespace that the reader looks at; None for all.
    """
    facts = {
        "model": version.model,
        "version": version.number,
        "phase": version.phase,
        "aliases": list(version.aliases),
    }
    made_by = (f"run {version.run}",) if version.run else ()
    if version.promoted_from:
        made_by = (f"promoted from {version.promoted_from}",)
        facts["promotedFrom"] = {"namespace": version.promoted_from, "modelVersion": version.name}
    words = (version.phase, *version.aliases, *made_by, *_elsewhere(version.namespace, here))
    return Node("ModelVersion", version.name, version.namespace, words=words, facts=facts)


@dataclass(frozen=True)
class Link:
    """A version, and how it comes from what stands before it."""

    version: Version
    relation: Literal["went into", "went into an ancestor of", "parent of", "promoted to"]

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.version.namespace, self.version.name


@dataclass(frozen=True)
class Descent:
    """The versions that depend on something, and those that were made from them.

    Attributes:
        first: those that it went into, and those of which no ancestor can be shown here.
        children: (namespace, version) -> the versions that were fine-tuned from it, and its copies elsewhere.
    """

    first: tuple[Link, ...]
    children: Mapping[tuple[str, str], tuple[Link, ...]]

    def everything(self) -> list[Version]:
        """All of them, each once."""
        found = {
            link.key: link.version for link in (*self.first, *(c for below in self.children.values() for c in below))
        }
        return list(found.values())


def descent(found: Iterable[tuple[Version, Mapping[str, str]]], key: str) -> Descent:
    """How versions come from one another, by their labels.

    Weights are the same in every namespace, and a name is not: what was fine-tuned hangs at a version that has the
    weights that it began from, and never at one that only has the parent's name.

    Args:
        found: versions with their labels.
        key: of the label that leads to what was asked for.
    """
    labels = {(v.namespace, v.name): held for v, held in found}
    versions = {(v.namespace, v.name): v for v in newest_first(v for v, _ in found)}
    having: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for at, held in labels.items():
        having[held.get(Label.WEIGHTS, "")].append(at)
    first: list[Link] = []
    children: dict[tuple[str, str], list[Link]] = defaultdict(list)
    for at, version in versions.items():
        if version.promoted_from and (version.promoted_from, version.name) in versions:
            children[version.promoted_from, version.name].append(Link(version, "promoted to"))
            continue
        if labels[at].get(key) == wayback.ITSELF:
            first.append(Link(version, "went into"))
        if parent := _nearest(at, labels[at], having):
            children[parent].append(Link(version, "parent of"))
        elif labels[at].get(key) != wayback.ITSELF:
            first.append(Link(version, "went into an ancestor of"))
    reached = set(_reached(first, children))
    for at, version in versions.items():
        # One that was promoted there and back is a copy of its own copy.
        if at not in reached:
            own = labels[at].get(key) == wayback.ITSELF
            first.append(Link(version, "went into" if own else "went into an ancestor of"))
            reached |= set(_reached(first[-1:], children))
    return Descent(tuple(first), {at: tuple(below) for at, below in children.items()})


def _nearest(
    child: tuple[str, str], labels: Mapping[str, str], having: Mapping[str, Sequence[tuple[str, str]]]
) -> tuple[str, str] | None:
    """Of the versions that have the weights that this one began from: the one that its lineage names, in its own
    namespace before others.

    Args:
        having: weights -> the versions that have them.
    """
    began = labels.get(Label.PARENT_WEIGHTS)
    has = [at for at in having.get(began, ()) if at != child] if began else []
    return max(has, key=lambda at: (at[1] == labels.get(Label.PARENT), at[0] == child[0]), default=None)


def _reached(links: Iterable[Link], children: Mapping[tuple[str, str], Sequence[Link]]) -> Iterator[tuple[str, str]]:
    todo, seen = [link.key for link in links], set[tuple[str, str]]()
    while todo:
        if (at := todo.pop()) not in seen:
            seen.add(at)
            yield at
            todo += [link.key for link in children.get(at, ())]


def dependents(root: Node, descent: Descent, here: str | None) -> Branch:
    """Everything that depends on a data set, a commit or an image.

    Args:
        here: the namespace that was asked; None for all.
    """
    return Branch(root, branches=tuple(_dependent(link, descent, here, frozenset()) for link in descent.first))


def _dependent(link: Link, descent: Descent, here: str | None, above: frozenset[tuple[str, str]]) -> Branch:
    path = above | {link.key}
    below = [server_branch(s, link.version.namespace) for s in link.version.servers]
    below += [
        _dependent(child, descent, here, path) for child in descent.children.get(link.key, ()) if child.key not in path
    ]
    node = version_node(link.version, here)
    return Branch(node, link.relation, link.relation, upstream=False, branches=tuple(below))


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
    serving = str((status.get("stable") or {}).get("modelVersion", ""))
    whole = promoted[-1].get("reason") == FIRST_VERSION if promoted else not serving
    if whole:
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
