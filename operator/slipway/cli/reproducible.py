"""Whether a version can be made again, by what was recorded of it. Pure.

What a reproduction would be refused for is decided in one place, ``slipway.api.reproduce``; this says it part by part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slipway.api.reproduce import NotReproducible, config_map_digest, no_parent, run_manifest
from slipway.api.reproduce import lineage_of as recorded_lineage
from slipway.cli.client import Object
from slipway.cli.reading import home, lineage_of
from slipway.cli.show import plural, short

Answer = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One thing that a reproduction needs, and whether it can be had."""

    what: str
    answer: Answer
    words: str


@dataclass(frozen=True)
class Verdict:
    """The answer with its reasons."""

    answer: Answer
    words: str
    findings: tuple[Finding, ...]


def judge(
    version: Object, code: Object | str | None, run: Object | None = None, parent: Object | str | None = None
) -> Verdict:
    """Whether it can be made again.

    Args:
        parent: the version that its lineage names as the one that it was fine-tuned from, in the version's namespace;
            None where it names none or there is none; a sentence where it could not be read.
        run: the TrainingRun that made it; None where it is gone or may not be read.
        code: the ConfigMap that its lineage names as it is now; None where it names none or it is gone; a sentence
            where it could not be read.
    """
    lineage = lineage_of(version)
    findings = tuple(_findings(version, lineage, code, parent)) if lineage.get("code") else ()
    done = next((r for r in lineage.get("reproductions") or () if r["verdict"] != "Different"), None)
    if unread := [said for said in (code, parent) if isinstance(said, str)]:
        return Verdict("unknown", "; ".join(unread), findings)
    assert not isinstance(code, str)
    assert not isinstance(parent, str)
    try:
        run_manifest(version, name="reproduced", run=run, code=code, parent=parent)
    except NotReproducible as refusal:
        return Verdict("no", str(refusal), findings)
    if done:
        return Verdict("yes", f"the run {done['trainingRun']} made it again: {done['verdict']}", findings)
    return Verdict("yes", "all that it was made from is recorded; nobody has made it again yet", findings)


def _findings(
    version: Object, lineage: Mapping[str, Any], code: Object | str | None, parent: Object | str | None
) -> Iterator[Finding]:
    yield _code(version, lineage["code"], code)
    image = lineage["code"]["image"]
    if image.get("digest"):
        yield Finding("image", "yes", f"{image['ref']} was {short(image['digest'])}")
    else:
        yield Finding("image", "no", f"{image['ref']} is known by its tag only, which may have moved")
    if lineage.get("parent"):
        yield _parent(version, parent)
    for data in lineage.get("data") or ():
        known = f"{data['name']} was {short(data['digest'])}, which is checked when it is read again"
        yield Finding("data", "yes", known)
    parameters = plural(len(lineage.get("parameters") or {}), "parameter")
    yield Finding("parameters", "yes", f"{parameters}, seed {lineage.get('seed')}")
    if gpu := (lineage.get("environment") or {}).get("gpu"):
        words = f"it ran on {gpu['count']} x {gpu['product']}; GPUs may sum in another order: expect WithinTolerance"
        yield Finding("hardware", "unknown", words)
    for past in lineage.get("reproductions") or ():
        detail = f": {past['detail']}" if past.get("detail") else ""
        answer: Answer = "no" if past["verdict"] == "Different" else "yes"
        yield Finding("made again", answer, f"by the run {past['trainingRun']}: {past['verdict']}{detail}")


def _parent(version: Object, parent: Object | str | None) -> Finding:
    recorded = lineage_of(version)["parent"]
    if isinstance(parent, str):
        return Finding("parent", "unknown", parent)
    if trouble := no_parent(version, recorded_lineage(version), parent):
        return Finding("parent", "no", trouble)
    return Finding(
        "parent", "yes", f"{recorded['modelVersion']} is Ready and has the weights {short(recorded['digest'])}"
    )


def _code(version: Object, recorded: Mapping[str, Any], code: Object | str | None) -> Finding:
    if git := recorded.get("git"):
        return Finding("code", "yes", f"commit {git['commit'][:12]} of {git['url']}")
    named = recorded.get("configMap")
    if not named:
        return Finding("code", "yes", "it is in the image")
    name, then = named["name"], named.get("digest")
    if isinstance(code, str):
        return Finding("code", "unknown", code)
    if code is None and home(version) != version["metadata"]["namespace"]:
        return Finding("code", "no", f"the ConfigMap {name} is in the namespace {home(version)}; it held {short(then)}")
    if code is None:
        return Finding("code", "no", f"the ConfigMap {name} is gone; it held {short(then)}")
    now = config_map_digest(code)
    if then is None or now != then:
        return Finding("code", "no", f"the ConfigMap {name} holds {short(now)} now, and held {short(then)} then")
    return Finding("code", "yes", f"the ConfigMap {name} still holds {short(then)}")
