"""Whether a version can be made again, by what was recorded of it. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from slipway.cli.client import Object
from slipway.cli.reading import lineage_of
from slipway.cli.show import short

Answer = Literal["yes", "no", "unknown"]
_GONE: Final = "is gone"


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


def config_map_digest(config_map: Object) -> str:
    """The manifest digest that a pod finds for a mounted ConfigMap (``slipway_trainer.manifest``): sha256 over the
    sorted lines ``path size sha256``."""
    files = {name: text.encode() for name, text in (config_map.get("data") or {}).items()}
    files |= {name: base64.b64decode(text) for name, text in (config_map.get("binaryData") or {}).items()}
    lines = sorted(f"{name} {len(data)} {hashlib.sha256(data).hexdigest()}\n".encode() for name, data in files.items())
    return f"sha256:{hashlib.sha256(b''.join(lines)).hexdigest()}"


def judge(version: Object, code: Object | str | None) -> Verdict:
    """Whether it can be made again.

    Args:
        code: the ConfigMap that its lineage names as it is now; None where it is gone; a sentence where it could not
            be read.
    """
    lineage = lineage_of(version)
    if not lineage:
        return Verdict("unknown", "it has no lineage yet", ())
    if not lineage.get("trainingRun"):
        return Verdict("no", "it was trained elsewhere: what made it was not recorded here", ())
    findings = tuple(_findings(lineage, code))
    done = [r for r in lineage.get("reproductions") or () if r.get("verdict") in ("Identical", "WithinTolerance")]
    lacking = [f for f in findings if f.answer == "no"]
    open_ = [f for f in findings if f.answer == "unknown"]
    if lacking:
        return Verdict("no", "; ".join(f.words for f in lacking), findings)
    if done:
        return Verdict("yes", f"run {done[0]['trainingRun']} made it again: {done[0]['verdict']}", findings)
    if open_:
        return Verdict("unknown", "; ".join(f.words for f in open_), findings)
    return Verdict("yes", "all that it was made from is recorded by digest; nobody has made it again yet", findings)


def _findings(lineage: Mapping[str, Any], code: Object | str | None) -> Iterator[Finding]:
    recorded = lineage.get("code") or {}
    yield _code(recorded, code)
    image = recorded.get("image") or {}
    if image.get("digest"):
        yield Finding("image", "yes", f"{image.get('ref', '')} is known as {short(image['digest'])}")
    else:
        yield Finding("image", "no", f"the image {image.get('ref', '')} is known by its tag only, which may move")
    for data in lineage.get("data") or ():
        yield Finding(
            "data", "yes", f"{data['name']} is known as {short(data['digest'])}; it is checked when it is read"
        )
    yield Finding(
        "parameters", "yes", f"{len(lineage.get('parameters') or {})} recorded, and the seed {lineage.get('seed')}"
    )
    gpu = (lineage.get("environment") or {}).get("gpu")
    if gpu:
        words = f"it ran on {gpu['count']} x {gpu['product']}: GPUs add in any order, so expect WithinTolerance"
        yield Finding("hardware", "yes", words)
    for past in lineage.get("reproductions") or ():
        good: Answer = "no" if past.get("verdict") == "Different" else "yes"
        detail = f": {past['detail']}" if past.get("detail") else ""
        # A failed reproduction is told, and does not forbid another.
        yield Finding(
            "reproduced", "yes" if good == "yes" else "unknown", f"run {past['trainingRun']}: {past['verdict']}{detail}"
        )


def _code(recorded: Mapping[str, Any], code: Object | str | None) -> Finding:
    if git := recorded.get("git"):
        return Finding("code", "yes", f"commit {git['commit'][:12]} of {git['url']}")
    named = recorded.get("configMap")
    if not named:
        return Finding("code", "yes", "the code is in the image")
    name, digest = named["name"], named.get("digest")
    if digest is None:
        return Finding("code", "no", f"nobody recorded what the ConfigMap {name} held")
    if isinstance(code, str):
        return Finding("code", "unknown", code)
    if code is None:
        return Finding("code", "no", f"the ConfigMap {name} {_GONE}; make one with the digest {short(digest)}")
    if (now := config_map_digest(code)) != digest:
        return Finding("code", "no", f"the ConfigMap {name} holds {short(now)} now, and held {short(digest)} then")
    return Finding("code", "yes", f"the ConfigMap {name} still holds {short(digest)}")
