"""Slipway itself, by its Helm chart, with the images that the cluster was given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from localcluster import paths
from localcluster.kubectl import WITHOUT_PROXY, Kubectl
from localcluster.progress import step
from localcluster.shell import run

RELEASE = "slipway"
NAMESPACE = "slipway-system"


def deploy(kubectl: Kubectl, helm: Path, images: Mapping[str, str]) -> None:
    """Install or upgrade the chart; `images` is short name -> full name. Returns when the operator is ready."""
    with step("Slipway deployed"):
        _forget_interrupted(kubectl, helm)
        values = [f"--set-string=image.{image}={name}" for image, name in images.items()]
        run(
            [
                helm,
                "upgrade",
                "--install",
                RELEASE,
                paths.REPOSITORY / "charts" / "slipway",
                f"--namespace={NAMESPACE}",
                "--create-namespace",
                *values,
                "--wait",
                "--timeout=180s",
            ],
            env={**WITHOUT_PROXY, "KUBECONFIG": str(kubectl.kubeconfig)},
        )


def _forget_interrupted(kubectl: Kubectl, helm: Path) -> None:
    """Helm refuses to go on after a helm that was killed; whoever holds the checkout's lock knows it was."""
    env = {**WITHOUT_PROXY, "KUBECONFIG": str(kubectl.kubeconfig)}
    status = run([helm, "status", RELEASE, f"--namespace={NAMESPACE}", "--output=json"], env=env, check=False)
    if status.returncode:
        return  # never installed
    release = json.loads(status.stdout)
    if release["info"]["status"].startswith("pending-"):
        record = f"sh.helm.release.v1.{RELEASE}.v{release['version']}"
        kubectl("delete", "secret", record, f"--namespace={NAMESPACE}")
