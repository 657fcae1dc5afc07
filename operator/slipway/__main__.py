"""Wiring only: settings, clients, registration, Kopf start. ``python -m slipway``."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import kopf
from aiohttp import web
from kubernetes.aio.client import ApiClient
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from slipway import settings, telemetry
from slipway.api.common import FIELD_MANAGER, Label
from slipway.datasets import handlers as datasets
from slipway.kube.client import ApiServer, Kube, KubeError, NotInstalled
from slipway.kube.controller import Controller, Room
from slipway.kube.fence import Fence, LeadershipLost
from slipway.kube.leader import lead
from slipway.kube.memoryless import NoDiffs, NoProgress
from slipway.kube.objects import (
    DATASETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    HTTP_ROUTES,
    JOBS,
    MODEL_VERSIONS,
    PODS,
    SERVICES,
    TRAINING_RUNS,
    WORKLOADS,
)
from slipway.kube.wake import Wake
from slipway.kube.workqueue import WorkQueue
from slipway.registry import handlers as registry
from slipway.registry.reproductions import Runs
from slipway.serving import handlers as serving
from slipway.settings import Settings
from slipway.training import handlers as training

logger = logging.getLogger("slipway")

Register = Callable[[kopf.OperatorRegistry, Wake], None]

RECONNECT_SECONDS: Final = 5.0
"""Seconds after the API server's return in which the operator looks again, at most."""
LOOK_SECONDS: Final = 2.0
OURS: Final = (DATASETS, TRAINING_RUNS, MODEL_VERSIONS, DEPLOYMENTS)
CHILDREN: Final = (JOBS, PODS, WORKLOADS, SERVICES, ENDPOINT_SLICES, HTTP_ROUTES)


class Backoffs:
    """Seconds to Kopf's next try, each time from the first: soon, and then every ``RECONNECT_SECONDS``. Without end,
    and so without a length, by which Kopf knows that it is not to count them."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1, 2), itertools.repeat(RECONNECT_SECONDS))


def kopf_settings() -> kopf.OperatorSettings:
    """How Kopf watches: without peering (the Lease does that), Events, finalizers or a scan for new kinds."""
    made = kopf.OperatorSettings()
    made.peering.standalone = True
    made.posting.enabled = False
    # A scan would need the right to list every CRD and every namespace.
    made.scanning.disabled = True
    made.watching.chunk_size = 500
    # Without end: a watch that Kopf gives up is a kind to which nobody looks any more.
    made.networking.error_backoffs = Backoffs()
    # Kopf keeps an object that it has shown us until its worker has been idle so long: at a start, all that it reads
    # within that time.
    made.queueing.idle_timeout = 0.5
    made.persistence.diffbase_storage = NoDiffs()
    made.persistence.progress_storage = NoProgress()
    for resource in CHILDREN:
        # The API server filters: pods of strangers cost no memory here.
        selector = f"{Label.MANAGED_BY}={FIELD_MANAGER}"
        made.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    return made


def build(
    options: Settings, kube: Kube, registered: kopf.OperatorRegistry, metrics: telemetry.Metrics
) -> list[Controller[Any]]:
    """A controller for each kind, each fed by its room's handlers."""
    controllers: list[Controller[Any]] = []

    def add(room: Room[Any], register: Register) -> None:
        queue = WorkQueue(group=room.group)
        register(registered, queue.add)
        metrics.queue(room.resource, queue.__len__)
        controllers.append(
            Controller(
                room,
                kube,
                queue,
                instance=options.identity,
                workers=options.workers,
                resync=options.resync_seconds,
                watcher=metrics,
            )
        )

    add(datasets.room(options, metrics.datasets), datasets.register)
    add(training.room(options), training.register)
    reproductions = Runs()
    add(registry.room(options, reproductions), functools.partial(registry.register, runs=reproductions))
    eyes = serving.eyes(options)
    add(serving.room(options, metrics.rollouts, eyes), functools.partial(serving.register, eyes=eyes))
    return controllers


async def kinds_served(kube: Kube, namespace: str | None) -> None:
    """Wait until the API server answers and serves our kinds: Kopf looks for them once, at its start."""
    for resource in OURS:
        while True:
            try:
                # Not by a list, which would hold all that there are in memory at once; any name will do.
                await kube.get(resource, namespace or "default", "any")
                break
            except NotInstalled as error:
                logger.warning("waiting for a CRD: %s", error)
            except KubeError as error:
                # It is away, or has just begun and knows nobody's rights yet: to end would only make the kubelet wait
                # longer each time before the next try.
                logger.warning("waiting for the API server: %s", error)
            await asyncio.sleep(LOOK_SECONDS)


async def load_credentials() -> None:
    """Those of the pod, or of a kubeconfig where there is no pod."""
    try:
        load_incluster_config()  # type: ignore[no-untyped-call]
    except ConfigException:
        await load_kube_config()  # type: ignore[no-untyped-call]


def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """The same for Kopf's own connection."""
    return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)


async def run(options: Settings) -> None:
    """Run until a signal, or until a part that must not end has ended."""
    metrics = telemetry.Metrics()
    registered, ready = kopf.OperatorRegistry(), asyncio.Event()
    kopf.on.login(registry=registered)(login)
    await load_credentials()
    async with ApiClient() as api:
        fence = Fence()
        kube = ApiServer(api, fence)
        controllers = build(options, kube, registered, metrics)
        runner = web.AppRunner(telemetry.http_app(metrics, ready.is_set), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, port=options.http_port).start()
        try:
            await kinds_served(kube, options.watch_namespaces[0] if options.watch_namespaces else None)

            async def work() -> None:
                metrics.leader.set(1)
                await asyncio.gather(*(c.run() for c in controllers))

            leading = asyncio.create_task(
                lead(
                    api,
                    name=options.lease_name,
                    namespace=options.namespace,
                    identity=options.identity,
                    fence=fence,
                    work=work,
                )
            )
            watching = asyncio.create_task(
                kopf.operator(
                    registry=registered,
                    settings=kopf_settings(),
                    clusterwide=not options.watch_namespaces,
                    namespaces=options.watch_namespaces,
                    ready_flag=ready,
                )
            )
            done, pending = await asyncio.wait({leading, watching}, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            for task in done:
                task.result()
        finally:
            await runner.cleanup()


def main() -> int:
    """The exit status: 0 after a signal, 1 if something broke, 2 if a setting is wrong."""
    try:
        options = settings.load()
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    telemetry.set_up_logging(options.log_format, options.log_level)
    try:
        asyncio.run(run(options))
    except LeadershipLost as lost:
        logger.warning("the operator ends, to begin again with nothing in memory: %s", lost)
        return 1
    except Exception:
        logger.exception("the operator ends")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
