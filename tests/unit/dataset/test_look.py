"""The digest is the trainer's; only what changed is read again; a look that dies anywhere is gone on with."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.contract import CheckSpec, DataSpec, Failure, dumps, loads
from slipway_dataset import state
from slipway_dataset.runner import Look, Surroundings
from slipway_trainer import failures
from slipway_trainer.failures import TrainerError
from slipway_trainer.fake_store import MemoryStore
from slipway_trainer.fetch import fetch
from slipway_trainer.manifest import FileDigest, manifest_digest
from slipway_trainer.progress import ProgressBoard
from slipway_trainer.report import Outcome
from slipway_trainer.store import Entry
from tests.unit.dataset.helpers import PLACE, Looks, memory, spec

FILES = {f"{n:02}.csv": f"a,b\n{n},x{n % 3}\n{n * n},\n".encode() for n in range(12)} | {"README.md": b"about\n"}
CSV = spec(format="Csv", checks=[CheckSpec("a", unique=True, max="100"), CheckSpec("b", allowed=["x0", "x1"])])


class Watched(MemoryStore):
    """Counts what is read of the data, and can die at any call."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__("data", "models")
        self.buckets = memory(files).buckets
        self.reads: list[str] = []
        self.calls = 0
        self.dies_at: int | None = None

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self.dies_at:
            raise _Dead

    def entries(self, bucket: str, prefix: str) -> Iterator[Entry]:
        self._call()
        return super().entries(bucket, prefix)

    def read(self, bucket: str, key: str, etag: str = "") -> Iterator[bytes]:
        self._call()
        if bucket == "data":
            self.reads.append(key.removeprefix("digits/"))
        return super().read(bucket, key, etag)

    def write(self, bucket: str, key: str, content: bytes | Path) -> None:
        self._call()
        super().write(bucket, key, content)

    def remove(self, bucket: str, key: str) -> None:
        self._call()
        super().remove(bucket, key)


