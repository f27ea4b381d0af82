"""Nobody is sent to where only we can go."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from process.outbound import NotPublic, Reachable, Resolver, reachable
from process.settings import SettingInvalid

PRIVATE = [
    "168.63.129.16",
    "192.0.0.192",
    "127.0.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::1",
    "2001:0:7f00:1::1",
]


class TestReachable:
    @pytest.mark.parametrize("address", PRIVATE)
    def test_is_nothing_that_is_not_public(self, address: str) -> None:
        assert not Reachable().allows(ip_address(address))
        assert Reachable().literal(address) is False

    @pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
    def test_is_what_is_public(self, address: str) -> None:
        assert Reachable().allows(ip_address(address))

    def test_is_what_the_operator_names_and_no_more(self) -> None:
        own = reachable("10.0.0.0/8 fd00::/8")

        assert own.allows(ip_address("10.9.9.9"))
        assert own.allows(ip_address("fd00::1"))
        assert not own.allows(ip_address("192.168.0.1"))
        assert not own.allows(ip_address("::ffff:192.168.0.1"))

    @pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "017700000001", "127.1", "0", "0xa9fea9fe"])
    def test_is_no_number_that_resolvers_take_for_an_address_of_ours(self, host: str) -> None:
        assert Reachable().literal(host) is False

    def test_a_name_is_not_known_before_it_is_resolved(self) -> None:
        assert Reachable().literal("localhost") is None

    @pytest.mark.parametrize("text", ["10.0.0.1/8", "everything", "10.0.0.0/8,fd00::/8"])
    def test_refuses_what_is_no_network(self, text: str) -> None:
        with pytest.raises(SettingInvalid, match="DCF_WEBHOOK_NETWORKS"):
            reachable(text)


class TestResolver:
    @pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001"])
    async def test_leaves_out_what_may_not_be_called(self, host: str) -> None:
        with pytest.raises(NotPublic):
            await Resolver(Reachable()).resolve(host, 80)

    async def test_gives_the_address_that_was_looked_at(self) -> None:
        (found,) = {one["host"] for one in await Resolver(reachable("127.0.0.0/8")).resolve("127.1", 80)}

        assert found == "127.0.0.1"
