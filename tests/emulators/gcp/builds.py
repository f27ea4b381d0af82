"""Cloud Build: fetches the source from the bucket, builds for real, pushes, and writes its log into a bucket."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from uuid import uuid4

import msgspec

from tests.emulators.gcp.account import Account
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.bucket import Buckets
from tests.emulators.gcp.calls import Call, Methods
from tests.emulators.gcp.operations import Operations, now
from tests.emulators.gcp.registry import Registry
from tests.emulators.images import Build, Workshop

DOCKER = "gcr.io/cloud-builders/docker"
LOOK_SECONDS = 0.05
_B = "cloudbuild.projects.locations.builds"
_TAG = re.compile(r'\(?\s*tags\s*=\s*"([^"]*)"\s*\)?')


class Made(msgspec.Struct):
    """A build as it is shown, who runs it, and the work behind it once there is any."""

    shown: dict[str, Any]
    member: str
    work: Build | None = None
    canceled: bool = False

    @property
    def is_over(self) -> bool:
        return self.shown["status"] not in ("QUEUED", "WORKING")


class Builds:
    """Builds by name, the newest last."""

    def __init__(self, account: Account, workshop: Workshop, buckets: Buckets, registry: Registry) -> None:
        self._account, self._workshop, self._buckets, self._registry = account, workshop, buckets, registry
        self._operations = Operations()
        self._tasks: set[asyncio.Task[None]] = set()
        self.made: dict[str, Made] = {}

    @property
    def methods(self) -> Methods:
        return {
            f"{_B}.create": self._create,
            f"{_B}.get": self._get,
            f"{_B}.list": self._list,
            f"{_B}.cancel": self._cancel,
            "cloudbuild.projects.locations.operations.get": lambda call: self._operations.get(call.path["name"]),
        }

    def _create(self, call: Call) -> dict[str, Any]:
        parent, asked = call.path["parent"], call.body
        self._account.require(call.member, "cloudbuild.builds.create", parent)
        email = asked.get("serviceAccount", "").rpartition("/")[2]
        member = f"serviceAccount:{email}"
        if email:
            self._account.require_act_as(call.member, email)
        else:
            member = f"serviceAccount:{self._account.number}-compute@developer.gserviceaccount.com"
        _check(asked, own_account=bool(email))
        name = f"{parent}/builds/{uuid4()}"
        identity = {"id": name.rpartition("/")[2], "name": name, "projectId": self._account.project}
        made = Made({**asked, **identity, "status": "QUEUED", "createTime": now()}, member)
        self.made[name] = made
        task = asyncio.get_running_loop().create_task(self._run(made))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        kind = "type.googleapis.com/google.devtools.cloudbuild.v1."
        return self._operations.begin(
            parent,
            {"@type": f"{kind}BuildOperationMetadata", "build": dict(made.shown)},
            lambda: {"@type": f"{kind}Build", **made.shown} if made.is_over else None,
        )

    def _get(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "cloudbuild.builds.get", call.path["name"])
        return self._found(call).shown

    def _list(self, call: Call) -> dict[str, Any]:
        parent, wanted = call.path["parent"], call.query.get("filter", "")
        self._account.require(call.member, "cloudbuild.builds.list", parent)
        found = [made.shown for name, made in self.made.items() if name.startswith(f"{parent}/builds/")]
        if wanted:
            tag = _TAG.fullmatch(wanted)
            if tag is None:
                raise Refused(400, f"invalid list filter: {wanted}", field="filter")
            found = [shown for shown in found if tag[1] in shown.get("tags", [])]
        return {"builds": found[::-1][: int(call.query.get("pageSize", "50"))]} if found else {}

    async def _cancel(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "cloudbuild.builds.update", call.path["name"])
        made = self._found(call)
        if made.is_over:
            raise Refused(400, "build has already ended", status="FAILED_PRECONDITION")
        made.canceled = True
        if made.work is not None:
            await asyncio.to_thread(made.work.stop)
        self._end(made, "CANCELLED")
        return made.shown

    def _found(self, call: Call) -> Made:
        try:
            return self.made[call.path["name"]]
        except KeyError:
            raise Refused(404, "Requested entity was not found.") from None

    async def _run(self, made: Made) -> None:
        await asyncio.sleep(LOOK_SECONDS)
        if made.canceled:
            return
        source, [step], [image] = made.shown["source"]["storageSource"], made.shown["steps"], made.shown["images"]
        made.shown |= {"status": "WORKING", "startTime": now()}
        try:
            content = await self._buckets.fetched(
                made.member, source["bucket"], source["object"], source.get("generation", "")
            )
            made.work = await asyncio.to_thread(self._workshop.build, content, arguments=_arguments(step["args"]))
        except (Refused, ValueError) as error:
            self._end(made, "FAILURE", "FETCH_SOURCE_FAILED", str(error))
            return
        while not made.work.is_over:
            await asyncio.sleep(LOOK_SECONDS)
        if made.is_over:
            return
        await self._write_log(made)
        if made.work.status != "succeeded":
            self._end(made, "FAILURE", "USER_BUILD_STEP", "Build step failure: build step 0 failed: non-zero status")
            return
        try:
            self._registry.push(made.member, image, made.work.digest)
        except Refused as error:
            kind = "PUSH_NOT_AUTHORIZED" if error.code == 403 else "PUSH_FAILED"
            self._end(made, "FAILURE", kind, str(error))
            return
        made.shown["results"] = {"images": [{"name": image, "digest": made.work.digest}]}
        self._end(made, "SUCCESS")

    def _end(self, made: Made, status: str, kind: str = "", detail: str = "") -> None:
        made.shown |= {"status": status, "finishTime": now()}
        if kind:
            made.shown |= {"statusDetail": detail, "failureInfo": {"type": kind, "detail": detail}}

    async def _write_log(self, made: Made) -> None:
        assert made.work is not None
        bucket, _, folder = made.shown["logsBucket"].removeprefix("gs://").partition("/")
        name = f"{folder}/log-{made.shown['id']}.txt" if folder else f"log-{made.shown['id']}.txt"
        await self._buckets.written(made.member, bucket, name, f'starting build "{made.shown["id"]}"\n{made.work.log}')


def _check(asked: dict[str, Any], *, own_account: bool) -> None:
    """What no schema says. Raises Refused."""
    logging, bucket = asked.get("options", {}).get("logging"), asked.get("logsBucket", "")
    if own_account and logging not in ("CLOUD_LOGGING_ONLY", "NONE") and not bucket:
        raise Refused(
            400,
            "if 'build.service_account' is specified, the build must either (a) specify 'build.logs_bucket', (b) use the "
            "REGIONAL_USER_OWNED_BUCKET build.options.default_logs_bucket_behavior option, or (c) use either "
            "CLOUD_LOGGING_ONLY / NONE logging options",
        )
    name = asked.get("source", {}).get("storageSource", {}).get("object", "")
    if not name.endswith((".zip", ".tar.gz")):
        raise Refused(400, "source object must be a .zip or .tar.gz file", field="source.storage_source.object")
    steps, images = asked.get("steps", []), asked.get("images", [])
    if len(steps) != 1 or len(images) != 1 or steps[0]["name"] != DOCKER or steps[0].get("args", [""])[0] != "build":
        raise Refused(501, "The emulator builds one image by one step of docker build.")


def _arguments(words: list[str]) -> dict[str, str]:
    pairs = [words[at + 1] for at, word in enumerate(words) if word == "--build-arg"]
    return dict(pair.split("=", 1) for pair in pairs)
