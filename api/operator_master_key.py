"""Whether a former master key is still needed, as operators ask before they take it away."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get

from api.answer import Answer, encoded
from api.operation import Operation
from api.reading import reached
from eventstore.wrapping import Wrapped


class MasterKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is wrapped by the master key of the process that answers, and what by others. `formerKeysNeeded` is false once the
    current one wraps everything."""

    person_keys: Wrapped
    function_secrets: Wrapped
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
    needed = bool(persons.by_other_keys or secrets.by_other_keys)
    return Answer(encoded(MasterKey(person_keys=persons, function_secrets=secrets, former_keys_needed=needed)))


OPERATOR_MASTER_KEY_ROUTES = (get_master_key,)
