"""An archived range is read again as it was written, and whatever is wrong with its files is found."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.archive.lines import LineDamaged, decode_line, encode_line
from eventstore.archive.manifest import ArchiveDamaged, Manifest
from eventstore.archive.reading import Archive
from eventstore.archive.writing import write_range
from eventstore.log import StoredEvent
from tests.eventstore.make import OTHER_TENANT, TENANT, a_stream

AT = datetime(2026, 3, 1, tzinfo=UTC)
STREAM = a_stream()
EVENTS = [
    StoredEvent(n, TENANT, STREAM.id if n % 3 else uuid4(), n, "a.b", 1, AT + timedelta(seconds=n), b"{}", b'{"n":1}')
    for n in range(1, 41)
]


async def blocks(events: Sequence[StoredEvent], size: int = 4) -> AsyncIterator[Sequence[StoredEvent]]:
    for begin in range(0, len(events), size):
        yield events[begin : begin + size]


async def written(directory: Path, first: int = 1, last: int = 40) -> Manifest:
    return await write_range(directory, first, last, blocks(EVENTS[first - 1 : last]), epoch=1)


class TestLine:
    @given(
        st.builds(
            StoredEvent,
            position=st.integers(1, 2**60),
            tenant_id=st.uuids(),
            stream_id=st.uuids(),
            version=st.integers(0, 2**31 - 1),
            type=st.text(max_size=20).filter(lambda text: text.isprintable()),
            schema_version=st.integers(1, 2**15 - 1),
            recorded_at=st.datetimes(timezones=st.just(UTC), min_value=datetime(1980, 1, 1)),  # noqa: DTZ001 - zones are given apart
            meta=st.binary(max_size=20),
            data=st.binary(max_size=20) | st.text(max_size=20).map(str.encode),
        )
    )
    def test_gives_the_same_event_again(self, event: StoredEvent) -> None:
        line = encode_line(event)

        assert decode_line(line) == event
        assert line.count(b"\n") == 1

    def test_can_be_read_by_people(self) -> None:
        line = json.loads(encode_line(EVENTS[0]))

        assert (line["position"], line["type"], line["recordedAt"]) == (1, "a.b", "2026-03-01T00:00:01Z")
        assert json.loads(line["data"]) == {"n": 1}

    @pytest.mark.parametrize("line", [b"", b"{}", b"nonsense", encode_line(EVENTS[0]).replace(b'"data"', b'"date"')])
    def test_that_is_none_is_refused(self, line: bytes) -> None:
        with pytest.raises(LineDamaged):
            decode_line(line)


class TestWriteRange:
    async def test_says_in_the_manifest_what_the_file_holds(self, tmp_path: Path) -> None:
        manifest = await written(tmp_path)

        assert (manifest.first_position, manifest.last_position, manifest.events) == (1, 40, 40)
        assert (manifest.first_recorded_at, manifest.last_recorded_at) == (
            EVENTS[0].recorded_at,
            EVENTS[-1].recorded_at,
        )
        assert len(manifest.blocks) == 10
        assert {path.name for path in tmp_path.iterdir()} == {
            "events-000000000001-000000000040.ndjson.gz",
            "events-000000000001-000000000040.json",
        }
        assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())

    async def test_makes_what_ordinary_tools_read(self, tmp_path: Path) -> None:
        manifest = await written(tmp_path)

        lines = gzip.decompress((tmp_path / manifest.file).read_bytes()).splitlines()
        assert [json.loads(line)["position"] for line in lines] == list(range(1, 41))

    @pytest.mark.parametrize("events", [EVENTS[:39], EVENTS[1:], [*EVENTS[:5], *EVENTS[6:]]])
    async def test_refuses_what_is_not_the_whole_range(self, tmp_path: Path, events: Sequence[StoredEvent]) -> None:
        with pytest.raises(ArchiveDamaged):
            await write_range(tmp_path, 1, 40, blocks(events), epoch=1)

        assert list(tmp_path.iterdir()) == []


class TestArchive:
    async def test_reads_on_over_ranges(self, tmp_path: Path) -> None:
        await written(tmp_path, 1, 20)
        await written(tmp_path, 21, 40)
        archive = Archive.open(tmp_path)

        assert archive.end == 40
        for after, limit in ((0, 100), (7, 20), (19, 2), (39, 5), (40, 5)):
            assert archive.read(after, limit=limit) == EVENTS[after : after + limit]

    async def test_finds_a_stream(self, tmp_path: Path) -> None:
        await written(tmp_path)
        archive = Archive.open(tmp_path)

        assert archive.stream(STREAM) == [event for event in EVENTS if event.stream_id == STREAM.id]
        assert archive.stream(msgspec.structs.replace(STREAM, tenant_id=OTHER_TENANT)) == []

    async def test_does_not_take_a_mention_of_a_stream_for_its_event(self, tmp_path: Path) -> None:
        mention = msgspec.structs.replace(EVENTS[0], stream_id=UUID(int=5), data=str(STREAM.id).encode())
        await write_range(tmp_path, 1, 2, blocks([mention, EVENTS[1]]), epoch=1)

        assert Archive.open(tmp_path).stream(STREAM) == [EVENTS[1]]

    async def test_of_nothing_is_empty(self, tmp_path: Path) -> None:
        archive = Archive.open(tmp_path)

        assert (archive.end, archive.read(0, limit=5)) == (0, [])

    async def test_that_lacks_a_range_is_refused(self, tmp_path: Path) -> None:
        await written(tmp_path, 21, 40)

        with pytest.raises(ArchiveDamaged, match="position 1,"):
            Archive.open(tmp_path)

    async def test_checks_what_was_written(self, tmp_path: Path) -> None:
        manifest = await written(tmp_path)

        Archive.open(tmp_path).check(manifest)

    @pytest.mark.parametrize("damage", ["bit", "short", "gone", "another", "order"])
    async def test_finds_damage(self, tmp_path: Path, damage: str) -> None:
        manifest = await written(tmp_path)
        path = tmp_path / manifest.file
        content = path.read_bytes()
        match damage:
            case "bit":
                path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
            case "short":
                path.write_bytes(content[:-10])
            case "gone":
                path.unlink()
            case "another":
                other = msgspec.structs.replace(EVENTS[3], data=b"{}")
                await write_range(tmp_path, 1, 40, blocks([*EVENTS[:3], other, *EVENTS[4:]]), epoch=1)
            case _:
                manifest = msgspec.structs.replace(manifest, blocks=manifest.blocks[::-1])

        with pytest.raises(ArchiveDamaged):
            Archive.open(tmp_path).check(manifest)

    async def test_refuses_a_manifest_that_leads_elsewhere(self, tmp_path: Path) -> None:
        await written(tmp_path)
        path = tmp_path / "events-000000000001-000000000040.json"
        path.write_text(path.read_text().replace('"events-0', '"../events-0'))

        with pytest.raises(ArchiveDamaged, match="another directory"):
            Archive.open(tmp_path)

    @pytest.mark.parametrize("content", ["{}", "nonsense", '{"format": 99'])
    async def test_refuses_what_is_no_manifest(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "events-1-2.json").write_text(content)

        with pytest.raises(ArchiveDamaged):
            Archive.open(tmp_path)
