"""The bytes that are stored, hashed and handed out: each fixed by an example."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.event import Aggregate, Claim, Event
from eventstore.canonical import NotCanonical, decode_canonical, encode_canonical
from eventstore.codec import Codec, EventOfNewerCode, UnknownEventType, UnreadableEvent
from eventstore.log import StoredEvent
from eventstore.meta import Actor, Meta, decode_meta, encode_meta
from eventstore.positions import MalformedPosition, PositionOfAnotherEpoch, format_position, parse_position
from eventstore.upcasters import Upcaster

STORED = StoredEvent(
    position=258,
    tenant_id=UUID("018f0000-0000-7000-8000-000000000001"),
    stream_id=UUID("018f0000-0000-7000-8000-0000000000ff"),
    version=3,
    type="lamp.lit",
    schema_version=2,
    recorded_at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    meta=b"{}",
    data=b'{"type":"lamp.lit"}',
)
CANONICAL = (
    "44434645"
    "01"
    "0000000000000102"
    "018f0000000070008000000000000001"
    "018f00000000700080000000000000ff"
    "00000003"
    "0008"
    "6c616d702e6c6974"
    "0002"
    "0006475ef64cf346"
    "00000002"
    "7b7d"
    "00000013"
    "7b2274797065223a226c616d702e6c6974227d"
)


class LampLit(Event, frozen=True, kw_only=True, tag="lamp.lit"):
    brightness_percent: int = 100


LAMP: Aggregate[Any] = Aggregate(name="lamp", events=(LampLit,), initial=None, evolve=lambda state, _event: state)


def percent(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "brightnessPercent": fields["brightness"] * 10}


class TestCanonical:
    def test_the_encoding_never_changes(self) -> None:
        assert encode_canonical(STORED).hex() == CANONICAL

    def test_decoding_gives_the_event_back(self) -> None:
        assert decode_canonical(bytes.fromhex(CANONICAL)) == STORED

    @given(cut=st.integers(0, len(CANONICAL) // 2 - 1))
    def test_nothing_shorter_is_an_event(self, cut: int) -> None:
        with pytest.raises(NotCanonical):
            decode_canonical(bytes.fromhex(CANONICAL)[:cut])

    def test_nothing_longer_is_an_event(self) -> None:
        with pytest.raises(NotCanonical):
            decode_canonical(bytes.fromhex(CANONICAL) + b"\x00")

    @given(
        st.builds(
            StoredEvent,
            position=st.integers(1, 2**63 - 1),
            tenant_id=st.uuids(),
            stream_id=st.uuids(),
            version=st.integers(0, 2**31 - 1),
            type=st.text(max_size=50),
            schema_version=st.integers(1, 2**15 - 1),
            recorded_at=st.datetimes(timezones=st.just(UTC)),
            meta=st.binary(max_size=50),
            data=st.binary(max_size=50),
        )
    )
    def test_any_event_comes_back(self, stored: StoredEvent) -> None:
        assert decode_canonical(encode_canonical(stored)) == stored


class TestCodec:
    def test_data_has_the_tag_and_never_the_time(self) -> None:
        event = LampLit(at=STORED.recorded_at, brightness_percent=50)

        assert Codec((LAMP,)).encode(event) == ("lamp.lit", 1, b'{"type":"lamp.lit","brightnessPercent":50}')

    def test_the_time_comes_from_the_log(self) -> None:
        stored = msgspec.structs.replace(STORED, schema_version=1)

        assert Codec((LAMP,)).decode(stored) == LampLit(at=STORED.recorded_at)

    def test_an_unknown_type_is_named(self) -> None:
        with pytest.raises(UnknownEventType, match="lamp\\.broken"):
            Codec((LAMP,)).decode(msgspec.structs.replace(STORED, type="lamp.broken"))

    def test_a_type_like_ours_that_is_not_known_is_newer_codes_and_a_foreign_one_is_not(self) -> None:
        codec = Codec((LAMP,))

        assert codec.is_of_newer_code("lamp.broken")
        assert not codec.is_of_newer_code("lamp.lit")
        assert not codec.is_of_newer_code("shop.orders:OrderPlaced")

    def test_what_only_newer_code_can_decode_is_left_to_it(self) -> None:
        codec, unfit = Codec((LAMP,)), b'{"type":"lamp.lit","brightnessPercent":"half"}'

        with pytest.raises(EventOfNewerCode, match="version 9"):
            codec.decode(msgspec.structs.replace(STORED, schema_version=9, data=unfit))
        with pytest.raises(UnreadableEvent):
            codec.decode(msgspec.structs.replace(STORED, schema_version=1, data=unfit))

    def test_bytes_that_are_no_event_are_refused(self) -> None:
        with pytest.raises(UnreadableEvent):
            Codec((LAMP,)).decode(msgspec.structs.replace(STORED, data=b'{"type":"lamp.li'))

    def test_what_older_code_stored_is_lifted(self) -> None:
        codec = Codec((LAMP,), (Upcaster("lamp.lit", 1, percent),))

        event = codec.decode_data("lamp.lit", 1, b'{"type":"lamp.lit","brightness":4}')

        assert event == LampLit(brightness_percent=40)
        assert codec.schema_version("lamp.lit") == 2

    def test_what_newer_code_stored_is_read_as_far_as_known(self) -> None:
        event = Codec((LAMP,)).decode_data("lamp.lit", 9, b'{"type":"lamp.lit","colour":"red"}')

        assert event == LampLit()

    def test_one_tag_belongs_to_one_event(self) -> None:
        with pytest.raises(ValueError, match="tag"):
            Codec((LAMP, LAMP))


class TestMeta:
    def test_defaults_are_not_stored(self) -> None:
        assert encode_meta(Meta(actor=Actor("key", "k1"))) == b'{"actor":{"type":"key","id":"k1"}}'

    def test_everything_comes_back(self) -> None:
        meta = Meta(
            actor=Actor("person", "p1"),
            command="light_lamp",
            command_id=uuid4(),
            correlation_id=uuid4(),
            causation_id="1:7",
            reason="dark",
            claims=(Claim(tenant_id=uuid4(), scope="lamp", key="hall", holder=uuid4()),),
        )

        assert decode_meta(encode_meta(meta)) == meta

    def test_nothing_stored_reads_as_nothing_known(self) -> None:
        assert decode_meta(b"") == Meta()


class TestPositions:
    def test_a_position_comes_back(self) -> None:
        assert parse_position(format_position(3, 12), epoch=3) == 12

    def test_another_epoch_is_refused_by_name(self) -> None:
        with pytest.raises(PositionOfAnotherEpoch):
            parse_position("2:12", epoch=3)

    @pytest.mark.parametrize("token", ["", "12", "3:", ":12", "3:-1", "3:12:1", "3:१", "3: 1", "3:" + "9" * 30])
    def test_anything_else_is_refused(self, token: str) -> None:
        with pytest.raises(MalformedPosition):
            parse_position(token, epoch=3)
