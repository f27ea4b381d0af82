"""Uploads that can be resumed: begun, appended to from where they stand, and finished as an artifact.

As draft-ietf-httpbis-resumable-upload-12 (interop version 8) has it, but for interim answers, which are optional there.
What arrived is kept as it arrives, so it outlives the connection, and this process.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime
from typing import IO, Any, cast
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.params import FromPath

from api.answer import Answer, Header, encoded
from api.body import streamed
from api.errors import answer_to, kept_answer
from api.exchange import exchange_of
from api.kept_files import READING, read_into
from api.listing import arguments
from api.operation import Operation, Parameter
from api.reading import reached, tenant_of
from api.refusals import BodyMalformed, BodyTooLarge, MediaTypeNotTaken, ParameterInvalid
from api.services import Services, services_of
from api.staging import NAMES, File, bytes_max_of, kept_with, refusals_of, require_open_project, stage
from api.uploads import FileBytes
from api.writing import Writing
from commands.execute import KeyReused
from domain.artifact import ArtifactUnknown, artifact_id
from domain.clouds import ProviderName
from domain.refusal import Busy, Conflict, FieldError, Invalid, LimitReached, NotFound, Refusal
from domain.release import ArtifactKind
from eventstore.uploads import NewUpload, Upload
from projections.artifacts import Artifact
from providers.spool import digest_in, spool

PARTIAL = "application/partial-upload"
# How long an upload is kept, and after its end the answer to it.
UPLOAD_SECONDS = 24 * 3600
# How many a tenant may have begun and not ended.
OPEN_MAX = 20
# So much is kept at a time: what is lost when this process is, and what it holds in memory for each upload.
PIECE_BYTES = 256 * 1024
PATH = "/projects/{project_id:uuid}/uploads"

_INTEGER = re.compile(r"[0-9]{1,15}")
_SHA_256 = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_BOOLEANS = {"?1": True, "?0": False}


class UploadUnknown(NotFound):
    """There is no such upload in this project, or its time is over."""

    code = "upload_not_found"
    remedy = "Begin it again with POST /api/v1/projects/{projectId}/uploads."


class UploadOffsetMismatch(Conflict):
    """The upload stands at another offset."""

    code = "upload_offset_mismatch"
    remedy = "Go on from the Upload-Offset of this answer; HEAD on the upload tells it too."

    def __init__(self, upload: Upload, given: int) -> None:
        super().__init__(
            f"The upload stands at {upload.received}, not at {given}.",
            errors=(FieldError(field="Upload-Offset", message=f"expected {upload.received}"),),
        )
        self.upload = upload


class UploadOvertaken(Conflict):
    """Another request has come to the upload since; this one adds nothing more."""

    code = "upload_overtaken"
    remedy = "Ask with HEAD where the upload stands, and send one request at a time."


class UploadLengthInconsistent(Refusal):
    """The length does not fit what was sent, or said before."""

    code = "upload_length_inconsistent"
    remedy = "Send the same Upload-Length each time, that of the whole file, or none."


class UploadsFull(LimitReached):
    """The tenant has begun as many uploads as it may without ending one."""

    code = "uploads_full"
    remedy = f"Finish or DELETE some of them; each is forgotten after {UPLOAD_SECONDS // 3600} hours."


class DigestMismatch(Invalid):
    """The bytes that arrived are not those that were announced; the upload is given up."""

    code = "digest_mismatch"
    remedy = "Upload the file again."


class UploadState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An upload on its way. `offset` bytes are here; `length` is null while nobody has said how many there will be.

    Complete, `digest` is that of the file; until `expiresAt` what finished it is answered again.
    """

    upload_id: UUID
    project_id: UUID
    kind: ArtifactKind
    offset: int
    length: int | None
    bytes_max: int
    complete: bool
    digest: str | None
    created_at: datetime
    expires_at: datetime


_HEADERS = ("UploadComplete", "UploadLength", "ReprDigest")
_SHOWN = ("Upload-Offset", "Upload-Complete", "Upload-Length", "Upload-Limit")
_KIND = Parameter(name="kind", type=ArtifactKind, description="What the file is.", required=True)
_PROVIDER = Parameter(
    name="provider", type=ProviderName, description="Whose storage keeps the file, when that of several is configured."
)
_EXAMPLE = "void main() => print('hello');\n"
_OF_FILES = refusals_of("code", "docker", "yaml")


