"""MLflow's tracking server, from PyPI, in an environment of its own, on SQLite and on PostgreSQL (Debian's package)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.registry.ours import Asked
from localcluster import paths

MLFLOW = "3.17.2"
WORKERS = 2
"""Processes of the server: as many as the machine has cores."""
_ASKS = Path(__file__).with_name("asks.py")
_HERE = "127.0.0.1"


class NoPostgres(Exception):
    """PostgreSQL is not on this machine: ``apt-get install postgresql``."""


def environment() -> Path:
    """MLflow's environment; made once, under the cache."""
    target = paths.cache() / "bench" / f"mlflow-{MLFLOW}"
    if not (target / "complete").exists():
        shutil.rmtree(target, ignore_errors=True)
        venv.create(target, with_pip=True)
        pip = [str(target / "bin" / "pip"), "install", "-q", f"mlflow=={MLFLOW}", "psycopg2-binary"]
        subprocess.run(pip, check=True)
        (target / "complete").touch()
    return target


@dataclass(frozen=True)
class Server:
    """A running MLflow server."""

    url: str
    pid: int

    def memory(self) -> float:
        """MiB that its processes have of their own and share (PSS), so that nothing is counted twice."""
        return round(sum(_pss(pid) for pid in _tree(self.pid)), 1)


def fill(uri: str, models: int, threads: int) -> float:
    """Write the content straight into the database; seconds."""
    begun = time.monotonic()
    _python("fill", uri, str(models), str(threads))
    return round(time.monotonic() - begun, 1)


def ask(server: Server, *words: str) -> tuple[Asked, float]:
    """One question as a person's script asks it: the whole process, and the requests alone."""
    begun = time.perf_counter()
    said = _python("ask", server.url, *words)
    return Asked(time.perf_counter() - begun, said), json.loads(said)["requests"]


def _python(*words: str) -> str:
    command = [str(environment() / "bin" / "python"), str(_ASKS), *words]
    done = subprocess.run(command, env=_env(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-3000:]}")
    return done.stdout


def _env() -> dict[str, str]:
    # No word leaves this machine: neither telemetry nor a look for newer versions.
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}
    # Nor does it run jobs, which a registry has no use for.
    quiet["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    return {**os.environ, **quiet, "NO_PROXY": _HERE, "no_proxy": _HERE}


@contextmanager
def server(uri: str, directory: Path) -> Iterator[Server]:
    """``mlflow server`` on a database that is filled."""
    port = _free_port()
    command = [str(environment() / "bin" / "mlflow"), "server", "--backend-store-uri", uri, "--host", _HERE]
    command += ["--port", str(port), "--workers", str(WORKERS), "--artifacts-destination", str(directory / "artifacts")]
    with (directory / "mlflow.log").open("ab") as log:
        process = subprocess.Popen(command, env=_env(), cwd=directory, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://{_HERE}:{port}"
        _wait(url, process, directory / "mlflow.log")
        yield Server(url, process.pid)
    finally:
        # The whole group: its workers do not always end with it.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)


@contextmanager
def postgres(directory: Path) -> Iterator[str]:
    """A PostgreSQL server with an empty database; its address for SQLAlchemy."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        raise NoPostgres(NoPostgres.__doc__)
    data, port = directory / "data", _free_port()
    directory.mkdir(parents=True, exist_ok=True)
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(directory, user)
    run = [str(programs[-1] / "initdb"), "-D", str(data), "-A", "trust", "-U", "mlflow", "-E", "UTF8"]
    subprocess.run(run, check=True, capture_output=True, user=user, cwd=directory)
    command = [str(programs[-1] / "postgres"), "-D", str(data), "-h", _HERE, "-p", str(port), "-k", str(directory)]
    with (directory / "postgres.log").open("ab") as log:
        process = subprocess.Popen(command, user=user, cwd=directory, stdout=log, stderr=log)
    try:
        _until_it_listens(port, process)
        address = [str(programs[-1] / "createdb"), "-h", _HERE, "-p", str(port), "-U", "mlflow", "mlflow"]
        subprocess.run(address, check=True, capture_output=True, cwd=directory)
        yield f"postgresql://mlflow@{_HERE}:{port}/mlflow"
    finally:
        process.terminate()
        process.wait(60)


def _until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((_HERE, port)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError("PostgreSQL did not start")


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310 - loopback
                return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"MLflow's server did not start: {log.read_text(errors='replace')[-3000:]}")


def _tree(pid: int) -> list[int]:
    """A process and all below it."""
    children = [int(word) for task in Path(f"/proc/{pid}/task").glob("*/children") for word in task.read_text().split()]
    return [pid, *(found for child in children for found in _tree(child))]


def _pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def _free_port() -> int:
    with socket.create_server((_HERE, 0)) as free:
        port: int = free.getsockname()[1]
    return port
