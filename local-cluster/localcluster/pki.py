"""Certificates and kubeconfigs, made with the openssl command."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from localcluster.shell import run

_DAYS = "3650"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
# OpenSSL's own configuration would add extensions of its choice; Python 3.13 and later refuse an authority without
# `keyUsage` and a certificate without `authorityKeyIdentifier` (RFC 5280, 4.2.1).
_CONFIGURATION = """\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class Authority:
    """One certificate authority in one directory, and what it signed; existing files are kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.certificate = directory / "ca.crt"
        self.service_account_key = directory / "sa.key"
        self.service_account_public_key = directory / "sa.pub"
        self._key = directory / "ca.key"
        self._configuration = directory / "openssl.cnf"

    def ensure(self) -> None:
        """Make the authority and the key that signs service account tokens."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.service_account_key.exists():
            fresh = self.service_account_key.with_suffix(".new")
            run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", fresh])
            run(["openssl", "pkey", "-in", fresh, "-pubout", "-out", self.service_account_public_key])
            fresh.rename(self.service_account_key)
        if not self.certificate.exists():
            fresh = self.certificate.with_suffix(".new")
            self._configuration.write_text(_CONFIGURATION)
            run(
                [
                    "openssl",
                    "req",
                    "-x509",
                    "-config",
                    self._configuration,
                    "-extensions",
                    "authority",
                    *_KEY,
                    "-keyout",
                    self._key,
                    "-out",
                    fresh,
                    "-subj",
                    "/CN=slipway-local",
                    "-days",
                    _DAYS,
                ]
            )
            fresh.rename(self.certificate)

    def issue(
        self, name: str, user: str, groups: Sequence[str] = (), names: Sequence[str] = ("DNS:localhost",)
    ) -> tuple[Path, Path]:
        """Sign a certificate for `user` in `groups`, good for clients and servers; return its and its key's path.

        `names` are subject alternative names in openssl's notation, for example `IP:127.0.0.1`. A certificate that was
        issued under `name` before is returned as it is.
        """
        certificate, key = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        if not certificate.exists():
            fresh = certificate.with_suffix(".new")
            subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
            run(
                [
                    "openssl",
                    "req",
                    "-x509",
                    "-config",
                    self._configuration,
                    "-extensions",
                    "leaf",
                    "-addext",
                    f"subjectAltName={','.join(names)}",
                    *_KEY,
                    "-keyout",
                    key,
                    "-out",
                    fresh,
                    "-subj",
                    subject,
                    "-days",
                    _DAYS,
                    "-CA",
                    self.certificate,
                    "-CAkey",
                    self._key,
                ]
            )
            fresh.rename(certificate)
        return certificate, key

    def kubeconfig(self, path: Path, server: str, user: str, groups: Sequence[str] = ()) -> Path:
        """Write a kubeconfig for `user` in `groups` to `path`; JSON, which is YAML too."""
        if not path.exists():
            certificate, key = self.issue(f"user-{path.stem}", user, groups)
            config = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": "slipway",
                        "cluster": {"server": server, "certificate-authority-data": _base64(self.certificate)},
                    }
                ],
                "users": [
                    {
                        "name": user,
                        "user": {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)},
                    }
                ],
                "contexts": [{"name": "slipway", "context": {"cluster": "slipway", "user": user}}],
                "current-context": "slipway",
            }
            fresh = path.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_text(json.dumps(config, indent=1) + "\n")
            fresh.rename(path)
        return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
