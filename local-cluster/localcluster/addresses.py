"""Which addresses and names of the machine this checkout's cluster takes, so that several checkouts do not meet."""

from __future__ import annotations

import fcntl
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from localcluster import paths

# RFC 2544 sets this range aside for benchmarks between devices: no real network uses it.
_RANGE = ipaddress.ip_network("198.18.0.0/15")
_PAIR_SIZE = 4  # a /30: network, host, node, broadcast


@dataclass(frozen=True)
class Addresses:
    """One checkout's share of the machine.

    `host` and `node` are the two ends of the one wire between the machine and the node; `link` is the wire's name on
    the machine; `cgroup` is the parent of all pods' control groups, relative to each hierarchy's root.
    """

    identity: str
    host: str
    node: str

    @property
    def link(self) -> str:
        return f"slipway{self.identity}"  # an interface's name holds 15 characters

    @property
    def cgroup(self) -> str:
        return f"slipway-{self.identity}"


def claim(identity: str) -> Addresses:
    """The addresses of checkout `identity`, remembered in its state directory.

    The checkout's digest picks the pair; if another checkout on this machine has it, the next free one is taken.
    """
    root = paths.state_root()
    root.mkdir(parents=True, exist_ok=True)
    with (root / "addresses.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        own = root / identity / "addresses.json"
        if not own.exists():
            taken = {json.loads(p.read_text())["pair"] for p in root.glob("*/addresses.json")}
            count = _RANGE.num_addresses // _PAIR_SIZE
            pair = int(identity, 16) % count
            while pair in taken:
                pair = (pair + 1) % count
            own.parent.mkdir(mode=0o700, exist_ok=True)
            fresh = own.with_suffix(".new")
            fresh.write_text(json.dumps({"pair": pair, "checkout": str(paths.REPOSITORY)}))
            fresh.rename(own)
    return of(own)


def of(record: Path) -> Addresses:
    """The addresses that a state directory remembers."""
    first = int(_RANGE.network_address) + json.loads(record.read_text())["pair"] * _PAIR_SIZE
    host, node = (str(ipaddress.ip_address(first + n)) for n in (1, 2))
    return Addresses(record.parent.name, host, node)


def checkout(record: Path) -> Path:
    """The directory of the checkout whose addresses a state directory remembers."""
    return Path(json.loads(record.read_text())["checkout"])
