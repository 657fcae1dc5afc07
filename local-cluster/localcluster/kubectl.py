"""kubectl, and the few questions the local cluster asks with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from localcluster.shell import run

# The cluster is on this machine: a proxy that is set for the outside must not be asked for it.
WITHOUT_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "")


class Kubectl:
    """kubectl with one kubeconfig."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        self.program = program
        self.kubeconfig = kubeconfig

    def __call__(
        self, *arguments: str | os.PathLike[str], stdin: str | None = None, check: bool = True, timeout: float = 300.0
    ) -> str:
        """Run kubectl; return its standard output. Raises UserError with its words when it fails and `check` is set."""
        env = {**WITHOUT_PROXY, "KUBECONFIG": str(self.kubeconfig)}
        return run([self.program, *arguments], stdin=stdin, env=env, check=check, timeout=timeout).stdout

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any] | None:
        """One object; None if it is not there or the API server does not answer."""
        text = self("get", kind, name, "-n", namespace, "-o", "json", "--request-timeout=5s", check=False)
        return json.loads(text) if text.strip() else None

    def apply(self, manifests: str, *arguments: str) -> None:
        """Server-side apply, taking over fields that somebody else wrote."""
        self("apply", "--server-side", "--force-conflicts", "-f", "-", *arguments, stdin=manifests)
