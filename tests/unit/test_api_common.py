"""Durations, times, quantities and conditions: what the three kinds share."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from slipway.api.common import (
    DURATION,
    NUMBER,
    Condition,
    Cpu,
    Memory,
    after,
    duration,
    parse_time,
    rfc3339,
    seconds,
    set_conditions,
)
from slipway.api.deployment import DeploymentSpec
from slipway.api.training_run import TrainingRunSpec, TrainingRunStatus

LONGEST = "9999d99999h999999m99999999s999999999ms"


@pytest.mark.parametrize(
    ("text", "length"),
    [("0s", 0), ("500ms", 0.5), ("90s", 90), ("1h30m", 5400), ("7d", 604800), ("1d1h1m1s1ms", 90061.001)],
)
def test_a_duration_in_seconds(text: str, length: float) -> None:
    assert seconds(text) == pytest.approx(length)


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1.5h", "1h 30m", "30m1h", "1s\n", "10000d", "١s"])
def test_what_is_no_duration_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write for example 30s, 10m or 1h30m"):
        seconds(text)


def test_the_longest_duration_fits_a_job_and_a_calendar() -> None:
    assert seconds(LONGEST) < 2**31
    assert after("2026-01-01T00:00:00Z", LONGEST).year < 2100


@given(st.integers(min_value=0, max_value=10**8))
def test_a_duration_for_people_reads_back(length: int) -> None:
    assert seconds(duration(length)) == length


@given(st.from_regex(DURATION, fullmatch=True).filter(bool))
def test_whatever_the_schema_takes_can_be_read(text: str) -> None:
    assert seconds(text) >= 0


@given(st.from_regex(re.compile(NUMBER, re.ASCII), fullmatch=True))
def test_whatever_the_schema_calls_a_number_is_finite(text: str) -> None:
    assert abs(float(text[:40])) < float("inf")


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001 - made aware below
def test_a_time_is_kept_to_the_second(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    assert timedelta(0) <= aware - parse_time(rfc3339(aware)) < timedelta(seconds=1)


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    assert rfc3339(parse_time("2026-01-02T03:04:05.9+02:00")) == "2026-01-02T01:04:05Z"


@pytest.mark.parametrize(("given", "read"), [(2, "2"), ("500m", "500m"), ("1.5", "1.5")])
def test_cpu_may_stand_without_quotes(given: object, read: str) -> None:
    assert TypeAdapter(Cpu).validate_python(given) == read


def test_memory_may_stand_without_quotes() -> None:
    assert TypeAdapter(Memory).validate_python(4194304) == "4194304"


def test_reading_passes_over_what_a_newer_operator_wrote() -> None:
    status = TrainingRunStatus.model_validate({"phase": "Running", "fromTheFuture": 1})
    assert status.wire() == {**TrainingRunStatus().wire(), "phase": "Running"}


def test_reading_refuses_a_wrong_type() -> None:
    with pytest.raises(ValidationError):
        TrainingRunSpec.model_validate({"model": "digits", "seed": "many"})


def test_what_is_read_cannot_be_changed() -> None:
    spec = DeploymentSpec.model_validate({"modelVersion": "digits-v3"})
    with pytest.raises(ValidationError, match="frozen"):
        spec.replicas = 3  # type: ignore[misc]  # that is the point


def test_names_on_the_wire_are_camel_case() -> None:
    spec = TrainingRunSpec.model_validate({"model": "digits", "backoffLimit": 3, "ttlAfterFinished": "7d"})
    assert (spec.backoff_limit, spec.ttl_after_finished) == (3, "7d")
    wire = spec.wire()
    assert wire["backoffLimit"] == 3
    assert "image" not in wire, "None is left out"


# ---------------------------------------------------------------------------------------------------- conditions


def condition(type_: str, status: str, at: str, reason: str = "Why", message: str = "") -> Condition:
    return Condition.model_validate(
        {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": at}
    )


OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("before", "wanted", "time"),
    [
        pytest.param([], condition("Ready", "True", NEW), NEW, id="a first condition begins now"),
        pytest.param(
            [condition("Ready", "True", OLD)], condition("Ready", "True", NEW), OLD, id="the same status keeps its time"
        ),
        pytest.param(
            [condition("Ready", "False", OLD)], condition("Ready", "True", NEW), NEW, id="another status begins now"
        ),
        pytest.param(
            [condition("Ready", "True", OLD, "A", "one")],
            condition("Ready", "True", NEW, "B", "two"),
            OLD,
            id="another reason and message are no transition",
        ),
        pytest.param(
            [condition("Stalled", "True", OLD)], condition("Ready", "True", NEW), NEW, id="another type does not count"
        ),
    ],
)
def test_the_time_of_a_condition(before: list[Condition], wanted: Condition, time: str) -> None:
    told = (wanted.type, wanted.status, wanted.reason, wanted.message)
    (made,) = set_conditions(before, [told], 3, parse_time(wanted.last_transition_time))
    assert made.last_transition_time == time
    assert (made.type, made.status, made.reason, made.message) == told
    assert made.observed_generation == 3


def test_a_condition_that_is_no_longer_wanted_goes() -> None:
    assert set_conditions([condition("Ready", "True", OLD)], [], 1, parse_time(NEW)) == []
