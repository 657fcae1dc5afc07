"""What an auditor asks. One namespace and its people, from registered data to answers; then every question about it is
put to one command each, and the answer is held against what the test knows from elsewhere: the commit from git, digests
computed of the files themselves, the image from the pod's status. Then somebody tampers.

The story is told once (``story``); the tests look at it from many sides and leave it as they found it.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import onnxruntime
import pytest

from slipway.api.common import ACTION_ANNOTATION
from slipway.contract import WEIGHTS_FILE
from slipway.kube.objects import DATASETS, DEPLOYMENTS, JOBS, MODEL_VERSIONS, TRAINING_RUNS
from tests.support import node
from tests.support.api_server import NAMESPACES, Object, Refusal, eventually
from tests.support.e2e import EXAMPLES, IS_TRUE, MODEL, Tenant, World, aborted, condition, settled_on
from tests.support.git_server import Origin, open_folder
from tests.support.node_images import NodeImages
from tests.support.people import APPROVER, Person, person

IMAGE = "localhost/slipway/audited:1"
"""A tag of these tests' own, that somebody moves."""
USER, TOKEN = "anna", "an-access-token"
V1, V2 = "digits-v1", "digits-v2"
TRAIN = (EXAMPLES / "quickstart" / "train.py").read_text()
FINE_TUNE = (EXAMPLES / "fine-tune" / "train.py").read_text()
HELD_OUT, SPLIT_SEED = 360, 0
"""Of the quickstart's train.py: the rows that accuracy is measured on."""
PARAMETERS = {1: {"epochs": "2", "learningRate": "0.01"}, 2: {"epochs": "3", "learningRate": "0.003"}}
BEHIND, FLOOR = "0.02", "0.5"
GATES: dict[int, list[Object]] = {
    1: [{"metric": "accuracy", "notWorseThan": {"alias": "champion", "by": BEHIND, "better": "Higher"}}],
    # Its data are others, so nobody could say that it is no worse than the champion.
    2: [{"metric": "accuracy", "min": FLOOR}],
}
TOO_SHORT = {"epochs": "1", "learningRate": "0.0001"}
"""Parameters with which a training falls behind."""
COMMENT = "good on the holdout"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


# ------------------------------------------------------------------------------------------------------ what is true


@dataclass(frozen=True)
class Truth:
    """What went into a version and what came out, read where it comes from and never from the version."""

    version: str
    run: str
    uid: str
    author: str
    commit: str
    image: str
    data: str
    parameters: Mapping[str, str]
    seed: int
    file: str
    parent: str | None = None
    """The version that it was fine-tuned from."""


class Graph:
    """An answer of ``kubectl slipway lineage``."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._nodes = {node["id"]: node for node in said["nodes"]}
        self._edges = {(edge["from"], edge["to"]) for edge in said["edges"]}

    def names(self, kind: str) -> list[str]:
        """Of all nodes of a kind."""
        return sorted(found["name"] for found in self._nodes.values() if found["kind"] == kind)

    def one(self, kind: str, name: str | None = None) -> Mapping[str, Any]:
        """The only node of a kind, or the one of that name."""
        found: list[Mapping[str, Any]] = [
            n for n in self._nodes.values() if n["kind"] == kind and name in (None, n["name"])
        ]
        assert len(found) == 1, f"{len(found)} nodes of {kind} {name or ''} in {list(self._nodes)}"
        return found[0]

    def flows(self, *path: Mapping[str, Any]) -> bool:
        """Whether data flow from each of these nodes to the next."""
        return all((a["id"], b["id"]) in self._edges for a, b in pairwise(path))

    def into(self, kind: str, node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Nodes of a kind of which data flow straight into a node."""
        return [n for n in self._nodes.values() if n["kind"] == kind and self.flows(n, node)]

    def made(self, version: str) -> dict[str, Any]:
        """What it says of a version, in the words of ``Truth``."""
        came_out = self.one("ModelVersion", version)
        (run,) = self.into("TrainingRun", came_out)
        (code,), (image,), (data,) = (self.into(kind, run) for kind in ("Code", "Image", "Data"))
        parents = [n["name"] for n in self.into("ModelVersion", came_out)]
        assert len(parents) <= 1, parents
        return {
            "version": came_out["name"],
            "run": run["name"],
            "uid": run["run"]["uid"],
            "author": run["run"]["createdBy"],
            "commit": code["commit"],
            "image": image["digest"],
            "data": data["digest"],
            "parameters": run["parameters"],
            "seed": run["seed"],
            "file": came_out["artifact"]["digest"],
            "parent": parents[0] if parents else None,
        }


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def of_data(csv: bytes) -> str:
    """The digest of a data set of one file, by the words of design/lineage: sorted lines ``path size sha256``."""
    return sha256(f"train.csv {len(csv)} {hashlib.sha256(csv).hexdigest()}\n".encode())


