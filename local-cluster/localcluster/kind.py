"""The same cluster by kind, on a machine with Docker: what differs until there are a kubeconfig and loaded images.

Docker, kind, kubectl and helm are the machine's own here, on any Linux on x86-64; the addons' images are their
projects' own. Envoy Gateway's charts come out of its Go module, by the machine's Go or by one that pip fetches.
The project's own CI has no Docker and does not run this.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

from localcluster import addons, images, machine, node, paths, pins
from localcluster.kubectl import Kubectl
from localcluster.progress import UserError, step
from localcluster.shell import run
from localcluster.store import lock

_NEEDED = ("docker", "kind", "kubectl", "helm")
_CONFIG = paths.REPOSITORY / "kind-config.yaml"
_ADDON_IMAGES = {
    "envoy-gateway": f"envoyproxy/gateway:v{pins.ENVOY_GATEWAY_VERSION}",
    "envoy": f"envoyproxy/envoy:distroless-v{pins.ENVOY_VERSION}",
    "s3": f"chrislusf/seaweedfs:{pins.SEAWEEDFS_VERSION}",
}


class Kind:
    """One checkout's cluster made by kind."""

    def __init__(self) -> None:
        absent = [program for program in _NEEDED if shutil.which(program) is None]
        if absent:
            raise UserError(
                f"CLUSTER=kind needs these programs on the PATH: {', '.join(absent)}. "
                "Without Docker, `make up` alone brings up a cluster on a Debian machine."
            )
        self._name = f"slipway-{paths.checkout_id()}"
        self._state = paths.state() / "kind"
        self.kubectl = Kubectl(Path(shutil.which("kubectl") or "kubectl"), self._state / "admin.kubeconfig")
        self.helm = Path(shutil.which("helm") or "helm")

    def up(self) -> None:
        """Create the cluster if it is absent, and install what runs in it."""
        machine.require()
        self._state.mkdir(parents=True, exist_ok=True)
        if self._name not in run(["kind", "get", "clusters"], check=False).stdout.split():
            with step("kind cluster created"):
                run(
                    [
                        "kind",
                        "create",
                        "cluster",
                        f"--name={self._name}",
                        f"--config={_CONFIG}",
                        f"--kubeconfig={self.kubectl.kubeconfig}",
                        "--wait=120s",
                    ]
                )
        else:
            run(["kind", "export", "kubeconfig", f"--name={self._name}", f"--kubeconfig={self.kubectl.kubeconfig}"])
        patch = {"status": {part: {"nvidia.com/gpu": str(node.GPUS)} for part in ("capacity", "allocatable")}}
        self.kubectl(
            "patch",
            "node",
            f"{self._name}-control-plane",
            "--subresource=status",
            "--type=strategic",
            "-p",
            json.dumps(patch),
        )
        settings = addons.Settings(
            address="127.0.0.1", own_dns=False, cluster_dns=node.CLUSTER_DNS, s3_volume="emptyDir: {}"
        )
        addons.ensure(self.kubectl, self.helm, _ADDON_IMAGES, settings)

    def down(self) -> None:
        """Delete the cluster."""
        run(["kind", "delete", "cluster", f"--name={self._name}"])
        shutil.rmtree(self._state, ignore_errors=True)

    def load(self) -> dict[str, str]:
        """Build our images with Docker and load them; return short name -> full name."""
        names = {}
        for image in images.OURS:
            names[image] = images.name(image)
            if run(["docker", "image", "inspect", names[image]], check=False).returncode:
                with step(f"image {image} built"), tempfile.TemporaryDirectory() as scratch:
                    containerfile = images.stage(image, Path(scratch))
                    run(
                        [
                            "docker",
                            "build",
                            f"--build-arg=VARIANT={images.variant(image)}",
                            f"--file={containerfile}",
                            f"--tag={names[image]}",
                            scratch,
                        ]
                    )
        with step("images loaded"):
            run(["kind", "load", "docker-image", f"--name={self._name}", *names.values()])
        return names

    def memory(self) -> dict[str, float]:
        """Refused: the node is a container, and Docker says what it takes."""
        raise UserError(f"`docker stats --no-stream {self._name}-control-plane` says what kind's node takes.")

    def write_sboms(self, into: Path) -> list[Path]:
        """Refused: what Docker built is in Docker's store, and Docker has its own way to an SBOM."""
        raise UserError(
            "The SBOMs are of the images that this program builds itself: run `make sbom` on a Debian machine, without "
            "CLUSTER=kind. Of an image that Docker built, `docker sbom NAME` or syft makes one."
        )

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Hold off every other command that changes this checkout's cluster."""
        return lock(self._name, root=paths.state_root())

    def environment(self) -> dict[str, str]:
        """Variables for a shell and for the tests."""
        if not self.kubectl.kubeconfig.exists():
            raise UserError("There is no cluster: `make up CLUSTER=kind` brings one up.")
        return {
            "KUBECONFIG": str(self.kubectl.kubeconfig),
            **addons.environment("127.0.0.1"),
        }
