"""A past for the log: functions that were deployed again and again, as the service would have recorded it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from domain.catalogue import AGGREGATES
from domain.clouds import LocalTarget
from domain.deployment import (
    DEPLOYMENT,
    BuildStarted,
    BuildSucceeded,
    DeploymentActivated,
    DeploymentBundled,
    DeploymentClaimed,
    DeploymentQueued,
    DeploymentSucceeded,
    ImagePushed,
    ReleaseApplied,
    ReleaseStarted,
    ReleaseVerified,
)
from domain.event import Event, StreamRef
from domain.function import FUNCTION, Authored, DeploymentRequested, FunctionCreated, FunctionDeployed
from domain.release import ArtifactKind, Release, SourceRef, Toolchain, Trigger
from eventstore.codec import Codec
from eventstore.meta import Actor, Meta, encode_meta

# So many functions are deployed at the same time, so that their events lie between each other.
AT_A_TIME = 100
DEPLOYMENTS_OF_A_FUNCTION = 5
TENANTS = 16
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

_CODEC = Codec(AGGREGATES)
_DIGEST = "sha256:" + "5f" * 32
_TOOLCHAIN = Toolchain(engine="dart-sdk", version="3.11.0")
_COLUMNS = ("position", "tenant_id", "stream_id", "version", "type", "schema_version", "recorded_at", "meta", "data")

Row = tuple[int, UUID, UUID, int, str, int, datetime, bytes, bytes]


async def fill(url: str, events: int, *, first: int = 1) -> None:
    """Put so many events into the log, from the position `first` on. The address is that of the server's owner."""
    connection = await asyncpg.connect(url)
    try:
        await connection.fetchval("SELECT log.cover($1)", first + events - 1)
        await connection.copy_records_to_table(
            "events", schema_name="log", columns=_COLUMNS, records=past(events, first=first)
        )
        await connection.execute("VACUUM (ANALYZE, FREEZE) log.events")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def past(events: int, *, first: int = 1) -> Iterator[Row]:
    """The rows of `log.events`, in order. What begins later is about other functions: their numbers begin at `first`."""
    position = first
    lives = [_lives(number) for number in range(first - 1, first - 1 + AT_A_TIME)]
    while True:
        for life in lives:
            tenant_id, stream_id, version, (type, schema_version, data), meta = next(life)
            if position == first + events:
                return
            at = BEGAN + timedelta(milliseconds=20 * position)
            yield position, tenant_id, stream_id, version, type, schema_version, at, meta, data
            position += 1


def queued(number: int) -> tuple[StreamRef, DeploymentQueued, Meta]:
    """The beginning of a deployment that is told apart from those of the past by a number."""
    project_id, function_id = _id(2, 0), _id(6, number)
    event = DeploymentQueued(project_id=project_id, number=1, release=_release(function_id, project_id, number))
    meta = Meta(actor=Actor("key", str(_id(3, 0))), command="QueueDeployment", project_id=project_id)
    return DEPLOYMENT.stream(UUID(int=1), _id(7, number)), event, meta


_Entry = tuple[UUID, UUID, int, tuple[str, int, bytes], bytes]


def _lives(number: int) -> Iterator[_Entry]:
    """One function after another, each from its creation to the last of its deployments."""
    tenant_id = UUID(int=1 + number % TENANTS)
    while True:
        yield from _life(tenant_id, number)
        number += AT_A_TIME


