"""Does a child need a write? Pure, so that a decision may ask too."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

_IDENTITY: Final = ("name", "type", "metric", "key", "ip", "topologyKey", "uid")
_QUANTITIES: Final = frozenset({"limits", "requests", "capacity"})
_SUFFIX: Final = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"),
    "": Decimal(1), "m": Decimal("0.001"), "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12, "P": Decimal(10) ** 15, "E": Decimal(10) ** 18, "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20, "Gi": Decimal(2) ** 30, "Ti": Decimal(2) ** 40, "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}  # fmt: skip


def differs(wanted: Any, live: Any, *, quantities: bool = False) -> bool:
    """Whether the live object lacks something that the wanted one says.

    What the API server adds (defaults, status) does not count. A list must have the same length: an element too many
    is drift. Quantities are compared by value, since the API server spells them its own way. The alternative, a hash
    of the last write in an annotation, does not see drift.

    >>> differs({"a": [{"name": "x"}]}, {"a": [{"name": "x", "added": 1}], "status": {}})
    False
    >>> differs({"limits": {"cpu": "0.5"}}, {"limits": {"cpu": "500m"}})
    False
    >>> differs({"a": ["x"]}, {"a": ["x", "y"]})
    True
    """
    if wanted == live:
        return False  # most of most objects, and an order of magnitude faster than to look at every leaf
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return bool(wanted) or live is not None
        return any(
            differs(value, live.get(key), quantities=key in _QUANTITIES or quantities)
            for key, value in wanted.items()
            if not (value is None and key not in live)
        )
    if isinstance(wanted, list | tuple):
        if not isinstance(live, list) or len(wanted) != len(live):
            return bool(wanted) or bool(live)
        return any(
            differs(item, other, quantities=quantities)
            for item, other in zip(wanted, _ordered(wanted, live), strict=True)
        )
    if quantities and isinstance(wanted, str | int) and isinstance(live, str | int):
        return quantity(str(wanted)) != quantity(str(live))
    return bool(wanted != live)


def _ordered(wanted: list[Any] | tuple[Any, ...], live: list[Any]) -> list[Any]:
    """The live items in the wanted order, where they have an identity."""
    for key in _IDENTITY:
        if all(isinstance(i, Mapping) and key in i for i in (*wanted, *live)):
            by_key = {i[key]: i for i in live}
            if len(by_key) == len(live) and all(i[key] in by_key for i in wanted):
                return [by_key[i[key]] for i in wanted]
    return live


def quantity(text: str) -> Decimal | str:
    """The value of a Kubernetes quantity; text that is none is returned as it is.

    >>> quantity("1Gi") == quantity("1024Mi"), quantity("100m")
    (True, Decimal('0.100'))
    """
    number = text.rstrip("nukMGTPEim")
    try:
        return Decimal(number) * _SUFFIX[text[len(number) :]]
    except (InvalidOperation, KeyError):
        return text
