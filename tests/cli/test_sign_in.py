"""`dcf login --browser`: a person signs in on another device, and stays signed in."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import jwt
import pytest

from api.id_tokens import IdTokens
from api.sign_in import Newcomers
from api.trusted_issuers import trusted_issuers
from cli.device_flow import NotSignedInThere, Prompt, renewed, sign_in
from tests.api.world import World, world_in_memory
from tests.cli.conftest import Running, Terminal, running_with
from tests.emulators.oidc_issuer import CLIENT_ID, OidcIssuer, oidc_issuer


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    """One on a loop of its own: whoever asks it waits for it."""
    with _elsewhere() as made:
        yield made


@contextmanager
def _elsewhere() -> Iterator[OidcIssuer]:
    ready, done = threading.Event(), threading.Event()
    made: list[OidcIssuer] = []

    async def live() -> None:
        async with oidc_issuer() as running:
            made.append(running)
            ready.set()
            while not done.is_set():
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    try:
        assert ready.wait(10)
        yield made[0]
    finally:
        done.set()
        thread.join(10)


def _approving(issuer: OidcIssuer, subject: str = "ada") -> None:
    """What the person does once the code is shown."""

    def approve() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if codes := issuer.pending():
                issuer.approve(codes[0], subject)
                return
            time.sleep(0.02)

    threading.Thread(target=approve, daemon=True).start()


class TestSignIn:
    def test_waits_until_the_person_is_done(self, issuer: OidcIssuer) -> None:
        shown: list[Prompt] = []
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                issuer.approve(shown[0].code, "ada")

        found = sign_in(issuer.url, CLIENT_ID, shown.append, pause=pause)

        assert jwt.decode(found.token.reveal(), options={"verify_signature": False})["sub"] == "ada"
        assert found.renewal is not None
        assert len(pauses) == 2
        assert shown[0].code in (shown[0].complete_url or "")
        assert found.renewal.refresh_token not in repr(found)

    def test_ends_when_nobody_comes(self, issuer: OidcIssuer) -> None:
        clock = [0.0]

        def pause(seconds: float) -> None:
            clock[0] += seconds * 20

        with pytest.raises(NotSignedInThere, match="in time"):
            sign_in(issuer.url, CLIENT_ID, lambda _: None, pause=pause, monotonic=lambda: clock[0])

    def test_says_what_the_issuer_says(self, issuer: OidcIssuer) -> None:
        with pytest.raises(NotSignedInThere, match="401"):
            sign_in(issuer.url, "another client", lambda _: None, pause=lambda _: None)

    def test_asks_nobody_who_cannot_be_asked_safely(self) -> None:
        with pytest.raises(NotSignedInThere, match="not encrypted"):
            sign_in("http://login.example.com", CLIENT_ID, lambda _: None)

    def test_is_renewed_without_asking_anybody(self, issuer: OidcIssuer) -> None:
        first = sign_in(issuer.url, CLIENT_ID, lambda shown: issuer.approve(shown.code, "ada"), pause=lambda _: None)
        assert first.renewal is not None

        again = renewed(first.renewal)

        assert jwt.decode(again.token.reveal(), options={"verify_signature": False})["sub"] == "ada"
        assert again.renewal == first.renewal


class TestLogin:
    @pytest.fixture
    def people(self, issuer: OidcIssuer, tmp_path: Path) -> Iterator[Running]:
        """A service in which people may sign in, and get a workspace."""

        @asynccontextmanager
        async def make() -> AsyncIterator[World]:
            async with httpx.AsyncClient(trust_env=False) as http:
                tokens = IdTokens(trusted_issuers(f"{issuer.url}={CLIENT_ID}"), http, clock=lambda: datetime.now(UTC))
                newcomers = Newcomers(first="workspace")
                async with world_in_memory(tmp_path / "service", tokens=tokens, newcomers=newcomers) as world:
                    yield world

        with running_with(make) as running:
            yield running

    def test_through_a_browser_makes_one_somebody(
        self, terminal: Terminal, people: Running, issuer: OidcIssuer
    ) -> None:
        _approving(issuer)

        ended = terminal.must("login", "--url", people.url, "--browser")
        me = terminal.must("whoami", "--json").json
        project = terminal.must("projects", "create", "mine", "--json").json

        assert "/activate?code=" in ended.err + ended.out
        assert (me["actor"]["type"], me["role"]) == ("person", "owner")
        assert project["name"] == "mine"

    def test_keeps_the_token_from_others_and_renews_it(
        self, terminal: Terminal, people: Running, issuer: OidcIssuer
    ) -> None:
        _approving(issuer)
        terminal.must("login", "--url", people.url, "--browser")
        path = Path(terminal.environment["XDG_CONFIG_HOME"]) / "dcf" / "login.json"
        kept = json.loads(path.read_bytes())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.write_text(json.dumps({**kept, "key": issuer.token("ada", exp=int(time.time()) + 5)}))
        path.chmod(0o600)

        me = terminal.must("whoami", "--json").json

        assert me["actor"]["type"] == "person"
        fresh = jwt.decode(json.loads(path.read_bytes())["key"], options={"verify_signature": False})
        assert fresh["exp"] > time.time() + 60

    def test_names_the_tenant_to_act_in(self, terminal: Terminal, people: Running, issuer: OidcIssuer) -> None:
        _approving(issuer)
        terminal.must("login", "--url", people.url, "--browser")

        ended = terminal.type("--tenant", "01955000-0000-7000-8000-000000000001", "projects", "list")

        assert ended.code != 0
        assert "Dcf-Tenant" in ended.err

    def test_where_only_keys_are_taken_says_so(self, terminal: Terminal, running: Running) -> None:
        ended = terminal.type("login", "--url", running.url, "--browser")

        assert ended.code != 0
        assert "API keys only" in ended.err
