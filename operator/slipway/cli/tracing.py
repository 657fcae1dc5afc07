"""The commands ``lineage``, ``diff`` and ``reproducible``: what they read, and how the answer is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Final

from slipway.api import wayback
from slipway.api.common import DIGEST, Label, parse_time
from slipway.cli import graph, hosts, lineage, lists, show
from slipway.cli import reproducible as reproducible_
from slipway.cli.client import CONFIG_MAPS, DATASETS, DEPLOYMENTS, RUNS, VERSIONS, Api, Object, Row
from slipway.cli.diff import Difference, compare
from slipway.cli.errors import Forbidden, Missing, Stop
from slipway.cli.graph import Branch, Node
from slipway.cli.lineage import Around, Descent, Parent
from slipway.cli.listing import deployments
from slipway.cli.lists import Server, Version
from slipway.cli.options import DataOutput, GraphOutput
from slipway.cli.reading import get, home, lineage_of, place, version, weights_of

_AT_ONCE: Final = 100
"""Digests in one selector: they travel in the URL, and servers take 8 KiB of it."""
_GENERATIONS: Final = 32
"""How far back fine-tuning is followed."""


@dataclass(frozen=True)
class Asked:
    """The question of ``lineage`` as it was typed: one of its fields, and ``what`` with ``at``."""

    what: str | None = None
    host: str | None = None
    data: str | None = None
    commit: str | None = None
    image: str | None = None
    at: str | None = None


def trace(
    cluster: Callable[[], Api], asked: Asked, namespace: str | None, everywhere: bool, output: GraphOutput
) -> None:
    """Answer one question.

    Raises:
        Stop: it is none, or two at once.
    """
    given = {name: value for name, value in asdict(asked).items() if value is not None}
    if asked.at is not None and asked.what is not None and len(given) == 2:
        at(cluster(), namespace, asked.what, asked.at, output)
    elif len(given) != 1 or asked.at is not None:
        raise Stop(
            "write one thing: a VERSION, --host NAME, --data DIGEST, --commit SHA, --image DIGEST, or "
            "--at TIME with a Deployment"
        )
    elif asked.what is not None:
        if everywhere:
            raise Stop("a version is in one namespace: name it with -n")
        of_version(cluster(), namespace, asked.what, output)
    else:
        ((name, value),) = given.items()
        question = {"host": of_host, "data": of_data, "commit": of_commit, "image": of_image}[name]
        question(cluster(), namespace, everywhere, value, output)


# ---------------------------------------------------------------------------------------------- towards the data


def of_version(api: Api, namespace: str | None, name: str, output: GraphOutput) -> None:
    """What made a version, and what came of it."""
    where = namespace or api.namespace
    _tell(_about(api, where, version(api, where, name)), output)


def of_host(api: Api, namespace: str | None, everywhere: bool, host: str, output: GraphOutput) -> None:
    """What made the models that answer at a host name now."""
    where = place(api, namespace, everywhere)
    found = hosts.answering(api.pages(DEPLOYMENTS, where), host)
    if not found:
        around = "any namespace" if where is None else f"the namespace {where}"
        raise Stop(
            f"no Deployment in {around} answers at {host}; what each of them answers at is in spec.route.hostnames"
        )
    root = Node("Host", host)
    _tell(Branch(root, branches=tuple(_answering(api, d, name) for d, name in found)), output)


def _answering(api: Api, deployment: Object, hostname: str) -> Branch:
    namespace, status = deployment["metadata"]["namespace"], deployment.get("status") or {}
    weights = status.get("weights") or {}
    branches = []
    for role in ("stable", "candidate"):
        running, percent = status.get(role), int(weights.get(role, 0))
        if running and percent:
            try:
                found = _about(api, namespace, get(api, VERSIONS, namespace, running["modelVersion"]), downwards=False)
            except Missing:
                gone = Node("ModelVersion", running["modelVersion"], namespace, words=("is gone",))
                found = Branch(gone)
            branches.append(Branch(found.node, f"{percent}% of the traffic:", "served by", branches=found.branches))
    words = (str(status.get("phase", "")), *([f"answers at {hostname}"] if hostname.startswith("*.") else []))
    node = Node("Deployment", deployment["metadata"]["name"], namespace, words=words, facts={"weights": weights})
    return Branch(node, "served by Deployment", "answers at", branches=tuple(branches))


def _about(api: Api, namespace: str, found: Object, *, downwards: bool = True) -> Branch:
    """A version with its parents, and with who serves it and what was made from it."""
    name = found["metadata"]["name"]
    parents = tuple(_parents(api, found))
    if not downwards:
        return lineage.version_branch(found, Around(parents=parents))
    served = lists.servers(deployments(api, namespace), namespace)
    weights = wayback.short(weights_of(found))
    selector = f"{Label.PARENT}={name},{Label.PARENT_WEIGHTS}={weights}"
    children = _versions(api, namespace, selector, served) if weights else []
    around = Around(served.get((namespace, name), ()), parents, tuple(children))
    return lineage.version_branch(found, around)


def _parents(api: Api, found: Object) -> Iterable[Parent]:
    """The versions that it descends from; the last may be one that cannot be shown."""
    for _ in range(_GENERATIONS):
        recorded = lineage_of(found).get("parent")
        if not recorded:
            return
        parent = _parent(api, found, recorded)
        yield parent
        if parent.version is None:
            return
        found = parent.version
    if recorded := lineage_of(found).get("parent"):
        yield Parent(recorded["modelVersion"], home(found), words="further back nothing is looked up")


def _parent(api: Api, found: Object, recorded: Mapping[str, str]) -> Parent:
    """The version with the very weights that a training began from.

    A copy of it may stand beside the child, the original where that was trained, and another copy on the way. What has
    its name and other weights is another version: registered anew, or of another namespace.
    """
    name, digest, origin = recorded["modelVersion"], recorded["digest"], home(found)
    steps = [step["namespace"] for step in lineage_of(found).get("promotions") or ()]
    words = ""
    for where in dict.fromkeys((found["metadata"]["namespace"], origin, *steps)):
        try:
            version = get(api, VERSIONS, where, name)
        except Missing:
            told = "is gone"
        except Forbidden:
            told = "you may not read it there"
        else:
            now = weights_of(version)
            if now == digest:
                return Parent(name, where, version)
            its = f"its weights are {show.short(now)}" if now else "it has no weights on record"
            told = f"is another version now: {its}, and those were {show.short(digest)}"
        words = told if where == origin else words
    return Parent(name, origin, words=words)


# ------------------------------------------------------------------------------------------- towards the answers


def of_data(api: Api, namespace: str | None, everywhere: bool, data: str, output: GraphOutput) -> None:
    """What depends on a version of a data set.

    Args:
        data: a manifest digest, or a Dataset with or without the digest of one of its versions.
    """
    where = place(api, namespace, everywhere)
    digest, words = _data(api, namespace or api.namespace, data)
    _tell_dependents(api, where, Node("Data", digest, words=words), wayback.data_key(digest), output)


def _data(api: Api, namespace: str, data: str) -> tuple[str, tuple[str, ...]]:
    """The digest that is meant, and what a person calls it."""
    if re.match(DIGEST, data):
        return data, ()
    name, at, digest = data.partition("@")
    if name.startswith("sha256:"):
        raise Stop(f"{data} is no whole digest: write sha256: and 64 digits of 0-9 and a-f")
    if re.match(DIGEST, digest):
        return digest, (f"of Dataset {name}",)
    status = get(api, DATASETS, namespace, name).get("status") or {}
    known: list[str] = [v["digest"] for v in status.get("versions") or () if not at or v["digest"].startswith(digest)]
    if not known:
        lacks = f"has no version {digest}" if at else f"has no version yet: {status.get('message', '')}"
        raise Stop(f"the Dataset {name} {lacks}")
    if at and len(known) > 1:
        raise Stop(f"{digest} begins {len(known)} versions of the Dataset {name}: write more of it")
    return known[0], (f"of Dataset {name}" if at else f"the newest version of Dataset {name}",)


def of_commit(api: Api, namespace: str | None, everywhere: bool, commit: str, output: GraphOutput) -> None:
    """What depends on a commit."""
    key = wayback.commit_key(commit)
    if key is None:
        raise Stop(f"{commit} is no whole commit: write its 40 digits (git rev-parse {commit})")
    where = place(api, namespace, everywhere)
    _tell_dependents(api, where, Node("Code", commit), key, output)


def of_image(api: Api, namespace: str | None, everywhere: bool, image: str, output: GraphOutput) -> None:
    """What was trained in an image."""
    digest = image.rpartition("@")[2]
    if not re.match(DIGEST, digest):
        raise Stop(
            f"{image} has no digest: write sha256: and 64 digits, or NAME@sha256:...; a tag may have moved since"
        )
    where = place(api, namespace, everywhere)
    _tell_dependents(api, where, Node("Image", digest), wayback.image_key(digest), output)


def _tell_dependents(api: Api, namespace: str | None, root: Node, key: str | None, output: GraphOutput) -> None:
    assert key is not None, "whoever calls has seen that it is a digest"
    served = lists.servers(deployments(api, namespace), namespace)
    descent = _descent(api, namespace, key, served)
    if output is GraphOutput.TREE:
        show.say(lineage.summary(descent))
    if descent.first or output is not GraphOutput.TREE:
        _tell(lineage.dependents(root, descent, namespace), output)


def _descent(api: Api, namespace: str | None, key: str, served: dict[tuple[str, str], tuple[Server, ...]]) -> Descent:
    """What depends on it. The label finds the versions that it went into and those that descend from them; those that
    were registered before ancestors were written down are found by the weights that they began from."""
    found: dict[tuple[str, str], tuple[Version, Mapping[str, str]]] = {}
    asked = set[str]()
    tuned: list[Row] | None = None  # all that began from weights, once one request for each hundred costs more
    rows = api.table(VERSIONS, namespace, selector=key, meta=True)
    while rows:
        new = set[str]()
        for row in rows:
            version, labels = lists.version(row, served, namespace), _labels(row)
            found.setdefault((version.namespace, version.name), (version, labels))
            new.add(labels.get(Label.WEIGHTS, ""))
        begun = new - asked - {""}
        asked |= new
        if not begun:
            break
        if tuned is None and len(begun) > _AT_ONCE:
            tuned = api.table(VERSIONS, namespace, selector=Label.PARENT_WEIGHTS, meta=True)
        if tuned is None:
            selector = f"{Label.PARENT_WEIGHTS} in ({','.join(sorted(begun))})"
            rows = api.table(VERSIONS, namespace, selector=selector, meta=True)
        else:
            rows = [row for row in tuned if _labels(row)[Label.PARENT_WEIGHTS] in begun]
    return lineage.descent(list(found.values()), key)


def _labels(row: Row) -> Mapping[str, str]:
    return row.meta.get("labels") or {}


def _versions(
    api: Api, namespace: str | None, selector: str, served: dict[tuple[str, str], tuple[Server, ...]]
) -> list[Version]:
    rows = api.table(VERSIONS, namespace, selector=selector, meta=namespace is None)
    return [lists.version(row, served, namespace) for row in rows]


# ------------------------------------------------------------------------------------------------------- at a time


def at(api: Api, namespace: str | None, name: str, when: str, output: GraphOutput) -> None:
    """What a Deployment served at a time."""
    where, moment = namespace or api.namespace, _time(when)
    deployment, then = get(api, DEPLOYMENTS, where, name), f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    try:
        found = lineage.served_at(deployment, moment)
    except lineage.BeforeHistory as stop:
        raise Stop(f"what {name} served at {then} is not known: {stop}") from None
    except ValueError as stop:
        raise Stop(f"{name} served nothing at {then}: {stop}") from None
    if not found:
        raise Stop(f"{name} served nothing at {then}: its first version was not ready yet")
    branches = []
    for served in found:
        since = f"since {show.moment(served.since)}" if served.since else ""
        until = f"until {show.moment(served.until)}" if served.until else "until now"
        words = tuple(w for w in (since, until, served.words) if w)
        try:
            branch = _about(api, where, get(api, VERSIONS, where, served.version), downwards=False)
        except Missing:
            branch = Branch(Node("ModelVersion", served.version, where, words=("is gone",)))
        facts = {**branch.node.facts, **asdict(served)}
        node = replace(branch.node, words=words, facts=facts)
        branches.append(Branch(node, f"{served.role}:", "served by", branches=branch.branches))
    root = Node("Deployment", name, where, words=(f"at {then}",))
    _tell(Branch(root, branches=tuple(branches)), output)


def _time(text: str) -> datetime:
    try:
        found = parse_time(text)
    except ValueError:
        raise Stop(f"{text} is no time: write for example 2026-11-22T10:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# ------------------------------------------------------------------------------------------------ comparing, judging


def diff(api: Api, namespace: str | None, first: str, second: str, everything: bool, output: DataOutput) -> None:
    """What changed between two versions."""
    where = namespace or api.namespace
    one, two = version(api, where, first), version(api, where, second)
    found = compare(one, two)
    if output is DataOutput.JSON:
        show.say_json([asdict(d) | {"same": d.same} for d in found])
        return
    shown = [d for d in found if everything or not d.same]
    names = [one["metadata"]["name"], two["metadata"]["name"]]
    show.say_table(["", "", *names, ""], [_difference(d) for d in shown])
    same = list(dict.fromkeys(d.what for d in found if all(o.same for o in found if o.what == d.what)))
    if same and not everything:
        show.say(f"the same: {', '.join(same)}")


def _difference(found: Difference) -> list[str]:
    return [found.what, found.name, _brief(found.first), _brief(found.second), found.note]


def _brief(text: str) -> str:
    return show.short(text) if re.match(DIGEST, text) else text[:12] if wayback.short_commit(text) else text


def reproducible(api: Api, namespace: str | None, name: str, output: DataOutput) -> None:
    """Whether a version can be made again."""
    where = namespace or api.namespace
    found = version(api, where, name)
    verdict = reproducible_.judge(found, _code(api, where, found), _run(api, where, found), _began(api, where, found))
    if output is DataOutput.JSON:
        show.say_json(asdict(verdict))
        return
    show.say_words(verdict.answer, f"{found['metadata']['name']}: {verdict.words}")
    show.say_table(["", "", ""], [[f.answer, f.what, f.words] for f in verdict.findings])


def _run(api: Api, namespace: str, found: Object) -> Object | None:
    named = (lineage_of(found).get("trainingRun") or {}).get("name")
    try:
        return get(api, RUNS, namespace, named) if named else None
    except (Missing, Forbidden):
        return None


def _began(api: Api, namespace: str, found: Object) -> Object | str | None:
    named = (lineage_of(found).get("parent") or {}).get("modelVersion")
    try:
        return get(api, VERSIONS, namespace, named) if named else None
    except Missing:
        return None
    except Forbidden as stop:
        return f"whether {named} is still there to begin from is not known: {stop}"


def _code(api: Api, namespace: str, found: Object) -> Object | str | None:
    named = ((lineage_of(found).get("code") or {}).get("configMap") or {}).get("name")
    if not named:
        return None
    try:
        return get(api, CONFIG_MAPS, namespace, named)
    except Missing:
        return None
    except Forbidden as stop:
        return f"whether the ConfigMap {named} is still the same is not known: {stop}"


def _tell(root: Branch, output: GraphOutput) -> None:
    if output is GraphOutput.JSON:
        show.say_json(graph.as_json((root,)))
    elif output is GraphOutput.DOT:
        print(graph.as_dot((root,)))
    else:
        show.say_tree(graph.as_tree(root))
