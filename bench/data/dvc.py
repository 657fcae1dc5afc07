"""DVC in an environment of its own, and a project that reaches the S3 server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench.environment import environment
from tests.support.s3_server import S3Server

VERSION = "3.67.1"


def program() -> Path:
    """DVC's program; installed from PyPI on first use."""
    return environment(f"dvc-{VERSION}", f"dvc[s3]=={VERSION}") / "bin" / "dvc"


class Project:
    """A folder that DVC keeps, with nothing of an earlier run in any cache."""

    def __init__(self, folder: Path, s3: S3Server) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self.env = {
            **os.environ,
            "HOME": str(folder / "home"),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for name in ("PYTHONPATH", "VIRTUAL_ENV"):
            self.env.pop(name, None)
        (folder / "home").mkdir()
        dvc = program()
        for command in (
            ["init", "-q", "--no-scm"],
            ["config", "core.analytics", "false"],
            ["config", "core.check_update", "false"],
            ["config", "cache.type", "hardlink,copy"],  # its default would write every byte twice
            ["remote", "add", "-q", "store", "s3://data"],
            ["remote", "modify", "-q", "store", "endpointurl", s3.endpoint],
            ["remote", "modify", "-q", "store", "region", "us-east-1"],
        ):
            subprocess.run([dvc, *command], cwd=self.folder, env=self.env, check=True)

    def command(self, *words: str) -> list[str]:
        """A command line."""
        return [str(program()), *words]

    def forget(self) -> None:
        """Drop DVC's cache and what it remembers of files, and leave the data."""
        for folder in (self.folder / ".dvc" / "cache", self.folder / ".dvc" / "tmp", self.folder.parent / "site"):
            subprocess.run(["rm", "-rf", folder], check=True)
        for record in (each for each in self.folder.glob("*.dvc") if each.is_file()):
            record.unlink()
