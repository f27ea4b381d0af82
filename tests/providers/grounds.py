"""Where the providers are tried: for each one, how to have it ready and what it is asked to run."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import msgspec
from aiohttp import web

from domain.clouds import (
    AwsIdentity,
    AwsStorage,
    AwsTarget,
    AzureIdentity,
    AzureStorage,
    AzureTarget,
    GcpIdentity,
    GcpStorage,
    GcpTarget,
    Identity,
    LocalIdentity,
    LocalStorage,
    LocalTarget,
    Storage,
    Target,
    provider_of,
)
from domain.release import Access, ArtifactKind, PinnedImage, Release, SourceRef, Trigger
from process.key_ring import KeyRing
from process.serving import serving
from providers.archive import archive, source_of
from providers.aws.provider import AwsProvider
from providers.azure.provider import AzureProvider
from providers.gcp.provider import GcpProvider
from providers.issuer import Issuer, Keyring
from providers.local.artifact import content_digest
from providers.local.client import AgentSocket, LocalProvider
from providers.local.composition import Plan, agent
from providers.local.keeper import Patience
from providers.local.store import Store
from providers.local.unix_socket import listen
from providers.provider import (
    NO_SECRETS,
    Build,
    Image,
    Observation,
    Order,
    Provider,
    ProviderBusy,
    Secrets,
    Service,
    Source,
)
from providers.simulated.provider import SimulatedProvider
from providers.simulated.weather import Behaviour
from tests.emulators.aws.cloud import AwsCloud
from tests.emulators.azure.cloud import AzureCloud
from tests.emulators.background import Background
from tests.emulators.cloud import Cloud
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.workshop import workshop

ROOT = Path(__file__).parent.parent.parent
TOOLCHAIN_DIR = Path(os.environ.get("DCF_TOOLCHAIN_DIR") or ROOT / ".dcf" / "toolchain").absolute()
HELLO = (ROOT / "examples" / "hello" / "main.dart").read_bytes()
PROBE = (Path(__file__).parent / "functions" / "probe.dart").read_bytes()
PUBSPEC = (ROOT / "examples" / "hello" / "pubspec.yaml").read_bytes()
DOCKERFILE = (ROOT / "examples" / "hello" / "Dockerfile").read_bytes()
BROKEN = b"void main() {\n  int number = 'text';\n}\n"
# Not without its last words, in which it tells what nobody should know.
ENDS_AT_ONCE = b"""import 'dart:io';
void main() {
  stderr.writeln('no reason to live, nor for ${Platform.environment["TOKEN"]}');
  exit(3);
}
"""
ORIGIN = "http://functions.example"
SECONDS_MAX = 100.0
POLL_SECONDS = 0.05

_T = TypeVar("_T")

PATIENCE = Patience(delay_seconds_first=0.1, delay_seconds_max=0.4)


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """A provider ready to be used, a target, an identity and a storage that it accepts, and the cloud if one is emulated."""

    provider: Provider
    target: Target
    identity: Identity = LocalIdentity()
    storage: Storage = LocalStorage()
    cloud: Cloud | None = None
    # Where the cloud is, and the same provider for a cloud that is elsewhere.
    endpoints: str = ""
    elsewhere: Callable[[str], AwsProvider | AzureProvider | GcpProvider] | None = None


def sources(code: bytes, pubspec: bytes = PUBSPEC) -> tuple[Source, ...]:
    """What a function is made from."""
    return (
        _source("code", "main.dart", code),
        _source("yaml", "pubspec.yaml", pubspec),
        _source("docker", "Dockerfile", DOCKERFILE),
    )


def packed(files: tuple[Source, ...]) -> bytes:
    """What the clouds' builders are given."""
    archive(files, into := io.BytesIO())
    return into.getvalue()


def _source(kind: ArtifactKind, name: str, content: bytes) -> Source:
    return Source(kind=kind, file_name=name, digest=content_digest(content), content=io.BytesIO(content))


def order(
    *,
    function_id: UUID | None = None,
    number: int = 1,
    access: Access = "public",
    environment: dict[str, str] | None = None,
    ground: Ground | None = None,
    start_seconds_max: int = 60,
    memory_mb_max: int = 256,
    request_seconds_max: int = 60,
    secret_values: dict[str, UUID] | None = None,
    trigger: Trigger | None = None,
) -> Order:
    """The order to deploy a function; every call is another deployment."""
    function = function_id or uuid4()
    target = ground.target if ground else LocalTarget()
    release = Release(
        function_id=function,
        function_revision=1,
        sources=(SourceRef(kind="code", artifact_id=uuid4(), file_name="main.dart", digest="sha256:0", size_bytes=1),),
        runtime="3.11.0",
        trigger=trigger or Trigger(),
        access=access,
        environment=environment or {},
        secret_values=secret_values or {},
        provider=provider_of(target),
        target=target,
        integration_version=1,
        address=("acme", "shop", f"f{function.hex}"),
        start_seconds_max=start_seconds_max,
        memory_mb_max=memory_mb_max,
        request_seconds_max=request_seconds_max,
    )
    return Order(
        tenant_id=uuid4(),
        project_id=uuid4(),
        deployment_id=uuid4(),
        number=number,
        release=release,
        identity=ground.identity if ground else LocalIdentity(),
        storage=ground.storage if ground else LocalStorage(),
    )


