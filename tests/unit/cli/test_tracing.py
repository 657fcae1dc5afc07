"""The questions of lineage: each by its command, on a registry whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydot
import pytest

from slipway.api.reproduce import config_map_digest
from slipway.cli import tracing
from slipway.cli.client import Object
from slipway.cli.errors import Stop
from slipway.cli.options import DataOutput, GraphOutput
from slipway.cli.tracing import Asked
from tests.support import registry_scene as scene
from tests.support.fake_api import FakeApi
from tests.support.stories import compare

GOLDEN = Path(__file__).parent / "golden"
COMMIT = "1f" * 20
BAD, GOOD = "a bad release", "a good release"
HISTORY = [
    {"modelVersion": "digits-v3", "outcome": "Aborted", "reason": "harm", "from": "2026-11-22T06:00:00Z"}
    | {"to": "2026-11-22T06:10:00Z"},
    {"modelVersion": "digits-v2", "outcome": "Promoted", "reason": "replaced digits-v1", "from": "2026-11-22T05:00:00Z"}
    | {"to": "2026-11-22T05:30:00Z"},
    {"modelVersion": "digits-v1", "outcome": "Promoted", "reason": "first version", "from": "2026-11-22T03:00:00Z"}
    | {"to": "2026-11-22T03:00:10Z"},
]


@pytest.fixture
def api() -> FakeApi:
    """digits: v1 of good data; v2 of the bad release, serving; v3 fine-tuned from v2; v4 of v3. fraud: v1 of the bad
    release too. Another namespace has what must not be mixed up with it."""
    return FakeApi(
        scene.version(number=1, data={"train": GOOD}, metrics={"accuracy": "0.81"}),
        scene.version(
            number=2, data={"train": BAD, "test": "test"}, aliases=["champion"], metrics={"accuracy": "0.97"}
        ),
        scene.version(number=3, data={"train": GOOD}, parent="digits-v2", commit=COMMIT),
        scene.version(number=4, data={"train": GOOD}, parent="digits-v3", image="trainer-2"),
        scene.version("fraud", data={"transactions": BAD}),
        scene.version(
            "digits", 3, namespace="elsewhere", data={"train": GOOD}, parent="digits-v2", parent_weights="other"
        ),
        scene.deployment(stable="digits-v2", candidate="digits-v3", weight=10, history=HISTORY),
        scene.deployment("shop", stable="fraud-v1", host="shop.example.com"),
        config_map("digits-code", {"train.py": "print()"}),
    )


def config_map(name: str, data: dict[str, str]) -> Object:
    return {"kind": "ConfigMap", "metadata": {"name": name, "namespace": "team"}, "data": data}


def ask(api: FakeApi, output: GraphOutput = GraphOutput.TREE, everywhere: bool = False, **asked: str) -> None:
    tracing.trace(lambda: api, Asked(**asked), None, everywhere, output)


def graph(api: FakeApi, capsys: pytest.CaptureFixture[str], **asked: Any) -> tuple[set[str], set[tuple[str, str, str]]]:
    """Nodes and edges of an answer."""
    ask(api, GraphOutput.JSON, **asked)
    found = json.loads(capsys.readouterr().out)
    return {n["id"] for n in found["nodes"]}, {(e["from"], e["relation"], e["to"]) for e in found["edges"]}


QUESTIONS: dict[str, dict[str, str]] = {
    "what made a version and what came of it": {"what": "digits-v2"},
    "what made a version that was fine-tuned": {"what": "digits-v4"},
    "what made what answers at a host name": {"host": "digits.example.com"},
    "what depends on data": {"data": scene.digest(BAD)},
    "what depends on a commit": {"commit": COMMIT},
    "what depends on an image": {"image": f"registry.example/trainer@{scene.digest('trainer-2')}"},
    "what served at a time": {"what": "digits", "at": "2026-11-22T05:10:00Z"},
}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.replace(" ", "-"))
def test_as_a_person_reads_it(api: FakeApi, capsys: pytest.CaptureFixture[str], question: str) -> None:
    ask(api, GraphOutput.TREE, False, **QUESTIONS[question])
    compare(capsys.readouterr().out.splitlines(), GOLDEN / f"{question.replace(' ', '-')}.txt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pydot calls its parser by old names
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.replace(" ", "-"))
def test_dot_is_dot_and_says_the_same_as_json(api: FakeApi, capsys: pytest.CaptureFixture[str], question: str) -> None:
    nodes, edges = graph(api, capsys, **QUESTIONS[question])
    ask(api, GraphOutput.DOT, False, **QUESTIONS[question])
    parsed = pydot.graph_from_dot_data(capsys.readouterr().out)
    assert parsed is not None
    (drawn,) = parsed
    named = {json.loads(n.get_name()) for n in drawn.get_nodes() if n.get_name().startswith('"')}
    assert named == nodes
    assert {
        tuple(json.loads(str(word)) for word in (e.get_source(), e.get("label"), e.get_destination()))
        for e in drawn.get_edges()
    } == edges


def test_bad_data_lead_to_all_that_came_of_them(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Fine-tuned versions too, and the Deployments; not the namesake of another namespace."""
    nodes, edges = graph(api, capsys, data=scene.digest(BAD))
    data = f"Data/{scene.digest(BAD)}"
    assert nodes == {
        data,
        *(f"ModelVersion/team/{name}" for name in ("digits-v2", "digits-v3", "digits-v4", "fraud-v1")),
        "Deployment/team/digits",
        "Deployment/team/shop",
    }
    assert (data, "went into", "ModelVersion/team/digits-v2") in edges
    assert ("ModelVersion/team/digits-v2", "parent of", "ModelVersion/team/digits-v3") in edges
    assert ("ModelVersion/team/digits-v3", "served by", "Deployment/team/digits") in edges


