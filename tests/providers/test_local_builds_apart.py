"""What a build reaches of the network: packages, and nothing of this machine or its neighbours."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self
from uuid import UUID

import pytest

from providers.local.builder import Builder
from providers.local.confinement import Confinement
from providers.local.engine import Surroundings
from providers.local.ledger import Ledger
from providers.local.outbound import Outbound
from providers.local.package_host import way_to_packages
from providers.local.stand_in import StandIn
from providers.local.stand_in_fetch import StandInFiles, fetch
from providers.local.store import Store
from tests.providers.grounds import SECONDS_MAX, TOOLCHAIN_DIR, order

# Says of each address whether it could be connected to, and of each `http:` one what a client with a proxy is told.
LOOKS = b"""
import 'dart:convert';
import 'dart:io';

Future<void> main(List<String> arguments) async {
  for (final one in arguments.where((one) => one.contains(':'))) {
    print('$one: ${await (one.startsWith('http:') ? fetched(one) : connected(one))}');
  }
}

Future<String> connected(String place) async {
  try {
    final at = place.lastIndexOf(':');
    await Socket.connect(place.substring(0, at), int.parse(place.substring(at + 1)), timeout: Duration(seconds: 2));
    return 'reached';
  } on SocketException {
    return 'not reached';
  }
}