def gone_back(wanted: Order, image: PinnedImage) -> Order:
    """The order, to run an image that is there already."""
    return msgspec.structs.replace(wanted, release=msgspec.structs.replace(wanted.release, image=image))


def pinned(image: Image) -> PinnedImage:
    """The image as a later release names it."""
    return PinnedImage(reference=image.reference, digest=image.digest)


async def until(look: Callable[[], Awaitable[_T]], accept: Callable[[_T], object]) -> _T:
    """What `look` sees once that is accepted. Raises TimeoutError."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            seen = await look()
            if accept(seen):
                return seen
            await asyncio.sleep(POLL_SECONDS)


async def built(provider: Provider, wanted: Order, files: tuple[Source, ...]) -> Build:
    """Bundle and build; the build when it has ended."""
    await provider.bundle(wanted, files)
    await until(lambda: build_started(provider, wanted), bool)
    return await build_ended(provider, wanted)


async def build_started(provider: Provider, wanted: Order) -> bool:
    """Whether the build could be started by now."""
    try:
        await provider.start_build(wanted)
    except ProviderBusy:
        return False
    return True


async def build_ended(provider: Provider, wanted: Order) -> Build:
    """The build, succeeded, failed or stopped."""
    seen = await until(lambda: provider.observe(wanted), lambda seen: seen.build and seen.build.status != "running")
    assert seen.build is not None
    return seen.build


async def applied(
    provider: Provider, wanted: Order, files: tuple[Source, ...], secrets: Secrets = NO_SECRETS
) -> Service:
    """Build and start; the release when it is healthy or given up."""
    build = await built(provider, wanted, files)
    assert build.status == "succeeded", build.message
    await provider.push(wanted)
    await provider.apply(wanted, secrets)
    return await settled(provider, wanted)


async def settled(provider: Provider, wanted: Order, *statuses: str) -> Service:
    """The release once it has one of the statuses (by default: is healthy or given up)."""
    accepted = statuses or ("healthy", "unhealthy")
    seen = await until(lambda: provider.observe(wanted), lambda seen: seen.service and seen.service.status in accepted)
    assert seen.service is not None
    return seen.service


async def deployed(
    provider: Provider, wanted: Order, files: tuple[Source, ...], secrets: Secrets = NO_SECRETS
) -> Service:
    """Build, start and let serve."""
    service = await applied(provider, wanted, files, secrets)
    assert service.status == "healthy", service.message
    return await provider.promote(wanted)


async def withdrawn(provider: Provider, wanted: Order) -> None:
    """Remove it, however long that takes."""
    await until(lambda: provider.withdraw(wanted), lambda left: not left)


@asynccontextmanager
async def local(folder: Path, *, ring: KeyRing | None = None, **environment: str) -> AsyncIterator[Ground]:
    """The local provider with an agent in this process, whose key the ring gives, if there is one."""
    plan = Plan(
        secret_key=bytes(32) if ring is None else None,
        ring=ring,
        toolchain_dir=TOOLCHAIN_DIR,
        environment={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        hidden=(folder,),
        only_engine="standin",
        stop_seconds_max=2.0,
        patience=PATIENCE,
    )
    async with agent(plan, Store(folder / "agent")) as door, serving(door, listen(folder / "a.sock"), drain_seconds=1):
        client = AgentSocket(folder / "a.sock")
        yield Ground(provider=LocalProvider(client, lambda: ORIGIN), target=LocalTarget())
        await client.close()


class Watched(SimulatedProvider):
    """The cloud in memory, in which time passes while somebody looks, and which compiles what the contract asks of it."""

    def __init__(self) -> None:
        super().__init__(1, clock=lambda: self.seconds, compiler=_compiled)
        self.seconds = 0.0

    async def observe(self, order: Order) -> Observation:
        self.seconds += 1.0
        return await super().observe(order)


def _compiled(files: tuple[Source, ...]) -> Behaviour:
    code = source_of(files, "code").encode()
    if code == BROKEN:
        type_error = "A value of type 'String' can't be assigned to a variable of type 'int'."
        return Behaviour(build_fails=True, complaint=f"main.dart:2:16: Error: {type_error}")
    if code == ENDS_AT_ONCE:
        return Behaviour(comes_up_unhealthy=True, last_words="no reason to live, nor for {TOKEN}")
    return Behaviour()


@asynccontextmanager
async def simulated(folder: Path) -> AsyncIterator[Ground]:
    """The cloud in memory that simulations of the runner meet: what it promises them the others promise too."""
    yield Ground(provider=Watched(), target=LocalTarget())


@asynccontextmanager
async def gcp(folder: Path) -> AsyncIterator[Ground]:
    """The provider of Google Cloud before its emulator, and an issuer of our own that it trusts."""
    published = Background()
    issuer = Issuer(Keyring(folder / "keys.json"), lambda: f"http://127.0.0.1:{port}")
    port = published.serve(well_known(issuer))
    cloud = GcpCloud(await asyncio.to_thread(workshop, folder / "cloud", TOOLCHAIN_DIR, real=False))
    cloud.prepare_for_all(issuer.issuer)
    provider = GcpProvider(issuer, cloud.google.endpoints)
    try:
        yield Ground(
            provider=provider,
            target=msgspec.convert({"provider": "gcp", **cloud.target("hello")}, GcpTarget),
            identity=msgspec.convert({"provider": "gcp", **cloud.identity}, GcpIdentity),
            storage=msgspec.convert({"provider": "gcp", **cloud.storage}, GcpStorage),
            cloud=cloud,
            endpoints=cloud.google.endpoints,
            elsewhere=lambda endpoints: GcpProvider(issuer, endpoints),
        )
    finally:
        await provider.close()
        cloud.close()
        published.close()


@asynccontextmanager
async def gke(folder: Path) -> AsyncIterator[Ground]:
    """The same provider, with a target in a cluster of GKE."""
    async with gcp(folder) as ground:
        assert isinstance(ground.cloud, GcpCloud)
        target = msgspec.convert({"provider": "gcp", **ground.cloud.kubernetes_target("hello")}, GcpTarget)
        yield msgspec.structs.replace(ground, target=target)


@asynccontextmanager
async def aws(folder: Path) -> AsyncIterator[Ground]:
    """The same of AWS."""
    async with aws_place(folder) as (_, ground, _):
        yield ground


@asynccontextmanager
async def aws_place(folder: Path) -> AsyncIterator[tuple[AwsCloud, Ground, Issuer]]:
    """With the account it is in, and the issuer that the account trusts."""
    published = Background()
    issuer = Issuer(Keyring(folder / "keys.json"), lambda: f"http://127.0.0.1:{port}")
    port = published.serve(well_known(issuer))
    cloud = AwsCloud(await asyncio.to_thread(workshop, folder / "cloud", TOOLCHAIN_DIR, real=False))
    await asyncio.to_thread(cloud.prepare_for_all, issuer.issuer)
    provider = AwsProvider(issuer, cloud.amazon.endpoints)
    ground = Ground(
        provider=provider,
        target=msgspec.convert({"provider": "aws", **cloud.target("hello")}, AwsTarget),
        identity=msgspec.convert({"provider": "aws", **cloud.identity}, AwsIdentity),
        storage=msgspec.convert({"provider": "aws", **cloud.storage}, AwsStorage),
        cloud=cloud,
        endpoints=cloud.amazon.endpoints,
        elsewhere=lambda endpoints: AwsProvider(issuer, endpoints),
    )
    try:
        yield cloud, ground, issuer
    finally:
        await provider.close()
        cloud.close()
        published.close()


@asynccontextmanager
async def azure(folder: Path) -> AsyncIterator[Ground]:
    """The same of Azure."""
    async with azure_place(folder) as (_, ground, _):
        yield ground


@asynccontextmanager
async def azure_place(folder: Path) -> AsyncIterator[tuple[AzureCloud, Ground, Issuer]]:
    """With the subscription it is in, and the issuer that its application trusts."""
    published = Background()
    issuer = Issuer(Keyring(folder / "keys.json"), lambda: f"http://127.0.0.1:{port}")
    port = published.serve(well_known(issuer))
    cloud = AzureCloud(await asyncio.to_thread(workshop, folder / "cloud", TOOLCHAIN_DIR, real=False))
    cloud.prepare_for_all(issuer.issuer)
    provider = AzureProvider(issuer, cloud.azure.endpoints)
    ground = Ground(
        provider=provider,
        target=msgspec.convert({"provider": "azure", **cloud.target("hello")}, AzureTarget),
        identity=msgspec.convert({"provider": "azure", **cloud.identity}, AzureIdentity),
        storage=msgspec.convert({"provider": "azure", **cloud.storage}, AzureStorage),
        cloud=cloud,
        endpoints=cloud.azure.endpoints,
        elsewhere=lambda endpoints: AzureProvider(issuer, endpoints),
    )
    try:
        yield cloud, ground, issuer
    finally:
        await provider.close()
        cloud.close()
        published.close()


def well_known(issuer: Issuer) -> web.Application:
    """Where an issuer's keys are published."""

    async def configuration(_: web.Request) -> web.Response:
        return web.json_response(issuer.configuration())

    async def keys(_: web.Request) -> web.Response:
        return web.json_response(issuer.jwks())

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", configuration)
    app.router.add_get("/.well-known/jwks.json", keys)
    return app


# Where a cloud runs functions in more than one way, its contract holds for each.
GROUNDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Ground]]] = {
    "local": local,
    "simulated": simulated,
    "gcp": gcp,
    "gcp_gke": gke,
    "aws": aws,
    "azure": azure,
}
