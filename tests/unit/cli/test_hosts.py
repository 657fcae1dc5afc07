"""Who answers at a host name: exact names before wildcards, longer ones before shorter, each Gateway for itself."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.cli import hosts
from slipway.cli.client import Object


def deployment(name: str, *hostnames: str, namespace: str = "team", **gateway: Any) -> Object:
    route = {"gateway": {"name": "public", **gateway}, "hostnames": list(hostnames)}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"route": route}}


def far(hostname: str) -> Object:
    """In another namespace, at the same Gateway."""
    made = deployment("far", hostname, namespace="other")
    made["spec"]["route"]["gateway"]["namespace"] = "team"
    return made


EXACT = deployment("exact", "digits.example.com")
WIDE = deployment("wide", "*.example.com")
WIDER = deployment("wider", "*.com")
SEVERAL = deployment("several", "*.com", "other.example.com", "*.b.example.com")


@pytest.mark.parametrize(
    ("deployments", "host", "expected"),
    [
        ([EXACT], "digits.example.com", ["exact by digits.example.com"]),
        ([EXACT], "DIGITS.Example.com", ["exact by digits.example.com"]),
        ([EXACT], "a.digits.example.com", []),
        ([WIDE], "digits.example.com", ["wide by *.example.com"]),
        ([WIDE], "a.b.example.com", ["wide by *.example.com"]),
        ([WIDE], "example.com", []),
        ([WIDE], ".example.com", []),
        ([WIDE], "digitsexample.com", []),
        ([WIDE], "*.example.com", ["wide by *.example.com"]),
        ([WIDER, WIDE, EXACT], "digits.example.com", ["exact by digits.example.com"]),
        ([WIDER, WIDE], "digits.example.com", ["wide by *.example.com"]),
        ([WIDER, WIDE], "digits.example.org", []),
        ([WIDER, WIDE], "example.com", ["wider by *.com"]),
        ([SEVERAL, WIDE], "other.example.com", ["several by other.example.com"]),
        ([SEVERAL, WIDE], "a.b.example.com", ["several by *.b.example.com"]),
        ([SEVERAL, WIDE], "a.example.com", ["wide by *.example.com"]),
        # an exact name wins, however short it is beside a wildcard that fits too
        ([deployment("deep", "*.a.b.example.com"), deployment("one", "x.a.b.example.com")], "x.a.b.example.com",
         ["one by x.a.b.example.com"]),
        # two that say the same
        ([EXACT, deployment("twin", "digits.example.com")], "digits.example.com",
         ["exact by digits.example.com", "twin by digits.example.com"]),
        # each Gateway, and each listener, chooses for itself
        ([EXACT, deployment("inside", "*.example.com", namespace="other")], "digits.example.com",
         ["exact by digits.example.com", "inside by *.example.com"]),
        ([EXACT, far("*.example.com")], "digits.example.com",
         ["exact by digits.example.com"]),
        ([deployment("tls", "digits.example.com", sectionName="https"), WIDE], "digits.example.com",
         ["tls by digits.example.com", "wide by *.example.com"]),
        ([EXACT, deployment("tls", "*.example.com", sectionName="https")], "digits.example.com",
         ["exact by digits.example.com"]),
        ([{"metadata": {"name": "no-route", "namespace": "team"}, "spec": {}}], "digits.example.com", []),
    ],
)  # fmt: skip
def test_who_answers(deployments: list[Object], host: str, expected: list[str]) -> None:
    assert [f"{d['metadata']['name']} by {name}" for d, name in hosts.answering(deployments, host)] == expected
