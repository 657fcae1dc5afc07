"""Code by git on the running cluster, from real servers on the node: http with a password, and sshd with a key.

Both run on the node, beside the kubelet: pods reach them by the node's address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from slipway.kube.objects import MODEL_VERSIONS, PODS, TRAINING_RUNS
from tests.support import node
from tests.support.api_server import Object, eventually
from tests.support.e2e import EXAMPLES, IS_TRUE, Tenant, World, condition
from tests.support.git_server import Origin, open_folder
from tests.support.http_server import free_port
from tests.support.ssh_server import SshServer, ssh_server

TOKEN = "an-access-token"
TRAIN = (EXAMPLES / "quickstart" / "train.py").read_text()
SPY = """
import os, pathlib
from train import train as real

def train(context):
    processes = [p / name for p in pathlib.Path("/proc").glob("[0-9]*") for name in ("environ", "cmdline")]
    files = [p for p in pathlib.Path("/slipway").rglob("*") if p.is_file() and p.stat().st_size < 100_000]
    assert len(processes) >= 2 and files
    for path in [*processes, *files]:
        if os.access(path, os.R_OK) and path.name != "spy.py":
            seen = path.read_text(errors="replace")
            assert "SLIPWAY_GIT_" not in seen and "an-access-token" not in seen, f"credentials are in reach: {path}"
    assert not pathlib.Path("/slipway/git").exists()
    return real(context)
"""
FAILS_ONCE = """
from train import train as real

def train(context):
    if context.restore() is None:
        context.checkpoint({"was": "here"})
        raise RuntimeError("not yet")
    context.restore = lambda: None
    return real(context)
"""


@dataclass(frozen=True)
class Servers:
    """The two servers, and the one repository that both give out."""

    http: str
    ssh: SshServer
    origin: Origin

    @property
    def by_http(self) -> dict[str, Any]:
        return {"url": f"{self.http}/digits", "revision": "main", "path": "training", "secret": "digits-git"}

    @property
    def by_ssh(self) -> dict[str, Any]:
        return {**self.by_http, "url": self.ssh.url(self.origin.path), "secret": "digits-ssh"}


@pytest.fixture(scope="module")
def servers(world: World) -> Iterator[Servers]:
    """A repository with the quickstart's code, given out on the node."""
    with open_folder() as folder:
        (folder / "served").mkdir()
        (folder / "sshd").mkdir()
        origin = Origin.make(folder / "served" / "digits")
        origin.commit(
            {
                "training/train.py": TRAIN,
                "training/spy.py": SPY,
                "training/fit.py": (EXAMPLES / "command" / "fit.py").read_text(),
                "README.md": "words",
            }
        )
        with (
            node.git_over_http(world, folder / "served", user=f"anna:{TOKEN}") as http,
            ssh_server(folder / "sshd", host=node.address(world), port=free_port(), prefix=node.enter(world)) as ssh,
        ):
            yield Servers(http, ssh, origin)


def give_secrets(tenant: Tenant, servers: Servers) -> None:
    """The example's Secret for this server, one that is wrong, and the ssh server's."""
    (secret,) = tenant.example("git/secret.yaml")
    secret["stringData"]["url"] = servers.http
    tenant.api.create(secret)
    wrong = {**secret, "metadata": {**secret["metadata"], "name": "wrong"}}
    tenant.api.create({**wrong, "stringData": {**secret["stringData"], "password": "another"}})
    ssh = {"ssh-privatekey": servers.ssh.key, "known_hosts": servers.ssh.known_hosts}
    for name, holds in (
        ("digits-ssh", ssh),
        ("unknown-host", {**ssh, "known_hosts": "git.example.com ssh-ed25519 AAAA\n"}),
        ("half", {"username": "anna", "password": TOKEN}),
    ):
        meta = {"name": name, "namespace": tenant.name}
        tenant.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": holds})


def give(tenant: Tenant, name: str, git: Mapping[str, Any], **spec: Any) -> None:
    """The example's run, with another repository."""
    (run,) = tenant.example("git/run.yaml", **{"code": {"git": dict(git)}, **spec})
    run["metadata"]["name"] = name
    run["spec"] = {key: value for key, value in run["spec"].items() if value is not None}
    tenant.api.create(run)


def git_lineage(tenant: Tenant, run: str) -> Mapping[str, Any]:
    """``code.git`` of the version that a run made."""
    version = tenant.trained(run)["status"]["modelVersion"]
    made = tenant.until(MODEL_VERSIONS, version, lambda o: "lineage" in o.get("status", {}), what="its lineage")
    found: Mapping[str, Any] = made["status"]["lineage"]["code"]["git"]
    return found


def test_code_comes_by_http_and_by_ssh_and_its_credentials_reach_nobody(
    world: World, tenant: Tenant, servers: Servers
) -> None:
    world.digits()
    give_secrets(tenant, servers)
    commit = servers.origin.head("main")
    give(tenant, "by-http", servers.by_http, entrypoint="spy:train")
    give(tenant, "by-ssh", {**servers.by_ssh, "revision": commit}, model="ssh")
    give(
        tenant,
        "by-program",
        servers.by_ssh,
        model="linear",
        entrypoint=None,
        command=["python3", "fit.py"],
        parameters={"ridge": "1.0"},
    )
    assert git_lineage(tenant, "by-http") == {
        "url": servers.by_http["url"],
        "revision": "main",
        "commit": commit,
        "path": "training",
    }
    assert git_lineage(tenant, "by-ssh")["commit"] == commit
    assert git_lineage(tenant, "by-program")["commit"] == commit
    logs = world.run("kubectl", "logs", "--namespace", tenant.name, "--selector", "slipway.dev/role=train",
                     "--all-containers", "--prefix", "--tail=-1")  # fmt: skip
    assert "code fetched" in logs
    assert TOKEN not in logs
    for pod in tenant.pods(role="train"):
        assert TOKEN not in str(pod)
        (trainer,) = pod["spec"]["containers"]
        assert not [e for e in trainer["env"] if e["name"].startswith("SLIPWAY_GIT_")]


