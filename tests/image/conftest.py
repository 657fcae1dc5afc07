from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.image_root import ImageRoot, image_root
from tests.support.s3_server import S3Server, s3_server

# These run inside the image, where torch is (test_inside.py).
collect_ignore = ["trainer/inside"]


@pytest.fixture(scope="session")
def trainer() -> Iterator[ImageRoot]:
    """The trainer image, unpacked: the dataset program lies in it too."""
    with image_root("trainer") as root:
        yield root


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A real S3 server for the whole run."""
    with s3_server() as server:
        yield server
