"""Podman and docker: which network what they build and run has, and whether a cloud's metadata is in its reach."""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal

import msgspec
import psutil
import pytest

from providers.local.container import Container
from providers.local.engine import EngineUnavailable, Surroundings
from providers.local.readiness import verify_engine
from providers.local.toolchain import Toolchains
from tests.providers.grounds import TOOLCHAIN_DIR
from tests.providers.test_local_toolchain import surroundings

# An engine that notes what it is asked for; `run` succeeds, or, of the program that connects, as the body says.
_ENGINE = """docker: echo "$@" >> asked; cp asked {told}; case "$1" in
  version) echo 27.1;;
  build) case "$2" in --network) shift 2;; esac; echo sha256:{digest} > "$3"; cp Dockerfile {last};;
  run) if grep -q connect {last}; then exit {connects}; fi;;
esac"""


def _engine(tmp_path: Path, *, connects: int) -> str:
    return _ENGINE.format(told=tmp_path / "told", last=tmp_path / "last", digest="ab" * 32, connects=connects)


class TestMetadata:
    @pytest.mark.parametrize("connects", [0, 1], ids=["in reach", "out of reach"])
    async def test_is_looked_for_when_the_engine_is_chosen_and_told(self, tmp_path: Path, connects: int) -> None:
        toolchains = Toolchains(surroundings(tmp_path, _engine(tmp_path, connects=connects)), "docker")

        finding = await verify_engine(toolchains)

        step = next(step for step in finding.steps if step.name == "engine_ready")
        assert finding.status == "verified"
        assert toolchains.exposed is (connects == 0)
        assert (step.code == "metadata_in_reach") is ("169.254.169.254" in step.remedy) is (connects == 0)

    async def test_is_asked_for_in_the_network_that_is_wanted(self, tmp_path: Path) -> None:
        place = surroundings(tmp_path, _engine(tmp_path, connects=1))

        engine = await Container.probe("docker", msgspec.structs.replace(place, network="walled"))
        assert self._runs_in_the_network(tmp_path) == [True]

        # What docker builds stays in docker's own network, which is looked at too.
        await engine.reaches(IPv4Address("169.254.169.254"), 80)
        assert self._runs_in_the_network(tmp_path) == [True, False]
        assert "--network" not in engine.build_steps(tmp_path, "x")[0]

    @staticmethod
    def _runs_in_the_network(tmp_path: Path) -> list[bool]:
        asked = (tmp_path / "told").read_text().splitlines()
        return ["--network walled" in line for line in asked if line.startswith("run ")]

    async def test_is_in_reach_if_only_builds_reach_it(self, tmp_path: Path) -> None:
        script = _engine(tmp_path, connects=0).replace(
            "then exit 0", 'then case "$3" in --network) exit 1;; esac; exit 0'
        )
        place = surroundings(tmp_path, script)
        toolchains = Toolchains(msgspec.structs.replace(place, network="walled"), "docker")

        await toolchains.start()

        assert toolchains.exposed

    async def test_is_not_said_to_be_out_of_reach_when_the_engine_itself_failed(self, tmp_path: Path) -> None:
        place = surroundings(tmp_path, _engine(tmp_path, connects=125))

        engine = await Container.probe("docker", place)

        assert await engine.reaches(IPv4Address("169.254.169.254"), 80) is None

    @pytest.mark.parametrize("network", ["none", "host", "default"])
    async def test_is_in_no_other_network_where_docker_builds_in_it(self, tmp_path: Path, network: str) -> None:
        place = surroundings(tmp_path, _engine(tmp_path, connects=1))

        engine = await Container.probe("docker", msgspec.structs.replace(place, network=network))

        assert engine.build_steps(tmp_path, "x")[0][1:4] == ("build", "--network", network)


@pytest.mark.proof
async def test_a_real_engine_tells_what_its_containers_reach() -> None:
    """
    Goal: what the doctor says of the metadata is what a build would find.
    Method: podman, or docker, connects to a listener of this machine from the network it gives by itself, and from none.
    """
    path = os.environ.get("PATH", "")
    place = Surroundings(search_path=path, environment=dict(os.environ), toolchain_dir=TOOLCHAIN_DIR)
    engine = await _first_that_works(place)
    walled = await Container.probe(engine.name, msgspec.structs.replace(place, network="none"))  # type: ignore[arg-type]
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        here = _address_of_this_machine()

        assert await engine.reaches(here, port) is True
        assert await walled.reaches(here, port) is False


async def _first_that_works(place: Surroundings) -> Container:
    names: tuple[Literal["podman", "docker"], ...] = ("podman", "docker")
    for name in names:
        try:
            return await Container.probe(name, place)
        except EngineUnavailable:
            continue
    pytest.skip("neither podman nor docker runs containers here")


def _address_of_this_machine() -> IPv4Address:
    every = [one.address for name in psutil.net_if_addrs().values() for one in name if one.family == socket.AF_INET]
    found = [address for address in map(IPv4Address, every) if not address.is_loopback]
    if not found:
        pytest.skip("this machine has no address that containers could reach")
    return found[0]
