"""What is stored stays readable for ever: every event type has a sample of its stored bytes.

A sample is never edited. A new field has a default, or the schema version rises and an upcaster reads the old sample.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.catalogue import AGGREGATES
from domain.event import Event
from eventstore.codec import Codec, tag_of
from tests.domain.samples import SAMPLES, VARIANTS

FOLDER = Path(__file__).parent / "stored_events"
CODEC = Codec(AGGREGATES)
EVENTS = [event for aggregate in AGGREGATES for event in aggregate.events]
FILES = sorted(FOLDER.glob("*.json"))


def stored_as(path: Path) -> tuple[str, int]:
    """The tag and the schema version in a sample's name: `tag.version`, or `tag.version.variant`."""
    aggregate, name, version, *_ = path.stem.split(".")
    return f"{aggregate}.{name}", int(version)


def sample_of(path: Path, event: type[Event]) -> Event:
    """What the file holds."""
    _, _, _, *variant = path.stem.split(".")
    return VARIANTS[event, variant[0]] if variant else SAMPLES[event]


class TestEveryEvent:
    @pytest.mark.parametrize("event", EVENTS, ids=tag_of)
    def test_has_a_stored_sample_of_every_schema_version(self, event: type[Event]) -> None:
        tag = tag_of(event)
        versions = range(1, CODEC.schema_version(tag) + 1)

        assert [version for version in versions if not (FOLDER / f"{tag}.{version}.json").exists()] == []

    @pytest.mark.parametrize("event", EVENTS, ids=tag_of)
    def test_has_a_sample_that_fills_every_field(self, event: type[Event]) -> None:
        samples = [SAMPLES[event], *(sample for (type, _), sample in VARIANTS.items() if type is event)]
        left_out = [
            name
            for name in event.__struct_fields__
            if name != "at" and all(getattr(sample, name) in (None, "", ()) for sample in samples)
        ]

        assert left_out == []

    def test_has_a_sample_for_each_variant(self) -> None:
        named = {f"{tag_of(event)}.1.{variant}" for event, variant in VARIANTS}

        assert {path.stem for path in FILES if path.stem.count(".") > 2} == named

    def test_belongs_to_an_aggregate_of_its_name(self) -> None:
        # Deployments and the rest of a function's life share a stream with the function.
        for aggregate in AGGREGATES:
            assert {tag_of(event).split(".")[0] for event in aggregate.events} == {aggregate.name}


class TestEverySample:
    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
    def test_decodes_to_its_event(self, path: Path) -> None:
        tag, version = stored_as(path)

        event = CODEC.decode_data(tag, version, path.read_bytes())

        assert event == sample_of(path, type(event))

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
    def test_encodes_to_the_same_bytes_while_its_schema_version_is_the_newest(self, path: Path) -> None:
        tag, version = stored_as(path)
        data = path.read_bytes()

        encoded = CODEC.encode(CODEC.decode_data(tag, version, data))

        assert version < encoded[1] or encoded == (tag, version, data)

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
    def test_decodes_with_fields_of_the_future(self, path: Path) -> None:
        tag, version = stored_as(path)
        newer = path.read_bytes().removesuffix(b"}") + b',"ofTheFuture":[1]}'

        assert CODEC.decode_data(tag, version, newer) == CODEC.decode_data(tag, version, path.read_bytes())