_BEGIN = Operation(
    name="beginUpload",
    permission="artifacts:write",
    summary="Begin an upload that can be resumed, or send a file whole",
    tag="Artifacts",
    takes=FileBytes,
    takes_bytes="application/octet-stream",
    heeds=_HEADERS,
    answers={200: Artifact, 201: UploadState},
    example=_EXAMPLE,
    query=(_KIND, _PROVIDER),
    writes=True,
    shows=_SHOWN,
    refusals=(UploadsFull, UploadOvertaken, UploadLengthInconsistent, DigestMismatch, *_OF_FILES),
)


@post(PATH, status_code=201, opt=_BEGIN.as_opt())
async def begin_upload(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    """Without `Upload-Complete: ?0` the body is the whole file, and the answer the artifact it became."""
    services, tenant_id = services_of(request), tenant_of(request)
    asked = arguments(request, _BEGIN.query)
    if "kind" not in asked:
        raise _needed("kind", "code, docker or yaml")
    _refuse_forms(request)
    is_whole = _boolean(request, "upload-complete") is not False
    writing = Writing(request, None)
    bytes_max = await bytes_max_of(services, tenant_id)
    length = _length(request, 0, is_last=is_whole)
    if length is not None and length > bytes_max:
        raise _too_large(bytes_max)
    await require_open_project(services, tenant_id, project_id)
    provider = asked.get("provider")
    await kept_with(services, tenant_id, project_id, provider)
    new = NewUpload(
        tenant_id=tenant_id,
        upload_id=writing.own_id("upload"),
        project_id=project_id,
        kind=asked["kind"],
        provider=provider,
        request_hash=_hash(asked["kind"], str(provider), str(is_whole)),
        wanted_digest=_wanted_digest(request),
        size_max=bytes_max,
        length=length,
    )
    upload = await _begun(services, new)
    if upload.received and not upload.is_complete:
        if not is_whole:
            return _state(upload, status=201)  # Repeated under its key: the client sees how far the first one came.
        # The first one broke off, so all of it is sent again.
        await services.uploads.drop(tenant_id, upload.upload_id)
        upload = await _begun(services, new)
    body = await _received(request, services, upload, 0)
    upload = msgspec.structs.replace(upload, received=body.end)
    if not is_whole:
        return _state(upload, status=201)
    _require_whole(upload)
    writing.content_is(body.digest)
    answer = await writing.answered_before() or await _finished(request, services, writing, upload)
    if answer.status == 201:
        answer.status = 200  # 201 is for an upload that goes on.
    return answer


_GET = Operation(
    name="getUpload",
    permission="artifacts:write",
    summary="Say how far an upload has come; HEAD says it in headers alone",
    tag="Artifacts",
    answers={200: UploadState},
    shows=_SHOWN,
    refusals=(UploadUnknown,),
)


@get(PATH + "/{upload_id:uuid}", opt=_GET.as_opt())
async def get_upload(request: Request[Any, Any, Any], project_id: FromPath[UUID], upload_id: FromPath[UUID]) -> Answer:
    """Whoever still sends is shut out: what is told here is what the next request goes on from."""
    services = await reached(request)
    return _state(await _taken(services, tenant_of(request), project_id, upload_id), status=200)


_APPEND = Operation(
    name="appendToUpload",
    permission="artifacts:write",
    summary="Append to an upload, and finish it with the last piece",
    tag="Artifacts",
    takes=FileBytes,
    takes_bytes=PARTIAL,
    heeds=("UploadOffset", "PieceComplete", "UploadLength"),
    answers={200: Artifact, 201: Artifact, 202: UploadState},
    example=_EXAMPLE,
    writes=True,
    shows=_SHOWN,
    refusals=(
        UploadUnknown,
        UploadOffsetMismatch,
        UploadOvertaken,
        UploadLengthInconsistent,
        DigestMismatch,
        ArtifactUnknown,
        *READING[:1],
        *_OF_FILES,
    ),
)


@patch(PATH + "/{upload_id:uuid}", status_code=202, opt=_APPEND.as_opt())
async def append_to_upload(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], upload_id: FromPath[UUID]
) -> Answer:
    """With `Upload-Complete: ?1` the answer is that of an upload in one piece."""
    services, tenant_id = services_of(request), tenant_of(request)
    _require_partial(request)
    offset, is_last = _integer(request, "upload-offset"), _boolean(request, "upload-complete")
    if offset is None:
        raise _needed("Upload-Offset", "a number of bytes")
    if is_last is None:
        raise _needed("Upload-Complete", "?0, or ?1 for the last piece")
    writing = Writing(request, None)
    upload = await _taken(services, tenant_id, project_id, upload_id)
    if upload.is_complete or upload.received != offset:
        return await _repeated(request, services, writing, upload, offset, is_last=is_last)
    length = _length(request, offset, is_last=is_last)
    if length is not None and length > upload.size_max:
        raise _too_large(upload.size_max, upload)
    if length is not None and not await services.uploads.set_length(upload, length):
        raise UploadLengthInconsistent(f"The length {length} is another one than was said before.")
    upload = msgspec.structs.replace(upload, length=upload.length if length is None else length)
    body = await _received(request, services, upload, offset)
    upload = msgspec.structs.replace(upload, received=body.end)
    if not is_last:
        return _state(upload, status=202)
    _require_whole(upload)
    writing.content_is(_sent(offset, body.digest))
    return await _finished(request, services, writing, upload)


