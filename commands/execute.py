"""The one write path: load, decide, append; overtaken, decide again, in turn with the rivals of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

import msgspec

from commands.catalogue import DECIDER_OF
from commands.claimed import full, taken
from commands.command import Command, Decider, NotLoaded, States
from domain.catalogue import AGGREGATES
from domain.event import Aggregate, Decision, StreamRef
from domain.project import PROJECT
from domain.refusal import Busy, Conflict, PreconditionFailed, Refusal
from domain.refused import REFUSED, CommandRefused
from eventstore.codec import Codec
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

# A decision that keeps being overtaken by other processes is given up after this many.
DECISIONS_MAX = 3
# Rivals of this process take turns, so a decision is overtaken by them once or twice for each stream it touches.
ATTEMPTS_MAX = 30
# How long one command waits for turns in all; clients come again sooner than they wait longer.
WAIT_SECONDS_MAX = 10.0
# A decision asks for streams it did not announce at most this often: a deployment for three artifacts, two
# deployments of its function and the plan.
LOADS_MAX = 10

CODEC = Codec(AGGREGATES)
_AGGREGATE_OF: dict[str, Aggregate[Any]] = {aggregate.name: aggregate for aggregate in AGGREGATES}

# What stands in a state that nothing was recorded of.
_NO_PROJECT = UUID(int=0)


class TooMuchContention(Busy):
    """The thing keeps changing while the request is decided; try again."""

    code = "too_much_contention"


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
    `if_position` names a stream and the positions of which it must still end at one.
    """

    actor: Actor
    command_id: UUID
    correlation_id: UUID
    causation_id: str = ""
    request_hash: bytes = b""
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


class _Loaded(msgspec.Struct, frozen=True, kw_only=True):
    folded: dict[StreamRef, Any]
    versions: dict[StreamRef, int]
    positions: dict[StreamRef, int]


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
        return await _answered_before(log, command, context, busy)
    except Refusal as refusal:
        return await _refused(log, command, context, refusal)


async def _executed(log: Log, command: Command, context: Context) -> Done:
    """Whoever was overtaken decides again, with a turn at the streams that rivals in this process write too."""
    turns: frozenset[StreamRef] = frozenset()
    moved: set[StreamRef] = set()
    until = asyncio.get_running_loop().time() + WAIT_SECONDS_MAX
    decisions = 0
    for _ in range(ATTEMPTS_MAX):
        try:
            async with log.turns.at(turns, until=until):
                append, outcome = await _attempt(log, command, context, turns)
        except _Contended as contended:
            turns |= contended.streams
            continue
        except TurnMissed:
            raise TooMuchContention from None
        if not isinstance(outcome, Overtaken):
            return _answer(append, outcome, context)
        if outcome.actual < outcome.expected:
            log.folds.forget(outcome.stream)
        # What is only read is seldom written: no turn, unless it moves again.
        if outcome.stream in moved or any(event.stream == outcome.stream for event in append.events):
            turns |= {outcome.stream}
        moved.add(outcome.stream)
        decisions += not log.turns.is_ours(outcome.stream, outcome.actual)
        if decisions == DECISIONS_MAX:
            break
    raise TooMuchContention


async def _attempt(log: Log, command: Command, context: Context, turns: frozenset[StreamRef]) -> tuple[Append, Outcome]:
    """Load, decide, append. Raises _Contended when others wait for a turn at what is to be written."""
    loaded = _Loaded(folded={}, versions={}, positions={})
    decision = await _decide(log, DECIDER_OF[type(command)], command, loaded, context)
    append = _append(command, context, decision, loaded)
    written = {event.stream: event.version for event in append.events}
    if others := [stream for stream in written if stream not in turns and log.turns.wanted(stream)]:
        raise _Contended(others)
    outcome = await log.append(append)
    if isinstance(outcome, Appended):
        for stream, version in written.items():
            log.turns.wrote(stream, version)
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
    """What would be, were the command recorded. Claims and counters are not looked at. Raises the Refusal."""
    loaded = _Loaded(folded={}, versions={}, positions={})
    decision = await _decision(log, DECIDER_OF[type(command)], command, loaded)
    return States(_after(decision, loaded))


async def fold(log: Log, aggregate: Aggregate[Any], stream: StreamRef) -> Any:
    """The aggregate's present state, straight from the log."""
    loaded = _Loaded(folded={}, versions={}, positions={})
    await _load(log, [(aggregate, stream)], loaded)
    return loaded.folded[stream]


