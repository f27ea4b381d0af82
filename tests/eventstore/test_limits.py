"""What one append may be."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from eventstore import limits
from eventstore.limits import append_bytes
from eventstore.log import Append, AppendRefused
from tests.eventstore.make import a_claim, a_counter, a_stream, an_append, an_event

STREAM = a_stream()
EVENT = an_event(STREAM)
BAD = ["a\x00b", "a" * (limits.TEXT_CHARS_MAX + 1)]


class TestAppendBytes:
    @pytest.mark.parametrize("text", BAD, ids=["nul", "long"])
    @pytest.mark.parametrize(
        "made",
        [
            lambda text: msgspec.structs.replace(an_append(EVENT), outcome=text),
            lambda text: an_append(an_event(STREAM, type=text)),
            lambda text: an_append(an_event(msgspec.structs.replace(STREAM, category=text))),
            lambda text: an_append(claims=(a_claim(text, STREAM.id),)),
            lambda text: an_append(claims=(msgspec.structs.replace(a_claim("key", STREAM.id), scope=text),)),
            lambda text: an_append(counters=(a_counter(name=text),)),
            lambda text: an_append(counters=(msgspec.structs.replace(a_counter(), scope=text),)),
        ],
        ids=["outcome", "type", "category", "key", "claim scope", "counter", "counter scope"],
    )
    def test_a_text_that_no_index_holds_is_refused_each_time(self, made: Callable[[str], Append], text: str) -> None:
        for _ in range(2):
            with pytest.raises(AppendRefused):
                append_bytes(made(text))

    def test_of_texts_that_are_in_order_not_many_are_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "WORDS_REMEMBERED_MAX", 5)

        for n in range(50):
            append_bytes(an_append(an_event(STREAM, type=f"type {n}")))

        assert len(limits._words) <= 5