class _Dead(TrainerError):
    def __init__(self) -> None:
        super().__init__(failures.STORE_UNREACHABLE, "the pod is gone")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text("ab /.-ä~!", min_size=1, max_size=8).filter(
            lambda p: not {"", ".", ".."} & set(p.split("/")) and not p.startswith("/")
        ),
        st.binary(max_size=20),
        min_size=1,
        max_size=8,
    ).filter(lambda d: not any(other.startswith(p + "/") for p in d for other in d))
)
def test_the_digest_is_that_of_the_manifest_and_of_a_training(tmp_path: Path, files: dict[str, bytes]) -> None:
    looks = Looks(memory(files), tmp_path)
    made = looks.take(spec())
    digests = [FileDigest(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in files.items()]
    assert made.digest == manifest_digest(digests)
    assert made.digest == fetch(looks.store, DataSpec("d", spec().uri), tmp_path, lambda _: None).digest
    assert (made.files, made.bytes, made.read) == (len(files), sum(map(len, files.values())), len(files))
    content = b"".join(looks.store.read("models", made.manifest.removeprefix("s3://models/")))
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == made.digest
    assert (made.rows, made.columns, made.profile) == (None, None, None)


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    store = Watched(dict(FILES))
    looks = Looks(store, tmp_path)
    first = looks.take(CSV)
    assert sorted(store.reads) == sorted(FILES)
    store.reads.clear()
    assert looks.take(CSV).read == 0
    assert store.reads == []

    data = store.buckets["data"]
    data["digits/03.csv"] = b"a,b\n7,x1\n"
    data["digits/new.csv"] = b"a,b\n1000,x0\n"
    del data["digits/05.csv"]
    second = looks.take(CSV)
    assert sorted(store.reads) == ["03.csv", "new.csv"]
    assert (second.read, second.files) == (2, 13)
    assert second.digest != first.digest

    fresh = Looks(memory({k.removeprefix("digits/"): v for k, v in data.items()}), tmp_path)
    assert fresh.profile(CSV) == looks.profile(CSV)
    assert fresh.take(CSV).failures == second.failures

    data["digits/03.csv"], data["digits/05.csv"] = FILES["03.csv"], FILES["05.csv"]
    del data["digits/new.csv"]
    assert looks.take(CSV).digest == first.digest
    kept = [key for key in store.buckets["models"] if "manifests" in key]
    assert len(kept) == 2, "the manifest of each version stays"


def test_other_checks_read_the_files_of_the_format_again_and_no_others(tmp_path: Path) -> None:
    store = Watched(dict(FILES))
    looks = Looks(store, tmp_path)
    looks.take(CSV)
    store.reads.clear()
    more = spec(format="Csv", checks=[*CSV.checks, CheckSpec("a", notNull=True), CheckSpec(minRows=3)])
    before = set(store.buckets["models"])
    assert looks.take(more).read == 12, "a rule of a column changes what is asked of each row"
    assert "README.md" not in store.reads
    assert [key for key in before if "/profiles/" in key] != []
    assert before - set(store.buckets["models"]) <= {key for key in before if "/state/" in key}, "no profile is lost"
    assert sum("/profiles/" in key for key in store.buckets["models"]) == 2
    store.reads.clear()
    assert looks.take(spec(format="Files")).read == 0, "the hash is known"


def test_another_address_is_read_anew(tmp_path: Path) -> None:
    store = Watched(dict(FILES))
    store.buckets["data"] |= {"other/00.csv": FILES["00.csv"]}
    looks = Looks(store, tmp_path)
    looks.take(CSV)
    assert looks.take(spec(uri="s3://data/other/")).read == 1
    assert looks.take(CSV).read == 0, "what was known of the first one is still there"


@pytest.mark.thorough
def test_a_look_that_dies_at_any_call_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "BYTES", 600)  # several segments
    whole = Watched(dict(FILES))
    want = dumps(Looks(whole, tmp_path).take(CSV))
    calls = whole.calls
    assert calls > 20
    for number in range(1, calls + 1):
        store = Watched(dict(FILES))
        store.dies_at = number
        looks = Looks(store, tmp_path)
        code, message = looks.end(CSV)
        if code == 0:
            continue  # readers call in another order, so that this one had fewer calls
        assert "the pod is gone" in message
        kept, store.dies_at = set(store.reads), None
        store.reads.clear()
        again = looks.take(CSV)
        assert dumps(again).replace(f'"read":{again.read},', '"read":13,') == want
        assert again.read == len(store.reads)
        if number > calls - 4:
            assert store.reads == [], "all was read and kept before it died"
        assert store.buckets["models"].keys() - whole.buckets["models"].keys() <= {
            key for key in store.buckets["models"] if "/state/" in key
        }
        assert kept | set(store.reads) == set(FILES)


def test_a_look_that_is_told_to_stop_keeps_what_it_read_before_it_ends(tmp_path: Path) -> None:
    class Slow(Watched):
        """Takes its time to write."""

        def write(self, bucket: str, key: str, content: bytes | Path) -> None:
            began.set()
            if look.ended.wait(0.2):
                late.append(key)
            super().write(bucket, key, content)

    class Board(ProgressBoard):
        """The signal comes when five files are read."""

        def tell(self, message: str) -> None:
            if message.startswith("reading files, 5 "):
                stops.append(threading.Thread(target=look.stop))
                stops[0].start()
                assert began.wait(10)

    class Ending(Look):
        ended = threading.Event()

        def run(self) -> int:
            try:
                return super().run()
            finally:
                self.ended.set()

    stops: list[threading.Thread] = []
    late: list[str] = []
    began = threading.Event()
    store = Slow(dict(FILES))
    message = tmp_path / "message"
    outside = Surroundings(tmp_path / "scratch", lambda _: (PLACE, store), "stopped")
    look = Ending(CSV, outside, Board(), Outcome(message))
    assert look.run() == 1
    stops[0].join()
    assert loads(Failure, message.read_text()).reason == "Interrupted"
    assert late == [], "the process would have ended before this was written"
    kept = [key for key in store.buckets["models"] if "/state/" in key]
    assert kept
    again = Looks(Watched(dict(FILES)), tmp_path)
    assert isinstance(again.store, Watched)
    again.store.buckets = store.buckets
    assert again.take(CSV).read <= 8


