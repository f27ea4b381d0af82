"""`http_command`: a function update over HTTP, against a bare Litestar handler that does one autocommit INSERT."""

from __future__ import annotations

from uuid import UUID

import msgspec

from benchmarks.effort import Effort
from benchmarks.figures import Figures
from benchmarks.history import make_history
from benchmarks.http_contest import CLIENTS, CLIENTS_QUICK, PEER_POOL_SIZE, Contestant, contest, figures_of, request
from benchmarks.http_load import NUMBER, load
from benchmarks.litestar_peer import peer
from benchmarks.served import Served, served


async def http_command(effort: Effort) -> Figures:
    """Everything is switched on in ours: the key is checked, each request has an Idempotency-Key of its own, the command
    is decided on the function's history and conditional on it, and the read models run. `ours` answers when they have
    seen it, `async` (Prefer: respond-async) does not wait for them."""
    clients = CLIENTS_QUICK if effort.quick else CLIENTS
    async with served() as place, load() as asking:
        history = await make_history(place, functions=clients, of_each=0)
        async with peer(place.ground.url, place.tenant_id, pool_size=PEER_POOL_SIZE) as port:
            contestants = {
                "ours": _ours(place, history.functions),
                "peer": Contestant(port, [request("PUT", _PATH, body=_body(id)) for id in history.functions]),
                "async": _ours(place, history.functions, prefer="respond-async"),
            }
            return figures_of(await contest(f"{clients} clients", asking, contestants, effort))


_PATH = "/functions/update"


def _ours(place: Served, functions: list[UUID], **headers: str) -> Contestant:
    sent = {"authorization": f"Bearer {place.key}", "idempotency-key": NUMBER.decode(), **headers}
    return Contestant(place.port, [request("PUT", f"/api/v1{_PATH}", headers=sent, body=_body(id)) for id in functions])


def _body(function_id: UUID) -> bytes:
    return msgspec.json.encode({"functionId": function_id, "description": f"says {NUMBER.decode()}"})
