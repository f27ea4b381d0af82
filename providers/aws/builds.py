"""Builds by CodeBuild: each is noted in the bucket, and looked for by its deployment before another one is started."""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any, Literal

from domain.release import Toolchain
from providers.aws import naming
from providers.aws.account import Account, target_of
from providers.aws.errors import Answered
from providers.aws.storage import Bucket, Staged
from providers.dockerfile import VERSION_ARGUMENT
from providers.provider import Build, LogChunk, Order

ENGINE = "codebuild"
# Lets an HTTP server on $PORT answer what Lambda hands to it.
ADAPTER_IMAGE = "public.ecr.aws/awsguru/aws-lambda-adapter:1.0.0"
ADAPTER_FILE = "/opt/extensions/lambda-adapter"
PORT = 8080
LISTED_MAX = 100
LAST_WORDS_CHARACTERS = 4000
LOG_BYTES_MAX = 256 * 1024
LOG_PAGES_MAX = 50
PLACES_MAX = 1000
DEPLOYMENT_VARIABLE = "DCF_DEPLOYMENT"

# Opens the secrets before it starts the program.
OPENER_SOURCE = Path(__file__).with_name("open.dart")
OPENER_FILE = "/opt/dcf/open"

# Lambda takes a single image for one architecture, and none that comes with attestations.
_DOCKER_BUILD = "docker build --provenance=false --sbom=false"
_VERSION = f'--build-arg {VERSION_ARGUMENT}="${VERSION_ARGUMENT}"'
_SIGN_IN = (
    'aws ecr get-login-password --region "$AWS_REGION" | docker login --username AWS --password-stdin "$DCF_REGISTRY"'
)
_FUNCTION = f"{_DOCKER_BUILD} {_VERSION} -t function ."
_PUSH = 'docker push "$DCF_IMAGE"'
_ADAPTED = f"FROM function\\nCOPY --from={ADAPTER_IMAGE} /lambda-adapter {ADAPTER_FILE}\\nENV PORT={PORT} AWS_LWA_PORT={PORT}\\n"
_OPENER = (
    f"ARG {VERSION_ARGUMENT}\\nFROM dart:${VERSION_ARGUMENT} AS opener\\nCOPY open.dart /tmp/open.dart\\n"
    "RUN dart compile exe /tmp/open.dart -o /tmp/open\\n"
)
_COPIED = f"COPY --from=opener --chmod=0555 /tmp/open {OPENER_FILE}\\n"
# The image's own command line becomes the opener's arguments. An ENTRYPOINT makes Docker forget the CMD before it.
_LOOK = "docker image inspect --format '{{json .Config.Entrypoint}}{{println}}{{json .Config.Cmd}}' function"
_OPENED = f"sed -e 's/^null$/[]/' -e '1s|^\\[|ENTRYPOINT [\"{OPENER_FILE}\",|' -e '1s/,]$/]/' -e '2s/^/CMD /' /tmp/dcf/command"


def commands(*, opens_secrets: bool) -> tuple[str, ...]:
    """What a build runs in a shell, one after another, in the folder of the sources."""
    if not opens_secrets:
        return (_SIGN_IN, _FUNCTION, f"printf '{_ADAPTED}' | {_DOCKER_BUILD} -t \"$DCF_IMAGE\" -", _PUSH)
    opener = base64.b64encode(_opener()).decode()
    return (
        _SIGN_IN,
        _FUNCTION,
        f"mkdir -p /tmp/dcf && echo {opener} | base64 -d > /tmp/dcf/open.dart",
        f"{_LOOK} > /tmp/dcf/command",
        f"{{ printf '{_OPENER}{_ADAPTED}{_COPIED}' && {_OPENED}; }} > /tmp/dcf/Dockerfile",
        f'{_DOCKER_BUILD} {_VERSION} -t "$DCF_IMAGE" /tmp/dcf',
        _PUSH,
    )


def build_spec(*, opens_secrets: bool) -> str:
    """The same for CodeBuild: what goes wrong in one command ends the build there."""
    phase = {"on-failure": "ABORT", "commands": list(commands(opens_secrets=opens_secrets))}
    return json.dumps({"version": 0.2, "phases": {"build": phase}})


@cache
def _opener() -> bytes:
    return OPENER_SOURCE.read_bytes()


_FAILED = "Mend what the log names, upload it and deploy again."
_Found = dict[str, Any]


class LogPlaces:
    """How far builds' logs were read, so that the next look goes on there. At most PLACES_MAX are kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[int, str]] = OrderedDict()

    def before(self, build_id: str, cursor: int) -> tuple[int, str]:
        """The last place known that is not after the cursor: its byte, and Amazon's token for it."""
        byte, token = self._kept.get(build_id, (0, ""))
        return (byte, token) if byte <= cursor else (0, "")

    def keep(self, build_id: str, byte: int, token: str) -> None:
        self._kept[build_id] = (byte, token)
        self._kept.move_to_end(build_id)
        while len(self._kept) > PLACES_MAX:
            self._kept.popitem(last=False)


