"""The program of the container that fetches the training code by git, before the one that trains.

It is a container of its own because of the credentials: they are given to this one, which runs no code of the user's,
and are gone with it. The commit is recorded in the run's folder before anything trains, so that every later attempt
takes the same one, wherever the branch has moved.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from slipway.contract import EXIT_OK, GIT_DIR, ContractError, Env, GitKeys, StoreKeys, TrainSpec, git_env, loads

from . import failures, publish
from .failures import TrainerError
from .git import Credentials, Repository
from .interrupt import on_sigterm
from .logs import log_to_stdout
from .paths import Paths
from .report import Outcome
from .store import Place, S3Store, Store, place_from_env

log = logging.getLogger(__name__)


def main() -> int:
    """Fetch the code that the environment describes; returns the exit status."""
    log_to_stdout()
    env = dict(os.environ)
    secrets = [git_env(GitKeys.PASSWORD), git_env(GitKeys.SSH_KEY)]
    last = StoreKeys.SECRET_KEY.upper()
    outcome = Outcome(
        Paths().termination, [value for name, value in env.items() if name in secrets or name.endswith(last)]
    )
    for name in [name for name in os.environ if name.startswith(("SLIPWAY_STORE_", Env.GIT))]:
        del os.environ[name]  # git and what it starts have no use for them
    on_sigterm(lambda: outcome.fail(TrainerError(failures.INTERRUPTED, "the pod was told to stop (SIGTERM)")))
    try:
        spec = loads(TrainSpec, env.get(Env.SPEC, ""))
        place = place_from_env(spec.outputStore, env)
        fetch_code(spec, place, S3Store(place), Paths().code, Path(GIT_DIR), env)
    except ContractError as error:
        return outcome.fail(TrainerError(failures.SPEC_INVALID, f"the trainer cannot read what is asked ({error})"))
    except TrainerError as error:
        return outcome.fail(error)
    except Exception as error:
        traceback.print_exception(error)
        return outcome.fail(
            TrainerError(
                failures.INTERNAL, f"the code could not be fetched ({type(error).__name__}: {error}): report it"
            )
        )
    return EXIT_OK


def fetch_code(spec: TrainSpec, place: Place, store: Store, code: Path, scratch: Path, env: Mapping[str, str]) -> None:
    """Put the files of the run's commit into ``code``.

    Raises:
        TrainerError: the repository, the revision or the store does not give what is asked.
    """
    if spec.codeGit is None:
        raise TrainerError(failures.SPEC_INVALID, "the run names no repository in spec.code.git")
    folder = publish.RunFolder(place, spec.model, spec.runUid)
    if publish.find(store, folder) is not None:
        # A git server that is down must not keep a finished run from saying so.
        log.info("this run is already done, no code is needed")
        return
    log.info("fetching code url=%s revision=%s", spec.codeGit.url, spec.codeGit.revision)
    repository = Repository(spec.codeGit, Credentials.from_env(env), scratch, env=env)
    pinned = publish.pinned_commit(store, folder)
    commit = repository.checkout(pinned or repository.resolve(), code)
    if pinned is None:
        publish.pin_commit(store, folder, spec.codeGit, commit)
    else:
        log.info("an earlier attempt of this run took the same commit commit=%s", commit)


if __name__ == "__main__":
    sys.exit(main())
