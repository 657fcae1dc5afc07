"""Which Deployments answer at a host name, as a Gateway chooses. Pure.

Source: ``HTTPRouteSpec.hostnames`` of the Gateway API, https://gateway-api.sigs.k8s.io/reference/spec/#httproutespec.
A wildcard stands for one label or more; of several routes the one with the most characters in a matching host name
without a wildcard is taken, and then the one with the most characters in a matching host name. Our routes match every
path.
"""

from __future__ import annotations

from collections.abc import Iterable

from slipway.cli.client import Object


def answering(deployments: Iterable[Object], host: str) -> list[tuple[Object, str]]:
    """The Deployments whose route a request for ``host`` is given to, each with the host name that says so.

    A route is passed over where another one at the same listeners of the same Gateway names the host more exactly. Two
    that name it alike are both told: the older route of the two answers, and that is not seen here.
    """
    found = [(d, name) for d in deployments if (name := best(_hostnames(d), host.lower()))]
    return [(d, name) for d, name in found if not any(_before(other, of, name, d) for other, of in found)]


def best(hostnames: Iterable[str], host: str) -> str | None:
    """Of a route's host names the one that fits most exactly; None where none does.

    >>> best(["*.com", "*.example.com"], "digits.example.com"), best(["*.example.com"], "example.com")
    ('*.example.com', None)
    """
    return max((name for name in hostnames if fits(name, host)), key=_exactness, default=None)


def fits(name: str, host: str) -> bool:
    """Whether a route's host name covers a host.

    >>> fits("*.example.com", "a.b.example.com"), fits("*.example.com", "badexample.com")
    (True, False)
    """
    return name == host or (name.startswith("*.") and host.endswith(name[1:]) and len(host) >= len(name))


def _exactness(name: str) -> tuple[bool, int]:
    return not name.startswith("*."), len(name)


def _before(other: Object, of: str, name: str, deployment: Object) -> bool:
    theirs, mine = _listeners(other), _listeners(deployment)
    same = theirs[:2] == mine[:2] and theirs[2] in (None, mine[2])
    return same and _exactness(of) > _exactness(name)


def _listeners(deployment: Object) -> tuple[str, str, str | None]:
    """Namespace and name of the Gateway, and the listener; None for all of them."""
    gateway = deployment["spec"]["route"]["gateway"]
    where = gateway.get("namespace") or deployment["metadata"]["namespace"]
    return where, gateway["name"], gateway.get("sectionName")


def _hostnames(deployment: Object) -> list[str]:
    """The host names that clients use; a preview is none of them."""
    names: list[str] = (deployment["spec"].get("route") or {}).get("hostnames") or []
    return names
