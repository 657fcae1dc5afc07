"""Settings come from the environment, and a wrong one is named."""

from __future__ import annotations

import pytest

from slipway.settings import PREFIX, Settings, SettingsError, load

NEEDED = {"NAMESPACE": "slipway-system", "IDENTITY": "pod-1", "TRAINER_IMAGE": "t:1", "SERVER_IMAGE": "s:1"}


def environ(**more: str) -> dict[str, str]:
    return {"PATH": "/bin", **{PREFIX + k: v for k, v in {**NEEDED, **more}.items()}}


def test_what_is_needed_is_enough() -> None:
    settings = load(environ())
    assert settings == Settings(namespace="slipway-system", identity="pod-1", trainer_image="t:1", server_image="s:1")


@pytest.mark.parametrize(("text", "names"), [("", ()), ("a", ("a",)), (" a, b,", ("a", "b"))])
def test_namespaces_are_separated_by_commas(text: str, names: tuple[str, ...]) -> None:
    assert load(environ(WATCH_NAMESPACES=text)).watch_namespaces == names


@pytest.mark.parametrize(
    ("more", "variable"),
    [
        ({"WORKERS": "many"}, "WORKERS"),
        ({"WORKERS": "0"}, "WORKERS"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"WORKER": "4"}, "WORKER"),
    ],
)
def test_a_wrong_variable_is_named(more: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError, match=f"^{PREFIX}{variable}: "):
        load(environ(**more))


@pytest.mark.parametrize("missing", NEEDED)
def test_a_missing_variable_is_named(missing: str) -> None:
    given = environ()
    del given[PREFIX + missing]
    with pytest.raises(SettingsError, match=f"^{PREFIX}{missing}: "):
        load(given)
