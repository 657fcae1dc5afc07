"""Which number the next version of a model gets: never one twice, none left out, whoever crashes when. Pure.

    pass 0   judge    the run's status says what its gates said; without gates there is no such pass
    pass 1   claim    write {last: n, claims: {run: n}} into the ledger, only if it is still as it was read
    pass 2   create   POST <model>-v<n>; the name makes it happen once
    pass 3   record   the run's status says Succeeded and names the version

A crash after 1 finds its claim again and goes on at 2; after 2 it finds its version (by the run's uid) and goes on at
3. Two runs that end together read the same ledger: the second write is refused by its resourceVersion (the first one
of all, a POST, by its name), and that run looks again. The rejected choice, to look for the highest number and create
the next, gives a number twice as soon as the newest version is deleted.

Where a run is deleted between 1 and 2 its number is left out: nobody gets it, and its claim stays. To give it away
again one would have to know that the run's version was never there, and a version that was made and deleted at once
looks the same.
"""

from __future__ import annotations

from collections.abc import Collection

from slipway.ledger import Ledger


def claim(ledger: Ledger, run: str, taken: Collection[int], done: Collection[str]) -> Ledger:
    """The ledger after a run's claim of the next number.

    A claim of this run that is there already was for a number that somebody else's version has: it is replaced.

    Args:
        run: uid of the run that claims.
        taken: numbers of the versions of this model that exist: the floor where the ledger was lost, or where people
            make versions by hand.
        done: uids of the runs whose version exists: their claims are dropped.

    >>> claim(Ledger(3, {"a": 3}), "b", {1, 2, 3}, {"a"}).claims
    {'b': 4}
    >>> claim(Ledger(0), "b", {7}, ()).last
    8
    """
    number = max([ledger.last, *taken]) + 1
    # A number that stands for a file is no claim any more, though its version and its run be deleted.
    kept = {uid: n for uid, n in ledger.claims.items() if uid not in done and n not in ledger.files}
    return Ledger(number, {**kept, run: number}, ledger.files)
