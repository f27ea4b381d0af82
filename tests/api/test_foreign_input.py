"""What strangers send, made up at random: every reader of it answers with a refusal or a result, and soon."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import BytesIO
from random import Random
from typing import Any

import httpx
from hypothesis import example, given, settings
from hypothesis import strategies as st
from litestar import Request

from api.exchange import open_exchange
from api.form import read_form
from api.id_tokens import IdTokens, looks_like_one
from api.refusals import CredentialUnknown
from api.trusted_issuers import trusted_issuers
from commands.dockerfile import read_dockerfile
from commands.pubspec import read_pubspec
from domain.cron import CronInvalid, ZoneUnknown, next_tick, parse, zone
from domain.refusal import Refusal
from domain.version import Version, VersionConstraint
from domain.webhook import check_url
from process.outbound import Reachable
from tests.emulators.oidc_issuer import new_rsa_key

EXAMPLES = 60
REQUESTS = 150
READ_HEADERS = [
    *(b"range", b"if-range", b"if-match", b"if-none-match", b"if-position", b"prefer", b"idempotency-key", b"accept"),
    *(b"accept-encoding", b"content-type", b"dcf-tenant", b"last-event-id", b"origin", b"traceparent", b"x-request-id"),
]
ISSUER = "https://login.example"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
HEADER_BYTES = st.binary(max_size=200)


def _part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


CLAIMS = st.fixed_dictionaries(
    {"iss": st.just(ISSUER) | JSON, "aud": JSON, "exp": JSON},
    optional={"sub": JSON, "iat": JSON, "azp": JSON, "nbf": JSON},
)
HEADERS = st.fixed_dictionaries(
    {"alg": st.sampled_from(["RS256", "ES256", "none", "HS256"]) | JSON, "kid": st.just("k") | JSON},
    optional={"jku": JSON, "jwk": JSON, "x5u": JSON, "crit": JSON, "b64": JSON, "zip": JSON, "typ": JSON},
)


_KEY = new_rsa_key()


class _OneKey(httpx.AsyncBaseTransport):
    """An issuer that publishes one key, which signed nothing."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        document = {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}/jwks",
            "keys": [{**_KEY.as_dict(private=False), "kid": "k"}],
        }
        assert str(request.url).startswith(ISSUER), "nobody else is asked"
        return httpx.Response(200, json=document)


class TestIdTokens:
    @settings(max_examples=EXAMPLES)
    @given(header=HEADERS, claims=CLAIMS, signature=st.binary(max_size=80), cut=st.text(max_size=5))
    @example(
        header={"alg": "RS256", "kid": "k"}, claims={"iss": ISSUER, "aud": [], "exp": 1e308}, signature=b"", cut=""
    )
    async def test_that_are_made_up_are_refused(self, header: Any, claims: Any, signature: bytes, cut: str) -> None:
        text = f"{_part(header)}.{_part(claims)}.{base64.urlsafe_b64encode(signature).decode()}{cut}"
        async with httpx.AsyncClient(transport=_OneKey()) as http:
            tokens = IdTokens(trusted_issuers(f"{ISSUER}=here"), http, clock=lambda: datetime.now(UTC))
            try:
                await tokens.identity(text)
            except CredentialUnknown:
                return
        raise AssertionError("a made-up token was taken")

    @settings(max_examples=EXAMPLES)
    @given(text=st.text(max_size=200))
    def test_are_told_from_anything_else(self, text: str) -> None:
        assert looks_like_one(text) in (True, False)


class TestHeaders:
    @settings(max_examples=EXAMPLES)
    @given(
        headers=st.lists(
            st.tuples(
                st.sampled_from([b"x-request-id", b"traceparent", b"accept-encoding", b"if-none-match"]), HEADER_BYTES
            ),
            max_size=6,
        )
    )
    def test_become_an_exchange_whose_names_are_safe_to_repeat(self, headers: list[tuple[bytes, bytes]]) -> None:
        exchange = open_exchange({"headers": headers, "method": "GET"})

        # Both go out again as headers, and into the log.
        assert exchange.request_id.isprintable()
        assert exchange.request_id.isascii()
        assert exchange.traceparent == b"" or exchange.traceparent.decode("ascii").isprintable()

    async def test_are_answered_whatever_stands_in_them(self, client: httpx.AsyncClient) -> None:
        chance = Random(8)
        pieces = [
            b"bytes=",
            b"0-",
            b"-1",
            b"*",
            b'"',
            b"W/",
            b",",
            b";q=",
            b"=",
            b"1",
            b"9" * 40,
            b"\xff",
            b"respond-async",
            b"\t",
        ]
        for _ in range(REQUESTS):
            given = [
                (name, b"".join(chance.choices(pieces, k=chance.randint(1, 6))))
                for name in chance.sample(READ_HEADERS, k=3)
            ]
            method, body = chance.choice([("GET", b""), ("POST", b'{"name":""}')])

            answer = await client.request(method, "/api/v1/projects", headers=given, content=body)

            assert answer.status_code < 500, (given, answer.text)


