"""Code by git over ssh, from a real sshd."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from slipway.contract import GitSpec
from slipway_trainer.failures import TrainerError
from slipway_trainer.git import Credentials, Repository
from tests.support.git_server import Origin, open_folder
from tests.support.http_server import free_port
from tests.support.ssh_server import SshServer, ssh_server


@dataclass(frozen=True)
class Served:
    server: SshServer
    origin: Origin
    commit: str

    @property
    def right(self) -> Credentials:
        return Credentials(ssh_key=self.server.key, known_hosts=self.server.known_hosts)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with open_folder() as folder:
        (folder / "server").mkdir()
        origin = Origin.make(folder / "digits")
        commit = origin.commit({"train.py": "first"})
        with ssh_server(folder / "server", host="127.0.0.1", port=free_port()) as server:
            yield Served(server, origin, commit)


def repository(served: Served, tmp_path: Path, credentials: Credentials, path: Path | None = None) -> Repository:
    asked = GitSpec(served.server.url(path or served.origin.path), "main", secret="digits-git")
    return Repository(asked, credentials, tmp_path / "git", env={"PATH": os.environ["PATH"]}, sleep=lambda _: None)


def refused(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(TrainerError) as caught:
        call()
    return caught.value.reason.name, str(caught.value)


def test_the_files_of_a_branch_come_by_ssh(served: Served, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    made = repository(served, tmp_path, served.right)
    assert made.checkout(made.resolve(), tmp_path / "code") == served.commit
    assert (tmp_path / "code" / "train.py").read_text() == "first"


def test_a_host_that_known_hosts_does_not_name_gets_no_key(served: Served, tmp_path: Path) -> None:
    other = f"git.example.com {served.server.known_hosts.split(' ', 1)[1]}"
    made = repository(served, tmp_path, replace(served.right, known_hosts=other))
    reason, words = refused(made.resolve)
    assert reason == "GitHostKeyRefused"
    assert f"`ssh-keyscan -p {served.server.port} 127.0.0.1`" in words


def test_a_host_with_another_key_than_known_hosts_names_gets_none(served: Served, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    name, _ = served.server.known_hosts.split(" ", 1)
    changed = f"{name} {(tmp_path / 'other.pub').read_text()}"
    made = repository(served, tmp_path, replace(served.right, known_hosts=changed))
    assert refused(made.resolve)[0] == "GitHostKeyRefused"


def test_a_key_that_the_server_does_not_take(served: Served, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    made = repository(served, tmp_path, replace(served.right, ssh_key=(tmp_path / "other").read_text()))
    reason, words = refused(made.resolve)
    assert reason == "GitAccessDenied"
    assert "does not take the key in ssh-privatekey of the Secret digits-git" in words


def test_a_repository_that_is_not_there(served: Served, tmp_path: Path) -> None:
    made = repository(served, tmp_path, served.right, served.origin.path.with_name("absent"))
    assert refused(made.resolve)[0] == "GitRepositoryNotFound"
