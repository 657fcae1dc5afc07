"""Where clients go by a hash, and that only those move who must. The model of Envoy here is what was measured: the
hash modulo the sum of the weights, against the weights added up in the order of the backendRefs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product

import pytest

from slipway import contract
from slipway.serving.traffic.sticky import (
    HEADER,
    backend_refs,
    consistent_hash,
    in_slots,
    slots,
    weights_of,
)
from tests.support.serving_builders import deployment

CLIENTS = range(100)
Slots = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class By:
    cookie: str | None = None
    header: str | None = None


def home(client: int, refs: Slots) -> str:
    """The version that a client's hash leads to."""
    point = client % sum(weight for _, weight in refs)
    for version, weight in refs:
        if point < weight:
            return version
        point -= weight
    raise AssertionError("the weights do not add up")


def homes(refs: Slots) -> dict[int, str]:
    return {client: home(client, refs) for client in CLIENTS}


def at(percent: int, stable: str = "v1", candidate: str = "v2") -> Slots:
    return slots({stable: 100 - percent, candidate: percent}, stable=stable)


NAMES = [("v1", "v2"), ("v9", "v10")]
"""The candidate sorts after the stable, and before it."""


@pytest.mark.parametrize(("stable", "candidate"), NAMES)
@pytest.mark.parametrize("percent", range(101))
def test_the_candidate_gets_exactly_its_share(stable: str, candidate: str, percent: int) -> None:
    assert list(homes(at(percent, stable, candidate)).values()).count(candidate) == percent


@pytest.mark.parametrize(("stable", "candidate"), NAMES)
def test_only_those_move_who_must_and_they_come_back_as_they_went(stable: str, candidate: str) -> None:
    shares = [0, 1, 10, 50, 99, 100]
    for before, after in [*pairwise(shares), *pairwise(reversed(shares))]:
        was, now = homes(at(before, stable, candidate)), homes(at(after, stable, candidate))
        moved = {client for client in CLIENTS if was[client] != now[client]}
        assert len(moved) == abs(after - before)
        assert {now[client] for client in moved} == {candidate if after > before else stable}


@pytest.mark.parametrize("percent", [*range(0, 101, 5), 1, 99])
def test_two_slots_that_are_never_empty(percent: int) -> None:
    refs = at(percent)
    assert len([weight for _, weight in refs[:2] if weight > 0]) == 2
    assert all(weight == 0 for _, weight in refs[2:])
    assert sum(weight for _, weight in refs) == 100
    assert {version for version, _ in refs} == {"v1", "v2"}, "who has nothing keeps its place in the route"


def torn(before: Slots, after: Slots) -> Iterator[Slots]:
    """What Envoy may have while one write is on its way: the widths, and each slot's endpoints, old or new."""
    for widths, first, second in product((before, after), repeat=3):
        yield ((first[0][0], widths[0][1]), (second[1][0], widths[1][1]))


@pytest.mark.parametrize(("stable", "candidate"), NAMES)
@pytest.mark.parametrize(
    ("before", "after"), [(0, 10), (10, 50), (50, 0), (50, 100), (0, 100), (100, 0), (99, 100), (1, 0), (90, 100)]
)
def test_no_order_of_arrival_gives_anybody_more_than_before_or_after(
    stable: str, candidate: str, before: int, after: int
) -> None:
    low, high = min(before, after), max(before, after)
    for refs in torn(at(before, stable, candidate), at(after, stable, candidate)):
        assert low <= list(homes(refs).values()).count(candidate) <= high, refs


def test_a_promotion_moves_nobody() -> None:
    before = slots({"v1": 0, "v2": 100}, stable="v1")
    after = slots({"v1": 0, "v2": 100}, stable="v2")
    assert set(homes(before).values()) == set(homes(after).values()) == {"v2"}
    assert after == (("v2", 99), ("v2", 1), ("v1", 0)), "the next candidate takes the narrow slot"


@pytest.mark.parametrize("stable", [None, "v1", "gone"])
def test_one_version_alone_stands_in_both(stable: str | None) -> None:
    assert slots({"v1": 100}, stable=stable) == (("v1", 99), ("v1", 1))


def test_nobody_has_anything() -> None:
    assert slots({"v2": 0, "v1": 0}, stable="v1") == (("v1", 0), ("v2", 0))
    assert slots({}, stable=None) == ()


def test_each_backend_is_a_service_with_a_filter_that_is_the_same_for_all() -> None:
    refs = backend_refs(deployment(), {"digits-v1": 100, "digits-v2": 0}, stable="digits-v1")
    assert [(ref["name"], ref["weight"], ref["port"]) for ref in refs] == [
        ("digits-digits-v1", 99, contract.SERVE_PORT),
        ("digits-digits-v1", 1, contract.SERVE_PORT),
        ("digits-digits-v2", 0, contract.SERVE_PORT),
    ]
    expected = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": HEADER, "value": "digits"}]}}
    ]
    assert all(ref["filters"] == expected for ref in refs)


@pytest.mark.parametrize("percent", [0, 1, 10, 50, 99, 100])
def test_what_was_written_is_read_back(percent: int) -> None:
    wanted = {"digits-v1": 100 - percent, "digits-v2": percent}
    refs = backend_refs(deployment(), wanted, stable="digits-v1")
    known = {"digits-digits-v1": "digits-v1", "digits-digits-v2": "digits-v2"}
    assert weights_of([*refs, {"name": "somebody-elses", "weight": 7}], known) == wanted


def live(refs: list[dict[str, object]]) -> Mapping[str, object]:
    return {"spec": {"rules": [{"backendRefs": refs}]}}


def test_a_route_is_in_slots_when_every_backend_has_its_filter() -> None:
    refs = backend_refs(deployment(), {"digits-v1": 90, "digits-v2": 10}, stable="digits-v1")
    plain = [{key: value for key, value in ref.items() if key != "filters"} for ref in refs]
    assert in_slots(live(refs))
    assert not in_slots(live(plain))
    assert not in_slots(live([refs[0], plain[1]]))
    assert not in_slots(live([refs[0]])), "one backend alone has no second slot"
    assert not in_slots({"spec": {}})


def test_the_hash_is_of_the_cookie_or_of_the_header() -> None:
    assert consistent_hash(By(cookie="seat")) == {
        "type": "ConsistentHash",
        "consistentHash": {"type": "Cookie", "cookie": {"name": "seat", "ttl": "0s"}},
    }
    assert consistent_hash(By(header="X-User")) == {
        "type": "ConsistentHash",
        "consistentHash": {"type": "Headers", "headers": [{"name": "X-User"}]},
    }
    with pytest.raises(ValueError, match="neither"):
        consistent_hash(By())
