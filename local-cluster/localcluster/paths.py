"""Where things lie: the repository, the cache all checkouts share, and what belongs to this checkout alone."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOCAL_CLUSTER = REPOSITORY / "local-cluster"


def _xdg(variable: str, default: str) -> Path:
    # The XDG base directory specification: a relative value is to be ignored.
    value = Path(os.environ.get(variable) or "")
    return value if value.is_absolute() else Path.home() / default


def cache() -> Path:
    """What any checkout may reuse, keyed by content: programs, images, virtual environments."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "slipway"


def state_root() -> Path:
    """The directory that holds one state directory for each checkout with a cluster."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "slipway"


def checkout_id(repository: Path = REPOSITORY) -> str:
    """Eight hex digits that tell this checkout's cluster from those of others.

    It depends on the checkout's path only, so that a second clone never meets the first one's cluster.
    """
    return hashlib.sha256(str(repository).encode()).hexdigest()[:8]


def state(identity: str | None = None) -> Path:
    """What this checkout's cluster keeps on disk; removed by `make down`.

    Outside the git tree: it holds sockets, overlay mounts and root-owned files that `git clean` would stumble over.
    """
    return state_root() / (identity or checkout_id())


def digest(*parts: str | bytes | Path) -> str:
    """Sixteen hex digits over texts and file contents: the key of a cached thing."""
    h = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "big"))
        h.update(data)
    return h.hexdigest()[:16]
