"""The labels of the way back: made of what is known, and nothing that the API server would refuse."""

from __future__ import annotations

import re
from typing import Any

from slipway.api import wayback
from slipway.api.common import Label
from slipway.api.model_version import Lineage, ModelVersionSpec
from tests.support.builders import DIGEST, model_version

SPEC = ModelVersionSpec.model_validate(model_version()["spec"])
TEST = "sha256:" + "b" * 64


def lineage(**changes: Any) -> Lineage:
    given: dict[str, Any] = {
        "code": {"image": {"ref": "trainer:1", "digest": "sha256:" + "1" * 64}},
        "data": [
            {"name": name, "uri": "s3://data/x", "digest": digest, "files": 1, "bytes": 1}
            for name, digest in (("train", DIGEST), ("test", TEST))
        ],
        "artifact": {"uri": "s3://models/m.onnx", "digest": DIGEST, "size": 1},
    }
    return Lineage.model_validate({**given, **changes})


def test_a_trained_version_is_found_by_all_it_was_made_of() -> None:
    assert wayback.labels(SPEC, lineage()) == {
        "slipway.dev/model": "digits",
        "slipway.dev/artifact": "a" * 40,
        "slipway.dev/image": "1" * 40,
        f"data.slipway.dev/{'a' * 40}": "",
        f"data.slipway.dev/{'b' * 40}": "",
    }


def test_a_version_is_found_by_its_commit() -> None:
    git = {"url": "https://git.example.com/digits", "revision": "main", "commit": "c" * 40}
    by_git = lineage(code={"git": git, "image": {"ref": "trainer:1"}})
    assert wayback.labels(SPEC, by_git)["slipway.dev/commit"] == "c" * 40
    odd = lineage(code={"git": {**git, "commit": "main"}, "image": {"ref": "trainer:1"}})
    assert "slipway.dev/commit" not in wayback.labels(SPEC, odd)


def test_a_version_is_found_by_its_parent() -> None:
    assert wayback.labels(SPEC, lineage(parent={"modelVersion": "digits-v2", "digest": DIGEST}))[Label.PARENT] == (
        "digits-v2"
    )
    assert Label.PARENT not in wayback.labels(SPEC, lineage(parent={"modelVersion": "a b", "digest": DIGEST}))


def test_an_imported_version_is_found_by_its_model_and_its_file() -> None:
    made = {"slipway.dev/model": "digits", "slipway.dev/artifact": "a" * 40}
    assert wayback.labels(SPEC, None) == made
    assert wayback.labels(SPEC, Lineage(origin="Imported", artifact=SPEC.artifact)) == made


def test_what_is_no_digest_makes_no_label() -> None:
    odd = lineage(
        code={"image": {"ref": "trainer:1", "digest": "a b"}},
        data=[{"name": "train", "uri": "s3://data/x", "digest": "sha256:" + "/" * 64, "files": 1, "bytes": 1}],
    )
    assert set(wayback.labels(SPEC, odd)) == {"slipway.dev/model", "slipway.dev/artifact"}


def test_the_api_server_takes_every_label() -> None:
    for key, value in wayback.labels(SPEC, lineage()).items():
        prefix, _, name = key.partition("/")
        assert len(prefix) <= 253
        assert re.fullmatch("[A-Za-z0-9][-A-Za-z0-9_.]{0,61}[A-Za-z0-9]", name)
        assert re.fullmatch("([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value)
