"""The service as `dcf serve` runs it, as far as HTTP has to do with it: the API and the read models, a process each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
import msgspec

from api.first_start import TENANT_ID
from benchmarks.ground import Ground, ground
from benchmarks.started import started
from process import ports

START_SECONDS_MAX = 60.0


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API answers, and the key and tenant of whoever asks."""

    ground: Ground
    port: int
    key: str
    tenant_id: UUID

    def client(self) -> httpx.AsyncClient:
        """For what happens before anything is measured."""
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}/api/v1",
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=60,
            trust_env=False,
        )


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    """Start everything on a database of its own, and take it away at the end."""
    async with ground() as place:
        environment = {
            "DCF_DATA_DIR": str(place.data_dir),
            "DCF_PORT": "0",
            "DCF_FUNCTIONS_PORT": "0",
            "DCF_PROJECTIONS_PORT": "0",
            # As behind a supervisor: one line of JSON for each request answered.
            "DCF_LOG_FORMAT": "json",
        }
        log = place.data_dir / "service.log"
        async with started("projections", environment, log=log), started("api", environment, log=log):
            port = await _ready(place)
            key = (place.data_dir / "owner.key").read_text().strip()
            yield Served(ground=place, port=port, key=key, tenant_id=TENANT_ID)


async def _ready(place: Ground) -> int:
    deadline = time.monotonic() + START_SECONDS_MAX
    async with httpx.AsyncClient(trust_env=False) as http:
        while time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            port = ports.recorded(place.data_dir).get("api")
            try:
                if port and (await http.get(f"http://127.0.0.1:{port}/health/ready")).status_code == httpx.codes.OK:
                    return port
            except httpx.TransportError:
                continue
    said = (place.data_dir / "service.log").read_text(errors="replace")
    raise TimeoutError(f"the service did not become ready: {said[-2_000:]}")
