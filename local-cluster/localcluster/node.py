"""The node: control plane, containerd, kubelet and kube-proxy inside the node's namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from localcluster import cgroups, images, namespaces
from localcluster.addresses import Addresses
from localcluster.controlplane import ControlPlane, Ports
from localcluster.images import Image
from localcluster.kubectl import Kubectl
from localcluster.processes import Identity, Service, wait
from localcluster.progress import UserError, say
from localcluster.shell import run

NAME = "node1"
GPUS = 2
CLUSTER_DNS = "10.96.0.10"
_POD_RANGE = "10.244.0.0/24"
_PORTS = Ports(apiserver=6443, etcd=2379, etcd_peer=2380)  # always free: the node has its own loopback
_READY_SECONDS = 120.0


class Node:
    """One checkout's node. `start` makes a running node of any state; `remove` leaves no trace of it."""

    def __init__(self, state: Path, addresses: Addresses, binaries: Path) -> None:
        self.state = state
        self.addresses = addresses
        self.namespaces = namespaces.Namespaces(state, addresses)
        self.kubectl = Kubectl(binaries / "kubectl", state / "admin.kubeconfig")
        self._binaries = binaries
        self._run = self.namespaces.run_directory
        self._socket = self._run / "containerd.sock"
        self._ctr = (str(binaries / "ctr"), "--address", str(self._socket), "--namespace", "k8s.io")

    def start(self) -> None:
        """Start what does not run, and wait until the node is Ready and its pretended GPUs are advertised."""
        cgroups.ensure(self.addresses.cgroup)
        if self.namespaces.holder() is None:
            # Nothing of an earlier node may meet the new one.
            end_all(cgroups.members(self.addresses.cgroup))
        self.namespaces.ensure()
        prefix = self.namespaces.enter()
        plane = self._control_plane(prefix)
        self._start_control_plane(plane)
        self._configure(plane)
        containerd, kubelet, proxy = self._services(prefix)
        containerd.ensure()
        if (
            not wait(lambda: containerd.identity() is None or self.ctr("version").returncode == 0, 30)
            or containerd.identity() is None
        ):
            raise UserError(containerd.explain())
        # The kubelet starts no pod without the image that holds a pod's namespaces.
        self.load(images.ensure(["pause"]).values())
        begun = datetime.now(UTC).replace(microsecond=0)
        since = begun if kubelet.ensure() else datetime.min.replace(tzinfo=UTC)
        proxy.ensure()
        if (
            not wait(lambda: kubelet.identity() is None or self._ready(since), _READY_SECONDS, interval=0.2)
            or kubelet.identity() is None
        ):
            raise UserError(f"The node was not Ready within {_READY_SECONDS:.0f} s. " + kubelet.explain())
        self._advertise_gpus()

    def ctr(self, *arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
        """Run containerd's client on the node; does not raise."""
        return run([*self.namespaces.enter(), *self._ctr, *arguments], check=False)

    def load(self, wanted: Iterable[Image]) -> None:
        """Give the node those images that it lacks, without the layers it has.

        Raises UserError with containerd's words.
        """
        there = set(self.ctr("images", "list", "--quiet").stdout.split())
        absent = {image.name: image.digest for image in wanted if image.name not in there}
        if not absent:
            return
        blobs = set(self.ctr("content", "list", "--quiet").stdout.split())
        command = [*self.namespaces.enter(), *self._ctr, "images", "import", "-"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            if process.stdin is None or process.stderr is None:
                raise AssertionError("asked for pipes")
            with contextlib.suppress(BrokenPipeError):  # containerd has given up, and says why
                images.layout().export(absent, process.stdin, lambda digest: digest in blobs)
                process.stdin.close()
            words = process.stderr.read().decode(errors="replace")
        if process.returncode:
            raise UserError(f"containerd did not take the images {', '.join(absent)}: {words.strip()}")
        for name, digest in absent.items():
            # An image that was pulled has a name by digest too; this one gets it here, so that pods report it and can
            # ask for it as they would with a registry.
            done = self.ctr("images", "tag", "--force", name, f"{name.rpartition(':')[0]}@{digest}")
            if done.returncode:
                raise UserError(f"containerd did not name the image {name} by its digest: {done.stderr.strip()}")

    def _control_plane(self, prefix: tuple[str, ...]) -> ControlPlane:
        return ControlPlane(
            self.state, self._binaries, address=self.addresses.node, ports=_PORTS, prefix=prefix, scheduler=True
        )

    def _start_control_plane(self, plane: ControlPlane) -> None:
        try:
            plane.start()
        except UserError as error:
            if not (self.state / "etcd").exists():
                raise
            # etcd does not sync to disk here, so a machine that lost power may leave data it cannot read.
            say(f"  the cluster's data cannot be read, so it starts anew ({str(error).splitlines()[-1]})")
            plane.stop()
            shutil.rmtree(self.state / "etcd")
            plane.start()

    def _ready(self, since: datetime) -> bool:
        """Whether the kubelet said Ready after `since`: an older word may be that of one that was killed."""
        node = self.kubectl.get("node", NAME)
        for condition in (node or {}).get("status", {}).get("conditions", []):
            if condition["type"] == "Ready":
                beat = datetime.fromisoformat(condition["lastHeartbeatTime"])
                return bool(condition["status"] == "True" and beat >= since)
        return False

    def _advertise_gpus(self) -> None:
        """Kubernetes' own documented way to advertise an extended resource: https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/"""
        node = self.kubectl.get("node", NAME) or {}
        if node.get("status", {}).get("allocatable", {}).get("nvidia.com/gpu") == str(GPUS):
            return
        patch = {"status": {part: {"nvidia.com/gpu": str(GPUS)} for part in ("capacity", "allocatable")}}
        self.kubectl("patch", "node", NAME, "--subresource=status", "--type=strategic", "-p", json.dumps(patch))

    def _services(self, prefix: tuple[str, ...]) -> tuple[Service, Service, Service]:
        def service(name: str, *arguments: str, inputs: tuple[Path, ...]) -> Service:
            path = f"{self._binaries}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            return Service(
                self.state, name, [self._binaries / name, *arguments], prefix=prefix, env={"PATH": path}, inputs=inputs
            )

        config = self.state / "config"
        return (
            service("containerd", f"--config={config / 'containerd.toml'}", inputs=(config / "containerd.toml",)),
            service(
                "kubelet",
                f"--config={config / 'kubelet.json'}",
                f"--kubeconfig={self.state / 'kubelet.kubeconfig'}",
                f"--hostname-override={NAME}",
                f"--node-ip={self.addresses.node}",
                f"--root-dir={self.state / 'kubelet'}",
                f"--cert-dir={self.state / 'pki'}",
                inputs=(config / "kubelet.json",),
            ),
            service("kube-proxy", f"--config={config / 'kube-proxy.json'}", inputs=(config / "kube-proxy.json",)),
        )

    def _configure(self, plane: ControlPlane) -> None:
        authority, config = plane.authority, self.state / "config"
        certificate, key = authority.issue("kubelet", "kubelet", names=(f"DNS:{NAME}", f"IP:{self.addresses.node}"))
        authority.kubeconfig(self.state / "kubelet.kubeconfig", plane.url, f"system:node:{NAME}", ("system:nodes",))
        authority.kubeconfig(self.state / "kube-proxy.kubeconfig", plane.url, "system:kube-proxy")
        (config / "cni").mkdir(parents=True, exist_ok=True)
        _write(config / "cni" / "10-pods.conflist", json.dumps(self._cni(), indent=1))
        _write(config / "containerd.toml", self._containerd())
        _write(
            config / "kubelet.json",
            json.dumps(self._kubelet(str(authority.certificate), str(certificate), str(key)), indent=1),
        )
        _write(config / "kube-proxy.json", json.dumps(self._proxy(), indent=1))

    def _cni(self) -> dict[str, object]:
        # ptp, not bridge: pods meet only by way of the node's routing, where kube-proxy's rules and policies see them.
        # On a bridge an answer from pod to pod passes below them, and a Service between two pods of one node breaks.
        address_leases = {
            "type": "host-local",
            "dataDir": str(self._run / "addresses"),  # in memory: a lease must not outlive the node
            "ranges": [[{"subnet": _POD_RANGE}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        return {
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [{"type": "ptp", "ipMasq": False, "ipam": address_leases}],
        }

    def _containerd(self) -> str:
        return f"""\
version = 3
root = {_toml(self.state / "containerd")}
state = {_toml(self._run / "containerd")}
oom_score = 0
[grpc]
  address = {_toml(self._socket)}
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{images.name("pause")}"
[plugins.'io.containerd.cri.v1.runtime']
  # A root without CAP_SYS_RESOURCE may not lower a process's score; runc fails on it with
  # "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  # Pods' namespaces would else be mounted under the machine's /run/netns.
  netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = {_toml(self.state / "config" / "cni")}
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    BinaryName = "/usr/sbin/runc"
    SystemdCgroup = false
"""

    def _kubelet(self, authority: str, certificate: str, key: str) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.addresses.cgroup}",
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": authority},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": certificate,
            "tlsPrivateKeyFile": key,
            "clusterDNS": [CLUSTER_DNS],
            "clusterDomain": "cluster.local",
            "failSwapOn": False,
            "podLogsDir": str(self.state / "podlogs"),
            "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "localStorageCapacityIsolation": False,
            "resolvConf": "",
            # A development cluster's pods come and go in seconds; the defaults of 5 and 10 a second make tests wait.
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
        }

    def _proxy(self) -> dict[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": str(self.state / "kube-proxy.kubeconfig")},
            "clusterCIDR": _POD_RANGE,
            "conntrack": {"maxPerCore": 0},
            "hostnameOverride": NAME,
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
        }


def processes(state: Path, addresses: Addresses) -> list[Identity]:
    """Every process of one checkout's cluster, each once: the node's own, the kubelet first, then the pods'."""
    spaces = namespaces.Namespaces(state, addresses)
    return list(dict.fromkeys([*spaces.members(), *cgroups.members(addresses.cgroup)]))


def remove(state: Path, addresses: Addresses) -> None:
    """End everything of one checkout's node and take it away, whatever is left of it."""
    # The kubelet and containerd first, and by killing: asked politely they would still start what is being removed.
    for _ in range(20):
        left = processes(state, addresses)
        if not left:
            break
        end_all(left)
    else:
        raise UserError(f"These processes do not end: {', '.join(str(p.pid) for p in left)}.")
    run(["ip", "link", "delete", addresses.link], check=False)
    cgroups.remove(addresses.cgroup)
    _remove_files(state)
    if not any(state.parent.glob("*/namespaces.json")):
        # The last cluster of this machine: its kubelet's built-in paths were made by us if nothing lies in them.
        for path in namespaces.MASKED:
            with contextlib.suppress(OSError):
                path.rmdir()


def _remove_files(state: Path) -> None:
    """Remove the state directory, what a later `down` would need to know last.

    The node's mounts go a moment after its last process, and a directory that is one cannot be removed.
    """
    parts = [entry for entry in state.iterdir() if entry.name != "addresses.json"]
    for part in parts:
        for pause in (0.2, 0.5, 1.0, 2.0, 5.0):
            with contextlib.suppress(OSError):
                shutil.rmtree(part) if part.is_dir() else part.unlink()
            if not part.exists():
                break
            time.sleep(pause)
    shutil.rmtree(state)


def end_all(processes: list[Identity]) -> None:
    """Kill them all at once, then wait for each."""
    for process in processes:
        process.kill()
    for process in processes:
        wait(lambda p=process: not p.alive(), 10)  # type: ignore[misc]


def _toml(path: Path) -> str:
    return json.dumps(str(path))  # a TOML basic string escapes as JSON does


def _write(path: Path, text: str) -> None:
    """Write only what changed: a file's new content makes its process restart."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