def _life(tenant_id: UUID, number: int) -> Iterator[_Entry]:
    function, project_id = FUNCTION.stream(tenant_id, _id(1, number)), _id(2, number // 10)
    by_key = Meta(actor=Actor("key", str(_id(3, number))), command="QueueDeployment", project_id=project_id)
    yield _entry(function, 1, _created(project_id, number), by_key)
    replaced: UUID | None = None
    for count in range(1, DEPLOYMENTS_OF_A_FUNCTION + 1):
        deployment = DEPLOYMENT.stream(tenant_id, _id(4, number * DEPLOYMENTS_OF_A_FUNCTION + count))
        requested = DeploymentRequested(deployment_id=deployment.id, number=count, target_key="local")
        asked = Meta(actor=by_key.actor, command=by_key.command, project_id=project_id, correlation_id=deployment.id)
        by_runner = Meta(
            actor=Actor("runner", "runner-1"),
            command="RecordProgress",
            project_id=project_id,
            correlation_id=deployment.id,
            causation_id=f"deployment/{deployment.id}",
        )
        yield _entry(function, 2 * count, requested, asked)
        release = _release(function.id, project_id, number)
        for version, event in enumerate(_deployed(project_id, count, release, replaced), 1):
            yield _entry(deployment, version, event, asked if version == 1 else by_runner)
        yield _entry(function, 2 * count + 1, _active(deployment.id, count, release, replaced), by_runner)
        replaced = deployment.id


def _entry(stream: StreamRef, version: int, event: Event, meta: Meta) -> _Entry:
    return stream.tenant_id, stream.id, version, _CODEC.encode(event), encode_meta(meta)


def _id(kind: int, number: int) -> UUID:
    """Ids are made one after another, as a clock would make them; their ends are as good as random, as they are in the
    service: that is what the lanes of a rebuild are told apart by."""
    return UUID(int=0x0195_5000_0000_7000_8000_0000_0000_0000 + (number << 80) + (kind << 48) + _scattered(number))


def _scattered(number: int) -> int:
    """Forty bits."""
    return number * 0x9E37_79B9_7F4A_7C15 >> 20 & 0xFF_FFFF_FFFF


def _created(project_id: UUID, number: int) -> FunctionCreated:
    authored = Authored(
        name=f"greeter-{number}",
        description="Greets whoever calls it.",
        trigger=Trigger(),
        runtime="3.11.0",
        environment={"GREETING": "hello"},
    )
    return FunctionCreated(project_id=project_id, slug=authored.name, authored=authored)


def _release(function_id: UUID, project_id: UUID, number: int) -> Release:
    return Release(
        function_id=function_id,
        function_revision=1,
        sources=(_source("code", "main.dart", number), _source("yaml", "pubspec.yaml", number)),
        runtime="3.11.0",
        trigger=Trigger(),
        access="public",
        environment={"GREETING": "hello"},
        provider="local",
        target=LocalTarget(),
        integration_version=4,
        address=("acme", f"shop-{number // 10}", f"greeter-{number}"),
    )


def _source(kind: ArtifactKind, file_name: str, number: int) -> SourceRef:
    return SourceRef(kind=kind, artifact_id=_id(5, number), file_name=file_name, digest=_DIGEST, size_bytes=1200)


def _deployed(project_id: UUID, number: int, release: Release, replaced: UUID | None) -> Iterable[Event]:
    return (
        DeploymentQueued(project_id=project_id, number=number, release=release),
        DeploymentClaimed(epoch=1, runner_id="runner-1"),
        DeploymentBundled(epoch=1, location="bundles/1", digest=_DIGEST),
        BuildStarted(epoch=1, build_id="build-1"),
        BuildSucceeded(epoch=1, build_id="build-1", toolchain=_TOOLCHAIN),
        ImagePushed(epoch=1, reference=f"images/{number}", digest=_DIGEST),
        ReleaseStarted(epoch=1),
        ReleaseApplied(epoch=1, url="http://127.0.0.1:8001/" + "/".join(release.address) + "/", revision="1"),
        ReleaseVerified(epoch=1),
        DeploymentActivated(epoch=1, replaced=replaced),
        DeploymentSucceeded(epoch=1),
    )


def _active(deployment_id: UUID, number: int, release: Release, replaced: UUID | None) -> FunctionDeployed:
    return FunctionDeployed(
        deployment_id=deployment_id,
        number=number,
        target_key="local",
        function_revision=1,
        replaced=replaced,
        inputs=release.inputs,
    )
