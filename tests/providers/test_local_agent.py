"""The agent as a process of its own: killed, stopped, started again."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import httpx
import pytest
from msgspec.structs import replace

from domain.clouds import LocalIdentity
from process.ports import recorded
from process.sockets import socket_directory
from providers.local import procfs
from providers.local.client import SOCKET_NAME, AgentSocket, Functions, LocalProvider
from providers.local.fleet import AGENT_VARIABLE
from providers.local.records import ProcessMark
from providers.local.store import Store
from providers.provider import Order, ProviderUnreachable
from tests.providers.grounds import (
    HELLO,
    PROBE,
    ROOT,
    SECONDS_MAX,
    TOOLCHAIN_DIR,
    build_ended,
    build_started,
    deployed,
    order,
    settled,
    sources,
    until,
    withdrawn,
)


class Service:
    """An agent in a process of its own and a client of it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.socket = socket_directory(data_dir) / SOCKET_NAME
        self.agent = AgentSocket(self.socket)
        self.provider = LocalProvider(self.agent, lambda: "http://functions.example")
        self.functions = Functions(self.agent)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The agent's process; at the end of the block it is asked to stop unless it has been killed."""
        process = self.start()
        try:
            yield process
        finally:
            process.terminate()
            process.wait(SECONDS_MAX)

    def start(self) -> subprocess.Popen[bytes]:
        own = {
            "DCF_DATA_DIR": str(self.data_dir),
            "DCF_TOOLCHAIN_DIR": str(TOOLCHAIN_DIR),
            "DCF_LOCAL_ENGINE": "standin",
            "DCF_AGENT_PORT": "0",
            "DCF_STOP_SECONDS_MAX": "4",
        }
        log = (self.data_dir / "agent.log").open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", "providers.local"], cwd=ROOT, env={**os.environ, **own}, stderr=log
            )

    async def ready(self) -> None:
        """Return once the agent answers."""

        async def answers() -> bool:
            try:
                await self.functions.route(("a", "b", "c"))
            except ProviderUnreachable:
                return False
            return True

        await until(answers, bool)

    def process_of(self, wanted: Order) -> ProcessMark:
        """The process that the agent has noted for a deployment."""
        (record,) = (one for one in Store(self.data_dir / "agent").deployments() if one.id == wanted.deployment_id)
        assert record.process is not None
        return record.process

    async def born_answering(self, wanted: Order) -> int:
        """When the process was born that answers at the function's address; 0 when none does at the moment."""
        path = "/".join(wanted.release.address)
        try:
            async with self.agent.session.get(f"http://agent/serve/public/{path}/born") as answer:
                return int(await answer.text()) if answer.status == 200 else 0
        except aiohttp.ClientError:
            return 0


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    made = Service(tmp_path)
    yield made
    await made.agent.close()


async def test_its_socket_is_for_its_user_alone_and_its_health_for_everybody(service: Service) -> None:
    with service.running():
        await service.ready()

        assert stat.S_IMODE(service.socket.stat().st_mode) == 0o600
        async with httpx.AsyncClient() as client:
            port = recorded(service.data_dir)["agent"]
            assert (await client.get(f"http://127.0.0.1:{port}/health/ready")).json()["checks"] == {"store": "ok"}
            assert (
                'dcf_agent_functions{status="healthy"} 0.0'
                in (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            )


async def test_one_that_is_down_is_unreachable_and_verification_says_how_to_start_it(service: Service) -> None:
    finding = await service.provider.verify_identity(order().tenant_id, order().project_id, LocalIdentity())

    assert (finding.status, finding.steps[0].code) == ("failed", "agent_unreachable")
    assert "python -m providers.local" in finding.steps[0].remedy
    with pytest.raises(ProviderUnreachable):
        await service.provider.observe(order())


async def test_a_second_one_on_the_same_folder_says_why_it_does_not_start(service: Service) -> None:
    with service.running():
        await service.ready()
        ports = recorded(service.data_dir)

        second = service.start()

        assert await asyncio.to_thread(second.wait, SECONDS_MAX) == 1
        assert recorded(service.data_dir) == ports
        assert "Another agent owns" in (service.data_dir / "agent.log").read_text()
        await service.ready()


async def test_killed_it_takes_no_function_with_it_and_the_next_one_adopts_them(service: Service) -> None:
    """
    Goal: the process that served before the agent's death serves after it; one that died as well is started again.
    Method: kill -9 the agent, then the next one together with the function, and each time ask the function who it is.
    """
    wanted = order()
    with service.running() as first:
        await service.ready()
        await deployed(service.provider, wanted, sources(PROBE))
        before = await service.born_answering(wanted)
        mark = service.process_of(wanted)
        first.kill()
        first.wait()
    assert procfs.lives(service.process_of(wanted))

    with service.running() as second:
        await service.ready()
        adopted = await until(lambda: service.born_answering(wanted), bool)
        assert adopted == before
        assert service.process_of(wanted) == mark
        assert (await settled(service.provider, wanted, "healthy")).serving
        second.kill()
        second.wait()
        os.killpg(mark.pid, signal.SIGKILL)

    with service.running():
        await service.ready()
        assert await until(lambda: service.born_answering(wanted), bool) != adopted
        mark = service.process_of(wanted)
        await withdrawn(service.provider, wanted)
        assert not procfs.lives(mark)


async def test_killed_after_starting_a_process_it_had_no_time_to_note_the_next_one_ends_that(service: Service) -> None:
    """
    Goal: nothing runs that no record tells of.
    Method: forget the process in the record of a killed agent, as if it had died just before writing it.
    """
    wanted = order()
    with service.running() as first:
        await service.ready()
        await deployed(service.provider, wanted, sources(PROBE))
        before = await service.born_answering(wanted)
        first.kill()
        first.wait()
    stray = service.process_of(wanted)
    _forget_process(service)

    with service.running():
        await service.ready()
        assert await until(lambda: service.born_answering(wanted), bool) != before
        assert service.process_of(wanted) != stray
        assert not procfs.lives(stray)


async def test_killed_while_building_the_next_one_ends_the_same_build(service: Service) -> None:
    wanted = order()
    with service.running() as first:
        await service.ready()
        await service.provider.bundle(wanted, sources(HELLO))
        await until(lambda: build_started(service.provider, wanted), bool)
        begun = await service.provider.start_build(wanted)
        first.kill()
        first.wait()

    with service.running():
        await service.ready()
        ended = await build_ended(service.provider, wanted)

        assert (ended.id, ended.status) == (begun.id, "succeeded")
        assert procfs.with_variable(AGENT_VARIABLE, (service.data_dir / "agent" / "name").read_text()) == {}
        assert "starting over" in (await service.provider.build_log(wanted, 0)).text


async def test_stopped_it_leaves_nothing_running_and_the_next_one_starts_all_again(service: Service) -> None:
    wanted = order()
    with service.running():
        await service.ready()
        await deployed(service.provider, wanted, sources(PROBE))
        before, process = await service.born_answering(wanted), service.process_of(wanted)
    assert not procfs.lives(process)

    with service.running():
        await service.ready()
        assert await until(lambda: service.born_answering(wanted), bool) != before


def _forget_process(service: Service) -> None:
    store = Store(service.data_dir / "agent")
    for record in store.deployments():
        store.save(replace(record, process=None, port=0))