def test_a_version_of_the_same_name_in_another_namespace_is_no_parent(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(api, data=scene.digest(BAD))
    here = capsys.readouterr().out
    ask(api, everywhere=True, data=scene.digest(BAD))
    assert capsys.readouterr().out.splitlines()[0] == here.splitlines()[0]


def test_a_commit_of_sha256_is_found_by_its_label(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.objects.append(scene.version("cats", commit="2e" * 32))
    nodes, _ = graph(api, capsys, commit="2e" * 32)
    assert nodes == {f"Code/{'2e' * 32}", "ModelVersion/team/cats-v1"}


def test_the_host_leads_to_what_has_traffic(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    nodes, edges = graph(api, capsys, host="digits.example.com")
    assert {n for n in nodes if n.startswith("Data/")} == {f"Data/{scene.digest(of)}" for of in (BAD, GOOD, "test")}
    assert ("Deployment/team/digits", "answers at", "Host/digits.example.com") in edges
    assert ("ModelVersion/team/digits-v2", "served by", "Deployment/team/digits") in edges
    assert "Deployment/team/shop" not in nodes


def test_a_wildcard_leads_to_what_has_traffic(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.objects.append(scene.deployment("rest", stable="fraud-v1", host="*.example.com"))
    ask(api, host="fraud.example.com")
    told = capsys.readouterr().out.splitlines()
    assert told[1] == "└── served by Deployment rest  Healthy  answers at *.example.com"
    nodes, _ = graph(api, capsys, host="digits.example.com")
    assert "Deployment/team/rest" not in nodes, "one that names the host takes it from a wildcard"


@pytest.mark.parametrize(
    ("when", "served"),
    [
        ("2026-11-22T03:00:05Z", [("candidate", "digits-v1")]),
        ("2026-11-22T04:00Z", [("stable", "digits-v1")]),
        ("2026-11-22T05:10:00+00:00", [("stable", "digits-v1"), ("candidate", "digits-v2")]),
        ("2026-11-22T05:30:00Z", [("stable", "digits-v2")]),
        ("2026-11-22T06:05:00Z", [("stable", "digits-v2"), ("candidate", "digits-v3")]),
        ("2026-11-22T06:30", [("stable", "digits-v2")]),
    ],
)
def test_what_served_at_a_time(
    api: FakeApi, capsys: pytest.CaptureFixture[str], when: str, served: list[tuple[str, str]]
) -> None:
    shown = scene.deployment(stable="digits-v2", history=HISTORY)
    api.objects = [o for o in api.objects if o["metadata"]["name"] != "digits"] + [shown]
    ask(api, GraphOutput.JSON, what="digits", at=when)
    found = json.loads(capsys.readouterr().out)
    assert [(n["role"], n["name"]) for n in found["nodes"] if "role" in n] == served


def test_by_alias_is_the_same_as_by_name(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert graph(api, capsys, what="digits@champion") == graph(api, capsys, what="digits-v2")


def test_the_way_back_reads_no_whole_version(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    ask(api, data=scene.digest(BAD))
    assert {verb for verb, _ in api.asked} == {"TABLE"}


def test_a_dataset_stands_for_the_digest_of_its_newest_version(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = [{"digest": scene.digest(BAD)}, {"digest": scene.digest(GOOD)}]
    meta = {"name": "numbers", "namespace": "team"}
    api.objects.append({"kind": "Dataset", "metadata": meta, "status": {"versions": versions}})
    assert graph(api, capsys, data="numbers") == graph(api, capsys, data=scene.digest(BAD))
    older = scene.digest(GOOD)
    assert graph(api, capsys, data=f"numbers@{older[:15]}") == graph(api, capsys, data=older)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "write one thing"),
        ({"what": "digits-v1", "commit": COMMIT}, "write one thing"),
        ({"at": "2026-11-22T10:00Z"}, "write one thing"),
        ({"what": "digits-v9"}, "there is no ModelVersion digits-v9 in the namespace team"),
        ({"what": "digits@best"}, "no version of digits holds the alias best"),
        ({"host": "nowhere.example.com"}, "no Deployment in the namespace team answers at nowhere.example.com"),
        ({"commit": "1f1f1f1"}, "is no whole commit: write its 40 digits"),
        ({"image": "registry.example/trainer:1"}, "a tag may have moved"),
        ({"data": "sha256:123"}, "is no whole digest"),
        ({"data": "numbers"}, "there is no Dataset numbers"),
        ({"what": "digits", "at": "yesterday"}, "is no time: write for example"),
        ({"what": "digits", "at": "2026-11-01T00:00Z"}, "digits served nothing at .* UTC: it was made at"),
    ],
)
def test_what_cannot_be_answered_is_a_sentence(api: FakeApi, asked: dict[str, str], words: str) -> None:
    with pytest.raises(Stop, match=words):
        ask(api, GraphOutput.TREE, False, **asked)


def test_before_a_history_that_was_cut_nothing_is_claimed(api: FakeApi) -> None:
    cut = scene.deployment(stable="digits-v2", history=HISTORY[:2], spec={"historyLimit": 2})
    api.objects = [o for o in api.objects if o["metadata"]["name"] != "digits"] + [cut]
    for when in ("2026-11-22T04:00Z", "2026-11-22T05:10Z"):  # when v2 was the candidate: beside whom is not known
        with pytest.raises(Stop, match="is not known: its history says what served since 2026-11-22 05:30:00"):
            ask(api, what="digits", at=when)
    with pytest.raises(Stop, match=r"digits served nothing at .* its first version was not ready yet"):
        whole = cut | {"status": cut["status"] | {"history": HISTORY}}
        api.objects = [o for o in api.objects if o["metadata"]["name"] != "digits"] + [whole]
        ask(api, what="digits", at="2026-11-22T02:59Z")


def aborted(hour: int) -> dict[str, str]:
    return {"modelVersion": "digits-v3", "outcome": "Aborted", "reason": "harm"} | {
        "from": f"2026-11-22T{hour:02}:00:00Z",
        "to": f"2026-11-22T{hour:02}:10:00Z",
    }


@pytest.mark.parametrize(
    ("history", "limit", "when", "served"),
    [
        # as the operator keeps it
        ([*map(aborted, (10, 9, 8, 7)), HISTORY[2]], 5, "2026-11-22T12:00Z", [("stable", "digits-v1")]),
        ([*map(aborted, (10, 9, 8, 7)), HISTORY[2]], 5, "2026-11-22T05:00Z", [("stable", "digits-v1")]),
        ([HISTORY[2]], 0, "2026-11-22T12:00Z", [("stable", "digits-v1")]),
        # as one of an earlier release left it
        ([*map(aborted, (10, 9, 8, 7, 6))], 5, "2026-11-22T12:00Z", [("stable", "digits-v1")]),
        (
            [*map(aborted, (10, 9, 8, 7, 6))],
            5,
            "2026-11-22T08:05Z",
            [("stable", "digits-v1"), ("candidate", "digits-v3")],
        ),
        ([*map(aborted, (10, 9, 8, 7, 6))], 5, "2026-11-22T05:59Z", "its history begins at 2026-11-22 06:00:00"),
        ([], 0, "2026-11-22T12:00Z", "its history is empty; digits-v1 serves now"),
    ],
)
def test_rollouts_that_came_to_nothing_do_not_hide_what_served(
    api: FakeApi,
    capsys: pytest.CaptureFixture[str],
    history: list[dict[str, str]],
    limit: int,
    when: str,
    served: list[tuple[str, str]] | str,
) -> None:
    shown = scene.deployment(stable="digits-v1", history=history, spec={"historyLimit": limit})
    api.objects = [o for o in api.objects if o["metadata"]["name"] != "digits"] + [shown]
    if isinstance(served, str):
        with pytest.raises(Stop, match=f"is not known: {served}"):
            ask(api, what="digits", at=when)
    else:
        ask(api, GraphOutput.JSON, what="digits", at=when)
        found = json.loads(capsys.readouterr().out)
        assert [(n["role"], n["name"]) for n in found["nodes"] if "role" in n] == served


def test_nothing_depends_on_it(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    ask(api, data=scene.digest("nobody read this"))
    assert capsys.readouterr().out == "no version depends on it\n"


# ------------------------------------------------------------------------------------------------- promoted ones


def chain(*, old: bool = False) -> list[Object]:
    """team/digits-v1, and v2 that was fine-tuned from it; only v2 went to staging, and from there to prod.

    Args:
        old: nobody wrote down what v2 descends from.
    """
    first = scene.version(number=1, data={"train": BAD}, commit=COMMIT, image="trainer-2")
    origin = None if old else scene.ancestry(first)
    second = scene.version(number=2, data={"train": GOOD}, parent="digits-v1", ancestry=origin)
    staged = scene.promoted(second, "staging")
    return [first, second, staged, scene.promoted(staged, "prod")]


ASKED = {
    "data": scene.digest(BAD),
    "commit": COMMIT,
    "image": scene.digest("trainer-2"),
}


@pytest.mark.parametrize("what", ASKED)
def test_a_copy_is_found_by_what_its_ancestors_were_made_of(capsys: pytest.CaptureFixture[str], what: str) -> None:
    """Where no ancestor ever was, too, and by one selector."""
    api = FakeApi(*chain(), namespace="prod")
    api.strange = {"team", "staging"}
    _, edges = graph(api, capsys, **{what: ASKED[what]})
    ((_, relation, target),) = edges
    assert (relation, target) == ("went into an ancestor of", "ModelVersion/prod/digits-v2")
    ask(api, GraphOutput.TREE, False, **{what: ASKED[what]})
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "1 version of 1 model depends on it; 0 Deployments run one of them"
    assert told[2] == "└── went into an ancestor of digits-v2  Ready  promoted from staging"


@pytest.mark.parametrize("old", [False, True], ids=["written down", "registered before ancestors were written down"])
@pytest.mark.parametrize("what", ASKED)
def test_everywhere_a_copy_hangs_at_its_original(capsys: pytest.CaptureFixture[str], what: str, old: bool) -> None:
    api = FakeApi(*chain(old=old))
    ask(api, GraphOutput.JSON, True, **{what: ASKED[what]})
    found = json.loads(capsys.readouterr().out)
    v = "ModelVersion/{}/digits-v{}".format
    assert {(e["from"], e["relation"], e["to"]) for e in found["edges"]} == {
        (found["nodes"][0]["id"], "went into", v("team", 1)),
        (v("team", 1), "parent of", v("team", 2)),
        (v("team", 2), "promoted to", v("staging", 2)),
        (v("staging", 2), "promoted to", v("prod", 2)),
    }
    ask(api, GraphOutput.TREE, True, **{what: ASKED[what]})
    assert "promoted to digits-v2  Ready  promoted from team  in staging" in capsys.readouterr().out
    # In its own namespace alone nothing of the others is told.
    assert {n for n in graph(api, capsys, **{what: ASKED[what]})[0] if "Version" in n} == {v("team", 1), v("team", 2)}


@pytest.mark.parametrize("versions", [99, 250], ids=["few", "many"])
def test_many_versions_take_few_requests(capsys: pytest.CaptureFixture[str], versions: int) -> None:
    """What was fine-tuned is found by the weights of those before it, of which a request can name a hundred."""
    image = {"image": "trainer-2"}
    api = FakeApi(
        *(scene.version("cats", number, **image) for number in range(1, versions + 1)),
        scene.version("tuned", 1, parent="cats-v3"),
        scene.version("tuned", 2, parent="tuned-v1"),
        scene.version("tuned", 3, parent="cats-v3", parent_weights="other weights of that name"),
    )
    nodes, edges = graph(api, capsys, image=scene.digest("trainer-2"))
    named = {f"ModelVersion/team/cats-v{number}" for number in range(1, versions + 1)}
    assert nodes - named == {
        f"Image/{scene.digest('trainer-2')}",
        "ModelVersion/team/tuned-v1",
        "ModelVersion/team/tuned-v2",
    }
    assert ("ModelVersion/team/cats-v3", "parent of", "ModelVersion/team/tuned-v1") in edges
    assert ("ModelVersion/team/tuned-v1", "parent of", "ModelVersion/team/tuned-v2") in edges
    reads = [path for verb, path in api.asked if verb == "TABLE" and path.endswith("/modelversions")]
    assert len(reads) == (4 if versions < 100 else 2)


def test_a_version_that_was_promoted_there_and_back_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    first = scene.version(number=1, data={"train": BAD})
    there = scene.promoted(first, "prod")
    back = scene.promoted(there, "team")
    api = FakeApi(back, there)
    ask(api, everywhere=True, data=scene.digest(BAD))
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("2 versions of 2 models depend on it")
    assert len(told) == 4


def test_a_name_without_the_weights_is_no_parent(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    """digits-v2 was deleted and registered anew, of other data: v3 was made of the one before."""
    anew = scene.version(number=2, data={"train": "newer"}, weights="newer weights")
    api.objects = [o for o in api.objects if o["metadata"]["name"] != "digits-v2"] + [anew]
    nodes, _ = graph(api, capsys, data=scene.digest("newer"))
    assert nodes == {f"Data/{scene.digest('newer')}", "ModelVersion/team/digits-v2", "Deployment/team/digits"}
    ask(api, what="digits-v3")
    told = [line for line in capsys.readouterr().out.splitlines() if "fine-tuned" in line]
    its, those = scene.digest("newer weights")[:19], scene.digest("weights of digits-v2")[:19]
    assert told == [
        f"├── fine-tuned from digits-v2  is another version now: its weights are {its}, and those were {those}"
    ]
    ask(api, what="digits-v2")
    assert "parent of" not in capsys.readouterr().out


def test_a_copy_as_a_person_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    api = FakeApi(*chain(), namespace="prod")
    ask(api, what="digits-v2")
    compare(capsys.readouterr().out.splitlines(), GOLDEN / "what-made-a-version-that-was-promoted.txt")
    v = "ModelVersion/{}/digits-v{}".format
    nodes, edges = graph(api, capsys, what="digits-v2")
    assert {"TrainingRun/team/digits-2", "TrainingRun/team/digits-1"} <= nodes
    assert edges >= {
        (v("team", 2), "promoted to", v("staging", 2)),
        (v("staging", 2), "promoted to", v("prod", 2)),
        ("TrainingRun/team/digits-2", "made", v("prod", 2)),
        (v("team", 1), "parent of", v("prod", 2)),
    }
    ask(api, GraphOutput.DOT, what="digits-v2")
    assert '"ModelVersion/team/digits-v2" -> "ModelVersion/staging/digits-v2"' in capsys.readouterr().out


PARENTS: dict[str, tuple[Any, str]] = {
    "it is where it was trained": (lambda api: None, "digits-v1  Ready  in team"),
    "a copy of it is here": (
        lambda api: api.objects.append(scene.promoted(api.objects[0], "prod")),
        "digits-v1  Ready  promoted",
    ),
    "another of its name is here": (
        lambda api: api.objects.append(scene.version(number=1, namespace="prod", weights="others")),
        "digits-v1  Ready  in team",
    ),
    "it may not be read there": (
        lambda api: api.strange.update({"team", "staging"}),
        "digits-v1  in team  you may not read it there",
    ),
    "only a copy on the way may be read": (
        lambda api: (api.strange.add("team"), api.objects.append(scene.promoted(api.objects[0], "staging"))),
        "digits-v1  Ready  promoted  in staging",
    ),
    "it is gone, and another of its name is here": (
        lambda api: (api.objects.pop(0), api.objects.append(scene.version(number=1, namespace="prod", weights="o"))),
        "digits-v1  in team  is gone",
    ),
    "it has no weights on record": (
        lambda api: api.objects[0]["status"]["lineage"].pop("weights"),
        "digits-v1  in team  is another version now: it has no weights on record, and those were sha256:",
    ),
}


@pytest.mark.parametrize("case", PARENTS)
def test_the_parent_of_a_copy(capsys: pytest.CaptureFixture[str], case: str) -> None:
    change, words = PARENTS[case]
    api = FakeApi(*chain(), namespace="prod")
    change(api)
    ask(api, what="digits-v2")
    assert f"fine-tuned from {words}" in capsys.readouterr().out


def test_a_long_line_of_parents_is_not_followed_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    line = [scene.version(number=n, parent=f"digits-v{n - 1}" if n > 1 else None) for n in range(1, 41)]
    ask(FakeApi(*line), what="digits-v40")
    assert "fine-tuned from digits-v7  further back nothing is looked up" in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------- two versions


def test_what_changed(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    tracing.diff(api, None, "digits-v1", "digits-v2", False, DataOutput.TEXT)
    tracing.diff(api, None, "digits-v2", "digits-v3", False, DataOutput.TEXT)
    compare(capsys.readouterr().out.splitlines(), GOLDEN / "diff.txt")


def test_a_version_does_not_differ_from_itself(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    tracing.diff(api, None, "digits-v1", "digits-v1", False, DataOutput.JSON)
    assert all(d["same"] for d in json.loads(capsys.readouterr().out))


# ---------------------------------------------------------------------------------------------------- once more?


def with_code(api: FakeApi, content: str | None) -> FakeApi:
    """digits-v1 was trained with a ConfigMap of this content, which holds `print()` now."""
    version = next(o for o in api.objects if o["metadata"]["name"] == "digits-v1")
    then = config_map("digits-code", {"train.py": content or ""})
    version["status"]["lineage"]["code"]["configMap"]["digest"] = config_map_digest(then)
    return api


@pytest.mark.parametrize(
    ("change", "answer", "words"),
    [
        (lambda api: with_code(api, "print()"), "yes", "nobody has made it again yet"),
        (lambda api: with_code(api, "print(1)"), "no", "the ConfigMap digits-code holds"),
        (lambda api: with_code(api, "print()").objects.pop(), "no", "the ConfigMap digits-code is gone"),
        (lambda api: with_code(api, "print()").forbidden.add("configmaps"), "unknown", "may not get configmaps"),
    ],
    ids=["all is as it was", "the code changed", "the code is gone", "the code cannot be read"],
)
def test_whether_it_can_be_made_again(
    api: FakeApi, capsys: pytest.CaptureFixture[str], change: Any, answer: str, words: str
) -> None:
    change(api)
    tracing.reproducible(api, None, "digits-v1", DataOutput.JSON)
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["answer"] == answer
    assert words in json.dumps(verdict)
    tracing.reproducible(api, None, "digits-v1", DataOutput.TEXT)
    assert capsys.readouterr().out.startswith(f"{answer}  digits-v1: ")


BEGAN: dict[str, tuple[Any, str, str]] = {
    "it is there": (lambda api: None, "yes", "digits-v1 is Ready and has the weights sha256:"),
    "it is gone": (lambda api: api.objects.remove(api.objects[0]), "no", "fine-tuned from, is gone"),
    "it is archived": (
        lambda api: api.objects[0]["status"].update(phase="Archived", message="archived"),
        "no",
        "is Archived (archived)",
    ),
    "it may not be read": (
        lambda api: api.unreadable.add("digits-v1"),
        "unknown",
        "whether digits-v1 is still there to begin from is not known: anna may not get modelversions",
    ),
}


@pytest.mark.parametrize("case", BEGAN)
def test_what_it_began_from_is_needed_to_make_it_again(capsys: pytest.CaptureFixture[str], case: str) -> None:
    change, answer, words = BEGAN[case]
    api = FakeApi(scene.version(), scene.version(number=2, parent="digits-v1"), config_map("digits-code", {"t": "1"}))
    for version in api.objects[:2]:
        version["status"]["lineage"]["code"]["configMap"]["digest"] = config_map_digest(api.objects[2])
    change(api)
    tracing.reproducible(api, None, "digits-v2", DataOutput.JSON)
    verdict = json.loads(capsys.readouterr().out)
    (finding,) = [f for f in verdict["findings"] if f["what"] == "parent"]
    assert (verdict["answer"], finding["answer"]) == (answer, answer)
    assert words in finding["words"]
    if answer != "yes":
        assert words in verdict["words"]


def test_the_code_of_a_copy_is_not_gone(capsys: pytest.CaptureFixture[str]) -> None:
    api = FakeApi(scene.promoted(scene.version(), "prod"), namespace="prod")
    tracing.reproducible(api, None, "digits-v1", DataOutput.TEXT)
    told = capsys.readouterr().out
    assert told.startswith(
        "no  digits-v1: the ConfigMap digits-code that held the training code is in the namespace team"
    )
    assert "the ConfigMap digits-code is in the namespace team; it held sha256:" in told
    assert "gone" not in told
