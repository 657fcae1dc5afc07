"""The load: a program of its own, so that making it is not measured as serving it."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_LUA = """\
wrk.method = "POST"
wrk.path = "{path}"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
{headers}
{pause}
"""
# Anything up to twice the mean, so that connections do not ask all at the same time.
_PAUSE = "function delay() return math.random(0, {milliseconds}) end"
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class NoLoadError(RuntimeError):
    """There is nothing to make load with."""


@dataclass(frozen=True)
class Load:
    """What came of it: answers and answers a second, latencies in seconds, and answers that were not 2xx."""

    answers: int
    rate: float
    p50: float
    p99: float
    failed: int


def wrk() -> str:
    """The path of wrk, installed from Debian's packages if it is missing and we may.

    Raises:
        NoLoadError: it is not there and cannot be installed.
    """
    found = shutil.which("wrk")
    if found is None and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-q", "wrk"], check=False, capture_output=True)
        found = shutil.which("wrk")
    if found is None:
        raise NoLoadError("the benchmark needs wrk to make its load: install it (Debian: apt-get install wrk)")
    return found


def lua(path: str, body: Path, headers: dict[str, str], pause: float) -> str:
    """wrk's script; ``pause`` as in ``closed_loop``."""
    lines = "\n".join(f'wrk.headers["{k}"] = "{v}"' for k, v in headers.items())
    waits = _PAUSE.format(milliseconds=round(2000 * pause)) if pause else ""
    return _LUA.format(path=path, body=body, headers=lines, pause=waits)


def closed_loop(
    url: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    directory: Path,
    *,
    connections: int,
    seconds: float,
    pause: float = 0.0,
) -> Load:
    """Each connection asks again as soon as it was answered, or ``pause`` seconds later in the mean, to whole
    milliseconds. By wrk, in a thread of its own process."""
    (directory / "body").write_bytes(body)
    script = directory / "load.lua"
    script.write_text(lua(path, directory / "body", headers, pause), encoding="utf-8")
    command = [
        wrk(),
        "-t1",
        f"-c{connections}",
        f"-d{seconds:g}s",
        "--latency",
        "--timeout=60s",
        "-s",
        str(script),
        url,
    ]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def latency(percent: str) -> float:
        number, unit = re.findall(rf"{percent}%\s+([\d.]+)(us|ms|s|m)", text)[0]
        return float(number) * _UNITS[unit]

    rate = float(re.findall(r"Requests/sec:\s+([\d.]+)", text)[0])
    answers = int(re.findall(r"(\d+) requests in", text)[0])
    wrong = re.findall(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.findall(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = int(wrong[0]) if wrong else 0
    failed += sum(int(n) for n in broken[0]) if broken else 0
    return Load(answers=answers, rate=rate, p50=latency("50"), p99=latency("99"), failed=failed)


@dataclass(frozen=True)
class Overload:
    """What came of more load than a server can bear. Latencies in seconds."""

    accepted: int
    refused: int
    other: int
    p50: float
    p99: float
    largest: float


def overload(
    port: int, path: str, body: bytes, headers: dict[str, str], *, connections: int, seconds: float
) -> Overload:
    """Like ``closed_loop``, but accepted and refused answers (503) are told apart; a refused client waits."""
    lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    request = f"POST {path} HTTP/1.1\r\nHost: h\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
    accepted: list[float] = []
    counts = {"refused": 0, "other": 0}

    async def client(end: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            begun = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            if head.startswith(b"HTTP/1.1 200"):
                accepted.append(time.perf_counter() - begun)
            elif head.startswith(b"HTTP/1.1 503"):
                counts["refused"] += 1
                await asyncio.sleep(0.2)
            else:
                counts["other"] += 1
        writer.close()

    async def main() -> None:
        end = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(client(end))

    asyncio.run(main())
    accepted.sort()
    if not accepted:
        return Overload(0, counts["refused"], counts["other"], 0.0, 0.0, 0.0)
    return Overload(
        accepted=len(accepted),
        refused=counts["refused"],
        other=counts["other"],
        p50=accepted[len(accepted) // 2],
        p99=accepted[min(len(accepted) - 1, len(accepted) * 99 // 100)],
        largest=accepted[-1],
    )
