"""Long-lived processes, told apart from strangers that got their number after them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster import paths
from localcluster.progress import UserError


@dataclass(frozen=True)
class Identity:
    """A process, for good: its number may be given out again, its number with its start time may not."""

    pid: int
    started: str
    """Clock ticks since boot, and the boot: the same ticks after a reboot are another process."""

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of a process that runs now; None if there is none, or only a zombie."""
        try:
            # After the last parenthesis: a command's name may hold spaces and parentheses itself.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        if fields[0] in ("Z", "X"):
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return cls(pid, f"{boot}/{fields[19]}")

    def memory(self) -> tuple[str, float]:
        """The command's name, and the process's share of the machine's memory in MiB (proportional set size: what
        several processes share is divided among them). Zero if it has ended meanwhile."""
        try:
            name = Path(f"/proc/{self.pid}/comm").read_text().strip()
            lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return "", 0.0
        return name, sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid) == self

    def end(self, patience: float) -> None:
        """Ask it to end, and after `patience` seconds make it."""
        if patience > 0:
            self._signal(signal.SIGTERM)
            wait(lambda: not self.alive(), patience)
        self.kill()
        wait(lambda: not self.alive(), 10.0)

    def kill(self) -> None:
        """End it without notice, and without waiting for the end."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Service:
    """One named long-lived process with its record and its log in a directory.

    The record outlives whoever started it, so that a later command finds the process, or finds it gone.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        argv: Sequence[str | os.PathLike[str]],
        *,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        inputs: Sequence[Path] = (),
    ) -> None:
        """`prefix` goes before `argv` (nsenter, setpriv); `inputs` are files whose change asks for a restart."""
        self.name = name
        self.log = directory / "log" / f"{name}.log"
        self._record = directory / "processes" / f"{name}.json"
        self._arguments = [os.fspath(a) for a in argv]
        self._prefix = tuple(prefix)
        # Everything it speaks to is on this machine: a proxy that is set for the outside must not be asked.
        self._env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")} | dict(env or {})
        self._inputs = inputs
        self._child: subprocess.Popen[bytes] | None = None

    def identity(self) -> Identity | None:
        """The running process, if it runs."""
        if self._child is not None:
            self._child.poll()  # reaps it when it has ended: a zombie keeps its number
        try:
            record = json.loads(self._record.read_text())
            found = Identity(record["pid"], record["started"])
        except (FileNotFoundError, ValueError, KeyError):
            return None
        return found if found.alive() else None

    def ensure(self) -> bool:
        """Start it unless it runs as described; return whether it was started."""
        # Not the prefix: it names a process of the namespaces, any of which will do.
        wanted = paths.digest(*self._arguments, *self._inputs)
        running = self.identity()
        if running is not None:
            if json.loads(self._record.read_text()).get("digest") == wanted:
                return False
            running.end(patience=10)
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            # A session of its own: it outlives the command, and no terminal's Ctrl-C reaches it.
            self._child = subprocess.Popen(
                [*self._prefix, *self._arguments],
                env=self._env,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started = Identity.of(self._child.pid)
        if started is None:
            raise UserError(self.explain())
        fresh = self._record.with_suffix(".new")
        fresh.write_text(json.dumps({"pid": started.pid, "started": started.started, "digest": wanted}))
        fresh.rename(self._record)
        return True

    def stop(self, patience: float = 10.0) -> None:
        """End it and forget it; nothing happens if it does not run."""
        running = self.identity()
        if running is not None:
            running.end(patience)
        if self._child is not None:
            self._child.wait()
            self._child = None
        self._record.unlink(missing_ok=True)

    def explain(self) -> str:
        """The last lines of its log, for an error."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-15:]
        except FileNotFoundError:
            lines = []
        return f"{self.name} does not run; the end of {self.log}:\n" + "\n".join(lines)


def wait(done: Callable[[], bool], seconds: float, interval: float = 0.05) -> bool:
    """Ask until `done` says yes or `seconds` have passed; return its last answer."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True
