"""The one write path: load, decide, append; overtaken, decide again, in turn with the rivals of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

import msgspec

from commands.basis import AGGREGATE_OF, CODEC, Basis
from commands.catalogue import DECIDER_OF
from commands.claimed import full, taken
from commands.command import Command, NotLoaded, States
from domain.event import Decision, StreamRef
from domain.project import PROJECT
from domain.refusal import Busy, Conflict, PreconditionFailed, Refusal
from domain.refused import REFUSED, CommandRefused
from domain.uuids import text_of
from eventstore.log import (
    NO_STREAM,
    Append,
    Appended,
    ClaimTaken,
    CounterFull,
    Duplicate,
    Expected,
    Log,
    NewEvent,
    Outcome,
    Overtaken,
)
from eventstore.meta import Actor, Meta
from eventstore.turns import TurnMissed

# Rivals of this process take turns, so a decision needs other ones once or twice for each stream it touches.
ATTEMPTS_MAX = 30
# How long one command waits for turns, and is decided again, in all; clients come again sooner than they wait longer.
WAIT_SECONDS_MAX = 10.0
# A decision asks for streams it did not announce at most this often: a deployment for three artifacts, two
# deployments of its function and the plan.
LOADS_MAX = 10

# Nearly every command needs no turn, and entering none would cost as much as deciding.
_NO_TURN: AbstractAsyncContextManager[Collection[StreamRef]] = nullcontext(())

# What stands in a state that nothing was recorded of.
_NO_PROJECT = UUID(int=0)


class TooMuchContention(Busy):
    """The thing keeps changing while the request is decided; try again."""

    code = "too_much_contention"
    remedy = "Ask again in a moment, with the same Idempotency-Key."


class KeyReused(Conflict):
    """The idempotency key was used before with another request."""

    code = "idempotency_key_reused"
    remedy = "Use a new key for a new request, and the same key only to repeat the very same one."


class RefusedBefore(Refusal):
    """The same request was refused before; `reply` is what was answered then."""

    code = "refused_before"

    def __init__(self, reply: bytes, position: int) -> None:
        super().__init__()
        self.reply, self.position = reply, position


def _no_reply(_states: States) -> bytes:
    return b""


def _no_refusal(_refusal: Refusal) -> bytes:
    return b""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, because of what, and what to keep as the answer.

    `on_recorded` renders the answer from the states after the decision, before it is recorded; `on_refused` renders a
    refusal. Both are stored with the command's id and handed to whoever repeats it.
    `was_asked` says whether the hash of a request recorded under the command's id is one of the same request; None: only the
    very same hash is.
    `if_position` names a stream and the positions of which it must still end at one.
    """

    actor: Actor
    command_id: UUID
    correlation_id: UUID
    causation_id: str = ""
    request_hash: bytes = b""
    was_asked: Callable[[bytes], bool] | None = None
    record_refusals: bool = True
    if_position: tuple[StreamRef, Collection[int]] | None = None
    on_recorded: Callable[[States], bytes] = _no_reply
    on_refused: Callable[[Refusal], bytes] = _no_refusal


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a command. `repeated`: it was recorded earlier, and `reply` is the first answer."""

    first_position: int
    last_position: int
    recorded_at: datetime
    reply: bytes
    repeated: bool = False


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit trail says was asked for: a name, and ids by the names the API has for them."""

    tenant_id: UUID
    name: str
    project_id: UUID | None = None
    about: dict[str, str] = {}


class _Doubtful(Exception):
    """It would be refused by what this process remembers: to be decided by what is so now."""


