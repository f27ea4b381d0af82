"""A Lambda function as Amazon shows it, and the calls that change it."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import msgspec

from domain.clouds import AwsTarget
from providers.aws import naming
from providers.aws.account import Account
from providers.aws.errors import Answered
from providers.provider import ProviderBusy, ProviderRefused

VERSIONS_MAX = 1000
LATEST = "$LATEST"
# What one verb waits for Lambda to take a change; the runner comes back for what takes longer.
SETTLE_SECONDS_MAX = 20.0
SETTLE_SECONDS_FIRST, SETTLE_SECONDS_LAST = 0.1, 1.0
URL_STATEMENT, INVOKE_STATEMENT = "dcf-url", "dcf-invoke"


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A name for a version. `description` is ours."""

    version: str
    description: str
    revision_id: str


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """$LATEST, or one version: its configuration, and the image it runs."""

    configuration: dict[str, Any]
    image: str
    tags: dict[str, str]

    @property
    def digest(self) -> str:
        return self.image.rpartition("@")[2]

    @property
    def mark(self) -> str:
        return str(self.configuration.get("Description", ""))

    @property
    def is_changing(self) -> bool:
        seen = self.configuration
        return seen.get("State") == "Pending" or seen.get("LastUpdateStatus") == "InProgress"

    @property
    def could_not_be_made(self) -> bool:
        return bool(self.configuration.get("State") == "Failed")

    @property
    def failure(self) -> str:
        """Why it cannot run; empty when it can."""
        seen = self.configuration
        if self.could_not_be_made:
            return str(seen.get("StateReason") or "Lambda could not make the function.")
        if seen.get("LastUpdateStatus") == "Failed":
            return str(seen.get("LastUpdateStatusReason") or "Lambda could not update the function.")
        return ""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A version as lists have it, $LATEST among them."""

    version: str
    mark: str
    environment: dict[str, str]


class Invoked(msgspec.Struct, frozen=True, kw_only=True):
    """What a version answered: a status, or why there is none; and the last 4 KB of its log."""

    status: int = 0
    error: str = ""
    log: str = ""


class Function:
    """One function by its name, as one account sees it."""

    def __init__(self, account: Account, target: AwsTarget) -> None:
        self._account, self._target = account, target

    async def code(self, qualifier: str = "") -> Code | None:
        """$LATEST, or what the qualifier names; None when there is no such thing. Only $LATEST has tags."""
        found = await self._found("get_function", **({"Qualifier": qualifier} if qualifier else {}))
        if found is None:
            return None
        code = found.get("Code", {})
        image = str(code.get("ResolvedImageUri") or code.get("ImageUri", ""))
        return Code(configuration=found["Configuration"], image=image, tags=dict(found.get("Tags") or {}))

    async def settled(self, *, seconds_max: float = SETTLE_SECONDS_MAX) -> Code:
        """$LATEST once Lambda has taken the last change. Raises ProviderBusy, or ProviderRefused when there is none."""
        pause = SETTLE_SECONDS_FIRST
        while True:
            code = await self.code()
            if code is None:
                raise ProviderRefused("function_missing", "The function was removed meanwhile.", "Deploy again.")
            if not code.is_changing:
                return code
            if seconds_max <= 0:
                raise ProviderBusy("Lambda is still taking the last change of the function.")
            await asyncio.sleep(pause)
            seconds_max, pause = seconds_max - pause, min(2 * pause, SETTLE_SECONDS_LAST)

    async def make(self, image: str, configuration: dict[str, Any], tags: dict[str, str]) -> None:
        await self._call(
            "create_function",
            PackageType="Image",
            Code={"ImageUri": image},
            Architectures=["arm64"],
            Tags=tags,
            **configuration,
        )

    async def configure(self, configuration: dict[str, Any], revision_id: str) -> None:
        await self._call("update_function_configuration", RevisionId=revision_id, **configuration)

    async def load(self, image: str, revision_id: str) -> None:
        await self._call("update_function_code", ImageUri=image, RevisionId=revision_id, Architectures=["arm64"])

    async def publish(self, code: Code) -> str:
        """The version that stands for what $LATEST is. Unless that changed since, it is the one published before."""
        made = await self._call("publish_version", RevisionId=code.configuration["RevisionId"], Description=code.mark)
        return str(made["Version"])

    async def versions(self) -> list[Published]:
        """All there are, $LATEST among them; at most VERSIONS_MAX are looked at."""
        versions: list[dict[str, Any]] = []
        marker: dict[str, str] = {}
        while len(versions) < VERSIONS_MAX:
            page = await self._found("list_versions_by_function", MaxItems=50, **marker)
            versions += page["Versions"] if page else []
            if page is None or not page.get("NextMarker"):
                break
            marker = {"Marker": page["NextMarker"]}
        return [
            Published(
                version=str(one["Version"]),
                mark=str(one.get("Description", "")),
                environment=dict(one.get("Environment", {}).get("Variables", {})),
            )
            for one in versions
        ]

    async def remove_version(self, version: str) -> None:
        await self._found("delete_function", Qualifier=version)

    async def remove(self) -> None:
        """All of it: its versions, aliases and URL."""
        await self._found("delete_function")

    async def alias(self, name: str) -> Alias | None:
        found = await self._found("get_alias", Name=name)
        return found and Alias(
            version=str(found["FunctionVersion"]),
            description=str(found.get("Description", "")),
            revision_id=str(found["RevisionId"]),
        )

    async def name_version(self, name: str, version: str, description: str) -> None:
        """Make the alias; one that is there already stays."""
        try:
            await self._call("create_alias", Name=name, FunctionVersion=version, Description=description)
        except Answered as error:
            if error.code != "ResourceConflictException" or await self.alias(name) is None:
                raise

    async def move_alias(self, name: str, version: str, description: str, revision_id: str) -> None:
        """Let the alias stand for the version, unless somebody else moved it meanwhile (a conflict)."""
        await self._call(
            "update_alias", Name=name, FunctionVersion=version, Description=description, RevisionId=revision_id
        )

    async def remove_alias(self, name: str) -> None:
        await self._found("delete_alias", Name=name)

    async def url(self) -> tuple[str, str] | None:
        """Where the live alias answers, and its AuthType; None when it has no URL."""
        found = await self._found("get_function_url_config", Qualifier=naming.LIVE)
        return (str(found["FunctionUrl"]).rstrip("/"), str(found["AuthType"])) if found else None

    async def make_url(self) -> None:
        """Give the live alias its URL, which nobody may call yet; one that is there already stays."""
        try:
            await self._call("create_function_url_config", Qualifier=naming.LIVE, AuthType="AWS_IAM")
        except Answered as error:
            if error.code != "ResourceConflictException" or await self.url() is None:
                raise

    async def statements(self) -> set[str]:
        """The names of the statements that let others call the live alias."""
        found = await self._found("get_policy", Qualifier=naming.LIVE)
        policy = msgspec.json.decode(found["Policy"]) if found else {}
        return {str(statement.get("Sid", "")) for statement in policy.get("Statement", [])}

    async def open(self) -> None:
        """Let anybody call the URL. Amazon asks for both permissions since October 2025."""
        await self._permit(URL_STATEMENT, Action="lambda:InvokeFunctionUrl", FunctionUrlAuthType="NONE")
        await self._permit(INVOKE_STATEMENT, Action="lambda:InvokeFunction", InvokedViaFunctionUrl=True)
        await self._call("update_function_url_config", Qualifier=naming.LIVE, AuthType="NONE")

    async def close(self) -> None:
        """Let only those call the URL whom the account's own policies allow it."""
        await self._call("update_function_url_config", Qualifier=naming.LIVE, AuthType="AWS_IAM")
        for statement in (URL_STATEMENT, INVOKE_STATEMENT):
            await self._found("remove_permission", StatementId=statement, Qualifier=naming.LIVE)

    async def invoke(self, version: str, event: bytes) -> Invoked:
        """Call one version with an event of the URL's own shape."""
        found = await self._call("invoke", Qualifier=version, LogType="Tail", Payload=event)
        async with found["Payload"] as body:
            payload = await body.read()
        log = base64.b64decode(found.get("LogResult") or "").decode(errors="replace")
        answered = _decoded(payload)
        if found.get("FunctionError"):
            return Invoked(error=str(answered.get("errorMessage") or found["FunctionError"]), log=log)
        return Invoked(status=int(answered.get("statusCode", 0)), log=log)

    async def _permit(self, statement: str, **what: Any) -> None:
        try:
            await self._call("add_permission", StatementId=statement, Principal="*", Qualifier=naming.LIVE, **what)
        except Answered as error:
            if error.code != "ResourceConflictException" or statement not in await self.statements():
                raise

    async def _found(self, call: str, **parameters: Any) -> Any:
        return await self._account.found(
            "lambda", call, region=self._target.region, FunctionName=self._target.function_name, **parameters
        )

    async def _call(self, call: str, **parameters: Any) -> Any:
        return await self._account.call(
            "lambda", call, region=self._target.region, FunctionName=self._target.function_name, **parameters
        )


def _decoded(payload: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}