_CANCEL = Operation(
    name="cancelUpload",
    permission="artifacts:write",
    summary="Give an upload up, and what there is of it",
    tag="Artifacts",
    answers={200: UploadState},
    shows=_SHOWN,
    records_nothing=True,
    refusals=(UploadUnknown,),
)


@delete(PATH + "/{upload_id:uuid}", status_code=200, opt=_CANCEL.as_opt())
async def cancel_upload(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], upload_id: FromPath[UUID]
) -> Answer:
    """What it became, if it was finished, stays."""
    services, tenant_id = services_of(request), tenant_of(request)
    upload = await _taken(services, tenant_id, project_id, upload_id)
    if await services.uploads.drop(tenant_id, upload_id) is None:
        raise UploadUnknown
    return _state(upload, status=200)


def upload_limit(bytes_max: int, seconds: int = UPLOAD_SECONDS) -> Header:
    """The limits as a header, also for OPTIONS."""
    return b"upload-limit", b"max-size=%d, max-age=%d" % (bytes_max, seconds)


class _Body(msgspec.Struct, frozen=True):
    """A body that was kept: where the upload stands now, and the digest of these bytes alone."""

    end: int
    digest: bytes


async def _begun(services: Services, new: NewUpload) -> Upload:
    upload = await services.uploads.begin(new, seconds=UPLOAD_SECONDS, open_max=OPEN_MAX)
    if upload is None:
        raise UploadsFull
    if upload.request_hash != new.request_hash or upload.project_id != new.project_id:
        raise KeyReused
    return upload


def _require_whole(upload: Upload) -> None:
    if upload.length not in (None, upload.received):
        raise UploadLengthInconsistent(f"The file ends at {upload.received} and was to have {upload.length} bytes.")


async def _taken(services: Services, tenant_id: UUID, project_id: UUID, upload_id: UUID) -> Upload:
    upload = await services.uploads.take(tenant_id, upload_id)
    if upload is None or upload.project_id != project_id:
        raise UploadUnknown
    return upload


