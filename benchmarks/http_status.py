"""`http_status`: the status of a deployment over HTTP, against a bare Litestar handler that reads the same row."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.effort import Effort
from benchmarks.figures import Figures
from benchmarks.history import History, Standing, make_history
from benchmarks.http_contest import CLIENTS, CLIENTS_QUICK, PEER_POOL_SIZE, Contestant, contest, figures_of, request
from benchmarks.http_load import load
from benchmarks.litestar_peer import peer
from benchmarks.served import Served, served


async def http_status(effort: Effort) -> Figures:
    """Ours asks for a key, answers with ETag and ids, counts and logs. `ours` are deployments that serve; `served` are
    those one can go back to and `waits` those in the queue, whose answers also say what is so at this instant."""
    clients = CLIENTS_QUICK if effort.quick else CLIENTS
    async with served() as place, load() as asking:
        history = await make_history(place, functions=3 * clients, of_each=clients)
        async with peer(place.ground.url, place.tenant_id, pool_size=PEER_POOL_SIZE) as port:
            contestants = {
                "ours": _ours(place, history, "serves"),
                "peer": Contestant(port, [request("GET", path) for path in _paths(history, "serves")]),
                "served": _ours(place, history, "served"),
                "waits": _ours(place, history, "waits"),
            }
            return figures_of(await contest(f"{clients} clients", asking, contestants, effort))


def _ours(place: Served, history: History, standing: Standing) -> Contestant:
    headers = {"authorization": f"Bearer {place.key}"}
    return Contestant(
        place.port, [request("GET", f"/api/v1{path}", headers=headers) for path in _paths(history, standing)]
    )


def _paths(history: History, standing: Standing) -> Iterable[str]:
    return (f"/projects/{history.project_id}/deployments/{id}" for id in history.deployments[standing])
