"""Versions that are signed on the cluster before they are Ready; anybody can check the signature without us."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import verifying

from slipway.kube.objects import MODEL_VERSIONS, PODS
from slipway_evidence import bundle
from tests.support.api_server import Object
from tests.support.e2e import EXAMPLES, Tenant, World, condition


def pair() -> tuple[str, str]:
    """A private key and its public key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


OURS, OTHER = pair(), pair()


def name_keys(tenant: Tenant, private: str, public: str, secret: str = "signer") -> None:
    """The example, with one's own keys."""
    meta = {"name": secret, "namespace": tenant.name}
    tenant.api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"privateKey": private}})
    (config_map,) = tenant.example("signing/signing.yaml")
    config_map["data"] |= {"publicKey": public, "secret": secret}
    tenant.api.apply(config_map)


def blocked(tenant: Tenant, name: str, reason: str) -> Object:
    return tenant.until(
        MODEL_VERSIONS,
        name,
        lambda o: condition(o, "Ready")["reason"] == reason and condition(o, "Ready")["status"] == "False",
        what=reason,
    )


def read(world: World, uri: str) -> bytes:
    where = urlsplit(uri)
    return bytes(world.store.get_object(where.netloc, where.path.lstrip("/")).read())


def test_a_version_is_signed_and_others_can_check_it(world: World, tenant: Tenant, tmp_path: Path) -> None:
    # Given a namespace that insists, with a private key that is not of the public key
    name_keys(tenant, OTHER[0], OURS[1])
    world.digits()
    tenant.code("digits-code", {"train.py": (EXAMPLES / "quickstart" / "train.py").read_text()})
    tenant.give("quickstart/run-1.yaml")
    tenant.trained("digits-1")
    refused = blocked(tenant, "digits-v1", "SigningKeyMismatch")
    assert "write the two of one pair there" in refused["status"]["message"]
    assert condition(refused, "Verified")["status"] == "True"
    # When the right pair is named
    name_keys(tenant, OURS[0], OURS[1], secret="right")
    # Then it is signed, and model-signing says so too
    version = tenant.version_ready("digits-v1")
    evidence = version["status"]["evidence"]
    model, signature, public = tmp_path / "model.onnx", tmp_path / "model.sig", tmp_path / "key.pub"
    model.write_bytes(read(world, version["spec"]["artifact"]["uri"]))
    signature.write_bytes(read(world, evidence["signature"]["uri"]))
    public.write_text(OURS[1])
    verifying.Config().use_elliptic_key_verifier(public_key=public).verify(model, signature)
    key = serialization.load_pem_public_key(OURS[1].encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    statement = bundle.read(read(world, evidence["provenance"]["uri"]), key)
    assert statement["subject"][0]["digest"]["sha256"] == version["spec"]["artifact"]["digest"].removeprefix("sha256:")
    assert statement["predicate"]["buildDefinition"]["externalParameters"]["seed"] == 7
    # And no pod but the one that signed has the key
    for pod in tenant.api.list(PODS, tenant.name):
        names = [e["name"] for c in pod["spec"]["containers"] for e in c.get("env", ())]
        role = pod["metadata"]["labels"]["slipway.dev/role"]
        assert ("SLIPWAY_SIGNING_KEY" in names) == (role == "sign")


def test_a_model_that_was_tampered_with_and_a_foreign_signature_are_named(world: World, tenant: Tenant) -> None:
    (config_map,) = tenant.example("signing/signing.yaml")
    config_map["data"] = {"publicKey": OURS[1], "required": "true"}
    tenant.api.apply(config_map)
    # a namespace that only checks: nobody signed this file
    artifact = world.copy(1, f"s3://models/e2e/{tenant.name}-1.onnx")
    tenant.register(1, artifact)
    told = blocked(tenant, "digits-v1", "NotSigned")
    assert f"lies beside {artifact.uri}" in told["status"]["message"]
    # the file is changed after it was verified
    content = read(world, artifact.uri)
    world.put(artifact.uri, content + b"!")
    name_keys(tenant, OURS[0], OURS[1])
    told = blocked(tenant, "digits-v1", "ModelChanged")
    assert artifact.digest in told["status"]["message"]
    # and put back
    world.put(artifact.uri, content)
    name_keys(tenant, OURS[0], OURS[1], secret="again")
    assert "provenance" not in tenant.version_ready("digits-v1")["status"]["evidence"]
