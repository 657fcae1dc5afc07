"""One operator works at a time: a ``coordination.k8s.io`` Lease, by the client library's own election.

Every replica watches, so that the next leader starts warm; only the holder of the Lease reconciles. A leader that
cannot renew ends its process: a new one begins with nothing in memory, which is what every decision is built for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from slipway.kube.fence import LEASE_SECONDS, Fence, LeadershipLost

logger = logging.getLogger(__name__)

RENEW_DEADLINE_SECONDS = 10
RETRY_SECONDS = 2
"""client-go's defaults (``leaderelection``): a leader that died is replaced within 15 to 17 s."""


class Lock(LeaseLock):
    """The library's lock, with two of its gaps closed, and with a fence that it opens and closes.

    Its ``create`` (37.0) passes ``pretty=True``, which the library's own generated client refuses. And an API server
    that cannot be reached raises through the election and would end the process; it is a try that failed, no more.
    """

    def __init__(self, name: str, namespace: str, identity: str, api: ApiClient, fence: Fence) -> None:
        super().__init__(name, namespace, identity, api)
        self._fence = fence

    async def get(self, name: str, namespace: str) -> Any:
        try:
            found, record = await super().get(name, namespace)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, ApiException(status=0, reason=str(error))
        if found and getattr(record, "holder_identity", None) != self.identity:
            self._fence.close()
        return found, record

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        asked_at = self._fence.now()
        body = V1Lease(metadata=V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        try:
            await self.api_instance.create_namespaced_lease(namespace, body)
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("the lease could not be made: %s", error)
            return False
        self._fence.renewed(asked_at)
        return True

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        asked_at = self._fence.now()
        try:
            renewed = bool(await super().update(name, namespace, updated_record))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("the lease could not be renewed: %s", error)
            return False
        if renewed:
            self._fence.renewed(asked_at)
        return renewed


async def lead(
    api: ApiClient, *, name: str, namespace: str, identity: str, fence: Fence, work: Callable[[], Awaitable[None]]
) -> None:
    """Wait for the Lease, then run ``work`` for as long as it is held. The fence is open in the meantime.

    Raises:
        LeadershipLost: it was held and is not any more.
        asyncio.CancelledError: the caller ends; the Lease is then given back, so that the next one need not wait.
    """
    lock = Lock(name, namespace, identity, api, fence)
    failure: list[BaseException] = []
    working: list[asyncio.Task[Any]] = []

    async def started() -> None:
        working.extend(t for t in [asyncio.current_task()] if t)
        logger.info("became the leader", extra={"identity": identity})
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            lost = _lost(error)
            failure.append(lost or error)
            if lost is None:
                logger.exception("the leader's work ended")
            election_task.cancel()

    async def stopped() -> None:
        logger.warning("lost the lease", extra={"identity": identity})

    election: Any = LeaderElection(Config(lock, LEASE_SECONDS, RENEW_DEADLINE_SECONDS, RETRY_SECONDS, started, stopped))
    election_task = asyncio.create_task(election.run(), name="leader-election")
    try:
        await election_task
    except asyncio.CancelledError:
        if failure:
            raise failure[0] from None
        election_task.cancel()
        for task in working:
            task.cancel()
        # The work must have ended before somebody else may begin.
        await asyncio.gather(election_task, *working, return_exceptions=True)
        await _give_back(lock, identity)
        raise
    raise LeadershipLost(f"{identity} could not renew the lease {namespace}/{name}")


def _lost(error: BaseException) -> LeadershipLost | None:
    """What the workers met who wanted to write and had no Lease any more; None if anything else happened, too."""
    if not isinstance(error, BaseExceptionGroup):
        return error if isinstance(error, LeadershipLost) else None
    each = [_lost(one) for one in error.exceptions]
    return None if None in each else each[0]


async def _give_back(lock: Lock, identity: str) -> None:
    """Empty the holder, if it is us: another replica takes over at its next try. It need not: the Lease runs out."""
    held, record = await lock.get(lock.name, lock.namespace)
    if not held or record is None or getattr(record, "holder_identity", None) != identity:
        return
    assert lock.lease_reference is not None
    assert lock.lease_reference.spec is not None
    lock.lease_reference.spec.holder_identity = ""
    try:
        await lock.api_instance.replace_namespaced_lease(
            name=lock.name, namespace=lock.namespace, body=lock.lease_reference
        )
    except (ApiException, aiohttp.ClientError, OSError) as error:
        logger.warning("the lease could not be given back: %s", error)
        return
    logger.info("gave the lease back", extra={"identity": identity})
