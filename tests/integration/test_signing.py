"""Signatures that a namespace asks for, on a real API server; the signing pods are played."""

from __future__ import annotations

from slipway import contract
from slipway.api.common import Label
from slipway.kube.objects import JOBS, MODEL_VERSIONS
from tests.support.builders import PUBLIC_KEY
from tests.support.kubelet import fails, signs_well
from tests.support.world import World, condition, states


def test_a_version_is_ready_only_when_it_is_signed(world: World) -> None:
    team = world.team()
    wrong = "the private key is another pair's"
    team.play("sign", fails(contract.EXIT_USER_ERROR, "SigningKeyMismatch", wrong))
    team.config_map("slipway-signing", publicKey=PUBLIC_KEY, secret="signer", required="true")
    team.run()
    team.run_until("Succeeded")
    refused = team.version_until("Verifying", reason="SigningKeyMismatch")
    assert wrong in refused["status"]["message"]
    assert states(refused)["Ready"] == "False"
    assert states(refused)["Verified"] == "True"
    assert states(refused)["Signed"] == "False"
    # the key is put right where nobody sees it, and the ConfigMap names another Secret
    team.play("sign", signs_well)
    team.config_map("slipway-signing", publicKey=PUBLIC_KEY, secret="other", required="true")
    ready = team.version_until("Ready")
    assert states(ready)["Signed"] == "True"
    assert condition(ready, "Stalled")["status"] == "False"
    evidence = ready["status"]["evidence"]
    assert evidence["signature"]["uri"].startswith(ready["spec"]["artifact"]["uri"])
    assert evidence["provenance"]["uri"].endswith(".provenance.json")
    team.gone(JOBS, selector=f"{Label.ROLE}=sign")


def test_where_nobody_insists_it_is_ready_at_once_and_signed_later(world: World) -> None:
    team = world.team()
    team.play("sign", lambda _pod: None)
    team.config_map("slipway-signing", publicKey=PUBLIC_KEY, secret="signer")
    team.register()
    team.version_until("Ready", check=lambda live: states(live).get("Signed") == "Unknown")
    team.play("sign", signs_well)
    signed = team.version_until("Ready", check=lambda live: "evidence" in live["status"])
    assert "provenance" not in signed["status"]["evidence"], "nothing is known of the making of an imported model"


def test_a_wrong_config_map_is_told(world: World) -> None:
    team = world.team()
    team.config_map("slipway-signing", required="true")
    team.register()
    told = team.version_until("Verifying", reason="SigningMisconfigured")
    assert "the ConfigMap slipway-signing lacks publicKey" in told["status"]["message"]
    team.config_map("slipway-signing", publicKey=PUBLIC_KEY, secret="signer", required="true")
    team.version_until("Ready")
    assert [v["metadata"]["name"] for v in team.all(MODEL_VERSIONS)] == ["digits-v1"]
