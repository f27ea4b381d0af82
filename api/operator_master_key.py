"""Whether a former master key is still needed, as operators ask before they take it away."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get

from api.answer import Answer, encoded
from api.operation import Operation
from api.reading import reached
from eventstore.wrapping import Wrapped
from process.key_ring import KeyRing, tally_by


class MasterKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is wrapped by the master key of the process that answers, and what by others. `formerKeysNeeded` is false once the
    current one wraps everything. `service` is the key service that holds it, null for a key of the operator's own;
    `tenantKeys` are the keys of tenants that such a service wraps, by which the rest is wrapped then."""

    service: str | None
    person_keys: Wrapped
    function_secrets: Wrapped
    tenant_keys: Wrapped
    former_keys_needed: bool


_MASTER_KEY = Operation(
    name="getMasterKey",
    permission="operate",
    summary="See whether former master keys are still needed",
    tag="Operations",
    answers={200: MasterKey},
)


@get("/operations/master-key", opt=_MASTER_KEY.as_opt())
async def get_master_key(request: Request[Any, Any, Any]) -> Answer:
    services = await reached(request)
    persons, secrets = await services.sealing.wrapped(), await services.secrets.wrapped()
    tenants = await _tenant_keys(services.ring)
    needed = any(one.by_other_keys for one in (persons, secrets, tenants))
    return Answer(
        encoded(
            MasterKey(
                service=services.ring.service if services.ring is not None and services.ring.closes else None,
                person_keys=persons,
                function_secrets=secrets,
                tenant_keys=tenants,
                former_keys_needed=needed,
            )
        )
    )


async def _tenant_keys(ring: KeyRing | None) -> Wrapped:
    """None are needed where an own key closes: what they wrap still counts as wrapped by others."""
    if ring is None or not ring.closes:
        return Wrapped(by_current_key=0, by_other_keys=0)
    found = tally_by(await ring.counts(), ring.service)
    return Wrapped(by_current_key=found[True], by_other_keys=found[False])


OPERATOR_MASTER_KEY_ROUTES = (get_master_key,)
