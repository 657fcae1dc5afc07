"""The node is a network and a mount namespace, held by nothing but the processes in it.

No name under /run/netns and no mount of the machine stays behind when they end, however they end: the wire to the
machine goes with the network namespace, and every mount of every pod with the mount namespace.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from localcluster.addresses import Addresses
from localcluster.controlplane import SERVICE_RANGE
from localcluster.processes import Identity, Service, wait
from localcluster.progress import UserError
from localcluster.shell import run

MASKED = (Path("/run/containerd"), Path("/var/lib/kubelet"), Path("/var/log/containers"))
"""Paths that the kubelet and containerd have built in. Covered with an empty file system inside the node."""

# The kubelet insists on these settings of the machine's kernel. Inside the node it finds files that hold what it wants
# to see, so that the machine's own settings stay as they are.
_KERNEL_SETTINGS = {
    "/proc/sys/vm/overcommit_memory": "1",
    "/proc/sys/vm/panic_on_oom": "0",
    "/proc/sys/kernel/panic": "10",
    "/proc/sys/kernel/panic_on_oops": "1",
    "/proc/sys/kernel/keys/root_maxkeys": "1000000",
    "/proc/sys/kernel/keys/root_maxbytes": "25000000",
}


class Namespaces:
    """The node's two namespaces, under a state directory."""

    def __init__(self, state: Path, addresses: Addresses) -> None:
        self._state = state
        self._addresses = addresses
        self._record = state / "namespaces.json"
        self.run_directory = state / "run"
        """A file system in memory that only the node sees: sockets, address leases, the containers' run state."""

    def holder(self) -> int | None:
        """Some process that is in the namespaces; None if they are gone."""
        try:
            wanted = json.loads(self._record.read_text())
        except (FileNotFoundError, ValueError):
            return None
        for pid in _processes():
            if _inodes(pid) == wanted:
                return pid
        return None

    def members(self) -> list[Identity]:
        """Every process in the node's network or mount namespace; pods' own processes are in others."""
        try:
            wanted = json.loads(self._record.read_text())
        except (FileNotFoundError, ValueError):
            return []
        found = []
        for pid in _processes():
            inodes = _inodes(pid)
            if inodes and (inodes["mnt"] == wanted["mnt"] or inodes["net"] == wanted["net"]):
                identity = Identity.of(pid)
                if identity:
                    found.append(identity)
        return found

    def enter(self) -> tuple[str, ...]:
        """What to put before a command line so that it runs on the node.

        Not `ip netns exec`: that mounts another /sys, in which the kubelet finds no control groups.
        """
        holder = self.holder()
        if holder is None:
            raise UserError("The cluster's node does not run: `make up` starts it.")
        return ("nsenter", f"--target={holder}", "--net", "--mount")

    def ensure(self) -> bool:
        """Make the namespaces and the wire unless they stand; return whether they were made now."""
        if self.holder() is not None:
            return False
        for path in (*MASKED, self.run_directory):
            path.mkdir(parents=True, exist_ok=True)
        anchor = Service(
            self._state,
            "namespaces",
            ["sh", "-euc", self._script()],
            prefix=("unshare", "--net", "--mount", "--propagation", "private"),
        )
        anchor.stop()
        anchor.ensure()
        identity = anchor.identity()
        # The shell becomes `sleep` when its mounts stand.
        if (
            identity is None
            or not wait(lambda: _command(identity.pid) == "sleep" or not identity.alive(), 10)
            or not identity.alive()
        ):
            raise UserError(anchor.explain())
        self._record.write_text(json.dumps(_inodes(identity.pid)))
        self._wire(identity.pid)
        return True

    def _script(self) -> str:
        directory = shlex.quote(str(self.run_directory))
        lines = [f"mount -t tmpfs -o mode=0755 slipway {directory}", f"mkdir {directory}/kernel"]
        lines += [f"mount -t tmpfs -o mode=0755 slipway {path}" for path in MASKED]
        for number, (path, value) in enumerate(_KERNEL_SETTINGS.items()):
            if Path(path).exists():
                lines.append(
                    f"echo {value} > {directory}/kernel/{number}; mount --bind {directory}/kernel/{number} {path}"
                )
        return "\n".join([*lines, "exec sleep infinity"])

    def _wire(self, pid: int) -> None:
        a = self._addresses
        run(["ip", "link", "delete", a.link], check=False)  # of a namespace that is just going
        run(["ip", "link", "add", a.link, "type", "veth", "peer", "name", "eth0", "netns", str(pid)])
        run(["ip", "address", "add", f"{a.host}/30", "dev", a.link])
        run(["ip", "link", "set", a.link, "up"])
        inside = ["nsenter", f"--target={pid}", "--net"]
        run([*inside, "ip", "link", "set", "lo", "up"])
        run([*inside, "ip", "address", "add", f"{a.node}/30", "dev", "eth0"])
        run([*inside, "ip", "link", "set", "eth0", "up"])
        # What the node itself sends to a Service is routed before kube-proxy's rules translate it, so a route must be
        # there, though nothing is ever sent along it. There is no default route: pods cannot reach the outside.
        run([*inside, "ip", "route", "add", SERVICE_RANGE, "dev", "eth0", "src", a.node])
        run([*inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])


def _processes() -> list[int]:
    return [int(name) for entry in Path("/proc").iterdir() if (name := entry.name).isdigit()]


def _inodes(pid: int) -> dict[str, int] | None:
    try:
        return {kind: Path(f"/proc/{pid}/ns/{kind}").stat().st_ino for kind in ("mnt", "net")}
    except OSError:  # it ended in the meantime
        return None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
