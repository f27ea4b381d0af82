"""The worst we could think of for each reader of what strangers send: a moment and little room is all it takes.

The readers of files are in tests/commands/test_foreign_input.py, and what is made up at random in test_foreign_input.py here.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from litestar import Request

from api.exchange import open_exchange
from api.form import FIELD_BYTES_MAX, read_form
from api.id_tokens import TOKEN_CHARACTERS_MAX, IdTokens, looks_like_one
from api.refusals import CredentialUnknown
from api.trusted_issuers import trusted_issuers
from domain.cron import CronInvalid, ZoneUnknown, next_tick, parse, zone
from domain.refusal import Refusal
from domain.version import TEXT_LENGTH_MAX, Version, VersionConstraint
from tests.emulators.oidc_issuer import new_rsa_key
from tests.support.bounded import assert_bounded

# Some twenty times what the slowest takes on an idle machine.
SECONDS_MAX = 2.0
BYTES_MAX = 2_000_000
FILE_BYTES_MAX = 200_000
ISSUER = "https://login.example"


def _part(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).rstrip(b"=").decode()


def _token(header: str, claims: str, signature: str = "AA") -> str:
    """Cut to what a token may have at most, at the end of its claims."""
    room = TOKEN_CHARACTERS_MAX - len(_part(header)) - len(signature) - 2
    return f"{_part(header)}.{_part(claims)[:room]}.{signature}"


_HEADER = json.dumps({"alg": "RS256", "kid": "k"})
_LONG = TOKEN_CHARACTERS_MAX


_KEY = new_rsa_key()


class TestATokenOfWhateverKind:
    @pytest.mark.parametrize(
        "text",
        [
            _token(_HEADER, "[" * _LONG),
            _token(_HEADER, '{"iss":' * (_LONG // 8)),
            _token(_HEADER, json.dumps({"iss": ISSUER, "aud": ["a"] * (_LONG // 8), "exp": 1})),
            _token(_HEADER, json.dumps({"iss": ISSUER, "aud": "a", "exp": 10**1000})),
            _token("[" * (_LONG // 2), "{}"),
            _token(json.dumps({"alg": "RS256", "kid": "k" * (_LONG // 2)}), json.dumps({"iss": ISSUER})),
            _token(_HEADER, json.dumps({"iss": ISSUER, "aud": "here", "exp": 9e9, "sub": "a"}), "A" * (_LONG // 2)),
            "." * _LONG,
            "a." * (_LONG // 2),
            "=" * _LONG,
            "eyJ" * (_LONG // 3),
            "a" * 10_000_000,
            "a.b." + "c" * 10_000_000,
        ],
        ids=range(13),
    )
    def test_is_refused(self, text: str) -> None:
        def read() -> None:
            if looks_like_one(text):
                asyncio.run(self._refused(text))

        assert_bounded(read, seconds_max=SECONDS_MAX, bytes_max=BYTES_MAX)

    async def _refused(self, text: str) -> None:
        def nothing(_: httpx.Request) -> httpx.Response:
            return httpx.Response(
                200,
                json={
                    "issuer": ISSUER,
                    "jwks_uri": f"{ISSUER}/jwks",
                    "keys": [{**_KEY.as_dict(private=False), "kid": "k"}],
                },
            )

        async with httpx.AsyncClient(transport=httpx.MockTransport(nothing)) as http:
            tokens = IdTokens(trusted_issuers(f"{ISSUER}=here"), http, clock=lambda: datetime.now(UTC))
            with pytest.raises(CredentialUnknown):
                await tokens.identity(text)


class TestASchedule:
    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("0 0 30 2 *", "UTC"),
            ("59 23 29 2 1", "Africa/Casablanca"),
            ("0 0 31 feb,apr,jun,sep,nov *", "Europe/Berlin"),
            ("30 2 29 2 *", "America/New_York"),
            ("0-59/1 0-23/1 1-31/1 1-12/1 0-7/1", "Asia/Tehran"),
            (",".join(["0-59"] * 50_000) + " * * * *", "UTC"),
            ("0 " * 500_000, "UTC"),
            ("9" * 1_000_000 + " * * * *", "UTC"),
            ("*/" + "9" * 4_000 + " * * * *", "UTC"),
            ("* * * * *", "A" * 1_000_000),
            ("* * * * *", "../" * 100_000),
        ],
        ids=range(11),
    )
    def test_is_read_or_refused_and_its_next_time_found_or_there_is_none(self, text: str, place: str) -> None:
        def read() -> None:
            with suppress(CronInvalid, ZoneUnknown):
                next_tick(parse(text), zone(place), datetime(2026, 1, 1, tzinfo=UTC))

        assert_bounded(read, seconds_max=SECONDS_MAX, bytes_max=4_000_000)


class TestAVersion:
    @pytest.mark.parametrize(
        "text",
        [
            " " * TEXT_LENGTH_MAX,
            "1.0.0-" + "a." * (TEXT_LENGTH_MAX // 2),
            "1.0.0 " * (TEXT_LENGTH_MAX // 6),
            ">=1.0.0-0 <" * (TEXT_LENGTH_MAX // 11),
            "9" * 5_000_000,
            "^" * 5_000_000,
            "1." * 2_000_000,
        ],
        ids=range(7),
    )
    @pytest.mark.parametrize("reader", [Version.parse, VersionConstraint.parse, VersionConstraint.parse_sdk])
    def test_is_read_or_refused(self, reader: Callable[[str], object], text: str) -> None:
        def read() -> None:
            with suppress(Refusal):
                reader(text)

        assert_bounded(read, seconds_max=SECONDS_MAX, bytes_max=BYTES_MAX)


_EDGE = b"--x\r\n"
_FILE = b'Content-Disposition: form-data; name="file"; filename="main.dart"\r\n\r\n'
_PIECES = 4_000


class TestAForm:
    """As it arrives, piece by piece, for as long as the sender likes: the reader keeps what a form may have and no more."""

    @pytest.mark.parametrize(
        ("begins", "goes_on"),
        [
            (b"", b"\r\n" * 2_000),
            (b"", _EDGE * 1_000),
            (_EDGE, b"X-Header: " + b"a" * 4_000 + b"\r\n"),
            (_EDGE, b"X" * 4_000),
            (_EDGE + b'Content-Disposition: form-data; name="', b"a" * 4_000),
            (_EDGE + b'Content-Disposition: form-data; name="projectId"\r\n\r\n', b"p" * 4_000),
            (_EDGE + _FILE, b"\r\n--" * 1_000),
            (_EDGE + _FILE, b"\r\n--x" * 1_000),
            (_EDGE + _FILE, b"\xff" * 4_000),
            (b"", _EDGE + _FILE + b"a\r\n"),
        ],
        ids=range(10),
    )
    def test_that_never_ends_is_refused(self, begins: bytes, goes_on: bytes) -> None:
        def read() -> None:
            found = asyncio.run(self._read([begins, *[goes_on] * _PIECES]))
            assert isinstance(found, Refusal)

        assert_bounded(read, seconds_max=SECONDS_MAX * 2, bytes_max=FILE_BYTES_MAX * 4 + 500_000)

    def test_of_many_small_pieces_is_read(self) -> None:
        content = b"a" * 5_000
        whole = _EDGE + _FILE + content + b"\r\n--x--\r\n"

        def read() -> None:
            found = asyncio.run(self._read([whole[at : at + 1] for at in range(len(whole))]))
            assert found == content

        assert_bounded(read, seconds_max=SECONDS_MAX, bytes_max=FIELD_BYTES_MAX * 2_000)

    async def _read(self, pieces: Iterable[bytes]) -> bytes | Refusal:
        async def chunks() -> Any:
            for piece in pieces:
                if piece:
                    yield piece

        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
        }
        open_exchange(scope)
        try:
            request: Request[Any, Any, Any] = Request(scope)  # type: ignore[arg-type]
            await read_form(
                request, chunks(), into := io.BytesIO(), fields=("projectId",), file_bytes_max=FILE_BYTES_MAX
            )
            return into.getvalue()
        except Refusal as refusal:
            return refusal
