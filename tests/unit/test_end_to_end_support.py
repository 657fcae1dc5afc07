"""What the end-to-end tests rest on, where it can be wrong without a cluster: a check that always holds is none."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from tests.support import e2e, gate, staying
from tests.support.evidence import Watch, within_its_share
from tests.support.gate import Lives, Write, told
from tests.support.load import Answer, Load, Report

V1, V2 = "digits-v1", "digits-v2"


# ------------------------------------------------------------------------------------------------- who is killed


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the processes that were killed; 13 has just ended by itself."""
    found: list[int] = []

    def kill(pid: int, number: int) -> None:
        assert number == signal.SIGKILL
        if pid == 13:
            raise ProcessLookupError
        found.append(pid)

    monkeypatch.setattr(os, "kill", kill)
    return found


def operator(monkeypatch: pytest.MonkeyPatch, *processes: tuple[int, str, str]) -> e2e.OperatorProcesses:
    """The operator's one pod is that of uid ``ours``, and these processes run: number, pod, command."""
    made = [e2e.Process(pid, f"/kubepods/pod{pod}/x", command) for pid, pod, command in processes]
    monkeypatch.setattr(e2e, "_processes", lambda: iter(made))
    pods = [{"metadata": {"uid": "ours"}}]
    return e2e.OperatorProcesses(cast("e2e.World", SimpleNamespace(api=SimpleNamespace(list=lambda *_: pods))))


def test_the_sandbox_of_a_pod_is_nobody_who_was_killed(monkeypatch: pytest.MonkeyPatch, killed: list[int]) -> None:
    assert operator(monkeypatch, (11, "ours", "/pause")).kill() == 0
    assert killed == []


def test_only_who_was_there_was_killed(monkeypatch: pytest.MonkeyPatch, killed: list[int]) -> None:
    run = "python -m slipway"
    processes = ((11, "ours", "/pause"), (12, "ours", run), (13, "ours", run), (14, "others", run))
    assert operator(monkeypatch, *processes).kill() == 1
    assert killed == [12]


def test_another_cluster_is_no_quiet_one(monkeypatch: pytest.MonkeyPatch, killed: list[int]) -> None:
    with pytest.raises(AssertionError, match="is the cluster the local one"):
        operator(monkeypatch, (14, "others", "python -m slipway")).kill()
    assert killed == []


# --------------------------------------------------------------------------------------------------- the gate


def write(life: str, kind: str = "Service", name: str = "digits-digits-v2", **more: Any) -> Write:
    return Write(life, "UPDATE", kind, name, more)


def test_each_life_has_one_write_and_dies_at_the_second() -> None:
    died: list[str] = []
    lives = Lives(lambda: died.append("x"))
    asked = [("a", True), ("a", False), ("a", False), ("b", True), ("b", False), ("c", True)]
    assert [lives.lets_through(write(life)) for life, _ in asked] == [answer for _, answer in asked]
    assert len(died) == 2, "a request of a life that is over is no reason to kill the next one"
    assert [each.life for each in lives.written] == ["a", "b", "c"]
    assert [each.life for each in lives.ended] == ["a", "b"]


def test_without_a_kill_everything_is_let_through() -> None:
    lives = Lives()
    assert all(lives.lets_through(write("a")) for _ in range(5))
    assert (len(lives.written), lives.ended) == (5, [])


def test_whose_life_is_not_known_is_no_life() -> None:
    with pytest.raises(AssertionError, match="does not say which pod wants UPDATE Service digits-digits-v2"):
        Lives().lets_through(write(""))


REQUEST: dict[str, Any] = {
    "uid": "7",
    "operation": "DELETE",
    "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
    "name": "digits-digits-v1",
    "oldObject": {"spec": {"replicas": 1}},
    "userInfo": {"username": "operator", "extra": {"authentication.kubernetes.io/pod-uid": ["life"]}},
}


def test_the_api_server_is_answered_in_its_own_words() -> None:
    seen: list[Write] = []

    def judge(request: Any) -> bool:
        seen.append(Write.of(request))
        return False

    server = gate.serve(judge, socket.create_server(("127.0.0.1", 0)))
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        answer = httpx.post(url, json={"request": REQUEST}, trust_env=False).json()
    finally:
        server.shutdown()
        server.server_close()
    assert answer["response"] == {"uid": "7", "allowed": False}
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert seen == [Write("life", "DELETE", "Deployment.apps", "digits-digits-v1", {"spec": {"replicas": 1}})]


def route(**shares: int) -> dict[str, Any]:
    backends = [{"name": f"digits-digits-{version}", "weight": share} for version, share in shares.items()]
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "digits-digits-v2"}}}
    return {"spec": {"rules": [{"backendRefs": backends, "filters": [mirror]}]}}


def test_a_write_is_told_by_what_the_versions_are_and_not_by_their_names() -> None:
    there, back = {V1: "stable", V2: "candidate"}, {V2: "stable", V1: "candidate"}
    kind = "HTTPRoute.gateway.networking.k8s.io"
    forth = told(Write("a", "UPDATE", kind, "digits", route(v1=80, v2=20)), there)
    assert forth == f"UPDATE {kind} digits: copies for digits-candidate, digits-candidate 20, digits-stable 80"
    other = route(v1=20, v2=80)
    other["spec"]["rules"][0]["filters"][0]["requestMirror"]["backendRef"]["name"] = "digits-digits-v1"
    assert told(Write("b", "UPDATE", kind, "digits", other), back) == forth
    job = Write("a", "CREATE", "Job.batch", "digits-digits-v2-test-1767323045", {})
    assert told(job, there) == "CREATE Job.batch digits-candidate-test"
    workload = Write("a", "CREATE", "Deployment.apps", "digits-digits-v2", {"spec": {"replicas": 2}})
    assert told(workload, there) == "CREATE Deployment.apps digits-candidate: 2 replicas"


