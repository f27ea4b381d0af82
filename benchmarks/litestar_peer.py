"""`python -m benchmarks.litestar_peer`: what we are measured against, a bare Litestar handler over a pool of connections.

It knows no callers, no history and no retries: it reads one row by its key, or inserts one.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import msgspec
import uvicorn
import uvloop
from litestar import Litestar, Response, get, put
from litestar.datastructures import State

from benchmarks.started import started

ADDRESS = "PEER_DATABASE_URL"
TENANT = "PEER_TENANT_ID"
POOL_SIZE = "PEER_POOL_SIZE"

_STATUS = """
    SELECT row
      FROM views.{table}
     WHERE tenant_id = $1 AND project_id = $2 AND id = $3
"""
_TABLE = """
    CREATE TABLE IF NOT EXISTS peer_events (
        position bigserial PRIMARY KEY,
        tenant_id uuid NOT NULL,
        stream_id uuid NOT NULL,
        recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        data bytea NOT NULL
    )
"""
_INSERT = "INSERT INTO peer_events (tenant_id, stream_id, data) VALUES ($1, $2, $3)"


class Changes(msgspec.Struct, rename="camel"):
    """What a function update of the benchmark holds."""

    function_id: UUID
    description: str


@get("/projects/{project_id:uuid}/deployments/{deployment_id:uuid}")
async def deployment(state: State, project_id: UUID, deployment_id: UUID) -> Response[bytes]:
    row = await state.pool.fetchval(state.status, state.tenant_id, project_id, deployment_id)
    return Response(row, media_type="application/json")


@put("/functions/update")
async def update(state: State, data: Changes) -> Changes:
    await state.pool.execute(_INSERT, state.tenant_id, data.function_id, msgspec.json.encode(data))
    return data


async def _serve() -> None:
    size = int(os.environ[POOL_SIZE])
    listener = socket.create_server(("127.0.0.1", 0))
    async with asyncpg.create_pool(os.environ[ADDRESS], min_size=size, max_size=size) as pool:
        await pool.execute(_TABLE)
        table = await pool.fetchval("SELECT kind FROM views.checkpoints WHERE model = 'deployments'")
        state = State({"pool": pool, "status": _STATUS.format(table=table), "tenant_id": UUID(os.environ[TENANT])})
        app = Litestar([deployment, update], state=state, openapi_config=None, logging_config=None)
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        server = uvicorn.Server(uvicorn.Config(app, http="httptools", log_config=None, access_log=False))
        await server.serve(sockets=[listener])


@asynccontextmanager
async def peer(url: str, tenant_id: UUID, *, pool_size: int) -> AsyncIterator[int]:
    """The port it answers on."""
    environment = {ADDRESS: url, TENANT: str(tenant_id), POOL_SIZE: str(pool_size)}
    async with started(__name__, environment, talks=True) as process:
        assert process.stdout is not None
        yield int(await process.stdout.readline())


if __name__ == "__main__":
    uvloop.run(_serve())