def test_a_later_attempt_takes_the_commit_of_the_first(world: World, tenant: Tenant, servers: Servers) -> None:
    world.digits()
    give_secrets(tenant, servers)
    first = servers.origin.commit({"training/once.py": FAILS_ONCE}, branch="moving")
    give(tenant, "moving", {**servers.by_http, "revision": "moving"}, entrypoint="once:train")
    tenant.until(
        TRAINING_RUNS, "moving", lambda o: "not yet" in o.get("status", {}).get("message", ""), what="failed once"
    )
    second = servers.origin.commit({"training/once.py": "raise SystemExit('the branch moved on')"}, branch="moving")
    assert second != first
    assert git_lineage(tenant, "moving")["commit"] == first
    assert tenant.get(TRAINING_RUNS, "moving")["status"]["attempts"] == 2


@dataclass(frozen=True)
class Mistake:
    git: Callable[[Servers], Mapping[str, Any]]
    reason: str
    words: tuple[str, ...]


MISTAKES: dict[str, Mistake] = {
    "a branch that does not exist": Mistake(
        lambda s: {**s.by_http, "revision": "mian"}, "GitRevisionNotFound", ("'mian'", "it has main")
    ),
    "a folder that does not exist": Mistake(
        lambda s: {**s.by_http, "path": "trainings"}, "GitPathNotFound", ("'trainings'", "it has training")
    ),
    "a repository that does not exist": Mistake(
        lambda s: {**s.by_http, "url": f"{s.http}/absent"}, "GitRepositoryNotFound", ("/absent",)
    ),
    "a host that does not exist": Mistake(
        lambda s: {"url": "http://no-such-git.slipway-s3.svc.cluster.local/x", "revision": "main"},
        "GitHostNotFound",
        ("there is no host no-such-git",),
    ),
    "a password that is wrong": Mistake(
        lambda s: {**s.by_http, "secret": "wrong"}, "GitAccessDenied", ("username and password of the Secret wrong",)
    ),
    "no credentials": Mistake(
        lambda s: {"url": s.by_http["url"], "revision": "main"}, "GitAccessDenied", ("spec.code.git.secret",)
    ),
    "credentials of another server": Mistake(
        lambda s: {**s.by_http, "url": "http://git.example.com/digits"}, "GitAccessDenied", ("is not for http://git",)
    ),
    "a Secret that does not exist": Mistake(
        lambda s: {**s.by_http, "secret": "nobody"}, "ConfigMissing", ("nobody", "username, password and url")
    ),
    "a Secret that was not made for git": Mistake(
        lambda s: {**s.by_http, "secret": "half"}, "ConfigMissing", ("half", "username, password and url")
    ),
    "an ssh server of unknown key": Mistake(
        lambda s: {**s.by_ssh, "secret": "unknown-host"}, "GitHostKeyRefused", ("ssh-keyscan -p",)
    ),
}


def test_mistakes_are_told_in_sentences(tenant: Tenant, servers: Servers) -> None:
    give_secrets(tenant, servers)
    for number, mistake in enumerate(MISTAKES.values()):
        give(tenant, f"mistake-{number}", mistake.git(servers), data=[], resources={"cpu": "50m", "memory": "256Mi"})

    def told(mistake: Mistake) -> Callable[[Object], bool]:
        def holds(obj: Object) -> bool:
            stalled = condition(obj, "Stalled")
            return bool(stalled["status"] == IS_TRUE and stalled["reason"] == mistake.reason)

        return holds

    for number, (sentence, mistake) in enumerate(MISTAKES.items()):
        run = tenant.until(TRAINING_RUNS, f"mistake-{number}", told(mistake), what=sentence)
        message = run["status"]["message"]
        assert all(word in message for word in mistake.words), f"{sentence}: {message}"
        assert "Traceback" not in message
        assert TOKEN not in message
        if mistake.reason.startswith("Git"):
            assert run["status"]["attempts"] == 1, sentence
    # and `kubectl slipway logs` finds it where it was written: no training code has run
    number = list(MISTAKES).index("a branch that does not exist")
    written = tenant.world.run("kubectl", "slipway", "logs", f"mistake-{number}", "--namespace", tenant.name)
    assert "'mian'" in written
    assert TOKEN not in written
    # A Secret that comes later lets the run go on by itself.
    (secret,) = tenant.example("git/secret.yaml")
    secret["metadata"]["name"], secret["stringData"]["url"] = "nobody", servers.http
    tenant.api.create(secret)
    number = list(MISTAKES).index("a Secret that does not exist")
    labels = f"slipway.dev/training-run=mistake-{number}"

    def began() -> bool:
        return any(
            s.get("state", {}).get("terminated", {}).get("exitCode") == 0
            for p in tenant.api.list(PODS, tenant.name, labels)
            for s in p["status"].get("initContainerStatuses", ())
        )

    eventually(began, seconds=120, interval=1, what="the code being fetched", show=tenant.explain)