def image_of(tenant: Tenant, run: str) -> str:
    """The digest of the image that trained, as the kubelet reported it."""
    (pod,) = tenant.pods(training_run=run, role="train")
    (status,) = pod["status"]["containerStatuses"]
    found = DIGEST.search(status["imageID"])
    assert found, status
    return found.group()


def place_of(world: World, uid: str) -> str:
    """Where the file of a run lies, found by looking into the bucket."""
    found = [o.object_name for o in world.store.list_objects("models", recursive=True)]
    (key,) = [name for name in found if uid in name and name.endswith("/model.onnx")]
    return f"s3://models/{key}"


def beside(world: World, truth: Truth, name: str) -> str:
    """Where another file of a run lies."""
    return place_of(world, truth.uid).removesuffix("model.onnx") + name


def read(world: World, uri: str) -> bytes:
    where = urlsplit(uri)
    answer = world.store.get_object(where.netloc, where.path.lstrip("/"))
    try:
        content: bytes = answer.read()
    finally:
        answer.close()
        answer.release_conn()
    return content


def accuracy(model: bytes, csv: bytes) -> float:
    """Of a file on the rows that train.py holds out, by onnxruntime alone."""
    table = np.loadtxt(io.BytesIO(csv), delimiter=",", skiprows=1, dtype=np.float32)
    rows = table[np.random.default_rng(SPLIT_SEED).permutation(len(table))][:HELD_OUT]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"x": rows[:, :64] / np.float32(16)})
    return float((np.asarray(logits).argmax(axis=1) == rows[:, 64]).mean())


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


# --------------------------------------------------------------------------------------------------------- the story


@dataclass(frozen=True)
class Story:
    """What happened, and what was seen on the way."""

    tenant: Tenant
    anna: Person
    """Trains, and might approve."""
    ben: Person
    """Reads and approves, and nothing else; he puts the auditor's questions."""
    carl: Person
    """Trains, and may not approve."""
    release: str
    """Where the data lie."""
    csv: Mapping[int, bytes]
    first: Truth
    second: Truth
    bad: Object
    """The Dataset after the bad release."""
    stopped: Object
    """The run that asked for the bad release."""
    left: list[Object]
    """The Jobs and pods that it had."""
    refusals: Mapping[str, str]
    """What the API server said, by who was told it."""
    unserved: Object
    """The Deployment while its version waited for approval."""
    approved: Object
    behind: Object
    """The run that was worse than the champion, on the same data."""
    at_first: str
    """A moment when the first version served, and who answered then."""
    told_then: Graph
    answered_then: str
    again: Object
    """The run that made the first version once more."""
    by_tag: Object
    """The same by hand, with the image by its tag, that was moved."""


