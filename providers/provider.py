"""The port every cloud implements: a few verbs, each keyed by our own ids, so that doing one twice is doing it once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import IO, Literal, Protocol, runtime_checkable
from uuid import UUID

import msgspec

from domain.clouds import AwsIdentity, AwsNamed, AzureResources, Identity, LocalIdentity, LocalStorage, Storage
from domain.release import ArtifactKind, Release, Toolchain
from process.secret import Secret

# The values of a release's secrets, by name.
Secrets = Mapping[str, Secret]
# Of an uploaded file: it is text.
FILE_MEDIA_TYPE = "text/plain; charset=utf-8"
NO_SECRETS: Secrets = MappingProxyType({})


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment as a provider sees it. `number` rises with every deployment queued for the function:
    a provider never lets a lower number take traffic from a higher one. `identity` and `storage` are the project's own."""

    tenant_id: UUID
    project_id: UUID
    deployment_id: UUID
    number: int
    release: Release
    identity: Identity = LocalIdentity()
    storage: Storage = LocalStorage()


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A file to build from, its bytes already checked against its digest. Whoever gives it closes it."""

    kind: ArtifactKind
    file_name: str
    digest: str
    content: IO[bytes]


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The sources where the cloud's builder can read them."""

    location: str
    digest: str


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """A build the cloud knows of. `message` holds the compiler's own words when it failed."""

    id: str
    status: Literal["running", "succeeded", "failed", "stopped"]
    message: str = ""
    remedy: str = ""
    toolchain: Toolchain | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What was built, where it is kept."""

    reference: str
    digest: str


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """The release as it runs. `serving` is true once requests for the function's address reach it."""

    status: Literal["starting", "healthy", "unhealthy", "stopped"]
    url: str
    revision: str
    serving: bool = False
    message: str = ""
    remedy: str = ""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the cloud shows that carries this deployment's id. None: there is no such thing."""

    bundle: Bundle | None = None
    build: Build | None = None
    image: Image | None = None
    service: Service | None = None


class LogChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a log. `next_cursor` asks for what follows; it stays the same when nothing did."""

    text: str
    next_cursor: int


class Step(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing looked at while verifying an integration."""

    name: str
    status: Literal["passed", "failed", "skipped"]
    code: str = ""
    message: str = ""
    remedy: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification saw. `pending`: nothing is wrong for certain; look again.

    A step that failed in one that is pending was refused as a grant is that has not spread yet, or that was never given.
    After `spreads_seconds` of it the latter is true.
    """

    status: Literal["pending", "verified", "failed"]
    steps: tuple[Step, ...]
    spreads_seconds: float = 0.0


class ProviderRefused(Exception):
    """The cloud said no, and will say no again until something is changed."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy


class ProviderBusy(Exception):
    """Throttled, in conflict with another operation, or still spreading: ask again after `retry_in_seconds`."""

    def __init__(self, message: str, *, retry_in_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.message, self.retry_in_seconds = message, retry_in_seconds


class ProviderUnreachable(ProviderBusy):
    """No answer; whether the call had its effect is not known."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request of our own to a function, as `POST /`. Header names are in lower case."""

    address: tuple[str, str, str]
    headers: tuple[tuple[str, str], ...]
    body: bytes
    seconds_max: float


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What the function answered."""

    status: int


class NoAnswer(Exception):
    """The function was called, and its answer broke off or did not come in time."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@runtime_checkable
class Calling(Protocol):
    """What a provider may offer beside the port: to call the function that serves an address."""

    async def call(self, call: Call) -> Answered:
        """Raises ProviderBusy when the function certainly was not called, ProviderRefused when none serves there,
        and NoAnswer when it was, or may have been."""
        ...


@runtime_checkable
class Diagnosing(Protocol):
    """What a provider may offer beside the port: to look at all that a deployment needs, without making any."""

    async def diagnose(
        self, tenant_id: UUID, project_id: UUID, identity: Identity, storage: Storage | None
    ) -> Finding: ...


@runtime_checkable
class ChecksResources(Protocol):
    """What a provider may offer beside the port: to look at the resources that deployments name."""

    async def check_resources(
        self, tenant_id: UUID, project_id: UUID, identity: Identity, resources: AzureResources
    ) -> Finding: ...


@runtime_checkable
class ChecksNamed(Protocol):
    """The same where an identity is verified: to look at what is named beside it too."""

    async def verify_named(
        self, tenant_id: UUID, project_id: UUID, identity: AwsIdentity, named: AwsNamed
    ) -> Finding: ...


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A project's storage, and as whom it is reached."""

    tenant_id: UUID
    project_id: UUID
    identity: Identity
    storage: Storage


class ListedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file, and since when it has been there."""

    name: str
    at: datetime


class FilePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the files in a folder. `next_cursor` asks for those that follow; empty: that was all."""

    items: tuple[ListedFile, ...]
    next_cursor: str


@runtime_checkable
class KeepsFiles(Protocol):
    """What a provider may offer beside the port: to keep uploaded files in the project's own storage.

    Without it the service's own store keeps them. Raises what the port's verbs raise.
    """

    async def put_file(self, place: Place, name: str, content: IO[bytes]) -> bool:
        """Put the bytes there, checked as they arrive, a few parts in memory at a time. False: something has the name,
        and stays as it is."""
        ...

    async def read_file(self, place: Place, name: str, into: IO[bytes], *, bytes_max: int) -> datetime | None:
        """Write down what has the name, a few parts in memory at a time, and tell since when it has been there; None:
        nothing has it. What is longer than `bytes_max` is cut off somewhere behind that."""
        ...

    async def list_files(self, place: Place, folder: str, cursor: str = "") -> FilePage: ...

    async def remove_file(self, place: Place, name: str) -> None:
        """Take it away; it may be gone already."""
        ...


class Provider(Protocol):
    """A place functions run. Any verb may raise ProviderRefused, ProviderBusy or ProviderUnreachable.

    No verb waits for long work: it starts it, and `observe` tells how far it is.
    """

    name: str

    async def verify_identity(self, tenant_id: UUID, project_id: UUID, identity: Identity) -> Finding: ...

    async def check_storage(
        self, tenant_id: UUID, project_id: UUID, identity: Identity, storage: Storage
    ) -> Finding: ...

    async def observe(self, order: Order) -> Observation: ...

    async def bundle(self, order: Order, sources: tuple[Source, ...]) -> Bundle: ...

    async def start_build(self, order: Order) -> Build:
        """Start the build of what was bundled, or return the one started before."""
        ...

    async def stop_build(self, order: Order) -> None:
        """Stop a running build for real. Nothing happens when there is none."""
        ...

    async def build_log(self, order: Order, cursor: int) -> LogChunk: ...

    async def push(self, order: Order) -> Image: ...

    async def apply(self, order: Order, secrets: Secrets = NO_SECRETS) -> Service:
        """Start the release beside the one that serves: what was pushed, or the image that the release pins.

        `secrets` are variables like those of the release's environment, of which nothing may be shown or kept in the
        clear. Refuses with `image_missing` when there is no such image any more.
        """
        ...

    async def promote(self, order: Order) -> Service:
        """Let the healthy release serve, then stop the one before. A lower number never replaces a higher."""
        ...

    async def withdraw(self, order: Order) -> tuple[str, ...]:
        """Remove whatever carries this deployment's id, and return the names of what still remains."""
        ...