async def _received(request: Request[Any, Any, Any], services: Services, upload: Upload, offset: int) -> _Body:
    """Keep the body piece by piece, also what there is of one that breaks off."""
    # Repeated under its key, a file that was sent whole is here already.
    keeps = not upload.is_complete and upload.received == offset
    length = upload.length if keeps else None
    room = (upload.size_max if length is None else min(length, upload.size_max)) - offset
    announced = exchange_of(request.scope).header(b"content-length") or ""
    if announced.isdigit() and int(announced) > room:
        raise _too_large(upload.size_max, upload)
    digest, held, at = hashlib.sha256(), bytearray(), offset
    try:
        async for chunk in streamed(request, bytes_max=room):
            digest.update(chunk)
            held += chunk
            if keeps and len(held) >= PIECE_BYTES:
                at = await _kept(services, upload, at, held)
    except BodyMalformed:
        if keeps:
            await _kept(services, upload, at, held)
        raise
    except BodyTooLarge:
        # What is too long already cannot become what was announced.
        if keeps:
            await services.uploads.drop(upload.tenant_id, upload.upload_id)
        raise _too_large(upload.size_max) from None
    end = await _kept(services, upload, at, held) if keeps else upload.received
    return _Body(end, digest.digest())


async def _kept(services: Services, upload: Upload, at: int, held: bytearray) -> int:
    """Where the upload stands after these bytes, which are durable then. Raises UploadOvertaken."""
    if not held:
        return at
    if not await services.uploads.add(upload, at, bytes(held)):
        raise UploadOvertaken
    end = at + len(held)
    held.clear()
    return end


async def _finished(request: Request[Any, Any, Any], services: Services, writing: Writing, upload: Upload) -> Answer:
    """The answer to the whole file. Done again after a crash at any point, it comes to the same."""
    try:
        with spool() as content:
            await _read_into(services, upload, content)
            digest = digest_in(content)
            await _require_wanted(services, upload, digest)
            file = File(
                project_id=upload.project_id,
                kind=cast("ArtifactKind", upload.kind),
                content=content,
                digest=digest,
                provider=cast("ProviderName | None", upload.provider),
            )
            answer = await stage(services, writing, file)
            await services.uploads.complete(upload, digest)
    except DigestMismatch as refusal:
        # What came was not what was sent: under the same key it may come again.
        answer = answer_to(request.scope, refusal)
    except (Busy, UploadOvertaken):
        raise  # Nothing is wrong with the file: the same request may be sent again.
    except Refusal as refusal:
        answer = await kept_answer(request.scope, refusal)
    # It is the file that is answered for, well or ill: there is nothing to resume.
    answer.headers += [(b"upload-complete", b"?1"), (b"upload-offset", b"%d" % upload.received)]
    return answer


async def _require_wanted(services: Services, upload: Upload, digest: str) -> None:
    if upload.wanted_digest not in ("", digest):
        await services.uploads.drop(upload.tenant_id, upload.upload_id)
        raise DigestMismatch(errors=(FieldError(field="Repr-Digest", message=f"the bytes have {digest}"),))


async def _read_into(services: Services, upload: Upload, into: IO[bytes]) -> None:
    if not upload.is_complete:
        if not await services.uploads.read_into(upload, into):
            raise UploadOvertaken
        return
    kind = cast("ArtifactKind", upload.kind)
    known = artifact_id(upload.project_id, kind, NAMES[kind], upload.digest)
    if not await read_into(services, upload.tenant_id, known, into):
        await services.uploads.drop(upload.tenant_id, upload.upload_id)
        raise ArtifactUnknown("The file was uploaded, and its plan keeps it no longer; upload it again.")


async def _repeated(
    request: Request[Any, Any, Any],
    services: Services,
    writing: Writing,
    upload: Upload,
    offset: int,
    *,
    is_last: bool,
) -> Answer:
    """The answer to a request that does not go on from where the upload stands: the same as before, if it is repeated."""
    digest, size = hashlib.sha256(), 0
    async for chunk in streamed(request, bytes_max=upload.size_max):
        digest.update(chunk)
        size += len(chunk)
    if is_last:
        writing.content_is(_sent(offset, digest.digest()))
        before = await writing.answered_before()
        if before is not None:
            before.headers += [(b"upload-complete", b"?1"), (b"upload-offset", b"%d" % upload.received)]
            return before
        if upload.is_complete and offset == upload.received and not size:
            return await _finished(request, services, writing, upload)
    mismatch = UploadOffsetMismatch(upload, offset)
    answer = answer_to(request.scope, mismatch)
    answer.headers += [*_told(upload), (b"upload-complete", b"?0")]
    return answer


