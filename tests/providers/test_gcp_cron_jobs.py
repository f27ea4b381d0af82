"""The call of a CronJob on GKE, made by curl itself: what it sends is what was meant, and it fails where the function does."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from domain.clouds import GcpTarget
from domain.trigger import TICK_TYPE, ScheduleSettings
from providers.gcp.cron_jobs import cron_job
from providers.provider import Order
from tests.emulators.gcp.kube_cron import called, command_of
from tests.providers.grounds import order

DUE = datetime(2026, 11, 27, 3, tzinfo=UTC)
URL = "http://hello-internal.default.svc.cluster.local"

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


class Function:
    """Stands where the function is, and answers one status after another; 0 stands for none in time."""

    def __init__(self, statuses: list[int]) -> None:
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []
        self._statuses = iter(statuses)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        self.bodies.append(await request.read())
        if not (status := next(self._statuses)):
            await asyncio.sleep(30)
        return web.Response(status=status)


def _order(seconds: int) -> Order:
    target = GcpTarget(
        project_id="shop",
        region="europe-west1",
        artifact_repository="functions",
        runtime_target="gke",
        namespace="default",
    )
    wanted = order(request_seconds_max=seconds, function_id=uuid4(), access="private")
    return msgspec.structs.replace(wanted, release=msgspec.structs.replace(wanted.release, target=target))


async def _ends(folder: Path, wanted: Order, statuses: list[int]) -> tuple[Function, list[int]]:
    """How curl ends that is told what the CronJob says, where the function's name leads to one of this machine."""
    function, app = Function(statuses), web.Application()
    app.router.add_route("*", "/{rest:.*}", function.answer)
    body = cron_job(wanted, ScheduleSettings(cron="0 3 * * *", time_zone="Europe/Madrid"), URL)
    async with TestServer(app) as server:
        (folder / ".curlrc").write_text(f'connect-to = "::127.0.0.1:{server.port}"\n')
        ends = []
        for _ in statuses:
            curl = await asyncio.create_subprocess_exec(
                *command_of(body, DUE), env={"CURL_HOME": str(folder), "PATH": "/usr/bin:/bin"}
            )
            ends.append(await curl.wait())
    expected = called(body, DUE)
    for request in function.asked:
        assert expected.headers.items() <= request.headers.items()
    return function, ends


async def test_sends_the_event_to_the_function_and_ends_well_where_it_is_taken(tmp_path: Path) -> None:
    wanted = _order(seconds=20)

    function, ends = await _ends(tmp_path, wanted, [200, 202, 204])

    assert ends == [0, 0, 0]
    assert {(one.method, one.path, one.host) for one in function.asked} == {("POST", "/", URL.removeprefix("http://"))}
    headers = function.asked[0].headers
    assert headers["ce-type"] == TICK_TYPE
    assert headers["ce-id"].startswith("dcf-")
    assert headers["ce-source"] == f"/projects/{wanted.project_id}/functions/{wanted.release.function_id}"
    assert headers.getall("Content-Type") == ["application/json"]
    assert {msgspec.json.decode(one)["timeZone"] for one in function.bodies} == {"Europe/Madrid"}


async def test_ends_badly_where_the_function_fails_or_takes_too_long_so_that_it_is_repeated(tmp_path: Path) -> None:
    _, ends = await _ends(tmp_path, _order(seconds=1), [404, 503, 0])

    assert 0 not in ends
