"""ACR Tasks: fetches the sources by the address it is given, builds for real, pushes, and keeps the log as a blob."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from tests.emulators.azure.answers import Problem, not_found
from tests.emulators.azure.blobs import part
from tests.emulators.azure.customer import Customer
from tests.emulators.azure.images import Images
from tests.emulators.azure.routes import Answer, Call, Methods
from tests.emulators.images import Build, Workshop

LOOK_SECONDS = 0.05
_FILTER = re.compile(r"(\w+) eq '([^']*)'")
_IMAGE = re.compile(r"(?P<repository>[a-z0-9._/-]+):(?P<tag>[\w.-]{1,128})")


class Made(msgspec.Struct):
    """A run as it is shown, and the work behind it once there is any. `key` opens its log."""

    shown: dict[str, Any]
    key: str
    work: Build | None = None

    @property
    def properties(self) -> dict[str, Any]:
        found: dict[str, Any] = self.shown["properties"]
        return found

    @property
    def is_over(self) -> bool:
        return self.properties["status"] not in ("Queued", "Started", "Running")

    @property
    def is_canceled(self) -> bool:
        return bool(self.properties["status"] == "Canceled")

    @property
    def log(self) -> bytes:
        return self.work.log.encode() if self.work else b""


class Tasks:
    """Tasks by their paths, and runs by theirs, the newest last. `account` is the storage that is Azure's own."""

    account = "acrtaskseurope"

    def __init__(self, customer: Customer, images: Images, workshop: Workshop, root: Callable[[], str]) -> None:
        self._customer, self._images, self._workshop, self._root = customer, images, workshop, root
        self._working: set[asyncio.Task[None]] = set()
        self._uploads: dict[str, bytes] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, Made] = {}
        self.allowed = True  # Free and credit subscriptions are not.

    @property
    def methods(self) -> Methods:
        return {
            "tasks.put": self._put,
            "tasks.get": lambda call: Answer(self._task(call.path)),
            "tasks.delete": self._delete,
            "registries.scheduleRun": self._schedule,
            "registries.uploadUrl": self._upload_url,
            "runs.list": self._list,
            "runs.get": lambda call: Answer(self._run(call.path).shown),
            "runs.log": self._log,
            "runs.cancel": self._cancel,
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The blobs of Azure's own account: logs, and sources that are sent there."""
        place, key = request.match_info["place"], request.query.get("sig", "")
        if request.method == "PUT" and place in self._uploads and key == place.rpartition("/")[0]:
            if request.headers.get("x-ms-blob-type") != "BlockBlob":
                raise Problem(400, "InvalidHeaderValue")
            self._uploads[place] = await request.read()
            return web.Response(status=201)
        made = next((one for one in self.runs.values() if secrets.compare_digest(one.key, key)), None)
        if made is None or request.method not in ("GET", "HEAD"):
            raise Problem(403, "AuthenticationFailed")
        try:
            return part(request, made.log)
        except Problem as problem:
            return web.Response(status=problem.status)

    def _put(self, call: Call) -> Answer:
        self._registry(call)
        step = call.body.get("properties", {}).get("step", {})
        if step.get("type") != "Docker":
            raise Problem(501, "NotImplemented", "The emulator builds by steps of type Docker only.")
        status = 200 if call.path.lower() in self.tasks else 201
        given = call.body["properties"]
        self.tasks[call.path.lower()] = {
            **call.body,
            "id": call.path,
            "name": call.named["task_name"],
            "type": "Microsoft.ContainerRegistry/registries/tasks",
            "properties": {**given, "provisioningState": "Succeeded", "creationDate": _now()},
        }
        return Answer(self.tasks[call.path.lower()], status)

    def _delete(self, call: Call) -> Answer:
        """What is not there is gone already."""
        return Answer(None, 200 if self.tasks.pop(call.path.lower(), None) else 204)

    def _schedule(self, call: Call) -> Answer:
        registry = self._registry(call)
        if not self.allowed:
            raise Problem(
                400,
                "TasksOperationsNotAllowed",
                f"ACR Tasks requests for the registry {registry} are not permitted. Please file an Azure support request "
                "at http://aka.ms/azuresupport for assistance.",
            )
        task, step, source = self._step(call)
        if step["platform"] != {"os": "Linux", "architecture": "amd64"}:
            raise Problem(501, "NotImplemented", "The emulator builds for Linux on amd64 only.")
        name = f"c{len(self.runs) + 1:x}"
        path = f"{call.path.rpartition('/')[0]}/runs/{name}"
        shown = {
            "id": path,
            "name": name,
            "type": "Microsoft.ContainerRegistry/registries/runs",
            "properties": {
                "runId": name,
                "status": "Queued",
                "runType": "QuickRun" if task else "QuickBuild",
                "createTime": _now(),
                "lastUpdatedTime": _now(),
                "provisioningState": "Succeeded",
                "isArchiveEnabled": False,
                "platform": step["platform"],
                **({"task": task} if task else {}),
            },
        }
        made = Made(shown, secrets.token_hex(16))
        self.runs[path.lower()] = made
        working = asyncio.get_running_loop().create_task(self._work(made, registry, step, source))
        self._working.add(working)
        working.add_done_callback(self._working.discard)
        return Answer(made.shown)

    def _step(self, call: Call) -> tuple[str, dict[str, Any], str]:
        """The name of the task if there is one, what to build, and where its sources are. Raises Problem."""
        asked = call.body
        if asked["type"] == "DockerBuildRequest":
            return "", asked, asked.get("sourceLocation", "")
        if asked["type"] != "TaskRunRequest":
            raise Problem(501, "NotImplemented", f"The emulator runs no {asked['type']}.")
        task = self._task(asked["taskId"])
        properties, changed = task["properties"], asked.get("overrideTaskStepProperties", {})
        step = {**properties["step"], "platform": properties["platform"]}
        return task["name"], step, changed.get("contextPath") or step["contextPath"]

    def _upload_url(self, call: Call) -> Answer:
        self._registry(call)
        key = secrets.token_hex(16)
        place = f"{key}/source.tar.gz"
        self._uploads[place] = b""
        url = f"{self._root()}/{self.account}/{place}?sig={key}"
        return Answer({"uploadUrl": url, "relativePath": place})

    def _list(self, call: Call) -> Answer:
        self._registry(call)
        found = [made.shown for path, made in self.runs.items() if path.startswith(f"{call.path.lower()}/")]
        if wanted := call.query.get("$filter"):
            pair = _FILTER.fullmatch(wanted)
            if pair is None or pair[1] not in ("TaskName", "RunId", "Status"):
                raise Problem(400, "InvalidFilter", f"The filter is not known: {wanted}")
            field = {"TaskName": "task", "RunId": "runId", "Status": "status"}[pair[1]]
            found = [shown for shown in found if shown["properties"].get(field) == pair[2]]
        return Answer({"value": found[::-1][: int(call.query.get("$top", "100"))]})

    def _log(self, call: Call) -> Answer:
        made = self._run(call.path.rpartition("/")[0])
        return Answer(
            {"logLink": f"{self._root()}/{self.account}/logs/{made.shown['name']}/rawtext.log?sig={made.key}"}
        )

    async def _cancel(self, call: Call) -> Answer:
        made = self._run(call.path.rpartition("/")[0])
        if made.is_over:
            raise Problem(409, "RunAlreadyCompleted", "The run has ended already.")
        self._end(made, "Canceled")
        if made.work is not None:
            await asyncio.to_thread(made.work.stop)
        return Answer(None, 202)

    async def _work(self, made: Made, registry: str, step: dict[str, Any], source: str) -> None:
        await asyncio.sleep(LOOK_SECONDS)
        if made.is_over:
            return
        made.properties.update({"status": "Running", "startTime": _now()})
        try:
            content = await self._fetched(source)
            arguments = {one["name"]: one["value"] for one in step.get("arguments", [])}
            made.work = await asyncio.to_thread(self._workshop.build, content, arguments=arguments)
        except (Problem, ValueError, aiohttp.ClientError) as error:
            self._end(made, "Failed", f"failed to download context: {error}")
            return
        if made.is_canceled:  # While there was nothing yet to be stopped.
            await asyncio.to_thread(made.work.stop)
        while not made.work.is_over:
            await asyncio.sleep(LOOK_SECONDS)
        if made.is_canceled:
            return
        if made.work.status != "succeeded":
            self._end(made, "Failed", "failed during run, err: exit status 1")
            return
        if step.get("isPushEnabled"):
            made.properties["outputImages"] = [
                self._pushed(registry, name, made.work) for name in step.get("imageNames", [])
            ]
        self._end(made, "Succeeded")

    async def _fetched(self, source: str) -> bytes:
        if source in self._uploads:
            return self._uploads[source]
        async with aiohttp.ClientSession() as session, session.get(source) as answer:
            if answer.status != 200:
                raise Problem(400, "DownloadFailed", f"HTTP {answer.status}")
            return await answer.read()

    def _pushed(self, registry: str, name: str, work: Build) -> dict[str, str]:
        named = _IMAGE.fullmatch(name)
        assert named is not None, f"no image name: {name}"
        pushed = self._images.push(registry, named["repository"], named["tag"], work.digest, work.manifest)
        return {"registry": f"{registry.lower()}.azurecr.io", **named.groupdict(), "digest": pushed}

    def _end(self, made: Made, status: str, error: str = "") -> None:
        """One that is over stays as it is: what it was stopped in the middle of may fail then."""
        if made.is_over:
            return
        made.properties.update({"status": status, "finishTime": _now(), "lastUpdatedTime": _now()})
        if error:
            made.properties["runErrorMessage"] = error

    def _registry(self, call: Call) -> str:
        path = "/".join(call.path.split("/")[:9])
        return str(self._customer.found(path)["name"])

    def _task(self, path: str) -> dict[str, Any]:
        if path.lower() not in self.tasks:
            raise not_found(path)
        return self.tasks[path.lower()]

    def _run(self, path: str) -> Made:
        if path.lower() not in self.runs:
            raise not_found(path)
        return self.runs[path.lower()]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