@dataclass(frozen=True)
class Team:
    """The namespace while the story is told."""

    world: World
    tenant: Tenant
    anna: Person
    origin: Origin
    git: str

    @property
    def release(self) -> str:
        return f"s3://data/{self.tenant.name}/"

    def publish(self, csv: bytes, number: int) -> Object:
        """Release data, have them checked, and wait for the verdict."""
        self.world.put(f"{self.release}train.csv", csv)
        if number > 1:
            refresh = {"metadata": {"annotations": {ACTION_ANNOTATION: "refresh"}}}
            self.tenant.api.merge(DATASETS, self.tenant.name, MODEL, refresh)
        else:
            self.tenant.give("dataset/dataset.yaml", uri=self.release)

        def checked(obj: Object) -> bool:
            status = obj.get("status", {})
            return status.get("checked", {}).get("number") == number and status["phase"] in ("Ready", "Failed")

        return self.tenant.until(DATASETS, MODEL, checked, what=f"the check number {number}", seconds=60)

    def run(self, name: str, number: int) -> Object:
        """Anna's TrainingRun, not yet given: the example's, for this repository, this Dataset and the image. The second
        one goes on from the first one's weights."""
        git = {"url": f"{self.git}/digits", "revision": "main", "path": "training", "secret": "digits-git"}
        (made,) = self.tenant.example(
            "git/run.yaml", code={"git": git}, data=[{"name": "train", "dataset": MODEL}], image=IMAGE,
            parameters=PARAMETERS[number], gate=GATES[number], approval={"required": True},
            **({"from": {"modelVersion": V1}} if number == 2 else {}),
        )  # fmt: skip
        made["metadata"]["name"] = name
        return made

    def train(self, number: int, csv: bytes) -> Truth:
        """Anna trains, and the version waits for approval."""
        commit = self.origin.head("main")
        given = self.anna.create(self.run(f"digits-{number}", number))
        name, uid, spec = given["metadata"]["name"], given["metadata"]["uid"], given["spec"]
        version = self.tenant.trained(name, seconds=120)["status"]["modelVersion"]

        def waits(obj: Object) -> bool:
            return bool(obj.get("status", {}).get("phase") == "AwaitingApproval")

        self.tenant.until(MODEL_VERSIONS, version, waits, what="waits for approval")
        return Truth(
            version=version, run=name, uid=uid, author=self.anna.user, commit=commit, image=image_of(self.tenant, name),
            data=of_data(csv), parameters=spec["parameters"], seed=spec["seed"],
            file=sha256(read(self.world, place_of(self.world, uid))), parent=spec.get("from", {}).get("modelVersion"),
        )  # fmt: skip

    def once_more(self, truth: Truth, name: str) -> None:
        """Make a version once more by hand, as the example does: with the image by its tag."""
        spec = self.run(name, 1)["spec"]
        git = {**spec["code"]["git"], "revision": truth.commit}
        same = {key: spec[key] for key in ("data", "parameters", "resources", "image")}
        (made,) = self.tenant.example("reproduce/run.yaml", code={"git": git}, **same)
        made["metadata"]["name"] = name
        self.anna.create(made)


def refusal(act: Callable[[], object]) -> str:
    """The API server's sentence; empty where it took it."""
    try:
        act()
    except Refusal as refused:
        return refused.message
    return ""


def does(who: Person, *words: str) -> None:
    """A command of ``kubectl slipway`` that must work."""
    done = who.says(*words)
    assert done.returncode == 0, f"kubectl slipway {' '.join(words)}: {done.stdout}{done.stderr}"


def ended(tenant: Tenant, run: str) -> Object:
    return tenant.until(
        TRAINING_RUNS, run, lambda o: "completionTime" in o.get("status", {}), what="the end", seconds=120
    )


