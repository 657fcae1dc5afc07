"""The command ``card``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slipway.cli import lists, show
from slipway.cli.card import BadWords, Words, card
from slipway.cli.cardpage import html, markdown
from slipway.cli.client import Api
from slipway.cli.errors import Stop
from slipway.cli.listing import deployments
from slipway.cli.options import CardOutput
from slipway.cli.reading import version


def write(api: Api, namespace: str | None, name: str, about: Path | None, output: CardOutput) -> None:
    """Print the card of a version."""
    where = namespace or api.namespace
    words = _words(about) if about else Words()
    found = version(api, where, name)
    if output is CardOutput.JSON:
        show.say_json(_bom(found, words))
        return
    served = lists.servers(deployments(api, where), where)
    made = card(found, served.get((where, found["metadata"]["name"]), ()), words)
    print(html(made) if output is CardOutput.HTML else markdown(made), end="")


def _bom(found: Any, words: Words) -> dict[str, Any]:
    try:
        from slipway.cli.bom import document
    except ModuleNotFoundError as lacks:
        raise Stop(f"the package {lacks.name} is missing: pip install 'slipway[cli]'") from None
    return document(found, words, datetime.now(UTC))


def _words(path: Path) -> Words:
    import yaml

    try:
        return Words.read(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise Stop(f"{path} is no YAML: {error}") from None
    except BadWords as bad:
        raise Stop(f"{path}: {bad}") from None
