"""The parts that every pod of ours shares."""

from __future__ import annotations

import pytest

from slipway import pods


def test_a_pod_needs_env_only_for_its_places_each_once_and_optional_keys_may_be_absent() -> None:
    made = pods.store_env_vars(["default", "team-a", "default"])
    assert [v["name"] for v in made] == [
        f"SLIPWAY_STORE_{place}_{key}"
        for place in ("DEFAULT", "TEAM_A")
        for key in ("ENDPOINT", "BUCKET", "PREFIX", "REGION", "ACCESSKEY", "SECRETKEY")
    ]
    by_name = {v["name"]: v["valueFrom"] for v in made}
    assert by_name["SLIPWAY_STORE_TEAM_A_ENDPOINT"] == {
        "configMapKeyRef": {"name": "slipway-store-team-a", "key": "endpoint"}
    }
    assert by_name["SLIPWAY_STORE_TEAM_A_SECRETKEY"] == {
        "secretKeyRef": {"name": "slipway-store-team-a", "key": "secretKey"}
    }
    assert [n for n, v in by_name.items() if v.get("configMapKeyRef", {}).get("optional")] == [
        "SLIPWAY_STORE_DEFAULT_PREFIX",
        "SLIPWAY_STORE_DEFAULT_REGION",
        "SLIPWAY_STORE_TEAM_A_PREFIX",
        "SLIPWAY_STORE_TEAM_A_REGION",
    ]


def expanded(text: str, variables: dict[str, str]) -> str:
    """What the kubelet makes of a value (k8s.io/kubernetes/third_party/forked/golang/expansion)."""
    done, at = "", 0
    while at < len(text):
        if text[at] == "$" and text[at + 1 : at + 2] == "$":
            done, at = done + "$", at + 2
        elif text[at] == "$" and text[at + 1 : at + 2] == "(" and ")" in text[at:]:
            end = text.index(")", at)
            name = text[at + 2 : end]
            done, at = done + variables.get(name, f"$({name})"), end + 1
        else:
            done, at = done + text[at], at + 1
    return done


@pytest.mark.parametrize("value", ["plain", '{"p":"$(HOME)"}', "$$(HOME)", "$$$(HOME)$", "a$$b", "$5 $(", "$(NO)"])
def test_a_value_reaches_the_container_as_it_is(value: str) -> None:
    assert expanded(pods.env_var("A", value)["value"], {"HOME": "/root"}) == value


def test_pods_have_no_gpu_limit_where_none_is_asked_for() -> None:
    assert pods.requirements("500m", "1Gi") == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"memory": "1Gi"},
    }
    assert pods.requirements("1", "1Gi", 2, "amd.com/gpu") == {
        "requests": {"cpu": "1", "memory": "1Gi", "amd.com/gpu": "2"},
        "limits": {"memory": "1Gi", "amd.com/gpu": "2"},
    }


def test_long_names_are_cut_and_stay_different() -> None:
    long = "a" * 62
    first, second = pods.child_name(long + "b", "-verify"), pods.child_name(long + "c", "-verify")
    assert first != second
    assert len(first) == len(second) == 63
    assert first.endswith("-verify")
