"""Which number the next version of a model gets: never one twice, none left out, whoever crashes when. Pure.

    pass 0   judge    the run's status says what its gates said; without gates there is no such pass
    pass 1   claim    write {last: n, claims: {run: n}} into the ledger, only if it is still as it was read
    pass 2   create   POST <model>-v<n>; the name makes it happen once
    pass 3   record   the run's status says Succeeded and names the version

A crash after 1 finds its claim again and goes on at 2; after 2 it finds its version (by the run's uid) and goes on at
3. Two runs that end together read the same ledger: the second write is refused by its resourceVersion (the first one
of all, a POST, by its name), and that run looks again. The rejected choice, to look for the highest number and create
the next, gives a number twice as soon as the newest version is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.kube.objects import Manifest


@dataclass(frozen=True)
class Ledger:
    """``last`` is the highest number that was ever claimed; ``claims`` says who claimed what and may not be done."""

    last: int
    claims: Mapping[str, int]


def read(found: Manifest | None) -> Ledger:
    """The ledger in a ConfigMap. What cannot be read counts as lost: the versions that exist still set the floor."""
    data: dict[str, Any] = (found or {}).get("data") or {}
    try:
        last = max(0, int(data.get("last", "0")))
    except ValueError:
        last = 0
    try:
        raw = json.loads(data.get("claims", "{}"))
    except ValueError:
        raw = {}
    claims = {str(k): v for k, v in raw.items() if isinstance(v, int) and v > 0} if isinstance(raw, dict) else {}
    return Ledger(max([last, *claims.values()]), claims)


def claim(ledger: Ledger, run: str, taken: Collection[int], done: Collection[str]) -> Ledger:
    """The ledger after a run's claim of the next number.

    A claim of this run that is there already was for a number that somebody else's version has: it is replaced.

    Args:
        run: uid of the run that claims.
        taken: numbers of the versions of this model that exist: the floor where the ledger was lost, or where people
            make versions by hand.
        done: uids of the runs whose version exists: their claims are dropped.

    >>> claim(Ledger(3, {"a": 3}), "b", {1, 2, 3}, {"a"})
    Ledger(last=4, claims={'b': 4})
    >>> claim(Ledger(0, {}), "b", {7}, ())
    Ledger(last=8, claims={'b': 8})
    """
    number = max([ledger.last, *taken]) + 1
    kept = {uid: n for uid, n in ledger.claims.items() if uid not in done}
    return Ledger(number, {**kept, run: number})
