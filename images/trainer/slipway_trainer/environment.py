"""What the training ran on, for the lineage."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
from pathlib import Path
from typing import Final

from slipway.contract import Environment, Gpu

_DRIVER: Final = Path("/proc/driver/nvidia/version")


def packages() -> bytes:
    """The Python packages of the image: sorted lines ``name==version``, names as PyPI normalizes them (PEP 503)."""
    found = {
        f"{re.sub(r'[-_.]+', '-', dist.metadata['Name']).lower()}=={dist.version}\n"
        for dist in importlib.metadata.distributions()
        if dist.metadata["Name"]
    }
    return "".join(sorted(found)).encode()


def describe(listed: bytes, threads: int) -> Environment:
    """The environment record; ``listed`` is what ``packages`` gave. What is not there is None."""
    torch_version, cuda, cudnn, gpu = _torch()
    return Environment(
        python=platform.python_version(),
        torch=torch_version,
        onnxruntime=_version("onnxruntime") or _version("onnxruntime-gpu"),
        cuda=cuda,
        cudnn=cudnn,
        driver=driver() if gpu else None,
        gpu=gpu,
        threads=threads,
        packages=f"sha256:{hashlib.sha256(listed).hexdigest()}",
    )


def driver(path: Path = _DRIVER) -> str | None:
    """Version of the NVIDIA kernel driver, as the driver itself tells it."""
    try:
        match = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", path.read_text())
    except OSError:
        return None
    return match.group(1) if match else None


def _torch() -> tuple[str | None, str | None, str | None, Gpu | None]:
    try:
        import torch
    except ImportError:
        return None, None, None, None
    if not torch.cuda.is_available():
        return str(torch.__version__), torch.version.cuda, None, None
    cudnn = torch.backends.cudnn.version()
    gpu = Gpu(torch.cuda.get_device_name(0), torch.cuda.device_count())
    return str(torch.__version__), torch.version.cuda, str(cudnn) if cudnn else None, gpu


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
