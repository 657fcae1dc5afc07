"""The local cluster's own promises: apart from other checkouts, mended by `up` after any kill, gone after `down`.

A second checkout (a copy of the code in another directory) has a cluster of its own beside the one that the other
tests use, so nothing here disturbs them.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from minio import Minio

from localcluster import paths
from tests.support.e2e import REPOSITORY, World

PROCESSES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
    "namespaces",
)


class Checkout:
    """A copy of the local cluster's code, whose path makes its cluster another one."""

    def __init__(self, directory: Path) -> None:
        shutil.copytree(
            REPOSITORY / "local-cluster", directory / "local-cluster", ignore=shutil.ignore_patterns("__pycache__")
        )
        self.directory = directory
        self.identity = paths.checkout_id(directory)
        self.state = paths.state(self.identity)

    def command(self, *arguments: str) -> list[str]:
        return ["python3", str(self.directory / "local-cluster"), *arguments]

    def run(self, *arguments: str, seconds: float = 300) -> str:
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=seconds, check=False, cwd="/"
        )
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def environment(self) -> dict[str, str]:
        exports = self.run("env")
        shown = subprocess.run(["bash", "-c", f"{exports}\nenv -0"], capture_output=True, text=True, check=True).stdout
        return dict(pair.split("=", 1) for pair in shown.split("\0") if "=" in pair)

    def pid(self, process: str) -> int:
        pid: int = json.loads((self.state / "processes" / f"{process}.json").read_text())["pid"]
        return pid

    def node(self) -> dict[str, Any]:
        text = subprocess.run(
            ["kubectl", "get", "node", "-o", "json"], env=self.environment(), capture_output=True, text=True, check=True
        ).stdout
        (node,) = json.loads(text)["items"]
        found: dict[str, Any] = node
        return found

    def serves(self) -> None:
        """The node is Ready with its GPUs, and the gateway and the S3 server answer."""
        node = self.node()
        assert [c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"] == ["True"]
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == "2"
        environment = self.environment()
        assert httpx.get(environment["SLIPWAY_GATEWAY_URL"], trust_env=False).status_code == 404
        assert httpx.get(environment["SLIPWAY_S3_ENDPOINT"], trust_env=False).status_code == 403

    def store(self) -> Minio:
        environment = self.environment()
        endpoint = environment["SLIPWAY_S3_ENDPOINT"].removeprefix("http://")
        return Minio(endpoint, environment["SLIPWAY_S3_ACCESS_KEY"], environment["SLIPWAY_S3_SECRET_KEY"], secure=False)

    def processes(self) -> set[int]:
        """Every process that has to do with this cluster: in one of its control groups, or with its state's path."""
        found: set[int] = set()
        for group, _, _ in os.walk("/sys/fs/cgroup"):  # not a glob, which raises where a group goes meanwhile
            if f"slipway-{self.identity}" in Path(group).parts:
                with suppress(OSError):
                    found.update(int(pid) for pid in (Path(group) / "cgroup.procs").read_text().split())
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = command.read_bytes()
            except OSError:  # it has ended
                continue
            if str(self.state).encode() in words:
                found.add(int(command.parent.name))
        return found

    def traces(self) -> list[str]:
        """What of this cluster is left on the machine."""
        left = [f"process {pid}" for pid in self.processes()]
        left += [line for line in Path("/proc/mounts").read_text().splitlines() if self.identity in line]
        left += [group for group, _, _ in os.walk("/sys/fs/cgroup") if Path(group).name == f"slipway-{self.identity}"]
        left += [str(path) for path in Path("/sys/class/net").glob(f"*{self.identity}")]
        left += [str(path) for path in Path("/run").glob(f"**/*{self.identity}*")]
        left += [str(self.state)] if self.state.exists() else []
        return left


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    try:
        checkout.run("up")
        yield checkout
    finally:
        checkout.run("down")


def test_two_checkouts_have_a_cluster_each(second: Checkout, world: World) -> None:
    second.serves()
    environment = second.environment()
    assert environment["SLIPWAY_GATEWAY_URL"] != world.gateway
    assert environment["KUBECONFIG"] != world.environment["KUBECONFIG"]
    addresses = {c["address"] for c in second.node()["status"]["addresses"] if c["type"] == "InternalIP"}
    assert addresses.isdisjoint(httpx.URL(world.gateway).host.split())


@pytest.mark.parametrize("process", PROCESSES)
def test_up_mends_a_cluster_one_of_whose_processes_was_killed(second: Checkout, process: str) -> None:
    second.run("up")
    os.kill(second.pid(process), signal.SIGKILL)
    second.run("up")
    second.serves()


def test_up_mends_a_cluster_all_of_whose_processes_are_gone_and_its_data_are_still_there(second: Checkout) -> None:
    second.run("up")
    if not second.store().bucket_exists("kept"):
        second.store().make_bucket("kept")
    second.store().put_object("kept", "word", io.BytesIO(b"kept"), 4)
    while left := second.processes():  # what a reboot does; the kubelet may be starting one more
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)
    second.run("up")
    second.serves()
    assert second.store().get_object("kept", "word").read() == b"kept"


def test_an_interrupted_up_is_finished_by_the_next_and_down_leaves_no_trace(second: Checkout) -> None:
    second.run("down")
    assert second.traces() == []
    second.run("down")  # nothing to take away is no error

    interrupted = subprocess.Popen(
        second.command("up"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (second.state / "processes" / "kubelet.json").exists():
        assert time.monotonic() < deadline, "`up` never came to start the kubelet"
        time.sleep(0.05)
    os.killpg(interrupted.pid, signal.SIGKILL)
    interrupted.wait()
    second.run("up")
    second.serves()

    # Killed in the middle of its work, and taken away from there.
    os.kill(second.pid("kubelet"), signal.SIGKILL)
    os.kill(second.pid("containerd"), signal.SIGKILL)
    second.run("down")
    assert second.traces() == []
