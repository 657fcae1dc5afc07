"""Who runs on which processor: a shadow that takes its processor from nobody, on a machine of two.

On a node with room a shadow runs beside what serves clients, on processors that nobody else wants. Two processors have
no such room, so it is made: clients and the servers that they reach have one of them, Envoy has the other, and the
shadow runs there as an idle task, which the kernel takes off the processor the moment Envoy wants it. What is left
between a side with a shadow and one without is then what mirroring itself costs: Envoy's work on the copy, and what the
stable server keeps of its answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from slipway.kube.objects import PODS
from tests.support.api_server import Object
from tests.support.e2e import Tenant, World, processes_of

_ENVOYS = "envoy-gateway-system"
_CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def apart(world: World, shadowed: Tenant, plain: Tenant) -> Iterator[None]:
    """Give the shadow's pods only what nobody else wants; everything is as before at the end.

    Raises:
        AssertionError: no process of these pods is on this machine.
        LookupError: there is no second processor, or the kernel knows no idle control groups.
    """
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise LookupError("one processor alone cannot tell what a shadow costs beyond its processor")
    shadow = shadowed.pods(role="serve", model_version="digits-v2")
    serve = [pod for tenant in (shadowed, plain) for pod in tenant.pods(role="serve", model_version="digits-v1")]
    envoys = world.api.list(PODS, _ENVOYS)
    with ExitStack() as stack:
        stack.enter_context(_on(others, [os.getpid(), *_pids(serve)]))
        stack.enter_context(_on([first], _pids([*envoys, *shadow])))
        for pod in shadow:
            stack.enter_context(_idle(pod["metadata"]["uid"]))
        yield


def _pids(pods: Iterable[Object]) -> list[int]:
    return [process.pid for process in processes_of(pods)]


@contextmanager
def _on(processors: Iterable[int], pids: Iterable[int]) -> Iterator[None]:
    """Every thread of these processes on these processors."""
    before = {thread: os.sched_getaffinity(thread) for thread in _threads(pids)}
    for thread in before:
        os.sched_setaffinity(thread, processors)
    try:
        yield
    finally:
        for thread, processors in before.items():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, processors)


def _threads(pids: Iterable[int]) -> Iterator[int]:
    for pid in pids:
        for entry in Path(f"/proc/{pid}/task").iterdir():
            yield int(entry.name)


@contextmanager
def _idle(uid: str) -> Iterator[None]:
    """The control group of a pod runs only where nobody else wants to (``cpu.idle``, Linux 5.15 or newer)."""
    walk = os.walk(_CGROUPS)  # not a glob, which raises where the group of another pod goes meanwhile
    group = next((Path(g) for g, _, files in walk if uid in Path(g).name and "cpu.idle" in files), None)
    if group is None:
        raise LookupError("the kernel does not know cpu.idle, or the pod's control group is not on this machine")
    weight = next(group / name for name in ("cpu.shares", "cpu.weight") if (group / name).exists())
    before = weight.read_text()
    (group / "cpu.idle").write_text("1")
    try:
        yield
    finally:
        with suppress(FileNotFoundError):  # the pod is gone
            (group / "cpu.idle").write_text("0")
            weight.write_text(before)
