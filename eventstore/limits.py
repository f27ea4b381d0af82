"""What one append may be: checked before it joins others, so that it fails alone."""

from __future__ import annotations

from eventstore.log import Append, AppendRefused

APPEND_EVENTS_MAX = 1_000
APPEND_BYTES_MAX = 1_000_000
TEXT_CHARS_MAX = 500  # Scopes and keys stand in an index, whose entries PostgreSQL limits to a third of a page.

# Types, categories, scopes and the like are mostly the same few: each is looked through once, and then known to be in order.
WORDS_REMEMBERED_MAX = 1_000
_words: set[str] = set()

# What a row costs beside its variable parts; only used to keep batches near their size.
_ROW_BYTES = 100


def append_bytes(append: Append) -> int:
    """About how many bytes it takes on its way. Raises AppendRefused when it can never be recorded."""
    if len(append.events) > APPEND_EVENTS_MAX:
        raise AppendRefused(f"{len(append.events)} events are more than the {APPEND_EVENTS_MAX} one append may have.")
    conditions = len(append.expected) + len(append.claims) + len(append.counters)
    if conditions > APPEND_EVENTS_MAX:
        raise AppendRefused(f"{conditions} conditions are more than the {APPEND_EVENTS_MAX} one append may have.")
    size = len(append.reply) + _ROW_BYTES * (1 + len(append.events) + conditions)
    _check_word(append.outcome)
    for event in append.events:
        size += len(event.data) + len(event.meta)
        if event.type not in _words:
            _check_word(event.type)
        if event.stream.category not in _words:
            _check_word(event.stream.category)
    for claim in append.claims:
        _check_word(claim.scope)
        _check(claim.key)
    for counter in append.counters:
        _check_word(counter.scope)
        _check_word(counter.name)
    if size > APPEND_BYTES_MAX:
        raise AppendRefused(f"{size} bytes are more than the {APPEND_BYTES_MAX} one append may have.")
    return size


def _check_word(word: str) -> None:
    if word in _words:
        return
    _check(word)
    if len(_words) >= WORDS_REMEMBERED_MAX:
        _words.clear()
    _words.add(word)


def _check(text: str) -> None:
    if "\x00" in text or len(text) > TEXT_CHARS_MAX:
        raise AppendRefused(f"{text[:50]!r} has a NUL character or more than {TEXT_CHARS_MAX} characters.")
