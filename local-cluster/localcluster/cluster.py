"""Up, down and what one needs to reach it: the local cluster of this checkout."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from localcluster import addons, addresses, debian, images, node, paths, pins, programs
from localcluster.images import Image
from localcluster.progress import UserError, step
from localcluster.store import lock

_PROGRAMS = tuple(name for name in pins.PROGRAMS if name not in ("kwok", "coredns", "envoy", "envoy-gateway", "weed"))


def up() -> None:
    """Bring the cluster up from any state: absent, half made, killed, or after a reboot."""
    debian.require_root()
    debian.require(pins.NODE_PACKAGES)
    programs.ensure(pins.PROGRAMS)
    own = images.ensure(addons.IMAGES)
    with _only_one():
        here = _node()
        with step("node ready", quiet_below=1):
            here.start()
        with step("images loaded", quiet_below=1):
            here.load(own.values())
        data = here.state / "s3"
        data.mkdir(exist_ok=True)
        shutil.chown(data, 65532, 65532)
        settings = addons.Settings(own_dns=True, cluster_dns=node.CLUSTER_DNS, s3_volume=f'hostPath: {{path: "{data}", type: Directory}}')
        addons.ensure(here.kubectl, _binaries() / "helm", own, settings)


def load(wanted: Iterable[Image]) -> None:
    """Give images to the running node."""
    with _only_one(), step("images loaded", quiet_below=1):
        _node().load(wanted)


def down() -> None:
    """Take everything of this checkout's cluster away; nothing happens if there is nothing."""
    state = paths.state()
    if not (state / "addresses.json").exists():
        shutil.rmtree(state, ignore_errors=True)
        return
    debian.require_root()
    with _only_one(), step("cluster removed"):
        node.remove(state, addresses.of(state / "addresses.json"))
    with contextlib.suppress(OSError):
        (paths.state_root() / "locks" / state.name).unlink()


def environment() -> dict[str, str]:
    """Variables for a shell, and for the tests that run on the cluster.

    Raises UserError where there is no cluster.
    """
    state = paths.state()
    if not (state / "admin.kubeconfig").exists():
        raise UserError("There is no cluster: `make up` brings one up.")
    here = addresses.of(state / "addresses.json")
    return {
        "KUBECONFIG": str(state / "admin.kubeconfig"),
        "PATH": f"{_binaries()}:$PATH",
        "SLIPWAY_GATEWAY_URL": f"http://{here.node}:{addons.GATEWAY_NODE_PORT}",
        "SLIPWAY_GATEWAY_URL_IN_CLUSTER": addons.GATEWAY_IN_CLUSTER,
        "SLIPWAY_S3_ENDPOINT": f"http://{here.node}:{addons.S3_NODE_PORT}",
        "SLIPWAY_S3_ENDPOINT_IN_CLUSTER": addons.S3_IN_CLUSTER,
        "SLIPWAY_S3_ACCESS_KEY": addons.S3_ACCESS_KEY,
        "SLIPWAY_S3_SECRET_KEY": addons.S3_SECRET_KEY,
        "no_proxy": f"{here.node},127.0.0.1,localhost",
        "NO_PROXY": f"{here.node},127.0.0.1,localhost",
    }


def _binaries() -> Path:
    return programs.ensure(_PROGRAMS)


def _node() -> node.Node:
    return node.Node(paths.state(), addresses.claim(paths.checkout_id()), _binaries())


def _only_one() -> contextlib.AbstractContextManager[None]:
    return lock(paths.checkout_id(), root=paths.state_root())
