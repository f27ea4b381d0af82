"""Looking whether a project's Azure is set up, one thing after another, each with the command that mends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeVar, runtime_checkable
from uuid import UUID

import msgspec

from domain.clouds import AzureIdentity, AzureStorage, Identity
from providers.azure import apps, build
from providers.azure.account import Account
from providers.azure.errors import Answered, command, grant, told
from providers.azure.identity import MANAGEMENT, STORAGE, Tokens
from providers.azure.storage import AccountMissing, Container, probe_name
from providers.provider import Finding, ProviderBusy, ProviderRefused, Step

REGISTRY_VERSION = "2023-07-01"
GROUP_VERSION = "2021-04-01"
IDENTITY_VERSION = "2023-01-31"
STORAGE_VERSION = "2023-05-01"
BLOB_ROLE = "Storage Blob Data Contributor"
_T = TypeVar("_T")
_SKIPPED = "Not looked at, since an earlier step failed."


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What functions are built and run with, all in one resource group."""

    resource_group: str
    registry: str
    environment_name: str
    pull_identity: str


@runtime_checkable
class ChecksResources(Protocol):
    """A provider that can look at these resources."""

    async def check_resources(
        self, tenant_id: UUID, project_id: UUID, identity: Identity, resources: Resources, storage: AzureStorage | None
    ) -> Finding: ...


class _Subscription(msgspec.Struct, rename="camel"):
    subscription_id: str = ""


class _Subscriptions(msgspec.Struct):
    value: list[_Subscription] = []


class _Properties(msgspec.Struct, rename="camel"):
    provisioning_state: str = ""
    login_server: str = ""


class _Resource(msgspec.Struct):
    location: str = ""
    properties: _Properties = msgspec.field(default_factory=_Properties)


