"""What runs in the cluster besides Slipway: CoreDNS, Envoy Gateway with one Gateway, an S3 server."""

from __future__ import annotations

import http.client
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from string import Template

from localcluster import paths, programs
from localcluster.kubectl import WITHOUT_PROXY, Kubectl
from localcluster.progress import UserError, step
from localcluster.shell import run

IMAGES = ("coredns", "envoy-gateway", "envoy", "s3")
GATEWAY_NODE_PORT = 30080
S3_NODE_PORT = 30900
# The S3 server holds a demonstration's data and nobody else can reach it: its keys are no secret.
S3_ACCESS_KEY = "slipway"
S3_SECRET_KEY = "slipway-local-only"

_SOURCES = paths.LOCAL_CLUSTER / "addons"
_RECORD = "slipway-local-cluster"
_WORKLOADS = {"coredns": "kube-system", "s3": "slipway-s3", "envoy-gateway": "envoy-gateway-system"}
_READY_SECONDS = 180.0


@dataclass(frozen=True)
class Settings:
    """What differs between the two ways to a cluster.

    `address` is where the machine reaches the cluster's ports. `own_dns` is false where the cluster brings its own
    name server; `s3_volume` is the volume source of the S3 server's data, as YAML in flow style.
    """

    address: str
    own_dns: bool
    cluster_dns: str
    s3_volume: str


def environment(address: str) -> dict[str, str]:
    """Where the gateway and the S3 server are reached, from the machine at `address` and from pods."""
    local = f"{address},127.0.0.1,localhost"
    return {
        "SLIPWAY_GATEWAY_URL": f"http://{address}:{GATEWAY_NODE_PORT}",
        "SLIPWAY_GATEWAY_URL_IN_CLUSTER": "http://public.envoy-gateway-system.svc",
        "SLIPWAY_S3_ENDPOINT": f"http://{address}:{S3_NODE_PORT}",
        "SLIPWAY_S3_ENDPOINT_IN_CLUSTER": "http://s3.slipway-s3.svc:8333",
        "SLIPWAY_S3_ACCESS_KEY": S3_ACCESS_KEY,
        "SLIPWAY_S3_SECRET_KEY": S3_SECRET_KEY,
        "no_proxy": local,
        "NO_PROXY": local,
    }


def ensure(kubectl: Kubectl, helm: Path, images: Mapping[str, str], settings: Settings) -> None:
    """Install what is not installed as described, and wait until it serves; `images` is short name -> full name."""
    values = {
        "CLUSTER_DNS": settings.cluster_dns,
        "S3_VOLUME": settings.s3_volume,
        "S3_ACCESS_KEY": S3_ACCESS_KEY,
        "S3_SECRET_KEY": S3_SECRET_KEY,
        "S3_NODE_PORT": str(S3_NODE_PORT),
        "GATEWAY_NODE_PORT": str(GATEWAY_NODE_PORT),
        **{f"{name.upper().replace('-', '_')}_IMAGE": image for name, image in images.items()},
    }
    sources = [source for source in sorted(_SOURCES.glob("*.yaml")) if settings.own_dns or source.stem != "coredns"]
    texts = {source.stem: Template(source.read_text()).substitute(values) for source in sources}
    wanted = paths.digest(*(f"{name}\n{text}" for name, text in texts.items()), Path(__file__))
    record = kubectl.get("configmap", _RECORD, "kube-system")
    if not record or record["data"].get("addons") != wanted:
        with step("CoreDNS, S3 server and Envoy Gateway installed"):
            _install(kubectl, helm, texts)
        kubectl(
            "apply",
            "-f",
            "-",
            stdin=f'{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "{_RECORD}", '
            f'"namespace": "kube-system"}}, "data": {{"addons": "{wanted}"}}}}',
        )
    with step("CoreDNS, S3 server and gateway ready", quiet_below=1):
        _await(kubectl, settings)


def _install(kubectl: Kubectl, helm: Path, texts: Mapping[str, str]) -> None:
    charts = programs.envoy_gateway_charts()
    if "coredns" in texts:
        kubectl.apply(texts["coredns"])
    kubectl.apply(texts["s3"])
    kubectl.apply(
        _helm(
            kubectl,
            helm,
            "template",
            "crds",
            charts / "gateway-crds-helm",
            "--set=crds.gatewayAPI.enabled=true",
            "--set=crds.gatewayAPI.channel=standard",
            "--set=crds.envoyGateway.enabled=true",
        )
    )
    with tempfile.TemporaryDirectory() as scratch:
        chart = Path(scratch, "gateway-helm")
        shutil.copytree(charts / "gateway-helm", chart)
        # The chart's release process fills this template in; what it leaves out our own values give.
        template = (chart / "values.tmpl.yaml").read_text()
        (chart / "values.yaml").write_text(
            template.replace("${GatewayImage}", '""').replace("${GatewayImagePullPolicy}", '""')
        )
        values = Path(scratch, "values.yaml")
        values.write_text(texts["envoy-gateway-values"])
        # No --wait: the node pulls nothing, and everything is waited for together at the end.
        _helm(
            kubectl,
            helm,
            "upgrade",
            "--install",
            "envoy-gateway",
            chart,
            "--namespace=envoy-gateway-system",
            "--create-namespace",
            f"--values={values}",
            "--timeout=180s",
        )
    kubectl.apply(texts["gateway"])


def _helm(kubectl: Kubectl, helm: Path, *arguments: str | Path) -> str:
    return run([helm, *arguments], env={**WITHOUT_PROXY, "KUBECONFIG": str(kubectl.kubeconfig)}).stdout


def _await(kubectl: Kubectl, settings: Settings) -> None:
    def rolled_out(workload: str) -> None:
        kubectl(
            "rollout",
            "status",
            f"deployment/{workload}",
            "-n",
            _WORKLOADS[workload],
            f"--timeout={_READY_SECONDS:.0f}s",
        )

    workloads: Sequence[str] = [w for w in _WORKLOADS if settings.own_dns or w != "coredns"]
    with ThreadPoolExecutor(len(workloads)) as pool:
        list(pool.map(rolled_out, workloads))
    deadline = time.monotonic() + _READY_SECONDS
    # Asked itself, not only in the API: after a crash of the node what stands there may be from before. Envoy answers
    # only when it was told its routes, for which it needs the name server and Envoy Gateway.
    addresses = [f"http://{settings.address}:{port}/" for port in (S3_NODE_PORT, GATEWAY_NODE_PORT)]
    while not (_programmed(kubectl.get("gateway", "public", "gateways") or {}) and all(_answers(a) for a in addresses)):
        if time.monotonic() > deadline:
            raise UserError(
                f"The Gateway did not serve within {_READY_SECONDS:.0f} s: "
                "`kubectl describe gateway public -n gateways` tells more."
            )
        time.sleep(0.5)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True  # 404 without a route, 403 without keys: answers all the same
    except (OSError, http.client.HTTPException):
        return False


def _programmed(gateway: Mapping[str, object]) -> bool:
    status = gateway.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return any(c["type"] == "Programmed" and c["status"] == "True" for c in conditions)
