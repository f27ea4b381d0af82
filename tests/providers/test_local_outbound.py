"""The way out of functions: what it passes on, and where it does not lead."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.local.outbound import CONNECTIONS_MAX, Outbound, Refused, is_outside, understood

OWN = sorted({one.address for name in psutil.net_if_addrs().values() for one in name if one.family == socket.AF_INET})


@pytest.fixture
async def server() -> AsyncIterator[int]:
    """Answers whatever it is sent with it, and says where it is."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + asked)
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as found:
        yield found.sockets[0].getsockname()[1]


async def asked(outbound: Outbound, request: str, then: bytes = b"") -> str:
    """What is answered to the request, and to what is sent after a first answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    async with await outbound.serve(listener):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(request.encode())
        first = await reader.readuntil(b"\r\n\r\n") if then else b""
        writer.write(then)
        found = first + await asyncio.wait_for(reader.read(), 10)
        writer.close()
    return found.decode()


ANYWHERE = Outbound(may_reach=lambda _: True)


class TestTheWayOut:
    async def test_passes_a_tunnel_on(self, server: int) -> None:
        seen = await asked(ANYWHERE, f"CONNECT localhost:{server} HTTP/1.1\r\n\r\n", b"GET /x HTTP/1.1\r\n\r\n")

        assert seen.startswith("HTTP/1.1 200 Connection established")
        assert seen.endswith("HTTP/1.1 200 OK\r\n\r\nGET /x HTTP/1.1\r\n\r\n")

    async def test_passes_a_request_on_as_its_server_takes_it(self, server: int) -> None:
        given = f"GET http://localhost:{server}/a?b=%20 HTTP/1.1\r\nHost: h\r\nProxy-Authorization: x\r\nConnection: keep-alive\r\n\r\n"

        seen = await asked(ANYWHERE, given)

        assert seen.endswith("GET /a?b=%20 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")

    async def test_leads_to_nothing_of_this_machine(self, server: int) -> None:
        for place in (f"localhost:{server}", f"127.0.0.1:{server}", f"[::1]:{server}", f"0.0.0.0:{server}"):
            assert "403 Forbidden" in await asked(Outbound(), f"CONNECT {place} HTTP/1.1\r\n\r\n"), place

    @pytest.mark.parametrize(
        ("request_line", "status"),
        [
            ("GET / HTTP/1.1", "400"),
            ("CONNECT :99999 HTTP/1.1", "400"),
            ("GET http:/// HTTP/1.1", "400"),
            ("GET ftp://x/ HTTP/1.1", "400"),
            ("CONNECT nobody.invalid:443 HTTP/1.1", "502"),
            (f"CONNECT {'x' * 300}.invalid:443 HTTP/1.1", "502"),
        ],
    )
    async def test_says_what_it_does_not_do(self, request_line: str, status: str) -> None:
        assert (await asked(Outbound(), f"{request_line}\r\n\r\n")).startswith(f"HTTP/1.1 {status} ")

    async def test_takes_no_endless_head(self) -> None:
        assert await asked(Outbound(), "GET / HTTP/1.1\r\n" + "X: y\r\n" * 10_000) == ""

    async def test_takes_so_many_at_a_time(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        async with await ANYWHERE.serve(listener):
            held = [await asyncio.open_connection(*listener.getsockname()) for _ in range(CONNECTIONS_MAX + 1)]
            reader, writer = held[-1]
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readexactly(1), 0.2)
            held[0][1].close()
            seen = await asyncio.wait_for(reader.readexactly(12), 10)
            for _, one in held[1:]:
                one.close()

        assert seen == b"HTTP/1.1 400"


class TestUnderstood:
    @given(
        st.binary(max_size=300)
        | st.tuples(
            st.sampled_from([b"CONNECT ", b"GET http://", b"POST HTTP://"]),
            st.binary(max_size=200),
            st.just(b" HTTP/1.1"),
        ).map(b"".join)
    )
    def test_is_a_host_and_a_port_or_refused(self, head: bytes) -> None:
        try:
            host, port, first = understood(head + b"\r\n\r\n")
        except Refused:
            return

        assert host
        assert 0 < port < 65_536
        assert first == b"" or first.endswith(b"\r\nConnection: close\r\n\r\n")

    async def test_of_names_that_none_can_have_says_so(self) -> None:
        for host in ("a\0b", "x" * 64 + ".invalid", "..", "é"):
            assert "502 Bad Gateway" in await asked(Outbound(), f"CONNECT {host}:443 HTTP/1.1\r\n\r\n"), host


class TestWhatIsOutside:
    @pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111"])
    def test_is_what_has_a_number_of_its_own(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            reached = asking.connect_ex((address, 9)) == 0

        assert is_outside(ip_address(address)) == reached

    @pytest.mark.parametrize(
        "address",
        [
            *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "224.0.0.1"),
            *(
                "169.254.169.254",
                "100.100.100.200",
                "168.63.129.16",
                "192.0.0.192",
                "fd00:ec2::254",
                "fe80::1",
                "::1",
                "::",
            ),
            *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1"),
            *OWN,
        ],
    )
    def test_is_no_machine_of_ours_nor_a_clouds_own(self, address: str) -> None:
        assert not is_outside(ip_address(address))
