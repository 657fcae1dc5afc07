"""The chart as Helm renders it: what a test needs of it is applied, and the rest is looked at."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from localcluster import programs
from localcluster.paths import REPOSITORY

RELEASE = "slipway"
RELEASE_NAMESPACE = "slipway-system"
ACCOUNT = f"system:serviceaccount:{RELEASE_NAMESPACE}:{RELEASE}"
"""The user that the operator is in a cluster."""


@dataclass(frozen=True)
class Chart:
    """Rendered manifests."""

    manifests: tuple[dict[str, Any], ...]

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """The manifests of some kinds."""
        return [m for m in self.manifests if m["kind"] in kinds]

    def operator_env(self) -> Mapping[str, str]:
        """The operator's environment variables, with what a pod would fill in."""
        (workload,) = self.of("Deployment")
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        filled = {"metadata.name": "slipway-0", "metadata.namespace": RELEASE_NAMESPACE}
        return {
            entry["name"]: entry["value"] if "value" in entry else filled[entry["valueFrom"]["fieldRef"]["fieldPath"]]
            for entry in container["env"]
        }


@lru_cache
def render(**values: Any) -> Chart:
    """``helm template`` with some values; a tuple becomes a list."""
    helm = programs.ensure(["helm"]) / "helm"
    sets = [word for name, value in values.items() for word in ("--set-json", f"{name}={json.dumps(value)}")]
    done = subprocess.run(
        [helm, "template", RELEASE, str(REPOSITORY / "charts" / "slipway"), "--namespace", RELEASE_NAMESPACE, *sets],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"helm template failed: {done.stderr}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return Chart(tuple(m for m in yaml.load_all(done.stdout, Loader=loader) if m))
