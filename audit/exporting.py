"""The parts of an export, made one after another from the log; none is kept longer than its taker needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import msgspec

from audit.export_format import PART_LINES_MAX, Kind, Part, PartUnderWay, events_name
from eventstore.archive.log_events import Piece
from eventstore.database import Queries, Row
from eventstore.event_lines import as_text, instant_text

# Compressing so many takes some milliseconds.
_EVENTS_AT_A_TIME = 500
_PAGE_ROWS = 2_000

Made = tuple[Part, bytes]
Tell = Callable[[int], None]


async def event_parts(
    pieces: AsyncIterator[Piece], tell: Tell, *, lines_max: int = PART_LINES_MAX
) -> AsyncIterator[Made]:
    """The events of the pieces as parts; `tell` hears how far it has come."""
    part: PartUnderWay | None = None
    first = 0
    async for piece in pieces:
        at_a_time = min(_EVENTS_AT_A_TIME, lines_max)
        for start in range(0, len(piece.events), at_a_time):
            some = piece.events[start : start + at_a_time]
            if part is None:
                part, first = PartUnderWay("events", lines_max=lines_max), some[0].position
            await asyncio.to_thread(part.add_events, some)
            if part.is_full:
                yield await asyncio.to_thread(part.closed, events_name(first))
                part = None
        tell(piece.position)
    if part is not None:
        yield await asyncio.to_thread(part.closed, events_name(first))


class CommandLine(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True, gc=False
):
    """What was recorded under a command's id: what a repeated request is answered."""

    tenant_id: UUID
    command_id: UUID
    request_hash: bytes
    outcome: str
    reply: str | None = None
    reply_base64: bytes | None = None
    first_position: int
    last_position: int
    at: str


class PersonKeyLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A person's key as the vault keeps it, wrapped; null once it was destroyed."""

    tenant_id: UUID
    person_id: UUID
    key: bytes | None


class SecretValueLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The value of a function's secret as the vault keeps it: closed under a key of its own, which is wrapped."""

    tenant_id: UUID
    value_id: UUID
    function_id: UUID
    key_id: str
    wrapped_key: bytes
    sealed: bytes


class TenantKeyLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A tenant's key for one purpose, as a key service wrapped it."""

    tenant_id: UUID
    purpose: str
    key_id: UUID
    service: str
    version: str
    wrapped: bytes


_COMMANDS = """
    SELECT c.tenant_id, c.command_id, c.request_hash, c.outcome, c.reply, c.first_position, c.last_position, c.at
      FROM log.commands c
     WHERE (c.command_id, c.tenant_id, c.last_position) > ($1, $2, $3) AND c.last_position <= $4
     ORDER BY c.command_id, c.tenant_id, c.last_position
     LIMIT $5
"""
_PERSON_KEYS = """
    SELECT k.tenant_id, k.person_id, k.key
      FROM vault.person_keys k
     WHERE (k.tenant_id, k.person_id) > ($1, $2)
     ORDER BY k.tenant_id, k.person_id
     LIMIT $3
"""
_CLOSED_VALUES = """
    SELECT s.tenant_id, s.value_id, s.function_id, s.key_id, s.wrapped_key, s.sealed
      FROM vault.secret_values s
     WHERE (s.tenant_id, s.value_id) > ($1, $2)
     ORDER BY s.tenant_id, s.value_id
     LIMIT $3
"""
_TENANT_KEYS = """
    SELECT k.tenant_id, k.purpose, k.key_id, k.service, k.version, k.wrapped
      FROM vault.tenant_keys k
     WHERE (k.tenant_id, k.purpose) > ($1, $2)
     ORDER BY k.tenant_id, k.purpose
     LIMIT $3
"""
_KEY_SERVICES = "SELECT DISTINCT k.service FROM vault.tenant_keys k ORDER BY k.service"
_NOWHERE = UUID(int=0)
_encode = msgspec.json.Encoder().encode


async def command_parts(queries: Queries, up_to: int) -> AsyncIterator[Made]:
    """What was recorded under the ids of commands up to a position. `queries` act as dcf_engine."""

    async def pages() -> AsyncIterator[list[Row]]:
        after: tuple[Any, ...] = (_NOWHERE, _NOWHERE, -1)
        while rows := await queries.fetch(_COMMANDS, *after, up_to, _PAGE_ROWS):
            yield rows
            after = (rows[-1]["command_id"], rows[-1]["tenant_id"], rows[-1]["last_position"])

    async for made in _line_parts("commands", pages(), _command):
        yield made


async def vault_parts(queries: Queries) -> AsyncIterator[Made]:
    """What the vault keeps, wrapped as it is. `queries` act as dcf_owner: no other role can list it."""
    async for made in _line_parts("person-keys", _by_two(queries, _PERSON_KEYS, _NOWHERE), _person_key):
        yield made
    async for made in _line_parts("secret-values", _by_two(queries, _CLOSED_VALUES, _NOWHERE), _secret_value):
        yield made
    async for made in _line_parts("tenant-keys", _by_two(queries, _TENANT_KEYS, ""), _tenant_key):
        yield made


async def key_services(queries: Queries) -> tuple[str, ...]:
    """Which key services wrap tenants' keys. `queries` act as dcf_owner."""
    return tuple(row["service"] for row in await queries.fetch(_KEY_SERVICES))


async def _by_two(queries: Queries, text: str, least: UUID | str) -> AsyncIterator[list[Row]]:
    """Pages in the order of two columns, of which the second begins behind `least`."""
    after: tuple[UUID, UUID | str] = (_NOWHERE, least)
    while rows := await queries.fetch(text, *after, _PAGE_ROWS):
        yield rows
        after = (rows[-1][0], rows[-1][1])


async def _line_parts(
    kind: Kind, pages: AsyncIterator[list[Row]], line: Callable[[Row], msgspec.Struct]
) -> AsyncIterator[Made]:
    number, part = 1, PartUnderWay(kind)
    async for rows in pages:
        for row in rows:
            part.add_line(_encode(line(row)) + b"\n")
        if part.is_full:
            yield await asyncio.to_thread(part.closed, f"{kind}-{number:06}.ndjson.gz")
            number, part = number + 1, PartUnderWay(kind)
    if part.lines:
        yield await asyncio.to_thread(part.closed, f"{kind}-{number:06}.ndjson.gz")


def _command(row: Row) -> CommandLine:
    reply, reply_base64 = as_text(row["reply"])
    return CommandLine(
        tenant_id=row["tenant_id"],
        command_id=row["command_id"],
        request_hash=row["request_hash"],
        outcome=row["outcome"],
        reply=reply,
        reply_base64=reply_base64,
        first_position=row["first_position"],
        last_position=row["last_position"],
        at=instant_text(row["at"]),
    )


def _person_key(row: Row) -> PersonKeyLine:
    return PersonKeyLine(**dict(row))


def _secret_value(row: Row) -> SecretValueLine:
    return SecretValueLine(**dict(row))


def _tenant_key(row: Row) -> TenantKeyLine:
    return TenantKeyLine(**dict(row))
