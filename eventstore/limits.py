"""What one append may be: checked before it joins others, so that it fails alone."""

from __future__ import annotations

from collections.abc import Iterator

from eventstore.log import Append, AppendRefused

APPEND_EVENTS_MAX = 1_000
APPEND_BYTES_MAX = 1_000_000
TEXT_CHARS_MAX = 500  # Scopes and keys stand in an index, whose entries PostgreSQL limits to a third of a page.

# What a row costs beside its variable parts; only used to keep batches near their size.
_ROW_BYTES = 100


def append_bytes(append: Append) -> int:
    """About how many bytes it takes on its way. Raises AppendRefused when it can never be recorded."""
    if len(append.events) > APPEND_EVENTS_MAX:
        raise AppendRefused(f"{len(append.events)} events are more than the {APPEND_EVENTS_MAX} one append may have.")
    conditions = len(append.expected) + len(append.claims) + len(append.counters)
    if conditions > APPEND_EVENTS_MAX:
        raise AppendRefused(f"{conditions} conditions are more than the {APPEND_EVENTS_MAX} one append may have.")
    size = len(append.reply) + sum(len(e.data) + len(e.meta) for e in append.events)
    size += _ROW_BYTES * (1 + len(append.events) + conditions)
    if size > APPEND_BYTES_MAX:
        raise AppendRefused(f"{size} bytes are more than the {APPEND_BYTES_MAX} one append may have.")
    for text in _texts(append):
        if "\x00" in text or len(text) > TEXT_CHARS_MAX:
            raise AppendRefused(f"{text[:50]!r} has a NUL character or more than {TEXT_CHARS_MAX} characters.")
    return size


def _texts(append: Append) -> Iterator[str]:
    yield append.outcome
    for event in append.events:
        yield event.type
        yield event.stream.category
    for claim in append.claims:
        yield claim.scope
        yield claim.key
    for counter in append.counters:
        yield counter.scope
        yield counter.name
