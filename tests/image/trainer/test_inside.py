"""What needs torch, run inside the trainer image with the development environment's pytest."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from tests.support.image_root import ImageRoot, writable

_HERE = Path(__file__).parent
# Pure Python, so it does not matter that the image's Python is another one.
_TOOLS = ("_pytest", "iniconfig", "packaging", "pluggy", "py", "pygments", "pytest")


def test_export_and_checkpoints_of_torch(trainer: ImageRoot, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in _TOOLS:
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        source = Path(found.origin)
        if source.name == "__init__.py":
            shutil.copytree(source.parent, tools / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tools)
    quiet = ["error", "ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning"]
    code, output = trainer.run(
        ["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"-W{each}" for each in quiet), "/tests"],
        {"PYTHONPATH": "/tools", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp", "TMPDIR": "/tmp"},
        {tools: "/tools", _HERE / "inside": "/tests", writable(tmp_path / "scratch"): "/tmp"},
    )
    assert code == 0, output
    print(output)
