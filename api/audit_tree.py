"""The tree of the log over HTTP: its checkpoints, proofs that anybody can check, and its tiles.

Hashes tell nothing of what was hashed, so that these are the same for all tenants; an event is shown to its own alone.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.params import FromPath

from api.answer import Answer, encoded
from api.audited import AUDITED_TENANT, audited_projects, audited_tenant
from api.listing import PAGE_PARAMETERS, Listed, arguments, asked, listed
from api.operation import Operation, Parameter
from api.reading import principal_of, reached
from api.refusals import ParameterInvalid
from api.services import Services
from api.uploads import FileBytes
from domain.refusal import Busy, FieldError, NotFound
from eventstore.archived import EventsArchived
from eventstore.canonical import encode_canonical
from eventstore.event_lines import event_line
from eventstore.log import StoredEvent
from eventstore.meta import decode_meta
from eventstore.tree.notes import Checkpoint
from eventstore.tree.proofs import EventProof
from eventstore.tree.tree import (
    TILE_HASHES,
    SignedCheckpoint,
    consistency_proof,
    hashes,
    inclusion_proof,
    leaves,
)
from projections.audit_trail import AUDIT_EVENTS_AT, row_id

TEXT = "text/plain"
_TEXT = b"text/plain; charset=utf-8"
# A checkpoint is old after seconds, and what it says for ever so.
_TILE_HEADERS = ((b"cache-control", b"private, max-age=31536000, immutable"),)
# More segments than a log can ever have tiles for are no number here.
_TILE = re.compile(r"((?:x[0-9]{3}/){0,4}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_LEVELS_MAX = 8

Size = Annotated[int, msgspec.Meta(ge=1, lt=1 << 62)]
_SIZE = Parameter(
    name="size", type=Size, description="The checkpoint of exactly so many events; the newest when left out.", example=1
)


class NothingSignedYet(Busy):
    """No checkpoint of the log holds this yet; one is signed every few seconds while the log grows."""

    code = "nothing_signed_yet"
    remedy = "Ask again in a moment. If it stays so: dcf doctor, where the service runs, says why."
    retry_after_seconds = 5


class CheckpointUnknown(NotFound):
    """No checkpoint of exactly this size was signed."""

    code = "checkpoint_not_found"
    remedy = "GET /api/v1/audit/checkpoints lists those there are."


class EventUnknown(NotFound):
    """The tenant has no event at this position."""

    code = "event_not_found"
    remedy = "GET /api/v1/audit/events lists the events that the caller may see."


class TileUnknown(NotFound):
    """The tree has no such tile, or not as many hashes in it."""

    code = "tile_not_found"
    remedy = "The checkpoint says how large the tree is, and with it which tiles there are (C2SP tlog-tiles)."


class CheckpointShown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A checkpoint: `note` is what was signed, with its signatures; each of the `verifierKeys` verifies one of them."""

    size: int
    note: str
    verifier_keys: tuple[str, ...]
    made_at: datetime