class Builds:
    """The builds of one order, as one account sees them."""

    def __init__(self, account: Account, bucket: Bucket, places: LogPlaces, order: Order) -> None:
        self._account, self._bucket, self._places, self._order = account, bucket, places, order
        self._target = target_of(order)

    async def noted(self) -> _Found | None:
        """The build that the note in the bucket names; None without a note."""
        noted = await self._bucket.text(naming.build_note(self._order))
        if noted is None:
            return None
        found = await self._call("batch_get_builds", ids=[noted])
        return found["builds"][0] if found["builds"] else None

    async def find(self) -> _Found | None:
        """The same, also when the runner that started it died before it took a note."""
        return await self.noted() or await self._unnoted()

    async def start(self, staged: Staged) -> _Found:
        """Start it, and take a note. Ask `find` first."""
        variables = {
            DEPLOYMENT_VARIABLE: str(self._order.deployment_id),
            VERSION_ARGUMENT: self._order.release.runtime,
            "DCF_REGISTRY": naming.registry(self._target),
            "DCF_IMAGE": f"{naming.image_path(self._target)}:{naming.tag(self._order)}",
        }
        made = await self._call(
            "start_build",
            projectName=self._target.code_build_project,
            sourceTypeOverride="S3",
            sourceLocationOverride=staged.bundle.location.removeprefix("s3://"),
            buildspecOverride=build_spec(opens_secrets=bool(self._order.release.secret_values)),
            environmentVariablesOverride=[
                {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in variables.items()
            ],
            # Who starts the same build again within five minutes gets this one.
            idempotencyToken=str(self._order.deployment_id),
        )
        await self.note(made["build"])
        found: _Found = made["build"]
        return found

    async def note(self, build: _Found) -> None:
        """Keep the build's id where `noted` looks; a note that is there already stays."""
        await self._bucket.keep(naming.build_note(self._order), str(build["id"]))

    async def stop(self, build: _Found) -> None:
        """End it for real; one that has ended meanwhile is left as it is."""
        if not is_running(build):
            return
        try:
            await self._call("stop_build", id=build["id"])
        except Answered as error:
            if not error.is_missing:
                raise

    async def shown(self, build: _Found, staged: Staged | None) -> Build:
        """The build in the port's own terms. A failed one has the last words of its log."""
        status = _status(build)
        version = (staged.dart if staged else "") or "of the Dockerfile"
        return Build(
            id=str(build["id"]),
            status=status,
            message=await self._last_words(build) if status == "failed" else "",
            remedy=_FAILED if status == "failed" else "",
            toolchain=Toolchain(engine=ENGINE, version=version),
        )

    async def log(self, build: _Found, cursor: int) -> LogChunk:
        """What the build wrote, from the byte `cursor` on."""
        key = str(build["id"])
        first, token = self._places.before(key, cursor)
        text = b""
        for _ in range(LOG_PAGES_MAX):
            page, following = await self._page(build, token)
            if following == token:
                break
            # A page may be empty though more follows; only the same token again says that nothing does.
            text, token = text + page, following
            if first + len(text) - cursor >= LOG_BYTES_MAX:
                break
        self._places.keep(key, first + len(text), token)
        new = text[max(cursor - first, 0) :]
        return LogChunk(text=new.decode(errors="replace"), next_cursor=cursor + len(new))

    async def running(self) -> list[_Found]:
        """All that still run: two of them, when an answer was lost for longer than Amazon keeps the token of the first."""
        noted = await self.noted()
        builds = [*([noted] if noted else []), *await self._listed()]
        return list({build["id"]: build for build in builds if is_running(build)}.values())

    async def _unnoted(self) -> _Found | None:
        """The first one, when a lost answer led to two."""
        return min(await self._listed(), key=lambda build: (build["startTime"], build["id"]), default=None)

    async def _listed(self) -> list[_Found]:
        """Those of the deployment among the newest builds of the project."""
        found = await self._account.found(
            "codebuild",
            "list_builds_for_project",
            region=self._target.region,
            projectName=self._target.code_build_project,
            sortOrder="DESCENDING",
        )
        ids = found.get("ids", [])[:LISTED_MAX] if found else []
        builds = (await self._call("batch_get_builds", ids=ids))["builds"] if ids else []
        return [build for build in builds if _deployment(build) == str(self._order.deployment_id)]

    async def _last_words(self, build: _Found) -> str:
        said = [
            f"{phase['phaseType']}: {context.get('statusCode', '')} {context['message']}"
            for phase in build.get("phases", [])
            for context in phase.get("contexts", [])
            if context.get("message") and phase.get("phaseStatus") not in ("SUCCEEDED", None)
        ]
        try:
            page, _ = await self._page(build, "", last=True)
        except Answered as error:
            if not error.is_denied:  # That the build failed is known without its log.
                raise
            page = f"The log cannot be read: {error.message}".encode()
        said.append(page.decode(errors="replace")[-LAST_WORDS_CHARACTERS:].strip())
        return "\n".join(part for part in said if part) or f"CodeBuild ended with {build['buildStatus']}."

    async def _page(self, build: _Found, token: str, *, last: bool = False) -> tuple[bytes, str]:
        """A page of the log and the token of what follows it; the same token at its end."""
        place = build.get("logs") or {}
        if not place.get("groupName") or not place.get("streamName"):
            return b"", token  # It waits for a machine.
        found = await self._account.found(
            "logs",
            "get_log_events",
            region=self._target.region,
            logGroupName=place["groupName"],
            logStreamName=place["streamName"],
            startFromHead=not last,
            **({"nextToken": token} if token else {}),
        )
        if found is None:
            return b"", token
        text = "".join(event["message"] for event in found["events"])
        return text.encode(), str(found["nextForwardToken"])

    async def _call(self, call: str, **parameters: Any) -> Any:
        return await self._account.call("codebuild", call, region=self._target.region, **parameters)


def is_running(build: _Found) -> bool:
    return bool(build["buildStatus"] == "IN_PROGRESS")


def _deployment(build: _Found) -> str:
    variables = build.get("environment", {}).get("environmentVariables", [])
    return next((str(one["value"]) for one in variables if one["name"] == DEPLOYMENT_VARIABLE), "")


def _status(build: _Found) -> Literal["running", "succeeded", "failed", "stopped"]:
    match build["buildStatus"]:
        case "IN_PROGRESS":
            return "running"
        case "SUCCEEDED":
            return "succeeded"
        case "STOPPED":
            return "stopped"
        case _:
            return "failed"
