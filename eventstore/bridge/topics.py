"""The library's topics as event types: marked, so that no topic can pass for a fact of the service."""

from __future__ import annotations

from collections.abc import Iterable

# Tags of the service never have a colon.
MARK = "eventsourcing:"
# Of the one form there is: the library's own bytes, as they came.
SCHEMA_VERSION = 1


def type_of(topic: str) -> str:
    """The event type what the library writes under this topic is stored as."""
    return MARK + topic


def is_foreign(type: str) -> bool:
    """Whether the library wrote it."""
    return type.startswith(MARK)


def topic_of(type: str) -> str:
    """The topic the library knows an event by: its own as it was, the service's tags as they are."""
    return type.removeprefix(MARK)


def types_of(topics: Iterable[str]) -> list[str] | None:
    """Every type that is known by one of the topics; None, all, when there are none."""
    return [type for topic in topics for type in (topic, type_of(topic))] or None