async def _decide(log: Log, decider: Decider, command: Command, loaded: _Loaded, context: Context) -> Decision:
    if context.if_position is not None:
        stream, positions = context.if_position
        await _load(log, [(_AGGREGATE_OF[stream.category], stream)], loaded)
        if loaded.positions[stream] not in positions:
            raise PreconditionFailed
    return await _decision(log, decider, command, loaded)


async def _decision(log: Log, decider: Decider, command: Command, loaded: _Loaded) -> Decision:
    await _load(log, decider.reads(command), loaded)
    for _ in range(LOADS_MAX):
        missing: NotLoaded
        try:
            decision = decider.decide(command, States(loaded.folded))
        except NotLoaded as asked:
            missing = asked
        else:
            written = ((_AGGREGATE_OF[fact.stream.category], fact.stream) for fact in decision.facts)
            await _load(log, written, loaded)
            return decision
        await _load(log, [(missing.aggregate, missing.stream)], loaded)
    raise AssertionError(f"{type(command).__name__} asks for more than {LOADS_MAX} streams it did not announce")


async def _load(log: Log, wanted: Iterable[tuple[Aggregate[Any], StreamRef]], loaded: _Loaded) -> None:
    pairs = [(aggregate, stream) for aggregate, stream in wanted if stream not in loaded.folded]
    if not pairs:
        return
    for (_, stream), found in zip(pairs, await log.folds.of(CODEC, pairs), strict=True):
        loaded.folded[stream] = found.state
        loaded.versions[stream] = found.version
        loaded.positions[stream] = found.position


def _after(decision: Decision, loaded: _Loaded) -> dict[StreamRef, Any]:
    folded = dict(loaded.folded)
    for fact in decision.facts:
        aggregate = _AGGREGATE_OF[fact.stream.category]
        folded[fact.stream] = aggregate.evolve(folded[fact.stream], fact.event)
    return folded


def _append(command: Command, context: Context, decision: Decision, loaded: _Loaded) -> Append:
    after = _after(decision, loaded)
    return Append(
        tenant_id=command.tenant_id,
        command_id=context.command_id,
        request_hash=context.request_hash,
        reply=context.on_recorded(States(after)),
        expected=tuple(Expected(stream=stream, version=version) for stream, version in loaded.versions.items()),
        claims=decision.claims,
        counters=decision.counters,
        events=_encode(command, context, decision, loaded, after),
    )


def _encode(
    command: Command, context: Context, decision: Decision, loaded: _Loaded, after: Mapping[StreamRef, Any]
) -> tuple[NewEvent, ...]:
    versions = dict(loaded.versions)
    encoded: list[NewEvent] = []
    for fact in decision.facts:
        versions[fact.stream] += 1
        project_id = _project_of(command, fact.stream, after)
        meta = _meta(command, context, project_id=project_id, reason=getattr(command, "reason", ""))
        if not encoded:
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


def _meta(command: Command, context: Context, *, project_id: UUID | None, reason: str = "") -> Meta:
    return Meta(
        actor=context.actor,
        command=_name(command),
        command_id=context.command_id,
        correlation_id=context.correlation_id,
        causation_id=context.causation_id or f"command/{context.command_id}",
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
    if duplicate.request_hash != context.request_hash:
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
        return await _answered_before(log, command, context, refusal)
    stream = REFUSED.stream(command.tenant_id, context.command_id)
    event = CommandRefused(
        command=_name(command),
        code=refusal.code,
        fields=tuple(error.field for error in refusal.errors),
        about=_about(command),
    )
    meta = _meta(command, context, project_id=getattr(command, "project_id", None))
    append = Append(
        tenant_id=command.tenant_id,
        command_id=context.command_id,
        request_hash=context.request_hash,
        outcome="refused",
        reply=context.on_refused(refusal),
        expected=(Expected(stream=stream, version=NO_STREAM),),
        events=(CODEC.new_event(stream, NO_STREAM + 1, event, meta),),
    )
    with suppress(Busy):  # A refusal that cannot be recorded for want of room is still a refusal.
        outcome = await log.append(append)
        if isinstance(outcome, Duplicate):
            return _repeated(outcome, context)
    raise refusal


async def _answered_before(log: Log, command: Command, context: Context, refusal: Refusal) -> Done:
    """What the command's first try was answered. Raises the refusal when there was none."""
    before = await log.find(command.tenant_id, context.command_id)
    if before is None:
        raise refusal
    return _repeated(before, context)


def _about(command: Command) -> dict[str, str]:
    """The ids the command named, as the API spells them, and nothing else it carried."""
    named = ((name, getattr(command, name)) for name in command.__struct_fields__)
    return {_camel(name): str(value) for name, value in named if isinstance(value, UUID) and name != "tenant_id"}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)
