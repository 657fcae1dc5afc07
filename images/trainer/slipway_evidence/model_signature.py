"""What is signed of a model of one file: the statement of model-signing 1.0 (``serialization: files``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

PREDICATE: Final = "https://model_signing/signature/v1.0"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
_THE_FILE: Final = "."
"""The path of a model that is one file, as model-signing writes it."""


def statement(name: str, digest: str) -> bytes:
    """The statement about a file.

    Args:
        name: of the file.
        digest: ``sha256:<hex>`` of its bytes.
    """
    content = digest.removeprefix("sha256:")
    made = {
        "_type": STATEMENT,
        # The digest of the model is over the digests of its files, here of one.
        "subject": [{"name": name, "digest": {"sha256": hashlib.sha256(bytes.fromhex(content)).hexdigest()}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []},
            "resources": [{"name": _THE_FILE, "algorithm": "sha256", "digest": content}],
        },
    }
    return json.dumps(made, sort_keys=True).encode()


def signed_digest(found: Mapping[str, Any]) -> str | None:
    """``sha256:<hex>`` of the one file that a statement is about; None where it is no such statement."""
    try:
        (resource,) = found["predicate"]["resources"]
        right = found["predicateType"] == PREDICATE and resource["algorithm"] == "sha256"
        return f"sha256:{resource['digest']}" if right else None
    except (KeyError, TypeError, ValueError):
        return None
