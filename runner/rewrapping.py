"""Wraps anew, under the current master key, what others wrapped: former ones, or processes that were not restarted yet."""

from __future__ import annotations

from datetime import datetime

import structlog

from eventstore.sealing import NotSealed, Sealing
from eventstore.secret_values import SecretLost, SecretVault
from process.key_ring import KeyRing, ServiceUnknown
from process.key_service import KeyServiceUnusable, WrappingForged

log = structlog.get_logger()


async def wrap_anew(secrets: SecretVault, sealing: Sealing, ring: KeyRing | None, *, now: datetime) -> None:
    """Whatever keeps a part of it from being done is logged, and the rest is done: the next round goes on there.

    The tenants' keys come first: with them alone a change from one key service to another is over.
    """
    if ring is not None:
        try:
            if count := await ring.rewrap(now=now):
                log.info("tenant_keys_wrapped_anew", count=count)
        except (ServiceUnknown, WrappingForged) as problem:
            log.error("tenant_keys_not_wrapped_anew", problem=str(problem))  # noqa: TRY400 - the message says it all
        except KeyServiceUnusable as problem:
            log.warning("tenant_keys_not_wrapped_anew", problem=problem.message, remedy=problem.remedy)
    try:
        if count := await secrets.rewrap():
            log.info("secrets_wrapped_anew", count=count)
    except (SecretLost, KeyServiceUnusable) as problem:
        log.warning("secrets_not_wrapped_anew", problem=str(problem))
    try:
        if count := await sealing.rewrap():
            log.info("person_keys_wrapped_anew", count=count)
    except (NotSealed, KeyServiceUnusable) as problem:
        log.warning("person_keys_not_wrapped_anew", problem=str(problem))