class TestAddresses:
    @settings(max_examples=EXAMPLES)
    @given(text=st.text(max_size=60) | st.text(alphabet="htps:/[]@.:%0x1-a#?\\", max_size=40).map("https://{}".format))
    def test_of_webhooks_are_of_somebody_or_refused(self, text: str) -> None:
        for plain in (True, False):
            try:
                parts = check_url(text, plain=plain)
            except Refusal:
                continue
            assert parts.hostname
            assert Reachable().literal(parts.hostname) in (True, False, None)


class TestForms:
    @settings(max_examples=EXAMPLES)
    @given(
        media_type=HEADER_BYTES | st.just(b"multipart/form-data; boundary=x"),
        pieces=st.lists(
            st.binary(max_size=60)
            | st.sampled_from(
                [
                    b"--x\r\n",
                    b'Content-Disposition: form-data; name="file"; filename="main.dart"\r\n\r\n',
                    b'Content-Disposition: form-data; name="projectId"\r\n\r\n',
                    b"Content-Disposition: form-data; name=\"file\"; filename*=utf-8''%ff%00\r\n\r\n",
                    b"\r\n--x--\r\n",
                    b"\r\n--x\r\n",
                ]
            ),
            max_size=12,
        ),
    )
    async def test_are_read_or_refused(self, media_type: bytes, pieces: list[bytes]) -> None:
        scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": [(b"content-type", media_type)]}
        open_exchange(scope)

        async def chunks() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        try:
            await read_form(Request(scope), chunks(), into := BytesIO(), fields=("projectId",), file_bytes_max=200)  # type: ignore[arg-type]
        except Refusal:
            return
        assert len(into.getvalue()) <= 200


class TestFiles:
    """What functions are made of, and when they run."""

    WORDS = st.text(alphabet="*/,-0123456789 ?LW#\tjanmonJAN", max_size=40)

    @settings(max_examples=EXAMPLES)
    @given(text=WORDS | st.text(max_size=60), place=st.text(max_size=20))
    @example(text="*/1 * 31 2 *", place="UTC")
    @example(text="0-59/99999999999999999999 * * * *", place="../../etc/passwd")
    def test_schedules(self, text: str, place: str) -> None:
        try:
            cron = parse(text)
            where = zone(place)
        except (CronInvalid, ZoneUnknown):
            return
        found = next_tick(cron, where, datetime(2026, 1, 1, tzinfo=UTC))
        assert found is None or found.tzinfo is not None

    @settings(max_examples=EXAMPLES)
    @given(
        content=st.binary(max_size=300)
        | st.text(alphabet="FROMCPYRUN AS\\\n\"'[]${}#=:/@.x", max_size=200).map(str.encode)
    )
    def test_dockerfiles(self, content: bytes) -> None:
        try:
            read_dockerfile(content)
        except Refusal:
            return

    @settings(max_examples=EXAMPLES)
    @given(
        content=st.binary(max_size=300)
        | st.text(alphabet="name:sdk^<>= \n\t-[]{}&*!|'\"0.9", max_size=200).map(str.encode)
    )
    @example(content=b"name: a\nx: " + b"[" * 5000)
    @example(content=b"a: &a [x]\nb: [*a, *a]")
    def test_pubspecs(self, content: bytes) -> None:
        try:
            read_pubspec(content)
        except Refusal:
            return

    @settings(max_examples=EXAMPLES)
    @given(text=st.text(alphabet="^<>=.0123456789 -+anyx", max_size=60) | st.text(max_size=40))
    def test_versions(self, text: str) -> None:
        for read in (Version.parse, VersionConstraint.parse):
            try:
                read(text)
            except Refusal:
                continue
