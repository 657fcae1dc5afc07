"""The labels of the way back: made of what is known, and nothing that the API server would refuse."""

from __future__ import annotations

import re
from typing import Any

from slipway.api import wayback
from slipway.api.common import Label
from slipway.api.model_version import Lineage, ModelVersionSpec
from slipway.api.training_run import Ancestry
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
        f"image.slipway.dev/{'1' * 40}": "",
        f"data.slipway.dev/{'a' * 40}": "",
        f"data.slipway.dev/{'b' * 40}": "",
    }


def test_a_version_is_found_by_its_commit() -> None:
    git = {"url": "https://git.example.com/digits", "revision": "main", "commit": "c" * 40}
    by_git = lineage(code={"git": git, "image": {"ref": "trainer:1"}})
    assert wayback.labels(SPEC, by_git)["slipway.dev/commit"] == "c" * 40
    assert wayback.labels(SPEC, by_git)[f"commit.slipway.dev/{'c' * 40}"] == wayback.ITSELF
    odd = lineage(code={"git": {**git, "commit": "main"}, "image": {"ref": "trainer:1"}})
    assert "slipway.dev/commit" not in wayback.labels(SPEC, odd)


def test_a_version_is_found_by_its_parent() -> None:
    assert wayback.labels(SPEC, lineage(parent={"modelVersion": "digits-v2", "digest": DIGEST}))[Label.PARENT] == (
        "digits-v2"
    )
    assert Label.PARENT not in wayback.labels(SPEC, lineage(parent={"modelVersion": "a b", "digest": DIGEST}))


def test_a_version_is_found_by_the_weights_that_it_has_and_by_those_that_it_began_from() -> None:
    """By name alone a version of the same name, in another namespace or registered anew, would be its parent."""
    weights = {"uri": "s3://models/m.safetensors", "digest": TEST, "size": 1}
    labels = wayback.labels(SPEC, lineage(weights=weights, parent={"modelVersion": "digits-v2", "digest": DIGEST}))
    assert (labels[Label.WEIGHTS], labels[Label.PARENT_WEIGHTS]) == ("b" * 40, "a" * 40)


def digest_of(number: int) -> str:
    return f"sha256:{number:040x}{'0' * 24}"


def made_of(number: int, ancestry: Ancestry | None) -> Lineage:
    """A lineage with data, an image and a commit of its own."""
    return lineage(
        code={
            "image": {"ref": "trainer:1", "digest": digest_of(1000 + number)},
            "git": {"url": "https://git.example.com/digits", "revision": "main", "commit": f"{number:040x}"},
        },
        data=[
            {"name": "train", "uri": "s3://data/x", "digest": digest_of(number), "files": 1, "bytes": 1},
            {"name": "test", "uri": "s3://data/y", "digest": TEST, "files": 1, "bytes": 1},
        ],
        ancestry=ancestry,
    )


def test_a_version_is_found_by_what_its_ancestors_were_made_of() -> None:
    first = wayback.ancestry(made_of(1, None))
    second = wayback.ancestry(made_of(2, first))
    assert second == Ancestry(
        data=[digest_of(2), TEST, digest_of(1)],
        images=[digest_of(1002), digest_of(1001)],
        commits=[f"{2:040x}", f"{1:040x}"],
    )
    labels = wayback.labels(SPEC, made_of(3, second))
    keys = (wayback.data_key, wayback.image_key, wayback.commit_key)
    for number, value in ((1, "ancestor"), (2, "ancestor"), (3, "")):
        made = digest_of(number), digest_of(1000 + number), f"{number:040x}"
        assert {labels[key(digest) or ""] for key, digest in zip(keys, made, strict=True)} == {value}
    assert labels[wayback.data_key(TEST) or ""] == "", "it went into the version itself, too"
    # Those by value are of the version itself.
    assert (labels[Label.COMMIT], labels[Label.IMAGE]) == (f"{3:040x}", wayback.short(digest_of(1003)))


def test_a_long_line_of_ancestors_is_bounded_and_says_so() -> None:
    found: Ancestry | None = None
    for number in range(1, 201):
        found = wayback.ancestry(made_of(number, found))
    assert found is not None
    assert (len(found.data), len(found.images), len(found.commits)) == (128, 64, 64)
    assert (found.data[:2], found.images[0]) == ([digest_of(200), TEST], digest_of(1200))
    assert found.cut == (201 - 128) + 2 * (200 - 64)
    Ancestry.model_validate(found.wire())


def test_what_is_no_digest_is_no_ancestor() -> None:
    odd = lineage(
        code={"image": {"ref": "trainer:1", "digest": "a b"}},
        data=[{"name": "train", "uri": "s3://data/x", "digest": "md5:1", "files": 1, "bytes": 1}],
    )
    assert wayback.ancestry(odd) == Ancestry()


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
