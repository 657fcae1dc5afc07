"""The same data read by Slipway and by DVC, one after the other, each in a process whose time and memory is taken."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.data import content
from bench.data.dvc import Project
from slipway.contract import CheckSpec, DatasetResult, DatasetSpec, dumps, loads
from tests.support.memory import spent
from tests.support.s3_server import S3Server

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Cost:
    """What one command took. Memory and disk in MiB, the highest that they were; disk beside the S3 server's own."""

    what: str
    seconds: float
    cpu: float
    memory: float
    disk: float
    load: float


@dataclass(frozen=True)
class Section:
    """One data set."""

    title: str
    files: int
    bytes: int
    costs: list[Cost]


def sections(s3: S3Server, folder: Path, files: int, size: int, say: Callable[[str], None]) -> list[Section]:
    """Both data sets; ``folder`` needs room for the large one once more than the S3 server."""
    say(f"writing {files:,} files")
    total = content.small(s3.client, "small/", files)
    made = [Section(f"{files:,} files", files, total, _small(s3, folder, files, say))]
    say(f"writing one file of {size / 1e9:.1f} GB")
    total = content.large(s3.client, "large/table.csv", size)
    made.append(Section("one file", 1, total, _large(s3, folder, say)))
    return made


def _small(s3: S3Server, folder: Path, files: int, say: Callable[[str], None]) -> list[Cost]:
    looks = _Looks(s3, folder, "small", say)
    costs = looks.first_and_again("s3://data/small/", files)
    with _project(folder, s3) as project:
        costs.append(_dvc(project, "DVC: import-url", ["import-url", "-q", "remote://store/small/", "small"], say))
        assert _counted(project, "small") == files, "DVC read another number of files"
        costs.append(_dvc(project, "DVC: update, nothing changed", ["update", "-q", "small.dvc"], say))
        project.forget()
        costs.append(_dvc(project, "DVC: add (the files are on its disk already)", ["add", "-q", "small"], say))
        costs.append(_dvc(project, "DVC: add, nothing changed", ["add", "-q", "small"], say))
    changed = max(1, files // 100)
    for number in range(0, changed * 100, 100):
        text = content.table(number + files, 25)
        s3.client.put_object("data", f"small/{number // 1000:03}/{number:06}.csv", io.BytesIO(text), len(text))
    after = looks.look(f"Slipway: profile and checks, {changed:,} files changed", looks.csv, changed)
    return [*costs[:4], after, *costs[4:]]


def _large(s3: S3Server, folder: Path, say: Callable[[str], None]) -> list[Cost]:
    costs = _Looks(s3, folder, "large", say).first_and_again("s3://data/large/", 1)
    with _project(folder, s3) as project:
        costs.append(_dvc(project, "DVC: import-url", ["import-url", "-q", "remote://store/large/", "large"], say))
        costs.append(_dvc(project, "DVC: update, nothing changed", ["update", "-q", "large.dvc"], say))
        project.forget()
        costs.append(_dvc(project, "DVC: add (the file is on its disk already)", ["add", "-q", "large"], say))
        costs.append(_dvc(project, "DVC: add, nothing changed", ["add", "-q", "large"], say))
    return costs


class _Looks:
    """Looks at one data set."""

    def __init__(self, s3: S3Server, folder: Path, name: str, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        path = os.pathsep.join(str(REPOSITORY / part) for part in ("", "operator", "images/trainer"))
        self._env = {**os.environ, **s3.environment(), "PYTHONPATH": path, "TMPDIR": str(folder)}
        self._name = name

    def first_and_again(self, uri: str, files: int) -> list[Cost]:
        """Digest alone, and with profile and checks, each with nothing known and then with nothing changed."""
        checks = [CheckSpec("label", min="0", max="9"), CheckSpec("age", maxMissing="0.1"), CheckSpec(minRows=100)]
        digest = DatasetSpec("bench", f"{self._name}-digest", "uid", uri)
        self.csv = DatasetSpec("bench", f"{self._name}-profile", "uid", uri, format="Csv", checks=checks)
        return [
            self.look("Slipway: digest", digest, files),
            self.look("Slipway: digest, nothing changed", digest, 0),
            self.look("Slipway: digest, profile and checks", self.csv, files),
            self.look("Slipway: profile and checks, nothing changed", self.csv, 0),
        ]

    def look(self, what: str, spec: DatasetSpec, read: int) -> Cost:
        """One look, which must read so many files."""
        scratch, out = self._folder / "scratch", self._folder / "message"
        command = [sys.executable, "-m", "bench.data.look", dumps(spec), str(scratch), str(out)]
        cost = measured(what, command, self._folder, self._env, scratch, self._say)
        result = loads(DatasetResult, out.read_bytes())
        assert result.passed, result.failures
        assert result.read == read, f"{result.read} files were read"
        return cost


class _project:  # noqa: N801 - a context manager
    def __init__(self, folder: Path, s3: S3Server) -> None:
        self._folder = folder / "dvc"
        self._s3 = s3

    def __enter__(self) -> Project:
        self._folder.mkdir()
        return Project(self._folder, self._s3)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder)


def _dvc(project: Project, what: str, words: list[str], say: Callable[[str], None]) -> Cost:
    return measured(what, project.command(*words), project.folder, project.env, project.folder.parent, say)


def _counted(project: Project, name: str) -> int:
    """Files of the output, which stands last in DVC's record."""
    lines = (project.folder / f"{name}.dvc").read_text().splitlines()
    return int([each for each in lines if each.strip().startswith("nfiles:")][-1].split(":")[1])


def measured(
    what: str, command: list[str], cwd: Path, env: Mapping[str, str], disk: Path, say: Callable[[str], None]
) -> Cost:
    """Run a command to its end."""
    say(what)
    load = os.getloadavg()[0]
    ended, peaks = threading.Event(), [0]

    def watch() -> None:
        while not ended.wait(1.0):
            peaks.append(_used(disk))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.monotonic()
    took = spent(command, env, cwd)
    seconds = time.monotonic() - start
    ended.set()
    watcher.join()
    peaks.append(_used(disk))
    cost = Cost(
        what=what,
        seconds=round(seconds, 1),
        cpu=round(took.cpu, 1),
        memory=round(took.memory, 0),
        disk=round(max(peaks) / 1024**2, 0),
        load=round(load, 1),
    )
    say(json.dumps(cost.__dict__))
    return cost


def _used(folder: Path) -> int:
    """Bytes on disk below a folder; one file with several names counts once."""
    done = subprocess.run(["du", "-s", "--block-size=1", folder], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0]) if done.stdout else 0
