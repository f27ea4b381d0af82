"""An API put together for tests: on a store in memory or in PostgreSQL, over a simulated cloud, under one clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
from litestar import Litestar
from prometheus_client import CollectorRegistry

from api.access_log import Note, note_nothing
from api.api_keys import new_key
from api.app import create_app, routed
from api.auth import Authenticator
from api.first_start import make_first_start
from api.front import Front
from api.id_tokens import IdTokens
from api.rate_limits import RateLimits
from api.refusal_cap import RefusalCap
from api.services import Services
from api.sign_in import Newcomers, SignIn
from api.tokens import Tokens
from commands.api_key import CreateApiKey
from commands.basis import CODEC
from commands.execute import Context, execute
from commands.ids import new_id
from commands.person import RegisterPerson
from commands.tenant import CreateTenant
from domain.api_key import KeyRole
from domain.event import SYSTEM_TENANT
from domain.sealed import Sealed
from eventstore.archive.whole import Shelf
from eventstore.build_logs import BuildLogs, MemoryBuildLogs, PostgresBuildLogs
from eventstore.contents import Contents, MemoryContents, PostgresContents
from eventstore.database import connect
from eventstore.instants import Instants, LogInstants, PostgresInstants
from eventstore.key_uses import KeyUses, MemoryKeyUses, PostgresKeyUses
from eventstore.leases import PostgresLeases
from eventstore.log import Log
from eventstore.memory import MemoryLog
from eventstore.meta import Actor
from eventstore.postgres import PostgresLog
from eventstore.sealing import MemoryPersonKeys, PostgresPersonKeys, Sealing
from eventstore.secret_values import MemorySecretStore, PostgresSecretStore, SecretVault
from eventstore.session import sessions
from eventstore.tenant_events import LogTenantEvents, PostgresTenantEvents, TenantEvents
from eventstore.ticks import MemoryTicks, PostgresTicks, Ticks
from eventstore.tree.tree import MemoryTree, PostgresTree, Tree
from eventstore.uploads import MemoryUploads, PostgresUploads, Uploads
from eventstore.webhook_deliveries import Deliveries, MemoryDeliveries, PostgresDeliveries
from process.outbound import Reachable
from projections.catalogue import QUERIES
from projections.engine import LEASE_NAME, Parts, engine
from projections.memory_reader import MemoryReader
from projections.memory_upkeep import MemoryUpkeep
from projections.monitor import Monitor
from projections.postgres_reader import PostgresReader
from projections.reader import Reader
from projections.rebuild.steps import Tools
from projections.upkeep import PostgresUpkeep, Upkeep
from projections.views import PostgresViews
from providers.issuer import token_source
from providers.simulated.provider import SimulatedProvider
from tests.api import contract

REQUEST_BYTES_MAX = 20_000
WAIT_SECONDS_MAX = 5.0
UPLOAD_BYTES_MAX = 50_000
MAIN_DART = b"void main() { print('hello'); }\n"
DOCKERFILE = b'FROM dart:stable AS build\nFROM scratch\nENTRYPOINT ["/server"]\n'
PUBSPEC = b"name: hello\nenvironment:\n  sdk: '>=3.9.0 <4.0.0'\n"


Clock = Callable[[], datetime]


def now() -> datetime:
    return datetime.now(UTC)


class World(msgspec.Struct, frozen=True):
    """The API under test and what it stands on."""

    app: Front
    services: Services
    owner_key: str
    operator_key: str
    data_dir: Path

    @property
    def log(self) -> Log:
        return self.services.log

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        """A client with a key (the owner's when none is given; an empty one sends none)."""
        text = self.owner_key if key is None else key
        headers = {"Authorization": f"Bearer {text}"} if text else {}
        transport = httpx.ASGITransport(app=self.app)
        # Whatever a test is about, what it is answered has to be what the API says of itself.
        return httpx.AsyncClient(
            transport=transport,
            base_url="http://api.test",
            headers=headers,
            event_hooks={"response": [contract.check]},
        )

    async def key(self, tenant_id: UUID, role: KeyRole, *scopes: str, expires_at: datetime | None = None) -> str:
        """The text of a new key."""
        key = new_key(new_id())
        command = CreateApiKey(
            tenant_id=tenant_id,
            at=self.services.clock() if expires_at is None else expires_at - timedelta(days=1),
            key_id=key.key_id,
            name="another",
            secret_hash=key.secret_hash,
            role=role,
            scopes=scopes,
            expires_at=expires_at,
        )
        await self.record(command)
        return key.text

    async def person(self) -> UUID:
        """A person this service knows, and who is a member nowhere yet."""
        person_id = new_id()
        at = self.services.clock()
        await self.record(RegisterPerson(tenant_id=SYSTEM_TENANT, at=at, person_id=person_id, name=Sealed("c2VhbGVk")))
        return person_id

    async def another_tenant(self, plan: str = "sandbox") -> UUID:
        """Another tenant, with nothing in it."""
        tenant_id = new_id()
        name = f"stranger-{tenant_id.hex[-8:]}"
        await self.record(CreateTenant(tenant_id=tenant_id, at=self.services.clock(), name=name, plan=plan))
        return tenant_id

    async def stranger_key(self) -> str:
        """The owner's key of another tenant."""
        return await self.key(await self.another_tenant(), "owner")

    async def record(self, command: Any) -> None:
        """Do the command as the service itself, and wait until it can be read."""
        context = Context(actor=Actor("system", "test"), command_id=new_id(), correlation_id=new_id())
        done = await execute(self.log, command, context)
        await self.services.reader.wait_for(done.last_position, seconds_max=10)


@asynccontextmanager
async def world_in_memory(
    data_dir: Path,
    *,
    tokens: IdTokens | None = None,
    newcomers: Newcomers | None = None,
    wait_seconds_max: float = WAIT_SECONDS_MAX,
    note: Note = note_nothing,
    clock: Clock = now,
) -> AsyncIterator[World]:
    """Everything in memory. With `tokens` people may sign in; `note` is told of each request; `clock` is the time of all of it."""
    log = MemoryLog(clock)
    with _routed() as app:
        yield await _world(
            app,
            log,
            LogInstants(log),
            LogTenantEvents(log),
            MemoryTree(log, UUID(int=7)),
            MemoryReader(log, CODEC),
            MemoryUpkeep(log, clock),
            MemoryContents(),
            MemoryUploads(clock),
            MemoryBuildLogs(),
            MemoryTicks(clock),
            MemoryDeliveries(),
            MemoryKeyUses(),
            Sealing(MemoryPersonKeys()),
            SecretVault(MemorySecretStore(), key=bytes(32)),
            data_dir,
            tokens,
            newcomers,
            wait_seconds_max,
            note,
            clock,
        )


@asynccontextmanager
async def world_on_postgres(url: str, data_dir: Path) -> AsyncIterator[World]:
    """On PostgreSQL, with a projection engine beside it."""
    async with AsyncExitStack() as exits:
        enter = exits.enter_async_context
        app = await enter(connect(url, role="dcf_app", size_max=5))
        own = await enter(connect(url, role="dcf_engine", size_max=4))
        apart = await enter(connect(url, role="dcf_engine", size_min=0, size_max=5))
        log = await enter(PostgresLog(app, url, role="dcf_app"))
        own_log = await enter(PostgresLog(own, url, role="dcf_engine"))
        reader = await enter(PostgresReader(app, sessions(url, role="dcf_app")))
        await enter(
            engine(
                Parts(
                    views=PostgresViews(own),
                    log=own_log,
                    leases=PostgresLeases(own),
                    codec=CODEC,
                    monitor=Monitor(CollectorRegistry()),
                    tools=Tools(
                        database=apart,
                        log=own_log,
                        leases=PostgresLeases(apart),
                        codec=CODEC,
                        queries=QUERIES,
                        lanes=1,
                        launch=None,
                        lease_name=LEASE_NAME,
                        leads=lambda: True,
                    ),
                )
            )
        )
        sealing = Sealing(PostgresPersonKeys(app))
        contents, build_logs, key_uses = PostgresContents(app), PostgresBuildLogs(app), PostgresKeyUses(app)
        ticks, instants = PostgresTicks(app), PostgresInstants(app)
        yield await _world(
            exits.enter_context(_routed()),
            log,
            instants,
            PostgresTenantEvents(app, Shelf(None)),
            PostgresTree(app),
            reader,
            PostgresUpkeep(app),
            contents,
            PostgresUploads(app),
            build_logs,
            ticks,
            PostgresDeliveries(app),
            key_uses,
            sealing,
            SecretVault(PostgresSecretStore(app), key=bytes(32)),
            data_dir,
        )


# Putting the routes together takes a hundred times what most tests take, and they hold nothing of a world.
_FREE: list[Litestar] = []


@contextmanager
def _routed() -> Iterator[Litestar]:
    """The API's routes, for one world at a time."""
    app = _FREE.pop() if _FREE else routed()
    yield app
    _FREE.append(app)


async def _world(
    app: Litestar,
    log: Log,
    instants: Instants,
    tenant_events: TenantEvents,
    tree: Tree,
    reader: Reader,
    upkeep: Upkeep,
    contents: Contents,
    uploads: Uploads,
    build_logs: BuildLogs,
    ticks: Ticks,
    deliveries: Deliveries,
    key_uses: KeyUses,
    sealing: Sealing,
    secrets: SecretVault,
    data_dir: Path,
    tokens: IdTokens | None = None,
    newcomers: Newcomers | None = None,
    wait_seconds_max: float = WAIT_SECONDS_MAX,
    note: Note = note_nothing,
    clock: Clock = now,
) -> World:
    sign_in = (
        None
        if tokens is None
        else SignIn(tokens, log, reader, sealing, newcomers=newcomers or Newcomers(), clock=clock, new_id=new_id)
    )
    await make_first_start(log, sealing, data_dir, clock())
    services = Services(
        log=log,
        instants=instants,
        tenant_events=tenant_events,
        tree=tree,
        reader=reader,
        upkeep=upkeep,
        contents=contents,
        uploads=uploads,
        build_logs=build_logs,
        ticks=ticks,
        deliveries=deliveries,
        reachable=Reachable(),
        key_uses=key_uses,
        sealing=sealing,
        secrets=secrets,
        ring=None,
        providers={"local": SimulatedProvider(1, clock=lambda: 0.0)},
        token_source=token_source(lambda: "https://dcf.example", data_dir=data_dir),
        public_url=lambda: "https://api.dcf.example",
        authenticator=Authenticator(reader, log, key_uses, clock, sign_in=sign_in),
        tokens=Tokens(log),
        refusal_cap=RefusalCap(),
        rate_limits=RateLimits(reader),
        clock=clock,
        new_id=new_id,
        request_bytes_max=REQUEST_BYTES_MAX,
        upload_bytes_max=UPLOAD_BYTES_MAX,
        wait_seconds_max=wait_seconds_max,
    )
    await reader.wait_for(await log.head(), seconds_max=10)
    # An installation that was begun before made them then.
    texts = {name: (data_dir / f"{name}.key").read_text().strip() for name in ("owner", "operator")}
    return World(create_app(services, {}, note, app=app), services, texts["owner"], texts["operator"], data_dir)