class _Trial:
    """What one command has learned from being overtaken: which turns it needs, and what is not as it is remembered."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.turns: set[StreamRef] = set()
        self.doubted: set[StreamRef] = set()
        self.fresh = False
        self._moved: set[StreamRef] = set()

    def note(self, log: Log, append: Append, overtaken: Overtaken) -> None:
        """Take in at which stream it was overtaken."""
        stream = overtaken.stream
        # What is only read is seldom written: no turn, unless it moves again.
        if stream in self._moved or any(event.stream == stream for event in append.events):
            self.turns.add(stream)
        self._moved.add(stream)
        if overtaken.actual < overtaken.expected:
            log.folds.forget(stream)
        known = log.folds.recent(stream)
        if known is None or known.version != overtaken.actual:
            self.doubted.add(stream)


class _Contended(Exception):
    """Others of this process wait for a turn at what would be written."""

    def __init__(self, streams: Iterable[StreamRef]) -> None:
        super().__init__()
        self.streams = frozenset(streams)


async def execute(log: Log, command: Command, context: Context) -> Done:
    """Decide and record. Raises the Refusal, after recording that too; RefusedBefore when it was refused the first time.

    Doing it twice with one command id is doing it once. Also raises what `Log.append` raises.
    """
    try:
        return await _executed(log, command, context)
    except (KeyReused, RefusedBefore, TooMuchContention):
        raise
    except Busy as busy:
        # "Later" is no answer to keep: the same request, with the same key, is asked again.
        return await _answered_before(log, command.tenant_id, context, busy)
    except Refusal as refusal:
        return await _refused(log, command, context, refusal)


async def _executed(log: Log, command: Command, context: Context) -> Done:
    """Whoever was overtaken decides again, with a turn at the streams that rivals in this process write too."""
    trial = _Trial(asyncio.get_running_loop().time() + WAIT_SECONDS_MAX)
    for _ in range(ATTEMPTS_MAX):
        turns = frozenset(trial.turns)
        try:
            async with log.turns.at(turns, until=trial.until) if turns else _NO_TURN as others:
                trial.doubted.update(others)
                return await _tried(log, command, context, turns, trial)
        except _Contended as contended:
            trial.turns |= contended.streams
        except TurnMissed:
            break
    raise TooMuchContention


async def _tried(log: Log, command: Command, context: Context, turns: frozenset[StreamRef], trial: _Trial) -> Done:
    """Decide until the log agrees. A turn is kept meanwhile: only another process can overtake whoever has it, and
    those behind would fare no better. Raises _Contended when another turn is needed, and TurnMissed."""
    while True:
        basis = Basis(log, fresh=trial.fresh, doubted=trial.doubted)
        try:
            append, outcome = await _attempt(log, command, context, turns, basis)
        except _Doubtful:
            trial.fresh = True
            continue
        if not isinstance(outcome, Overtaken):
            return _answer(append, outcome, context)
        trial.note(log, append, outcome)
        if not (outcome.stream in basis.remembered or log.turns.is_ours(outcome.stream, outcome.actual)):
            log.turns.met_rivals(outcome.stream)
        if not trial.turns <= turns:
            raise _Contended(trial.turns)
        if asyncio.get_running_loop().time() > trial.until:
            raise TurnMissed


async def _attempt(
    log: Log, command: Command, context: Context, turns: frozenset[StreamRef], basis: Basis
) -> tuple[Append, Outcome]:
    """Load, decide, append. Raises _Contended when others wait for a turn at what is to be written, and _Doubtful when it
    would be refused by what is only remembered."""
    try:
        decision = await _decide(command, basis, context)
    except Refusal as refusal:
        if basis.remembered:
            raise _Doubtful from refusal
        raise
    append = _append(command, context, decision, basis)
    written = {event.stream: event.version for event in append.events}
    if others := [stream for stream in written if stream not in turns and log.turns.wanted(stream)]:
        raise _Contended(others)
    outcome = await log.append(append)
    if isinstance(outcome, Appended):
        for stream, version in written.items():
            log.turns.wrote(stream, version)
        basis.keep(append, outcome)
    elif isinstance(outcome, ClaimTaken | CounterFull) and basis.remembered:
        raise _Doubtful
    return append, outcome


def _answer(append: Append, outcome: Appended | Duplicate | ClaimTaken | CounterFull, context: Context) -> Done:
    match outcome:
        case Appended():
            return _done(outcome, append.reply)
        case Duplicate():
            return _repeated(outcome, context)
        case ClaimTaken(claim=claim, holder=holder):
            raise taken(claim, holder)
        case CounterFull(counter=counter, value=value):
            raise full(counter, value)
        case _:
            assert_never(outcome)


async def decide_only(log: Log, command: Command) -> States:
    """What would be, were the command recorded. Claims and counters are not looked at. Raises the Refusal.

    Memory says which streams it takes; they are asked for together, and only if one of them moved it is decided again.
    """
    basis = Basis(log, fresh=False)
    refused: Refusal | None = None
    decision = Decision()
    try:
        decision = await _decision(command, basis)
    except Refusal as refusal:
        refused = refusal
    if not await basis.still_stands():
        basis = Basis(log, fresh=True)
        decision, refused = await _decision(command, basis), None
    if refused is not None:
        raise refused
    return States(basis.after(decision))


async def _decide(command: Command, basis: Basis, context: Context) -> Decision:
    if context.if_position is not None:
        stream, positions = context.if_position
        await basis.load([(AGGREGATE_OF[stream.category], stream)])
        if basis.position(stream) not in positions:
            raise PreconditionFailed
    return await _decision(command, basis)


async def _decision(command: Command, basis: Basis) -> Decision:
    decider = DECIDER_OF[type(command)]
    await basis.load(decider.reads(command))
    for _ in range(LOADS_MAX):
        missing: NotLoaded
        try:
            decision = decider.decide(command, basis.states)
        except NotLoaded as asked:
            missing = asked
        else:
            await basis.load((AGGREGATE_OF[fact.stream.category], fact.stream) for fact in decision.facts)
            return decision
        await basis.load([(missing.aggregate, missing.stream)])
    raise AssertionError(f"{type(command).__name__} asks for more than {LOADS_MAX} streams it did not announce")


def _append(command: Command, context: Context, decision: Decision, basis: Basis) -> Append:
    after = basis.after(decision)
    return Append(
        tenant_id=command.tenant_id,
        command_id=context.command_id,
        request_hash=context.request_hash,
        reply=context.on_recorded(States(after, moved=[fact.stream for fact in decision.facts], stood=basis.position)),
        expected=basis.expected,
        claims=decision.claims,
        counters=decision.counters,
        events=_encode(command, context, decision, basis, after),
    )


def _encode(
    command: Command, context: Context, decision: Decision, basis: Basis, after: Mapping[StreamRef, Any]
) -> tuple[NewEvent, ...]:
    versions: dict[StreamRef, int] = {}
    encoded: list[NewEvent] = []
    for fact in decision.facts:
        versions[fact.stream] = versions.get(fact.stream, basis.version(fact.stream)) + 1
        project_id = _project_of(command, fact.stream, after)
        meta = _meta(_name(command), context, project_id=project_id, reason=getattr(command, "reason", ""))
        if not encoded and (decision.claims or decision.counters):
            # Claims and counters travel with the first event, so that both tables can be rebuilt from the log.
            meta = msgspec.structs.replace(meta, claims=decision.claims, counters=decision.counters)
        encoded.append(CODEC.new_event(fact.stream, versions[fact.stream], fact.event, meta))
    return tuple(encoded)


def _project_of(command: Command, stream: StreamRef, after: Mapping[StreamRef, Any]) -> UUID | None:
    """The project that the stream belongs to; None when it belongs to none."""
    if stream.category == PROJECT.name:
        return stream.id
    found: UUID = getattr(after[stream], "project_id", _NO_PROJECT)
    return getattr(command, "project_id", None) if found == _NO_PROJECT else found


def _meta(name: str, context: Context, *, project_id: UUID | None, reason: str = "") -> Meta:
    return Meta(
        actor=context.actor,
        command=name,
        command_id=context.command_id,
        correlation_id=context.correlation_id,
        causation_id=context.causation_id or f"command/{text_of(context.command_id)}",
        reason=reason,
        project_id=project_id,
    )


def _name(command: Command) -> str:
    return str(type(command).__struct_config__.tag)


def _done(appended: Appended, reply: bytes) -> Done:
    return Done(
        first_position=appended.first_position,
        last_position=appended.last_position,
        recorded_at=appended.recorded_at,
        reply=reply,
    )


def _repeated(duplicate: Duplicate, context: Context) -> Done:
    if duplicate.request_hash != context.request_hash and not (
        context.was_asked is not None and context.was_asked(duplicate.request_hash)
    ):
        raise KeyReused
    if duplicate.outcome == "refused":
        raise RefusedBefore(duplicate.reply, duplicate.last_position)
    return Done(
        first_position=duplicate.first_position,
        last_position=duplicate.last_position,
        recorded_at=duplicate.recorded_at,
        reply=duplicate.reply,
        repeated=True,
    )


async def _refused(log: Log, command: Command, context: Context, refusal: Refusal) -> Done:
    """Record the refusal and raise it, unless the command was recorded before: then that is the answer."""
    if not context.record_refusals:
        return await _answered_before(log, command.tenant_id, context, refusal)
    named = Named(
        tenant_id=command.tenant_id,
        name=_name(command),
        project_id=getattr(command, "project_id", None),
        about=_about(command),
    )
    return await refuse(log, named, context, refusal)


async def refuse(log: Log, named: Named, context: Context, refusal: Refusal) -> Done:
    """Record that what was asked for is refused, and raise that, unless it was answered before: then that is the answer.

    Also for what is refused before it is a command. Raises RefusedBefore, KeyReused, and what `Log.append` raises.
    """
    if not context.record_refusals:
        return await _answered_before(log, named.tenant_id, context, refusal)
    stream = REFUSED.stream(named.tenant_id, context.command_id)
    event = CommandRefused(
        command=named.name,
        code=refusal.code,
        fields=tuple(error.field for error in refusal.errors),
        about=named.about,
    )
    append = Append(
        tenant_id=named.tenant_id,
        command_id=context.command_id,
        request_hash=context.request_hash,
        outcome="refused",
        reply=context.on_refused(refusal),
        expected=(Expected(stream=stream, version=NO_STREAM),),
        events=(
            CODEC.new_event(stream, NO_STREAM + 1, event, _meta(named.name, context, project_id=named.project_id)),
        ),
    )
    with suppress(Busy):  # A refusal that cannot be recorded for want of room is still a refusal.
        outcome = await log.append(append)
        if isinstance(outcome, Duplicate):
            return _repeated(outcome, context)
        if isinstance(outcome, Appended):
            refusal.recorded_at = outcome.last_position
    raise refusal


async def _answered_before(log: Log, tenant_id: UUID, context: Context, refusal: Refusal) -> Done:
    """What the command's first try was answered. Raises the refusal when there was none."""
    before = await log.find(tenant_id, context.command_id)
    if before is None:
        raise refusal
    return _repeated(before, context)


def _about(command: Command) -> dict[str, str]:
    """The ids the command named and nothing else it carried, nor the tenant, which every event has."""
    named = ((name, getattr(command, name)) for name in command.__struct_fields__)
    return named_ids({name: value for name, value in named if isinstance(value, UUID) and name != "tenant_id"})


def named_ids(ids: Mapping[str, UUID]) -> dict[str, str]:
    """The ids by the names that the API has for them."""
    return {_camel(name): str(id) for name, id in ids.items()}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)
