"""Builds by ACR Tasks: a task of the deployment's own name, whose runs are looked for before one is started."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from domain.release import Toolchain
from providers.azure import naming
from providers.azure.account import Account, target_of
from providers.azure.errors import Answered
from providers.azure.storage import Container, Staged
from providers.azure.wire import Reply
from providers.characters import whole_characters
from providers.dockerfile import VERSION_ARGUMENT
from providers.provider import Build, LogChunk, Order

ENGINE = "acr-tasks"
VERSION = "2019-06-01-preview"
BUILD_SECONDS_MAX = 900
LAST_WORDS_BYTES = 4000
LOG_BYTES_MAX = 256 * 1024

_RUNNING = ("Queued", "Started", "Running")
_FAILED = "Mend what the log names, upload it and deploy again."


class _RunProperties(msgspec.Struct, rename="camel"):
    run_id: str = ""
    status: str = ""
    create_time: datetime | None = None
    run_error_message: str | None = None


class Run(msgspec.Struct):
    """A run as the registry shows it."""

    name: str = ""
    properties: _RunProperties = msgspec.field(default_factory=_RunProperties)

    @property
    def id(self) -> str:
        return self.properties.run_id or self.name

    @property
    def is_running(self) -> bool:
        return self.properties.status in _RUNNING


class _Log(msgspec.Struct, rename="camel"):
    log_link: str = ""


class Builds:
    """The builds of one order, as one account sees them."""

    def __init__(self, account: Account, container: Container) -> None:
        self._account, self._container = account, container

    async def find(self, order: Order) -> Run | None:
        """The deployment's run, the first one when a lost answer led to two; None when none was started."""
        runs = await self._all(order)
        return min(runs, key=lambda run: (str(run.properties.create_time or ""), run.id), default=None)

    async def start(self, order: Order, staged: Staged) -> Run:
        """Start it. Ask `find` first."""
        # The task is what the run is found by; only the run is told where it may read the sources, and for how long.
        task = _task(order)
        await self._account.ask("PUT", task, VERSION, body=_task_body(order, staged))
        body = {
            "type": "TaskRunRequest",
            "taskId": task,
            "overrideTaskStepProperties": {"contextPath": await self._container.link(staged.name)},
        }
        return await self._account.call("POST", f"{_registry(order)}/scheduleRun", VERSION, Run, body=body)

    async def stop(self, order: Order) -> None:
        """End it for real, and with it whatever a lost answer led to beside it, which would push an image in the end."""
        for run in await self._all(order):
            if run.is_running:
                await self._cancel(order, run)

    async def _cancel(self, order: Order, run: Run) -> None:
        """One that has ended meanwhile is left as it is."""
        try:
            await self._account.ask("POST", f"{_registry(order)}/runs/{run.id}/cancel", VERSION)
        except Answered as error:
            if error.http_status == 404:
                return
            if any(one.id == run.id and one.is_running for one in await self._all(order)):
                raise

    async def _all(self, order: Order) -> list[Run]:
        path, query = f"{_registry(order)}/runs", {"$filter": f"TaskName eq '{naming.task_name(order)}'", "$top": "20"}
        return await self._account.found_all(path, VERSION, Run, query=query)

    async def forget(self, order: Order) -> None:
        """Remove the task; what its runs did stays on record in the registry."""
        await self._account.found("DELETE", _task(order), VERSION, dict[str, Any])

    async def shown(self, order: Order, run: Run, staged: Staged | None) -> Build:
        """The build in the port's own terms. A failed one has the last words of its log."""
        status = _status(run)
        failed = status == "failed"
        version = (staged.dart if staged else "") or "of the Dockerfile"
        return Build(
            id=run.id,
            status=status,
            message=await self._last_words(order, run) if failed else "",
            remedy=_FAILED if failed else "",
            toolchain=Toolchain(engine=ENGINE, version=version),
        )

    async def log(self, order: Order, run: Run, cursor: int) -> LogChunk:
        """What the build wrote, from the byte `cursor` on."""
        reply = await self._read(order, run, f"bytes={cursor}-{cursor + LOG_BYTES_MAX - 1}")
        content = b"" if reply is None else _from(reply, cursor)[:LOG_BYTES_MAX]
        whole = whole_characters(content)
        return LogChunk(text=whole.decode(errors="replace"), next_cursor=cursor + len(whole))

    async def _last_words(self, order: Order, run: Run) -> str:
        written, said = await self._end_of_log(order, run), run.properties.run_error_message
        # What Azure says of a step that failed tells less than the compiler, which speaks first.
        return "\n".join(part for part in (written, said) if part) or f"The run ended as {run.properties.status}."

    async def _end_of_log(self, order: Order, run: Run) -> str:
        """That the build failed is known without it: whoever may not read the log is told so."""
        try:
            reply = await self._read(order, run, "")
        except Answered as error:
            if error.http_status != 403:
                raise
            return f"Its log cannot be read: {error.message}"
        words = b"" if reply is None else reply.content[-LAST_WORDS_BYTES:]
        return words.decode(errors="replace").strip()

    async def _read(self, order: Order, run: Run, span: str) -> Reply | None:
        """The log, or a part of it; None when there is none (yet)."""
        path = f"{_registry(order)}/runs/{run.id}/listLogSasUrl"
        found = await self._account.found("POST", path, VERSION, _Log)
        # The link opens the log by itself: no token of ours goes there.
        if found is None or not self._account.wire.leads_to_blobs(found.log_link):
            return None
        try:
            return await self._account.wire.call("GET", found.log_link, headers={"Range": span} if span else None)
        except Answered as error:
            if error.http_status in (404, 416):
                return None
            raise


def _registry(order: Order) -> str:
    return naming.registry_path(target_of(order))


def _task(order: Order) -> str:
    return f"{_registry(order)}/tasks/{naming.task_name(order)}"


def _task_body(order: Order, staged: Staged) -> dict[str, Any]:
    return {
        "location": target_of(order).region,
        "tags": naming.tags(order),
        "properties": {
            "status": "Enabled",
            "platform": {"os": "Linux", "architecture": "amd64"},
            "timeout": BUILD_SECONDS_MAX,
            "step": {
                "type": "Docker",
                "contextPath": staged.bundle.location,
                "dockerFilePath": "Dockerfile",
                "imageNames": [f"{naming.repository(order)}:{naming.tag(order)}"],
                "isPushEnabled": True,
                "arguments": [{"name": VERSION_ARGUMENT, "value": order.release.runtime, "isSecret": False}],
            },
        },
    }


def _status(run: Run) -> Literal["running", "succeeded", "failed", "stopped"]:
    if run.is_running:
        return "running"
    if run.properties.status == "Succeeded":
        return "succeeded"
    return "stopped" if run.properties.status == "Canceled" else "failed"


def _from(reply: Reply, cursor: int) -> bytes:
    """Storage that does not heed a range answers the whole."""
    return reply.content if reply.status == 206 else reply.content[cursor:]
