"""The gate at which the end-to-end tests kill the operator, on a real API server: it sees each write of one writer in
one namespace, whatever kind it is of, before it is stored."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway.kube.objects import CONFIG_MAPS, DEPLOYMENTS, SERVICES
from tests.support.api_server import SERVICE_ACCOUNTS, Api, Refusal
from tests.support.control_plane import Cluster
from tests.support.gate import Gate, Lives
from tests.support.serving_builders import deployment


class Writer:
    """A service account whose pods have lives; what it writes, it writes in the name of one of them."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self._cluster, self._namespace, self._folder = cluster, namespace, folder
        self._lives: list[Api] = []
        self.user = f"system:serviceaccount:{namespace}:writer"
        account = {"name": "writer", "namespace": namespace}
        cluster.api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        cluster.api.create(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": account,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", **account}],
            }
        )

    def life(self, name: str) -> tuple[str, Api]:
        """The uid of a new pod, and requests by its token."""
        security = {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        pod = self._cluster.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": self._namespace},
                "spec": {
                    "serviceAccountName": "writer",
                    "containers": [{"name": "writer", "image": "writer:1", "securityContext": security}],
                },
            }
        )
        uid: str = pod["metadata"]["uid"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600, "boundObjectRef": bound},
        }
        given = self._cluster.api.call("POST", SERVICE_ACCOUNTS.path(self._namespace, "writer", "token"), asked)
        config = json.loads(self._cluster.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": given["status"]["token"]}
        kubeconfig = self._folder / f"{name}.kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        self._lives.append(Api(kubeconfig))
        return uid, self._lives[-1]

    def close(self) -> None:
        for life in self._lives:
            life.close()


@pytest.fixture
def writer(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Writer]:
    made = Writer(cluster, namespace, tmp_path)
    yield made
    made.close()


def config_map(namespace: str, name: str, **data: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def gate(cluster: Cluster, namespace: str, writer: Writer, lives: Lives, folder: Path) -> Gate:
    listening = socket.create_server(("127.0.0.1", 0))
    return Gate(cluster.kubeconfig, namespace, writer.user, lives, folder / "pki", listening)


def test_it_sees_each_write_of_the_writer_and_nobody_elses(
    cluster: Cluster, namespace: str, writer: Writer, tmp_path: Path
) -> None:
    life, mine = writer.life("one")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "front", "namespace": namespace},
        "spec": {"ports": [{"port": 80}]},
    }
    made = deployment()
    made["metadata"]["namespace"] = namespace
    lives = Lives()
    with gate(cluster, namespace, writer, lives, tmp_path):
        mine.apply(service)
        mine.create(config_map(namespace, "posted"))
        live = mine.create(made)
        path = DEPLOYMENTS.path(namespace, live["metadata"]["name"], "status")
        mine.call("PUT", path, {**live, "status": {"phase": "Progressing"}})
        mine.delete(SERVICES, namespace, "front")
        cluster.api.apply(config_map(namespace, "of-another"))
    written = lives.written
    assert [str(write) for write in written] == [
        "CREATE Service front",
        "CREATE ConfigMap posted",
        "CREATE Deployment.slipway.dev digits",
        "UPDATE Deployment.slipway.dev/status digits",
        "DELETE Service front",
    ]
    assert {write.life for write in written} == {life}
    assert written[3].object["status"] == {"phase": "Progressing"}
    # and a gate that is gone asks nobody
    mine.apply(config_map(namespace, "posted", later="yes"))
    assert len(written) == 5


def test_the_second_write_of_a_life_is_not_stored(
    cluster: Cluster, namespace: str, writer: Writer, tmp_path: Path
) -> None:
    died: list[str] = []
    (_, first), (_, second) = writer.life("one"), writer.life("two")
    lives = Lives(lambda: died.append("x"))
    with gate(cluster, namespace, writer, lives, tmp_path):
        first.apply(config_map(namespace, "a"))
        for _ in range(2):
            with pytest.raises(Refusal, match="denied the request"):
                first.apply(config_map(namespace, "b"))
        assert cluster.api.get(CONFIG_MAPS, namespace, "b") is None
        second.apply(config_map(namespace, "b"))
    assert died == ["x"]
    assert [write.name for write in lives.written] == ["a", "b"]
    assert [write.name for write in lives.ended] == ["b"]
