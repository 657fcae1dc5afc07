"""What git says when it fails, as a reason and a sentence that says what to write instead.

git's own words are the only thing that tells one failure from another; they are those of the C locale.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from slipway.contract import GitKeys, GitSpec, is_ssh

from . import failures
from .failures import Reason, TrainerError

LAST_WORDS: Final = 400
"""Characters of git's own words in a sentence about a failure that is not known."""


@dataclass(frozen=True)
class _Known:
    words: re.Pattern[str]
    reason: Reason
    sentence: str


def _known(words: str, reason: Reason, sentence: str) -> _Known:
    return _Known(re.compile(words, re.IGNORECASE), reason, sentence)


_KNOWN: Final = (
    _known(
        "temporary failure in name resolution",
        failures.GIT_UNREACHABLE,
        "the name {host} in spec.code.git.url cannot be looked up now: see whether the cluster's DNS is well",
    ),
    _known(
        "could not resolve host",
        failures.GIT_HOST_NOT_FOUND,
        "there is no host {host}: in a new run correct spec.code.git.url ({url})",
    ),
    _known(
        "host key verification failed|host key is known|host identification has changed",
        failures.GIT_HOST_KEY_REFUSED,
        (
            "the ssh server at {host} shows a key that {known_hosts} of the Secret {secret} does not name: put there "
            "what `ssh-keyscan {scan}` prints, once you know that it is the server's own"
        ),
    ),
    _known(
        r"permission denied \(|too many authentication failures",
        failures.GIT_ACCESS_DENIED,
        (
            "the ssh server at {host} does not take the key in {ssh_key} of the Secret {secret}: give its public half "
            "the right to read {url} (a deploy key), or put another key there"
        ),
    ),
    _known(
        "authentication failed for|could not read (username|password)|returned error: 40[13]",
        failures.GIT_ACCESS_DENIED,
        "{asks}",
    ),
    _known(
        "certificate",
        failures.GIT_CERTIFICATE_REFUSED,
        (
            "no certificate authority that is known vouches for the server at {host}: put the certificate of its "
            "authority, in PEM, into {authority} of a Secret that spec.code.git.secret names"
        ),
    ),
    _known(
        (
            "repository .*not found|not found: did you run|does not appear to be a git repository|not a git repository|"
            "is this a git repository|returned error: 404|could not be found|no such file or directory"
        ),
        failures.GIT_REPOSITORY_NOT_FOUND,
        (
            "there is no repository at {url}, or its server hides it from {who}: in a new run correct "
            "spec.code.git.url, or give {right} the right to read it"
        ),
    ),
    _known(
        (
            "failed to connect|couldn't connect|connection (refused|timed out|reset|closed)|timed out|no route to host|"
            "network is unreachable|disconnect|early eof|rpc failed|empty reply|returned error: (429|5[0-9][0-9])|"
            "bytes/sec transferred|hung up"
        ),
        failures.GIT_UNREACHABLE,
        (
            "the git server at {host} does not answer as it should ({words}): see whether it is well and whether pods "
            "of this namespace may reach it, or in a new run correct spec.code.git.url"
        ),
    ),
    _known(
        "no space left on device|disk quota exceeded",
        failures.DISK_FULL,
        (
            "the repository {url} does not fit the pod's scratch volume: name a smaller one, or run it on a node with "
            "more ephemeral storage"
        ),
    ),
)


def explain(words: str, code: GitSpec) -> TrainerError:
    """The error for what git wrote.

    >>> explain("fatal: Could not resolve host: a", GitSpec("http://a/b", "main")).reason.name
    'GitHostNotFound'
    """
    host, port = host_of(code.url)
    facts = {
        "url": code.url,
        "host": host,
        "scan": f"-p {port} {host}" if port else host,
        "secret": code.secret or "",
        "known_hosts": GitKeys.KNOWN_HOSTS,
        "ssh_key": GitKeys.SSH_KEY,
        "authority": GitKeys.AUTHORITY,
        "words": _short(words),
        "asks": _asks(code),
        "who": f"the credentials in the Secret {code.secret}" if code.secret else "who shows no credentials",
        "right": "them" if code.secret else "the run a Secret (spec.code.git.secret) that has",
    }
    for known in _KNOWN:
        if known.words.search(words):
            return TrainerError(known.reason, known.sentence.format(**facts))
    return TrainerError(failures.GIT_FAILED, f"git cannot fetch {code.url}: {_short(words)}")


def host_of(url: str) -> tuple[str, int | None]:
    """Host and port of a repository's address; the port only where it is written.

    >>> host_of("git@example.com:team/digits.git"), host_of("ssh://git@example.com:2222/digits")
    (('example.com', None), ('example.com', 2222))
    """
    if "://" in url:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port
    return url.partition(":")[0].rpartition("@")[2], None


def _asks(code: GitSpec) -> str:
    if is_ssh(code.url):
        return f"the ssh server refuses the Secret {code.secret}: correct it"
    if code.secret is None:
        return (
            f"the git server asks who wants to read {code.url}: put {GitKeys.USERNAME} and {GitKeys.PASSWORD} (or an "
            f"access token) into a Secret and name it in spec.code.git.secret; where there is no such repository, many "
            f"servers ask the same"
        )
    return (
        f"the git server refuses {GitKeys.USERNAME} and {GitKeys.PASSWORD} of the Secret {code.secret} for {code.url}: "
        f"correct them, or give that user the right to read it"
    )


def _short(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    told = "; ".join(line for line in lines if not line.startswith(("Please make sure", "and the repository exists")))
    return told[-LAST_WORDS:] or "it says nothing"
