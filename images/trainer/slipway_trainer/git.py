"""Code from a git repository: which commit a revision names, and that commit's files in a folder.

git runs with a home of its own, where the credentials lie as files that only this user reads: nothing secret stands in
an argument or in a variable of a process, and the only configuration is the one written here, so neither hooks nor
filters run. A repository's submodules and Git LFS files are refused, because what they name is not in the commit: the
code would not be what the lineage says.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from slipway.contract import GitKeys, GitSpec, git_env, is_ssh

from . import failures
from .failures import TrainerError
from .git_errors import explain, host_of

log = logging.getLogger(__name__)

PAUSES: Final = (1.0, 4.0)
"""Seconds before another try at what may pass by itself; then the Job's own back-off takes over."""
TIMEOUT: Final = 1800.0
"""Seconds that one git command may take; one that gets no byte for a minute ends earlier."""
_WHOLE_COMMIT: Final = re.compile("^([0-9a-f]{40}|[0-9a-f]{64})$")
_PART_OF_COMMIT: Final = re.compile("^[0-9a-f]{7,63}$")
_NEEDS_ALL: Final = re.compile("unadvertised object|dumb http transport|does not support shallow", re.IGNORECASE)
"""Servers of before git's protocol v2 do not give a commit by its name."""
_NO_SUCH_OBJECT: Final = re.compile(r"not our ref|upload-pack: not our|remote error:.*not found", re.IGNORECASE)
_INDIRECT: Final = re.compile(r"/\.{1,2}(/|$)|%(2e|2f|5c|25)|\\", re.IGNORECASE)
"""What curl or a server may take for another path than the one that is written."""
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_LFS_SIZE: Final = 1024
"""Bytes: what Git LFS puts in a file's place is never larger (git-lfs: docs/spec.md)."""
_PASSED_ON: Final = ("PATH", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_DIR")
_LIST_LIMIT: Final = 5


@dataclass(frozen=True)
class Credentials:
    """What the Secret of ``spec.code.git`` holds; empty where it has none."""

    url: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    ssh_key: str = field(default="", repr=False)
    known_hosts: str = ""
    authority: str = ""

    @staticmethod
    def from_env(env: Mapping[str, str]) -> Credentials:
        """From the variables that the pod has. Line ends that an editor or a shell left are no part of them."""

        def read(key: str) -> str:
            return env.get(git_env(key), "").strip()

        return Credentials(
            read(GitKeys.URL),
            read(GitKeys.USERNAME),
            env.get(git_env(GitKeys.PASSWORD), "").rstrip("\r\n"),
            read(GitKeys.SSH_KEY),
            read(GitKeys.KNOWN_HOSTS),
            read(GitKeys.AUTHORITY),
        )


class Repository:
    """A repository elsewhere, and what was fetched of it into a folder of this pod's.

    Every method may raise ``TrainerError``.
    """

    def __init__(
        self,
        code: GitSpec,
        credentials: Credentials,
        folder: Path,
        *,
        env: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._code = code
        self._folder = folder
        self._sleep = sleep
        self._fetched = folder / "repository.git"
        folder.mkdir(parents=True, exist_ok=True)
        self._env = self._prepare(credentials, env)

    def resolve(self) -> str:
        """What the revision names now: the name of a commit, or of a tag that leads to one."""
        revision, url = self._code.revision, self._code.url
        if _WHOLE_COMMIT.match(revision):
            return revision
        wanted = [revision] if revision.startswith("refs/") else [f"refs/tags/{revision}", f"refs/heads/{revision}"]
        found = self._references(*wanted)
        names = {found[ref] for ref in wanted if ref in found}
        if len(names) == 1:
            return names.pop()
        if names:
            raise TrainerError(
                failures.GIT_REVISION_NOT_FOUND,
                f"{revision!r} is a branch and a tag of {url}, at different commits: write "
                f"refs/heads/{revision} or refs/tags/{revision} in spec.code.git.revision",
            )
        raise self._no_such_revision()

    def checkout(self, name: str, into: Path) -> str:
        """Put the files of a commit into a folder, with nothing else in it; returns the commit's whole name."""
        commit = self._fetch(name)
        tree = self._tree(commit)
        files = self._files(tree, commit)
        for left in into.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        self._git("--work-tree", str(into), "read-tree", "--reset", "-u", tree)
        self._refuse_lfs(files, into, commit)
        log.info("code fetched url=%s commit=%s files=%d", self._code.url, commit, len(files))
        return commit

    # ------------------------------------------------------------------------------------------------- fetching

    def _references(self, *patterns: str) -> dict[str, str]:
        """What the other side's references name, tags by what they lead to."""
        listed = self._remote("ls-remote", "--quiet", "--", self._code.url, *patterns, *(f"{p}^{{}}" for p in patterns))
        pairs = [line.split("\t") for line in listed.splitlines() if "\t" in line]
        direct = {ref: name for name, ref in pairs if not ref.endswith("^{}")}
        return direct | {ref.removesuffix("^{}"): name for name, ref in pairs if ref.endswith("^{}")}

    def _fetch(self, name: str) -> str:
        shutil.rmtree(self._fetched, ignore_errors=True)
        kind = "sha256" if len(name) == 64 else "sha1"
        self._run(["git", "init", "--quiet", "--bare", f"--object-format={kind}", str(self._fetched)])
        options = ("fetch", "--quiet", "--no-tags", "--recurse-submodules=no")
        url = self._code.url
        try:
            self._remote(*options, "--depth=1", "--", url, name)
        except _GitError as error:
            if not _NEEDS_ALL.search(error.words):
                raise self._gone(name) if _NO_SUCH_OBJECT.search(error.words) else error.told from None
            log.info("the server gives no single commit, fetching all url=%s", url)
            everything = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
            if self._code.revision.startswith("refs/"):
                everything.append(f"+{self._code.revision}:refs/asked/for")
            self._remote(*options, "--", url, *everything)
        found = self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False).strip()
        if not found:
            raise self._gone(name)
        return found

    def _remote(self, *arguments: str) -> str:
        """A command that speaks to the other side, again where that may help."""
        for pause in (*PAUSES, None):
            try:
                return self._run(["git", *(("-C", str(self._fetched)) if arguments[0] == "fetch" else ()), *arguments])
            except _GitError as error:
                told = error.told
                if told.reason is failures.GIT_HOST_NOT_FOUND and not _is_unknown(host_of(self._code.url)[0]):
                    # curl says the same of a name that does not exist and of a DNS server that does not answer.
                    told = explain("temporary failure in name resolution", self._code)
                if (
                    not told.reason.again
                    or pause is None
                    or _NEEDS_ALL.search(error.words)
                    or _NO_SUCH_OBJECT.search(error.words)
                ):
                    raise _GitError(told, error.words) from None
                log.warning("git failed, trying again in %.0f s problem=%s", pause, told)
                self._sleep(pause)
        raise AssertionError("the last pause is None, so the loop returned or raised")

    # -------------------------------------------------------------------------------------------------- content

    def _tree(self, commit: str) -> str:
        path = self._code.path
        if path is None:
            return f"{commit}^{{tree}}"
        tree = f"{commit}:{path}"
        if self._git("cat-file", "-t", tree, check=False).strip() == "tree":
            return tree
        folders = self._git("ls-tree", "-d", "-r", "--name-only", commit).splitlines()
        close = difflib.get_close_matches(path, folders, _LIST_LIMIT, 0.3) or folders[:_LIST_LIMIT]
        has = f"it has {', '.join(close)}" if close else "it has no folders, so leave path out"
        raise TrainerError(
            failures.GIT_PATH_NOT_FOUND,
            f"the commit {commit[:12]} of {self._code.url} has no folder {path!r}: in a new run correct "
            f"spec.code.git.path ({has})",
        )

    def _files(self, tree: str, commit: str) -> list[str]:
        files, submodules = [], []
        for line in self._git("ls-tree", "-r", "-z", "--full-tree", tree).split("\0"):
            facts, _, path = line.partition("\t")
            if facts.startswith("160000 "):
                submodules.append(path)
            elif path:
                files.append(path)
        if submodules:
            raise TrainerError(
                failures.GIT_CONTENT_REFUSED,
                f"the commit {commit[:12]} of {self._code.url} has the submodule {_some(submodules)}, which is another "
                f"repository and not fetched: commit its files here, build them into spec.image, or leave it outside "
                f"of spec.code.git.path",
            )
        return files

    def _refuse_lfs(self, files: list[str], into: Path, commit: str) -> None:
        found = []
        for path in files:
            file = into / path
            if not file.is_symlink() and file.stat().st_size <= _LFS_SIZE and file.read_bytes().startswith(_LFS):
                found.append(path)
        if found:
            raise TrainerError(
                failures.GIT_CONTENT_REFUSED,
                f"in the commit {commit[:12]} of {self._code.url} the file {_some(found)} lies in Git LFS, which is "
                f"not fetched: keep data in the S3 place and name them in spec.data, commit the file itself, or leave "
                f"it outside of spec.code.git.path",
            )

    # --------------------------------------------------------------------------------------------------- errors

    def _no_such_revision(self) -> TrainerError:
        revision, url = self._code.revision, self._code.url
        known = [
            ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
            for ref in self._references("refs/heads/*", "refs/tags/*")
        ]
        if not known:
            return TrainerError(failures.GIT_REVISION_NOT_FOUND, f"the repository {url} is empty: push a commit to it")
        close = difflib.get_close_matches(revision, known, _LIST_LIMIT, 0.3) or known[:_LIST_LIMIT]
        whole = "; of a commit write all 40 digits" if _PART_OF_COMMIT.match(revision) else ""
        return TrainerError(
            failures.GIT_REVISION_NOT_FOUND,
            f"{url} has no branch and no tag {revision!r}: in a new run correct spec.code.git.revision (it has "
            f"{', '.join(close)}){whole}",
        )

    def _gone(self, name: str) -> TrainerError:
        url = self._code.url
        if name == self._code.revision:
            return TrainerError(
                failures.GIT_REVISION_NOT_FOUND,
                f"{url} has no commit {name}: in a new run correct spec.code.git.revision, or push the commit",
            )
        return TrainerError(
            failures.GIT_REVISION_NOT_FOUND,
            f"{url} has no commit {name} any more, which {self._code.revision!r} named when this run began: push it "
            f"again, or apply a new TrainingRun",
        )

    # ------------------------------------------------------------------------------------------------ processes

    def _git(self, *arguments: str, check: bool = True) -> str:
        """A command on what was fetched."""
        try:
            return self._run(["git", "--git-dir", str(self._fetched), *arguments])
        except _GitError:
            if check:
                raise
            return ""

    def _run(self, command: list[str]) -> str:
        try:
            done = subprocess.run(  # a fixed program; what users write are arguments after `--`
                command, env=self._env, cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True,
                timeout=TIMEOUT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            words = f"timed out after {TIMEOUT:.0f} s"
            raise _GitError(explain(words, self._code), words) from None
        if done.returncode:
            words = done.stderr.decode(errors="replace")
            raise _GitError(explain(words, self._code), words)
        return done.stdout.decode(errors="surrogateescape")

    def _prepare(self, credentials: Credentials, env: Mapping[str, str]) -> dict[str, str]:
        """Write git's home, and return the environment that leads there."""
        # Only what is written here counts: no hook, no filter, no helper of anybody else's.
        lines = ["[core]", "hooksPath = /dev/null", "[gc]", "auto = 0", "[maintenance]", "auto = false"]
        lines += ["[http]", "lowSpeedLimit = 1", "lowSpeedTime = 60"]
        if self._code.secret and not is_ssh(self._code.url):
            self._refuse_elsewhere(credentials.url)
        if credentials.authority:
            lines.append(f"sslCAInfo = {self._private('ca.crt', credentials.authority)}")
        url = urlsplit(self._code.url) if "://" in self._code.url else None
        if credentials.password and url is not None:
            user, word = quote(credentials.username or "git", safe=""), quote(credentials.password, safe="")
            entry = self._private("credentials", f"{url.scheme}://{user}:{word}@{url.netloc}")
            lines += ["[credential]", f'helper = "store --file={entry}"']
        made = {name: env[name] for name in _PASSED_ON if name in env}
        if is_ssh(self._code.url):
            made["GIT_SSH_COMMAND"] = self._ssh(credentials)
        return {
            **made,
            "HOME": str(self._folder),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self._private("config", "\n".join(lines))),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "http:https:ssh",
        }

    def _refuse_elsewhere(self, begins: str) -> None:
        """Credentials go to whom their Secret names, and not to whom a run does."""
        url = self._code.url
        if not _covers(begins, url):
            raise TrainerError(
                failures.GIT_ACCESS_DENIED,
                f"the Secret {self._code.secret} is not for {url}: in a new run correct spec.code.git.url (without "
                f"'..'), or, where user and password may be sent there, {GitKeys.URL} in the Secret (it is {begins!r})",
            )

    def _ssh(self, credentials: Credentials) -> str:
        host, _ = host_of(self._code.url)
        if not credentials.known_hosts:
            raise explain("host key verification failed", self._code)
        hosts = self._private(GitKeys.KNOWN_HOSTS, credentials.known_hosts)
        key = self._private("key", credentials.ssh_key.replace("\r\n", "\n"))
        checked = subprocess.run(
            ["ssh-keygen", "-y", "-P", "", "-f", str(key)], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if checked.returncode:
            locked = b"passphrase" in checked.stderr
            raise TrainerError(
                failures.GIT_ACCESS_DENIED,
                f"{GitKeys.SSH_KEY} of the Secret {self._code.secret} "
                + ("is locked by a passphrase, which nobody can type here" if locked else "is no private key of ssh")
                + f": put a key there that `ssh-keygen -t ed25519 -N ''` made, for {host}",
            )
        options = {
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "ConnectTimeout": "10",
            "ServerAliveInterval": "15",
            "LogLevel": "ERROR",
        }
        words = ["ssh", "-F", "/dev/null", "-i", str(key)]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        return shlex.join(words)

    def _private(self, name: str, text: str) -> Path:
        """A file that nobody else reads. ssh takes no key without a line end."""
        path = self._folder / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(f"{text}\n")
        return path


class _GitError(TrainerError):
    """A git command that failed, with its own words beside the sentence about them."""

    def __init__(self, told: TrainerError, words: str) -> None:
        super().__init__(told.reason, str(told))
        self.told = told
        self.words = words


def _covers(begins: str, url: str) -> bool:
    """Whether a repository lies where a Secret's ``url`` says.

    >>> _covers("https://git.example.com/team", "https://git.example.com/team/digits")
    True
    >>> _covers("https://git.example.com/team", "https://git.example.com/team/../other")
    False
    >>> _covers("https://", "https://git.example.com/team")
    False
    """
    allowed, asked = urlsplit(begins), urlsplit(url)
    if not allowed.netloc or (allowed.scheme, allowed.netloc.lower()) != (asked.scheme, asked.netloc.lower()):
        return False
    return not _INDIRECT.search(url) and f"{asked.path}/".startswith(allowed.path.rstrip("/") + "/")


def _is_unknown(host: str) -> bool:
    """Whether DNS says that there is no such name."""
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        return error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
    except UnicodeError:
        return True
    return False


def _some(paths: list[str]) -> str:
    more = len(paths) - 1
    return f"{paths[0]!r}" + (f" (and {more} more)" if more else "")
