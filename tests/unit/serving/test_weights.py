"""The arithmetic of weights, for all numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slipway.serving.rollout.weights import candidate_weight, carries, replicas_for

replicas = st.integers(1, 1000)
ready = st.integers(0, 1001)
percent = st.integers(0, 100)


@given(percent, percent, percent, ready)
def test_the_candidate_never_gets_more_than_it_carries(asked: int, able: int, most: int, stable: int) -> None:
    given_ = candidate_weight(asked, able=able, most=most, stable_ready=stable)
    assert 0 <= given_ <= able


@given(percent, percent, percent, ready)
def test_while_the_stable_version_lives_the_candidate_never_gets_more_than_is_asked(
    asked: int, able: int, most: int, stable: int
) -> None:
    assert candidate_weight(asked, able=able, most=most, stable_ready=stable + 1) == min(asked, able, most)


@given(percent, percent, ready)
def test_a_candidate_that_is_asked_nothing_gets_nothing(able: int, most: int, stable: int) -> None:
    assert candidate_weight(0, able=able, most=most, stable_ready=stable) == 0


@given(st.integers(1, 100), replicas)
def test_candidate_pods_carry_at_least_their_share_of_the_pods(asked: int, wanted: int) -> None:
    made = replicas_for(asked, wanted)
    assert 1 <= made <= wanted
    assert carries(made, wanted) >= 100 * made // (wanted + made)


@given(st.integers(1, 99), replicas)
def test_no_other_number_of_pods_is_nearer(asked: int, wanted: int) -> None:
    def off(made: int) -> float:
        return abs(made - wanted * asked / (100 - asked))

    made = replicas_for(asked, wanted)
    assert all(off(made) <= off(other) for other in (made - 1, made + 1) if 1 <= other <= wanted)


@given(st.integers(1, 99), st.integers(1, 99), replicas)
def test_more_percent_never_means_fewer_pods(one: int, other: int, wanted: int) -> None:
    low, high = sorted((one, other))
    assert replicas_for(low, wanted) <= replicas_for(high, wanted) <= replicas_for(100, wanted)
