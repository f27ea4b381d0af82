"""As whom a deployment meets its cloud, and where it stages: what the project's integration says."""

from __future__ import annotations

import msgspec

from commands.basis import CODEC
from domain.clouds import Identity, LocalIdentity, LocalStorage, LocalTarget, Storage, provider_of
from domain.deployment import Deployment
from domain.integration import INTEGRATION, Integration, integration_id
from eventstore.log import Log
from runner.world import Held


class Access(msgspec.Struct, frozen=True):
    """The identity and storage of one deployment."""

    identity: Identity = LocalIdentity()
    storage: Storage = LocalStorage()


LOCAL = Access()


async def access_of(log: Log, held: Held, deployment: Deployment) -> Access:
    """The identity as it is now, so that one that was mended or replaced is used; the storage as it was pinned, so that
    what was staged is found. A project that was disconnected meanwhile is met as it was when the deployment was queued."""
    release = deployment.release
    if release is None or isinstance(release.target, LocalTarget):
        return LOCAL
    stream = INTEGRATION.stream(held.tenant_id, integration_id(deployment.project_id, provider_of(release.target)))
    [stored] = await log.load([stream])
    pinned = now = INTEGRATION.initial
    for event in map(CODEC.decode, stored):
        now = INTEGRATION.evolve(now, event)
        pinned = now if now.version <= release.integration_version else pinned
    return Access(_identity(now, pinned), pinned.storage or now.storage or LocalStorage())


def _identity(now: Integration, pinned: Integration) -> Identity:
    return now.identity or pinned.identity or LocalIdentity()
