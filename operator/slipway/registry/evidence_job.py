"""The Job that signs a version's file, or checks its signature, as the namespace's ConfigMap asks for it. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import Any, Final

from slipway import contract, pods
from slipway.api import provenance
from slipway.api.common import GROUP
from slipway.api.model_version import ModelVersionSpec
from slipway.api.reproduce import NotReproducible
from slipway.kube.objects import Manifest
from slipway.registry.children import Defaults

CONFIG_MAP: Final = "slipway-signing"
"""A ConfigMap of this name in a namespace has the versions there signed, or their signatures checked."""
PUBLIC_KEY: Final = "publicKey"
SECRET: Final = "secret"  # noqa: S105 - a name, not a secret
REQUIRED: Final = "required"
PRIVATE_KEY: Final = "privateKey"
"""Key of the Secret that ``secret`` names."""

CONTAINER: Final = "sign"
COMMAND: Final = ("python3", "-m", "slipway_evidence")
TRY_ANNOTATION: Final = f"{GROUP}/sign-try"
"""On the Job: which try it is, counted from 0."""
ASKED_ANNOTATION: Final = f"{GROUP}/signing"
"""On the Job: a digest of what the ConfigMap said when it was made; where it says something else now, another Job is
made at once."""
SPEC_LIMIT: Final = 100 * 1024
"""Bytes of the ``EvidenceSpec``: Linux takes at most 128 KiB in one environment variable (``MAX_ARG_STRLEN``), and a
provenance with very long parameters is more."""
BACKOFF_LIMIT: Final = 2
DEADLINE: Final = 1800

_PEM: Final = re.compile("-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\\s]*)-----END PUBLIC KEY-----")
_CURVES: Final = {
    "3059301306072a8648ce3d020106082a8648ce3d03010703420004": 91,
    "3076301006072a8648ce3d020106052b8104002203620004": 120,
    "30819b301006072a8648ce3d020106052b810400230381860004": 158,
}
"""How a public key of P-256, P-384 and P-521 begins in DER (RFC 5480, the point uncompressed), and its bytes."""


class Broken(ValueError):
    """The ConfigMap does not say what it must; the message is a sentence."""


@dataclass(frozen=True)
class Signing:
    """What a namespace asks for.

    Attributes:
        public_key: PEM.
        secret: the Secret with the private key; None where this namespace only checks.
        required: whether a version without a signature may be Ready.
    """

    public_key: str
    secret: str | None
    required: bool

    @property
    def fingerprint(self) -> str | None:
        """sha256 of the key's PEM as the pod that signs writes it; None where it is no key that such a pod would take,
        or one with its point compressed."""
        return fingerprint(self.public_key)

    @property
    def mark(self) -> str:
        """A digest of what changes the outcome of the Job."""
        return hashlib.sha256(f"{self.public_key}\n{self.secret}".encode()).hexdigest()[:16]


def fingerprint(pem: str) -> str | None:
    """sha256 of a public key's PEM, in the one way that it is usually written: 64 characters a line.

    The operator knows no cryptography. It need not: of a curve's key there is one DER, and PEM is its base64.

    >>> fingerprint("ssh-rsa AAAA")
    """
    found = _PEM.search(pem)
    try:
        der = base64.b64decode("".join(found.group(1).split()), validate=True) if found else b""
    except binascii.Error:
        return None
    if not any(der.startswith(bytes.fromhex(begin)) and len(der) == size for begin, size in _CURVES.items()):
        return None
    text = base64.b64encode(der).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    whole = "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
    return f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"


def read(config_map: Manifest) -> Signing:
    """What a ConfigMap ``slipway-signing`` says.

    Raises:
        Broken: something is missing or cannot be read.

    >>> read({"data": {"publicKey": "PEM", "required": "true"}})
    Signing(public_key='PEM', secret=None, required=True)
    >>> read({"data": {"publicKey": "PEM", "required": "yes"}})
    Traceback (most recent call last):
    slipway.registry.evidence_job.Broken: required of the ConfigMap slipway-signing is 'yes': write "true" or "false"
    """
    data: dict[str, str] = config_map.get("data") or {}
    if not data.get(PUBLIC_KEY, "").strip():
        raise Broken(f"the ConfigMap {CONFIG_MAP} lacks {PUBLIC_KEY}: write the PEM public key of the signer there")
    required = data.get(REQUIRED, "false").strip()
    if required not in ("true", "false"):
        raise Broken(f'{REQUIRED} of the ConfigMap {CONFIG_MAP} is {required!r}: write "true" or "false"')
    return Signing(data[PUBLIC_KEY], data.get(SECRET, "").strip() or None, required == "true")


def job_name(version: str) -> str:
    """The Job of a version.

    >>> job_name("digits-v3")
    'digits-v3-sign'
    """
    return pods.child_name(version, "-sign")


def spec_of(version: Manifest, spec: ModelVersionSpec, asked: Signing) -> contract.EvidenceSpec:
    """What the pod is asked to do."""
    meta, artifact = version["metadata"], spec.artifact
    try:
        statement = json.dumps(provenance.statement(version), sort_keys=True, separators=(",", ":"))
    except NotReproducible:
        statement = None  # trained elsewhere: nothing is known of its making
    asked_for = contract.EvidenceSpec(
        namespace=meta["namespace"],
        modelVersion=meta["name"],
        artifact=contract.Artifact(artifact.uri, artifact.digest, artifact.size, artifact.store),
        publicKey=asked.public_key,
        statement=statement,
    )
    # The file is signed all the same, and the status says that this is missing.
    fits = len(contract.dumps(asked_for).encode()) <= SPEC_LIMIT
    return asked_for if fits else replace(asked_for, statement=None)


def job(version: Manifest, spec: ModelVersionSpec, asked: Signing, defaults: Defaults, number: int) -> dict[str, Any]:
    """The Job; ``number`` counts the tries from 0."""
    meta = version["metadata"]
    volume, mount = pods.scratch("work", contract.WORK_DIR, "64Mi")
    container = pods.program(
        CONTAINER,
        defaults.trainer_image,
        defaults.image_pull_policy,
        contract.dumps(spec_of(version, spec, asked)),
        contract.WORK_DIR,
        [spec.artifact.store],
        command=list(COMMAND),
        resources=pods.requirements("100m", "256Mi"),  # the file is read in pieces
        volumeMounts=[mount],
    )
    if asked.secret:
        # A variable and not a mount: where the Secret or its key is missing, the kubelet says so in a sentence.
        reference = {"name": asked.secret, "key": PRIVATE_KEY}
        container["env"].append({"name": contract.Env.SIGNING_KEY, "valueFrom": {"secretKeyRef": reference}})
    return pods.job(
        version,
        job_name(meta["name"]),
        pods.managed(model=spec.model, model_version=meta["name"], role="sign"),
        {"containers": [container], "volumes": [volume]},
        annotations={TRY_ANNOTATION: str(number), ASKED_ANNOTATION: asked.mark},
        backoffLimit=BACKOFF_LIMIT,
        activeDeadlineSeconds=DEADLINE,
    )
