"""Code by git, from real repositories through a real server on loopback."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from slipway.contract import GitKeys, GitSpec, dumps, git_env
from slipway_trainer import git as module
from slipway_trainer.checkout import fetch_code
from slipway_trainer.failures import TrainerError
from slipway_trainer.fake_store import MemoryStore
from slipway_trainer.git import Credentials, Repository
from slipway_trainer.git_errors import explain
from tests.support.builders import train_result
from tests.support.git_server import Origin, git, git_server
from tests.unit.trainer.helpers import PLACE, spec

ENV = {"PATH": os.environ["PATH"]}
FOLDER = "team/digits/runs/uid-1"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """main, v1 (a tag with words of its own) and feature, which each hold another train.py."""
    made = Origin.make(tmp_path_factory.mktemp("git") / "digits")
    made.commit({"train.py": "first", "models/digits/train.py": "below", "README.md": "words"})
    git(made.path, "tag", "--annotate", "--message", "the first", "v1")
    made.commit({"train.py": "second"})
    made.commit({"train.py": "feature", "weights.bin": LFS}, branch="feature")
    git(made.path, "checkout", "--quiet", "main")
    git(made.path, "tag", "twice", "v1^{}")
    git(made.path, "branch", "twice", "main")
    git(made.path, "config", "uploadpack.allowAnySHA1InWant", "true")
    return made


@pytest.fixture(scope="module")
def url(origin: Origin) -> Iterator[str]:
    with git_server(origin.path.parent) as address:
        yield f"{address}/digits"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    return tmp_path / "code"


def repository(asked: GitSpec, tmp_path: Path, credentials: Credentials | None = None) -> Repository:
    return Repository(asked, credentials or Credentials(), tmp_path / "git", env=ENV, sleep=lambda _: None)


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def refused(call: Callable[[], object]) -> tuple[str, str]:
    """The reason and the sentence."""
    with pytest.raises(TrainerError) as caught:
        call()
    return caught.value.reason.name, str(caught.value)


@pytest.mark.parametrize(
    ("revision", "train"),
    [("main", "second"), ("v1", "first"), ("refs/tags/v1", "first")],
)
def test_a_branch_a_tag_and_a_reference_name_a_commit(
    origin: Origin, url: str, tmp_path: Path, code: Path, revision: str, train: str
) -> None:
    (code / "left.py").write_text("of an earlier try")
    made = repository(GitSpec(url, revision), tmp_path)
    commit = made.checkout(made.resolve(), code)
    assert commit == git(origin.path, "rev-parse", f"{revision}^{{commit}}")
    assert files(code) == {"train.py": train, "models/digits/train.py": "below", "README.md": "words"}


def test_a_whole_commit_is_found_wherever_the_branches_are_and_a_path_is_all_there_is(
    origin: Origin, url: str, tmp_path: Path, code: Path
) -> None:
    commit = git(origin.path, "rev-parse", "v1^{commit}")
    made = repository(GitSpec(url, commit, path="models/digits"), tmp_path)
    assert made.checkout(made.resolve(), code) == commit
    assert files(code) == {"train.py": "below"}


def test_a_server_that_gives_no_single_commit_gives_all(url: str, origin: Origin, tmp_path: Path, code: Path) -> None:
    """As servers of before protocol v2 do."""

    class Old(Repository):
        def _run(self, command: list[str]) -> str:
            if "--depth=1" in command:
                words = "error: Server does not allow request for unadvertised object 1234"
                raise module._GitError(explain(words, GitSpec(url, "main")), words)
            return super()._run(command)

    made = Old(GitSpec(url, "main"), Credentials(), tmp_path / "git", env=ENV)
    first = git(origin.path, "rev-parse", "v1^{commit}")
    assert made.checkout(first, code) == first
    assert files(code)["train.py"] == "first"
    assert refused(lambda: made.checkout("0" * 40, code))[0] == "GitRevisionNotFound"


REFUSED: dict[str, tuple[Mapping[str, str], str, str]] = {
    "no such branch": ({"revision": "mian"}, "GitRevisionNotFound", "has no branch and no tag 'mian'"),
    "what there is instead": ({"revision": "mian"}, "GitRevisionNotFound", "(it has main"),
    "part of a commit": ({"revision": "abcdef1"}, "GitRevisionNotFound", "of a commit write all 40 digits"),
    "no such commit": (
        {"revision": "0" * 40},
        "GitRevisionNotFound",
        f"has no commit {'0' * 40}: in a new run correct",
    ),
    "a branch and a tag": ({"revision": "twice"}, "GitRevisionNotFound", "write refs/heads/twice or refs/tags/twice"),
    "no such folder": ({"path": "models/digit"}, "GitPathNotFound", "has no folder 'models/digit'"),
    "which folders there are": ({"path": "models/digit"}, "GitPathNotFound", "(it has models/digits"),
    "a file where a folder is asked": ({"path": "train.py"}, "GitPathNotFound", "has no folder 'train.py'"),
    "a file in Git LFS": ({"revision": "feature"}, "GitContentRefused", "the file 'weights.bin' lies in Git LFS"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_repository_does_not_have_is_told(url: str, tmp_path: Path, code: Path, case: str) -> None:
    changes, reason, words = REFUSED[case]
    made = repository(GitSpec(**{"url": url, "revision": "main", **changes}), tmp_path)
    told = refused(lambda: made.checkout(made.resolve(), code))
    assert told[0] == reason
    assert words in told[1]


def test_a_submodule_is_refused_and_a_path_without_it_is_not(tmp_path: Path, code: Path) -> None:
    origin = Origin.make(tmp_path / "served" / "parent")
    first = origin.commit({"ours/train.py": "here"})
    git(origin.path, "update-index", "--add", "--cacheinfo", f"160000,{first},theirs/lib")
    git(origin.path, "commit", "--quiet", "--message", "a submodule")
    with git_server(tmp_path / "served") as address:
        whole = repository(GitSpec(f"{address}/parent", "main"), tmp_path)
        reason, words = refused(lambda: whole.checkout(whole.resolve(), code))
        assert (reason, "has the submodule 'theirs/lib'" in words) == ("GitContentRefused", True)
        below = repository(GitSpec(f"{address}/parent", "main", path="ours"), tmp_path)
        below.checkout(below.resolve(), code)
    assert files(code) == {"train.py": "here"}


def test_an_empty_repository_and_one_that_is_not_there(tmp_path: Path) -> None:
    Origin.make(tmp_path / "served" / "empty")
    with git_server(tmp_path / "served") as address:
        empty = repository(GitSpec(f"{address}/empty", "main"), tmp_path)
        assert refused(empty.resolve) == (
            "GitRevisionNotFound", f"the repository {address}/empty is empty: push a commit to it",
        )  # fmt: skip
        absent = repository(GitSpec(f"{address}/absent", "main"), tmp_path)
        reason, words = refused(absent.resolve)
    assert reason == "GitRepositoryNotFound"
    assert f"there is no repository at {address}/absent" in words
    gone = repository(GitSpec(f"{address}/empty", "main"), tmp_path)
    assert refused(gone.resolve)[0] == "GitUnreachable"


def test_a_name_that_dns_does_not_know_is_final_and_a_dns_that_does_not_answer_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "fatal: unable to access 'http://nowhere.invalid/x/': Could not resolve host: nowhere.invalid"
    asked = GitSpec("http://nowhere.invalid/x", "main")
    made = repository(asked, tmp_path)

    def fails(command: list[str]) -> str:
        raise module._GitError(explain(words, asked), words)

    monkeypatch.setattr(made, "_run", fails)
    monkeypatch.setattr(module, "_is_unknown", lambda host: host == "nowhere.invalid")
    reason, sentence = refused(made.resolve)
    assert (reason, "there is no host nowhere.invalid" in sentence) == ("GitHostNotFound", True)
    monkeypatch.setattr(module, "_is_unknown", lambda host: False)
    assert refused(made.resolve)[0] == "GitUnreachable"


def test_credentials_are_used_and_seen_by_nobody_else(origin: Origin, tmp_path: Path, code: Path) -> None:
    asked = {"revision": "main", "secret": "digits-git"}
    commands: list[tuple[list[str], dict[str, str]]] = []

    class Watched(Repository):
        def _run(self, command: list[str]) -> str:
            commands.append((command, dict(self._env)))
            return super()._run(command)

    with git_server(origin.path.parent, user="anna:open sesame/ü%") as address:
        right = Watched(
            GitSpec(f"{address}/digits", **asked),
            Credentials(address, "anna", "open sesame/ü%"),
            tmp_path / "git",
            env=ENV,
        )
        right.checkout(right.resolve(), code)
        assert files(code)["train.py"] == "second"
        assert commands
        assert not [c for c in commands if "sesame" in repr(c)]
        entry = tmp_path / "git" / "credentials"
        assert stat.S_IMODE(entry.stat().st_mode) == 0o600
        wrong = repository(
            GitSpec(f"{address}/digits", **asked), tmp_path, Credentials(address, "anna", "close sesame")
        )
        assert refused(wrong.resolve) == (
            "GitAccessDenied",
            (
                f"the git server refuses username and password of the Secret digits-git for {address}/digits: "
                f"correct them, or give that user the right to read it"
            ),
        )
        none = repository(GitSpec(f"{address}/digits", "main"), tmp_path)
        reason, words = refused(none.resolve)
        assert (reason, "name it in spec.code.git.secret" in words) == ("GitAccessDenied", True)


@pytest.mark.parametrize(
    ("url", "begins", "sent"),
    [
        ("https://git.example.com/team/digits", "https://git.example.com", True),
        ("https://git.example.com/team/digits", "https://git.example.com/team/", True),
        ("https://git.example.com/team/digits", "https://git.example.com/tea", False),
        ("https://git.example.com.evil.example/team/digits", "https://git.example.com", False),
        ("http://git.example.com/team/digits", "https://git.example.com", False),
        ("https://git.example.com/team/digits", "", False),
        ("https://git.example.com/team/digits", "https://", False),
        ("https://git.example.com/team/../other/digits", "https://git.example.com/team", False),
        ("https://git.example.com/team/%2E%2e/other/digits", "https://git.example.com/team", False),
        ("https://git.example.com/team/..%2fother/digits", "https://git.example.com/team", False),
        ("https://git.example.com/team/v1..2", "https://git.example.com/team", True),
        ("https://git.example.com/My%20Team/digits", "https://git.example.com/My%20Team", True),
    ],
)
def test_credentials_go_nowhere_but_where_their_secret_says(tmp_path: Path, url: str, begins: str, sent: bool) -> None:
    asked, credentials = GitSpec(url, "main", secret="digits-git"), Credentials(begins, "anna", "open sesame")
    if sent:
        repository(asked, tmp_path, credentials)
        return
    reason, words = refused(lambda: repository(asked, tmp_path, credentials))
    assert reason == "GitAccessDenied"
    assert f"the Secret digits-git is not for {url}" in words
    assert not (tmp_path / "git" / "credentials").exists()


def test_an_authority_of_ones_own_vouches_for_a_server(origin: Origin, tmp_path: Path, code: Path) -> None:
    certificate, key_file = tmp_path / "own.crt", tmp_path / "own.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=git"
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key_file), "-out", str(certificate)]
    subprocess.run([*command.split(), *more], check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_text(certificate.read_text() + key_file.read_text())
    with git_server(origin.path.parent, certificate=both) as address:
        asked = GitSpec(f"{address}/digits", "main", secret="digits-git")
        reason, words = refused(repository(asked, tmp_path, Credentials(address)).resolve)
        assert (reason, "into ca.crt of a Secret" in words) == ("GitCertificateRefused", True)
        made = repository(asked, tmp_path, Credentials(address, authority=certificate.read_text()))
        made.checkout(made.resolve(), code)
    assert files(code)["train.py"] == "second"


def test_a_secret_is_read_without_the_line_ends_that_editors_leave() -> None:
    env = {git_env(GitKeys.USERNAME): "anna\n", git_env(GitKeys.PASSWORD): " pass word \r\n"}
    assert Credentials.from_env(env) == Credentials("", "anna", " pass word ")
    assert "pass word" not in repr(Credentials.from_env(env))


# -------------------------------------------------------------------------------------------------------------- ssh

SSH = GitSpec("ssh://git@git.example.com:2222/team/digits", "main", secret="digits-git")
SAID: dict[str, tuple[str, str, str]] = {
    "an unknown host key": (
        (
            "No ED25519 host key is known for git.example.com and you have requested strict checking.\n"
            "Host key verification failed.\nfatal: Could not read from remote repository."
        ),
        "GitHostKeyRefused",
        "`ssh-keyscan -p 2222 git.example.com`",
    ),
    "another host key": (
        "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
        "GitHostKeyRefused",
        "a key that known_hosts of the Secret digits-git does not name",
    ),
    "a key that the server does not take": (
        "git@git.example.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
        "GitAccessDenied",
        "does not take the key in ssh-privatekey of the Secret digits-git",
    ),
    "no such repository": (
        "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
        "GitRepositoryNotFound",
        "hides it from the credentials in the Secret digits-git",
    ),
    "nobody there": (
        "ssh: connect to host git.example.com port 2222: Connection refused\nfatal: Could not read from remote.",
        "GitUnreachable",
        "port 2222: Connection refused",
    ),
    "no such host": (
        "ssh: Could not resolve hostname git.example.com: Name or service not known",
        "GitHostNotFound",
        "there is no host git.example.com",
    ),
    "a certificate of nobody": (
        "fatal: unable to access 'https://x/': server certificate verification failed. CAfile: none CRLfile: none",
        "GitCertificateRefused",
        "into ca.crt of a Secret",
    ),
    "something new": ("fatal: the moon is full", "GitFailed", "fatal: the moon is full"),
}


@pytest.mark.parametrize("case", SAID)
def test_what_git_says_becomes_a_sentence(case: str) -> None:
    said, reason, words = SAID[case]
    told = explain(said, SSH)
    assert told.reason.name == reason
    assert words in str(told)


def key(folder: Path, passphrase: str = "") -> str:
    path = folder / f"key{len(passphrase)}"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)
    return path.read_text()


def test_an_ssh_key_is_looked_at_before_it_is_used(tmp_path: Path) -> None:
    hosts = "git.example.com ssh-ed25519 AAAA"

    def make(ssh_key: str, known_hosts: str = hosts) -> tuple[str, str]:
        return refused(lambda: repository(SSH, tmp_path, Credentials(ssh_key=ssh_key, known_hosts=known_hosts)))

    assert make("rubbish")[1].startswith("ssh-privatekey of the Secret digits-git is no private key of ssh")
    assert "is locked by a passphrase" in make(key(tmp_path, "12345"))[1]
    plain = key(tmp_path)
    assert make(plain, "")[0] == "GitHostKeyRefused"
    # As a Secret made on another system may hold it: its line ends, and none at the end.
    repository(SSH, tmp_path, Credentials(ssh_key=plain.strip().replace("\n", "\r\n"), known_hosts=hosts))
    assert stat.S_IMODE((tmp_path / "git" / "key").stat().st_mode) == 0o600


# --------------------------------------------------------------------------------------------------- the container


def test_every_attempt_takes_the_commit_of_the_first(tmp_path: Path) -> None:
    origin = Origin.make(tmp_path / "served" / "digits")
    first = origin.commit({"train.py": "first"})
    store = MemoryStore("models")

    def attempt(name: str) -> dict[str, str]:
        (tmp_path / name).mkdir()
        fetch_code(asked, PLACE, store, tmp_path / name, tmp_path / f"{name}-git", ENV)
        return files(tmp_path / name)

    with git_server(tmp_path / "served") as address:
        asked = spec(codeGit=GitSpec(f"{address}/digits", "main"))
        assert attempt("one") == {"train.py": "first"}
        pinned = json.loads(store.buckets["models"][f"{FOLDER}/code.json"])
        assert (pinned["commit"], pinned["revision"]) == (first, "main")
        origin.commit({"train.py": "second"})
        assert attempt("two") == {"train.py": "first"}
        # and where the branch has left it for good, the run says so instead of taking another
        git(origin.path, "checkout", "--quiet", "--orphan", "anew")
        origin.commit({"train.py": "third"})
        git(origin.path, "branch", "--force", "main", "anew")
        git(origin.path, "reflog", "expire", "--expire=now", "--all")
        git(origin.path, "gc", "--quiet", "--prune=now")
        reason, words = refused(lambda: attempt("three"))
        assert reason == "GitRevisionNotFound"
        assert f"has no commit {first} any more, which 'main' named when this run began" in words
        # A run that is done needs no code: its result is all that is asked for.
        store.write("models", f"{FOLDER}/result.json", dumps(train_result()).encode())
        assert attempt("four") == {}