Future<String> fetched(String url) async {
  try {
    final answer = await (await HttpClient().getUrl(Uri.parse(url))).close();
    return '${answer.statusCode} ${await utf8.decodeStream(answer)}';
  } on SocketException {
    return 'no way out';
  }
}
"""


class Looking(StandIn):
    """Runs what it built, first as what fetches packages, then as what compiles."""

    def __init__(self, files: StandInFiles, places: tuple[str, ...]) -> None:
        super().__init__(files)
        self._places = places

    @classmethod
    async def at(cls, *places: str) -> Self:
        found = Surroundings(search_path=os.environ["PATH"], environment=dict(os.environ), toolchain_dir=TOOLCHAIN_DIR)
        return cls(await fetch(found), places)

    def build_steps(self, folder: Path, name: str) -> tuple[tuple[str, ...], ...]:
        look = (*self._vm, self.output)
        return (*super().build_steps(folder, name), (*look, "pub", *self._places), (*look, "compile", *self._places))


@asynccontextmanager
async def somebody(answer: bytes = b"HTTP/1.1 200 OK\r\n\r\nhere") -> AsyncIterator[tuple[int, list[str]]]:
    """A port of this machine, and what was asked there."""
    asked: list[str] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], asked


async def told(tmp_path: Path, confinement: Confinement, engine: StandIn, **environment: str) -> list[str]:
    """What the build wrote."""
    store = Store(tmp_path / "agent")
    ledger = Ledger(store)
    builder = Builder(store, ledger, {"PATH": os.environ["PATH"], **environment}, confinement)
    deployment = ledger.open(order())
    deployment = ledger.change(deployment.id, files={"main.dart": store.keep_source(LOOKS)})
    builder.start(deployment, engine)
    async with asyncio.timeout(SECONDS_MAX):
        while _is_running(ledger, deployment.id):
            await asyncio.sleep(0.05)
    return builder.log_of(deployment.id).read(0).text.splitlines()


def _is_running(ledger: Ledger, deployment_id: UUID) -> bool:
    (found,) = (one for one in ledger if one.id == deployment_id)
    return found.build is not None and found.build.status == "running"


class TestABuildsNetwork:
    async def test_leads_to_packages_and_to_nothing_of_this_machine(self, tmp_path: Path) -> None:
        """
        Goal: a build reaches neither the database, the agent, nor a cloud's metadata; only what it fetches packages from.
        Method: a program in the compiler's place, which tries a port of this machine, the host of packages beside it, and the
        address of metadata, both by itself and by the way out.
        """
        confinement = await Confinement.probe((tmp_path,), tmp_path, os.environ["PATH"], own_network=False)
        if not confinement.builds_apart:
            pytest.skip("this machine allows no namespaces")
        metadata = "http://169.254.169.254/latest/meta-data"
        async with somebody() as (ours, asked), somebody() as (packages, fetched):
            engine = await Looking.at(
                f"127.0.0.1:{ours}", f"http://127.0.0.1:{ours}/", f"http://127.0.0.1:{packages}/", metadata
            )
            words = await told(tmp_path, confinement, engine, PUB_HOSTED_URL=f"http://127.0.0.1:{packages}")

        refused = "403 Functions and builds of this machine reach the internet, not this machine or its neighbours."
        while_fetching = [
            f"127.0.0.1:{ours}: not reached",
            f"http://127.0.0.1:{ours}/: {refused}",
            f"http://127.0.0.1:{packages}/: 200 here",
            f"{metadata}: {refused}",
        ]
        assert [line for line in words if ": " in line] == [
            *while_fetching,
            f"127.0.0.1:{ours}: not reached",
            f"http://127.0.0.1:{ours}/: no way out",
            f"http://127.0.0.1:{packages}/: no way out",
            f"{metadata}: no way out",
        ]
        assert (asked, len(fetched)) == ([], 1)

    def test_is_the_machines_where_there_are_no_namespaces_and_that_is_said(self) -> None:
        (words,) = [one for one in Confinement(hidden=(), tools={}, means="limits").lacks if "builds" in one]

        assert words == "builds reach the ports of this machine and whatever it reaches, a cloud's metadata among it"


class TestTheWayToPackages:
    async def test_goes_by_the_operators_proxy_whose_password_no_build_sees(self) -> None:
        """
        Goal: packages come by the proxy of the machine, and what else that reaches stays out of reach.
        Method: a proxy that answers every tunnel; the host of packages, then another.
        """
        async with somebody(b"HTTP/1.1 200 OK\r\n\r\nfrom there") as (port, asked):
            way = way_to_packages({"https_proxy": f"http://me:p%40ss@127.0.0.1:{port}"})

            assert await _through(way, "pub.dev:443") == "HTTP/1.1 200 Connection established\r\n\r\nfrom there"
            assert (await _through(way, "localhost:443")).startswith("HTTP/1.1 403 ")

        credential = base64.b64encode(b"me:p@ss").decode()
        head = f"CONNECT pub.dev:443 HTTP/1.1\r\nHost: pub.dev:443\r\nProxy-Authorization: Basic {credential}\r\n\r\n"
        assert asked == [head]

    async def test_says_what_the_operators_proxy_said(self) -> None:
        async with somebody(b"HTTP/1.1 407 Who are you\r\n\r\n") as (port, _):
            seen = await _through(way_to_packages({"HTTPS_PROXY": f"127.0.0.1:{port}"}), "pub.dev:443")

        assert seen.startswith("HTTP/1.1 502 ")
        assert seen.endswith("The proxy of this machine answered: HTTP/1.1 407 Who are you\n")

    @pytest.mark.parametrize(
        "beside",
        [
            {"no_proxy": ".example,127.0.0.1"},
            {"https_proxy": "socks5://127.0.0.1:1"},
            {"https_proxy": "http://[x"},
            {"https_proxy": ""},
        ],
    )
    async def test_goes_straight_where_no_proxy_leads(self, beside: dict[str, str]) -> None:
        async with somebody() as (port, asked):
            given = {"https_proxy": "http://127.0.0.1:1", "PUB_HOSTED_URL": f"http://127.0.0.1:{port}/a", **beside}
            seen = await _through(way_to_packages(given), f"127.0.0.1:{port}", "GET /x HTTP/1.1\r\n\r\n")

        assert seen.endswith("here")
        assert asked == ["GET /x HTTP/1.1\r\n\r\n"]

    @pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://[", "nonsense", "http://:80", "\0"])
    async def test_of_an_address_that_is_none_leads_to_the_internet_only(self, url: str) -> None:
        async with somebody() as (port, asked):
            assert "403" in await _through(way_to_packages({"PUB_HOSTED_URL": url}), f"127.0.0.1:{port}")

        assert asked == []


async def _through(way: Outbound, place: str, then: str = "") -> str:
    """What is answered to a tunnel, and to what is sent through it."""
    listener = socket.create_server(("127.0.0.1", 0))
    async with await way.serve(listener):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(f"CONNECT {place} HTTP/1.1\r\n\r\n".encode())
        first = await reader.readuntil(b"\r\n\r\n") if then else b""
        writer.write(then.encode())
        found = first + await asyncio.wait_for(reader.read(), 10)
        writer.close()
    return found.decode()
