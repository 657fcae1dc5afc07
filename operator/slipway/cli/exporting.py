"""The command ``export``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from slipway.api.provenance import statement
from slipway.api.reproduce import NotReproducible
from slipway.cli import oci, show
from slipway.cli.card import Words, card
from slipway.cli.cardpage import markdown
from slipway.cli.client import Api, Object
from slipway.cli.errors import Stop
from slipway.cli.reading import version
from slipway.contract import split_s3

_KEYS = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_CHUNK = 1024 * 1024


def export(api: Api, namespace: str | None, name: str, to: Path, file: Path | None) -> None:
    """Write a version into a directory, as an OCI image layout in ModelPack's format.

    Raises:
        Stop: the directory is not empty, the file cannot be had, or it is not the registered one.
    """
    found = version(api, namespace or api.namespace, name)
    shown, artifact = found["metadata"]["name"], found["spec"]["artifact"]
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise Stop(f"{to} is not an empty directory")
    fresh = not to.exists()
    try:
        layout = oci.Layout(to)
        content = oci.parts(file) if file else _fetched(artifact["uri"])
        blob = oci.pack(layout, found, content, _documents(found))
    except (oci.Tampered, OSError, Stop) as error:
        # A half of an image is worse than none.
        shutil.rmtree(to, ignore_errors=True)
        if not fresh:
            to.mkdir()
        where = file or artifact["uri"]
        raise (error if isinstance(error, Stop) else Stop(f"{shown} was not exported from {where}: {error}")) from None
    show.say(f"{to}: {shown}  {blob.digest}")


def _documents(found: Object) -> dict[str, bytes]:
    made = {"README.md": markdown(card(found, (), Words())).encode()}
    with suppress(NotReproducible):  # it was trained elsewhere
        made["provenance.json"] = json.dumps(statement(found), indent=1, sort_keys=True).encode()
    return made


def _fetched(uri: str) -> Iterator[bytes]:
    """The file from S3, with the person's own keys: the namespace's are for its pods."""
    if missing := [key for key in _KEYS if not os.environ.get(key)]:
        raise Stop(f"to read {uri} set {', '.join(missing)}, or name a copy of the file with --file")
    try:
        from minio import Minio
        from minio.error import MinioException
    except ModuleNotFoundError:
        raise Stop("the package minio is missing: pip install 'slipway[cli]', or name the file with --file") from None
    endpoint, keys = urlsplit(os.environ[_KEYS[0]]), [os.environ[key] for key in _KEYS[1:]]
    bucket, key = split_s3(uri)
    store = Minio(endpoint.netloc, keys[0], keys[1], secure=endpoint.scheme == "https")
    answer: Any = None
    try:
        answer = store.get_object(bucket, key)
        yield from answer.stream(_CHUNK)
    except (MinioException, OSError) as error:
        raise Stop(f"{uri} cannot be read from {endpoint.netloc}: {error}") from None
    finally:
        if answer is not None:
            answer.close()
