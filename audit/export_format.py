"""An export of the log: what its manifest says, and its parts, each a gzip-compressed file of JSON lines.

Every part is named in the manifest with its SHA-256, the number of its lines and, of events, their positions and a SHA-256
over their canonical encodings (eventstore/canonical.py) one after another. So an export can be checked without this
code: unzip a part, take each line's fields, encode them canonically, and compare.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Literal
from uuid import UUID

import msgspec

from eventstore.canonical import encode_canonical
from eventstore.event_lines import decode_event_line, encode_event_line
from eventstore.log import StoredEvent

FORMAT, VERSION = "dcf-log-export", 1
CANONICAL = "DCFE 1"
MANIFEST = "manifest.json"
PLAN = "plan.json"
# A part is closed by whichever it reaches first; one event alone may be larger.
PART_LINES_MAX = 20_000
PART_BYTES_WANTED = 8_000_000
# What is read of one part, compressed and not: what is larger was not written by this.
PART_BYTES_MAX = 64_000_000
_GZIP = 31

Kind = Literal["events", "commands", "person-keys", "secret-values", "tenant-keys"]


class Damaged(Exception):
    """The export is not what was written. The message says where."""


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One file. `sha256` is of the file as it is; the rest of what is said about events is empty for other kinds."""

    name: str
    kind: Kind
    sha256: str
    size_bytes: int
    lines: int
    first_position: int | None = None
    last_position: int | None = None
    canonical_sha256: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an export is going to hold: the events with `after` < position <= `up_to`, of one tenant or of all (null)."""

    format: str = FORMAT
    version: int = VERSION
    release: str
    revision: str
    tenant_id: UUID | None
    epoch: int
    after: int
    up_to: int


class Manifest(Plan, frozen=True, kw_only=True, rename="camel"):
    """What it holds. `canonicalSha256` is over the canonical digests of the parts of events, as bytes, in their order.

    `masterKey` is the fingerprint of the key under which what comes from the vault is wrapped; empty when nothing does.
    `keyServices` are the key services that wrap tenants' keys in it.
    """

    made_at: str
    events: int
    canonical_encoding: str = CANONICAL
    canonical_sha256: str
    master_key: str = ""
    key_services: tuple[str, ...] = ()
    parts: tuple[Part, ...]

    @classmethod
    def of(
        cls,
        plan: Plan,
        parts: Iterable[Part],
        *,
        made_at: str,
        master_key: str = "",
        key_services: tuple[str, ...] = (),
    ) -> Manifest:
        """The manifest of these parts, in their order."""
        listed = tuple(parts)
        of_events = [part for part in listed if part.kind == "events"]
        return cls(
            **msgspec.structs.asdict(plan),
            made_at=made_at,
            events=sum(part.lines for part in of_events),
            canonical_sha256=digest_of_digests(part.canonical_sha256 for part in of_events),
            master_key=master_key,
            key_services=key_services,
            parts=listed,
        )


def digest_of_digests(digests: Iterable[str]) -> str:
    """The SHA-256 over some of them, hexadecimal like them."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


class PartUnderWay:
    """A part while it is filled; what was added is kept compressed."""

    def __init__(self, kind: Kind, *, lines_max: int = PART_LINES_MAX) -> None:
        self._kind: Kind = kind
        self._lines_max = lines_max
        # The same lines make the same file: gzip's time of day is left out by this.
        self._compressor = zlib.compressobj(wbits=_GZIP)
        self._pieces: list[bytes] = []
        self._canonical = hashlib.sha256()
        self._positions: tuple[int, int] | None = None
        self.lines = 0
        self.bytes = 0

    @property
    def is_full(self) -> bool:
        return self.lines >= self._lines_max or self.bytes >= PART_BYTES_WANTED

    def add_events(self, events: Iterable[StoredEvent]) -> None:
        """Events behind those added before; to be called off the event loop, since it takes long."""
        for event in events:
            self._canonical.update(encode_canonical(event))
            first, _ = self._positions or (event.position, event.position)
            self._positions = (first, event.position)
            self.add_line(encode_event_line(event))

    def add_line(self, line: bytes) -> None:
        """A line with its line feed."""
        self.lines += 1
        self.bytes += len(line)
        self._pieces.append(self._compressor.compress(line))

    def closed(self, name: str) -> tuple[Part, bytes]:
        """What it has become, and its bytes."""
        content = b"".join((*self._pieces, self._compressor.flush()))
        first, last = self._positions or (None, None)
        part = Part(
            name=name,
            kind=self._kind,
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            lines=self.lines,
            first_position=first,
            last_position=last,
            canonical_sha256=self._canonical.hexdigest() if self._kind == "events" else "",
        )
        return part, content


def events_name(first_position: int) -> str:
    """The name of a part of events: they sort in their order."""
    return f"events-{first_position:015}.ndjson.gz"


def described(name: str, content: bytes) -> Part:
    """What a part of events that came without its manifest holds. Raises Damaged."""
    canonical, first, last, count = hashlib.sha256(), 0, 0, 0
    try:
        for line in _unzipped(name, content).splitlines(keepends=True):
            event = decode_event_line(line)
            canonical.update(encode_canonical(event))
            first, last, count = first or event.position, event.position, count + 1
    except (ValueError, OverflowError, struct.error) as error:
        raise Damaged(f"{name}, line {count + 1}: {error}") from error
    if name != events_name(first) or not first:
        raise Damaged(f"{name} does not begin where its name says")
    return Part(
        name=name,
        kind="events",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        lines=count,
        first_position=first,
        last_position=last,
        canonical_sha256=canonical.hexdigest(),
    )


def lines_of(part: Part, content: bytes) -> Iterator[bytes]:
    """The lines of a part, once its bytes are what the manifest says. Raises Damaged."""
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise Damaged(f"{part.name} is not what was written: its SHA-256 is another")
    lines = _unzipped(part.name, content).splitlines(keepends=True)
    if len(lines) != part.lines:
        raise Damaged(f"{part.name} has {len(lines)} lines, and ought to have {part.lines}")
    yield from lines


def _unzipped(name: str, content: bytes) -> bytes:
    decompressor = zlib.decompressobj(wbits=_GZIP)
    try:
        text = decompressor.decompress(content, PART_BYTES_MAX)
    except zlib.error as error:
        raise Damaged(f"{name} cannot be decompressed: {error}") from error
    if not decompressor.eof or decompressor.unused_data:
        raise Damaged(f"{name} is larger than a part may be, or not whole")
    return text


def events_of(part: Part, content: bytes) -> list[StoredEvent]:
    """The events of a part, once all that the manifest says of it is so. Raises Damaged."""
    canonical, events = hashlib.sha256(), []
    for number, line in enumerate(lines_of(part, content), 1):
        try:
            event = decode_event_line(line)
            canonical.update(encode_canonical(event))
        except (ValueError, OverflowError, struct.error) as error:
            raise Damaged(f"{part.name}, line {number}: {error}") from error
        events.append(event)
    if not events or (events[0].position, events[-1].position) != (part.first_position, part.last_position):
        raise Damaged(f"{part.name} does not hold the positions {part.first_position} to {part.last_position}")
    if canonical.hexdigest() != part.canonical_sha256:
        raise Damaged(f"{part.name}: its events are not those that were written")
    return events