def test_a_damaged_state_is_passed_over(tmp_path: Path) -> None:
    store = Watched(dict(FILES))
    looks = Looks(store, tmp_path)
    want = looks.take(CSV)
    models = store.buckets["models"]
    (segment,) = (key for key in models if "/state/" in key)
    good = models[segment]
    for damage in (b"", b"no gzip", good[: len(good) // 2], good[:-20] + b"x" * 20):
        models[segment] = damage
        assert looks.take(CSV).digest == want.digest
        (segment,) = (key for key in models if "/state/" in key)


def test_an_object_that_changes_while_it_is_read_is_told(tmp_path: Path) -> None:
    class Changing(Watched):
        def entries(self, bucket: str, prefix: str) -> Iterator[Entry]:
            found = list(super().entries(bucket, prefix))
            if bucket == "data":
                self.buckets["data"]["digits/05.csv"] += b"1,x0\n"
            return iter(found)

    code, failure = Looks(Changing(dict(FILES)), tmp_path).failure(CSV)
    assert (code, failure.reason) == (1, "DataChanged")


@pytest.mark.parametrize(
    ("files", "more", "reason", "sentence"),
    [
        ({"a": b"1", "a/b": b"2"}, {}, "DataPathRefused", "would be a file and a folder at once"),
        ({"a/../b": b"1"}, {}, "DataPathRefused", "rename it, without '..'"),
        ({}, {}, "DataNotFound", "correct the address, or put the files there"),
        ({"a": b"1"}, {"uri": "s3://data/digits"}, "DataNotFound", "with a slash at the end"),
        ({"a": b"1"}, {"uri": "http://data/digits"}, "SpecInvalid", "write s3://BUCKET/KEY"),
        ({"a": b"1"}, {"checks": [CheckSpec("a", min="1")]}, "SpecInvalid", "or minFiles only"),
        (
            {"a": b"1"},
            {"format": "Csv", "checks": [CheckSpec("a", matches="(")]},
            "SpecInvalid",
            "no regular expression of RE2",
        ),
        (
            {"a": b"1"},
            {"format": "Csv", "checks": [CheckSpec("a", max="many")]},
            "SpecInvalid",
            "write 0.5 or 2026-01-31",
        ),
        ({"a": b"1"}, {"format": "Csv", "checks": [CheckSpec("a", maxMissing="2")]}, "SpecInvalid", "write 0 to 1"),
        ({"a": b"1"}, {"uri": "s3://models/team/"}, "SpecInvalid", "name a prefix that holds the data only"),
        ({"a": b"1"}, {"format": "Csv", "checks": [CheckSpec()]}, "SpecInvalid", "write at least one"),
        ({"a": b"1"}, {"format": "Csv", "checks": [CheckSpec(min="1")]}, "SpecInvalid", "name the column"),
        ({"a": b"1"}, {"format": "Csv", "checks": [CheckSpec("a", minRows=1)]}, "SpecInvalid", "leave out column"),
    ],
)
def test_what_cannot_be_done_ends_with_a_sentence(
    tmp_path: Path, files: dict[str, bytes], more: dict[str, object], reason: str, sentence: str
) -> None:
    code, failure = Looks(memory(files), tmp_path).failure(spec(**more))
    assert (code, failure.reason) == (64, reason)
    assert sentence in failure.message


def test_a_set_of_one_object_has_its_name_and_is_of_the_format_whatever_that_is(tmp_path: Path) -> None:
    looks = Looks(memory({"table.txt": b"a\n1\n"}), tmp_path)
    made = looks.take(spec(uri="s3://data/digits/table.txt", format="Csv"))
    assert (made.files, made.rows, made.passed) == (1, 1, True)
    assert made.digest == manifest_digest([FileDigest("table.txt", 4, hashlib.sha256(b"a\n1\n").hexdigest())])


def test_many_failures_fit_the_termination_message(tmp_path: Path) -> None:
    checks = [CheckSpec("a", min=str(1000 + n), matches="y" * 50) for n in range(40)]
    looks = Looks(memory(FILES), tmp_path)
    code, message = looks.end(spec(format="Csv", checks=checks))
    assert code == 0
    assert len(message.encode()) <= 4096
    made = looks.take(spec(format="Csv", checks=checks))
    assert not made.passed
    assert made.failuresCut + len(made.failures) == 80
    assert made.failuresCut > 0
    profile = looks.profile(spec(format="Csv", checks=checks))
    assert sum(not check["passed"] for check in profile["checks"]) == 80