def _state(upload: Upload, *, status: int) -> Answer:
    state = UploadState(
        upload_id=upload.upload_id,
        project_id=upload.project_id,
        kind=cast("ArtifactKind", upload.kind),
        offset=upload.received,
        length=upload.length,
        bytes_max=upload.size_max,
        complete=upload.is_complete,
        digest=upload.digest or None,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
    )
    location = f"/api/v1/projects/{upload.project_id}/uploads/{upload.upload_id}".encode()
    headers: list[Header] = [
        *_told(upload),
        (b"upload-complete", b"?1" if upload.is_complete else b"?0"),
        (b"cache-control", b"no-store"),
    ]
    if status != 200:
        headers.append((b"location", location))
    return Answer(encoded(state), status=status, headers=tuple(headers))


def _told(upload: Upload) -> list[Header]:
    seconds = max(0, int((upload.expires_at - datetime.now(upload.expires_at.tzinfo)).total_seconds()))
    told = [(b"upload-offset", b"%d" % upload.received), upload_limit(upload.size_max, seconds)]
    return told if upload.length is None else [*told, (b"upload-length", b"%d" % upload.length)]


def _length(request: Request[Any, Any, Any], offset: int, *, is_last: bool) -> int | None:
    """How long the whole file is, as far as this request says. Raises UploadLengthInconsistent."""
    said = _integer(request, "upload-length")
    rest = _integer(request, "content-length") if is_last else None
    if said is not None and rest is not None and said != offset + rest:
        raise UploadLengthInconsistent(f"Upload-Length says {said}, and the file would end at {offset + rest}.")
    return said if rest is None else offset + rest


def _integer(request: Request[Any, Any, Any], name: str) -> int | None:
    """A header that is a number; any other value counts as none."""
    text = exchange_of(request.scope).header(name.encode()) or ""
    return int(text) if _INTEGER.fullmatch(text) else None


def _boolean(request: Request[Any, Any, Any], name: str) -> bool | None:
    return _BOOLEANS.get((exchange_of(request.scope).header(name.encode()) or "").strip())


def _wanted_digest(request: Request[Any, Any, Any]) -> str:
    """What Repr-Digest announces; other algorithms than SHA-256 are left to the client to check."""
    found = _SHA_256.search(exchange_of(request.scope).header(b"repr-digest") or "")
    return f"sha256:{base64.b64decode(found[1]).hex()}" if found else ""


def _media_type(request: Request[Any, Any, Any]) -> str:
    return (exchange_of(request.scope).header(b"content-type") or "").partition(";")[0].strip().lower()


def _refuse_forms(request: Request[Any, Any, Any]) -> None:
    if _media_type(request).startswith("multipart/"):
        raise MediaTypeNotTaken(
            "This request takes the file itself, not a form.",
            remedy="Send the bytes as application/octet-stream, or the form to POST /api/v1/functions/upload/{kind}.",
        )


def _require_partial(request: Request[Any, Any, Any]) -> None:
    if _media_type(request) != PARTIAL:
        raise MediaTypeNotTaken(f"This request takes {PARTIAL}.", remedy=f"Send Content-Type: {PARTIAL}.")


def _hash(*parts: str) -> bytes:
    return hashlib.sha256("\n".join(parts).encode()).digest()


def _sent(offset: int, digest: bytes) -> bytes:
    """What tells one request that finishes an upload from another."""
    return b"%d " % offset + digest


def _needed(name: str, what: str) -> ParameterInvalid:
    return ParameterInvalid(
        f"{name} is missing or cannot be used; it is {what}.",
        errors=(FieldError(field=name, message=what),),
        remedy=f"Send {name}.",
    )


def _too_large(bytes_max: int, upload: Upload | None = None) -> BodyTooLarge:
    room = "" if upload is None else f" The upload stands at {upload.received}."
    return BodyTooLarge(
        f"The file would have more than the {bytes_max} bytes it may have, or more than was announced.{room}",
        remedy="Send a smaller file, or ask for a plan that allows larger ones.",
    )


RESUMABLE_UPLOAD_ROUTES = (begin_upload, get_upload, append_to_upload, cancel_upload)