def test_of_a_status_only_what_was_decided_is_told() -> None:
    status = {"phase": "Progressing", "stable": {"modelVersion": V1}, "candidate": {"modelVersion": V2}}

    def said(**more: Any) -> str | None:
        made = {"status": {**status, **more}}
        return told(Write("a", "UPDATE", "Deployment.slipway.dev/status", "digits", made), {V1: "stable", V2: "new"})

    assert said() == said(looked={"at": "later"})
    assert said() != said(step={"index": 1})
    assert said() != said(retiring=[{"modelVersion": V1}])
    assert str(said()).endswith("Progressing, step none, stable serves, new is on its way, nobody retires")
    assert told(write("a", "Event.events.k8s.io"), {}) is None
    assert told(write("a", "ModelVersion.slipway.dev/status"), {}) is None


# ---------------------------------------------------------------------------------------------------- the load


def answers(*told: tuple[float, int, str]) -> Report:
    """A report of (when, client, version), each answered after 0.1 s."""
    return Report(tuple(Answer(at, 0.1, "fresh", version, None, client=client) for at, client, version in told), 10.0)


BEFORE, AFTER = staying.Rest(0, 10), staying.Rest(20, 30)


def test_whoever_moves_is_told_with_both_versions() -> None:
    report = answers((1, 0, "1"), (1, 1, "1"), (15, 0, "1"), (16, 0, "2"), (16, 1, "1"), (21, 0, "2"), (21, 1, "1"))
    assert staying.versions(report, BEFORE) == {0: "1", 1: "1"}
    assert staying.movers(report, BEFORE, AFTER) == {0: ("1", "2")}


def test_a_client_that_saw_two_versions_at_rest_did_not_stay() -> None:
    with pytest.raises(AssertionError, match=r"the client 3 had answers of \['1', '2'\]"):
        staying.versions(answers((1, 3, "1"), (2, 3, "2"), (3, 3, "1")), BEFORE)


def test_a_client_that_comes_back_on_the_way_did_not_stay() -> None:
    with pytest.raises(AssertionError, match="the client 0 stays with 1, but on the way"):
        staying.movers(answers((1, 0, "1"), (15, 0, "2"), (21, 0, "1")), BEFORE, AFTER)


def test_an_answer_that_came_after_the_rest_says_nothing_about_it() -> None:
    assert staying.versions(answers((1, 0, "1"), (9.95, 0, "2")), BEFORE) == {0: "1"}


@contextmanager
def echo(failing: Callable[[str], bool] = lambda _: False) -> Iterator[str]:
    """A service that answers with the header ``x-user`` as its version, and 503 to whom it does not like."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            user = self.headers.get("x-user", "nobody")
            body = json.dumps({"model_version": user, "outputs": []}).encode()
            self.send_response(503 if failing(user) else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def ask(url: str, clients: Sequence[dict[str, str]]) -> Load:
    load = Load(url, "a.example.com", {}, clients=clients, rate=50, max_seconds=0.5)
    with load:
        load._thread.join(20)
    return load


def test_each_client_asks_in_its_own_name() -> None:
    with echo() as url:
        report = ask(url, [{"x-user": f"person-{n}"} for n in range(3)]).report()
    assert {c: {a.version for a in found} for c, found in report.by_client().items()} == {
        n: {f"person-{n}"} for n in range(3)
    }
    assert len(report.answers) == 50, "the last requests count too"


def test_one_failed_request_is_a_failed_load() -> None:
    with echo(lambda user: user == "person-2") as url:
        load = ask(url, [{"x-user": f"person-{n}"} for n in range(3)])
    with pytest.raises(AssertionError, match="requests were lost"):
        load.check(at_least=0)


def within(bad: Sequence[float], weights: list[tuple[float, int, int]]) -> None:
    """100 requests a second for 10 s, the bad ones at these times."""
    every = [Answer(n / 100, 0.01, "fresh", "1", None) for n in range(1000)]
    every += [Answer(at, 0.01, "fresh", None, "status 422") for at in bad]
    report = SimpleNamespace(
        report=lambda since=0.0, until=1e9: Report(tuple(a for a in every if since <= a.at <= until), 10.0)
    )
    watch = Watch(cast("e2e.Tenant", None), "digits", V1, V2, weights=weights)
    within_its_share(cast("Load", report), watch, share=20)


def test_bad_answers_belong_to_the_candidates_share_and_time() -> None:
    weights = [(0.0, 0, 0), (3.0, 20, 0), (6.0, 0, 0)]
    within([3 + n / 100 for n in range(80)], weights)
    with pytest.raises(AssertionError, match="1 bad answers outside the rollout"):
        within([9.0], weights)
    with pytest.raises(AssertionError, match="300 bad answers of"):
        within([3 + n / 100 for n in range(300)], weights)
