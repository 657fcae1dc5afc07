"""Whom an alias means. Pure.

An alias is listed by as many versions as people like (``spec.aliases``), and held by one: of those that are Ready, by
the one with the highest number. When it moves, the one lets go before the other takes it, so nobody ever sees two
holders; in the moment between the two nobody has it in ``status.heldAliases``, and who asks is told who is about to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def holder(versions: Iterable[Mapping[str, Any]], alias: str) -> Mapping[str, Any] | None:
    """The version that holds an alias, or that is about to; None where no version that is Ready lists it. One that is
    being deleted is nobody's holder, though it may show the alias for a moment more.

    Args:
        versions: of one model and one namespace.

    >>> def version(number, phase, **more):
    ...     return {"spec": {"version": number, "aliases": ["champion"]}, "status": {"phase": phase, **more}}
    >>> old, new = version(1, "Ready", heldAliases=["champion"]), version(2, "Ready")
    >>> holder([old, new], "champion")["spec"]["version"]
    1
    >>> holder([version(1, "Ready"), new], "champion")["spec"]["version"]
    2
    >>> holder([version(1, "Verifying")], "champion")
    >>> holder([{**old, "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, new], "champion")["spec"]["version"]
    2
    """
    known = [v for v in versions if "deletionTimestamp" not in v.get("metadata", {})]
    shown = [v for v in known if alias in (v.get("status") or {}).get("heldAliases", ())]
    candidates = shown or [v for v in known if _may_take(v, alias)]
    return max(candidates, key=lambda v: int(v["spec"]["version"]), default=None)


def _may_take(version: Mapping[str, Any], alias: str) -> bool:
    spec = version["spec"]
    ready = (version.get("status") or {}).get("phase") == "Ready"
    return ready and alias in spec.get("aliases", ()) and not spec.get("archived", False)
