"""Which machines can run any of this at all."""

from __future__ import annotations

import platform

from localcluster import pins
from localcluster.progress import UserError


def require() -> None:
    """Raise UserError unless this is Linux on x86-64, of whatever distribution.

    The one thing that says so for every way to a cluster is onnxruntime-gpu: the server image and the development
    environment hold it, and it is published for no other Linux and for no macOS. What else is pinned by a wheel's
    checksum (kubectl, Envoy, the S3 server) is pinned for the same.
    """
    system, architecture = platform.system(), platform.machine()
    if (system, architecture) != ("Linux", pins.ARCHITECTURE):
        raise UserError(
            f"Slipway's server image and its development environment hold onnxruntime-gpu, which is published for "
            f"Linux on {pins.ARCHITECTURE} alone; this machine is {system} on {architecture}. Use a machine (or a "
            f"virtual one) with Linux on {pins.ARCHITECTURE}: Debian for `make up`, any with Docker for "
            "`make up CLUSTER=kind`."
        )