@pytest.fixture(scope="module")
def team(world: World, module_tenant: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Given a namespace that asks for four eyes, a repository, and an image by a tag."""
    tenant = module_tenant
    tenant.api.merge(NAMESPACES, None, tenant.name, {"metadata": {"labels": {"slipway.dev/four-eyes": "true"}}})
    images = NodeImages(world)
    with (
        person(tenant, "anna", "edit", APPROVER, folder=tmp_path_factory.mktemp("anna")) as anna,
        open_folder() as folder,
    ):
        (folder / "served").mkdir()
        origin = Origin.make(folder / "served" / "digits")
        origin.commit({"training/train.py": TRAIN, "README.md": "words"})
        with (
            node.git_over_http(world, folder / "served", user=f"{USER}:{TOKEN}") as git,
            images.tagged(trainer(world), IMAGE),
        ):
            (secret,) = tenant.example("git/secret.yaml")
            secret["stringData"]["url"] = git
            tenant.api.create(secret)
            yield Team(world, tenant, anna, origin, git)


def trainer(world: World) -> str:
    """The trainer image that the operator was installed with."""
    (found,) = {
        variable["value"]
        for deployment in world.api.call("GET", "/apis/apps/v1/namespaces/slipway-system/deployments")["items"]
        for container in deployment["spec"]["template"]["spec"]["containers"]
        for variable in container.get("env", ())
        if variable["name"] == "SLIPWAY_OPERATOR_TRAINER_IMAGE"
    }
    return str(found)


@pytest.fixture(scope="module")
def story(world: World, team: Team, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """From the first release of the data to the second version that serves."""
    with (
        person(team.tenant, "ben", "view", APPROVER, folder=tmp_path_factory.mktemp("ben")) as ben,
        person(team.tenant, "carl", "edit", folder=tmp_path_factory.mktemp("carl")) as carl,
    ):
        yield tell(world, team, ben, carl)


def tell(world: World, team: Team, ben: Person, carl: Person) -> Story:
    """Tell it."""
    tenant, anna = team.tenant, team.anna
    world.digits()
    good = read(world, "s3://data/digits/train.csv")
    rows = good.splitlines(keepends=True)
    csv = {1: good, 2: b"".join(rows[:1701])}

    # When data are released that do not pass their checks, and somebody trains from them
    bad = team.publish(b"".join([*rows[:7], rows[7].rpartition(b",")[0] + b",77\n", *rows[8:]]), 1)
    anna.create(team.run("digits-0", 1))
    stopped = ended(tenant, "digits-0")
    left = [
        *tenant.pods(training_run="digits-0"),
        *([job] if (job := tenant.api.get(JOBS, tenant.name, "digits-0")) else []),
    ]

    # And then good ones: a version comes of them, which waits for somebody else's word
    team.publish(csv[1], 2)
    without = team.run("nobody-asked", 1)
    del without["spec"]["approval"]
    refusals = {
        "unasked": eventually(
            lambda: refusal(lambda: carl.api.create(without, dry_run=True)), seconds=30, what="four eyes are asked for"
        )
    }
    first = team.train(1, csv[1])
    tenant.give("alias/deployment.yaml")
    does(anna, "alias", V1, "champion")
    unserved = tenant.until(
        DEPLOYMENTS, MODEL, lambda o: "champion" in o.get("status", {}).get("message", ""), what="nobody holds champion"
    )
    refusals |= {who.user: who.says("approve", V1).stderr for who in (anna, carl)}
    does(ben, "approve", V1, "--comment", COMMENT)
    approved = tenant.version_ready(V1)

    # And somebody trains on the same data for less long, which is worse than the champion
    tenant.until(MODEL_VERSIONS, V1, lambda o: o["status"].get("heldAliases") == ["champion"], what="the champion")
    worse = team.run("digits-worse", 1)
    worse["spec"]["parameters"] = TOO_SHORT
    anna.create(worse)
    behind = ended(tenant, "digits-worse")

    # And it is made once more, while somebody has moved the tag of its image
    NodeImages(world).move(IMAGE)
    does(anna, "reproduce", V1)
    team.once_more(first, "digits-v1-by-tag")
    tenant.until(DEPLOYMENTS, MODEL, settled_on(V1), what=f"serving {V1}")
    answered_then, at_first, told_then = str(world.ask(tenant.host)["model_version"]), now(), host(ben, tenant)
    again, by_tag = ended(tenant, "digits-v1-again"), ended(tenant, "digits-v1-by-tag")

    # And the first version is fine-tuned: other data, other code, other parameters, and the tag is another image now
    team.publish(csv[2], 3)
    team.origin.commit({"training/train.py": FINE_TUNE})
    second = team.train(2, csv[2])
    does(ben, "approve", V2, "--comment", COMMENT)
    does(anna, "alias", V2, "champion")
    tenant.until(DEPLOYMENTS, MODEL, settled_on(V2), what=f"serving {V2}")
    return Story(
        tenant=tenant, anna=anna, ben=ben, carl=carl, release=team.release, csv=csv, first=first, second=second,
        bad=bad, stopped=stopped, left=left, refusals=refusals, unserved=unserved, approved=approved, behind=behind,
        at_first=at_first, told_then=told_then, answered_then=answered_then, again=again, by_tag=by_tag,
    )  # fmt: skip


def host(who: Person, tenant: Tenant) -> Graph:
    return Graph(who.asks("lineage", "--host", tenant.host))


# ---------------------------------------------------------------------------------------------- what had to be stopped


def test_a_bad_release_stops_a_run_before_anything_is_asked_for(story: Story) -> None:
    # Then the check is named with the Dataset, and with the run, which has neither Job nor pod
    assert story.bad["status"]["phase"] == "Failed", story.bad["status"]
    (failed,) = story.bad["status"]["failures"]
    assert failed["check"] == "label.max"
    assert condition(story.stopped, "Succeeded")["reason"] == "DatasetFailed"
    message = story.stopped["status"]["message"]
    assert all(word in message for word in (MODEL, "label.max")), message
    assert not story.left, story.left


def test_nobody_uses_what_was_not_approved_and_no_author_approves_his_own(story: Story) -> None:
    # Then the API server has said so, to each in his own case
    assert story.refusals["unasked"].endswith("waits for approval: write spec.approval.required: true")
    assert f"{story.anna.user} made {V1} and may not approve it" in story.refusals[story.anna.user], story.refusals
    assert "four eyes" in story.refusals[story.anna.user]
    assert f"{story.carl.user} may not decide about the approval of {V1}" in story.refusals[story.carl.user], (
        story.refusals
    )
    # And nothing served it, though it had been given the alias
    assert "stable" not in story.unserved["status"], story.unserved["status"]
    # And who agreed, when and why, stands in the version
    said = story.approved["status"]["approval"]
    assert (said["state"], said["by"], said["comment"]) == ("Approved", story.ben.user, COMMENT)
    assert said["at"] <= now()


def test_the_gates_say_what_is_true_and_what_falls_behind_the_champion_is_no_version(
    world: World, story: Story
) -> None:
    def measured(obj: Object, where: Object, csv: bytes) -> str:
        """The accuracy that stands there, which is that of the file in the store."""
        (value,) = [str(m["value"]) for m in where["metrics"] if m["name"] == "accuracy"]
        file = read(world, place_of(world, obj["metadata"]["uid"]))
        assert float(value) == pytest.approx(accuracy(file, csv), abs=1 / 720)
        return value

    tenant = story.tenant
    runs = [tenant.get(TRAINING_RUNS, truth.run) for truth in (story.first, story.second)]
    lineages = [tenant.get(MODEL_VERSIONS, version)["status"]["lineage"] for version in (V1, V2)]
    first, second = (
        measured(run, lineage, story.csv[number + 1])
        for number, (run, lineage) in enumerate(zip(runs, lineages, strict=True))
    )
    # Then the first version had nobody to be compared with, and the second had a floor
    assert [lineage["gates"] for lineage in lineages] == [
        [
            {
                "metric": "accuracy",
                "message": f"no version holds champion: accuracy {first} was compared with none",
                "against": {"alias": "champion"},
            }
        ],
        [{"metric": "accuracy", "message": f"accuracy {second} is at least the gate's min {FLOOR}"}],
    ]
    assert [run["status"]["gates"] for run in runs] == [lineage["gates"] for lineage in lineages]
    # And what fell behind the first was stopped with both numbers, and took no number: the next version is the second
    worse = measured(story.behind, story.behind["status"], story.csv[1])
    assert float(worse) < float(first) - float(BEHIND)
    ended_with = condition(story.behind, "Succeeded")
    who = f"{V1}, which holds champion, on the same train"
    said = f"accuracy {worse} is more than {BEHIND} worse than the {first} of {who}"
    place = place_of(world, story.behind["metadata"]["uid"])
    assert (ended_with["status"], ended_with["reason"]) == ("False", "GateMissed")
    assert ended_with["message"] == f"{said}: no ModelVersion was made; the model lies at {place}"
    assert story.behind["status"]["gates"] == [
        {
            "metric": "accuracy",
            "message": said,
            "against": {"alias": "champion", "modelVersion": V1, "value": first},
        }
    ]
    assert "modelVersion" not in story.behind["status"]


# ------------------------------------------------------------------------------------------------------- the questions


def test_which_run_code_data_parameters_seed_and_image_made_this_version(story: Story) -> None:
    assert Graph(story.ben.asks("lineage", V1)).made(V1) == asdict(story.first)
    # And an alias is another way to ask
    assert Graph(story.ben.asks("lineage", f"{MODEL}@champion")).made(V2) == asdict(story.second)


def test_what_made_the_model_that_answers_at_this_host_name(world: World, story: Story) -> None:
    # Given who answered there when the first version served, and who answers now
    assert (story.answered_then, world.ask(story.tenant.host)["model_version"]) == ("1", "2")
    # Then the command has said what made the one, and says what made the other
    assert story.told_then.made(V1) == asdict(story.first)
    told = host(story.ben, story.tenant)
    assert told.made(V2) == asdict(story.second)
    served = told.one("ModelVersion", V2), told.one("Deployment"), told.one("Host", story.tenant.host)
    assert told.flows(*served)
    # And trees and pictures say the same
    for output, begin in (("tree", story.tenant.host), ("dot", "digraph")):
        done = story.ben.says("lineage", "--host", story.tenant.host, "--output", output)
        assert done.stdout.startswith(begin), done
        wanted = (story.second.commit, story.second.image, story.second.data, story.second.run)
        assert all(word in done.stdout for word in wanted), done.stdout


def depend_on(told: Graph, kind: str, thing: str, *versions: str) -> None:
    """Says that these versions depend on it, one on another in this order, and the Deployment on the last of them."""
    assert told.names("ModelVersion") == sorted(versions)
    chain = [told.one("ModelVersion", version) for version in versions]
    assert told.flows(told.one(kind, thing), *chain, told.one("Deployment", MODEL))


def test_what_depends_on_a_version_of_the_data(story: Story) -> None:
    # Given the second version was not made of the first data, but of the first version
    first, second = story.first.data, story.second.data
    depend_on(Graph(story.ben.asks("lineage", "--data", first)), "Data", first, V1, V2)
    depend_on(Graph(story.ben.asks("lineage", "--data", f"{MODEL}@{second}")), "Data", second, V2)
    # And nothing was made of the bad release
    versions = story.tenant.get(DATASETS, MODEL)["status"]["versions"]
    assert {v["digest"]: v["passed"] for v in versions} == {
        story.bad["status"]["digest"]: False, story.first.data: True, story.second.data: True,
    }  # fmt: skip
    assert Graph(story.ben.asks("lineage", "--data", story.bad["status"]["digest"])).names("ModelVersion") == []


@pytest.mark.parametrize("kind", ["Code", "Image"])
def test_what_depends_on_a_commit_and_on_an_image(story: Story, kind: str) -> None:
    what = {"Code": "commit", "Image": "image"}[kind]
    first, second = (getattr(truth, what) for truth in (story.first, story.second))
    assert first != second
    depend_on(Graph(story.ben.asks("lineage", f"--{what}", first)), kind, first, V1, V2)
    depend_on(Graph(story.ben.asks("lineage", f"--{what}", second)), kind, second, V2)


def test_what_changed_between_two_versions(world: World, story: Story) -> None:
    first, second = story.first, story.second
    told = {(d["what"], d["name"]): (d["first"], d["second"]) for d in story.ben.asks("diff", V1, V2)}
    changed = {key: values for key, values in told.items() if values[0] != values[1]}
    assert {key: values for key, values in changed.items() if key[0] not in ("metric", "file")} == {
        ("data", "train"): (first.data, second.data),
        ("code", "commit"): (first.commit, second.commit),
        ("image", "digest"): (first.image, second.image),
        ("parameter", "epochs"): ("2", "3"),
        ("parameter", "learningRate"): ("0.01", "0.003"),
        ("parent", ""): ("-", V1),
        ("parent", "weights"): ("-", sha256(read(world, beside(world, first, WEIGHTS_FILE)))),
    }
    assert told["image", "ref"] == (IMAGE, IMAGE)
    assert told["file", "digest"] == (first.file, second.file)
    # And the metrics are those of the files in the store, counted by onnxruntime: so the weights that the second began
    # with are the first one's
    before, after = (read(world, place_of(world, truth.uid)) for truth in (first, second))
    counted = [accuracy(before, story.csv[1]), accuracy(after, story.csv[2]), accuracy(before, story.csv[2])]
    _, began = told["metric", "accuracyBefore"]
    assert [float(v) for v in (*told["metric", "accuracy"], began)] == pytest.approx(counted, abs=1 / 720)


def test_what_served_at_a_given_time(story: Story) -> None:
    for when, truth in ((story.at_first, story.first), (now(), story.second)):
        told = Graph(story.ben.asks("lineage", "--at", when, MODEL))
        assert told.made(truth.version) == asdict(truth), when
    never = story.ben.says("lineage", "--at", "2026-01-01T00:00Z", MODEL)
    assert (never.returncode, never.stdout) == (1, "")
    assert f"{MODEL} served nothing at 2026-01-01 00:00:00 UTC" in never.stderr


def test_whether_it_can_be_made_again(world: World, story: Story) -> None:
    # Given the first version was made once more: with the image that trained it, though its tag stands for another
    assert image_of(story.tenant, "digits-v1-again") == story.first.image
    assert story.again["status"]["reproduction"]["verdict"] == "Identical", story.again["status"]
    assert not story.again["status"]["reproduction"].get("differs")
    uid = story.again["metadata"]["uid"]
    assert sha256(read(world, place_of(world, uid))) == story.first.file
    # Then the command says so, and what else it needs, of which nothing is missing
    told = story.ben.asks("reproducible", V1)
    assert told["answer"] == "yes", told
    assert "made it again: Identical" in told["words"], told
    assert {f["answer"] for f in told["findings"]} == {"yes"}, told
    # And no number was taken for it
    found = story.tenant.api.list(MODEL_VERSIONS, story.tenant.name)
    assert sorted(v["metadata"]["name"] for v in found) == [V1, V2]


def test_what_lies_in_the_store_is_what_the_lineage_names(world: World, story: Story) -> None:
    told = Graph(story.ben.asks("lineage", V2))
    lineage, before = (told.one("ModelVersion", version)["lineage"] for version in (V2, V1))
    environment = lineage["environment"]
    packages = read(world, environment["packagesUri"])
    assert sha256(packages) == environment["packages"]
    # The list names the torch that trained.
    assert re.search(rf"(?im)^torch==?{re.escape(environment['torch'])}\b", packages.decode()), packages[:500]
    (data,) = lineage["data"]
    versions = {v["digest"]: v for v in story.tenant.get(DATASETS, MODEL)["status"]["versions"]}
    assert sha256(read(world, versions[story.second.data]["manifest"])) == story.second.data
    assert (data["dataset"], data["version"], data["profile"]) == (
        MODEL, story.second.data, versions[story.second.data]["profile"],
    )  # fmt: skip
    assert read(world, data["profile"])
    assert (data["files"], data["bytes"]) == (1, len(story.csv[2]))
    assert float(lineage["parity"]["maxAbsDiff"]) < 1e-4
    # And the weights that it began with are those that lie beside the first version.
    assert sha256(read(world, before["weights"]["uri"])) == before["weights"]["digest"]
    assert lineage["parent"] == {"modelVersion": V1, "digest": before["weights"]["digest"]}


# ------------------------------------------------------------------------------------------------ somebody tampers


@contextmanager
def tampered(world: World, uri: str, content: bytes) -> Iterator[None]:
    """Write over a file; afterwards it is what it was."""
    original = read(world, uri)
    assert original != content
    world.put(uri, content)
    try:
        yield
    finally:
        world.put(uri, original)


def test_a_tampered_data_file_is_named(world: World, story: Story) -> None:
    # Given one digit in the data is another, and nobody has had them checked again
    changed = story.csv[2].replace(b",0\n", b",8\n", 1)
    assert len(changed) == len(story.csv[2])
    (run,) = story.tenant.example("git/run.yaml")
    spec = story.tenant.get(TRAINING_RUNS, story.second.run)["spec"]
    run["metadata"]["name"], run["spec"] = "digits-tampered", spec
    with tampered(world, f"{story.release}train.csv", changed):
        # When somebody trains
        story.carl.create(run)
        failed = ended(story.tenant, "digits-tampered")
    # Then it ends before it trains, and says where, what was expected and what is there
    assert condition(failed, "Succeeded")["reason"] == "DataDigestMismatch", failed["status"]
    message = failed["status"]["message"]
    wanted = (story.second.data, of_data(changed), story.release)
    assert all(word in message for word in wanted), message
    assert "modelVersion" not in failed["status"]


def test_a_tampered_model_file_is_named_and_never_served(world: World, story: Story) -> None:
    uri = place_of(world, story.first.uid)
    changed = bytearray(read(world, uri))
    changed[len(changed) // 2] ^= 1
    try:
        with tampered(world, uri, bytes(changed)):
            # When the first version is to serve again
            does(story.anna, "alias", V1, "champion")
            after = story.tenant.until(DEPLOYMENTS, MODEL, aborted, what="stopped")
        # Then it is stopped, with the place, the digest that was recorded and the one that is there
        message = after["status"]["message"]
        assert all(word in message for word in (uri, story.first.file, sha256(bytes(changed)))), message
        # And the second goes on
        assert condition(after, "Ready")["status"] == IS_TRUE
        assert world.ask(story.tenant.host)["model_version"] == "2"
    finally:
        does(story.anna, "alias", V2, "champion")
        story.tenant.until(DEPLOYMENTS, MODEL, settled_on(V2), what=f"{V2} alone again")


def test_a_moved_tag_of_the_image_is_named(story: Story) -> None:
    # Given the second version was trained in the image that the tag stands for now
    assert NodeImages(story.tenant.world).digest(IMAGE) == story.second.image != story.first.image
    # Then making the first version once more by the tag says which image it had and which it has now
    found = story.by_tag["status"]["reproduction"]
    (image,) = [d["message"] for d in found["differs"] if d["what"] == "image"]
    assert f"{story.first.image} then, {story.second.image} now" in image, found
    assert image_of(story.tenant, "digits-v1-by-tag") == story.second.image
    # And the version's own lineage keeps it, where a person finds it
    told = story.ben.asks("reproducible", V1)["findings"]
    (finding,) = [f["words"] for f in told if "digits-v1-by-tag" in f["words"]]
    assert story.second.image in finding, told
