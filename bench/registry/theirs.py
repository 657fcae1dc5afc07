"""MLflow's tracking server, from PyPI, in an environment of its own, on SQLite and on PostgreSQL (Debian's package).

Everything that lasts runs on a leash (``leash.py``), and so goes when the bench goes, however it goes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bench.environment import environment
from bench.registry.ours import Asked, run

MLFLOW = "3.17.2"
WORKERS = 2
"""Processes of the server: as many as the machine has cores."""
FILLING = 1500.0
"""Seconds before filling is given up."""
_HERE = "127.0.0.1"
_BESIDE = Path(__file__).parent
# No word leaves this machine: neither telemetry nor a look for newer versions. Nor does the server run jobs, which a
# registry has no use for. A request that fails is not tried again: it would be counted as one that was slow.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "NO_PROXY": _HERE,
    "no_proxy": _HERE,
}


class NoPostgres(Exception):
    """PostgreSQL is not on this machine: ``apt-get install postgresql``."""


def program(name: str) -> str:
    """A program of MLflow's environment; installed from PyPI on first use."""
    return str(environment(f"mlflow-{MLFLOW}", f"mlflow=={MLFLOW}", "psycopg2-binary==2.9.13") / "bin" / name)


class Leash:
    """A process with all that it starts, and the other end of its leash."""

    def __init__(self, folder: Path, command: list[str], log: BinaryIO | None = None) -> None:
        """``folder`` goes with it where the bench is killed."""
        leash = [sys.executable, str(_BESIDE / "leash.py"), str(folder), *command]
        self._process = subprocess.Popen(
            leash, env=_env(), cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )

    def wait(self, seconds: float) -> int:
        """Its exit status, once it has ended by itself."""
        return self._process.wait(seconds)

    def runs(self) -> bool:
        """Whether it runs still."""
        return self._process.poll() is None

    def end(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        assert self._process.stdin is not None
        self._process.stdin.close()

    def memory(self) -> float:
        """MiB that its processes have of their own and share (PSS), so that nothing is counted twice."""
        return sum(pss(pid) for pid in _tree(self._process.pid)[1:])


@dataclass(frozen=True)
class Database:
    """Where an MLflow server keeps what it knows."""

    uri: str
    """As SQLAlchemy reads it."""
    threads: int
    """By how many it is filled best."""
    memory: Callable[[], float] = lambda: 0.0
    """MiB of its own processes."""
    settle: Callable[[], object] = lambda: None
    """What it does by itself within minutes of being written to, done at once."""


class Server:
    """A running MLflow server."""

    def __init__(self, url: str, leash: Leash) -> None:
        self.url = url
        self.memory = leash.memory

    def ask(self, *words: str) -> tuple[Asked, list[str]]:
        """One question as a person's script asks it: the whole process, and the answer."""
        asked = self._ask(0, *words)
        return asked, json.loads(asked.text)["answer"]

    def ask_again(self, repeat: int, *words: str) -> list[float]:
        """Seconds of the same question, asked ``repeat`` times by one process that has asked it before."""
        seconds: list[float] = json.loads(self._ask(repeat, *words).text)["seconds"]
        return seconds[1:]

    def _ask(self, repeat: int, *words: str) -> Asked:
        return run([program("python"), str(_BESIDE / "asks.py"), "ask", self.url, str(repeat), *words], _env())


def fill(database: Database, folder: Path, models: int) -> float:
    """Write the content straight into the database; seconds."""
    begun = time.monotonic()
    words = [database.uri, str(models), str(database.threads)]
    leash = Leash(folder, [program("python"), str(_BESIDE / "asks.py"), "fill", *words])
    try:
        if status := leash.wait(FILLING):
            raise RuntimeError(f"filling MLflow's database ended with {status}: what it said is above")
    finally:
        leash.end()
    database.settle()
    return round(time.monotonic() - begun, 1)


@contextmanager
def server(database: Database, folder: Path) -> Iterator[Server]:
    """``mlflow server`` on a database that is filled."""
    port, log = _free_port(), folder / "mlflow.log"
    command = [program("mlflow"), "server", "--backend-store-uri", database.uri, "--host", _HERE, "--port", str(port)]
    command += ["--workers", str(WORKERS), "--artifacts-destination", str(folder / "artifacts")]
    with log.open("ab") as written:
        leash = Leash(folder, command, written)
    try:
        _until(lambda: _answers(f"http://{_HERE}:{port}/health"), leash, log, "MLflow's server")
        yield Server(f"http://{_HERE}:{port}", leash)
    finally:
        leash.end()


@contextmanager
def sqlite(folder: Path) -> Iterator[Database]:
    """A file."""
    # One writer: a second would only wait for the file's lock.
    yield Database(f"sqlite:///{folder}/mlflow.db", threads=1)


@contextmanager
def postgres(folder: Path) -> Iterator[Database]:
    """A PostgreSQL server with an empty database, as Debian configures it but for the disk: it does not wait for it
    after each write, which makes filling faster and reading no different."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        raise NoPostgres(NoPostgres.__doc__)
    data, port, log = folder / "data", _free_port(), folder / "postgres.log"
    # The server refuses to run as root.
    prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    data.mkdir(mode=0o700)
    if prefix:
        shutil.chown(data, "postgres", "postgres")
    initdb = [*prefix, str(programs[-1] / "initdb"), "-D", str(data), "-A", "trust", "-U", "mlflow", "-E", "UTF8"]
    run(initdb, {**os.environ, "LC_ALL": "C.UTF-8"})
    command = [*prefix, str(programs[-1] / "postgres"), "-D", str(data), "-h", _HERE, "-p", str(port), "-k", str(data)]
    with log.open("ab") as written:
        leash = Leash(folder, [*command, "-c", "fsync=off", "-c", "synchronous_commit=off"], written)
    try:
        _until(lambda: _listens(port), leash, log, "PostgreSQL")
        address = ["-h", _HERE, "-p", str(port), "-U", "mlflow", "mlflow"]
        run([str(programs[-1] / "createdb"), *address], dict(os.environ))
        # Autovacuum's work: without statistics the planner would guess.
        vacuum = [str(programs[-1] / "vacuumdb"), "--analyze", "--quiet", *address]
        yield Database(
            uri=f"postgresql+psycopg2://mlflow@{_HERE}:{port}/mlflow",
            threads=4,
            memory=leash.memory,
            settle=lambda: run(vacuum, dict(os.environ)),
        )
    finally:
        leash.end()


def _env() -> dict[str, str]:
    # Not our own libraries: MLflow's environment has its own.
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | _QUIET


def _until(ready: Callable[[], bool], leash: Leash, log: Path, what: str) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and leash.runs():
        if ready():
            return
        time.sleep(0.2)
    raise RuntimeError(f"{what} did not start: {log.read_text(errors='replace')[-3000:]}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - loopback
            return True
    except OSError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HERE, port)) == 0


def _tree(pid: int) -> list[int]:
    """A process and all below it."""
    children = [int(word) for task in Path(f"/proc/{pid}/task").glob("*/children") for word in task.read_text().split()]
    return [pid, *(found for child in children for found in _tree(child))]


def pss(pid: int) -> float:
    """MiB of a process's memory, what it shares divided by who shares it; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def _free_port() -> int:
    with socket.create_server((_HERE, 0)) as free:
        port: int = free.getsockname()[1]
    return port
