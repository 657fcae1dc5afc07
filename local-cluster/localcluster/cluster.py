"""The local cluster of this checkout: up, down, images in, and what one needs to reach it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Protocol

from localcluster import addons, addresses, debian, images, machine, node, paths, pins, programs
from localcluster.kind import Kind
from localcluster.kubectl import Kubectl
from localcluster.progress import UserError, step
from localcluster.store import lock

_ON_THE_NODE = tuple(
    name for name in pins.PROGRAMS if name not in ("coredns", "envoy", "envoy-gateway", "weed", "prometheus")
)


class Cluster(Protocol):
    """A way to a cluster. Both meet at a kubeconfig and loaded images; all that follows is the same."""

    @property
    def kubectl(self) -> Kubectl:
        """kubectl for this cluster, as its administrator."""

    @property
    def helm(self) -> Path:
        """The helm program."""

    def up(self) -> None:
        """Bring it up from any state: absent, half made, killed, or after a reboot."""

    def down(self) -> None:
        """Take everything of it away; nothing happens if there is nothing."""

    def load(self) -> dict[str, str]:
        """Give it our images, built if need be; return short name -> full name."""

    def memory(self) -> dict[str, float]:
        """Command name -> MiB that its processes take, of everything that runs in the cluster, pods included."""

    def write_sboms(self, into: Path) -> list[Path]:
        """Write an SBOM of each of our images into a directory, built if need be; return the files."""

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Hold off every other command that changes this checkout's cluster."""

    def environment(self) -> dict[str, str]:
        """Variables for a shell, and for the tests that run on the cluster. Raises UserError where there is none."""


class Local:
    """One checkout's cluster made of processes in namespaces of this machine, without Docker."""

    def __init__(self) -> None:
        self._state = paths.state()
        self._kubeconfig = self._state / "admin.kubeconfig"

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(programs.ensure(_ON_THE_NODE) / "kubectl", self._kubeconfig)

    @property
    def helm(self) -> Path:
        return programs.ensure(_ON_THE_NODE) / "helm"

    def up(self) -> None:
        machine.require()
        debian.require_dpkg()  # before root is asked for: a password would not help
        debian.require_root()
        debian.require(pins.NODE_PACKAGES)
        # Prometheus is fetched, not built, by the tests that want it.
        programs.ensure(name for name in pins.PROGRAMS if name != "prometheus")
        programs.envoy_gateway_charts()
        programs.drop_build_caches()
        own = images.ensure(addons.IMAGES)
        _remove_orphans()
        with self.alone():
            here = self._node()
            with step("node ready", quiet_below=1):
                here.start()
            with step("the cluster's own images loaded", quiet_below=1):
                here.load(own.values())
            data = self._state / "s3"
            data.mkdir(exist_ok=True)
            shutil.chown(data, 65532, 65532)
            settings = addons.Settings(
                address=here.addresses.node,
                own_dns=True,
                cluster_dns=node.CLUSTER_DNS,
                s3_volume=f'hostPath: {{path: "{data}", type: Directory}}',
            )
            addons.ensure(self.kubectl, self.helm, {name: image.name for name, image in own.items()}, settings)

    def down(self) -> None:
        record = self._state / "addresses.json"
        if record.exists():
            debian.require_root()
            with self.alone(), step("cluster removed"):
                node.remove(self._state, addresses.of(record))
        shutil.rmtree(self._state, ignore_errors=True)

    def load(self) -> dict[str, str]:
        ours = images.ensure(images.OURS)
        images.prune(days=14)
        with self.alone(), step("images loaded", quiet_below=1):
            self._node().load(ours.values())
        return {name: image.name for name, image in ours.items()}

    def memory(self) -> dict[str, float]:
        record = self._state / "addresses.json"
        if not record.exists():
            raise UserError("There is no cluster: `make up` brings one up.")
        debian.require_root()
        found: dict[str, float] = {}
        for process in node.processes(self._state, addresses.of(record)):
            name, mebibytes = process.memory()
            found[name] = found.get(name, 0.0) + mebibytes
        return found

    def write_sboms(self, into: Path) -> list[Path]:
        return images.write_sboms(images.OURS, into)

    def environment(self) -> dict[str, str]:
        if not self._kubeconfig.exists():
            raise UserError("There is no cluster: `make up` brings one up.")
        return {
            "KUBECONFIG": str(self._kubeconfig),
            "PATH": f"{programs.ensure(_ON_THE_NODE)}:$PATH",
            **addons.environment(addresses.of(self._state / "addresses.json").node),
        }

    def _node(self) -> node.Node:
        return node.Node(self._state, addresses.claim(paths.checkout_id()), programs.ensure(_ON_THE_NODE))

    def alone(self) -> contextlib.AbstractContextManager[None]:
        return lock(self._state.name, root=paths.state_root())


def _remove_orphans() -> None:
    """Take away the clusters of checkouts that are there no more: nobody else would."""
    for record in paths.state_root().glob("*/addresses.json"):
        state = record.parent
        with lock(state.name, root=paths.state_root()):
            if record.exists() and not addresses.checkout(record).exists():
                with step(f"cluster of {addresses.checkout(record)}, which is gone, removed"):
                    node.remove(state, addresses.of(record))


WAYS: dict[str, type[Local] | type[Kind]] = {"local": Local, "kind": Kind}
"""`make ... CLUSTER=` -> how."""