class VerifierKeys(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Those of the newest checkpoint. Get them once, from somebody you trust, and keep them."""

    origin: str
    keys: tuple[str, ...]


# Why an event is not shown with its proof.
Withheld = Literal["archived", "secret_hash"]


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event as it is stored, as in a line of an export: the bytes of `meta` and `data` as text or, where they are none, in
    base64."""

    position: int
    tenant_id: UUID
    stream_id: UUID
    version: int
    type: str
    schema_version: int
    recorded_at: str
    meta: str | None
    meta_base64: bytes | None
    data: str | None
    data_base64: bytes | None

    @classmethod
    def of(cls, event: StoredEvent) -> Self:
        return cls(**msgspec.structs.asdict(event_line(event)))


class Inclusion(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """That an event is the leaf `leafIndex` of the tree that `checkpoint` was signed of. `hashes` (base64) lead from the
    leaf's sibling up to the root. The leaf is the SHA-256 over 00 and the canonical bytes of `event`, which stands here as
    in an export; null where it is `withheld`: `archived`, or `secret_hash`, a key's, which is for who may export the log.
    `tlogProof` is all of it as a file (C2SP tlog-proof)."""

    position: str
    leaf_index: int
    tree_size: int
    leaf_hash: bytes
    root_hash: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str
    verifier_keys: tuple[str, ...]
    event: RecordedEvent | None
    withheld: Withheld | None
    tlog_proof: str


class Consistency(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """That the tree of `newSize` events begins with all of that of `oldSize`."""

    old_size: int
    new_size: int
    old_root: bytes
    new_root: bytes
    hashes: tuple[bytes, ...]


_CHECKPOINT = Operation(
    name="getCheckpoint",
    permission="audit:read",
    summary="The newest checkpoint of the log, or that of a size: a signed note",
    tag="Audit",
    within_projects=True,
    gives=TEXT,
    answers={200: str},
    query=(_SIZE,),
    refusals=(NothingSignedYet, CheckpointUnknown),
)


@get("/audit/checkpoint", opt=_CHECKPOINT.as_opt())
async def get_checkpoint(request: Request[Any, Any, Any]) -> Answer:
    services = await reached(request)
    signed = await _signed(services, arguments(request, _CHECKPOINT.query).get(_SIZE.name))
    return Answer(signed.note.encode(), media_type=_TEXT)


_CHECKPOINTS = Operation(
    name="listCheckpoints",
    permission="audit:read",
    summary="Every checkpoint of the log since it was begun, or last restored, the smallest first",
    tag="Audit",
    within_projects=True,
    answers={200: Listed[CheckpointShown]},
    query=PAGE_PARAMETERS,
)


@get("/audit/checkpoints", opt=_CHECKPOINTS.as_opt())
async def list_checkpoints(request: Request[Any, Any, Any]) -> Answer:
    services = await reached(request)
    given = await asked(request, services)
    found = await services.tree.checkpoints(above=given.after or 0, limit=given.limit + 1)
    items = [encoded(_shown(one)) for one in found[: given.limit]]
    cursor = await services.tokens.of(found[given.limit - 1].size) if len(found) > given.limit else None
    return listed(items, cursor)


_KEYS = Operation(
    name="getVerifierKeys",
    permission="audit:read",
    summary="The keys that verify checkpoints, as name+hash+base64 (C2SP signed-note)",
    tag="Audit",
    within_projects=True,
    answers={200: VerifierKeys},
    refusals=(NothingSignedYet,),
)


@get("/audit/verifier-keys", opt=_KEYS.as_opt())
async def get_verifier_keys(request: Request[Any, Any, Any]) -> Answer:
    signed = await _signed(await reached(request), None)
    return Answer(encoded(VerifierKeys(origin=Checkpoint.parse(signed.note).origin, keys=signed.verifier_keys)))


_INCLUSION = Operation(
    name="proveEvent",
    permission="audit:read",
    summary="The proof that an event is in the log, checked without the service",
    tag="Audit",
    within_projects=True,
    answers={200: Inclusion},
    query=(_SIZE, AUDITED_TENANT),
    refusals=(EventUnknown, NothingSignedYet, CheckpointUnknown),
)


@get("/audit/events/{position:str}/proof", opt=_INCLUSION.as_opt())
async def prove_event(request: Request[Any, Any, Any], position: FromPath[str]) -> Answer:
    services = await reached(request)
    given = arguments(request, _INCLUSION.query)
    tenant_id = audited_tenant(request, given.get(AUDITED_TENANT.name))
    place = await services.tokens.read(position, "position")
    event, withheld = await _event(request, services, tenant_id, place)
    size = given.get(_SIZE.name)
    if size is not None and size < place:
        raise _invalid(_SIZE.name, "the event was recorded after that")
    signed = await _signed(services, size, at_least=place)
    [leaf] = await leaves(services.tree, place - 1, place)
    path = tuple(await inclusion_proof(services.tree, place - 1, signed.size))
    proof = EventProof(
        index=place - 1,
        path=path,
        checkpoint=signed.note,
        event=b"" if event is None else encode_canonical(event),
    )
    return Answer(
        encoded(
            Inclusion(
                position=position,
                leaf_index=place - 1,
                tree_size=signed.size,
                leaf_hash=leaf,
                root_hash=Checkpoint.parse(signed.note).root,
                hashes=path,
                checkpoint=signed.note,
                verifier_keys=signed.verifier_keys,
                event=None if event is None else RecordedEvent.of(event),
                withheld=withheld,
                tlog_proof=proof.text,
            )
        )
    )


_SIZES = (
    Parameter(name="from", type=Size, description="The size of the smaller tree.", example=1, required=True),
    Parameter(
        name="to",
        type=Size,
        description="The size of the larger tree; that of the newest checkpoint when left out.",
        example=1,
    ),
)
_CONSISTENCY = Operation(
    name="proveConsistency",
    permission="audit:read",
    summary="The proof that the log only grew between two sizes",
    tag="Audit",
    within_projects=True,
    answers={200: Consistency},
    query=_SIZES,
    refusals=(NothingSignedYet,),
)


@get("/audit/consistency", opt=_CONSISTENCY.as_opt())
async def prove_consistency(request: Request[Any, Any, Any]) -> Answer:
    services = await reached(request)
    given = arguments(request, _CONSISTENCY.query)
    if "from" not in given:
        raise _invalid("from", "it is needed")
    old, new = given["from"], given.get("to") or (await _signed(services, None)).size
    if new > await services.tree.size():
        raise _invalid("to", "the tree of the log is smaller")
    if old > new:
        raise _invalid("from", "it is larger than the other")
    old_root, new_root = await hashes(services.tree, [(0, old), (0, new)])
    path = tuple(await consistency_proof(services.tree, old, new))
    shown = Consistency(old_size=old, new_size=new, old_root=old_root, new_root=new_root, hashes=path)
    return Answer(encoded(shown))


_TILE_OPERATION = Operation(
    name="getTile",
    permission="audit:read",
    summary="A tile of the tree, for witnesses and mirrors (C2SP tlog-tiles)",
    tag="Audit",
    within_projects=True,
    answers={200: FileBytes},
    gives="application/octet-stream",
    refusals=(TileUnknown,),
)


@get("/audit/tile/{level:int}/{tile:path}", opt=_TILE_OPERATION.as_opt())
async def get_tile(request: Request[Any, Any, Any], level: FromPath[int], tile: FromPath[PurePosixPath]) -> Answer:
    services = await reached(request)
    arguments(request, ())
    found = _TILE.fullmatch(str(tile).removeprefix("/"))
    if found is None or not 0 <= level < _LEVELS_MAX:
        raise TileUnknown
    number, width = int(re.sub("[x/]", "", found[1])), int(found[2] or TILE_HASHES)
    [content] = await services.tree.tiles([(level, number)])
    wanted = width * 32
    if width > TILE_HASHES or len(content) < wanted:
        raise TileUnknown
    return Answer(content[:wanted], media_type=b"application/octet-stream", headers=_TILE_HEADERS)


async def _signed(services: Services, size: int | None, *, at_least: int = 1) -> SignedCheckpoint:
    """The checkpoint of a size, or the newest. Raises CheckpointUnknown and, where it does not hold enough, NothingSignedYet."""
    found = await (services.tree.newest_checkpoint() if size is None else services.tree.checkpoint_at(size))
    if found is None and size is not None:
        raise CheckpointUnknown
    if found is None or found.size < at_least:
        raise NothingSignedYet
    return found


def _shown(one: SignedCheckpoint) -> CheckpointShown:
    return CheckpointShown(size=one.size, note=one.note, verifier_keys=one.verifier_keys, made_at=one.made_at)


async def _event(
    request: Request[Any, Any, Any], services: Services, tenant_id: UUID, position: int
) -> tuple[StoredEvent | None, Withheld | None]:
    """The tenant's event as it is stored, or why it is not shown. Raises EventUnknown."""
    projects = audited_projects(request)
    try:
        piece = await services.tenant_events.after(tenant_id, position - 1, up_to=position)
    except EventsArchived:
        rows = await services.reader.rows(AUDIT_EVENTS_AT, tenant_id, [row_id(position)])
        if not rows or (projects is not None and rows[0].row.project_id not in projects):
            raise EventUnknown from None
        return None, "archived"
    if not piece.events:
        raise EventUnknown
    [event] = piece.events
    if projects is not None and decode_meta(event.meta).project_id not in projects:
        raise EventUnknown
    # As everywhere else: what checks a credential is shown to nobody who only reads.
    if b'"secretHash"' in event.data and "audit:export" not in principal_of(request).permissions:
        return None, "secret_hash"
    return event, None


def _invalid(name: str, why: str) -> ParameterInvalid:
    return ParameterInvalid(
        f"The parameter {name!r} cannot be used: {why}.", errors=(FieldError(field=name, message=why),)
    )


TREE_ROUTES = (get_checkpoint, list_checkpoints, get_verifier_keys, prove_event, prove_consistency, get_tile)