class Walk:
    """Steps in order: after the first that fails the rest are skipped; one the cloud put off leaves the finding open."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._status: Literal["pending", "verified", "failed"] = "verified"

    async def step(self, name: str, look: Callable[[], Awaitable[str]], identity: AzureIdentity) -> None:
        """Look; `look` returns what it saw, in a sentence."""
        if self._status != "verified":
            self._steps.append(Step(name=name, status="skipped", message=_SKIPPED))
            return
        try:
            try:
                seen = await look()
            except Answered as error:
                raise told(error, identity) from error
        except ProviderRefused as refused:
            self._status = "failed"
            step = Step(name=name, status="failed", code=refused.code, message=refused.message, remedy=refused.remedy)
        except ProviderBusy as busy:
            self._status = "pending"
            again = "Look again in a moment."
            step = Step(name=name, status="skipped", code="AZURE_PENDING", message=busy.message, remedy=again)
        else:
            step = Step(name=name, status="passed", message=seen)
        self._steps.append(step)

    @property
    def finding(self) -> Finding:
        return Finding(status=self._status, steps=tuple(self._steps))


class Checks:
    """The checks of one project's integration."""

    def __init__(self, account: Account, tokens: Tokens) -> None:
        self._account, self._tokens = account, tokens
        self._own = ""

    async def identity(self, walk: Walk) -> None:
        """Our token, its exchange, and that the application may see the subscription; nothing kept is believed."""
        identity = self._account.identity
        await walk.step("own_token", self._look_at_own_token, identity)
        await walk.step("token_exchange", self._look_at_exchange, identity)
        await walk.step("subscription", self._look_at_subscription, identity)

    async def bucket(self, walk: Walk, storage: AzureStorage) -> None:
        """That the container is there, that files can be put, read, listed and removed, and that builds may read them."""
        container, identity = Container(self._account, storage), self._account.identity
        await walk.step("container", lambda: self._look_at_container(container, storage), identity)
        await walk.step("blob_role", lambda: self._look_at_blobs(container, storage), identity)
        await walk.step("delegation", lambda: self._look_at_delegation(container, storage), identity)

    async def resources(self, walk: Walk, resources: Resources) -> None:
        """Each resource by itself, then that images may be built and apps run."""
        identity = self._account.identity
        group = f"/subscriptions/{identity.subscription_id}/resourceGroups/{resources.resource_group}"
        registry = f"{group}/providers/Microsoft.ContainerRegistry/registries/{resources.registry}"
        environment = f"{group}/providers/Microsoft.App/managedEnvironments/{resources.environment_name}"
        await walk.step("resource_group", lambda: self._look_at(group, GROUP_VERSION, "resource group"), identity)
        await walk.step("registry", lambda: self._look_at_registry(registry, resources.registry), identity)
        await walk.step("environment", lambda: self._look_at(environment, apps.VERSION, "environment"), identity)
        pull = resources.pull_identity
        await walk.step("pull_identity", lambda: self._look_at(pull, IDENTITY_VERSION, "pull identity"), identity)
        await walk.step("tasks", lambda: self._look_at_tasks(registry), identity)
        await walk.step("container_apps", lambda: self._look_at_apps(group), identity)

    async def _look_at_own_token(self) -> str:
        self._own = self._tokens.own(*self._account.whose)
        return "This service signed a token that names the tenant and the project."

    async def _look_at_exchange(self) -> str:
        self._account.forget_token(MANAGEMENT)
        self._account.forget_token(STORAGE)
        await self._tokens.exchange(self._own, self._account.whose, MANAGEMENT)
        return "Entra took the token: the project may act as the application."

    async def _look_at_subscription(self) -> str:
        wanted = self._account.identity.subscription_id
        found = await self._account.call("GET", "/subscriptions", "2022-12-01", _Subscriptions)
        if wanted.lower() not in {one.subscription_id.lower() for one in found.value}:
            raise ProviderRefused(
                "AZURE_ROLE_MISSING",
                f"The application has no role in the subscription {wanted}, or it has not spread yet (up to ten minutes).",
                "Deploy the template of POST …/azure/wif/register in the resource group, or: "
                + grant("Reader", "", self._account.identity),
            )
        return f"The application has a role in the subscription {wanted}."

    async def _look_at_container(self, container: Container, storage: AzureStorage) -> str:
        await self._asked_of(container.look(), storage)
        return f"The container {storage.container} of {storage.account} is there."

    async def _look_at_blobs(self, container: Container, storage: AzureStorage) -> str:
        name = probe_name()
        await self._asked_of(container.put(name, b"dcf", {}), storage)
        read = await self._asked_of(container.read(name), storage)
        listed = await self._asked_of(container.names(name), storage)
        await self._asked_of(container.remove(name), storage)
        if read != b"dcf" or listed != [name]:
            raise ProviderBusy("The storage does not show yet what was put there.")
        return "Files can be put, read, listed and removed."

    async def _look_at_delegation(self, container: Container, storage: AzureStorage) -> str:
        await self._asked_of(container.link(probe_name()), storage)
        return "Builds can be given an address to read the sources at."

    async def _look_at(self, path: str, version: str, what: str) -> str:
        found = await self._account.found("GET", path, version, _Resource)
        name = path.rpartition("/")[2]
        if found is None:
            code = f"AZURE_{what.upper().replace(' ', '_')}_NOT_FOUND"
            raise ProviderRefused(
                code,
                f"There is no {what} {name}.",
                "Make it: POST …/azure/resources/template gives a template for all.",
            )
        state = found.properties.provisioning_state
        if state in ("Failed", "Canceled"):
            code = f"AZURE_{what.upper().replace(' ', '_')}_FAILED"
            raise ProviderRefused(code, f"The {what} {name} ended as {state}.", "Make it anew.")
        if state not in ("", "Succeeded"):
            raise ProviderBusy(f"The {what} {name} is still being made ({state}).")
        return f"The {what} {name} is in {found.location or 'its place'}."

    async def _look_at_registry(self, path: str, name: str) -> str:
        seen = await self._look_at(path, REGISTRY_VERSION, "registry")
        server = (await self._account.call("GET", path, REGISTRY_VERSION, _Resource)).properties.login_server
        if server != f"{name.lower()}.azurecr.io":
            raise ProviderRefused(
                "AZURE_REGISTRY_NAME_LABEL",
                f"The registry {name} answers at {server}: it was made with a domain name label.",
                "Make a registry without one (domain name label scope Unsecure), and name that.",
            )
        return seen

    async def _look_at_tasks(self, registry: str) -> str:
        await self._account.call("GET", f"{registry}/runs", build.VERSION, dict[str, object], query={"$top": "1"})
        return "The application may see what the registry builds."

    async def _look_at_apps(self, group: str) -> str:
        path = f"{group}/providers/Microsoft.App/containerApps"
        await self._account.call("GET", path, apps.VERSION, dict[str, object])
        return "The application may see the group's container apps."

    async def _asked_of(self, asking: Awaitable[_T], storage: AzureStorage) -> _T:
        """What the storage answers, its refusals with what mends them."""
        name = storage.account
        try:
            return await asking
        except AccountMissing as error:
            raise ProviderRefused(
                "AZURE_STORAGE_ACCOUNT_NOT_FOUND",
                f"There is no storage account {name}.",
                "Make it: POST …/azure/resources/template gives a template for all.",
            ) from error
        except Answered as error:
            match error.code:
                case "ContainerNotFound":
                    raise ProviderRefused(
                        "AZURE_CONTAINER_NOT_FOUND",
                        f"There is no container {storage.container} in {name}.",
                        command(
                            *("az", "storage", "container", "create", "--auth-mode", "login"),
                            *("--account-name", name, "--name", storage.container),
                        ),
                    ) from error
                case "AuthorizationPermissionMismatch":
                    scope = f'"$(az storage account show --name {name} --query id --output tsv)"'
                    made = grant(BLOB_ROLE, "SCOPE", self._account.identity).replace("SCOPE", scope)
                    raise ProviderRefused(
                        "AZURE_BLOB_ROLE_MISSING",
                        f"The application lacks the role {BLOB_ROLE} on {name}, or it has not spread yet "
                        "(up to ten minutes). A role that only manages the account does not open its blobs.",
                        made,
                    ) from error
                case "AuthorizationFailure" | "IpAuthorizationError":
                    raise ProviderRefused(
                        "AZURE_STORAGE_FIREWALL",
                        f"The storage account {name} lets nobody in from this service's network.",
                        command(
                            *("az", "storage", "account", "update", "--name", name),
                            *("--public-network-access", "Enabled", "--default-action", "Allow"),
                        ),
                    ) from error
                case _:
                    raise
