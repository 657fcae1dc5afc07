"""ModelVersions from registration to Ready: in order against a golden log, shuffled, and with a crash at each write."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slipway import contract, ledger
from slipway.kube.controller import Room
from slipway.kube.objects import CONFIG_MAPS, JOBS, MODEL_VERSIONS, PODS
from slipway.kube.recent import Recent
from slipway.registry.children import Defaults
from slipway.registry.decide import decide, refused
from slipway.registry.observe import observe
from slipway.registry.reproductions import Runs
from tests.support.builders import (
    DIGEST,
    KEY,
    NAMESPACE,
    PUBLIC_KEY,
    T0,
    config_map,
    failure,
    model_version,
    store,
    verify_result,
)
from tests.support.stories import Book, Step, World, is_held, lets_go, quota, timeless

GOLDEN = Path(__file__).parent / "stories"
SEEDS = range(8)
GOOD = contract.dumps(verify_result())
JOB = "digits-v1-verify"
SIGN = "digits-v1-sign"
SIGNED = contract.dumps(
    contract.EvidenceResult(KEY, "s3://models/m.onnx.sig", DIGEST, True, "s3://models/m.onnx.provenance.json", DIGEST)
)


def new_world() -> World:
    room = Room(
        MODEL_VERSIONS,
        partial(observe, defaults=Defaults(server_image="server:1"), runs=Runs(), recent=Recent(0)),
        decide,
        lambda seen: seen.version,
        refused,
    )
    world = World([room])
    world.kube.put(store())
    world.kube.on_write = lambda: invariants(world)
    return world


def invariants(world: World) -> None:
    """After every write: Ready only what was verified; no alias at two versions; a Job is deleted only after what it
    said is recorded."""
    held = [a for v in world.kube.all(MODEL_VERSIONS) for a in v.get("status", {}).get("heldAliases", [])]
    assert len(held) == len(set(held)), f"an alias has two holders: {held}"
    for version in world.kube.all(MODEL_VERSIONS):
        status = version.get("status", {})
        if version["spec"].get("trainingRun"):
            annotated = "slipway.dev/lineage" in version["metadata"].get("annotations", {})
            assert annotated or status["lineage"]["seed"] == LINEAGE["seed"], "its origin is lost"
        assert (
            status.get("phase") != "Ready" or status["verification"]["digest"] == version["spec"]["artifact"]["digest"]
        )
        asked = world.kube.find(CONFIG_MAPS, NAMESPACE, "slipway-signing") or {"data": {}}
        insists = asked["data"].get("required") == "true"
        assert status.get("phase") != "Ready" or not insists or status["evidence"]["key"] == KEY
        asked = version["spec"].get("approval", {})
        if status.get("phase") == "Ready" and asked.get("required"):
            assert status["approval"]["state"] == "Approved"
        if status.get("phase") == "Ready" and "message" in status:
            book = ledger.read(world.kube.find(CONFIG_MAPS, NAMESPACE, "slipway-versions-digits"))
            known = book.files.get(version["spec"]["version"])
            assert known == ledger.mark(version["spec"]["artifact"]["digest"]), "its number is free"
    verb, kind, where = world.kube.log[-1].split()
    if (verb, kind) == ("delete", "Job"):
        name, _, what = where.partition("/")[2].rpartition("-")
        status = (world.kube.find(MODEL_VERSIONS, NAMESPACE, name) or {})["status"]
        if what == "verify":
            assert "verification" in status or status["verifyTries"] > 0


LINEAGE: dict[str, Any] = {
    "trainingRun": {"name": "digits-1", "uid": "u"},
    "code": {"image": {"ref": "trainer:1"}, "entrypoint": "train:train"},
    "seed": 7,
    "environment": {"python": "3.12"},
    "metrics": [{"name": "accuracy", "value": "0.97"}],
    "artifact": {"uri": "s3://models/m.onnx", "digest": DIGEST, "size": 1},
    "result": "s3://models/result.json",
}


def trained() -> Step:
    """As the training room makes one."""
    told = {"slipway.dev/lineage": json.dumps(LINEAGE)}
    made = model_version(trainingRun="digits-1", annotations=told)
    return Step("a run makes digits-v1", lambda w: w.kube.put(made))


def register(name: str = "digits-v1", **spec: Any) -> Step:
    def act(world: World) -> None:
        world.kube.put(model_version(name, **spec))
        world.tell("user", f"registers {name}")

    return Step(f"a user registers {name}", act)


def pod_runs(job: str = JOB) -> Step:
    return Step(
        f"a pod of {job} runs", lambda w: w.kubelet.run(job), lambda w: w.kubelet.pod(job, "Pending") is not None
    )


def pod_ends(code: int, message: str, job: str = JOB) -> Step:
    return Step(
        f"the pod of {job} ends with {code}",
        lambda w: w.kubelet.end(job, code, message),
        lambda w: w.kubelet.pod(job, "Running") is not None,
    )


def verified(name: str) -> list[Step]:
    return [pod_runs(f"{name}-verify"), pod_ends(0, GOOD, f"{name}-verify")]


def signing(**data: str) -> Step:
    made = config_map("slipway-signing", {"publicKey": PUBLIC_KEY, **data})
    return Step("the namespace names a key", lambda w: w.kube.put(made))


def edit(name: str, text: str, **spec: Any) -> Step:
    def act(world: World) -> None:
        world.kube.edit(MODEL_VERSIONS, NAMESPACE, name, lambda v: v["spec"].update(spec))
        world.tell("user", text)

    return Step(text, act)


def leave(name: str) -> Step:
    def act(world: World) -> None:
        world.kube.edit(MODEL_VERSIONS, NAMESPACE, name, lambda v: v["metadata"].update(deletionTimestamp=T0))
        world.tell("user", f"deletes {name}, which a finalizer keeps")

    return Step(f"a user deletes {name}, which a finalizer keeps", act)


def delete(name: str) -> Step:
    def act(world: World) -> None:
        world.kube.remove(MODEL_VERSIONS, NAMESPACE, name)
        world.tell("user", f"deletes {name}")

    return Step(f"a user deletes {name}", act)


OTHER_FILE = {"uri": "s3://models/other.onnx", "digest": "sha256:" + "b" * 64, "size": 1, "store": "default"}
VERIFIED_BEFORE: dict[str, Any] = {
    "verification": {"digest": DIGEST, "provider": "P", "onnxruntime": "1.23.2", "verifiedAt": "2026-01-01T00:00:00Z"}
}


def forget_ledger(world: World) -> None:
    world.kube.remove(CONFIG_MAPS, NAMESPACE, "slipway-versions-digits")
    world.advance(11)


def says(part: str, name: str = "digits-v1") -> Callable[[World], bool]:
    def ready(world: World) -> bool:
        found = world.kube.find(MODEL_VERSIONS, NAMESPACE, name)
        return bool(found) and part in (found or {}).get("status", {}).get("message", "")

    return ready


def holds(name: str, alias: str = "champion") -> Callable[[World], bool]:
    def ready(world: World) -> bool:
        found = world.kube.find(MODEL_VERSIONS, NAMESPACE, name) or {}
        return alias in found.get("status", {}).get("heldAliases", [])

    return ready


STORIES: dict[str, list[Step]] = {
    "happy path": [register(), *verified("digits-v1")],
    "made by a run whose record moves into the status": [trained(), *verified("digits-v1")],
    "the file was tampered with": [
        register(),
        pod_runs(),
        pod_ends(64, failure("DigestMismatch", "the file has sha256:2, and sha256:1 is recorded")),
    ],
    "wrong credentials are put right": [
        register(),
        pod_runs(),
        pod_ends(64, failure("CredentialsRefused", "the S3 server does not know the key")),
        Step("half a minute passes", lambda w: w.advance(31), says("tried again 30s later")),
        *verified("digits-v1"),
    ],
    "the store is down for long": [
        register(),
        *(
            step
            for wait in (31, 61)
            for step in (
                *(s for _ in range(4) for s in (pod_runs(), pod_ends(1, failure("StoreUnreachable", "no answer")))),
                Step(
                    f"{wait} s pass",
                    partial(World.advance, seconds=wait),
                    says(f"{wait - 1}s later".replace("60s", "1m")),
                ),
            )
        ),
        *verified("digits-v1"),
    ],
    "the result cannot be read at first": [
        register(),
        pod_runs(),
        pod_ends(0, "no JSON"),
        Step("half a minute passes", lambda w: w.advance(31), says("tried again 30s later")),
        *verified("digits-v1"),
    ],
    "the Job whose result cannot be read is held by a finalizer": [
        register(),
        pod_runs(),
        pod_ends(0, "no JSON"),
        is_held(JOBS, JOB),
        Step("half a minute passes", lambda w: w.advance(31), says("tried again 30s later")),
        lets_go(JOBS, JOB),
        *verified("digits-v1"),
    ],
    "the Job is deleted in the middle": [
        register(),
        pod_runs(),
        Step("a user deletes the Job", lambda w: w.kube.remove(JOBS, NAMESPACE, JOB)),
        *verified("digits-v1"),
    ],
    "the S3 place comes later": [
        Step("the S3 place is not there", lambda w: w.kube.remove(CONFIG_MAPS, NAMESPACE, "slipway-store-default")),
        register(),
        Step("a person makes it", lambda w: w.kube.put(store()), says("was not given")),
        *verified("digits-v1"),
    ],
    "an alias moves to a newer version and back": [
        register("digits-v1", aliases=["champion"]),
        *verified("digits-v1"),
        register("digits-v2", aliases=["champion", "newest"]),
        *verified("digits-v2"),
        Step(
            "v2 is archived",
            edit("digits-v2", "archives digits-v2", archived=True).act,
            says("loads the file", "digits-v2"),
        ),
    ],
    "approved by somebody": [
        register(approval={"required": True}, aliases=["champion"]),
        *verified("digits-v1"),
        Step(
            "jane approves it",
            edit("digits-v1", "approves digits-v1", approval={"required": True, "state": "Approved", "by": "jane"}).act,
            says("it waits for approval"),
        ),
    ],
    "approved before it was verified and then rejected": [
        register(approval={"required": True, "state": "Approved", "by": "jane"}),
        *verified("digits-v1"),
        Step(
            "joe rejects it",
            edit("digits-v1", "rejects digits-v1", approval={"required": True, "state": "Rejected", "by": "joe"}).act,
            says("approved by jane"),
        ),
    ],
    "signed where the namespace insists": [
        signing(required="true", secret="signer"),
        register(),
        *verified("digits-v1"),
        pod_runs(SIGN),
        pod_ends(0, SIGNED, SIGN),
    ],
    "signed though nobody insists": [
        signing(secret="signer"),
        register(aliases=["champion"]),
        *verified("digits-v1"),
        pod_runs(SIGN),
        pod_ends(0, SIGNED, SIGN),
    ],
    "one Job at a time may be made": [
        # that of the signature would wait for ever for the end of the other's, if what that one found were not recorded
        signing(required="true", secret="signer"),
        register(),
        pod_runs(),
        quota(JOBS, "exceeded quota: one"),
        pod_ends(0, GOOD),
        Step("the first Job goes", lambda _: None, lambda w: w.kube.find(JOBS, NAMESPACE, JOB) is None),
        quota(JOBS, None, says("exceeded quota: one")),
        pod_runs(SIGN),
        pod_ends(0, SIGNED, SIGN),
    ],
    "no pod may verify or sign for a while": [
        quota(PODS, "exceeded quota: pods"),
        signing(required="true", secret="signer"),
        register(),
        quota(PODS, None, says("the pod of the Job digits-v1-verify cannot be made: exceeded quota: pods")),
        pod_runs(),
        quota(PODS, "exceeded quota: pods"),
        pod_ends(0, GOOD),
        quota(PODS, None, says("the pod of the Job digits-v1-sign cannot be made: exceeded quota: pods")),
        pod_runs(SIGN),
        pod_ends(0, SIGNED, SIGN),
    ],
    "a wrong key is put right": [
        signing(required="true", secret="signer"),
        register(),
        *verified("digits-v1"),
        pod_runs(SIGN),
        pod_ends(64, failure("SigningKeyMismatch", "the private key is another pair's"), SIGN),
        Step("another key is named", signing(required="true", secret="other").act, says("tried again 30s later")),
        pod_runs(SIGN),
        pod_ends(0, SIGNED, SIGN),
    ],
    "a pod speaks of another key": [
        signing(required="true"),
        register(),
        *verified("digits-v1"),
        pod_runs(SIGN),
        pod_ends(0, SIGNED.replace(KEY, DIGEST), SIGN),
        Step("half a minute passes", lambda w: w.advance(31), says("tried again 30s later")),
        pod_runs(SIGN),
        pod_ends(0, SIGNED, SIGN),
    ],
    "a file that was tampered with is not signed until it is put back": [
        signing(required="true", secret="signer"),
        register(),
        *verified("digits-v1"),
        pod_runs(SIGN),
        pod_ends(64, failure("ModelChanged", "the file was changed"), SIGN),
        Step("half a minute passes", lambda w: w.advance(31), says("tried again 30s later")),
        pod_runs(SIGN),
        pod_ends(0, SIGNED, SIGN),
    ],
    "three versions and one alias": [
        *(register(f"digits-v{n}", aliases=["champion"]) for n in (1, 2, 3)),
        *(step for n in (2, 3, 1) for step in verified(f"digits-v{n}")),
        Step("v3 is deleted", lambda w: w.kube.remove(MODEL_VERSIONS, NAMESPACE, "digits-v3"), holds("digits-v3")),
        Step("v2 gives it up", edit("digits-v2", "takes the alias from digits-v2", aliases=[]).act, holds("digits-v2")),
    ],
    "a number is not used twice": [
        register("digits-v3"),
        *verified("digits-v3"),
        # Before it is said to be verified its number is used by nobody.
        Step(delete("digits-v3").name, delete("digits-v3").act, says("verified: ", "digits-v3")),
        # Other bytes are another thing, the same ones are the same: a backup may bring them back.
        register("digits-v3", artifact=OTHER_FILE),
        Step("it is deleted again", delete("digits-v3").act, says("was used for another file", "digits-v3")),
        register("digits-v3"),
        *verified("digits-v3"),
    ],
    "a number that was never verified is free": [
        register("digits-v3", artifact=OTHER_FILE),
        pod_runs("digits-v3-verify"),
        pod_ends(64, failure("LoadFailed", "it is no ONNX file"), "digits-v3-verify"),
        Step("it is deleted", delete("digits-v3").act, says("it is no ONNX file", "digits-v3")),
        register("digits-v3"),
        *verified("digits-v3"),
    ],
    "a ledger that is somebody else's": [
        Step("a ConfigMap of its name is there", lambda w: w.kube.put(config_map("slipway-versions-digits"))),
        register(),
        Step(
            "it is deleted",
            forget_ledger,
            says("exists and is not ours: delete or rename it"),
        ),
        *verified("digits-v1"),
    ],
    "an older release made it": [
        Step("it is Ready", lambda w: w.kube.put(model_version(status={**VERIFIED_BEFORE, "phase": "Ready"}))),
    ],
    "a holder is on its way out for a while": [
        *(register(f"digits-v{n}", aliases=["champion"]) for n in (1, 2)),
        *verified("digits-v2"),
        *verified("digits-v1"),
        Step("v2 is deleted, and a finalizer keeps it", leave("digits-v2").act, holds("digits-v2")),
        Step("the finalizer goes", delete("digits-v2").act, holds("digits-v1")),
    ],
    "archived and taken back": [
        register(),
        *verified("digits-v1"),
        Step("it is archived", edit("digits-v1", "archives digits-v1", archived=True).act, says("loads the file")),
        Step("it is taken back", edit("digits-v1", "takes it back", archived=False).act, says("archived")),
    ],
}


def the_end(world: World) -> Any:
    assert not [v for v in world.kube.all(MODEL_VERSIONS) if v["metadata"].get("annotations")]
    versions = {v["metadata"]["name"]: timeless(v["status"]) for v in world.kube.all(MODEL_VERSIONS)}
    return versions, [j["metadata"]["name"] for j in world.kube.all(JOBS)]


BOOK = Book(STORIES, new_world, the_end)
# By module: pytest puts the tests of one story side by side then, and they share its calm telling.
each_story = pytest.mark.parametrize("name", STORIES, scope="module")


@each_story
async def test_in_order(name: str) -> None:
    await BOOK.in_order(name, GOLDEN)


@each_story
async def test_at_rest_nothing_is_written(name: str) -> None:
    await BOOK.at_rest(name)


@pytest.mark.thorough
@each_story
async def test_shuffled(name: str) -> None:
    await BOOK.shuffled(name, SEEDS)


@pytest.mark.thorough
@each_story
async def test_a_crash_after_any_write_ends_the_same(name: str) -> None:
    await BOOK.crashing(name)
