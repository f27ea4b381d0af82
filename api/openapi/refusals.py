"""Which refusals an operation may answer with: its own, and those that come with what it takes and does."""

from __future__ import annotations

from collections.abc import Iterable

from api.event_stream import StreamsFull
from api.operation import Operation
from api.principal import WITHIN_PROJECTS
from api.rate_limits import TenantIsSuspended, TooManyRequests
from api.refusals import (
    BodyInvalid,
    BodyMalformed,
    BodyTooLarge,
    CredentialMissing,
    CredentialUnknown,
    FieldRepeated,
    FormMalformed,
    HeaderRepeated,
    HostMissing,
    IssuerAway,
    MasterKeyAway,
    MediaTypeNotTaken,
    NoMembership,
    NotAMember,
    NotRecordable,
    NotYetVisible,
    OutcomeNotKnown,
    ParameterInvalid,
    PermissionMissing,
    RouteUnknown,
    TenantNotChosen,
    Unexpected,
)
from commands.execute import KeyReused, TooMuchContention
from domain.project import ProjectUnknown
from domain.refusal import PreconditionFailed, Refusal
from domain.tenant import TenantIsClosed
from eventstore.codec import EventOfNewerCode
from eventstore.log import DiskFull, LogBusy, StoreUnavailable
from eventstore.positions import MalformedPosition, PositionOfAnotherEpoch
from projections.reader import ReadModelNotReady

Kinds = tuple[type[Refusal], ...]

_ALWAYS: Kinds = (Unexpected, HeaderRepeated, HostMissing)
_FOR_CALLERS: Kinds = (
    ParameterInvalid,
    CredentialMissing,
    CredentialUnknown,
    IssuerAway,
    MasterKeyAway,
    NotAMember,
    NoMembership,
    TenantNotChosen,
    PermissionMissing,
    TooManyRequests,
    StoreUnavailable,
    DiskFull,
    ReadModelNotReady,
)
_WITH_A_BODY: Kinds = (BodyMalformed, FieldRepeated, BodyTooLarge, MediaTypeNotTaken, BodyInvalid)
_WITH_A_FORM: Kinds = (FormMalformed, BodyTooLarge, MediaTypeNotTaken, BodyInvalid)
_WITH_BYTES: Kinds = (BodyMalformed, BodyTooLarge, MediaTypeNotTaken)
_OF_READS: Kinds = (MalformedPosition, PositionOfAnotherEpoch, NotYetVisible)
_OF_WRITES: Kinds = (
    TenantIsSuspended,
    TenantIsClosed,
    KeyReused,
    PreconditionFailed,
    NotRecordable,
    TooMuchContention,
    LogBusy,
    EventOfNewerCode,
    OutcomeNotKnown,
)


def refusals(operation: Operation, *, has_path_parameters: bool) -> list[type[Refusal]]:
    """All of them, each once."""
    return list(dict.fromkeys(_all(operation, has_path_parameters=has_path_parameters)))


def _all(operation: Operation, *, has_path_parameters: bool) -> Iterable[type[Refusal]]:
    yield from operation.refusals
    yield from _ALWAYS
    if has_path_parameters:
        yield RouteUnknown
        if operation.permission in WITHIN_PROJECTS:
            yield ProjectUnknown
    if operation.permission != "public":
        yield from _FOR_CALLERS
    elif operation.query:
        yield ParameterInvalid
    if operation.takes is not None:
        if operation.takes_bytes:
            yield from _WITH_BYTES
        else:
            yield from _WITH_A_FORM if operation.takes_form else _WITH_A_BODY
    if operation.writes:
        yield from _OF_WRITES
    elif operation.permission != "public" and not operation.records_nothing:
        yield from _OF_READS
    if operation.streams:
        yield StreamsFull
