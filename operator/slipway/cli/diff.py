"""What changed between two versions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway.cli.client import Object
from slipway.cli.reading import lineage_of
from slipway.cli.show import plural, size

NONE: Final = "-"


@dataclass(frozen=True)
class Difference:
    """One thing by its values in both versions; ``-`` where a version has none."""

    what: str
    name: str
    first: str
    second: str
    note: str = ""

    @property
    def same(self) -> bool:
        return self.first == self.second


def compare(first: Object, second: Object) -> list[Difference]:
    """Everything that was compared, the same or not, in the order in which a person asks: data, code, parameters,
    what it ran on, what came out."""
    one, two = lineage_of(first), lineage_of(second)
    return [
        *_data(one, two),
        *_code(one.get("code") or {}, two.get("code") or {}),
        *_maps("parameter", one.get("parameters") or {}, two.get("parameters") or {}),
        Difference("seed", "", _text(one.get("seed")), _text(two.get("seed"))),
        _of("parent", "", one, two, "parent", "modelVersion"),
        _of("parent", "weights", one, two, "parent", "digest"),
        *_environment(one.get("environment") or {}, two.get("environment") or {}),
        *_metrics(one, two),
        *_result(first["spec"], second["spec"]),
    ]


def _data(one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Difference]:
    first = {d["name"]: d for d in one.get("data") or ()}
    second = {d["name"]: d for d in two.get("data") or ()}
    for name in [*first, *(n for n in second if n not in first)]:
        a, b = first.get(name, {}), second.get(name, {})
        note = ", ".join(
            f"{said(a[key])} -> {said(b[key])}"
            for key, said in (("files", _files), ("bytes", size))
            if a and b and a[key] != b[key]
        )
        yield Difference("data", name, _text(a.get("digest")), _text(b.get("digest")), note)
        if a.get("uri") != b.get("uri") and a and b:
            yield Difference("data", f"{name} uri", a["uri"], b["uri"])


def _code(one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Difference]:
    yield _of("code", "commit", one, two, "git", "commit")
    yield _of("code", "repository", one, two, "git", "url")
    yield _of("code", "path", one, two, "git", "path")
    yield _of("code", "ConfigMap", one, two, "configMap", "name")
    yield _of("code", "content", one, two, "configMap", "digest")
    yield Difference("code", "entrypoint", _called(one), _called(two))
    yield _of("image", "ref", one, two, "image", "ref")
    yield _of("image", "digest", one, two, "image", "digest")


def _called(code: Mapping[str, Any]) -> str:
    return _text(code.get("entrypoint") or " ".join(code.get("command") or ()) or None)


def _environment(one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Difference]:
    for name in ("python", "torch", "onnxruntime", "cuda", "cudnn", "driver", "threads"):
        yield Difference("environment", name, _text(one.get(name)), _text(two.get(name)))
    yield _of("environment", "gpu", one, two, "gpu", "product")
    yield Difference("environment", "packages", _packages(one), _packages(two))


def _packages(environment: Mapping[str, Any]) -> str:
    found = environment.get("packages")
    return _text(found.get("digest") if isinstance(found, Mapping) else found)


def _metrics(one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Difference]:
    first = {m["name"]: m["value"] for m in one.get("metrics") or ()}
    second = {m["name"]: m["value"] for m in two.get("metrics") or ()}
    for found in _maps("metric", first, second):
        yield Difference(found.what, found.name, found.first, found.second, _change(found.first, found.second))


def _change(first: str, second: str) -> str:
    """By how much a metric moved.

    >>> _change("0.81", "0.97"), _change("0.5", "0.5"), _change("-", "0.5")
    ('+0.16', '', '')
    """
    try:
        moved = float(second) - float(first)
    except ValueError:
        return ""
    return f"{moved:+.4g}" if moved else ""


def _result(one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Difference]:
    yield Difference("file", "digest", one["artifact"]["digest"], two["artifact"]["digest"])
    yield Difference("file", "size", size(one["artifact"]["size"]), size(two["artifact"]["size"]))
    for side in ("inputs", "outputs"):
        yield Difference("signature", side, _tensors(one["signature"][side]), _tensors(two["signature"][side]))


def _tensors(given: list[Mapping[str, Any]]) -> str:
    return ", ".join(f"{t['name']} {t['datatype']}{t['shape']}" for t in given)


def _maps(what: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted({*one, *two}):
        yield Difference(what, name, _text(one.get(name)), _text(two.get(name)))


def _of(what: str, name: str, one: Mapping[str, Any], two: Mapping[str, Any], part: str, key: str) -> Difference:
    return Difference(what, name, _text((one.get(part) or {}).get(key)), _text((two.get(part) or {}).get(key)))


def _files(count: int) -> str:
    return plural(count, "file")


def _text(value: object) -> str:
    return NONE if value is None or value == "" else str(value)
